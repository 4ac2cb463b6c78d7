"""The policy gradient that adversarial algorithms share: one update of a generator towards what earns reward.

REINFORCE (Williams 1992) with a reward for every token, from rollouts (Yu et al. 2017), less a baseline; an
entropy bonus, or penalty, that holds the policy where it started; and teacher forcing beside it.

Figures of an update: `reward`, the mean reward of the sampled sentences; `policy_entropy`, nats a token, and
`bonus`, the entropy bonus's coefficient; `nll`, nats a token of the teacher-forced batch; `grad_norm` of the
generator before clipping.
"""

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from seqgen.algorithms import collapse, rewards
from seqgen.algorithms.configs import GeneratorConfig, policy_gradients
from seqgen.algorithms.mle import LanguageModel, Metrics, evaluate, mean_nll
from seqgen.core import optim, settings
from seqgen.data.tokenizer import PAD, UNK
from seqgen.functional import chunked_loss
from seqgen.generation.rollouts import Score, rollout_rewards
from seqgen.generation.sample import shifted
from seqgen.models.value_head import ValueHead
from seqgen.models.vocab_head import NEVER

Figures = dict[str, Tensor | float]
Worth = Callable[[Tensor, Tensor], Tensor]
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


class DiscriminatorSettings(Protocol):
    """The settings of a discriminator, as far as the game knows them."""

    @property
    def kind(self) -> str: ...
    @property
    def lr(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...

    def build(self, vocab_size: int, generator: GeneratorConfig) -> nn.Module: ...


class Player(LanguageModel):
    """A generator, the lagging policy that rolls out, and a discriminator; a game says what it rewards."""

    inherits = ("generator",)
    starts_from = ("mle", "seqgan", "contrastive")
    monitor: str | None = None
    bucket_by_length = False  # batches of one length would tell the discriminator more of length than of text
    bonus: Tensor
    """The entropy bonus's coefficient; scalar."""
    held: Tensor
    """The entropy at which the bonus holds the policy, nats a token; NaN before the first update."""
    updates: Tensor
    """Steps done."""

    def __init__(
        self, config: RolloutGame, judge: DiscriminatorSettings, *, vocab_size: int, length: int
    ) -> None:
        super().__init__()
        self.config, self.judge, self.length = config, judge, length
        self.generator = config.generator.build(vocab_size)
        self.discriminator = judge.build(vocab_size, config.generator)
        self.policy = copy.deepcopy(self.generator).requires_grad_(False)
        self.value = ValueHead(self.generator.head.weight.shape[1])
        self.register_buffer("bonus", torch.tensor(config.policy.bonus))
        self.register_buffer("held", torch.tensor(float("nan")))
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    @abstractmethod
    def discriminate(self, real: Tensor, made: Tensor) -> Figures:
        """Move the discriminator by real and generated sentences; (B, T) each, of any T → figures."""

    @abstractmethod
    def worth(self, tokens: Tensor, mask: Tensor, real: Tensor) -> Tensor:
        """Return what each token is worth, given the step's real sentences (R, T); (B, T) → (B, T)."""

    def start_from(self, start: nn.Module) -> None:
        """Take over the generator of a run, for the policy that rolls out as well.

        A discriminator of the generator's shape starts from what the generator knows of the language: of a
        small corpus it learns more, and sooner, than from nothing.
        """
        generator = start.get_submodule("generator").state_dict()
        self.generator.load_state_dict(generator)
        self.policy.load_state_dict(generator)
        if self.judge.kind == "generator":
            shared = {name: w for name, w in generator.items() if name.startswith(("embedding.", "rnn."))}
            self.discriminator.load_state_dict(shared, strict=False)

    def configure(self) -> None:
        """Create the optimisers; call it once the module is on its device."""
        judge = self.judge
        self.optimizers = {
            "generator": optim.adamw(self.generator, lr=self.config.lr, betas=(0.9, 0.99)),
            "value": optim.adamw(self.value, lr=1e-2),
            "discriminator": optim.adamw(self.discriminator, lr=judge.lr, weight_decay=judge.weight_decay),
        }

    def step(self, batch: Tensor, progress: float) -> Figures:
        """Move the generator, once the discriminator has learned, then the discriminator.

        `batch` (B, T) holds the real sentences of every update of the discriminator.
        """
        c = self.config
        figures: Figures = {}
        with torch.autocast(batch.device.type, dtype=torch.bfloat16, enabled=c.bf16):
            parts = batch.split(c.batch_size)
            if self.updates >= c.d_first:
                figures |= self.move(parts[-1], progress, partial(self.worth, real=batch))
            made = self.write(len(batch)).split(c.batch_size)
            for part, fake in zip(parts, made, strict=True):
                figures |= self.discriminate(part, fake)
            self.updates += 1
        return figures

    def move(self, real: Tensor, progress: float, worth: Worth) -> Figures:
        """Move the generator by sentences that it writes and by a real batch (B, T); return the figures.

        Moves the value head with it where that is the baseline, lets the policy that rolls out follow, and
        sets the bonus. `progress` in [0, 1) is the share of training done.
        """
        c = self.config.policy
        generator, optimizer = self.generator, self.optimizers["generator"]
        optim.scale_lr(optimizer, optim.warmup_cosine(progress, warmup=0.0, floor=0.1))
        tokens = self.write(self.config.batch_size)
        mask = tokens != PAD
        returns = worth(tokens, mask)  # before the trim: continuations may be longer than the batch
        longest = int(mask.any(dim=0).sum())
        tokens, mask, returns = tokens[:, :longest], mask[:, :longest], returns[:, :longest]
        with policy_gradients(generator):
            hidden, _ = generator.hidden(shifted(tokens), generator.initial(len(tokens)))
        advantages, value_losses = self._advantages(hidden, returns, mask)
        count = mask.sum()
        bonus = (self.bonus / count).expand(int(count))
        unknown = torch.tensor([UNK], device=tokens.device)
        bias = generator.head.bias.index_fill(0, unknown, NEVER)  # the policy that wrote the tokens
        played = chunked_loss.head_loss(
            hidden[mask], generator.head.weight, bias, tokens[mask], advantages[mask] / count, bonus
        )
        loss, nll = played.loss, torch.zeros(())
        if c.teacher_forcing:
            generator.train()
            nll = mean_nll(generator, real)
            loss = loss + c.teacher_forcing * nll
        norms = optim.update({optimizer: loss} | value_losses, clip=self.config.clip)
        self._follow()
        assert played.entropy is not None
        entropy = played.entropy.mean()
        self.hold(entropy)
        last = mask.sum(dim=1, keepdim=True) - 1
        return {
            "reward": returns.gather(1, last).mean(),
            "policy_entropy": entropy,
            "bonus": self.bonus.clone(),
            "nll": nll.detach(),
            "grad_norm": norms[optimizer],
        }

    def write(self, n: int) -> Tensor:
        """Draw n sentences as the game has them, without unknown words; (n, T)."""
        return self.sample(n, forbid=(UNK,)).tokens

    def rolled_out(
        self, tokens: Tensor, reward: nn.Module | Score, of_logits: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Return the mean reward of what the lagging policy writes after each token; (B, T) → (B, T).

        `reward` and `of_logits` as of `seqgen.generation.rollouts.rollout_rewards`.
        """
        c = self.config.policy
        return rollout_rewards(
            self.policy,
            tokens,
            reward,
            c.rollouts,
            of_logits=of_logits,
            forbid=(UNK,),
            max_rows=c.max_rows,
        )

    def _advantages(
        self, hidden: Tensor, returns: Tensor, mask: Tensor
    ) -> tuple[Tensor, dict[Optimizer, Tensor]]:
        """Take the baseline off the returns; also the loss of a learned baseline, for its optimiser."""
        c = self.config.policy
        value_losses: dict[Optimizer, Tensor] = {}
        if c.baseline == "learned":
            values = self.value(hidden)
            value_losses = {self.optimizers["value"]: rewards.value_loss(values, returns, mask)}
            baseline = values.detach()
        elif c.baseline == "none":
            baseline = torch.zeros_like(returns)
        else:
            baseline = getattr(rewards, c.baseline)(returns, mask)
        advantages = rewards.advantages(returns, baseline, mask)
        return rewards.normalise(advantages, mask) if c.normalise else advantages, value_losses

    @torch.no_grad()
    def _follow(self) -> None:
        """Let the policy that rolls out follow the generator: θ′ ← lag · θ′ + (1 - lag) · θ."""
        for mine, new in zip(self.policy.parameters(), self.generator.parameters(), strict=True):
            mine.lerp_(new, 1 - self.config.policy.lag)

    def hold(self, entropy: Tensor) -> None:
        """Raise the bonus while the entropy is too low; lower it, to a penalty even, while too high."""
        share = self.config.policy.hold_entropy
        if not share:
            return
        if self.held.isnan():
            self.held.copy_(entropy * share)
        self.bonus.add_(0.05 * (self.held - entropy)).clamp_(-0.5, 0.5)

    def evaluate(self, batches: Iterable[Tensor]) -> Metrics:
        """Measure held-out likelihood and the variety of samples."""
        return evaluate(self, batches)

    def should_stop(self, report: Metrics, first: Metrics) -> str | None:
        """Stop on collapse: the weights of the last good report are kept."""
        return collapse.collapsed(report, first)


def known(real: Tensor) -> Tensor:
    """Leave out real sentences with unknown words, which the game does not have, unless all have them."""
    without = real[~(real == UNK).any(dim=1)]
    return without if len(without) else real
