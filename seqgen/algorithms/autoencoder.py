"""Autoencoders of sentences: a plain one, and one that learns to undo noise (Vincent et al. 2008).

The decoder is that of the sentence-VAE and the code has no noise of its own; a penalty on its length keeps
codes together (Ghosh et al. 2020, "From variational to deterministic autoencoders", whose regularised
autoencoder this is). Sentences are sampled from codes drawn from a Gaussian with the mean and covariance of
the training sentences' codes, as there. The noise is that of words: left out, as in Shen et al. 2020
("Educating text autoencoders"), who show that it brings codes of like sentences together; moved; or blanked.

Report figures, in nats a sentence: `recon`, -log p(x | its code), of training batches under dropout and
noise, and `valid_recon` of the validation split without either, which is no likelihood of it; `code_norm`,
half the squared length of a code; `grad_norm` of the decoder before clipping; `lr`, `unique`,
`distinct_tokens` and `entropy` are those of `mle`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from seqgen.algorithms import vae_objective
from seqgen.algorithms.autoencoder_base import Coder
from seqgen.algorithms.configs import EncoderConfig, Schedule
from seqgen.algorithms.mle import Metrics, sample_figures
from seqgen.core import optim, settings
from seqgen.data.augment import blank_words, delete_words, shuffle_words
from seqgen.data.tokenizer import PAD
from seqgen.models.base import evaluating


@dataclass(frozen=True)
class AutoencoderConfig(Schedule):
    """Settings of an autoencoder."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    code: int = 32
    """numbers of a code (Z)"""
    blank: float = 0.0
    """share of the words that the encoder reads as unknown"""
    delete: float = 0.0
    """share of the words that the encoder does not get to read"""
    shuffle: float = 0.0
    """places by which a word may have moved where the encoder reads it"""
    code_penalty: float = 0.01
    """weight of half the squared norm of a code (Ghosh et al. 2020)"""
    word_dropout: float = 0.0
    """share of the words that the decoder reads as unknown"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(
            self,
            code=(1, None),
            blank=(0.0, 1.0),
            delete=(0.0, 1.0),
            shuffle=(0.0, None),
            code_penalty=(0.0, None),
            word_dropout=(0.0, 1.0),
        )


@dataclass(frozen=True)
class DenoisingAutoencoderConfig(AutoencoderConfig):
    """Settings of an autoencoder that learns to undo noise."""

    delete: float = 0.3
    """share of the words that the encoder does not get to read (Shen et al. 2020)"""
    shuffle: float = 3.0
    """places by which a word may have moved where the encoder reads it (Lample et al. 2018)"""


class Autoencoder(Coder):
    """An encoder to codes and a decoder from them; codes to sample from are of a Gaussian fitted to them."""

    Config = AutoencoderConfig
    config: AutoencoderConfig
    likelihood = None
    monitor: str | None = "valid_recon"
    bucket_by_length = True
    usual_tokens: Tensor
    """Tokens of a batch, the mean so far; scalar."""
    batches_seen: Tensor
    code_mean: Tensor
    """Mean of the training sentences' codes, running; (Z,)."""
    code_cov: Tensor
    """Their covariance, running; (Z, Z)."""

    def __init__(self, config: AutoencoderConfig, *, vocab_size: int, length: int) -> None:
        super().__init__(config, vocab_size=vocab_size, length=length)
        self.register_buffer("usual_tokens", torch.zeros(()))
        self.register_buffer("batches_seen", torch.zeros(()))
        self.register_buffer("code_mean", torch.zeros(config.code))
        self.register_buffer("code_cov", torch.eye(config.code))

    def configure(self) -> None:
        """Create the optimisers; call it once the module is on its device."""
        c = self.config
        self.optimizers = {
            name: optim.adamw(player, lr=c.lr, weight_decay=c.weight_decay or 0.0)
            for name, player in (("generator", self.generator), ("encoder", self.encoder))
        }

    def step(self, batch: Tensor, progress: float) -> dict[str, Tensor | float]:
        """Move encoder and decoder by one batch (B, T)."""
        c = self.config
        factor = optim.warmup_cosine(progress, warmup=c.warmup)
        for optimizer in self.optimizers.values():
            optim.scale_lr(optimizer, factor)
        self.train()
        tokens = (batch != PAD).sum()
        self.batches_seen += 1
        self.usual_tokens += (tokens - self.usual_tokens) / self.batches_seen
        with torch.autocast(batch.device.type, dtype=torch.bfloat16, enabled=c.bf16):
            codes = self.encoder(self.disturbed(batch))[0].float()
            recon = vae_objective.reconstruction(self.generator, batch, codes, blank=c.word_dropout)
        norm = codes.square().sum() / 2
        self._follow(codes.detach())
        loss = (recon + c.code_penalty * norm) / self.usual_tokens
        norms = optim.update({each: loss for each in self.optimizers.values()}, clip=c.clip)
        return {
            "recon": recon.detach() / len(batch),
            "code_norm": norm.detach() / len(batch),
            "grad_norm": norms[self.optimizers["generator"]],
            "lr": c.lr * factor,
        }

    def disturbed(self, tokens: Tensor) -> Tensor:
        """Return sentences as the encoder reads them in training; (B, T) → (B, T)."""
        c = self.config
        return blank_words(shuffle_words(delete_words(tokens, c.delete), c.shuffle), c.blank)

    def _follow(self, codes: Tensor) -> None:
        """Let the moments follow a batch's codes (B, Z): those of all so far, then of 100 batches or so."""
        vae_objective.Moments(self.code_mean, self.code_cov).follow(
            1 / self.batches_seen.clamp(max=100), codes
        )

    def evaluate(self, batches: Iterable[Tensor]) -> Metrics:
        """Measure held-out reconstruction and the variety of samples."""
        recon, sentences = 0.0, 0
        for batch in batches:
            with evaluating(self):
                recon += float(vae_objective.reconstruction(self.generator, batch, self.encode(batch)))
            sentences += len(batch)
        figures = {"valid_recon": recon / sentences} if sentences else {}
        return figures | sample_figures(self.sample(1000))

    def should_stop(self, report: Metrics, first: Metrics) -> str | None:
        """Never stop: reconstruction has no collapse."""
        return None

    def prior(self, n: int, rng: torch.Generator | None = None) -> Tensor:
        """Draw n codes to write of, from the fitted Gaussian; (n, Z)."""
        variances, axes = torch.linalg.eigh(self.code_cov.double().cpu())  # of any rank
        spread = (axes * variances.clamp(min=0).sqrt()).float().to(self.code_mean.device)
        return self.code_mean + super().prior(n, rng) @ spread.t()


class DenoisingAutoencoder(Autoencoder):
    """An autoencoder whose encoder reads disturbed sentences: only the settings' defaults differ."""

    Config = DenoisingAutoencoderConfig
