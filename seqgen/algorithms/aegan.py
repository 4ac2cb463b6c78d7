"""AEGAN: an autoencoder of sentences whose codes and whose own sentences are played for, against two critics.

A generator turns codes into sentences and an encoder sentences into codes, which makes two cycles (Lazarou
2020, "AutoEncoding generative adversarial networks", for images): x → z → x by cross entropy, and z → x → z
by a contrastive loss, as a sentence is no continuous thing to compare. A critic of codes makes the codes of
real sentences those of the prior N(0, I) (Makhzani et al. 2016), so that nothing is sampled where the
generator has learned nothing; a critic of sentences makes what is written of the prior's codes look real. It
goes on from an autoencoder, whose codes are whitened first, or from a sentence-VAE.

The energy of a sentence is what its reconstruction costs, in nats, plus what the critic of sentences holds
against it: minus its score, which for the logistic game is in nats, too (Deng et al. 2020, "Residual
energy-based models for text generation"); or, in the game of energies (Zhao et al. 2017, EBGAN), its energy.

Report figures: of the training batches the losses, unweighted, by the names of their weights:
`cross_entropy`, nats a token, `adversarial`, `adversarial_codes`, `contrastive`, `derivatives`; what the
critics minimise, `critic_loss` and `code_critic_loss` (1.386 by chance in the logistic game); `tau`, the
relaxation's temperature; `grad_norm`. Of held-out sentences those of `seqgen.algorithms.vae_objective.measure`; `code_mean` and
`code_var`, the mean square of their codes' mean and the mean variance of a unit, 0 and 1 where they are the
prior's; `energy`, their mean energy, and `energy_gap`, by how much that of samples is above it. Then
`temperature`, by which calibration divided the logits; and the samples' figures of `mle`: `unique`,
`distinct_tokens`, `entropy`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from seqgen.algorithms import aegan_losses, collapse, vae_objective
from seqgen.algorithms.aegan_critics import CriticConfig, Critics
from seqgen.algorithms.autoencoder import Autoencoder
from seqgen.algorithms.autoencoder_base import Coder
from seqgen.algorithms.configs import EncoderConfig, GeneratorConfig, policy_gradients
from seqgen.algorithms.mle import Metrics, sample_figures
from seqgen.core import optim, settings
from seqgen.data.tokenizer import PAD, UNK
from seqgen.functional import gaussian
from seqgen.functional.gan_losses import gradient_penalty
from seqgen.generation.gumbel_softmax import annealed, sample_relaxed
from seqgen.generation.sample import sentence_log_prob
from seqgen.models.calibration import calibrate

VALID_SAMPLES = 20
"""Draws of a held-out sentence's codes for a report's likelihood."""
DERIVED = 16
"""Sentences of a step along which the Dirichlet energy is estimated."""


@dataclass(frozen=True)
class LossesConfig:
    """Weights of the losses; 0 switches one off."""

    cross_entropy: float = 1.0
    """of real sentences given their codes, nats a token"""
    adversarial: float = 0.3
    """of the critic of sentences"""
    adversarial_codes: float = 1.0
    """of the critic of codes"""
    penalty: float = 0.1
    """of either critic's slope (Gulrajani et al. 2017; 10 there)"""
    contrastive: float = 0.3
    """of telling which code a sentence was written of"""
    derivatives: float = 0.0
    """of how much what is written turns on the code: the Dirichlet energy"""

    def __post_init__(self) -> None:
        limits = {name: (0.0, None) for name in LossesConfig.__dataclass_fields__}
        settings.bounds(self, **limits)


@dataclass(frozen=True)
class AEGANConfig:
    """Settings of the game; those of the generator, the encoder and the code are the starting run's."""

    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    code: int = 32
    """numbers of a code (Z)"""
    losses: LossesConfig = field(default_factory=LossesConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)
    pairing: Literal["info_nce", "logistic"] = "info_nce"
    """the contrastive loss"""
    relax: Literal["straight_through", "gumbel", "policy_gradient"] = "straight_through"
    """how the critic of sentences moves the generator: through draws, soft draws, or by reward"""
    tau: float = 1.0
    """temperature of the relaxation at the start"""
    tau_end: float = 0.5
    """temperature of the relaxation at the end"""
    noise: float = 0.7
    """deviation of a code about its mean where the start is an autoencoder; the prior's is 1"""
    word_dropout: float = 0.0
    """share of the words that the decoder reads as unknown where it reconstructs"""
    steps: int = 600
    """updates"""
    batch_size: int = 64
    """real sentences of an update"""
    written: int = 32
    """sentences written in an update"""
    lr: float = 1e-3
    """learning rate of generator and encoder at the start; a cosine to zero follows"""
    weight_decay: float = 0.01
    """AdamW's decay of their matrices"""
    calibration: float = 0.75
    """how far the kept weights go towards the temperature of least validation loss; 0 leaves them alone"""
    clip: float = 1.0
    """bound of either gradient's norm"""
    report_every: int | None = 100
    """steps between reports"""

    def __post_init__(self) -> None:
        settings.bounds(
            self,
            code=(1, None),
            tau=(1e-3, None),
            tau_end=(1e-3, None),
            noise=(1e-3, 0.999),
            word_dropout=(0.0, 1.0),
            steps=(1, None),
            batch_size=(1, None),
            written=(1, None),
            lr=(0.0, None),
            weight_decay=(0.0, None),
            clip=(0.0, None),
            calibration=(0.0, 1.0),
            report_every=(1, None),
        )

    def total_steps(self, batches: int) -> int:
        """Length of training in steps."""
        return self.steps

    @property
    def read_size(self) -> int:
        """Real sentences of a step."""
        return self.batch_size


class Play(NamedTuple):
    """What a step writes of N codes of the prior."""

    codes: Tensor
    """(N, Z)"""
    tokens: Tensor
    """(N, T) ids"""
    shown: Tensor
    """What critic and encoder read: (N, T, V) with a gradient to the generator, or without one the ids."""


class AEGAN(Coder):
    """A generator, an encoder, and the critics of sentences and of codes."""

    Config = AEGANConfig
    config: AEGANConfig
    inherits = ("generator", "encoder", "code", "weight_decay")
    starts_from = ("sentence-vae", "autoencoder", "denoising-autoencoder", "aegan")
    likelihood = "estimated"
    monitor: str | None = None
    bucket_by_length = False  # batches of one length would tell the critic more of length than of text
    updates: Tensor
    """Steps done; scalar."""

    def __init__(self, config: AEGANConfig, *, vocab_size: int, length: int) -> None:
        super().__init__(config, vocab_size=vocab_size, length=length)
        self.critics = Critics(config.critic, vocab_size, config.encoder.embedding, config.code)
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def start_from(self, start: nn.Module) -> None:
        """Take over generator and encoder; the critic of sentences starts from the encoder's embedding.

        An autoencoder's codes are whitened, so that N(0, I) is their prior as it is a sentence-VAE's.
        """
        for part in ("generator", "encoder"):
            self.get_submodule(part).load_state_dict(start.get_submodule(part).state_dict())
        self.critics.sentences.embedding.load_state_dict(self.encoder.embedding.state_dict())
        if isinstance(start, Autoencoder):
            aegan_losses.whiten(self.generator, self.encoder, start.code_mean, start.code_cov)
            aegan_losses.blur(self.encoder, self.config.noise)

    def configure(self) -> None:
        """Create the optimisers; call it once the module is on its device."""
        c = self.config
        self.encoder.log_var.requires_grad_(False)  # cross entropy would shrink the spread of codes to none
        players = nn.ModuleList([self.generator, self.encoder])
        betas = (0.5, 0.99)  # a critic's verdicts change as it learns: the past counts for less
        self.optimizers = {
            "autoencoder": optim.adamw(players, lr=c.lr, weight_decay=c.weight_decay),
            "critics": optim.adamw(
                self.critics, lr=c.critic.lr, weight_decay=c.critic.weight_decay, betas=betas
            ),
        }

    def step(self, batch: Tensor, progress: float) -> dict[str, Tensor | float]:
        """Write sentences, move the critics by them and by a real batch (B, T), then the autoencoder."""
        c = self.config
        autoencoder = self.optimizers["autoencoder"]
        for optimizer in self.optimizers.values():
            optim.scale_lr(optimizer, optim.warmup_cosine(progress, warmup=0.0))
        self.generator.head.scale.fill_(1.0)  # a report has calibrated what it measured and kept
        tau = annealed(progress, start=c.tau, end=c.tau_end)
        self.train()
        codes = self._codes(batch)
        play = self._write(tau)
        figures = self._move_critics(batch, codes.detach(), play)
        parts = self._losses(batch, codes, play)
        if parts:
            weighted = [getattr(c.losses, name) * part for name, part in parts.items()]
            norms = optim.update({autoencoder: torch.stack(weighted).sum()}, clip=c.clip)
            figures["grad_norm"] = norms[autoencoder]
        self.updates += 1
        return figures | {name: part.detach() for name, part in parts.items()} | {"tau": tau}

    def _codes(self, tokens: Tensor) -> Tensor:
        """Draw a code of each sentence, as the generator reads it; (B, T) → (B, Z)."""
        mean, log_var = self.encoder(tokens)
        return gaussian.draw(mean, log_var.detach())

    def _write(self, tau: float) -> Play:
        """Draw codes from the prior and write a sentence of each, without unknown words or dropout."""
        c = self.config
        codes = self.prior(c.written)
        if c.relax == "policy_gradient" or not (self._plays() or c.losses.contrastive):
            tokens = self.decode(codes, temperature=1.0, forbid=(UNK,)).tokens
            tokens = tokens[:, : int((tokens != PAD).any(dim=0).sum())]
            return Play(codes, tokens, tokens)
        with policy_gradients(self.generator):
            soft, tokens = sample_relaxed(
                self.generator,
                c.written,
                self.length,
                temperature=tau,
                hard=c.relax == "straight_through",
                forbid=(UNK,),
                state=self.generator.state(codes),
            )
        return Play(codes, tokens, soft)

    def _plays(self) -> bool:
        """Whether the generator already plays against the critic of sentences."""
        return bool(self.config.losses.adversarial) and int(self.updates) >= self.config.critic.first

    def _move_critics(self, real: Tensor, codes: Tensor, play: Play) -> dict[str, Tensor | float]:
        """Move the critics that are played against, by a real batch, its codes and what was written."""
        weights, every = self.config.losses, self.config.critic.penalty_every
        known = real[~(real == UNK).any(dim=1)]
        known = known if len(known) else real
        made, prior = play.shown.detach(), torch.randn_like(codes)
        due = bool(weights.penalty) and int(self.updates) % every == 0
        parts: dict[str, Tensor] = {}
        penalties: list[Tensor] = []
        if weights.adversarial:
            parts["critic_loss"] = self.critics.sentence_loss(known, made)
            penalties += [self.critics.sentences.slope_penalty(known, made)] if due else []
        if weights.adversarial_codes:
            parts["code_critic_loss"] = self.critics.code_loss(prior, codes)
            penalties += [gradient_penalty(self.critics.codes, prior, codes)] if due else []
        if parts:
            losses = torch.stack([*parts.values(), *(weights.penalty * every * each for each in penalties)])
            optim.update({self.optimizers["critics"]: losses.sum()}, clip=self.config.clip)
        return {name: part.detach() for name, part in parts.items()}

    def _losses(self, real: Tensor, codes: Tensor, play: Play) -> dict[str, Tensor]:
        """Compute what generator and encoder minimise, by the names of its weights, without what is off."""
        weights = self.config.losses
        parts: dict[str, Tensor] = {}
        if weights.cross_entropy:
            cost = vae_objective.reconstruction(self.generator, real, codes, blank=self.config.word_dropout)
            parts["cross_entropy"] = cost / (real != PAD).sum()
        if weights.adversarial_codes:
            parts["adversarial_codes"] = self.critics.lost_by_codes(codes)
        if self._plays():
            parts["adversarial"] = self._played(play)
        if weights.contrastive:
            again, _ = self.encoder(play.shown)
            parts["contrastive"] = aegan_losses.pairing_loss(self.config.pairing, play.codes, again)
        if weights.derivatives:
            with policy_gradients(self.generator):
                parts["derivatives"] = aegan_losses.decoder_energy(
                    self.generator, play.codes[:DERIVED], play.tokens[:DERIVED]
                )
        return parts

    def _played(self, play: Play) -> Tensor:
        """What the generator loses to the critic of sentences, which learns nothing by it."""
        if self.config.relax != "policy_gradient":
            return self.critics.lost_by_sentences(play.shown)
        with policy_gradients(self.generator):
            return aegan_losses.reinforce(
                self.generator, play.codes, play.tokens, -self.critics.against(play.tokens)
            )

    def energy(self, tokens: Tensor) -> Tensor:
        """Return the energy of sentences, lower is more real; (B, T) → (B,).

        What it costs to reconstruct a sentence from its code, in nats, plus what the critic holds against it.
        """
        return self.reconstruction_cost(tokens) + self.critics.against(tokens)

    def reconstruction_cost(self, tokens: Tensor) -> Tensor:
        """-log p(sentence | its code), in nats; (B, T) → (B,)."""
        return -sentence_log_prob(self.generator, tokens, self.generator.state(self.encode(tokens)))

    def log_likelihood(
        self, tokens: Tensor, *, samples: int = 500, rng: torch.Generator | None = None
    ) -> Tensor:
        """Estimate log p of sentences, in nats, by so many draws of each one's codes; (B, T) → (B,)."""
        return vae_objective.importance_weights(
            self.encoder, self.generator, tokens, samples=samples, rng=rng
        ).log_likelihood()

    def evaluate(self, batches: Iterable[Tensor]) -> Metrics:
        """Calibrate the generator, then measure held-out sentences, their codes, energies, and samples."""
        players = self.encoder, self.generator
        temperature = calibrate(
            self.generator.head,
            lambda: vae_objective.one_draw_nll(*players, batches),
            share=self.config.calibration,
        )
        samples = self.sample(1000)
        found = vae_objective.posteriors(self.encoder, batches)
        figures: Metrics = {}
        if found is not None:
            figures = vae_objective.measure(*players, batches, found, samples=VALID_SAMPLES)
            energy = float(torch.cat([self.energy(tokens) for tokens in batches]).mean())
            spread = found.mean.var(dim=0, correction=0) + found.log_var.exp().mean(dim=0)
            figures |= {
                "code_mean": float(found.mean.mean(dim=0).square().mean()),
                "code_var": float(spread.mean()),
                "energy": energy,
                "energy_gap": float(self.energy(samples.tokens).mean()) - energy,
            }
        return figures | sample_figures(samples) | {"temperature": temperature}

    def should_stop(self, report: Metrics, first: Metrics) -> str | None:
        """Stop on collapse: the weights of the last good report are kept."""
        return collapse.collapsed(report, first)
