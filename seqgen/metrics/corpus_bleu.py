"""sacrebleu's corpus BLEU (Post 2018) without an alignment of hypotheses and references.

Unconditional generation has no aligned references, so this is sacrebleu's multi-reference protocol: every
reference is a reference of every hypothesis, as in
`BLEU().corpus_score(hyps, [[ref] * len(hyps) for ref in refs])`. The statistics come from our n-gram counts,
in a fraction of a second for 10,000 against 10,000; sacrebleu computes the score from them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sacrebleu.metrics import BLEU
from sacrebleu.metrics.bleu import BLEUScore

from seqgen.metrics.bleu import ScoresByOrder, brevity_penalty, clipped_matches, closest_lengths
from seqgen.metrics.tokenization import tokeniser
from seqgen.ngrams.ngrams import EncodedText, Floats, Ints, encode_sentences

ORDERS = 4


@dataclass(frozen=True)
class CorpusBLEU:
    """sacrebleu's score, 0 to 100, and its signature, which states the options."""

    score: float
    signature: str


def corpus_bleu_of_encoded(hyps: EncodedText, refs: EncodedText, tokenizer: str = "13a") -> CorpusBLEU:
    """Score texts encoded with one vocabulary; `tokenizer` (`13a`, `char`, `none`) is for the signature."""
    score = corpus_score(corpus_counts(hyps, refs).sum(axis=1))
    return CorpusBLEU(score.score, signature(len(refs), tokenizer))


def corpus_counts(hyps: EncodedText, refs: EncodedText) -> Floats:
    """Sufficient statistics of each sentence: matches and n-grams of orders 1 … 4, both lengths; (10, N)."""
    orders = np.arange(1, ORDERS + 1)[:, None]
    return np.concatenate(
        [
            clipped_matches(hyps, refs, ORDERS),
            np.maximum(0, hyps.lengths - orders + 1),
            hyps.lengths[None],
            closest_lengths(hyps.lengths, refs.lengths)[None],
        ]
    )


def corpus_score(sums: Floats) -> BLEUScore:
    """Compute sacrebleu's score from the sums of `corpus_counts`, (10,)."""
    totals = [round(float(each)) for each in sums]
    return BLEU.compute_bleu(
        correct=totals[:ORDERS],
        total=totals[ORDERS : 2 * ORDERS],
        sys_len=totals[-2],
        ref_len=totals[-1],
        smooth_method="exp",
        max_ngram_order=ORDERS,
    )


def sacrebleu_scores(lengths: Ints, ref_lengths: Ints, matched: Floats) -> ScoresByOrder:
    """Score each sentence as sacrebleu's `sentence_score` does, / 100, from `clipped_matches`; {n: (N,)}.

    `BLEU(max_ngram_order=n, effective_order=True, smooth_method="exp")`: the k-th order without a match
    counts 2**-k matches, the mean is over the orders that the sentence is long enough for, and a sentence
    without any match scores 0.
    """
    orders = np.arange(1, len(matched) + 1)[:, None]
    possible = np.maximum(0, lengths - orders + 1)
    has_order, missed = possible > 0, (matched == 0) & (possible > 0)
    smoothed = np.where(missed, 0.5 ** np.cumsum(missed, axis=0), matched)
    log_precision = np.where(has_order, np.log(np.where(has_order, smoothed, 1) / np.maximum(1, possible)), 0)
    means = np.cumsum(log_precision, axis=0) / np.maximum(1, np.cumsum(has_order, axis=0))
    penalty = brevity_penalty(lengths, ref_lengths)
    penalty[matched[0] == 0] = 0.0
    return {n: penalty * np.exp(means[n - 1]) for n in range(2, len(matched) + 1)}


def signature(references: int, tokenizer: str = "13a") -> str:
    """Return sacrebleu's signature: `nrefs:…|case:mixed|eff:no|tok:13a|smooth:exp|version:…`."""
    metric = BLEU(tokenize=tokenizer)
    metric.num_refs = references
    return str(metric.get_signature())


def tokenizer_for(tokenisation: str) -> str:
    """Return the sacrebleu tokenizer for a tokenisation: `char` for characters, else its default `13a`."""
    return "char" if tokenisation == "character" else "13a"


def tokenisation_of(tokenizer: str) -> str:
    """Return the tokenisation that equals a sacrebleu tokenizer."""
    return {"char": "character", "none": "whitespace"}.get(tokenizer, tokenizer)


def corpus_bleu(hyps: Sequence[str], refs: Sequence[str], tokenizer: str = "13a") -> CorpusBLEU:
    """Score lines of text: each of `hyps` against all of `refs`; UserError without references."""
    tokenise = tokeniser(tokenisation_of(tokenizer))
    vocabulary: dict[str, int] = {}
    encoded = [encode_sentences(map(tokenise, lines), vocabulary) for lines in (hyps, refs)]
    return corpus_bleu_of_encoded(encoded[0], encoded[1], tokenizer)
