"""Losses of critics and of what they judge, and the penalties that keep both smooth.

A critic gives each sample of a batch one number. Higher is more real for every kind but `energy`, whose
critic gives an energy: at least 0, and lower is more real. Nothing here moves anything; which loss reaches
which network is the caller's, by `seqgen.core.optim.update`.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.core.errors import UserError, did_you_mean

Kind = Literal["logistic", "least_squares", "hinge", "wasserstein", "energy"]
"""Logistic is the non-saturating game of Goodfellow et al. (2014); energy that of EBGAN."""

KINDS: tuple[str, ...] = get_args(Kind)

Function = Callable[[Tensor], Tensor]


def critic_loss(kind: Kind, real: Tensor, fake: Tensor, *, margin: float = 1.0) -> Tensor:
    """Return what the critic minimises, given its scores of real and of made samples; (R,), (F,) → scalar.

    - logistic: -E[log D(x)] - E[log(1 - D(x̂))] with D = σ(score) (Goodfellow et al. 2014, eq. 1), nats;
      2 log 2 by chance
    - least_squares: ½ E[(x - 1)²] + ½ E[x̂²] (Mao et al. 2017, eq. 2 with labels 1 and 0)
    - hinge: E[max(0, 1 - x)] + E[max(0, 1 + x̂)] (Lim & Ye 2017; Miyato et al. 2018, eq. 16)
    - wasserstein: E[x̂] - E[x] (Arjovsky et al. 2017); only with a penalty that bounds the critic's slope
    - energy: E[x] + E[max(0, margin - x̂)] of energies (Zhao et al. 2017, eq. 1)

    Raises:
        UserError: there is no such kind.
    """
    if kind == "logistic":
        return F.softplus(-real).mean() + F.softplus(fake).mean()
    if kind == "least_squares":
        return ((real - 1).square().mean() + fake.square().mean()) / 2
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    if kind == "wasserstein":
        return fake.mean() - real.mean()
    if kind == "energy":
        return real.mean() + F.relu(margin - fake).mean()
    raise _unknown(kind)


def generator_loss(kind: Kind, fake: Tensor) -> Tensor:
    """Return what the maker of samples minimises, given the critic's scores of them; (F,) → scalar.

    - logistic: -E[log D(x̂)], which does not saturate (Goodfellow et al. 2014, section 3)
    - least_squares: ½ E[(x̂ - 1)²] (Mao et al. 2017, eq. 2)
    - hinge, wasserstein: -E[x̂]
    - energy: E[x̂] (Zhao et al. 2017, eq. 2)

    Raises:
        UserError: there is no such kind.
    """
    if kind == "logistic":
        return F.softplus(-fake).mean()
    if kind == "least_squares":
        return (fake - 1).square().mean() / 2
    if kind in ("hinge", "wasserstein"):
        return -fake.mean()
    if kind == "energy":
        return fake.mean()
    raise _unknown(kind)


def _unknown(kind: str) -> UserError:
    return UserError(f"no loss '{kind}' of a critic{did_you_mean(kind, KINDS)}")


def gradient_penalty(
    critic: Function, real: Tensor, fake: Tensor, *, rng: torch.Generator | None = None
) -> Tensor:
    """Return E[(‖∇D(x̃)‖ - 1)²] at points between real and made samples (Gulrajani et al. 2017, eq. 3).

    real, fake (B, …) of one shape; x̃ = ε real + (1 - ε) fake with ε uniform, one for each pair. The norm is
    of one sample's whole gradient. The result reaches the critic's parameters alone, and needs a critic that
    judges each sample by itself: no batch normalisation.

    Raises:
        ValueError: the shapes differ.
    """
    if real.shape != fake.shape:
        raise ValueError(f"pairs need one shape, not {tuple(real.shape)} and {tuple(fake.shape)}")
    share = torch.rand(len(real), *[1] * (real.dim() - 1), generator=rng, device=real.device)
    between = torch.lerp(fake.detach(), real.detach(), share.to(real.dtype))
    norms = _slopes(critic, between).flatten(1).norm(dim=1)  # at a slope of 0 its gradient is 0, not nan
    return (norms - 1).square().mean()


def zero_centred_penalty(critic: Function, real: Tensor) -> Tensor:
    """Return ½ E[‖∇D(x)‖²] at real samples (B, …): R1 but for its weight γ (Mescheder et al. 2018, eq. 9)."""
    return _slopes(critic, real.detach()).flatten(1).square().sum(dim=1).mean() / 2


def _slopes(critic: Function, points: Tensor) -> Tensor:
    """∇D at each point, differentiable in the critic's parameters; (B, …) → (B, …)."""
    points = points.requires_grad_()
    # A sample's score depends on that sample alone, so the sum's gradient is every sample's own.
    (slopes,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    return slopes


def dirichlet_energy(
    function: Function, codes: Tensor, *, probes: int = 1, rng: torch.Generator | None = None
) -> Tensor:
    """Estimate ½ E[‖J‖²], J the Jacobian of function (B, Z) → (B, …) at each code, Frobenius norm; scalar.

    The Dirichlet energy ½ ∫ |∇G|² dp(z) of a map whose codes are drawn from p. For v of random signs
    E[‖Jᵀv‖²] = ‖J‖² (Hutchinson 1990), so a probe costs one backward pass and no Jacobian is formed. The
    result is differentiable in the function's parameters.
    """
    codes = codes.detach().requires_grad_()
    values = function(codes)
    energy = values.new_zeros(())
    for _ in range(probes):
        bits = torch.randint(2, values.shape, generator=rng, device=values.device)
        (pulled,) = torch.autograd.grad(values, codes, (2 * bits - 1).to(values.dtype), create_graph=True)
        energy = energy + pulled.flatten(1).square().sum(dim=1).mean() / 2
    return energy / probes


def feature_distance(first: Tensor, second: Tensor) -> Tensor:
    """Return ½ ‖f - g‖² of each pair of feature vectors, averaged over the batch; (B, F), (B, F) → scalar.

    Up to a constant it is the negative log-likelihood, in nats a sample, of a Gaussian of unit variance about
    the features (Larsen et al. 2016, eq. 7 and 8).
    """
    return (first - second).square().sum(dim=1).mean() / 2


class DiscriminatorLoss(NamedTuple):
    """What a discriminator's loss returns."""

    loss: Tensor
    """Scalar, with gradient."""
    accuracy: Tensor
    """Share of sentences told rightly, the real and the generated counting half each; 0.5 is chance."""


def cross_entropy(real_logits: Tensor, fake_logits: Tensor, *, smoothing: float = 0.0) -> DiscriminatorLoss:
    """-½ E[log D(real)] - ½ E[log(1 - D(fake))], in nats (Goodfellow et al. 2014, eq. 1); chance is log 2.

    real_logits (R,), fake_logits (F,). One-sided label smoothing (Salimans et al. 2016, §3.4): real sentences
    have the label 1 - smoothing, so that the discriminator is not certain without end.
    """
    real = F.binary_cross_entropy_with_logits(real_logits, torch.full_like(real_logits, 1 - smoothing))
    fake = F.binary_cross_entropy_with_logits(fake_logits, torch.zeros_like(fake_logits))
    return DiscriminatorLoss((real + fake) / 2, _accuracy(real_logits, fake_logits, threshold=0.0))


def least_squares(real_logits: Tensor, fake_logits: Tensor) -> DiscriminatorLoss:
    """½ E[(D(real) - 1)²] + ½ E[D(fake)²] (Mao et al. 2017, eq. 2 with a = 0, b = 1); chance is ¼."""
    loss = ((real_logits - 1).square().mean() + fake_logits.square().mean()) / 2
    return DiscriminatorLoss(loss, _accuracy(real_logits, fake_logits, threshold=0.5))


def _accuracy(real_logits: Tensor, fake_logits: Tensor, *, threshold: float) -> Tensor:
    right = (real_logits > threshold).float().mean() + (fake_logits < threshold).float().mean()
    return right / 2


def clipped(logits: Tensor) -> Tensor:
    """The score of a least-squares discriminator as a reward, kept between its two targets 0 and 1."""
    return logits.clamp(0, 1)


class Game(NamedTuple):
    """A discriminator's loss, and what its logits are worth to the generator."""

    loss: Callable[[Tensor, Tensor], DiscriminatorLoss]
    reward: Callable[[Tensor], Tensor]


GAMES = {"cross_entropy": Game(cross_entropy, torch.sigmoid), "least_squares": Game(least_squares, clipped)}


def game(name: str) -> Game:
    """Look a game up by name; raise UserError with the nearest name."""
    if name not in GAMES:
        raise UserError(f"no discriminator loss '{name}'{did_you_mean(name, GAMES)}")
    return GAMES[name]
