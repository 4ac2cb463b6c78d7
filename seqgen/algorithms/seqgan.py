"""SeqGAN: policy gradient with rollouts scored by a discriminator (Yu et al. 2017, arXiv:1609.05473).

What differs from the paper, and why: a recurrent discriminator by default, whose reading of a beginning its
continuations share; a baseline and normalised advantages, without which any positive reward sharpens the
policy and passes for progress; an entropy bonus, or penalty, that holds the policy at the entropy it started
with, so that nothing is gained by sharpening; teacher forcing in every step, which keeps the likelihood of
real text; and no unknown words in the game, which are never shown to a reader and would be a refuge from the
discriminator.

Report figures: those of `seqgen.algorithms.policy_gradient`, `reward` being the discriminator's; `d_loss` and
`d_accuracy` of the discriminator's training batches (0.5 is chance); then the generator's figures of `mle`:
`valid_nll`, `valid_ppl`, `unique`, `distinct_tokens`, `entropy`.
"""

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from seqgen.algorithms import policy_gradient, rewards
from seqgen.algorithms.configs import DiscriminatorConfig
from seqgen.algorithms.policy_gradient import Figures, RolloutGame
from seqgen.core import optim
from seqgen.functional.gan_losses import game
from seqgen.models.discriminator import CNNDiscriminator

L2 = 0.2
"""Weight of the convolutional discriminator's penalty, as in the paper's code."""


@dataclass(frozen=True)
class SeqGANConfig(RolloutGame):
    """Settings of adversarial training; the generator's come from the run it starts from."""

    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    reward: Literal["discriminator", "constant", "noise"] = "discriminator"
    """the last two are controls that know nothing of the sentence"""


class SeqGAN(policy_gradient.Player):
    """A generator, the lagging policy that rolls out, and a discriminator that tells real from generated."""

    Config = SeqGANConfig
    config: SeqGANConfig

    def __init__(self, config: SeqGANConfig, *, vocab_size: int, length: int) -> None:
        super().__init__(config, config.discriminator, vocab_size=vocab_size, length=length)
        self.game = game(config.discriminator.loss)

    def discriminate(self, real: Tensor, made: Tensor) -> Figures:
        """Move the discriminator towards telling real from generated sentences; (B, T) each."""
        real = policy_gradient.known(real)
        self.discriminator.train()
        loss, accuracy = self.game.loss(self.discriminator(real), self.discriminator(made))
        if isinstance(self.discriminator, CNNDiscriminator):
            loss = loss + L2 * self.discriminator.penalty()
        optim.update({self.optimizers["discriminator"]: loss}, clip=self.config.clip)
        return {"d_loss": loss.detach(), "d_accuracy": accuracy}

    def worth(self, tokens: Tensor, mask: Tensor, real: Tensor) -> Tensor:
        """Return the discriminator's mean reward of what follows each token; (B, T)."""
        if self.config.reward == "constant":
            return rewards.constant()(tokens, mask)
        if self.config.reward == "noise":
            return rewards.noise()(tokens, mask)
        return self.rolled_out(tokens, self.discriminator, self.game.reward)
