"""GAN losses, for sentences, latents and images alike: one table of (real, fake) losses, and penalties.

A discriminator, or critic, gives each sample of a batch one number, its score; higher is more real. Nothing
here updates anything; which loss reaches which network is decided by the caller, in
`seqgen.core.optim.update`.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.core import compiled, distributed
from seqgen.core.errors import UserError, did_you_mean

Kind = Literal["logistic", "least_squares", "hinge", "wasserstein", "energy"]
"""Kinds whose generator loss needs the scores of fake samples alone; logistic is the non-saturating loss of
Goodfellow et al. (2014), energy that of EBGAN."""

Function = Callable[[Tensor], Tensor]


class GANLoss(NamedTuple):
    """What the two networks minimise, given scores of real samples (R,) and of fake ones (F,)."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    """The discriminator's loss: real scores, fake scores → scalar."""
    generator: Callable[[Tensor, Tensor], Tensor]
    """The generator's loss: real scores, fake scores → scalar. Only the relativistic one reads the real."""
    reward: Function = torch.sigmoid
    """The reward of a policy gradient: fake scores (…) → (…)."""
    threshold: float = 0.0
    """Score above which a sample counts as classified real."""


def energy_of(scores: Tensor) -> Tensor:
    """Return energies, at least 0 and lower for what is more real, of scores; (…) → (…)."""
    return F.softplus(-scores)


def energy(margin: float) -> GANLoss:
    """Return the loss of energies (Zhao et al. 2017, eq. 1 and 2): E[e(x)] + E[max(0, margin - e(x̂))]."""
    return GANLoss(
        lambda real, fake: energy_of(real).mean() + F.relu(margin - energy_of(fake)).mean(),
        lambda real, fake: energy_of(fake).mean(),
        lambda scores: -energy_of(scores),
    )


def cross_entropy(
    real: Tensor,
    fake: Tensor,
    *,
    smoothing: float = 0.0,
    masks: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return the binary cross entropy of as many real as fake samples, in nats; log 2 by chance.

    -½ E[log D(x)] - ½ E[log(1 - D(x̂))] with D = σ(score). One-sided label smoothing (Salimans et al. 2016,
    §3.4) gives real samples the label 1 - smoothing. `masks`: which of the real and the fake scores count.
    """
    loss = F.binary_cross_entropy_with_logits
    on_real = loss(real, torch.full_like(real, 1 - smoothing), reduction="none")
    on_fake = loss(fake, torch.zeros_like(fake), reduction="none")
    of_real, of_fake = masks or (None, None)
    return (_mean(on_real, of_real) + _mean(on_fake, of_fake)) / 2


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return values.mean()
    return (values * mask).sum() / distributed.mean(mask.sum()).clamp(min=1)


def _relativistic(high: Tensor, low: Tensor) -> Tensor:
    """-E[log σ(high - low)] over pairs; the i-th real sample is the i-th fake one's partner."""
    pairs = min(len(high), len(low))
    return F.softplus(low[:pairs] - high[:pairs]).mean()


def _relativistic_average(high: Tensor, low: Tensor) -> Tensor:
    """-½ E[log σ(high - E[low])] - ½ E[log σ(E[high] - low)]."""
    mean_low, mean_high = (distributed.mean(scores.mean()) for scores in (low, high))
    return (F.softplus(mean_low - high).mean() + F.softplus(low - mean_high).mean()) / 2


def _clipped(scores: Tensor) -> Tensor:
    return scores.clamp(0, 1)


def _identity(scores: Tensor) -> Tensor:
    return scores


GAN_LOSSES = {
    "cross_entropy": GANLoss(cross_entropy, lambda real, fake: F.softplus(-fake).mean()),
    "logistic": GANLoss(
        lambda real, fake: F.softplus(-real).mean() + F.softplus(fake).mean(),
        lambda real, fake: F.softplus(-fake).mean(),
    ),
    "least_squares": GANLoss(
        lambda real, fake: ((real - 1).square().mean() + fake.square().mean()) / 2,
        lambda real, fake: (fake - 1).square().mean() / 2,
        _clipped,
        0.5,
    ),
    "hinge": GANLoss(
        lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
        lambda real, fake: -fake.mean(),
        _identity,
    ),
    "wasserstein": GANLoss(
        lambda real, fake: fake.mean() - real.mean(), lambda real, fake: -fake.mean(), _identity
    ),
    "energy": energy(margin=1.0),
    "relativistic_average": GANLoss(
        _relativistic_average, lambda real, fake: _relativistic_average(fake, real), _identity
    ),
    "relativistic": GANLoss(_relativistic, lambda real, fake: _relativistic(fake, real), _identity),
}
"""Every loss by name.

- cross_entropy: half of logistic, the mean over real and fake samples; log 2 by chance
- logistic: -E[log D(x)] - E[log(1 - D(x̂))] with D = σ(score) (Goodfellow et al. 2014, eq. 1), nats, 2 log 2
  by
  chance; the generator's does not saturate: -E[log D(x̂)] (section 3)
- least_squares: ½ E[(s(x) - 1)²] + ½ E[s(x̂)²], ¼ by chance; ½ E[(s(x̂) - 1)²] (Mao et al. 2017, eq. 2)
- hinge: E[max(0, 1 - s(x))] + E[max(0, 1 + s(x̂))]; -E[s(x̂)] (Lim & Ye 2017; Miyato et al. 2018, eq. 16)
- wasserstein: E[s(x̂)] - E[s(x)]; -E[s(x̂)] (Arjovsky et al. 2017); only with a penalty on the gradient
- energy: of e = softplus(-s), margin 1 (Zhao et al. 2017); another margin by `energy`
- relativistic_average: each score against the mean of the other kind (the same, RaSGAN); log 2 by chance
- relativistic: -E[log σ(s(x) - s(x̂))]; -E[log σ(s(x̂) - s(x))] (Jolicoeur-Martineau 2019, RSGAN, eq. 3 and
  4)
"""


def gan_loss(name: str) -> GANLoss:
    """Look a loss up by name; UserError with the nearest name where there is none."""
    if name not in GAN_LOSSES:
        raise UserError(f"no GAN loss '{name}'{did_you_mean(name, GAN_LOSSES)}")
    return GAN_LOSSES[name]


def accuracy(
    real: Tensor,
    fake: Tensor,
    *,
    threshold: float = 0.0,
    masks: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return the fraction of samples classified correctly, real and fake ones weighing half each; scalar.

    `masks`: which of the real and the fake scores count.
    """
    of_real, of_fake = masks or (None, None)
    on_real, on_fake = (real > threshold).float(), (fake < threshold).float()
    return (_mean(on_real, of_real) + _mean(on_fake, of_fake)) / 2


def gradient_penalty(
    critic: Function, real: Tensor, fake: Tensor, *, rng: torch.Generator | None = None
) -> Tensor:
    """Return E[(‖∇D(x̃)‖ - 1)²] at points between real and fake samples (Gulrajani et al. 2017, eq. 3).

    real, fake (B, …) of one shape; x̃ = ε real + (1 - ε) fake with ε uniform, one for each pair. The norm is
    of one sample's whole gradient. The result reaches the critic's parameters alone, and needs a critic that
    scores each sample by itself: no batch normalisation.

    Raises:
        ValueError: the shapes differ.
    """
    if real.shape != fake.shape:
        raise ValueError(f"pairs need one shape, not {tuple(real.shape)} and {tuple(fake.shape)}")
    weight = distributed.rand(len(real), *[1] * (real.dim() - 1), generator=rng, device=real.device)
    # Under autocast real embeddings are float32 where generated ones are bfloat16.
    dtype = torch.promote_types(real.dtype, fake.dtype)
    between = torch.lerp(fake.detach().to(dtype), real.detach().to(dtype), weight.to(dtype))
    norms = (
        _gradients(critic, between).flatten(1).norm(dim=1)
    )  # at a gradient of 0 the norm's own gradient is 0, not nan
    return (norms - 1).square().mean()


def zero_centred_penalty(critic: Function, real: Tensor) -> Tensor:
    """Return ½ E[‖∇D(x)‖²] at real samples (B, …): R1 but for its weight γ (Mescheder et al. 2018, eq. 9)."""
    return _gradients(critic, real.detach()).flatten(1).square().sum(dim=1).mean() / 2


def _gradients(critic: Function, points: Tensor) -> Tensor:
    """∇D at each point, differentiable in the critic's parameters; (B, …) → (B, …)."""
    points = points.requires_grad_()
    # A sample's score depends on that sample alone, so the sum's gradient is every sample's own.
    with compiled.plainly():
        scores = critic(points)
    (gradients,) = torch.autograd.grad(scores.sum(), points, create_graph=True)
    return gradients


def dirichlet_energy(
    function: Function, latents: Tensor, *, probes: int = 1, rng: torch.Generator | None = None
) -> Tensor:
    """Estimate ½ E[‖J‖²], J the Jacobian of function (B, Z) → (B, …) at each latent, Frobenius norm; scalar.

    The Dirichlet energy ½ ∫ |∇G|² dp(z) of a map whose latents are drawn from p. For v of random signs
    E[‖Jᵀv‖²] = ‖J‖² (Hutchinson 1990), so a probe costs one backward pass and no Jacobian is formed. The
    result is differentiable in the function's parameters.
    """
    latents = latents.detach().requires_grad_()
    with compiled.plainly():
        values = function(latents)
    energy = values.new_zeros(())
    for _ in range(probes):
        signs = distributed.rows_of(
            lambda rows: torch.randint(2, (rows, *values.shape[1:]), generator=rng, device=values.device),
            len(values),
        )
        (pulled,) = torch.autograd.grad(values, latents, (2 * signs - 1).to(values.dtype), create_graph=True)
        energy = energy + pulled.flatten(1).square().sum(dim=1).mean() / 2
    return energy / probes


def feature_distance(first: Tensor, second: Tensor) -> Tensor:
    """Return ½ ‖f - g‖² of each pair of feature vectors, averaged over the batch; (B, F), (B, F) → scalar.

    Up to a constant it is the negative log-likelihood, in nats a sample, of a Gaussian of unit variance about
    the features (Larsen et al. 2016, eq. 7 and 8).
    """
    return (first - second).square().sum(dim=1).mean() / 2
