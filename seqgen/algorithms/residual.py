"""The residual energy model: a discriminator on top of a generator that stays as it is.

p(x) = g(x) · exp f(x) / Z, g a pretrained generator and f the logit of a discriminator of whole sentences
(Deng et al. 2020, arXiv:2004.11714; Bakhtin et al. 2021, arXiv:2004.10188; of images, discriminator rejection
sampling, Azadi et al. 2019). A discriminator that tells g's sentences from real ones has learned
log(data / g), so nothing has to be pushed through samples to the generator: p gains on g what the
discriminator knows (`seqgen.generation.resampling.gain`). A sentence is sampled by drawing K candidates from
g and choosing one with probability ∝ exp f.

What differs from the papers, and why: the discriminator is small, and reads what g says of each token; f may
have a linear part over summaries of the sentence (`seqgen.generation.summaries`); its scale is fitted to
held-out sentences, as one that was fitted to training sentences is too sure of itself. And where g finds the
sentences that it was trained on likelier than others, training sentences and samples come from generators
that were trained without them (`seqgen.training.cross_fitting`): the discriminator would else learn which
sentences g has seen.

Report metrics: of training batches `d_loss`, the binary cross entropy, log 2 by chance, and `d_accuracy`; of
held-out sentences against fresh samples `valid_loss`, after the scale was fitted, `scale`; `gain`, nats a
sentence by which p's likelihood is above g's, and its standard error `gain_error`; `effective`, the effective
sample size as a fraction of the samples; `log_z`; `valid_nll` and `valid_ppl` of p, a token; `unique`,
`distinct_tokens` and `sample_nll` of `seqgen.algorithms.base`, of sentences chosen among the candidates.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from seqgen.algorithms.base import (
    Metrics,
    StepMetrics,
    TextAlgorithm,
    TrainingConfig,
    perplexity,
    sample_metrics,
)
from seqgen.algorithms.configs import default_generator, with_dropout
from seqgen.core import optim, settings
from seqgen.core.device import autocast, is_host
from seqgen.core.errors import UserError
from seqgen.data.batch import Batch, stacked
from seqgen.data.folds import fold_of
from seqgen.data.tokenizer import PAD
from seqgen.functional.gan_losses import accuracy, cross_entropy
from seqgen.generation import resampling, summaries
from seqgen.generation.sample import Samples, log_prob, sample
from seqgen.models.base import Generator, GeneratorConfig, evaluating
from seqgen.models.energy import EnergyConfig
from seqgen.models.state import State, repeat, select

ROWS = 4096
"""Candidates held at a time."""


@dataclass(frozen=True)
class ResidualConfig(TrainingConfig):
    """Settings of the residual energy model; the generator's are those of the run that it starts from."""

    generator: GeneratorConfig = field(default_factory=default_generator)
    energy: EnergyConfig = field(default_factory=EnergyConfig)
    steps: int = 3000
    """updates of the energy at most"""
    batch_size: int = 64
    """real sentences of an update, and as many generated ones"""
    lr: float = 2e-3
    """learning rate of AdamW at its highest; a cosine to zero follows"""
    weight_decay: float | None = 1e-4
    """AdamW's decay of matrices"""
    warmup: float = 0.02
    """fraction of training over which the learning rate rises"""
    report_every: int | None = 200
    """steps between reports"""
    patience: int | None = 8
    """reports without a lower held-out loss before training stops; nothing shows before 200 steps or so"""
    candidates: int = 8
    """candidates of which a sentence is chosen (K)"""
    cross_fitting: Literal["auto", "on", "off"] = "auto"
    """score training sentences by generators that have not seen them, which are trained first; auto: where
    the generator finds its training sentences more than 0.05 nats a token likelier than others"""
    folds: int = 5
    """parts of the corpus, and generators, of cross-fitting"""
    held_out_samples: int = 5000
    """samples of the generator that a report measures by, and that the normaliser is estimated from"""

    def __post_init__(self) -> None:
        super().__post_init__()
        limits = {"steps": (1, None), "candidates": (1, None), "held_out_samples": (100, None)}
        settings.bounds(self, folds=(2, None), **limits)

    def fitted(self, sentences: int) -> Self:
        """Fill in the generator's dropout where no run gave it."""
        return replace(self, generator=with_dropout(self.generator, sentences))

    def cross_fitted(self, is_needed: bool) -> Self:
        """Return the settings with what was left open decided by whether cross-fitting is needed."""
        linear = is_needed if self.energy.linear is None else self.energy.linear
        fitting: Literal["on", "off"] = "on" if is_needed else "off"
        return replace(self, cross_fitting=fitting, energy=replace(self.energy, linear=linear))

    def total_steps(self, batches: int) -> int:
        """Return the length of training in steps."""
        return self.steps


class Residual(TextAlgorithm):
    """A frozen generator, and the energy by which its sentences are weighted."""

    Config = ResidualConfig
    config: ResidualConfig
    needs_start: ClassVar[bool] = True
    cross_fits: ClassVar[bool] = True
    takes_candidates: ClassVar[bool] = True
    monitor: str | None = "valid_loss"
    idle_parameters = ("generator.",)
    examples = (
        {},
        {"energy.network": "transformer", "energy.linear": True},
        {
            "energy.network": "cnn",
            "generator.kind": "transformer",
            "generator.hidden": 12,
            "generator.heads": 3,
        },
        {
            "energy.network": "none",
            "energy.linear": True,
            "generator.kind": "relational-memory",
            "generator.head_size": 5,
        },
    )
    scale: Tensor
    """Factor of the energy, fitted to held-out sentences; scalar."""
    log_z: Tensor
    """log Z = log E_g exp(scale · f), estimated; scalar."""

    def __init__(self, config: ResidualConfig, *, vocab_size: int, length: int) -> None:
        super().__init__(config, vocab_size=vocab_size, length=length)
        self.generator = config.generator.build(vocab_size).requires_grad_(False)
        self.discriminator = config.energy.build(vocab_size, len(summaries.NAMES))
        self.folds: list[Generator] = []  # of which nothing is saved with the weights
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("log_z", torch.zeros(()))

    def start_from(self, start: TextAlgorithm) -> None:
        """Take over the generator of a run, and what its embedding knows of words."""
        self.generator.load_state_dict(start.generator.state_dict())
        self.discriminator.take_over_embedding(self.generator.embedding.weight)
        samples = sample(self.generator, 2000, self.length)
        self.discriminator.standardise(summaries.summarise(*samples))

    def take_folds(self, generators: list[Generator]) -> None:
        """Learn from generators that have not seen the sentences of their fold (`seqgen.data.folds`)."""
        self.folds = [generator.requires_grad_(False).eval() for generator in generators]

    def configure(self) -> None:
        """Create the optimiser; called once the module is on its device."""
        c = self.config
        decay = c.weight_decay or 0.0
        self.optimizers = {"discriminator": optim.adamw(self.discriminator, lr=c.lr, weight_decay=decay)}

    def step(self, batch: Batch, progress: float) -> StepMetrics:
        """Update the energy by a batch of real sentences and as many of the generator."""
        c, optimizer = self.config, self.optimizers["discriminator"]
        optim.scale_lr(optimizer, optim.warmup_cosine(progress, warmup=c.warmup))
        real = batch.tokens
        with autocast(real.device, bf16=c.bf16):
            fakes = self._fakes(len(real))
            tokens = stacked([real, *(fake.tokens for fake in fakes)])
            log_probs = stacked([self._log_probs(real), *(fake.log_probs for fake in fakes)])
            self.discriminator.train()
            logits = self._logits(tokens, log_probs)
            on_real, on_fake = logits[: len(real)], logits[len(real) :]
            loss = cross_entropy(on_real, on_fake)
        optim.update({optimizer: loss}, clip=c.clip)
        return {"d_loss": loss.detach(), "d_accuracy": accuracy(on_real, on_fake)}

    def _fakes(self, n: int) -> list[Samples]:
        """Draw n sentences, or as many of each fold's generator that there are n or a few more."""
        generators = self.folds or [self.generator]
        each = -(-n // len(generators))
        return [sample(generator, each, self.length) for generator in generators]

    def _log_probs(self, real: Tensor) -> Tensor:
        """Return the log-probabilities of real tokens by a generator that has not seen them; (B, T)."""
        with torch.no_grad():
            if not self.folds:
                with evaluating(self.generator):
                    return log_prob(self.generator, real)
            # All generators read all sentences: to give each its own would take shapes that depend on them.
            found = torch.stack([log_prob(generator, real) for generator in self.folds])
            rows = torch.arange(len(real), device=real.device)
            return found[fold_of(real, len(self.folds)), rows]

    def _logits(self, tokens: Tensor, log_probs: Tensor) -> Tensor:
        """Return the logits that sentences are real, without the fitted scale; (B, T), (B, T) → (B,)."""
        if is_host(tokens.device):
            longest = max(1, int((tokens != PAD).any(dim=0).sum()))
            tokens, log_probs = tokens[:, :longest], log_probs[:, :longest]
        return self.discriminator(tokens, log_probs, summaries.summarise(tokens, log_probs)).float()

    def weigh(self, tokens: Tensor, log_probs: Tensor) -> Tensor:
        """Return f of sentences of which g's log-probabilities are known, in nats; (B, T), (B, T) → (B,)."""
        with evaluating(self.discriminator):
            parts = zip(tokens.split(ROWS), log_probs.split(ROWS), strict=True)
            return self.scale * torch.cat([self._logits(*part) for part in parts])

    def log_weights(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return log g and f of sentences, in nats; (B, T) → (B,) float64, (B,)."""
        with evaluating(self.generator):
            log_probs = log_prob(self.generator, tokens)
        return log_probs.double().sum(dim=1), self.weigh(tokens, log_probs)

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        """Return log p of sentences, in nats, log Z being estimated; (B, T) → (B,)."""
        of_generator, energies = self.log_weights(tokens)
        return of_generator + energies - self.log_z

    def energy(self, tokens: Tensor) -> Tensor:
        """Return -log p but for log Z, lower is more real; (B, T) → (B,)."""
        return self.log_z - self.log_likelihood(tokens)

    def sample(
        self,
        n: int,
        length: int | None = None,
        *,
        candidates: int | None = None,
        prompt: Tensor | None = None,
        state: State | None = None,
        rng: torch.Generator | None = None,
        **options: Any,
    ) -> Samples:
        """Draw n sentences, each chosen from so many candidates (K) by its energy.

        The options are those of `seqgen.generation.sample.sample` and shape what the generator proposes;
        `log_probs` are the generator's of the chosen sentences.
        """
        count = candidates or self.config.candidates
        if count < 1:
            raise UserError(f"candidates is {count}; it must be at least 1")
        most = max(1, ROWS // count)
        parts: list[Samples] = []
        for start in range(0, max(n, 1), most):
            rows = slice(start, min(start + most, n))
            given: dict[str, Any] = {} if state is None else {"state": repeat(select(state, rows), count)}
            if prompt is not None:
                own = prompt[rows].repeat_interleave(count, dim=0) if prompt.dim() == 2 else prompt
                given["prompt"] = own
            number = rows.stop - rows.start
            drawn = sample(self.generator, number * count, length or self.length, rng=rng, **given, **options)
            parts.append(self._chosen(drawn, number, rng))
        return Samples(*(torch.cat(each) for each in zip(*parts, strict=True)))

    def _chosen(self, drawn: Samples, rows: int, rng: torch.Generator | None) -> Samples:
        """Choose one of each row's candidates by what the generator, not how it was asked, says of them."""
        if not rows:
            return drawn
        with evaluating(self.generator):
            log_probs = log_prob(self.generator, drawn.tokens)
        energies = self.weigh(drawn.tokens, log_probs).view(rows, -1)
        first = torch.arange(rows, device=energies.device) * energies.shape[1]
        places = first + resampling.choose(energies, rng=rng)
        return Samples(drawn.tokens[places], drawn.log_probs[places])

    def samples(self, n: int) -> Tensor:
        """Draw n sentences; (n, T)."""
        return self.sample(n).tokens

    def evaluate(self, batches: Iterable[Batch]) -> Metrics:
        """Fit the scale to held-out sentences and fresh samples, then measure both and what is chosen."""
        self.scale.fill_(1.0)
        drawn = sample(self.generator, self.config.held_out_samples, self.length)
        on_fake = self.weigh(*drawn)
        found = [(*self.log_weights(batch.tokens), (batch.tokens != PAD).sum()) for batch in batches]
        metrics: Metrics = {}
        if found:
            of_generator, on_real = (torch.cat([each[i] for each in found]) for i in range(2))
            scale, offset = resampling.calibrate(on_real, on_fake)
            self.scale.fill_(scale)
            on_real, on_fake = scale * on_real, scale * on_fake
            gain = resampling.gain(on_real, on_fake)
            tokens = sum(int(each[2]) for each in found)
            log_z = float(resampling.log_normaliser(on_fake))
            nll = -float((of_generator + on_real.double() - log_z).sum()) / tokens
            metrics = {
                "valid_loss": float(cross_entropy(on_real + offset, on_fake + offset)),
                "scale": scale,
                "gain": gain.nats,
                "gain_error": gain.error,
                "effective": gain.effective,
                "valid_nll": nll,
                "valid_ppl": perplexity(nll),
            }
        self.log_z.fill_(float(resampling.log_normaliser(on_fake)))
        return metrics | {"log_z": float(self.log_z)} | self._sample_metrics()

    def _sample_metrics(self) -> Metrics:
        """Return `sample_metrics` of chosen sentences, their NLL being that under p."""
        samples = self.sample(1000)
        nats = -float(self.log_likelihood(samples.tokens).sum())
        return sample_metrics(samples) | {"sample_nll": nats / int((samples.tokens != PAD).sum())}
