"""sacrebleu's corpus BLEU (Post 2018) where no reference belongs to any one hypothesis.

Text generated from nothing has no aligned translation, so the protocol is sacrebleu's own with many
references: every reference is a reference of every hypothesis, as in
`BLEU().corpus_score(hyps, [[ref] * len(hyps) for ref in refs])`. The statistics come from our n-gram counts,
in a fraction of a second for 10,000 against 10,000; sacrebleu itself turns them into the score.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sacrebleu.metrics import BLEU

from seqgen.metrics.bleu import closest_lengths, matches
from seqgen.metrics.ngrams import Coded, code_sentences
from seqgen.metrics.tokenise import tokeniser

ORDERS = 4


@dataclass(frozen=True)
class CorpusBLEU:
    """sacrebleu's score, 0 to 100, and the signature that says how it was computed."""

    score: float
    signature: str


def corpus_bleu_of(hyps: Coded, refs: Coded, tokenizer: str = "13a") -> CorpusBLEU:
    """Score texts coded by one vocabulary after sacrebleu's tokenizer named (`13a`, `char`, `none`)."""
    orders = np.arange(1, ORDERS + 1)[:, None]
    score = BLEU.compute_bleu(
        correct=[int(count) for count in matches(hyps, refs, ORDERS).sum(axis=1)],
        total=[int(count) for count in np.maximum(0, hyps.lengths - orders + 1).sum(axis=1)],
        sys_len=int(hyps.lengths.sum()),
        ref_len=int(closest_lengths(hyps.lengths, refs.lengths).sum()),
        smooth_method="exp",
        max_ngram_order=ORDERS,
    )
    return CorpusBLEU(score.score, signature(len(refs), tokenizer))


def signature(references: int, tokenizer: str = "13a") -> str:
    """Return sacrebleu's signature: `nrefs:…|case:mixed|eff:no|tok:13a|smooth:exp|version:…`."""
    metric = BLEU(tokenize=tokenizer)
    metric.num_refs = references
    return str(metric.get_signature())


def tokenizer_for(tokenisation: str) -> str:
    """Name sacrebleu's tokenizer that goes with ours: `char` for characters, else its default."""
    return "char" if tokenisation == "character" else "13a"


def our_name(tokenizer: str) -> str:
    """Name the tokenisation of ours that equals sacrebleu's."""
    return {"char": "character", "none": "whitespace"}.get(tokenizer, tokenizer)


def corpus_bleu(hyps: Sequence[str], refs: Sequence[str], tokenizer: str = "13a") -> CorpusBLEU:
    """Score lines of text: each of `hyps` against all of `refs`; UserError without references."""
    tokenise = tokeniser(our_name(tokenizer))
    vocabulary: dict[str, int] = {}
    coded = [code_sentences(map(tokenise, lines), vocabulary) for lines in (hyps, refs)]
    return corpus_bleu_of(coded[0], coded[1], tokenizer)
