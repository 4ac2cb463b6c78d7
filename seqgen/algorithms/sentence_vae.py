"""The sentence-VAE: a code of each sentence and a decoder from codes (Bowman et al. 2016, arXiv:1511.06349).

What differs from the paper, and why: the decoder reads the code at every step, and starts from it; free bits
for every unit of the code (Kingma et al. 2016), without which the decoder comes to do without it, the bound
being no worse; a price on the total correlation of the units (Chen et al. 2018), without which free bits make
them say the same; a calibrated decoder, as in `mle`. Of the other means that were proposed against such a
collapse, word dropout and annealing (Bowman et al.), cyclical annealing (Fu et al. 2019), a target for the
divergence (Burgess et al. 2018), aggressive training of the encoder (He et al. 2019) and the start from an
autoencoder (Li et al. 2019) are settings.

Report figures, in nats a sentence: `recon`, -log p(x | z) of a draw z from the posterior of each sentence;
`kl`, the divergence of posterior from prior; `elbo`, minus their sum: of training batches under dropout, and
`valid_recon`, `valid_kl`, `valid_elbo` of the validation split. `valid_nll`, nats a token, is
importance-weighted with 20 draws for each sentence (`seqgen.algorithms.vae_objective.importance_weights`), so that it is
somewhat above what `log_likelihood` finds with 500; `valid_ppl` is its exponential. Of the validation split
also `mutual_information`, nats, of sentence and code, at most the logarithm of the number of sentences;
`active_units`, how many units' means vary (variance above 0.01); and `collapsed`, 1 where the divergence is
below 0.1 nats, so that the code tells nothing and the decoder is a language model. `beta` is the weight of
the divergence; `grad_norm` of the decoder before clipping, `lr`, `temperature`, `unique`, `distinct_tokens`
and `entropy` are those of `mle`, samples being drawn from the prior.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from seqgen.algorithms import vae_objective
from seqgen.algorithms.autoencoder_base import Coder
from seqgen.algorithms.configs import EncoderConfig, Schedule
from seqgen.algorithms.mle import Metrics, sample_figures
from seqgen.core import optim, settings
from seqgen.data.augment import blank_words
from seqgen.data.tokenizer import PAD
from seqgen.functional import gaussian
from seqgen.models.calibration import calibrate

COLLAPSED = 0.1
"""Nats a sentence of KL below which the code tells nothing: the decoder is a language model."""
VALID_SAMPLES = 20
"""Codes drawn for each sentence in the likelihood of reports; `log_likelihood` takes 500."""


@dataclass(frozen=True)
class SentenceVAEConfig(Schedule):
    """Settings of the sentence-VAE."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    code: int = 32
    """numbers of a code (Z)"""
    penalty: vae_objective.Penalty = "free_bits"
    """form of the KL term: the KL, free bits for every unit, a hinge on the sum, or distance from target"""
    target: float = 6.0
    """nats a sentence that the last three forms leave to the code, or aim at"""
    decorrelation: float = 1.0
    """weight in the KL term of what the units of the code share (Chen et al. 2018)"""
    beta: float = 1.0
    """weight of the KL term"""
    anneal: vae_objective.Anneal = "linear"
    """how the weight of the KL term rises"""
    anneal_over: float = 0.2
    """share of training over which it does so, linear and logistic"""
    cycles: int = 4
    """times that it does so, cyclical"""
    word_dropout: float = 0.0
    """share of the words that the decoder reads as unknown"""
    encoder_word_dropout: float = 0.0
    """share of the words that the encoder reads as unknown"""
    warm_start: float = 0.0
    """share of training without the KL term, after which the decoder starts anew (Li et al. 2019)"""
    aggressive: int = 0
    """most updates of the encoder alone before one of both, while the encoder lags (He et al. 2019: 100)"""
    window: int = 10
    """updates of the encoder alone whose mean loss must fall for more of them to follow"""
    calibration: float = 1.0
    """how far the kept weights go towards the temperature of least validation loss; 0 leaves them alone"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(
            self,
            code=(1, None),
            target=(0.0, None),
            decorrelation=(0.0, None),
            beta=(0.0, None),
            anneal_over=(0.0, 1.0),
            cycles=(1, None),
            word_dropout=(0.0, 1.0),
            encoder_word_dropout=(0.0, 1.0),
            warm_start=(0.0, 0.9),
            aggressive=(0, None),
            window=(1, None),
            calibration=(0.0, 1.0),
        )

    @property
    def read_size(self) -> int:
        """Sentences of a step: so many that the encoder can catch up."""
        return self.batch_size * (1 + self.aggressive)


class SentenceVAE(Coder):
    """An encoder to Gaussian codes and a decoder from them, moved together by the evidence lower bound."""

    Config = SentenceVAEConfig
    config: SentenceVAEConfig
    likelihood = "estimated"
    monitor: str | None = "valid_nll"
    bucket_by_length = True
    usual_tokens: Tensor
    """Tokens of a batch, the mean so far; scalar."""
    batches_seen: Tensor
    warm: Tensor
    """Whether the autoencoder of the warm start is still learning; scalar."""
    lagging: Tensor
    """Whether the encoder is trained aggressively; scalar."""
    information: Tensor
    """Mutual information at the last report, nats; scalar."""
    code_mean: Tensor
    """Mean of the codes of training sentences, running; (Z,)."""
    code_cov: Tensor
    """Their covariance, running; (Z, Z)."""

    def __init__(self, config: SentenceVAEConfig, *, vocab_size: int, length: int) -> None:
        super().__init__(config, vocab_size=vocab_size, length=length)
        self.register_buffer("usual_tokens", torch.zeros(()))
        self.register_buffer("batches_seen", torch.zeros(()))
        self.register_buffer("warm", torch.tensor(config.warm_start > 0))
        self.register_buffer("lagging", torch.tensor(config.aggressive > 0))
        self.register_buffer("information", torch.zeros(()))
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
        """Move encoder and decoder by every `batch_size` sentences of a batch (B, T)."""
        self.train()
        self.generator.head.scale.fill_(1.0)  # a report has calibrated what it measured and kept
        lr, beta = self._schedule(progress)
        for optimizer in self.optimizers.values():
            optim.scale_lr(optimizer, lr)
        parts = batch.split(self.config.batch_size)
        figures: dict[str, Tensor | float] = {}
        losses: list[float] = []
        before = math.inf
        for left, part in zip(reversed(range(len(parts))), parts, strict=True):
            loss, figures = self._loss(part, beta)
            if self.lagging and not self.warm and left and not self._caught_up(losses, before):
                if len(losses) == self.config.window:
                    before = sum(losses) / len(losses)
                    losses.clear()
                optim.update({self.optimizers["encoder"]: loss}, clip=self.config.clip)
                losses.append(float(loss.detach()))
                continue
            norms = optim.update({each: loss for each in self.optimizers.values()}, clip=self.config.clip)
            figures["grad_norm"] = norms[self.optimizers["generator"]]
            losses, before = [], math.inf
        return figures | {"beta": beta, "lr": self.config.lr * lr}

    def _caught_up(self, losses: list[float], before: float) -> bool:
        """Whether a window of the encoder's updates is full and no better than the one before it."""
        return len(losses) == self.config.window and sum(losses) / len(losses) >= before

    def _schedule(self, progress: float) -> tuple[float, float]:
        """Return the learning rate's factor and the KL term's weight; end the warm start in time."""
        c = self.config
        if progress < c.warm_start:
            return optim.warmup_cosine(progress / c.warm_start, warmup=c.warmup), 0.0
        if self.warm:
            self.warm.fill_(False)
            fresh = c.generator.build(self.generator.vocab_size, code=c.code)
            self.generator.load_state_dict(fresh.state_dict())
            self.optimizers["generator"].state.clear()
        rest = (progress - c.warm_start) / (1 - c.warm_start)
        weight = vae_objective.anneal(rest, c.anneal, over=c.anneal_over, cycles=c.cycles)
        return optim.warmup_cosine(rest, warmup=c.warmup), c.beta * weight

    def _loss(self, batch: Tensor, beta: float) -> tuple[Tensor, dict[str, Tensor | float]]:
        """Return the bound's negative over the tokens of a usual batch, and its parts in nats a sentence."""
        c = self.config
        self.batches_seen += 1
        self.usual_tokens += ((batch != PAD).sum() - self.usual_tokens) / self.batches_seen
        with torch.autocast(batch.device.type, dtype=torch.bfloat16, enabled=c.bf16):
            mean, log_var = self.encoder(blank_words(batch, c.encoder_word_dropout))
            mean, log_var = mean.float(), log_var.float()
            codes = gaussian.draw(mean, log_var)
            recon = vae_objective.reconstruction(self.generator, batch, codes, blank=c.word_dropout)
        kl = gaussian.kl(mean, log_var)
        costs = vae_objective.penalty(kl, c.penalty, c.target) + c.decorrelation * self._shared(mean, log_var)
        loss = (recon + beta * len(batch) * costs) / self.usual_tokens
        parts = recon.detach() / len(batch), kl.detach().sum(dim=1).mean()
        return loss, {"recon": parts[0], "kl": parts[1], "elbo": -sum(parts)}

    def _shared(self, mean: Tensor, log_var: Tensor) -> Tensor:
        """Return the total correlation of the units of codes, its gradient that of the running covariance.

        A batch is too small for a covariance (Z, Z); its share in the gradient at the running one is fair.
        """
        moments, var = vae_objective.Moments(self.code_mean, self.code_cov), log_var.exp()
        moments.follow(1 / self.batches_seen.clamp(max=50), mean.detach(), var.detach())
        cov = self.code_cov.clone().requires_grad_()
        total = vae_objective.total_correlation(cov)
        (slope,) = torch.autograd.grad(total, cov)
        share = (slope * moments.of_batch(mean, var)).sum()
        return total.detach() + share - share.detach()

    def evaluate(self, batches: Iterable[Tensor]) -> Metrics:
        """Calibrate the decoder, then measure held-out bound, likelihood and codes, and samples' variety."""
        players = self.encoder, self.generator
        temperature = calibrate(
            self.generator.head,
            lambda: vae_objective.one_draw_nll(*players, batches),
            share=self.config.calibration,
        )
        figures = vae_objective.measure(*players, batches, samples=VALID_SAMPLES)
        if figures and self.batches_seen:  # before training no code tells anything
            figures["collapsed"] = float(figures["valid_kl"] < COLLAPSED)
            self._judge_lag(figures["mutual_information"])
        return figures | sample_figures(self.sample(1000)) | {"temperature": temperature}

    def _judge_lag(self, information: float) -> None:
        """End aggressive training for good once held-out mutual information no longer rises."""
        self.lagging &= information > self.information
        self.information.fill_(information)

    def should_stop(self, report: Metrics, first: Metrics) -> str | None:
        """Never stop: a posterior that has collapsed is named by a figure."""
        return None

    def log_likelihood(
        self, tokens: Tensor, *, samples: int = 500, rng: torch.Generator | None = None
    ) -> Tensor:
        """Estimate log p of sentences, in nats, by importance weighting of so many codes; (B, T) → (B,)."""
        return vae_objective.importance_weights(
            self.encoder, self.generator, tokens, samples=samples, rng=rng
        ).log_likelihood()
