"""SentiGAN: sentences of several labels, and a discriminator that tells the labels (Wang & Wan 2018, IJCAI).

The discriminator sorts sentences into one class for each label and one for generated sentences. A sentence is
rewarded by the probability of the class of the label that it was given, so that it must read like real text
of that label, and of no other. The run that training starts from must be of labelled text (`seqgen pretrain
--label-column`).

What differs from the paper, and why: one generator that is given the label in place of a generator for each,
so that all labels share what they have in common; the discriminator does not read the label, which would give
the class away. The paper's penalty, 1 - the probability, is minimised in proportion to the probability of the
whole sentence rather than to its logarithm, which leaves sentences of some length without a gradient; here it
is the policy gradient of `seqgan`, with its baseline, its entropy term and teacher forcing.

Report metrics: those of `seqgen.algorithms.policy_gradient`, `reward` being the probability of the class, and
those of `seqgen.algorithms.adversary`, `d_accuracy` being that of all classes.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.algorithms.adversary import Adversary
from seqgen.algorithms.base import StepMetrics
from seqgen.algorithms.configs import AdversarialConfig, RNNDiscriminatorConfig
from seqgen.algorithms.rollout_policy import RolloutPolicy, RolloutPolicyConfig
from seqgen.data.tokenizer import BOS, Tokenizer
from seqgen.models.base import evaluating


@dataclass(frozen=True)
class SentiGANConfig(RolloutPolicyConfig, AdversarialConfig):
    """Settings of SentiGAN; the generator's come from the run it starts from."""

    discriminator: RNNDiscriminatorConfig = field(default_factory=RNNDiscriminatorConfig)


class SentiGAN(RolloutPolicy, Adversary):
    """A generator that is given labels, and a discriminator of labels and of generated sentences."""

    Config = SentiGANConfig
    config: SentiGANConfig
    needs_tokenizer = True
    needs_labels = True
    examples = (
        {},
        {"discriminator.kind": "rnn", "discriminator.bidirectional": True, "baseline": "batch_mean"},
        {"generator.kind": "transformer", "generator.hidden": 12, "generator.heads": 3},
    )
    labels: Tensor
    """The token id of each label; (L,)."""

    def __init__(
        self, config: SentiGANConfig, *, vocab_size: int, length: int, tokenizer: Tokenizer | None = None
    ) -> None:
        super().__init__(config, vocab_size=vocab_size, length=length)
        labels = sorted(tokenizer.labels.values()) if tokenizer else []
        self.register_buffer("labels", torch.tensor(labels, dtype=torch.long), persistent=False)
        classes = max(len(labels), 1) + 1
        self.discriminator = config.discriminator.build(vocab_size, config.generator, projection_dim=classes)
        # Classes need their scale, which the normalisation of a contrastive embedding would take away.
        self.discriminator.output = nn.Linear(self.discriminator.output[0].in_features, classes)

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> tuple[Tensor, StepMetrics]:
        """Return the cross entropy of the classes of real (R, T) and fake sentences (F, T'), and accuracy."""
        on_real, on_fake = self._logits(real), self._logits(fake)
        generated = torch.full_like(fake[:, 0], on_fake.shape[1] - 1)
        wanted, logits = torch.cat((self._classes(real), generated)), torch.cat((on_real, on_fake))
        correct = (logits.argmax(dim=1) == wanted).float().mean()
        return F.cross_entropy(logits.float(), wanted), {"d_accuracy": correct}

    def token_rewards(self, tokens: Tensor, mask: Tensor, context: Tensor) -> Tensor:
        """Return the mean probability of the label's class of what follows each token; (B, T)."""
        return self.rollout_rewards(tokens, self._of_label, lambda rewards: rewards)

    def _of_label(self, tokens: Tensor) -> Tensor:
        """Return the probability that sentences are real ones of their labels; (R, T) → (R,)."""
        with evaluating(self.discriminator):
            probabilities = self._logits(tokens).float().softmax(dim=1)
        return probabilities.gather(1, self._classes(tokens)[:, None])[:, 0]

    def _classes(self, tokens: Tensor) -> Tensor:
        """Return the number of the label that sentences are given, 0 where there are no labels; (R,)."""
        if not len(self.labels):
            return torch.zeros_like(tokens[:, 0])
        return (tokens[:, :1] == self.labels).int().argmax(dim=1)

    def _logits(self, tokens: Tensor) -> Tensor:
        """Return the logits of the classes of sentences without their labels; (R, T) → (R, L + 1)."""
        if len(self.labels):
            tokens = torch.cat((torch.full_like(tokens[:, :1], BOS), tokens[:, 1:]), dim=1)
        logits: Tensor = self.discriminator(tokens)
        return logits
