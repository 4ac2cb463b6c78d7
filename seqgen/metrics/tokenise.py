"""Tokenisations by name: what a metric counts as a word, stated with every figure.

| name         | tokens                                                                          |
|--------------|---------------------------------------------------------------------------------|
| `whitespace` | what stands between white space                                                 |
| `treebank`   | NLTK's `TreebankWordTokenizer`: punctuation apart, as in the published tables   |
| `character`  | every character but white space, for scripts written without spaces             |
| `13a`        | sacrebleu's default, the tokenizer of WMT's mteval-v13a                         |

None of them changes case. `word_tokenize` of today's NLTK is not `treebank`: it treats more quotation marks
and first splits a line into sentences, which moves the published scores by up to 0.0003.
"""

from collections.abc import Callable, Sequence
from itertools import islice

from seqgen.errors import UserError, did_you_mean

Tokenise = Callable[[str], list[str]]

AUTO = "auto"
"""What asks the protocol to choose by the script (`is_unspaced`)."""


def tokeniser(name: str) -> Tokenise:
    """Return the function from a line to its tokens; UserError at a name that is none of `TOKENISATIONS`."""
    if name not in TOKENISATIONS:
        raise UserError(f"no tokenisation '{name}'{did_you_mean(name, [*TOKENISATIONS, AUTO])}")
    return TOKENISATIONS[name]()


def is_unspaced(lines: Sequence[str], *, sample: int = 1000) -> bool:
    """Whether the first lines are of a script written without spaces.

    It follows the automatic choice of a tokenizer for training (`seqgen.tokenizer.choose_kind`).
    """
    from seqgen.tokenizer import choose_kind

    return choose_kind(list(islice(lines, sample))) == "character"


def _whitespace() -> Tokenise:
    return str.split


def _character() -> Tokenise:
    return lambda line: [c for c in line if not c.isspace()]


def _treebank() -> Tokenise:
    from nltk.tokenize import TreebankWordTokenizer  # NLTK takes a second to import

    return TreebankWordTokenizer().tokenize


def _mteval() -> Tokenise:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    tokenizer = Tokenizer13a()
    return lambda line: tokenizer(line.rstrip()).split()


TOKENISATIONS: dict[str, Callable[[], Tokenise]] = {
    "whitespace": _whitespace,
    "treebank": _treebank,
    "character": _character,
    "13a": _mteval,
}
