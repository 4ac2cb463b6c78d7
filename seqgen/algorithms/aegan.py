"""AEGAN: an autoencoder of sentences, with a critic of its samples and a critic of its latent vectors.

A generator decodes latent vectors into sentences and an encoder encodes sentences, which makes two cycles
(Lazarou 2020, "AutoEncoding generative adversarial networks", for images): x → z → x by cross entropy, and z
→ x → z by a contrastive loss, as sentences have no continuous distance. A critic of latent vectors gives
those of real sentences the distribution of the prior N(0, I) (Makhzani et al. 2016), so that nothing is
sampled where the generator has learned nothing; a critic of sentences makes samples from the prior look real.
Training goes on from an autoencoder, whose latent vectors are whitened first, or from a sentence-VAE.

The energy of a sentence is what its reconstruction costs, in nats, plus the critic's part: minus the
critic's score, which for the logistic loss is in nats, too (Deng et al. 2020, "Residual energy-based models
for text generation"); or, with the energy loss (Zhao et al. 2017, EBGAN), the critic's energy.

Report metrics: of the training batches the losses, unweighted, by the names of their weights:
`cross_entropy`, nats a token, `adversarial`, `adversarial_latents`, `contrastive`, `latent_l2`,
`derivatives`; what the critics minimise, `critic_loss` and `latent_critic_loss` (1.386 by chance with the
logistic loss); `tau`, the relaxation's temperature; `grad_norm`. Of held-out sentences those of
`seqgen.algorithms.vae_objective.measure`; `latent_mean` and `latent_var`, the mean square of their latent
vectors' mean and the mean variance of a dimension, 0 and 1 where they are the prior's; `energy`, their mean
energy, and `energy_gap`, by how much that of samples is above it. Then `temperature`, by which calibration
divided the logits; and `unique`, `distinct_tokens` and `sample_nll` of `seqgen.algorithms.base`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from seqgen.algorithms import aegan_losses, collapse, vae_objective
from seqgen.algorithms.aegan_critics import CriticConfig, Critics
from seqgen.algorithms.autoencoder import Autoencoder
from seqgen.algorithms.autoencoder_base import LatentAlgorithm
from seqgen.algorithms.base import Metrics, StepMetrics, TextAlgorithm, TrainingConfig
from seqgen.algorithms.configs import EncoderConfig, default_generator
from seqgen.algorithms.tuned_generator import without_unknown
from seqgen.core import distributed, optim, settings
from seqgen.core.device import autocast, leaves_out
from seqgen.core.errors import UserError
from seqgen.data.batch import Batch, TokensOf
from seqgen.data.tokenizer import PAD, UNK
from seqgen.functional import gaussian
from seqgen.functional.gan_losses import gradient_penalty
from seqgen.generation.gumbel_softmax import annealed, sample_relaxed
from seqgen.generation.sample import sentence_log_prob
from seqgen.models.base import GeneratorConfig

VALID_SAMPLES = 20
"""Draws of a held-out sentence's latent vector for a report's likelihood."""
DIRICHLET_SENTENCES = 16
"""Sentences of a step along which the Dirichlet energy is estimated."""


@dataclass(frozen=True)
class LossesConfig:
    """Weights of the losses; 0 switches one off."""

    cross_entropy: float = 1.0
    """of real sentences given their latent vectors, nats a token"""
    adversarial: float = 0.3
    """of the critic of sentences"""
    adversarial_latents: float = 1.0
    """of the critic of latent vectors"""
    gradient_penalty: float = 0.1
    """of either critic's gradient (Gulrajani et al. 2017; 10 there)"""
    contrastive: float = 0.3
    """of telling which latent vector a sentence was decoded from"""
    latent_l2: float = 0.0
    """of half the squared length of real sentences' latent vectors"""
    derivatives: float = 0.0
    """of how much a sentence depends on its latent vector: the Dirichlet energy"""

    def __post_init__(self) -> None:
        limits = {name: (0.0, None) for name in LossesConfig.__dataclass_fields__}
        settings.bounds(self, **limits)


@dataclass(frozen=True)
class AEGANConfig(TrainingConfig):
    """Settings of AEGAN; those of the generator, the encoder and the latent vector are the starting run's."""

    generator: GeneratorConfig = field(default_factory=default_generator)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    latent_dim: int = 32
    """dimensions of a latent vector (Z)"""
    losses: LossesConfig = field(default_factory=LossesConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)
    pairing: aegan_losses.Pairing = "info_nce"
    """the contrastive loss"""
    pairing_strength: float = 1.0
    """weight λ of the similarities in the logistic one, beside half the squared distance"""
    pairing_gamma: float = 1.0
    """γ of the logistic one: how fast similarity falls with distance"""
    relaxation: Literal["straight_through", "gumbel", "policy_gradient"] = "straight_through"
    """how the generator learns from the critic of sentences: straight-through, soft samples, or by reward"""
    tau: float = 1.0
    """temperature of the relaxation at the start"""
    tau_end: float = 0.5
    """temperature of the relaxation at the end"""
    posterior_deviation: float = 0.7
    """deviation of a latent vector about its mean where the start is an autoencoder; the prior's is 1"""
    word_dropout: float = 0.0
    """fraction of the words that the decoder reads as unknown in reconstruction"""
    steps: int = 600
    """updates"""
    samples: int = 32
    """sentences generated in an update"""
    lr: float = 1e-3
    """learning rate of generator and encoder at its highest; a cosine to zero follows"""
    weight_decay: float | None = 0.01
    """AdamW's decay of their matrices; the starting run's"""
    calibration: float = 0.75
    """fraction of the way, in log temperature, to the least validation loss; 0 for no calibration"""
    report_every: int | None = 100
    """steps between reports"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(
            self,
            latent_dim=(1, None),
            tau=(1e-3, None),
            tau_end=(1e-3, None),
            posterior_deviation=(1e-3, 0.999),
            word_dropout=(0.0, 1.0),
            steps=(1, None),
            samples=(1, None),
            calibration=(0.0, 1.0),
            pairing_strength=(0.0, None),
            pairing_gamma=(0.0, None),
        )
        if self.critic.loss == "wasserstein" and not self.losses.gradient_penalty:
            raise UserError(
                "critic.loss=wasserstein needs a penalty on the critics' gradient; set "
                "losses.gradient_penalty above 0"
            )

    def total_steps(self, batches: int) -> int:
        """Return the length of training in steps."""
        return self.steps


class Generated(NamedTuple):
    """What a step generates from N latent vectors of the prior."""

    latents: Tensor
    """(N, Z)"""
    tokens: Tensor
    """(N, T) ids"""
    relaxed: Tensor
    """What critic and encoder read: (N, T, V) with a gradient to the generator, or without one the ids."""


class AEGAN(LatentAlgorithm):
    """A generator, an encoder, and the critics of sentences and of latent vectors."""

    Config = AEGANConfig
    config: AEGANConfig
    needs_start: ClassVar[bool] = True
    inherits: ClassVar[tuple[str, ...]] = ("generator", "encoder", "latent_dim", "weight_decay")
    likelihood = "estimated"
    on_host = ("updates",)
    idle_parameters = ("encoder.log_var.",)  # cross entropy would shrink the posteriors to points
    examples = (
        {},
        # Fast enough for scores to leave the hinge's margin, within which no last bias has a gradient.
        {"relaxation": "policy_gradient", "critic.loss": "hinge", "critic.lr": 1.0, "pairing": "logistic"},
        {"relaxation": "gumbel", "critic.loss": "energy", "losses.derivatives": 0.1},
        {"critic.kind": "rnn", "critic.rnn_hidden": 7, "critic.penalty_every": 1, "losses.latent_l2": 0.1},
        {"generator.kind": "transformer", "generator.hidden": 12, "generator.heads": 3},
        {"generator.kind": "relational-memory", "generator.head_size": 5, "losses.derivatives": 0.1},
    )
    updates: Tensor
    """Steps done; scalar."""

    def __init__(self, config: AEGANConfig, *, vocab_size: int, length: int) -> None:
        super().__init__(config, vocab_size=vocab_size, length=length)
        self.critics = Critics(config.critic, vocab_size, config.encoder.embedding, config.latent_dim)
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def start_from(self, start: TextAlgorithm) -> None:
        """Take over generator and encoder; the critic of sentences starts from the encoder's embedding.

        An autoencoder's latent vectors are whitened, so that N(0, I) is their prior as it is a
        sentence-VAE's.
        """
        for part in ("generator", "encoder"):
            self.get_submodule(part).load_state_dict(start.get_submodule(part).state_dict())
        self.critics.sentences.embedding.load_state_dict(self.encoder.embedding.state_dict())
        if isinstance(start, Autoencoder):
            aegan_losses.whiten(self.generator, self.encoder, start.latent_mean, start.latent_cov)
            aegan_losses.set_posterior_deviation(self.encoder, self.config.posterior_deviation)

    def configure(self) -> None:
        """Create the optimisers; called once the module is on its device."""
        c = self.config
        self.encoder.log_var.requires_grad_(False)
        networks = nn.ModuleList([self.generator, self.encoder])
        betas = (0.5, 0.99)  # a critic's scores change as it learns: the past counts for less
        self.optimizers = {
            "autoencoder": optim.adamw(networks, lr=c.peak_lr, weight_decay=c.weight_decay or 0.0),
            "critics": optim.adamw(
                self.critics, lr=c.critic.lr, weight_decay=c.critic.weight_decay, betas=betas
            ),
        }

    def step(self, batch: Batch, progress: float) -> StepMetrics:
        """Generate sentences, update the critics by them and by a real batch, then the autoencoder."""
        c, real = self.config, batch.tokens
        autoencoder = self.optimizers["autoencoder"]
        for optimizer in self.optimizers.values():
            optim.scale_lr(optimizer, optim.warmup_cosine(progress, warmup=c.warmup))
        self.generator.head.scale.fill_(1.0)  # the last report has calibrated what it measured and kept
        tau = annealed(progress, start=c.tau, end=c.tau_end)
        self.train()
        with autocast(real.device, bf16=c.bf16):
            latents = self._encode(real)
            generated = self._generate(tau)
            metrics = self._critics_step(real, latents.detach(), generated)
            parts = self._losses(real, latents, generated)
            if parts:
                weighted = [getattr(c.losses, name) * part for name, part in parts.items()]
                norms = optim.update({autoencoder: torch.stack(weighted).sum()}, clip=c.clip)
                metrics["grad_norm"] = norms[autoencoder]
        self.updates += 1
        return metrics | {name: part.detach() for name, part in parts.items()} | {"tau": tau}

    def _encode(self, tokens: Tensor) -> Tensor:
        """Draw a latent vector of each sentence from its posterior; (B, T) → (B, Z)."""
        mean, log_var = self.encoder(tokens)
        return gaussian.sample(mean, log_var.detach())

    def _generate(self, tau: float) -> Generated:
        """Decode latent vectors of the prior, without unknown words or dropout."""
        c = self.config
        latents = self.prior(distributed.part(c.samples))
        if c.relaxation == "policy_gradient" or not (self._is_adversarial() or c.losses.contrastive):
            tokens = self.decode(latents, temperature=1.0, forbid=(UNK,)).tokens
            if leaves_out(tokens.device):
                tokens = tokens[:, : int((tokens != PAD).any(dim=0).sum())]
            return Generated(latents, tokens, tokens)
        with self.generator.without_dropout():
            soft, tokens = sample_relaxed(
                self.generator,
                len(latents),
                self.length,
                temperature=tau,
                hard=c.relaxation == "straight_through",
                forbid=(UNK,),
                state=self.generator.initial(len(latents), latents),
            )
        return Generated(latents, tokens, soft)

    def _is_adversarial(self) -> bool:
        """Whether the generator already learns from the critic of sentences."""
        weights, critic = self.config.losses, self.config.critic
        return bool(weights.adversarial) and int(self.updates) >= critic.pretraining_steps

    def _critics_step(self, real: Tensor, latents: Tensor, generated: Generated) -> StepMetrics:
        """Update the critics whose loss has a weight, by a real batch, its latents and what was generated."""
        weights, every = self.config.losses, self.config.critic.penalty_every
        known = without_unknown(real)
        fake = generated.relaxed.detach()
        prior = distributed.randn(*latents.shape, device=latents.device, dtype=latents.dtype)
        is_penalised = bool(weights.gradient_penalty) and int(self.updates) % every == 0
        parts: dict[str, Tensor] = {}
        penalties: list[Tensor] = []
        if weights.adversarial:
            parts["critic_loss"] = self.critics.sentence_loss(known, fake)
            penalties += [self.critics.sentences.gradient_penalty(known, fake)] if is_penalised else []
        if weights.adversarial_latents:
            parts["latent_critic_loss"] = self.critics.latent_loss(prior, latents)
            penalties += [gradient_penalty(self.critics.latents, prior, latents)] if is_penalised else []
        if parts:
            weighted = [weights.gradient_penalty * every * each for each in penalties]
            losses = torch.stack([*parts.values(), *weighted])
            optim.update({self.optimizers["critics"]: losses.sum()}, clip=self.config.clip)
        return {name: part.detach() for name, part in parts.items()}

    def _losses(self, real: Tensor, latents: Tensor, generated: Generated) -> dict[str, Tensor]:
        """Return what generator and encoder minimise, by the names of the weights, without what is off."""
        weights = self.config.losses
        parts: dict[str, Tensor] = {}
        if weights.cross_entropy:
            cost = vae_objective.reconstruction(
                self.generator, real, latents, mask_rate=self.config.word_dropout
            )
            parts["cross_entropy"] = cost / distributed.mean((real != PAD).sum())
        if weights.adversarial_latents:
            parts["adversarial_latents"] = self.critics.encoder_loss(latents)
        if self._is_adversarial():
            parts["adversarial"] = self._adversarial_loss(generated)
        if weights.contrastive:
            encoded, _ = self.encoder(generated.relaxed)
            parts["contrastive"] = aegan_losses.pairing_loss(
                self.config.pairing,
                generated.latents,
                encoded,
                strength=self.config.pairing_strength,
                gamma=self.config.pairing_gamma,
            )
        if weights.latent_l2:
            parts["latent_l2"] = latents.square().sum(dim=1).mean() / 2
        if weights.derivatives:
            few = slice(distributed.part(DIRICHLET_SENTENCES))
            with self.generator.without_dropout():
                parts["derivatives"] = aegan_losses.decoder_energy(
                    self.generator, generated.latents[few], generated.tokens[few]
                )
        return parts

    def _adversarial_loss(self, generated: Generated) -> Tensor:
        """Return the generator's loss against the critic of sentences, which is not updated by it."""
        if self.config.relaxation != "policy_gradient":
            return self.critics.generator_loss(generated.relaxed)
        with self.generator.without_dropout():
            return aegan_losses.reinforce(
                self.generator, generated.latents, generated.tokens, -self.critics.energy(generated.tokens)
            )

    def energy(self, tokens: Tensor) -> Tensor:
        """Return the energy of sentences, lower is more real; (B, T) → (B,).

        It is what the reconstruction from the latent vector costs, in nats, plus the critic's part.
        """
        return self.reconstruction_cost(tokens) + self.critics.energy(tokens)

    def reconstruction_cost(self, tokens: Tensor) -> Tensor:
        """Return -log p(x | z), in nats, z each sentence's latent vector; (B, T) → (B,)."""
        state = self.generator.initial(len(tokens), self.encode(tokens))
        return -sentence_log_prob(self.generator, tokens, state)

    def evaluate(self, batches: Iterable[Batch]) -> Metrics:
        """Calibrate the generator, then measure held-out sentences, their latents, energies, and samples."""
        networks, held_out = (self.encoder, self.generator), TokensOf(batches)
        temperature = self.calibrate(held_out)
        samples = self.sample(1000)
        posteriors = vae_objective.posteriors(self.encoder, held_out)
        metrics: Metrics = {}
        if posteriors is not None:
            metrics = vae_objective.measure(*networks, held_out, posteriors, samples=VALID_SAMPLES)
            energy = float(torch.cat([self.energy(tokens) for tokens in held_out]).mean())
            variance = posteriors.mean.var(dim=0, correction=0) + posteriors.log_var.exp().mean(dim=0)
            metrics |= {
                "latent_mean": float(posteriors.mean.mean(dim=0).square().mean()),
                "latent_var": float(variance.mean()),
                "energy": energy,
                "energy_gap": float(self.energy(samples.tokens).mean()) - energy,
            }
        return metrics | self.sample_metrics(samples) | {"temperature": temperature}

    def should_stop(self, report: Metrics, first: Metrics) -> str | None:
        """Stop on a mode collapse: the weights of the last good report are kept."""
        return collapse.collapsed(report, first)
