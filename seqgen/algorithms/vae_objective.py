"""The objective of a VAE of sentences: KL term, reconstruction and importance-weighted likelihood."""

import math
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from seqgen.core import distributed
from seqgen.core.device import is_host, widened
from seqgen.data.augment import mask_words
from seqgen.data.tokenizer import EOS, PAD, UNK
from seqgen.functional import gaussian
from seqgen.functional.chunked_loss import head_loss, real_rows
from seqgen.generation.sample import Samples, log_prob, sample, shifted
from seqgen.metrics.reconstruction import reconstruction_bleu
from seqgen.models.base import Generator, evaluating
from seqgen.models.encoder import RNNEncoder

Anneal = Literal["none", "linear", "logistic", "cyclical"]
Penalty = Literal["kl", "free_bits", "hinge", "target"]

BLOCK = 64
"""Sentences whose latent vectors are drawn together: 4 MB of 500 vectors of 32 dimensions each."""
POSITIONS = 1 << 15
"""Positions that the decoder reads at a time: 25 MB of states of 192 units."""
RECONSTRUCTED = 256
"""Held-out sentences, evenly chosen, that a report reconstructs: a second's work beside its likelihood."""
POSTERIOR_WEIGHTS = 1.0, 0.5, 0.0
"""The proposal distributions: the posterior's weight in each, against the prior (`gaussian.tempered`)."""


def anneal(progress: float, kind: Anneal, *, over: float = 0.2, cycles: int = 4) -> float:
    """Return the weight of the KL term, 0 to 1, at `progress` in [0, 1] of training.

    linear: from 0 to 1 over the first `over` of training (Bowman et al. 2016). logistic: a sigmoid over the
    same span, 0.0025 at its start, 1/2 half way, 0.9975 at its end and from there on. cyclical: `cycles`
    times from 0 to 1 over the first half of a cycle, then 1 (Fu et al. 2019).
    """
    if kind == "none":
        return 1.0
    if kind == "cyclical":
        return min(2 * (progress * cycles % 1.0), 1.0)
    done = min(progress / over, 1.0) if over > 0 else 1.0
    return done if kind == "linear" else 1 / (1 + math.exp(-12 * (done - 0.5)))


def penalty(kl: Tensor, kind: Penalty, target: float) -> Tensor:
    """Return the KL term of a batch, nats a sentence, from the KL of each dimension; (B, Z) → scalar.

    kl: the sum over dimensions, its mean over sentences. free_bits: the same, but a dimension whose mean is
    below target / Z, target / Z, counts as that much and is not pushed further down (Kingma et al. 2016).
    hinge: the same bound on the sum. target: the sum's distance from the target (Burgess et al. 2018).
    """
    dimensions = distributed.mean(kl.mean(dim=0))
    if kind == "free_bits":
        return dimensions.clamp(min=target / len(dimensions)).sum()
    total = dimensions.sum()
    if kind == "hinge":
        return total.clamp(min=target)
    return (total - target).abs() if kind == "target" else total


def total_correlation(cov: Tensor) -> Tensor:
    """Return the total correlation of dimensions that are jointly Gaussian, in nats; (Z, Z) → scalar, ≥ 0.

    It is the divergence of their joint distribution from the product of each one's own.
    """
    return (cov.diagonal().log().sum() - torch.logdet(cov)) / 2


class Moments(NamedTuple):
    """Mean and covariance of latents: running ones are buffers that `follow` updates in place."""

    mean: Tensor
    """(Z,)"""
    cov: Tensor
    """(Z, Z)"""

    def of_batch(self, mean: Tensor, var: Tensor | None = None) -> Tensor:
        """Return the covariance about the mean of latents (B, Z), or of Gaussians with such variances."""
        errors = mean - self.mean
        cov = errors.t() @ errors / len(mean)
        return distributed.mean(cov if var is None else cov + var.mean(dim=0).diag())

    @torch.no_grad()
    def follow(self, rate: Tensor, mean: Tensor, var: Tensor | None = None) -> None:
        """Go `rate` of the way to a batch's moments."""
        self.mean.lerp_(distributed.mean(mean.mean(dim=0)), rate)
        self.cov.lerp_(self.of_batch(mean, var), rate)


def reconstruction(
    generator: Generator, tokens: Tensor, latents: Tensor, *, mask_rate: float = 0.0
) -> Tensor:
    """Return -log p(tokens | latents), summed over the batch's real tokens, in nats; differentiable.

    tokens (B, T), latents (B, Z) → scalar. `mask_rate` is the fraction of words that the decoder reads as
    unknown.
    """
    real = tokens != PAD
    hidden, _ = generator.hidden(
        mask_words(shifted(tokens), mask_rate), generator.initial(len(tokens), latents)
    )
    head = generator.head
    rows, targets, weights = real_rows(real, hidden, tokens, real.to(hidden.dtype))
    return head_loss(rows, head.weight, head.bias, targets, weights).loss


def encode(encoder: RNNEncoder, tokens: Tensor) -> Tensor:
    """Return the mean of each sentence's posterior, without dropout or gradient; (B, T) → (B, Z)."""
    with evaluating(encoder):
        return encoder(tokens)[0]


def decode(
    generator: Generator,
    latents: Tensor,
    length: int,
    *,
    temperature: float = 0.0,
    rng: torch.Generator | None = None,
    **options: object,
) -> Samples:
    """Decode latent vectors (B, Z), by the likeliest words by default; options as of `sample`."""
    with torch.no_grad():
        state = generator.initial(len(latents), latents.to(generator.head.weight))
    return sample(generator, len(latents), length, temperature=temperature, state=state, rng=rng, **options)  # type: ignore[arg-type]


class Posteriors(NamedTuple):
    """The Gaussian posteriors of N sentences."""

    mean: Tensor
    """(N, Z)"""
    log_var: Tensor
    """(N, Z)"""


def posteriors(encoder: RNNEncoder, batches: Iterable[Tensor]) -> Posteriors | None:
    """Encode batches (B, T) without dropout; None where there is no sentence."""
    with evaluating(encoder):
        found = [encoder(tokens) for tokens in batches]
    if not found:
        return None
    means, log_vars = zip(*found, strict=True)
    return Posteriors(torch.cat(means), torch.cat(log_vars))


class Weights(NamedTuple):
    """What S latents z drawn for each of B sentences x weigh, in nats; (S, B) each."""

    likelihood: Tensor
    """log p(x | z)"""
    prior: Tensor
    """log p(z) - log q(z | x), q what z was drawn from"""

    def log_likelihood(self) -> Tensor:
        """Return the importance-weighted estimate of log p(x), in the mean a lower bound of it; (B,)."""
        return gaussian.importance_log_likelihood(self.likelihood + self.prior)


def importance_weights(
    encoder: RNNEncoder,
    generator: Generator,
    tokens: Tensor,
    *,
    samples: int,
    rng: torch.Generator | None = None,
) -> Weights:
    """Weigh latents drawn for each sentence from what its posterior may be, without dropout; (B, T) → (S, B).

    A posterior that was learned on other sentences is too sure of itself, and a bound from its draws alone
    falls far below the likelihood. So the draws are shared out between it, the prior and what lies half way
    (`POSTERIOR_WEIGHTS`), and weighed by the density of the mixture, the balance heuristic of Veach & Guibas
    1995 ("Optimally combining sampling techniques"): no weight exceeds S / draws from the prior times p(x |
    z).

    A sentence is encoded once, its latents are decoded together with those of others, a bounded number of
    positions at a time. Sentences of like length side by side waste the least on padding.
    """
    with evaluating(encoder), evaluating(generator):
        parts = [_weigh(encoder, generator, part, samples, rng) for part in tokens.split(BLOCK)]
    likelihoods, priors = zip(*parts, strict=True)
    return Weights(torch.cat(likelihoods, dim=1), torch.cat(priors, dim=1))


def _weigh(
    encoder: RNNEncoder, generator: Generator, tokens: Tensor, samples: int, rng: torch.Generator | None
) -> Weights:
    """Weigh `samples` latent vectors for each of a few sentences, (B, T) → (S, B)."""
    if is_host(tokens.device):
        tokens = tokens[:, : max(1, int((tokens != PAD).any(dim=0).sum()))]
    mean, log_var = (part.float()[:, None] for part in encoder(tokens))  # (B, 1, Z)
    proposals = _proposals(mean, log_var, samples)
    shapes = [(len(tokens), count, mean.shape[-1]) for count, *_ in proposals]
    drawn = [
        gaussian.sample(middle.expand(shape), spread.expand(shape), rng)
        for shape, (_, middle, spread) in zip(shapes, proposals, strict=True)
    ]
    latents = torch.cat(drawn, dim=1)  # (B, S, Z)
    densities = [
        math.log(count / samples) + gaussian.log_density(latents, middle, spread)
        for count, middle, spread in proposals
    ]
    density = torch.stack(densities).logsumexp(dim=0)
    prior = gaussian.prior_log_density(latents) - density
    likelihood = _log_likelihood_of_latents(generator, tokens, latents)
    return Weights(likelihood.t(), widened(prior).t())


def _proposals(mean: Tensor, log_var: Tensor, samples: int) -> list[tuple[int, Tensor, Tensor]]:
    """Return each proposal distribution: how many of the samples it draws, its mean and log variance."""
    kinds = len(POSTERIOR_WEIGHTS)
    counts = [samples // kinds + (i < samples % kinds) for i in range(kinds)]
    return [
        (count, *gaussian.tempered(mean, log_var, weight))
        for count, weight in zip(counts, POSTERIOR_WEIGHTS, strict=True)
        if count
    ]


def _log_likelihood_of_latents(generator: Generator, tokens: Tensor, latents: Tensor) -> Tensor:
    """log p(x | z) for S latent vectors of each sentence; (B, T), (B, S, Z) → (B, S), float64."""
    samples = latents.shape[1]
    rows, flat = torch.arange(len(tokens) * samples, device=tokens.device), latents.flatten(0, 1)
    scores = [
        widened(log_prob(generator, tokens[part // samples], generator.initial(len(part), flat[part]))).sum(
            dim=1
        )
        for part in rows.split(max(1, POSITIONS // tokens.shape[1]))
    ]
    return torch.cat(scores).view(len(tokens), samples)


def one_draw_nll(encoder: RNNEncoder, generator: Generator, batches: Iterable[Tensor]) -> float:
    """Sum -log p(x | z) over sentences, one draw z of each one's posterior, always the same ones; nats."""
    rng = torch.Generator(generator.head.weight.device).manual_seed(0)
    parts = (importance_weights(encoder, generator, tokens, samples=1, rng=rng) for tokens in batches)
    return -sum(float(part.likelihood.sum()) for part in parts)


def measure(
    encoder: RNNEncoder,
    generator: Generator,
    batches: Iterable[Tensor],
    found: Posteriors | None = None,
    *,
    samples: int,
) -> dict[str, float]:
    """Return what held-out batches (B, T) say of an encoder and its decoder; nothing where there are none.

    `found` are their posteriors, if known.

    `valid_recon` (of one draw each), `valid_kl` and `valid_elbo` in nats a sentence; `valid_nll`, nats a
    token, by so many draws, and its exponential `valid_ppl`; `mutual_information`, nats; `active_units`.
    """
    found = found or posteriors(encoder, batches)
    if found is None:
        return {}
    nats, tokens = 0.0, 0
    for batch in batches:
        nats -= float(importance_weights(encoder, generator, batch, samples=samples).log_likelihood().sum())
        tokens += int((batch != PAD).sum())
    recon = one_draw_nll(encoder, generator, batches) / len(found.mean)
    kl = float(gaussian.kl(*found).sum(dim=1).mean())
    return {
        "valid_recon": recon,
        "valid_kl": kl,
        "valid_elbo": -(recon + kl),
        "valid_nll": nats / tokens,
        "valid_ppl": math.exp(min(nats / tokens, 700.0)),
        "mutual_information": max(gaussian.mutual_information(*found), 0.0),  # an estimate may fall below
        "active_units": float(gaussian.active_units(found.mean)),
    }


def evenly_chosen(batches: Iterable[Tensor], most: int) -> list[Tensor]:
    """Return every k-th row of batches (B, T), k the least by which there are no more than `most` rows."""
    every = max(1, math.ceil(sum(len(tokens) for tokens in batches) / most))
    chosen, seen = [], 0
    for tokens in batches:
        chosen.append(tokens[-seen % every :: every])
        seen += len(tokens)
    return [rows for rows in chosen if len(rows)]


def measure_reconstructions(
    encoder: RNNEncoder,
    generator: Generator,
    batches: Iterable[Tensor],
    length: int,
    of_sentence: Callable[[Tensor], Tensor] = lambda tokens: tokens != PAD,
) -> dict[str, float]:
    """Return how near greedy reconstructions of held-out sentences (B, T) are; nothing where there are none.

    Of `RECONSTRUCTED` sentences at most, each decoded from its posterior mean: `reconstruction_bleu`, corpus
    BLEU-4 of tokens, 0 to 100, and `shuffled_bleu`, the same of reconstructions from the latents of other
    sentences (`seqgen.metrics.reconstruction`). Unknown words are not generated. of_sentence: which tokens
    count, (B, T) → bool (B, T).
    """
    originals: list[str] = []
    reconstructions: list[str] = []
    with evaluating(generator):
        for tokens in evenly_chosen(batches, RECONSTRUCTED):
            decoded = decode(generator, encode(encoder, tokens), length, forbid=(UNK,)).tokens
            for found, kept in ((originals, tokens), (reconstructions, decoded)):
                own = of_sentence(kept) & (kept != EOS)
                rows = zip(kept.tolist(), own.tolist(), strict=True)
                found += [" ".join(str(i) for i, is_own in zip(*row, strict=True) if is_own) for row in rows]
    if not originals:
        return {}
    found_bleu = reconstruction_bleu(reconstructions, originals)
    return {"reconstruction_bleu": found_bleu.own, "shuffled_bleu": found_bleu.shuffled}
