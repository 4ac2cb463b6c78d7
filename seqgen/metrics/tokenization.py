"""Tokenisations by name: what a metric counts as a token, stated with every score.

| name         | tokens                                                                          |
|--------------|---------------------------------------------------------------------------------|
| `whitespace` | split at white space                                                            |
| `treebank`   | NLTK's `TreebankWordTokenizer`, which splits punctuation; the published tables  |
| `character`  | every character but white space, for scripts written without spaces             |
| `13a`        | sacrebleu's default, the tokenizer of WMT's mteval-v13a                         |

None of them changes case. `word_tokenize` of today's NLTK is not `treebank`: it treats more quotation marks
and first splits a line into sentences, which moves the published scores by up to 0.0003.
"""

import re
from collections.abc import Callable, Sequence
from itertools import islice

from seqgen.core.errors import UserError, did_you_mean

Tokenise = Callable[[str], list[str]]

# Lines that match need none of the slow patterns of treebank and 13a, which dominate the evaluation time.
PLAIN = re.compile(r"(?:[A-Za-z ]|,(?!,))*\.?")
SIMPLE = re.compile(r"[A-Za-z ,.]*")
CONTRACTED = re.compile(r"\b(?:cannot|gimme|gonna|gotta|lemme|wanna)\b", re.IGNORECASE)

AUTO = "auto"
"""The protocol chooses by the script (`is_unspaced`)."""


def tokeniser(name: str) -> Tokenise:
    """Return the function from a line to its tokens; UserError if `TOKENISATIONS` has no such name."""
    if name not in TOKENISATIONS:
        raise UserError(f"no tokenisation '{name}'{did_you_mean(name, [*TOKENISATIONS, AUTO])}")
    return TOKENISATIONS[name]()


def is_unspaced(lines: Sequence[str], *, sample: int = 1000) -> bool:
    """Whether the first lines are in a script written without spaces.

    By the same rule the tokenizer for training is chosen to be one of characters.
    """
    from seqgen.data.tokenizer_pipelines import choose_kind

    return choose_kind(list(islice(lines, sample))) == "character"


def _whitespace() -> Tokenise:
    return str.split


def _character() -> Tokenise:
    return lambda line: [c for c in line if not c.isspace()]


def _treebank() -> Tokenise:
    from nltk.tokenize import TreebankWordTokenizer  # NLTK takes a second to import

    slow = TreebankWordTokenizer().tokenize

    def tokenise(line: str) -> list[str]:
        line = line.rstrip()
        if not PLAIN.fullmatch(line) or CONTRACTED.search(line):
            return slow(line)
        words = line.removesuffix(".").replace(",", " , ").split()
        return [*words, "."] if line.endswith(".") else words

    return tokenise


def _mteval() -> Tokenise:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    slow = Tokenizer13a()

    def tokenise(line: str) -> list[str]:
        if SIMPLE.fullmatch(line):
            return line.replace(",", " , ").replace(".", " . ").split()
        return slow(line.rstrip()).split()

    return tokenise


TOKENISATIONS: dict[str, Callable[[], Tokenise]] = {
    "whitespace": _whitespace,
    "treebank": _treebank,
    "character": _character,
    "13a": _mteval,
}
