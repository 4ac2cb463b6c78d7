"""The residual energy model: a discriminator on top of a generator that stays as it is.

p(x) = g(x) · exp f(x) / Z, g a pretrained generator and f the logit of a discriminator of whole sentences
(Deng et al. 2020, arXiv:2004.11714; Bakhtin et al. 2021, arXiv:2004.10188; of images, discriminator rejection
sampling, Azadi et al. 2019). A discriminator that tells g's sentences from real ones has learned
log(data / g), so nothing has to be pushed through samples to the generator: p gains on g what the
discriminator knows (`seqgen.generation.resampling.gain`). A sentence is sampled by drawing K candidates from
g and choosing one with probability ∝ exp f.

What differs from the papers, and why: the discriminator is small, and reads what g says of each token and the
state from which g predicts it, so that what g has learnt need not be learnt again; f may have a linear part
over summaries of the sentence (`seqgen.generation.summaries`). It is calibrated on held-out sentences, as
what was fitted to training sentences is too sure of itself on others, and takes what g has memorised for a
sign of real text: f is the logit, its negative part and the summaries, each by a weight that a logistic
regression on held-out sentences finds. And where g finds the sentences that it was trained on much likelier
than others, training sentences and samples come from generators that were trained without them
(`seqgen.training.cross_fitting`): the discriminator would else learn which sentences g has seen. g may be the
mixture of a network with n-grams. A training that starts from a run of its kind is a further round: its
discriminator learns from samples of that run, and f is the sum of both (`seqgen.algorithms.energy_rounds`).

Report metrics: of training batches `d_loss`, the binary cross entropy, log 2 by chance, and `d_accuracy`; of
held-out sentences against samples of g, each half of them under a calibration that was fitted to the other:
`valid_loss`, their cross entropy; `gain`, nats a sentence by which p's likelihood is above g's, and its
standard error `gain_error`; `effective`, the effective sample size as a fraction of the samples. Of the
calibration by all of them: `scale`, by which negative logits are multiplied; `log_z`; `valid_nll` and
`valid_ppl` of p, a token; `unique`, `distinct_tokens` and `sample_nll` of `seqgen.algorithms.base`, of
sentences chosen among those samples of g.
"""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

from seqgen.algorithms import finetune
from seqgen.algorithms.base import Metrics, StepMetrics, TextAlgorithm, perplexity
from seqgen.algorithms.energy_reading import Reader, log_probs_of_folds, parts
from seqgen.algorithms.energy_rounds import EarlierRounds, logits, terms, uncalibrated
from seqgen.algorithms.residual_config import ResidualConfig
from seqgen.core import optim, settings
from seqgen.core.device import autocast, widened
from seqgen.core.errors import UserError
from seqgen.data.batch import Batch, stacked
from seqgen.functional.gan_losses import accuracy, cross_entropy
from seqgen.generation import resampling, summaries
from seqgen.generation.sample import Samples, sample
from seqgen.models.base import evaluating
from seqgen.models.energy import Read
from seqgen.models.ngram_mixture import NGramMixture
from seqgen.models.state import State, repeat, select

ROWS = 4096
"""Candidates held at a time."""
POOL_SEED = 0
"""Of the samples that all reports of a training measure by: between reports only the energy changes."""


class Residual(TextAlgorithm):
    """A frozen generator, and the energy by which its sentences are weighted."""

    Config = ResidualConfig
    config: ResidualConfig
    needs_start: ClassVar[bool] = True
    cross_fits: ClassVar[bool] = True
    takes_candidates: ClassVar[bool] = True
    keeps_ngrams: ClassVar[bool] = True
    monitor: str | None = "valid_loss"
    idle_parameters = ("generator.", "earlier.")
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
        {"ngram.order": 3, "energy.states": 5},
        {"rounds": 3, "energy.network": "cnn", "energy.states": 3, "candidates": 2},
    )
    calibration: Tensor
    """Weights of the terms of f (`seqgen.algorithms.energy_rounds.terms`); (2 + S,), or (3 + S,)."""
    log_z: Tensor
    """log Z = log E_g exp f, estimated; scalar."""

    def __init__(self, config: ResidualConfig, *, vocab_size: int, length: int) -> None:
        super().__init__(config, vocab_size=vocab_size, length=length)
        self.generator = config.generator.build(vocab_size).requires_grad_(False)
        state_size = self.generator.head.weight.shape[1]
        self.discriminator = config.energy.build(vocab_size, len(summaries.NAMES), state_size)
        self.earlier = EarlierRounds(config.energy, vocab_size, state_size, config.rounds - 1)
        if config.ngram.order:
            self.mixture = NGramMixture(state_size, config.ngram.order)
        self.folds: list[TextAlgorithm] = []  # of which nothing is saved with the weights
        self._pool: Samples | None = None  # drawn again by a resumed training
        self.register_buffer("calibration", torch.tensor(uncalibrated(config.rounds)))
        self.register_buffer("log_z", torch.zeros(()))

    @classmethod
    def inherited(cls, start: TextAlgorithm) -> dict[str, Any]:
        """Return the settings that it takes from a run: of one of its kind all but those of the training."""
        parts = super().inherited(start)
        if isinstance(start, Residual):
            given = settings.to_dict(start.config)
            parts |= {name: given[name] for name in ("energy", "cross_fitting", "folds", "candidates")}
            parts["rounds"] = start.config.rounds + 1
        return parts

    def start_from(self, start: TextAlgorithm) -> None:
        """Take over the generator of a run, its n-grams, energies, and what its embedding knows of words."""
        before = (*start.earlier, start) if isinstance(start, Residual) else ()
        if self.config.rounds != len(before) + 1:
            raise UserError(
                f"setting rounds={self.config.rounds} does not fit the run to start from, after which it is "
                f"{len(before) + 1}; leave it out"
            )
        if order := self.config.ngram.order:
            finetune.check_ngrams(order, start.mixed)
        self.earlier.take_over(before)
        self.generator.load_state_dict(start.generator.state_dict())
        if self.mixture is not None and start.mixture is not None:
            self.mixture.load_state_dict(start.mixture.state_dict())
        self.discriminator.take_over_embedding(self.generator.embedding.weight)
        drawn = self.propose(2000)
        self.discriminator.standardise(summaries.summarise(*drawn))
        self.discriminator.standardise_states(self._read(*drawn))

    def take_folds(self, folds: list[TextAlgorithm]) -> None:
        """Learn from generators that have not seen the sentences of their fold (`seqgen.data.folds`)."""
        self.folds = [fold.requires_grad_(False).eval() for fold in folds]

    def configure(self) -> None:
        """Create the optimiser; called once the module is on its device."""
        c = self.config
        decay = c.weight_decay or 0.0
        self.optimizers = {"discriminator": optim.adamw(self.discriminator, lr=c.peak_lr, weight_decay=decay)}

    def step(self, batch: Batch, progress: float) -> StepMetrics:
        """Update the energy by a batch of real sentences and as many of the generator."""
        c, optimizer = self.config, self.optimizers["discriminator"]
        optim.scale_lr(optimizer, optim.warmup_cosine(progress, warmup=c.warmup))
        real = batch.tokens
        with autocast(real.device, bf16=c.bf16):
            fakes = self._fakes(len(real))
            tokens = stacked([real, *(fake.tokens for fake in fakes)])
            known = [self._log_probs_of_folds(real)] if self.folds else []
            read = self._read(tokens, stacked([*known, *(fake.log_probs for fake in fakes)]))
            self.discriminator.train()
            logits = self._logits(read)
            on_real, on_fake = logits[: len(real)], logits[len(real) :]
            loss = cross_entropy(on_real, on_fake)
        optim.update({optimizer: loss}, clip=c.clip)
        return {"d_loss": loss.detach(), "d_accuracy": accuracy(on_real, on_fake)}

    def _fakes(self, n: int) -> list[Samples]:
        """Draw n sentences, or as many of each fold's generator that there are n or a few more."""
        if not self.folds:
            return [self._fakes_of(self, n)]
        each = -(-n // len(self.folds))
        return [self._fakes_of(fold, each) for fold in self.folds]

    def _fakes_of(self, of: TextAlgorithm, n: int) -> Samples:
        """Draw n sentences from a generator, chosen by the energies of earlier rounds where there are any."""
        options, count = self.begun(n, {}), self.config.candidates if len(self.earlier) else 1
        if "prompt" in options:
            options["prompt"] = options["prompt"].repeat(count, 1)
        drawn = self._proposed(of, count * n, self.length, **options)
        energies = self.earlier(self._read(*drawn)) if len(self.earlier) else None
        # A sentence's candidates are n rows apart: so a process that shares the batch has all of its own.
        return drawn if energies is None else resampling.chosen(drawn, energies.view(count, n).t(), apart=n)

    def propose(self, n: int, length: int | None = None, **options: Any) -> Samples:
        """Draw n candidates from g, with the options of `seqgen.generation.sample.sample`."""
        return self._proposed(self, n, length or self.length, **self.begun(n, options))

    def _proposed(self, of: TextAlgorithm, n: int, length: int, **options: Any) -> Samples:
        drawn = sample(of.generator, n, length, mixture=self._mixture_of(of), **options)
        return Samples(drawn.tokens, drawn.log_probs.masked_fill(~self.of_sentence(drawn.tokens), 0))

    def _mixture_of(self, of: TextAlgorithm) -> NGramMixture | None:
        """Return the n-grams of this model, or of a fold where this model has any."""
        return of.mixed if self.mixed is not None else None

    def _log_probs_of_folds(self, real: Tensor) -> Tensor:
        """Return the log-probabilities of real tokens by a generator that has not seen them; (B, T)."""
        return log_probs_of_folds([self._reader(fold) for fold in self.folds], real)

    def _reader(self, of: TextAlgorithm) -> Reader:
        return Reader(of.generator, self._mixture_of(of), self.of_sentence)

    def _read(self, tokens: Tensor, known: Tensor | None = None) -> Read:
        """Return what the energy reads of sentences, by g (`energy_reading.Reader.read`)."""
        return self._reader(self).read(tokens, known, states=self.discriminator.reads_states)

    def _logits(self, read: Read) -> Tensor:
        """Return the logits that B sentences are real, not calibrated; (B,)."""
        return logits(self.discriminator, read)

    def _weighed(self, tokens: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return log g of sentences, in nats, and the terms of f; (B, T) → (B,) float64, (B, D).

        known: their log-probabilities by what has drawn them, (B, T); where they are not given, those by g.
        """
        of_generator, found = [], []
        order = parts(tokens)
        with evaluating(self.discriminator):
            for rows in order:
                read = self._read(tokens[rows], None if known is None else known[rows])
                of_generator.append(widened(read.log_probs).sum(dim=1))
                found.append(terms(self.discriminator, self._logits(read), read, self.earlier(read)))
        back = torch.cat(tuple(order)).argsort()
        return torch.cat(of_generator)[back], torch.cat(found)[back]

    def weigh(self, tokens: Tensor, known: Tensor | None = None) -> Tensor:
        """Return f of sentences, in nats; their log-probabilities (B, T) are known or g's; (B, T) → (B,)."""
        return self._weighed(tokens, known)[1] @ self.calibration

    def log_weights(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return log g and f of sentences, in nats; (B, T) → (B,) float64, (B,)."""
        of_generator, found = self._weighed(tokens)
        return of_generator, found @ self.calibration

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        """Return log p of sentences, in nats, log Z being estimated; (B, T) → (B,).

        Where they are given something, Z is taken to be the same for all of it.
        """
        of_generator, energies = self.log_weights(tokens)
        return of_generator + energies - self.log_z

    def energy(self, tokens: Tensor) -> Tensor:
        """Return -log p but for log Z, lower is more real; (B, T) → (B,)."""
        of_generator, energies = self.log_weights(tokens)
        return -(of_generator + energies)

    def sample(
        self,
        n: int,
        length: int | None = None,
        *,
        candidates: int | None = None,
        prompt: Tensor | None = None,
        state: State | None = None,
        bonus: Callable[[Tensor], Tensor] | None = None,
        rng: torch.Generator | None = None,
        **options: Any,
    ) -> Samples:
        """Draw n sentences, each chosen from so many candidates (K) by its energy.

        bonus: another term of the energy, in nats, of ids; (B, T) → (B,). The other options are those of
        `seqgen.generation.sample.sample` and shape what the generator proposes;
        `log_probs` are the generator's of the chosen sentences.
        """
        count = candidates or self.config.candidates
        if count < 1:
            raise UserError(f"candidates is {count}; it must be at least 1")
        # All candidates of a sentence are given the same.
        options = self.begun(n, options | {"rng": rng} | ({} if prompt is None else {"prompt": prompt}))
        prompt, rng = options.pop("prompt", None), options.pop("rng")
        most = max(1, ROWS // count)
        parts: list[Samples] = []
        for start in range(0, max(n, 1), most):
            rows = slice(start, min(start + most, n))
            given: dict[str, Any] = {} if state is None else {"state": repeat(select(state, rows), count)}
            if prompt is not None:
                own = prompt[rows].repeat_interleave(count, dim=0) if prompt.dim() == 2 else prompt
                given["prompt"] = own
            number = rows.stop - rows.start
            drawn = self._proposed(self, number * count, length or self.length, rng=rng, **given, **options)
            parts.append(self._chosen(drawn, number, bonus, rng))
        return Samples(*(torch.cat(each) for each in zip(*parts, strict=True)))

    def _chosen(
        self,
        drawn: Samples,
        rows: int,
        bonus: Callable[[Tensor], Tensor] | None,
        rng: torch.Generator | None,
    ) -> Samples:
        """Choose one of each row's candidates by what the generator, not how it was asked, says of them."""
        if not rows:
            return drawn
        energies = self.weigh(drawn.tokens)
        if bonus is not None:
            energies = energies + bonus(drawn.tokens)
        return resampling.chosen(drawn, energies.view(rows, -1), rng=rng)

    def evaluate(self, batches: Iterable[Batch]) -> Metrics:
        """Calibrate on held-out sentences and samples, then measure both and what is chosen."""
        if self._pool is None:
            rng = torch.Generator(self.log_z.device).manual_seed(POOL_SEED)
            self._pool = self.propose(self.config.held_out_samples, rng=rng)
        of_pool, on_fake = self._weighed(*self._pool)
        found, tokens = [], 0
        for batch in batches:
            found.append(self._weighed(batch.tokens))
            tokens += int(self.of_sentence(batch.tokens).sum())
        on_real = torch.cat([part for _, part in found]) if found else on_fake[:0]
        if found:
            weights, _ = resampling.calibrate(on_real, on_fake, self._uncalibrated())
            self.calibration.copy_(weights)
        self.log_z.copy_(resampling.log_normaliser(on_fake @ self.calibration))
        metrics = self._held_out(on_real, on_fake)
        if found:
            of_generator = torch.cat([part for part, _ in found])
            nats = of_generator.sum() + widened(on_real @ self.calibration).sum()
            nll = -(float(nats) - len(on_real) * float(self.log_z)) / tokens
            metrics |= {
                "scale": float(self.calibration[:2].sum()),
                "valid_nll": nll,
                "valid_ppl": perplexity(nll),
            }
        return (
            metrics | {"log_z": float(self.log_z)} | self._sample_metrics(of_pool, on_fake @ self.calibration)
        )

    def _uncalibrated(self) -> Tensor:
        return self.calibration.new_tensor(uncalibrated(self.config.rounds))

    def _held_out(self, on_real: Tensor, on_fake: Tensor) -> Metrics:
        """Measure either half of held-out sentences and samples by what the other half calibrates."""
        found = resampling.cross_calibrated(on_real, on_fake, self._uncalibrated())
        if found is None:
            return {}
        loss, gain = found
        return {"valid_loss": loss, "gain": gain.nats, "gain_error": gain.error, "effective": gain.effective}

    def _sample_metrics(self, of_generator: Tensor, energies: Tensor) -> Metrics:
        """Return `sample_metrics` of what is chosen of the pool, whose log g and f are (F,); NLL under p."""
        assert self._pool is not None
        count = min(self.config.candidates, len(energies))
        groups = energies[: len(energies) // count * count].view(-1, count)
        rng = torch.Generator(energies.device).manual_seed(POOL_SEED)
        first = torch.arange(len(groups), device=energies.device) * count
        places = first + resampling.choose(groups, rng=rng)
        samples = Samples(*(each[places] for each in self._pool))
        nats = float(self.log_z) * len(places) - float((of_generator + energies)[places].sum())
        return self.sample_metrics(samples) | {
            "sample_nll": nats / int(self.of_sentence(samples.tokens).sum())
        }
