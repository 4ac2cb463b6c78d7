"""LeakGAN: the discriminator leaks its features of every prefix to the generator (Guo et al. 2018, AAAI).

A manager, an LSTM over these features f, sets a goal g at every step, a direction in the space of features;
the embedded goals of the last c steps steer the worker, which draws the words. The manager learns to name the
directions that earn much, -Q(s, a) cos(f of c steps later - f, g), with Q the discriminator's reward of
rollouts, rescaled by ranks; the worker learns by policy gradient with an intrinsic reward, how well the
features followed the last c goals: 1/c Σ cos(f_t - f_{t-i}, g_{t-i}), i from 1 to c. Updates by likelihood
are interleaved with these.

What differs from the paper, and why: the worker is the generator of the run that this starts from, and goals
multiply what its vocabulary head reads, (1 + U w) ⊙ h, where the paper multiplies a matrix of its own for
every word with w, which is K times the vocabulary head; so any kind of generator will do, and it starts at
the likelihood that it has. While the discriminator is pretrained, manager and gate learn by likelihood. The
CNN's windows end at a token, so the features of a prefix are those that its rollouts go on from, and it has a
quarter of the filters. Goals change at every step; in the code they stay for c. The code's ranks are the
order of a dictionary. Worker rewards have a baseline, and the entropy is held, as in `seqgan`. The published
results are not at temperature 1: the code multiplies the logits by 1.5 when it evaluates, which is
temperature 0.667; here samples are at temperature 1 unless asked for otherwise. What starts from a run takes
its worker alone.

Report metrics: those of `seqgen.algorithms.policy_gradient`, `reward` being the discriminator's, and those
of `seqgen.algorithms.adversary`; `goal_cosine`, the mean cosine of the goals and of how the features of real
sentences change, of updates by likelihood.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from seqgen.algorithms.adversary import Adversary
from seqgen.algorithms.base import StepMetrics
from seqgen.algorithms.configs import AdversarialConfig, DiscriminatorConfig
from seqgen.algorithms.mle import mean_nll
from seqgen.algorithms.policy_gradient import Rollout
from seqgen.algorithms.rollout_policy import RolloutConfig, RolloutPolicy, RolloutPolicyConfig
from seqgen.core import distributed, optim, settings
from seqgen.core.errors import UserError
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import PAD
from seqgen.functional.gan_losses import gan_loss
from seqgen.models.leaked_generator import GoalGate, LeakedGenerator, Manager


@dataclass(frozen=True)
class LeakGANConfig(RolloutPolicyConfig, AdversarialConfig):
    """Settings of LeakGAN; the worker's come from the run it starts from."""

    discriminator: DiscriminatorConfig = field(
        default_factory=lambda: DiscriminatorConfig(
            kind="prefix_cnn", embedding=32, filters=0.25, dropout=0.25
        )
    )
    policy: RolloutConfig = field(default_factory=lambda: RolloutConfig(teacher_forcing=0.0))
    manager_hidden: int = 32
    """units of the manager's LSTM (32 in the paper's code)"""
    manager_lr: float = 1e-3
    """learning rate of the manager and of the embedding of its goals"""
    goal_embedding: int = 16
    """dimensions of the embedding of a goal (k, 16 in the paper's code)"""
    goal_horizon: int = 4
    """steps in which the features should change as a goal says (c, 4 in the paper's code)"""
    rescaling: float = 12.0
    """steepness of the rescaling of rewards by their ranks (δ, 16 in the paper's code)"""
    likelihood_every: int = 4
    """one update in so many is by likelihood (7 of 22 in the paper's code for COCO)"""

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = dict.fromkeys(("manager_hidden", "goal_embedding", "goal_horizon"), (1, None))
        rates = dict.fromkeys(("manager_lr", "rescaling"), (0.0, None))
        settings.bounds(self, **sizes, **rates, likelihood_every=(2, None))
        if self.discriminator.kind == "cnn" or self.discriminator.bidirectional:
            raise UserError(
                "leakgan needs a discriminator's features of prefixes: give discriminator.kind=prefix_cnn, "
                "or rnn or generator without discriminator.bidirectional"
            )


class LeakGAN(RolloutPolicy, Adversary):
    """A worker, a manager that sets its goals, and a discriminator whose features the manager reads."""

    Config = LeakGANConfig
    config: LeakGANConfig
    policy_optimizers = ("generator", "gate")
    examples = (
        {"discriminator.filters": 0.02},
        {"discriminator.kind": "rnn", "discriminator.cell": "lstm", "generator.layers": 2, "goal_horizon": 1},
        {
            "discriminator.kind": "generator",
            "generator.kind": "transformer",
            "generator.hidden": 12,
            "generator.heads": 3,
            "likelihood_every": 2,
        },
    )

    def __init__(self, config: LeakGANConfig, *, vocab_size: int, length: int) -> None:
        super().__init__(config, vocab_size=vocab_size, length=length)
        features, hidden = self.discriminator.output.in_features, self.generator.head.weight.shape[1]
        self.manager = Manager(features, config.manager_hidden)
        self.gate = GoalGate(features, config.goal_embedding, hidden, horizon=config.goal_horizon)
        parts = self.discriminator, self.manager, self.gate
        # In a tuple, so that the state dict names each weight once: the parts are modules of this one.
        self._steered = LeakedGenerator(self.generator, *parts), LeakedGenerator(self.average, *parts)

    @property
    def policy(self) -> LeakedGenerator:
        """The worker under the goals of the manager."""
        return self._steered[0]

    @property
    def completer(self) -> LeakedGenerator:
        """The worker's moving average under the same goals."""
        return self._steered[1]

    def configure(self) -> None:
        """Create the optimisers; called once the module is on its device."""
        super().configure()
        for name in ("manager", "gate"):
            self.optimizers[name] = optim.adamw(getattr(self, name), lr=self.config.manager_lr)

    def pretraining_step(self, real: Batch) -> StepMetrics:
        """Update manager and gate while the discriminator is pretrained; return metrics."""
        return self.likelihood_step(real.tokens, ("gate",))

    def generator_step(self, real: Batch, progress: float, context: Tensor) -> StepMetrics:
        """Update worker and manager by rewards, or in their turn by likelihood; return metrics."""
        if (self.updates + 1) % self.config.likelihood_every == 0:
            metrics = self.likelihood_step(real.tokens, self.policy_optimizers)
            optim.update_ema(self.average, self.generator, decay=self.config.policy.ema_decay)
            return metrics
        return super().generator_step(real, progress, context)

    def likelihood_step(self, real: Tensor, names: tuple[str, ...]) -> StepMetrics:
        """Update networks by the likelihood of sentences (B, T), the manager by how their features change."""
        self.policy.train()
        nll, mask = mean_nll(self.policy, real, bf16=self.config.bf16), real != PAD
        cosine, _ = self.follow(real, mask / distributed.mean(mask.sum()))
        losses = dict.fromkeys((self.optimizers[name] for name in names), nll)
        optim.update(losses | {self.optimizers["manager"]: -cosine}, clip=self.config.clip)
        return {"nll": nll.detach(), "goal_cosine": cosine.detach()}

    def token_rewards(self, tokens: Tensor, mask: Tensor, context: Tensor) -> Tensor:
        """Return the discriminator's mean reward of what follows each token; (B, T)."""
        loss = gan_loss(self.config.discriminator.loss)
        return self.rollout_rewards(tokens, self.discriminator, loss.reward)

    def advantages(
        self, rollout: Rollout, hidden: Tensor, progress: float
    ) -> tuple[Tensor, dict[Optimizer, Tensor]]:
        """Return the intrinsic rewards less their baseline (B, T), and the manager's loss."""
        ranked = rescaled(rollout.rewards, rollout.mask, self.config.rescaling)
        weights = ranked * rollout.mask / distributed.mean(rollout.mask.sum())
        earned, intrinsic = self.follow(rollout.tokens, weights)
        worker = rollout._replace(rewards=intrinsic * rollout.mask)
        advantages, losses = super().advantages(worker, hidden, progress)
        return advantages, losses | {self.optimizers["manager"]: -earned}

    def follow(self, tokens: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Compare the manager's goals with how the features of sentences (B, T) change.

        Return Σ weight · cos(f_{t+c} - f_t, g_t), with a gradient to the manager, the weights being (B, T),
        and the intrinsic rewards (B, T), without.
        """
        c, features = self.config.goal_horizon, self.policy.leak(tokens)
        goals, _ = self.manager(features[:, :-1], self.manager.initial(len(tokens)))
        ends = (tokens != PAD).sum(dim=1, keepdim=True)
        steps = torch.arange(tokens.shape[1], device=tokens.device)
        later = torch.minimum(steps + c, ends)[..., None].expand(-1, -1, features.shape[2])
        cosines = F.cosine_similarity(features.gather(1, later) - features[:, :-1], goals, dim=-1)
        return (weights * cosines).sum(), intrinsic_rewards(features, goals.detach(), c)


def intrinsic_rewards(features: Tensor, goals: Tensor, horizon: int) -> Tensor:
    """Return how well the features after each token followed the last goals, at most `horizon` of them.

    The mean of cos(f_t - f_{t-i}, g_{t-i}) over i; features (B, T + 1, F) of the prefixes of 0 to T tokens,
    goals (B, T, F) set at the first T of them → (B, T).
    """
    batch, length, _ = goals.shape
    total = features.new_zeros(batch, length)
    for i in range(1, min(horizon, length) + 1):
        changes = features[:, i:] - features[:, :-i]  # ends with tokens i - 1 to T - 1
        total[:, i - 1 :] += F.cosine_similarity(changes, goals[:, : length + 1 - i], dim=-1)
    return total / torch.arange(1, length + 1, device=goals.device).clamp(max=horizon)


def rescaled(rewards: Tensor, mask: Tensor, steepness: float) -> Tensor:
    """Return σ(δ (0.5 - rank / B)) of rewards (B, T), the paper's bootstrapped rescaled activation.

    A reward is ranked among those of its position, the B sentences that reach it; the highest has rank 1.
    """
    others, reaches = distributed.gather(rewards), distributed.gather(mask)
    is_above = (others[None] > rewards[:, None]) & reaches[None]  # (B, those above, T)
    rank, count = is_above.sum(dim=1) + 1, reaches.sum(dim=0).clamp(min=1)
    return torch.sigmoid(steepness * (0.5 - rank / count))
