"""What a sentence is given: a label, or a source that it goes on from, as tokens that stand before it.

A run with conditions is a language model of pairs. A label is one token (Keskar et al. 2019, CTRL); a source
is its own tokens and one that says that it has ended. So every algorithm learns them as it learns words, the
discriminator reads them with the sentence, and sampling begins after them. While text is read and stored,
condition and sentence are one string, ASCII's unit separator between them: it is white space, which no
condition has and no sentence begins with.
"""

SEPARATOR = "\x1f"

FOLDER = "folder"
"""The label column of a folder of text files: the label is the name of the folder that a file is in."""

MOST_LABELS = 1_000
"""Different labels at most: each is a token."""

_LABEL = f"{SEPARATOR}label{SEPARATOR}"

THEN = f"{SEPARATOR}then{SEPARATOR}"
"""The vocabulary entry that ends a source."""


def joined(condition: str, sentence: str) -> str:
    """Return a sentence with its condition before it."""
    return f"{condition}{SEPARATOR}{sentence}"


def parted(line: str) -> tuple[str, str]:
    """Return the condition and the sentence of what `joined` has made."""
    condition, _, sentence = line.partition(SEPARATOR)
    return condition, sentence


def entry_of_label(name: str) -> str:
    """Return the vocabulary entry of a label."""
    return _LABEL + name


def label_of(entry: str) -> str | None:
    """Return the label that a vocabulary entry stands for, or None."""
    return entry.removeprefix(_LABEL) if entry.startswith(_LABEL) else None
