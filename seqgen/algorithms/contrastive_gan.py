"""A game whose discriminator is an encoder: contrastive losses teach it, nearness to real text is rewarded.

The encoder with its projection head learns codes in which views of real sentences are alike and generated
ones are not: by the supervised contrastive loss (Khosla et al. 2020) with the real sentences as one class and
the generated ones as what they are told from, by NT-Xent (Chen et al. 2020), where a sentence's other view is
told from all other sentences, or by RankGAN's own objective (Lin et al. 2017). A sentence's reward is how
much nearer its code is to real ones than to generated ones, or RankGAN's ranking score; `loss=ranking` with
`reward=ranking` is RankGAN. Generated sentences are seen through views as the real ones are, or the blanks of
a view would tell which are real. The generator's side is SeqGAN's (`seqgen.algorithms.policy_gradient`).

Report figures: those of `seqgen.algorithms.policy_gradient`, `reward` being the encoder's; `d_loss`, nats, of the
encoder's training batches, and `d_gap`, the mean cosine of real views with each other less that of real with
generated ones (0 by chance, at most 2); then the generator's figures of `mle`: `valid_nll`, `valid_ppl`,
`unique`, `distinct_tokens`, `entropy`.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.algorithms import policy_gradient
from seqgen.algorithms.configs import GeneratorConfig
from seqgen.algorithms.policy_gradient import Figures, RolloutGame
from seqgen.core import optim, settings
from seqgen.data import augment
from seqgen.data.tokenizer import PAD
from seqgen.functional import contrastive_losses
from seqgen.models.discriminator import RNNDiscriminator, scores


@dataclass(frozen=True)
class JudgeConfig:
    """The encoder that is the discriminator, and its training."""

    kind: Literal["generator", "rnn"] = "generator"
    """shaped as the generator and started from its weights, or a recurrent one of its own"""
    embedding: int = 64
    """size of a token's embedding in an rnn"""
    hidden: int = 128
    """units of an rnn"""
    bidirectional: bool = False
    """an rnn that reads both ways; rollouts then cannot share the reading of a beginning"""
    code: int = 64
    """numbers of a code"""
    dropout: float = 0.5
    """share dropped while it learns; never while it scores"""
    lr: float = 1e-3
    """learning rate of AdamW"""
    weight_decay: float = 0.1
    """AdamW's decay of matrices"""

    def __post_init__(self) -> None:
        settings.bounds(
            self,
            embedding=(1, None),
            hidden=(1, None),
            code=(2, None),
            dropout=(0.0, 0.99),
            lr=(0.0, None),
            weight_decay=(0.0, None),
        )

    def build(self, vocab_size: int, generator: GeneratorConfig) -> RNNDiscriminator:
        """Return a fresh encoder."""
        if self.kind == "generator":
            return RNNDiscriminator(
                vocab_size,
                generator.embedding,
                generator.hidden,
                layers=generator.layers,
                cell=generator.cell,
                dropout=self.dropout,
                code=self.code,
            )
        return RNNDiscriminator(
            vocab_size,
            self.embedding,
            self.hidden,
            cell="gru",
            bidirectional=self.bidirectional,
            dropout=self.dropout,
            code=self.code,
        )


@dataclass(frozen=True)
class ContrastiveGANConfig(RolloutGame):
    """Settings of the contrastive game; the generator's come from the run it starts from."""

    discriminator: JudgeConfig = field(default_factory=JudgeConfig)
    loss: Literal["supervised", "nt_xent", "ranking"] = "supervised"
    """what the discriminator minimises"""
    view: augment.Kind = "words"
    """views of a sentence: by the encoder's dropout alone, or also with words, or a run of them, blanked"""
    view_share: float = 0.15
    """share of the words that a view blanks"""
    temperature: float = 0.1
    """what cosines are divided by, in the losses and in the ranking (1 / γ of RankGAN)"""
    reward: Literal["distance", "ranking"] = "distance"
    """nearness to real sentences less that to generated ones, or RankGAN's ranking score"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, view_share=(0.0, 1.0), temperature=(1e-3, None))


class ContrastiveGAN(policy_gradient.Player):
    """A generator, the lagging policy that rolls out, and an encoder that says how near sentences are."""

    Config = ContrastiveGANConfig
    config: ContrastiveGANConfig

    def __init__(self, config: ContrastiveGANConfig, *, vocab_size: int, length: int) -> None:
        super().__init__(config, config.discriminator, vocab_size=vocab_size, length=length)

    def discriminate(self, real: Tensor, made: Tensor) -> Figures:
        """Move the encoder towards codes by which real and generated sentences differ; (B, T) each."""
        self.discriminator.train()
        real = policy_gradient.known(real)
        first, second, fake = self._codes([real, real, made])
        loss = self._loss(first, second, fake)
        optim.update({self.optimizers["discriminator"]: loss}, clip=self.config.clip)
        gap = (
            contrastive_losses.cosines(first, second).mean() - contrastive_losses.cosines(first, fake).mean()
        )
        return {"d_loss": loss.detach(), "d_gap": gap.detach()}

    def _codes(self, batches: list[Tensor]) -> list[Tensor]:
        """Encode a view of each sentence; batches (B, T) of any T → (B, Z) each.

        They are read as one batch: normalised by themselves, real and generated codes would have one mean.
        """
        longest = max(tokens.shape[1] for tokens in batches)
        whole = torch.cat([F.pad(tokens, (0, longest - tokens.shape[1]), value=PAD) for tokens in batches])
        seen = augment.view(whole, self.config.view, self.config.view_share)
        codes = self.discriminator(seen).float()
        return list(codes.split([len(tokens) for tokens in batches]))

    def _loss(self, first: Tensor, second: Tensor, fake: Tensor) -> Tensor:
        """Return what the encoder minimises: of two views of each real sentence, and of generated ones."""
        c = self.config
        if c.loss == "nt_xent":
            return contrastive_losses.nt_xent(first, second, others=fake, temperature=c.temperature)
        if c.loss == "ranking":
            return contrastive_losses.ranking_loss(first, second, fake, gamma=1 / c.temperature)
        codes = torch.cat((first, second, fake))
        real = torch.arange(len(codes), device=codes.device) < len(codes) - len(fake)
        return contrastive_losses.supervised_contrastive(codes, real, anchors=real, temperature=c.temperature)

    def worth(self, tokens: Tensor, mask: Tensor, real: Tensor) -> Tensor:
        """Return the encoder's mean reward of what follows each token; (B, T).

        Sentences are compared with the step's real ones and as many that the generator has written.
        """
        near = scores(self.discriminator, policy_gradient.known(real)).float()
        far = scores(self.discriminator, self.write(len(real))).float()
        if self.config.reward == "distance":
            reward = partial(contrastive_losses.distance_reward, real=near, made=far)
        else:
            gamma = 1 / self.config.temperature
            reward = partial(contrastive_losses.ranking_reward, references=near, comparisons=far, gamma=gamma)
        return self.rolled_out(tokens, self.discriminator, reward)
