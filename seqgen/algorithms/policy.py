"""The policy gradient that adversarial algorithms share: one update of a generator towards what earns reward.

REINFORCE (Williams 1992) with a reward for every token, from rollouts (Yu et al. 2017), less a baseline; an
entropy bonus, or penalty, that holds the policy where it started; and teacher forcing beside it.

Figures of an update: `reward`, the mean reward of the sampled sentences; `policy_entropy`, nats a token, and
`bonus`, the entropy bonus's coefficient; `nll`, nats a token of the teacher-forced batch; `grad_norm` of the
generator before clipping.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from seqgen import losses, optim, rewards, settings
from seqgen.algorithms.mle import mean_nll
from seqgen.algorithms.players import GeneratorConfig, policy_gradients
from seqgen.models.generator import RNNGenerator
from seqgen.models.head import NEVER
from seqgen.models.value import ValueHead
from seqgen.rollouts import Score, rollout_rewards
from seqgen.sampling import Samples, shifted
from seqgen.tokenizer import PAD, UNK

Figures = dict[str, Tensor | float]
Returns = Callable[[Tensor, Tensor], Tensor]
"""What each token is worth: tokens (B, T), mask (B, T) → (B, T)."""


@dataclass(frozen=True)
class PolicyConfig:
    """The policy gradient."""

    rollouts: int = 8
    """continuations of every beginning (N in the paper, 16 there)"""
    max_rows: int | None = 32768
    """continuations alive at once: bounds the memory of rollouts"""
    lag: float = 0.8
    """how much the policy that rolls out keeps of itself at each update (0.8 in the paper's code)"""
    baseline: Literal["batch_mean", "leave_one_out", "learned", "none"] = "leave_one_out"
    """what is taken off a reward"""
    normalise: bool = True
    """give the advantages of a batch mean 0 and deviation 1"""
    hold_entropy: float = 1.0
    """share of its initial entropy at which a bonus or penalty holds the policy; 0 for a constant bonus"""
    bonus: float = 0.0
    """entropy bonus's coefficient: constant, or where holding starts"""
    teacher_forcing: float = 1.0
    """weight of the likelihood of a real batch in every update"""

    def __post_init__(self) -> None:
        settings.bounds(
            self,
            rollouts=(1, None),
            max_rows=(1, None),
            lag=(0.0, 1.0),
            hold_entropy=(0.0, None),
            bonus=(0.0, None),
            teacher_forcing=(0.0, None),
        )


@dataclass(frozen=True)
class RolloutGame:
    """The settings of a game with rollouts; the generator's come from the run it starts from."""

    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    steps: int = 200
    """updates of the generator"""
    d_first: int = 400
    """steps in which only the discriminator learns, before the first update of the generator"""
    d_steps: int = 2
    """updates of the discriminator at each update of the generator"""
    batch_size: int = 64
    """sentences of an update of either"""
    lr: float = 1e-4
    """learning rate of the generator at the start; a cosine to a tenth follows"""
    clip: float = 1.0
    """bound of either gradient's norm"""
    report_every: int | None = 50
    """steps between reports"""
    bf16: bool = False
    """run the networks in bfloat16 autocast"""

    def __post_init__(self) -> None:
        settings.bounds(
            self,
            steps=(1, None),
            d_first=(0, None),
            d_steps=(1, None),
            batch_size=(2, None),
            lr=(0.0, None),
            clip=(0.0, None),
            report_every=(1, None),
        )

    def total_steps(self, batches: int) -> int:
        """Length of training in steps."""
        return self.d_first + self.steps

    @property
    def read_size(self) -> int:
        """Real sentences of a step: each update of the discriminator sees its own."""
        return self.batch_size * self.d_steps


class Players(Protocol):
    """An adversarial algorithm, as far as the policy gradient knows it; `equip` gives it what is below."""

    @property
    def config(self) -> RolloutGame: ...

    generator: RNNGenerator
    optimizers: dict[str, Optimizer]
    """`generator` and `value` among them."""

    policy: RNNGenerator
    """The lagging copy of the generator that rolls out."""
    value: ValueHead
    bonus: Tensor
    """The entropy bonus's coefficient; scalar."""
    held: Tensor
    """The entropy at which the bonus holds the policy, nats a token; NaN before the first update."""
    updates: Tensor
    """Steps done."""

    def sample(self, n: int, length: int | None = None, **options: object) -> Samples: ...


def equip(players: Any, config: PolicyConfig) -> None:
    """Give an algorithm that has a generator what the policy gradient keeps beside it."""
    players.policy = copy.deepcopy(players.generator).requires_grad_(False)
    players.value = ValueHead(players.generator.head.weight.shape[1])
    players.register_buffer("bonus", torch.tensor(config.bonus))
    players.register_buffer("held", torch.tensor(float("nan")))
    players.register_buffer("updates", torch.zeros((), dtype=torch.long))


def optimizers(players: Players, *, lr: float) -> dict[str, Optimizer]:
    """Create the optimisers of the generator and of the value head."""
    return {
        "generator": optim.adamw(players.generator, lr=lr, betas=(0.9, 0.99)),
        "value": optim.adamw(players.value, lr=1e-2),
    }


def start_from(players: Players, generator: dict[str, Tensor]) -> None:
    """Take over a generator's weights, for the policy that rolls out as well."""
    players.generator.load_state_dict(generator)
    players.policy.load_state_dict(generator)


def share(discriminator: nn.Module, generator: dict[str, Tensor]) -> None:
    """Start a discriminator of the generator's shape from what the generator knows of the language.

    Of a small corpus it learns more, and sooner, than from nothing.
    """
    shared = {name: w for name, w in generator.items() if name.startswith(("embedding.", "rnn."))}
    discriminator.load_state_dict(shared, strict=False)


def write(players: Players, n: int) -> Tensor:
    """Draw n sentences as the game has them, without unknown words; (n, T)."""
    return players.sample(n, forbid=(UNK,)).tokens


def known(real: Tensor) -> Tensor:
    """Leave out real sentences with unknown words, which the game does not have, unless all have them."""
    without = real[~(real == UNK).any(dim=1)]
    return without if len(without) else real


def rolled_out(
    players: Players, tokens: Tensor, reward: nn.Module | Score, of_logits: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return the mean reward of what the lagging policy writes after each token; (B, T) → (B, T).

    `reward` and `of_logits` as of `seqgen.rollouts.rollout_rewards`.
    """
    c = players.config.policy
    return rollout_rewards(
        players.policy,
        tokens,
        reward,
        c.rollouts,
        of_logits=of_logits,
        forbid=(UNK,),
        max_rows=c.max_rows,
    )


def play(
    players: Players,
    batch: Tensor,
    progress: float,
    *,
    returns: Returns,
    discriminate: Callable[[Tensor, Tensor], Figures],
) -> Figures:
    """Do a step of the game: the generator moves, once the discriminator has learned, then the discriminator.

    `batch` (B, T) holds the real sentences of every update of the discriminator, which `discriminate` makes
    of real sentences and as many generated ones.
    """
    c = players.config
    figures: Figures = {}
    with torch.autocast(batch.device.type, dtype=torch.bfloat16, enabled=c.bf16):
        parts = batch.split(c.batch_size)
        if players.updates >= c.d_first:
            figures |= move(players, parts[-1], progress, returns)
        fakes = write(players, len(batch)).split(c.batch_size)
        for part, fake in zip(parts, fakes, strict=True):
            figures |= discriminate(part, fake)
        players.updates += 1
    return figures


def move(players: Players, real: Tensor, progress: float, returns: Returns) -> Figures:
    """Move the generator by sentences that it writes and by a real batch (B, T); return the figures.

    Moves the value head with it where that is the baseline, lets the policy that rolls out follow, and sets
    the bonus. `progress` in [0, 1) is the share of training done.
    """
    c = players.config.policy
    optimizer = players.optimizers["generator"]
    optim.scale_lr(optimizer, optim.warmup_cosine(progress, warmup=0.0, floor=0.1))
    tokens = write(players, players.config.batch_size)
    mask = tokens != PAD
    worth = returns(tokens, mask)  # before the trim: continuations may be longer than the batch
    longest = int(mask.any(dim=0).sum())
    tokens, mask, worth = tokens[:, :longest], mask[:, :longest], worth[:, :longest]
    generator = players.generator
    with policy_gradients(generator):
        hidden, _ = generator.hidden(shifted(tokens), generator.initial(len(tokens)))
    advantages, value_losses = _advantages(players, hidden, worth, mask)
    count = mask.sum()
    bonus = (players.bonus / count).expand(int(count))
    unknown = torch.tensor([UNK], device=tokens.device)
    bias = generator.head.bias.index_fill(0, unknown, NEVER)  # the policy that wrote the tokens
    played = losses.head_loss(
        hidden[mask], generator.head.weight, bias, tokens[mask], advantages[mask] / count, bonus
    )
    loss, nll = played.loss, torch.zeros(())
    if c.teacher_forcing:
        generator.train()
        nll = mean_nll(generator, real)
        loss = loss + c.teacher_forcing * nll
    norms = optim.update({optimizer: loss} | value_losses, clip=players.config.clip)
    follow(players.policy, generator, lag=c.lag)
    assert played.entropy is not None
    entropy = played.entropy.mean()
    hold(players, entropy)
    last = mask.sum(dim=1, keepdim=True) - 1
    return {
        "reward": worth.gather(1, last).mean(),
        "policy_entropy": entropy,
        "bonus": players.bonus.clone(),
        "nll": nll.detach(),
        "grad_norm": norms[optimizer],
    }


def _advantages(
    players: Players, hidden: Tensor, returns: Tensor, mask: Tensor
) -> tuple[Tensor, dict[Optimizer, Tensor]]:
    """Take the baseline off the returns; also the loss of a learned baseline, for its optimiser."""
    c = players.config.policy
    value_losses: dict[Optimizer, Tensor] = {}
    if c.baseline == "learned":
        values = players.value(hidden)
        value_losses = {players.optimizers["value"]: rewards.value_loss(values, returns, mask)}
        baseline = values.detach()
    elif c.baseline == "none":
        baseline = torch.zeros_like(returns)
    else:
        baseline = getattr(rewards, c.baseline)(returns, mask)
    advantages = rewards.advantages(returns, baseline, mask)
    return rewards.normalise(advantages, mask) if c.normalise else advantages, value_losses


@torch.no_grad()
def follow(policy: nn.Module, generator: nn.Module, *, lag: float) -> None:
    """Let the policy that rolls out follow the generator: θ′ ← lag · θ′ + (1 - lag) · θ."""
    for mine, new in zip(policy.parameters(), generator.parameters(), strict=True):
        mine.lerp_(new, 1 - lag)


def hold(players: Players, entropy: Tensor) -> None:
    """Raise the bonus while the entropy is too low; lower it, to a penalty even, while too high."""
    share = players.config.policy.hold_entropy
    if not share:
        return
    if players.held.isnan():
        players.held.copy_(entropy * share)
    players.bonus.add_(0.05 * (players.held - entropy)).clamp_(-0.5, 0.5)
