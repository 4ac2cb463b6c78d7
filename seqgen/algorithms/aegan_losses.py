"""Losses of AEGAN's cycle z → x → z, and how much x depends on z.

Also what gives an autoencoder's latent vectors a standard Gaussian distribution without changing its
sentences.
"""

from contextlib import ExitStack
from typing import Literal

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from seqgen.algorithms import rewards
from seqgen.core import distributed
from seqgen.data.tokenizer import PAD, UNK
from seqgen.functional import chunked_loss
from seqgen.functional.contrastive_losses import info_nce, logistic_contrastive
from seqgen.functional.gan_losses import dirichlet_energy
from seqgen.generation.sample import shifted
from seqgen.models.base import Generator
from seqgen.models.encoder import RNNEncoder

Pairing = Literal["info_nce", "logistic"]


def pairing_loss(
    kind: Pairing,
    latents: Tensor,
    encoded: Tensor,
    *,
    temperature: float = 0.1,
    strength: float = 1.0,
    gamma: float = 1.0,
) -> Tensor:
    """Return the loss of telling which latent vector a sentence was decoded from; (B, Z), (B, Z) → scalar.

    latents: those that sentences were decoded from. encoded: the encoder's, of those sentences.

    info_nce: in nats, log B by chance, of cosines over `temperature`. logistic: half the squared distance,
    less `strength` (λ) times the logistic similarity, of sensitivity `gamma`, to the own latent vector over
    that to the others.
    """
    if kind == "info_nce":
        return info_nce(latents, encoded, temperature=temperature)
    return logistic_contrastive(latents, encoded, strength=strength, gamma=gamma)


def decoder_energy(
    generator: Generator,
    latents: Tensor,
    tokens: Tensor,
    *,
    probes: int = 1,
    rng: torch.Generator | None = None,
) -> Tensor:
    """Estimate the Dirichlet energy ½ E[‖∂p/∂z‖²] of a decoder at latents (B, Z); scalar.

    p are the probabilities (T, V) of every next token along a given sentence, tokens (B, T): how much
    the sentence depends on the latent vector, summed over real positions. Hutchinson's estimate with so many
    `probes`, differentiable in the generator. Dropout is as the generator's mode has it.
    """
    real = (tokens != PAD)[..., None]
    read = shifted(tokens)

    def probs(given: Tensor) -> Tensor:
        hidden, _ = generator.hidden(read, generator.initial(len(given), given))
        return torch.softmax(generator.head(hidden), dim=-1) * real

    with ExitStack() as stack:  # the fast kernels cannot be differentiated twice
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        return dirichlet_energy(probs, latents, probes=probes, rng=rng)


def reinforce(generator: Generator, latents: Tensor, tokens: Tensor, scores: Tensor) -> Tensor:
    """Raise the likelihood of sentences that score better than the others of the batch; scalar.

    latents (B, Z), tokens (B, T) sampled from them without unknown words, scores (B,), higher is better
    (Williams 1992). Every token earns its sentence's score, less the mean of the others that reach its
    position; the advantages have deviation 1. Dropout is as the generator's mode has it: off, where the
    tokens were drawn without.
    """
    mask = tokens != PAD
    earned = scores.detach()[:, None] * mask
    advantages = rewards.advantages(earned, rewards.leave_one_out(earned, mask), mask)
    count = distributed.mean(mask.sum()).clamp(min=1)
    weights = rewards.normalise(advantages, mask) / count
    hidden, _ = generator.hidden(shifted(tokens), generator.initial(len(tokens), latents))
    bias = generator.bias(forbid=(UNK,))  # the policy that sampled the tokens
    rows, targets, row_weights = chunked_loss.real_rows(mask, hidden, tokens, weights)
    return chunked_loss.head_loss(rows, generator.head.weight, bias, targets, row_weights).loss


@torch.no_grad()
def whiten(generator: Generator, encoder: RNNEncoder, mean: Tensor, cov: Tensor) -> None:
    """Replace latent vectors z by u = L⁻¹ (z - mean), which have mean 0 and covariance I.

    mean (Z,), cov (Z, Z): the moments of z; L is the Cholesky factor of the covariance. The weights change so
    that the encoder returns u and the decoder reads u, and every sentence is encoded and decoded as before:
    the encoder's last layer becomes L⁻¹ (W h + b - mean), and a layer of the decoder with weight A over z
    becomes one with weight A L over u and A · mean added to its bias. The encoder's variances stay: an
    autoencoder has none.
    """
    factor = torch.linalg.cholesky(cov + 1e-5 * torch.eye(len(cov), device=cov.device))
    solve = torch.linalg.solve_triangular
    encoder.mean.weight.copy_(solve(factor, encoder.mean.weight, upper=False))
    encoder.mean.bias.copy_(solve(factor, (encoder.mean.bias - mean)[:, None], upper=False)[:, 0])
    for weight, bias in generator.latent_layers():
        over_latent = weight[:, -len(mean) :]
        bias.add_(over_latent @ mean)
        over_latent.copy_(over_latent @ factor)


def set_posterior_deviation(encoder: RNNEncoder, deviation: float) -> None:
    """Give every posterior the standard deviation s < 1, and scale means so that the total variance stays 1.

    An encoder of means u, of variance 1, becomes one of N(√(1 - s²) u, s² I).
    """
    with torch.no_grad():
        shrink = (1 - deviation**2) ** 0.5
        encoder.mean.weight.mul_(shrink)
        encoder.mean.bias.mul_(shrink)
        encoder.log_var.weight.zero_()
        encoder.log_var.bias.fill_(2 * torch.tensor(deviation).log())
