"""The sentence-VAE: a variational autoencoder of sentences (Bowman et al. 2016, arXiv:1511.06349).

What differs from the paper, and why: the decoder reads the latent vector at every step, starts from it, and a
linear map of it is added to what the vocabulary head reads (Dieng et al. 2019), without which the decoder
learns so late to pass it on that it says little more than topic and length; the encoder's states are pooled
by their maximum (Long et al. 2019), which reaches every word by a short path; 7 nats of divergence are free
(a hinge on the sum, after Kingma et al. 2016), without which the decoder comes to ignore the latent vector,
as the bound is no worse; a penalty on the total correlation of the dimensions (Chen et al. 2018), without
which they say the same; a calibrated decoder, as in `mle`. Of the other means that were proposed against
posterior collapse, word dropout and annealing (Bowman et al.), cyclical annealing (Fu et al. 2019), free bits
for each dimension, a target for the divergence (Burgess et al. 2018), aggressive training of the encoder (He
et al. 2019) and the start from an autoencoder (Li et al. 2019) are settings.

Report metrics, in nats a sentence: `recon`, -log p(x | z) of a draw z from the posterior of each sentence;
`kl`, the divergence of posterior from prior; `elbo`, minus their sum: of training batches under dropout, and
`valid_recon`, `valid_kl`, `valid_elbo` of the validation split. `valid_nll`, nats a token, is
importance-weighted with 20 draws for each sentence (`seqgen.algorithms.vae_objective.importance_weights`), so
it is somewhat above what `log_likelihood` finds with 500; `valid_ppl` is its exponential. Of the validation
split also `mutual_information`, nats, of sentence and latent vector, at most the logarithm of the number of
sentences; `active_units`, how many dimensions' means vary (variance above 0.01); and `collapsed`, 1 where the
divergence is below 0.1 nats, so that the latent vector tells nothing and the decoder is a language model.
Whether latents are used shows in `reconstruction_bleu`, corpus BLEU-4 of 256 greedy reconstructions against
their sentences, 0 to 100, which must be well above `shuffled_bleu`, that of the same reconstructions against
other sentences.
`beta` is the weight of the divergence; `grad_norm` of the decoder before clipping, `lr` and `temperature` are
those of `mle`, and `unique`, `distinct_tokens` and `sample_nll` those of `seqgen.algorithms.base`, samples
being decoded from the prior.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from seqgen.algorithms import vae_objective
from seqgen.algorithms.autoencoder_base import PretrainedAutoencoder, with_paths
from seqgen.algorithms.base import Metrics, StepMetrics
from seqgen.algorithms.configs import EncoderConfig, PretrainingConfig
from seqgen.algorithms.regularisation import TextSize
from seqgen.core import distributed, optim, settings
from seqgen.core.device import autocast
from seqgen.data import augment
from seqgen.data.batch import Batch, TokensOf
from seqgen.functional import gaussian

COLLAPSED = 0.1
"""Nats a sentence of KL below which the latent vector tells nothing: the decoder is a language model."""
VALID_SAMPLES = 20
"""Latent vectors drawn for each sentence in the likelihood of reports; `log_likelihood` takes 500."""


@dataclass(frozen=True)
class SentenceVAEConfig(PretrainingConfig):
    """Settings of the sentence-VAE."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    latent_dim: int = 32
    """dimensions of a latent vector (Z)"""
    penalty: vae_objective.Penalty = "hinge"
    """form of the KL term: the KL, free bits for each dimension, a hinge on the sum, distance from target"""
    target_kl: float = 7.0
    """nats a sentence that free bits and hinge leave free, or that target aims at"""
    decorrelation: float = 1.0
    """weight in the KL term of the total correlation of the latent dimensions (Chen et al. 2018)"""
    beta: float = 1.0
    """weight of the KL term"""
    anneal: vae_objective.Anneal = "linear"
    """how the weight of the KL term rises"""
    anneal_fraction: float = 0.2
    """fraction of training over which it rises, linear and logistic"""
    cycles: int = 4
    """times that it rises, cyclical"""
    word_dropout: float = 0.0
    """fraction of the words that the decoder reads as unknown"""
    encoder_word_dropout: float = 0.0
    """fraction of the words that the encoder reads as unknown"""
    warm_start: float = 0.0
    """fraction of training without the KL term, after which the decoder starts anew (Li et al. 2019)"""
    aggressive: int = 0
    """most updates of the encoder alone before one of both, while the encoder lags (He et al. 2019: 100)"""
    aggressive_window: int = 10
    """updates of the encoder alone whose mean loss must fall for more of them to follow"""
    calibration: float = 1.0
    """fraction of the way, in log temperature, to the least validation loss; 0 for no calibration"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(
            self,
            latent_dim=(1, None),
            target_kl=(0.0, None),
            decorrelation=(0.0, None),
            beta=(0.0, None),
            anneal_fraction=(0.0, 1.0),
            cycles=(1, None),
            word_dropout=(0.0, 1.0),
            encoder_word_dropout=(0.0, 1.0),
            warm_start=(0.0, 0.9),
            aggressive=(0, None),
            aggressive_window=(1, None),
            calibration=(0.0, 1.0),
        )

    def fitted(self, text: TextSize, steps: int | None = None) -> Self:
        """Fill in what was left to the size of the training text, and the paths of latent vectors."""
        return with_paths(super().fitted(text, steps), latent_skip=True, pooling="max")

    @property
    def read_size(self) -> int:
        """Sentences that a step reads: so many that the encoder can catch up."""
        return self.batch_size * (1 + self.aggressive)


class SentenceVAE(PretrainedAutoencoder):
    """An encoder to Gaussian posteriors and a decoder, trained together by the evidence lower bound."""

    Config = SentenceVAEConfig
    config: SentenceVAEConfig
    likelihood = "estimated"
    monitor: str | None = "valid_nll"
    on_host = ("is_warming_up", "encoder_lags", "last_information")
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"generator.latent_skip": True, "encoder.pooling": "max"},
        {"penalty": "kl", "anneal": "cyclical", "encoder.bidirectional": False},
        {"penalty": "hinge", "aggressive": 3, "aggressive_window": 1, "encoder.cell": "gru"},
        {"penalty": "target", "warm_start": 0.5, "word_dropout": 0.3, "generator.layers": 2},
        {
            "generator.kind": "transformer",
            "generator.hidden": 12,
            "generator.heads": 3,
            "generator.latent_skip": True,
            "encoder.pooling": "mean",
        },
        {"generator.kind": "relational-memory", "generator.head_size": 5},
    )
    is_warming_up: Tensor
    """Whether the autoencoder of the warm start is still learning; scalar."""
    encoder_lags: Tensor
    """Whether the encoder is trained aggressively; scalar."""
    last_information: Tensor
    """Mutual information at the last report, nats; scalar."""

    def __init__(self, config: SentenceVAEConfig, *, vocab_size: int, length: int) -> None:
        super().__init__(config, vocab_size=vocab_size, length=length)
        self.register_buffer("is_warming_up", torch.tensor(config.warm_start > 0))
        self.register_buffer("encoder_lags", torch.tensor(config.aggressive > 0))
        self.register_buffer("last_information", torch.zeros(()))

    def step(self, batch: Batch, progress: float) -> StepMetrics:
        """Update encoder and decoder by every `batch_size` sentences of a batch.

        While the encoder lags, updates of it alone go before each of both, until its loss no longer falls;
        the last part of a batch always updates both.
        """
        c = self.config
        self.train()
        self.generator.head.scale.fill_(1.0)  # the last report has calibrated what it measured and kept
        factor, beta = self._schedule(progress)
        self.set_learning_rates(factor)
        parts = batch.tokens.split(distributed.part(c.batch_size))
        is_aggressive = bool(self.encoder_lags) and not self.is_warming_up
        window = _LossWindow(c.aggressive_window)
        metrics: StepMetrics = {}
        for i, part in enumerate(parts):
            loss, metrics = self._loss(part, beta)
            if is_aggressive and i + 1 < len(parts) and not window.stopped_falling():
                optim.update({self.optimizers["encoder"]: loss}, clip=c.clip)
                window.add(float(distributed.mean(loss.detach())))
                continue
            both = (self.optimizers[name] for name in ("generator", "encoder"))
            norms = optim.update(dict.fromkeys(both, loss), clip=c.clip)
            metrics["grad_norm"] = norms[self.optimizers["generator"]]
            window = _LossWindow(c.aggressive_window)
        return metrics | {"beta": beta, "lr": c.peak_lr * factor}

    def _schedule(self, progress: float) -> tuple[float, float]:
        """Return the learning rate's factor and the KL term's weight; end the warm start in time."""
        c = self.config
        if progress < c.warm_start:
            return optim.warmup_cosine(progress / c.warm_start, warmup=c.warmup), 0.0
        if self.is_warming_up:
            self.is_warming_up.fill_(False)
            with self.generator.head.weight.device:
                fresh = c.generator.build(self.generator.vocab_size, latent_dim=c.latent_dim)
            self.generator.load_state_dict(fresh.state_dict())
            self.optimizers["generator"].state.clear()
        rest = (progress - c.warm_start) / (1 - c.warm_start)
        weight = vae_objective.anneal(rest, c.anneal, over=c.anneal_fraction, cycles=c.cycles)
        return optim.warmup_cosine(rest, warmup=c.warmup), c.beta * weight

    def _loss(self, tokens: Tensor, beta: float) -> tuple[Tensor, StepMetrics]:
        """Return the negative bound over the mean number of tokens of a batch, and its parts; (B, T)."""
        c = self.config
        mean_tokens = self.mean_tokens(tokens)
        with autocast(tokens.device, bf16=c.bf16):
            mean, log_var = self.encoder(augment.mask_words(tokens, c.encoder_word_dropout))
            mean, log_var = mean.float(), log_var.float()
            latents = gaussian.sample(mean, log_var)
            recon = vae_objective.reconstruction(self.generator, tokens, latents, mask_rate=c.word_dropout)
        kl = gaussian.kl(mean, log_var)
        penalty = vae_objective.penalty(kl, c.penalty, c.target_kl)
        penalty = penalty + c.decorrelation * self._total_correlation(mean, log_var)
        loss = (recon + beta * len(tokens) * penalty) / mean_tokens
        parts = recon.detach() / len(tokens), kl.detach().sum(dim=1).mean()
        return loss, {"recon": parts[0], "kl": parts[1], "elbo": -sum(parts)}

    def _total_correlation(self, mean: Tensor, log_var: Tensor) -> Tensor:
        """Return the total correlation of the latent dimensions, nats, by their running covariance; scalar.

        A batch is too small to estimate a covariance (Z, Z) by itself. So the value and its gradient with
        respect to the covariance are those at the running one; the batch's own covariance carries that
        gradient on to the encoder.
        """
        moments, var = self.moments, log_var.exp()
        moments.follow(1 / self.tokens_per_batch.count.clamp(max=50), mean.detach(), var.detach())
        cov = self.latent_cov.clone().requires_grad_()
        total = vae_objective.total_correlation(cov)
        (gradient,) = torch.autograd.grad(total, cov)
        carrier = (gradient * moments.of_batch(mean, var)).sum()
        return total.detach() + carrier - carrier.detach()

    def evaluate(self, batches: Iterable[Batch]) -> Metrics:
        """Calibrate the decoder, then measure held-out bound, likelihood and latents, and samples."""
        held_out = TokensOf(batches)
        temperature = self.calibrate(held_out)
        metrics = self.measure(held_out, samples=VALID_SAMPLES)
        metrics |= self.reconstruction_metrics(held_out)
        if metrics and self.tokens_per_batch.count:  # before training no latent vector tells anything
            metrics["collapsed"] = float(metrics["valid_kl"] < COLLAPSED)
            # Aggressive training ends for good once held-out mutual information no longer rises.
            self.encoder_lags &= metrics["mutual_information"] > self.last_information
            self.last_information.fill_(metrics["mutual_information"])
        return metrics | self.sample_metrics(self.sample(1000)) | {"temperature": temperature}


class _LossWindow:
    """The last losses of the encoder's own updates, and the mean of as many before them."""

    def __init__(self, size: int) -> None:
        self.size, self.losses, self.before = size, list[float](), math.inf

    def stopped_falling(self) -> bool:
        """Whether the window is full and its mean no better than that of the window before it."""
        return len(self.losses) == self.size and sum(self.losses) / self.size >= self.before

    def add(self, loss: float) -> None:
        """Add a loss; a full window becomes the one before."""
        if len(self.losses) == self.size:
            self.before = sum(self.losses) / self.size
            self.losses = []
        self.losses.append(loss)
