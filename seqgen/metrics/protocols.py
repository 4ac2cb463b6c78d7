"""Evaluation protocols: the choices that must be equal for scores to compare, printed with every result.

| name        | tokens                                    | BLEU-n of a sentence                           |
|-------------|-------------------------------------------|------------------------------------------------|
| `seqgen`    | treebank; characters for unspaced scripts | NLTK's `sentence_bleu` with `method1`          |
| `texygen`   | treebank                                  | the same: the tables of Texygen (Zhu 2018)     |
| `sacrebleu` | 13a; characters for unspaced scripts      | sacrebleu's `sentence_score` / 100, with `exp` |

All protocols use every reference, keep the case, and exclude the sentence itself from its self-BLEU.
Texygen's published tables use every line of a file; its code uses 500 references, which halves BLEU-5.
"""

from dataclasses import dataclass

from seqgen.core.errors import UserError, did_you_mean
from seqgen.metrics.bleu import Combine, method1_scores
from seqgen.metrics.corpus_bleu import sacrebleu_scores
from seqgen.metrics.tokenization import AUTO, TOKENISATIONS, tokeniser


@dataclass(frozen=True)
class Protocol:
    """The choices of one protocol."""

    name: str
    spaced: str
    """the tokenisation of scripts written with spaces"""
    unspaced: str
    """the tokenisation of scripts written without"""
    allowed: tuple[str, ...]
    """the tokenisations that may be chosen"""
    smoothing: str
    bleu: str
    """description of the sentence BLEU, printed with the scores"""
    combine: Combine


METHOD1 = "mean of NLTK's sentence_bleu with method1, all references"
SENTENCE_SCORE = "mean of sacrebleu's sentence_score / 100 with smoothing exp, all references"

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("seqgen", "treebank", "character", tuple(TOKENISATIONS), "method1", METHOD1, method1_scores),
        Protocol("texygen", "treebank", "treebank", ("treebank",), "method1", METHOD1, method1_scores),
        Protocol(
            "sacrebleu",
            "13a",
            "character",
            ("13a", "character"),
            "exp",
            SENTENCE_SCORE,
            sacrebleu_scores,
        ),
    )
}


def get_protocol(name: str) -> Protocol:
    """Return a protocol by name; UserError with the closest name if there is none."""
    if name not in PROTOCOLS:
        raise UserError(f"no protocol '{name}'{did_you_mean(name, PROTOCOLS)}")
    return PROTOCOLS[name]


def check(protocol: str, tokenisation: str) -> None:
    """Raise UserError for an unknown protocol, or a tokenisation that the protocol does not allow."""
    chosen = get_protocol(protocol)
    if tokenisation == AUTO:
        return
    tokeniser(tokenisation)
    if tokenisation not in chosen.allowed:
        raise UserError(
            f"--protocol {protocol} scores {' or '.join(chosen.allowed)} tokens, not {tokenisation}; "
            f"leave --tokenisation out, or use --protocol seqgen"
        )
