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
from sacrebleu.metrics.bleu import BLEUScore

from seqgen.metrics.bleu import Scores, brevity_penalty, closest_lengths, matches
from seqgen.metrics.tokenization import tokeniser
from seqgen.ngrams.ngrams import Coded, Floats, Ints, code_sentences

ORDERS = 4


@dataclass(frozen=True)
class CorpusBLEU:
    """sacrebleu's score, 0 to 100, and the signature that says how it was computed."""

    score: float
    signature: str


def corpus_bleu_of(hyps: Coded, refs: Coded, tokenizer: str = "13a") -> CorpusBLEU:
    """Score texts coded by one vocabulary after sacrebleu's tokenizer named (`13a`, `char`, `none`)."""
    score = corpus_score(corpus_counts(hyps, refs).sum(axis=1))
    return CorpusBLEU(score.score, signature(len(refs), tokenizer))


def corpus_counts(hyps: Coded, refs: Coded) -> Floats:
    """What corpus BLEU sums over sentences: matches and n-grams of orders 1 … 4, both lengths; (10, N)."""
    orders = np.arange(1, ORDERS + 1)[:, None]
    return np.concatenate(
        [
            matches(hyps, refs, ORDERS),
            np.maximum(0, hyps.lengths - orders + 1),
            hyps.lengths[None],
            closest_lengths(hyps.lengths, refs.lengths)[None],
        ]
    )


def corpus_score(sums: Floats) -> BLEUScore:
    """Have sacrebleu turn the sums of `corpus_counts`, (10,), into its score."""
    whole = [round(float(each)) for each in sums]
    return BLEU.compute_bleu(
        correct=whole[:ORDERS],
        total=whole[ORDERS : 2 * ORDERS],
        sys_len=whole[-2],
        ref_len=whole[-1],
        smooth_method="exp",
        max_ngram_order=ORDERS,
    )


def sacrebleu_scores(lengths: Ints, ref_lengths: Ints, matched: Floats) -> Scores:
    """Score each sentence as sacrebleu's `sentence_score` does, / 100, from what `matches` counts; {n: (N,)}.

    `BLEU(max_ngram_order=n, effective_order=True, smooth_method="exp")`: the k-th order without a match
    counts 2**-k matches, the mean is over the orders that the sentence has, no match at all scores 0.
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
