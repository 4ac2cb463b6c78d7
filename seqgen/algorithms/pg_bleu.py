"""PG-BLEU: the policy gradient with BLEU against the training text as reward (Yu et al. 2017; Texygen).

There is no discriminator: the reward is given, the BLEU of a whole sentence against sentences of the training
text. It is the control that SeqGAN's paper compares with: what n-gram overlap alone can teach.

What differs from Texygen's code, and why: rollouts reward every token, as in the paper, where that code gives
every token the score of its sentence; the references are an even choice of the training sentences, always the
same, in place of 20 drawn anew for each batch, whose score is mostly noise; and there are the baseline, the
entropy term and teacher forcing of `seqgan`.

Report metrics: those of `seqgen.algorithms.policy_gradient`, `reward` being BLEU, and those of
`seqgen.algorithms.tuned_generator`.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from seqgen.algorithms.bleu_reward import BLEUReward
from seqgen.algorithms.rollout_policy import RolloutPolicy, RolloutPolicyConfig
from seqgen.core import settings
from seqgen.data.token_ids import Ids


@dataclass(frozen=True)
class PGBLEUConfig(RolloutPolicyConfig):
    """Settings of PG-BLEU; the generator's come from the run it starts from."""

    order: int = 3
    """longest n-gram that counts, in words (3 in Texygen)"""
    references: int = 10_000
    """training sentences, at most, that samples are compared with"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, order=(2, 9), references=(1, None))


class PGBLEU(RolloutPolicy):
    """A generator that learns by the BLEU of its sentences."""

    Config = PGBLEUConfig
    config: PGBLEUConfig
    examples = ({}, {"order": 5, "references": 7, "baseline": "learned", "generator.cell": "gru"})

    def __init__(self, config: PGBLEUConfig, *, vocab_size: int, length: int) -> None:
        super().__init__(config, vocab_size=vocab_size, length=length)
        self.bleu = BLEUReward(vocab_size, length, config.order)

    def read_corpus(self, train: Ids) -> None:
        """Count the n-grams of the references."""
        references = min(self.config.references, len(train))
        self.bleu.count(train.subset(np.linspace(0, len(train), references, endpoint=False).astype(int)))

    def token_rewards(self, tokens: Tensor, mask: Tensor, context: Tensor) -> Tensor:
        """Return the mean BLEU of what follows each token; (B, T)."""
        return self.rollout_rewards(tokens, self.bleu, lambda scores: scores)
