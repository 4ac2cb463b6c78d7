"""SeqGAN: policy gradient with rollouts scored by a discriminator (Yu et al. 2017, arXiv:1609.05473).

What differs from the paper, and why: a recurrent discriminator by default, whose reading of a beginning its
continuations share; a baseline and normalised advantages, without which any positive reward sharpens the
policy and passes for progress; an entropy bonus, or penalty, that holds the policy at the entropy it started
with, so that nothing is gained by sharpening; teacher forcing in every step, which keeps the likelihood of
real text; and no unknown words in the game, which are never shown to a reader and would be a refuge from the
discriminator.

Report figures: those of `seqgen.algorithms.policy`, `reward` being the discriminator's; `d_loss` and
`d_accuracy` of the discriminator's training batches (0.5 is chance); then the generator's figures of `mle`:
`valid_nll`, `valid_ppl`, `unique`, `distinct_tokens`, `entropy`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

from seqgen import collapse, optim, rewards
from seqgen.algorithms import policy
from seqgen.algorithms.mle import Metrics, evaluate
from seqgen.algorithms.players import DiscriminatorConfig
from seqgen.algorithms.policy import Figures, RolloutGame
from seqgen.games import game
from seqgen.models.discriminator import CNNDiscriminator
from seqgen.models.generator import RNNGenerator
from seqgen.models.value import ValueHead
from seqgen.sampling import Samples, sample, sentence_log_prob

L2 = 0.2
"""Weight of the convolutional discriminator's penalty, as in the paper's code."""


@dataclass(frozen=True)
class SeqGANConfig(RolloutGame):
    """Settings of adversarial training; the generator's come from the run it starts from."""

    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    reward: Literal["discriminator", "constant", "noise"] = "discriminator"
    """the last two are controls that know nothing of the sentence"""


class SeqGAN(nn.Module):
    """A generator, the lagging policy that rolls out, and a discriminator."""

    Config = SeqGANConfig
    inherits = ("generator",)
    starts_from = ("mle", "seqgan", "contrastive")
    likelihood = "exact"
    criterion: str | None = None
    grouped = False  # batches of one length would tell the discriminator's loss more of length than of text
    policy: RNNGenerator
    value: ValueHead
    bonus: Tensor
    held: Tensor
    updates: Tensor

    def __init__(self, config: SeqGANConfig, *, vocab_size: int, length: int) -> None:
        super().__init__()
        self.config, self.length = config, length
        self.generator = config.generator.build(vocab_size)
        self.discriminator = config.discriminator.build(vocab_size, config.generator)
        policy.equip(self, config.policy)
        self.game = game(config.discriminator.loss)

    def start_from(self, start: nn.Module) -> None:
        """Take over the generator of a run; a discriminator of its shape starts from it too."""
        generator = start.get_submodule("generator").state_dict()
        policy.start_from(self, generator)
        if self.config.discriminator.kind == "generator":
            policy.share(self.discriminator, generator)

    def configure(self) -> None:
        """Create the optimisers; call it once the module is on its device."""
        d = self.config.discriminator
        judge = optim.adamw(self.discriminator, lr=d.lr, weight_decay=d.weight_decay)
        self.optimizers = policy.optimizers(self, lr=self.config.lr) | {"discriminator": judge}

    def step(self, batch: Tensor, progress: float) -> Figures:
        """Move the generator, once the discriminator has learned, then the discriminator."""
        return policy.play(
            self, batch, progress, returns=self._returns, discriminate=self._move_discriminator
        )

    def _move_discriminator(self, real: Tensor, fake: Tensor) -> Figures:
        real = policy.known(real)
        self.discriminator.train()
        loss, accuracy = self.game.loss(self.discriminator(real), self.discriminator(fake))
        if isinstance(self.discriminator, CNNDiscriminator):
            loss = loss + L2 * self.discriminator.penalty()
        optim.update({self.optimizers["discriminator"]: loss}, clip=self.config.clip)
        return {"d_loss": loss.detach(), "d_accuracy": accuracy}

    def _returns(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return what each token is worth: the discriminator's mean reward of what follows it; (B, T)."""
        if self.config.reward == "constant":
            return rewards.constant()(tokens, mask)
        if self.config.reward == "noise":
            return rewards.noise()(tokens, mask)
        return policy.rolled_out(self, tokens, self.discriminator, self.game.reward)

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
