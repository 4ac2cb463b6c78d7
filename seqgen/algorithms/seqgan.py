"""SeqGAN: policy gradient with rollouts scored by a discriminator (Yu et al. 2017, arXiv:1609.05473).

What differs from the paper, and why: a recurrent discriminator by default, whose reading of a beginning its
continuations share; a baseline and normalised advantages, without which any positive reward sharpens the
policy and passes for progress; an entropy bonus, or penalty, that holds the policy at the entropy it started
with, so that nothing is gained by sharpening; teacher forcing in every step, which keeps the likelihood of
real text; and no unknown words in the game, which are never shown to a reader and would be a refuge from the
discriminator.

Report figures: `reward`, the discriminator's mean reward of the sampled sentences; `d_loss` and `d_accuracy`
of the discriminator's training batches (0.5 is chance); `policy_entropy`, nats a token, and `bonus`, the
entropy bonus's coefficient; `nll`, nats a token of the teacher-forced batches; `grad_norm` of the generator;
then the generator's figures of `mle`: `valid_nll`, `valid_ppl`, `unique`, `distinct_tokens`, `entropy`.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from seqgen import collapse, losses, optim, rewards, settings
from seqgen.algorithms.mle import Metrics, evaluate, mean_nll
from seqgen.algorithms.players import DiscriminatorConfig, GeneratorConfig, part_of, policy_gradients
from seqgen.games import game
from seqgen.models.discriminator import CNNDiscriminator
from seqgen.models.head import NEVER
from seqgen.models.value import ValueHead
from seqgen.rollouts import rollout_rewards
from seqgen.sampling import Samples, sample, sentence_log_prob, shifted
from seqgen.tokenizer import PAD, UNK

L2 = 0.2
"""Weight of the convolutional discriminator's penalty, as in the paper's code."""


@dataclass(frozen=True)
class SeqGANConfig:
    """Settings of adversarial training; the generator's come from the run it starts from."""

    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
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
    reward: Literal["discriminator", "constant", "noise"] = "discriminator"
    """the last two are controls that know nothing of the sentence"""
    hold_entropy: float = 1.0
    """share of its initial entropy at which a bonus or penalty holds the policy; 0 for a constant bonus"""
    bonus: float = 0.0
    """entropy bonus's coefficient: constant, or where holding starts"""
    teacher_forcing: float = 1.0
    """weight of the likelihood of a real batch in every update"""
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
            rollouts=(1, None),
            max_rows=(1, None),
            lag=(0.0, 1.0),
            hold_entropy=(0.0, None),
            bonus=(0.0, None),
            teacher_forcing=(0.0, None),
            report_every=(1, None),
        )

    def total_steps(self, batches: int) -> int:
        """Length of training in steps."""
        return self.d_first + self.steps

    @property
    def read_size(self) -> int:
        """Real sentences of a step: each update of the discriminator sees its own."""
        return self.batch_size * self.d_steps


class SeqGAN(nn.Module):
    """A generator, the lagging policy that rolls out, and a discriminator."""

    Config = SeqGANConfig
    inherits = ("generator",)
    starts_from = ("mle", "seqgan")
    likelihood = "exact"
    criterion: str | None = None
    grouped = False  # batches of one length would tell the discriminator's loss more of length than of text
    updates: Tensor
    bonus: Tensor
    held: Tensor

    def __init__(self, config: SeqGANConfig, *, vocab_size: int, length: int) -> None:
        super().__init__()
        self.config, self.length = config, length
        self.generator = config.generator.build(vocab_size)
        self.policy = copy.deepcopy(self.generator).requires_grad_(False)
        self.discriminator = config.discriminator.build(vocab_size, config.generator)
        self.value = ValueHead(self.generator.head.weight.shape[1])
        self.game = game(config.discriminator.loss)
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        self.register_buffer("bonus", torch.tensor(config.bonus))
        self.register_buffer("held", torch.tensor(float("nan")))

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Take over the generator of a run's weights, for the policy that rolls out as well.

        A discriminator of the same shape starts from what the generator knows of the language: of a small
        corpus it learns more, and sooner, than from nothing.
        """
        generator = part_of(weights, "generator")
        self.generator.load_state_dict(generator)
        self.policy.load_state_dict(generator)
        if self.config.discriminator.kind == "generator":
            shared = {name: w for name, w in generator.items() if name.startswith(("embedding.", "rnn."))}
            self.discriminator.load_state_dict(shared, strict=False)

    def configure(self) -> None:
        """Create the optimisers; call it once the module is on its device."""
        c = self.config
        d = c.discriminator
        self.optimizers = {
            "generator": optim.adamw(self.generator, lr=c.lr, betas=(0.9, 0.99)),
            "discriminator": optim.adamw(self.discriminator, lr=d.lr, weight_decay=d.weight_decay),
            "value": optim.adamw(self.value, lr=1e-2),
        }

    def step(self, batch: Tensor, progress: float) -> dict[str, Tensor | float]:
        """Move the generator, once the discriminator has learned, then the discriminator."""
        with torch.autocast(batch.device.type, dtype=torch.bfloat16, enabled=self.config.bf16):
            return self._play(batch, progress)

    def _play(self, batch: Tensor, progress: float) -> dict[str, Tensor | float]:
        parts = batch.split(self.config.batch_size)
        figures: dict[str, Tensor | float] = {}
        if self.updates >= self.config.d_first:
            figures |= self._move_generator(parts[-1], progress)
        fakes = self._write(len(batch)).split(self.config.batch_size)
        for part, fake in zip(parts, fakes, strict=True):
            figures |= self._move_discriminator(part, fake)
        self.updates += 1
        return figures

    def _move_discriminator(self, real: Tensor, fake: Tensor) -> dict[str, Tensor | float]:
        known = real[~(real == UNK).any(dim=1)]
        real = known if len(known) else real
        self.discriminator.train()
        loss, accuracy = self.game.loss(self.discriminator(real), self.discriminator(fake))
        if isinstance(self.discriminator, CNNDiscriminator):
            loss = loss + L2 * self.discriminator.penalty()
        optim.update({self.optimizers["discriminator"]: loss}, clip=self.config.clip)
        return {"d_loss": loss.detach(), "d_accuracy": accuracy}

    def _move_generator(self, real: Tensor, progress: float) -> dict[str, Tensor | float]:
        c = self.config
        optim.scale_lr(self.optimizers["generator"], optim.warmup_cosine(progress, warmup=0.0, floor=0.1))
        tokens = self._write(c.batch_size)
        mask = tokens != PAD
        returns = self._returns(tokens, mask)  # before the trim: continuations may be longer than the batch
        longest = int(mask.any(dim=0).sum())
        tokens, mask, returns = tokens[:, :longest], mask[:, :longest], returns[:, :longest]
        with policy_gradients(self.generator):
            hidden, _ = self.generator.hidden(shifted(tokens), self.generator.initial(len(tokens)))
        advantages, value_losses = self._advantages(hidden, returns, mask)
        count = mask.sum()
        head = self.generator.head
        bonus = (self.bonus / count).expand(int(count))
        unknown = torch.tensor([UNK], device=tokens.device)
        known = head.bias.index_fill(0, unknown, NEVER)  # the policy that wrote the tokens
        played = losses.head_loss(
            hidden[mask], head.weight, known, tokens[mask], advantages[mask] / count, bonus
        )
        loss, nll = played.loss, torch.zeros(())
        if c.teacher_forcing:
            self.generator.train()
            nll = mean_nll(self.generator, real)
            loss = loss + c.teacher_forcing * nll
        generator = self.optimizers["generator"]
        norms = optim.update({generator: loss} | value_losses, clip=c.clip)
        self._lag()
        assert played.entropy is not None
        entropy = played.entropy.mean()
        self._hold(entropy)
        last = mask.sum(dim=1, keepdim=True) - 1
        return {
            "reward": returns.gather(1, last).mean(),
            "policy_entropy": entropy,
            "bonus": self.bonus.clone(),
            "nll": nll.detach(),
            "grad_norm": norms[generator],
        }

    def _write(self, n: int) -> Tensor:
        """Draw n sentences as the game has them, without unknown words; (n, T)."""
        return self.sample(n, forbid=(UNK,)).tokens

    def _returns(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return what each token is worth: the discriminator's mean reward of what follows it; (B, T)."""
        c = self.config
        if c.reward == "constant":
            return rewards.constant()(tokens, mask)
        if c.reward == "noise":
            return rewards.noise()(tokens, mask)
        return rollout_rewards(
            self.policy,
            tokens,
            self.discriminator,
            c.rollouts,
            of_logits=self.game.reward,
            forbid=(UNK,),
            max_rows=c.max_rows,
        )

    def _advantages(
        self, hidden: Tensor, returns: Tensor, mask: Tensor
    ) -> tuple[Tensor, dict[torch.optim.Optimizer, Tensor]]:
        """Take the baseline off the returns; also the loss of a learned baseline, for its optimiser."""
        c = self.config
        value_losses: dict[torch.optim.Optimizer, Tensor] = {}
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
    def _lag(self) -> None:
        """Let the policy that rolls out follow the generator: θ′ ← lag · θ′ + (1 - lag) · θ."""
        for mine, new in zip(self.policy.parameters(), self.generator.parameters(), strict=True):
            mine.lerp_(new, 1 - self.config.lag)

    def _hold(self, entropy: Tensor) -> None:
        """Raise the bonus while the entropy is too low; lower it, to a penalty even, while too high."""
        if not self.config.hold_entropy:
            return
        if self.held.isnan():
            self.held.copy_(entropy * self.config.hold_entropy)
        self.bonus.add_(0.05 * (self.held - entropy)).clamp_(-0.5, 0.5)

    def evaluate(self, batches: Iterable[Tensor]) -> Metrics:
        """Measure held-out likelihood and the variety of samples."""
        return evaluate(self, batches)

    def watch(self, report: Metrics, first: Metrics) -> str | None:
        """Stop on collapse: the weights of the last good report are kept."""
        return collapse.collapsed(report, first)

    def samples(self, n: int) -> Tensor:
        """Draw n sentences at temperature 1; (n, T)."""
        return self.sample(n).tokens

    def sample(self, n: int, length: int | None = None, **options: object) -> Samples:
        """Draw n sentences with the options of `seqgen.sampling.sample`."""
        return sample(self.generator, n, length or self.length, **options)  # type: ignore[arg-type]

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        """log p of sentences, in nats, exact; (B, T) → (B,)."""
        return sentence_log_prob(self.generator, tokens)
