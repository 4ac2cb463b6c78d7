"""Autoencoders of sentences: a plain one, and one that learns to undo noise (Vincent et al. 2008).

The decoder is that of the sentence-VAE and the latent vector has no noise of its own; a penalty on its
length keeps latent vectors together (Ghosh et al. 2020, "From variational to deterministic autoencoders",
whose regularised autoencoder this is). Sentences are sampled from latent vectors drawn from a Gaussian with
the mean and covariance of those of the training sentences, as there. The noise is that of words: deleted, as
in Shen et al. 2020 ("Educating text autoencoders"), who show that it brings the latent vectors of similar
sentences together; moved; or masked.

Report metrics, in nats a sentence: `recon`, -log p(x | z), of training batches under dropout and noise, and
`valid_recon` of the validation split without either, which is no likelihood of it; `latent_norm`, half the
squared length of a latent vector; `reconstruction_bleu` and its control `shuffled_bleu`, of validation
sentences, as of `seqgen.algorithms.sentence_vae`; `grad_norm` of the decoder before clipping; `lr`; and
`unique`, `distinct_tokens` and `sample_nll` of `seqgen.algorithms.base`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor

from seqgen.algorithms import vae_objective
from seqgen.algorithms.autoencoder_base import PretrainedAutoencoder, with_paths
from seqgen.algorithms.base import Metrics, StepMetrics
from seqgen.algorithms.configs import EncoderConfig, PretrainingConfig
from seqgen.algorithms.regularisation import TextSize
from seqgen.core import optim, settings
from seqgen.core.device import autocast, widened
from seqgen.data import augment
from seqgen.data.batch import Batch, TokensOf
from seqgen.models.base import evaluating


@dataclass(frozen=True)
class AutoencoderConfig(PretrainingConfig):
    """Settings of an autoencoder; `denoising-autoencoder` is one with noise."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    latent_dim: int = 32
    """dimensions of a latent vector (Z)"""
    mask_rate: float = 0.0
    """fraction of the words that the encoder reads as unknown"""
    delete_rate: float = 0.0
    """fraction of the words that the encoder does not read (Shen et al. 2020: 0.3)"""
    shuffle_distance: float = 0.0
    """positions by which a word may have moved in what the encoder reads (Lample et al. 2018: 3)"""
    latent_penalty: float = 0.01
    """weight of half the squared norm of a latent vector (Ghosh et al. 2020)"""
    word_dropout: float = 0.0
    """fraction of the words that the decoder reads as unknown"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(
            self,
            latent_dim=(1, None),
            mask_rate=(0.0, 1.0),
            delete_rate=(0.0, 1.0),
            shuffle_distance=(0.0, None),
            latent_penalty=(0.0, None),
            word_dropout=(0.0, 1.0),
        )

    def fitted(self, text: TextSize, steps: int | None = None) -> Self:
        """Fill in what was left to the size of the training text, and the paths of latent vectors."""
        return with_paths(super().fitted(text, steps), latent_skip=False, pooling="last")


class Autoencoder(PretrainedAutoencoder):
    """An encoder to latent vectors, a decoder of them, and the Gaussian that samples are decoded from."""

    Config = AutoencoderConfig
    config: AutoencoderConfig
    likelihood = None
    monitor: str | None = "valid_recon"
    idle_parameters: ClassVar[tuple[str, ...]] = ("encoder.log_var.",)  # latent vectors have no variance
    examples = (
        {},
        {"mask_rate": 0.2, "generator.cell": "gru", "generator.attention": True},
        {"encoder.dropout": 0.0, "delete_rate": 0.3, "shuffle_distance": 3.0},
        {"generator.kind": "transformer", "generator.hidden": 12, "generator.heads": 3},
        {"generator.kind": "relational-memory", "generator.head_size": 5},
    )

    def step(self, batch: Batch, progress: float) -> StepMetrics:
        """Update encoder and decoder by one batch."""
        c, tokens = self.config, batch.tokens
        factor = optim.warmup_cosine(progress, warmup=c.warmup)
        self.set_learning_rates(factor)
        self.train()
        mean_tokens = self.mean_tokens(tokens)
        with autocast(tokens.device, bf16=c.bf16):
            latents = self.encoder(self.corrupted(tokens))[0].float()
            recon = vae_objective.reconstruction(self.generator, tokens, latents, mask_rate=c.word_dropout)
        norm = latents.square().sum() / 2
        # The moments of all batches so far, then of the last 100 or so.
        self.moments.follow(1 / self.tokens_per_batch.count.clamp(max=100), latents.detach())
        loss = (recon + c.latent_penalty * norm) / mean_tokens
        norms = optim.update({each: loss for each in self.optimizers.values()}, clip=c.clip)
        return {
            "recon": recon.detach() / len(batch),
            "latent_norm": norm.detach() / len(batch),
            "grad_norm": norms[self.optimizers["generator"]],
            "lr": c.peak_lr * factor,
        }

    def corrupted(self, tokens: Tensor) -> Tensor:
        """Return sentences as the encoder reads them in training; (B, T) → (B, T)."""
        c = self.config
        deleted = augment.delete_words(tokens, c.delete_rate)
        return augment.mask_words(augment.shuffle_words(deleted, c.shuffle_distance), c.mask_rate)

    def evaluate(self, batches: Iterable[Batch]) -> Metrics:
        """Measure held-out loss, reconstructions and samples."""
        recon, sentences = 0.0, 0
        for batch in batches:
            with evaluating(self):
                latents = self.encode(batch.tokens)
                recon += float(vae_objective.reconstruction(self.generator, batch.tokens, latents))
            sentences += len(batch)
        valid = {"valid_recon": recon / sentences} if sentences else {}
        valid |= self.reconstruction_metrics(TokensOf(batches))
        return valid | self.sample_metrics(self.sample(1000))

    def prior(self, n: int, rng: torch.Generator | None = None) -> Tensor:
        """Draw n latent vectors from the fitted Gaussian; (n, Z)."""
        cov = widened(self.latent_cov)
        # A covariance may lack rank; its factor then needs a jitter. No look at whether it went well.
        relative = max(1e-9, 8 * torch.finfo(cov.dtype).eps)
        jitter = (relative * cov.diagonal().mean() + 1e-12) * torch.eye(len(cov), device=cov.device)
        spread = torch.linalg.cholesky_ex(cov + jitter).L.to(self.latent_mean.dtype)
        return self.latent_mean + super().prior(n, rng) @ spread.t()
