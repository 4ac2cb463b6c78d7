"""How far one latent dimension alone says what a known factor of an item is: the mutual information gap.

Chen et al. 2018 ("Isolating sources of disentanglement in variational autoencoders", eq. 6), with the mutual
information of histograms (Locatello et al. 2019, "Challenging common assumptions in the unsupervised learning
of disentangled representations").
"""

import numpy as np

from seqgen.ngrams.ngrams import Floats, Ints

BINS = 20
"""Bins of equal width between a dimension's least and greatest value."""


def mutual_information_gap(latents: Floats, factors: Ints) -> float:
    """Return the mean over factors of (I₁ - I₂) / H; latents (N, Z), factors (N, K) → in [0, 1].

    I₁ and I₂ are the largest and the second largest mutual information of a factor with a dimension, and H is
    the factor's entropy. 1 where one dimension alone says each factor, 0 where two say it equally well. Of
    few items mutual information is overestimated, by about (bins - 1) (values - 1) / 2N nats.

    Raises:
        ValueError: a factor has one value alone.
    """
    gaps = []
    for factor in factors.T:
        _, values = np.unique(factor, return_inverse=True)
        entropy = _entropy(np.bincount(values))
        if not entropy:
            raise ValueError("a factor that never varies has no mutual information with anything")
        found = sorted(mutual_information(each, values) for each in latents.T)
        gaps.append((found[-1] - (found[-2] if len(found) > 1 else 0.0)) / entropy)
    return float(np.mean(gaps))


def mutual_information(latent: Floats, values: Ints) -> float:
    """Return the mutual information, nats, of a histogram of a dimension (N,) and whole numbers (N,)."""
    low, high = latent.min(), latent.max()
    if high <= low:
        return 0.0
    bins = np.minimum(((latent - low) / (high - low) * BINS).astype(int), BINS - 1)
    joint = np.zeros((BINS, int(values.max()) + 1))
    np.add.at(joint, (bins, values), 1)
    return _entropy(joint.sum(axis=1)) + _entropy(joint.sum(axis=0)) - _entropy(joint.ravel())


def _entropy(counts: Floats | Ints) -> float:
    """Return the entropy, nats, of relative frequencies; (N,) counts."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())
