"""Figures that only a whole set of sentences has, each with its value without every group of a jackknife.

Every function returns arrays of 1 + J values: of the whole set, then of the set without group j. `Groups`
says to which group each sentence belongs; without groups there is the one value.
"""

import numpy as np
import torch

from seqgen.metrics.bleu import Combine, method1_scores, self_bleu_of
from seqgen.ngrams.ngrams import Coded, Floats, Ints, count_grams, join, tally

Groups = Ints | None
ZIPF_RANKS = 5000


def gram_figures(text: Coded, refs: Coded, groups: Groups = None) -> dict[str, dict[int, Floats]]:
    """All figures of n-gram counts, by name and order, from one count of both texts.

    `distinct` and `entropy` for n = 1 … 4, `jsd` and `ms_jaccard` for 2 … 5, and for n = 1 `zipf`,
    `coverage` and `vocabulary`.
    """
    sizes = _sizes(len(text), groups)
    found: dict[str, dict[int, Floats]] = {}
    shares = []
    for grams in count_grams(join([text, refs]), 5):
        ours = grams.sentence < len(text)
        width = len(grams.first)
        theirs = tally(grams.gram[~ours], grams.count[~ours], width)
        own = _leave_out(grams.gram[ours], grams.count[ours], grams.sentence[ours], groups, width)
        of_order = {} if grams.n > 4 else {"distinct": _distinct(own), "entropy": _entropy(own)}
        shares.append(_jaccard(own, theirs, sizes, len(refs)))
        if grams.n > 1:
            of_order["jsd"] = np.array([jensen_shannon(row, theirs) for row in own])
            of_order["ms_jaccard"] = np.prod(shares, axis=0) ** (1 / grams.n)
        else:
            of_order["zipf"] = np.array([zipf(row) for row in own])
            of_order["vocabulary"] = (own > 0).sum(axis=1).astype(np.float64)
            of_order["coverage"] = ((own > 0) & (theirs > 0)).sum(axis=1) / max(1, int((theirs > 0).sum()))
        for name, values in of_order.items():
            found.setdefault(name, {})[grams.n] = values
    return found


def _sizes(n: int, groups: Groups) -> Floats:
    return n - _per_group(np.ones(n), groups)


def _per_group(values: Floats, groups: Groups) -> Floats:
    """Sum what each group holds; (N,) → (1 + J,), the first 0: the whole set leaves nothing out."""
    return np.zeros(1) if groups is None else np.append(0.0, np.bincount(groups, values))


def _leave_out(gram: Ints, count: Ints, sentence: Ints, groups: Groups, width: int) -> Floats:
    """Count each gram in the whole set, then without each group; (1 + J, G)."""
    whole = tally(gram, count, width)
    if groups is None:
        return whole[None]
    size = int(groups.max()) + 1
    within = np.bincount(groups[sentence] * width + gram, count, minlength=size * width)
    return np.concatenate([whole[None], whole - within.reshape(size, width)])


def _distinct(counts: Floats) -> Floats:
    return (counts > 0).sum(axis=1) / np.maximum(1, counts.sum(axis=1))


def _entropy(counts: Floats) -> Floats:
    """Entropy of the n-gram frequencies, in nats: log C - sum c log c / C; (1 + J, G) → (1 + J,)."""
    total = np.maximum(1, counts.sum(axis=1))
    logs = np.array([(row * np.log(np.maximum(1, row))).sum() for row in counts])
    return np.log(total) - logs / total


def _jaccard(own: Floats, theirs: Floats, sizes: Floats, refs: int) -> Floats:
    """Multiset Jaccard of n-grams a sentence: sum min / sum max; 0 without any."""
    scores = []
    for row, size in zip(own, sizes, strict=True):
        per_sentence, per_reference = row / size, theirs / refs
        most = np.maximum(per_sentence, per_reference).sum()
        scores.append(np.minimum(per_sentence, per_reference).sum() / most if most > 0 else 0.0)
    return np.array(scores)


def jensen_shannon(counts: Floats, other: Floats) -> float:
    """Jensen–Shannon divergence of two frequency tables of the same G n-grams, in nats: 0 … log 2.

    Where one of them is empty it is log 2, where both are it is 0.
    """
    sums = counts.sum(), other.sum()
    if not all(sums):
        return 0.0 if not any(sums) else float(np.log(2))
    p, q = counts / sums[0], other / sums[1]
    middle = (p + q) / 2
    return float((_information(p, middle) + _information(q, middle)) / 2)


def _information(p: Floats, q: Floats) -> float:
    held = p > 0
    return float((p[held] * np.log(p[held] / q[held])).sum())


def zipf(counts: Floats) -> float:
    """Zipf's exponent: minus the slope of log frequency on log rank, least squares, 5,000 commonest words.

    The estimator of Holtzman et al. 2020 (The Curious Case of Neural Text Degeneration); 0 of fewer than two.
    """
    frequencies = np.sort(counts[counts > 0])[::-1][:ZIPF_RANKS]
    if len(frequencies) < 2:
        return 0.0
    ranks = np.log(np.arange(1, len(frequencies) + 1))
    ranks -= ranks.mean()
    return -float((ranks * np.log(frequencies)).sum() / (ranks**2).sum())


def unique_share(text: Ints, groups: Groups = None) -> Floats:
    """Share of different sentences, given by a number each, (N,); (1 + J,)."""
    _, sentence = np.unique(text, return_inverse=True)
    counts = _leave_out(
        sentence, np.ones(len(text), np.int64), np.arange(len(text)), groups, sentence.max() + 1
    )
    return (counts > 0).sum(axis=1) / counts.sum(axis=1)


def self_bleu(text: Coded, groups: Groups = None, combine: Combine = method1_scores) -> dict[int, Floats]:
    """Mean self-BLEU-2 … 5; {n: (1 + J,)}."""
    parts = [text]
    if groups is not None:
        parts += [text.take(np.flatnonzero(groups != j)) for j in range(int(groups.max()) + 1)]
    means = [
        {n: values.mean() for n, values in self_bleu_of(part, combine=combine).items()} for part in parts
    ]
    return {n: np.array([mean[n] for mean in means]) for n in means[0]}


def length_distance(lengths: Ints, others: Ints, groups: Groups = None) -> Floats:
    """1-Wasserstein distance of two distributions of lengths: sum over l of |F(l) - G(l)|; (1 + J,)."""
    width = int(max(lengths.max(initial=0), others.max(initial=0))) + 1
    ones = np.ones(len(lengths), np.int64)
    counts = _leave_out(lengths, ones, np.arange(len(lengths)), groups, width)
    other = np.cumsum(np.bincount(others, minlength=width)) / len(others)
    return np.abs(np.cumsum(counts, axis=1) / counts.sum(axis=1)[:, None] - other).sum(axis=1)


def frechet_distance(vectors: Floats, others: Floats, groups: Groups = None) -> Floats:
    """Fréchet distance of sentence embeddings (N, D) and (R, D), taken for Gaussian; (1 + J,).

    |m - m'|² + tr(C + C' - 2 (C C')^½) of their means and covariances (Dowson and Landau 1982).
    """
    theirs = torch.from_numpy(others)
    centre = theirs.mean(dim=0)  # taken from both: the sums below lose no digits
    ours = torch.from_numpy(vectors) - centre
    other_covariance = torch.cov(theirs.T, correction=0).reshape(len(centre), -1)
    values, directions = torch.linalg.eigh(other_covariance)
    root = directions * values.clamp(min=0).sqrt() @ directions.T
    marks = [torch.ones(len(ours), dtype=torch.bool)]
    if groups is not None:
        marks += [torch.from_numpy(groups == j) for j in range(int(groups.max()) + 1)]
    sums = [(int(mark.sum()), ours[mark].sum(dim=0), ours[mark].T @ ours[mark]) for mark in marks]
    size, total, square = sums[0]
    found = []
    for n, s, q in [sums[0], *((size - n, total - s, square - q) for n, s, q in sums[1:])]:
        mean = s / n
        covariance = q / n - mean.outer(mean)
        # tr (C C')^½ is the sum of the roots of the eigenvalues of C'^½ C C'^½, which is symmetric.
        roots = torch.linalg.eigvalsh(root @ covariance @ root).clamp(min=0).sqrt()
        spread = covariance.trace() + other_covariance.trace() - 2 * roots.sum()
        found.append(max(0.0, float(mean.square().sum() + spread)))
    return np.array(found)
