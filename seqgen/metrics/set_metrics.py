"""Metrics of a whole set of sentences, with the leave-one-group-out values that the jackknife needs.

Every function returns 1 + J values: of the whole set, then of the set without group j. `Groups` assigns each
sentence to a group, (N,); without groups there is only the value of the whole set.
"""

import numpy as np
import torch

from seqgen.metrics.bleu import Combine, method1_scores, self_bleu_of_encoded
from seqgen.ngrams.ngrams import EncodedText, Floats, Ints, count_ngrams, join, sum_by_key

Groups = Ints | None
ZIPF_RANKS = 5000


def ngram_metrics(
    text: EncodedText, refs: EncodedText, groups: Groups = None
) -> dict[str, dict[int, Floats]]:
    """All metrics of n-gram counts, by name and order, from one count of both texts.

    `distinct` and `entropy` for n = 1 … 4, `jsd` and `ms_jaccard` for 2 … 5, and for n = 1 `zipf`,
    `coverage` and `vocabulary`. NaN where there is no n-gram of the order: in the text, for `distinct` and
    `entropy`; in neither text, for `jsd` and `ms_jaccard`.
    """
    sizes = _sizes(len(text), groups)
    found: dict[str, dict[int, Floats]] = {}
    jaccards = []
    for grams in count_ngrams(join([text, refs]), 5):
        is_sample = grams.sentence < len(text)
        width = len(grams.first)
        ref_counts = sum_by_key(grams.gram[~is_sample], grams.count[~is_sample], width)
        entries = grams.gram[is_sample], grams.count[is_sample], grams.sentence[is_sample]
        counts = _leave_group_out(*entries, groups, width)
        of_order = {} if grams.n > 4 else {"distinct": _distinct(counts), "entropy": _entropy(counts)}
        jaccards.append(_jaccard(counts, ref_counts, sizes, len(refs)))
        if grams.n > 1:
            of_order["jsd"] = np.array([jensen_shannon(row, ref_counts) for row in counts])
            of_order["ms_jaccard"] = np.prod(jaccards, axis=0) ** (1 / grams.n)
        else:
            of_order["zipf"] = np.array([zipf(row) for row in counts])
            of_order["vocabulary"] = (counts > 0).sum(axis=1).astype(np.float64)
            covered = ((counts > 0) & (ref_counts > 0)).sum(axis=1)
            of_order["coverage"] = covered / max(1, int((ref_counts > 0).sum()))
        for name, values in of_order.items():
            found.setdefault(name, {})[grams.n] = values
    return found


def _sizes(n: int, groups: Groups) -> Floats:
    return n - _per_group(np.ones(n), groups)


def _per_group(values: Floats, groups: Groups) -> Floats:
    """Sum the values of each group; (N,) → (1 + J,), the first 0: nothing is left out of the whole set."""
    return np.zeros(1) if groups is None else np.append(0.0, np.bincount(groups, values))


def _leave_group_out(gram: Ints, count: Ints, sentence: Ints, groups: Groups, width: int) -> Floats:
    """Count each n-gram in the whole set, then without each group; (1 + J, G)."""
    whole = sum_by_key(gram, count, width)
    if groups is None:
        return whole[None]
    size = int(groups.max()) + 1
    within = np.bincount(groups[sentence] * width + gram, count, minlength=size * width)
    return np.concatenate([whole[None], whole - within.reshape(size, width)])


def _distinct(counts: Floats) -> Floats:
    return _of_total((counts > 0).sum(axis=1), counts)


def _of_total(values: Floats, counts: Floats) -> Floats:
    """Divide by the number of n-grams, NaN where there is none; (1 + J,), (1 + J, G) → (1 + J,)."""
    total = counts.sum(axis=1)
    return np.divide(values, total, out=np.full(len(total), np.nan), where=total > 0)


def _entropy(counts: Floats) -> Floats:
    """Entropy of the n-gram frequencies, in nats: log C - sum c log c / C; (1 + J, G) → (1 + J,)."""
    logs = np.array([(row * np.log(np.maximum(1, row))).sum() for row in counts])
    return np.log(np.maximum(1, counts.sum(axis=1))) - _of_total(logs, counts)


def _jaccard(counts: Floats, ref_counts: Floats, sizes: Floats, refs: int) -> Floats:
    """Multiset Jaccard index of n-gram counts per sentence: sum of min / sum of max; (1 + J,).

    NaN where neither text has an n-gram of the order.
    """
    scores = []
    for row, size in zip(counts, sizes, strict=True):
        per_sentence, per_reference = row / size, ref_counts / refs
        union = np.maximum(per_sentence, per_reference).sum()
        scores.append(np.minimum(per_sentence, per_reference).sum() / union if union > 0 else np.nan)
    return np.array(scores)


def jensen_shannon(counts: Floats, other: Floats) -> float:
    """Jensen–Shannon divergence of two frequency tables of the same G n-grams, in nats: 0 … log 2.

    If one table is empty it is log 2; if both are there is nothing to compare, and it is NaN.
    """
    sums = counts.sum(), other.sum()
    if not all(sums):
        return float("nan") if not any(sums) else float(np.log(2))
    p, q = counts / sums[0], other / sums[1]
    mixture = (p + q) / 2
    return float((_kl_divergence(p, mixture) + _kl_divergence(q, mixture)) / 2)


def _kl_divergence(p: Floats, q: Floats) -> float:
    support = p > 0
    return float((p[support] * np.log(p[support] / q[support])).sum())


def zipf(counts: Floats) -> float:
    """Zipf's exponent: minus the least-squares slope of log frequency on log rank, 5,000 most frequent words.

    The estimator of Holtzman et al. 2020 (The Curious Case of Neural Text Degeneration); 0 for fewer than two
    words.
    """
    frequencies = np.sort(counts[counts > 0])[::-1][:ZIPF_RANKS]
    if len(frequencies) < 2:
        return 0.0
    ranks = np.log(np.arange(1, len(frequencies) + 1))
    ranks -= ranks.mean()
    return -float((ranks * np.log(frequencies)).sum() / (ranks**2).sum())


def unique_fraction(text: Ints, groups: Groups = None) -> Floats:
    """Fraction of distinct sentences, each given by an id, (N,); (1 + J,)."""
    _, sentence = np.unique(text, return_inverse=True)
    counts = _leave_group_out(
        sentence, np.ones(len(text), np.int64), np.arange(len(text)), groups, sentence.max() + 1
    )
    return (counts > 0).sum(axis=1) / counts.sum(axis=1)


def self_bleu(
    text: EncodedText, groups: Groups = None, combine: Combine = method1_scores
) -> dict[int, Floats]:
    """Mean self-BLEU-2 … 5; {n: (1 + J,)}."""
    parts = [text]
    if groups is not None:
        parts += [text.take(np.flatnonzero(groups != j)) for j in range(int(groups.max()) + 1)]
    means = [
        {n: values.mean() for n, values in self_bleu_of_encoded(part, combine=combine).items()}
        for part in parts
    ]
    return {n: np.array([mean[n] for mean in means]) for n in means[0]}


def length_distance(lengths: Ints, others: Ints, groups: Groups = None) -> Floats:
    """1-Wasserstein distance of two distributions of lengths: sum over l of |F(l) - G(l)|; (1 + J,)."""
    width = int(max(lengths.max(initial=0), others.max(initial=0))) + 1
    ones = np.ones(len(lengths), np.int64)
    counts = _leave_group_out(lengths, ones, np.arange(len(lengths)), groups, width)
    other = np.cumsum(np.bincount(others, minlength=width)) / len(others)
    return np.abs(np.cumsum(counts, axis=1) / counts.sum(axis=1)[:, None] - other).sum(axis=1)


def frechet_distance(vectors: Floats, others: Floats, groups: Groups = None) -> Floats:
    """Fréchet distance of sentence embeddings (N, D) and (R, D), both approximated by Gaussians; (1 + J,).

    |m - m'|² + tr(C + C' - 2 (C C')^½) of their means and covariances (Dowson and Landau 1982).
    """
    reference = torch.from_numpy(others)
    centre = reference.mean(dim=0)  # subtracted from both, so that the sums below lose no precision
    samples = torch.from_numpy(vectors) - centre
    other_covariance = torch.cov(reference.T, correction=0).reshape(len(centre), -1)
    values, directions = torch.linalg.eigh(other_covariance)
    root = directions * values.clamp(min=0).sqrt() @ directions.T
    masks = [torch.ones(len(samples), dtype=torch.bool)]
    if groups is not None:
        masks += [torch.from_numpy(groups == j) for j in range(int(groups.max()) + 1)]
    sums = [(int(mask.sum()), samples[mask].sum(dim=0), samples[mask].T @ samples[mask]) for mask in masks]
    size, total, square = sums[0]
    distances = []
    for n, s, q in [sums[0], *((size - n, total - s, square - q) for n, s, q in sums[1:])]:
        mean = s / n
        covariance = q / n - mean.outer(mean)
        # tr (C C')^½ is the sum of the roots of the eigenvalues of C'^½ C C'^½, which is symmetric.
        roots = torch.linalg.eigvalsh(root @ covariance @ root).clamp(min=0).sqrt()
        spread = covariance.trace() + other_covariance.trace() - 2 * roots.sum()
        distances.append(max(0.0, float(mean.square().sum() + spread)))
    return np.array(distances)
