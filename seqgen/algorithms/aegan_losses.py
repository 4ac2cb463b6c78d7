"""Losses of the two cycles between sentences and codes, beside reconstruction: z → x → z, and how z moves x.

Also what makes an autoencoder's codes those of a standard Gaussian prior, without changing what it writes.
"""

from contextlib import ExitStack
from typing import Literal

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from seqgen.algorithms import rewards
from seqgen.data.tokenizer import PAD, UNK
from seqgen.functional import chunked_loss
from seqgen.functional.contrastive_losses import info_nce, logistic_contrastive
from seqgen.functional.gan_losses import dirichlet_energy
from seqgen.generation.sample import shifted
from seqgen.models.encoder import RNNEncoder
from seqgen.models.rnn_generator import RNNGenerator
from seqgen.models.vocab_head import NEVER

Pairing = Literal["info_nce", "logistic"]


def pairing_loss(kind: Pairing, codes: Tensor, again: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Ask that a sentence's code tells which code it was written of; (B, Z), (B, Z) → scalar.

    info_nce: in nats, log B by chance, of cosines over `temperature`. logistic: half the squared distance,
    less the logistic similarity to the own code over that to the others.
    """
    if kind == "info_nce":
        return info_nce(codes, again, temperature=temperature)
    return logistic_contrastive(codes, again)


def decoder_energy(
    generator: RNNGenerator,
    codes: Tensor,
    tokens: Tensor,
    *,
    probes: int = 1,
    rng: torch.Generator | None = None,
) -> Tensor:
    """Estimate the Dirichlet energy ½ E[‖∂p/∂z‖²] of a decoder at codes (B, Z); scalar.

    p are the probabilities (T, V) of every next token along a given sentence, tokens (B, T): how much what
    is written turns on the code, at real positions, summed over them. Hutchinson's estimate with so many
    `probes`, differentiable in the generator. Dropout is as the generator's mode has it.
    """
    real = (tokens != PAD)[..., None]
    read = shifted(tokens)

    def probs(given: Tensor) -> Tensor:
        hidden, _ = generator.hidden(read, generator.state(given))
        return torch.softmax(generator.head(hidden), dim=-1) * real

    with ExitStack() as stack:  # the fast kernels cannot be differentiated twice
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        return dirichlet_energy(probs, codes, probes=probes, rng=rng)


def reinforce(generator: RNNGenerator, codes: Tensor, tokens: Tensor, scores: Tensor) -> Tensor:
    """Raise the likelihood of sentences that score better than the others of the batch; scalar.

    codes (B, Z), tokens (B, T) drawn from them without unknown words, scores (B,), higher is better
    (Williams 1992). Every token earns its sentence's score, less the mean of the others that reach its
    position; the advantages have deviation 1. Dropout is as the generator's mode has it: off, where the
    tokens were drawn without.
    """
    mask = tokens != PAD
    earned = scores.detach()[:, None] * mask
    advantages = rewards.advantages(earned, rewards.leave_one_out(earned, mask), mask)
    weights = rewards.normalise(advantages, mask)[mask] / mask.sum().clamp(min=1)
    hidden, _ = generator.hidden(shifted(tokens), generator.state(codes))
    head = generator.head
    unknown = torch.tensor([UNK], device=tokens.device)
    known = head.bias.index_fill(0, unknown, NEVER)  # the policy that wrote the tokens
    return chunked_loss.head_loss(hidden[mask], head.weight, known, tokens[mask], weights).loss


@torch.no_grad()
def whiten(generator: RNNGenerator, encoder: RNNEncoder, mean: Tensor, cov: Tensor) -> None:
    """Turn codes z of mean (Z,) and covariance (Z, Z) into u = L⁻¹ (z - mean), of mean 0 and covariance I.

    L is the Cholesky factor. The encoder gives u, the decoder takes it, and both else do what they did: a
    linear map of the code goes into the layers that make and that read it. The encoder's variances, of which
    an autoencoder makes no use, stay.
    """
    assert generator.begin is not None, "a generator without a code has nothing to whiten"
    factor = torch.linalg.cholesky(cov + 1e-5 * torch.eye(len(cov), device=cov.device))
    solve = torch.linalg.solve_triangular
    encoder.mean.weight.copy_(solve(factor, encoder.mean.weight, upper=False))
    encoder.mean.bias.copy_(solve(factor, (encoder.mean.bias - mean)[:, None], upper=False)[:, 0])
    first = dict(generator.rnn.named_parameters())
    for weight, bias in (
        (generator.begin.weight, generator.begin.bias),
        (first["weight_ih_l0"], first["bias_ih_l0"]),
    ):
        reads = weight[:, -len(mean) :]  # of what a step reads, the code is last
        bias.add_(reads @ mean)
        reads.copy_(reads @ factor)


def blur(encoder: RNNEncoder, deviation: float) -> None:
    """Give every code the same spread about a mean that is drawn in, so that codes of variance 1 keep it.

    An encoder of means u becomes one of N(√(1 - s²) u, s² I) for a deviation s < 1.
    """
    with torch.no_grad():
        shrink = (1 - deviation**2) ** 0.5
        encoder.mean.weight.mul_(shrink)
        encoder.mean.bias.mul_(shrink)
        encoder.log_var.weight.zero_()
        encoder.log_var.bias.fill_(2 * torch.tensor(deviation).log())
