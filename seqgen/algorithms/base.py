"""The contract of an algorithm: all that training, sampling and evaluation ask of one, text or image.

An algorithm is an `nn.Module` with its settings, a dataclass, as `Config`. Everything it learns is in its
`state_dict()`, everything else in its `config`. `seqgen/algorithms/README.md` builds one from nothing.

Metrics of a sentence generator's samples, in every report: `unique`, the fraction of different sentences
among 1,000 samples at temperature 1; `distinct_tokens`, how many different tokens they have; `sample_nll`,
nats a token, their own negative log-likelihood, an estimate of the generator's entropy.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from seqgen.algorithms.regularisation import TextSize
from seqgen.algorithms.teacher import Teacher
from seqgen.core import settings
from seqgen.core.device import widened
from seqgen.data.batch import Batch
from seqgen.data.token_ids import Ids
from seqgen.data.tokenizer import PAD, Tokenizer
from seqgen.generation.condition import Condition
from seqgen.generation.embeddings import sentence_embeddings
from seqgen.generation.sample import Samples, log_prob, sample
from seqgen.models.base import Generator, evaluating
from seqgen.models.ngram_mixture import NGramMixture

Metrics = dict[str, float]
"""What a report says: a metric's name and value."""
StepMetrics = dict[str, Tensor | float]
"""What a step says, tensors as they are so that nothing waits for a device."""
LR_OF_TEXT = 3e-3
"""Learning rate of likelihood training on text, at its highest."""


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of training that every algorithm of text has; one with other defaults states its own."""

    lr: float | None = 1e-3
    """learning rate of the generator's AdamW at its highest"""
    weight_decay: float | None = 0.0
    """its decay of matrices"""
    warmup: float = 0.0
    """fraction of training over which the learning rate rises; a cosine follows"""
    clip: float = 1.0
    """bound of the norm of each network's gradient"""
    batch_size: int = 64
    """sentences of an update"""
    report_every: int | None = None
    """steps between reports; none: an epoch, at least 50 and at most 1,000 steps"""
    patience: int | None = None
    """reports without a better value of the monitored metric before training stops"""
    bf16: bool = False
    """run the networks in bfloat16 autocast"""
    teacher_weight: float = 0.1
    """with --teacher: weight of the contrastive loss between embeddings of a sentence here and under it"""
    teacher_temperature: float = 0.1
    """divides their cosines in it"""

    def __post_init__(self) -> None:
        settings.bounds(
            self,
            lr=(0.0, None),
            weight_decay=(0.0, None),
            warmup=(0.0, 1.0),
            clip=(0.0, None),
            batch_size=(1, None),
            report_every=(1, None),
            patience=(1, None),
            teacher_weight=(0.0, None),
            teacher_temperature=(1e-3, None),
        )

    def fitted(self, text: TextSize, steps: int | None = None) -> Self:
        """Return the settings with what was left to the size of the training text filled in.

        steps: the length of training where that is given and not by the settings.
        """
        return self

    @abstractmethod
    def total_steps(self, batches: int) -> int:
        """Return the length of training in steps; `batches` make an epoch."""

    @property
    def peak_lr(self) -> float:
        """The learning rate at its highest; the default, or that of text, where it is none."""
        return (type(self).lr or LR_OF_TEXT) if self.lr is None else self.lr

    @property
    def read_size(self) -> int:
        """Sentences that a step reads."""
        return self.batch_size

    @property
    def replays(self) -> bool:
        """Whether a step also reads sentences of the corpus of the run that training starts from."""
        return False

    @property
    def functions(self) -> tuple[str, ...]:
        """The user's functions that training calls, by their names (`seqgen.core.user_functions`)."""
        return ()

    @property
    def uses_start(self) -> bool:
        """Whether training needs a run to start from, by these settings."""
        return False


class Algorithm(nn.Module):
    """What the training loop needs, of text or of images."""

    Config: ClassVar[type]
    """The settings, a frozen dataclass."""
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)
    """Settings to test the algorithm with, one dictionary a variant: small networks, every branch."""
    idle_parameters: ClassVar[tuple[str, ...]] = ()
    """Beginnings of the names of parameters that no step changes."""
    on_host: ClassVar[tuple[str, ...]] = ()
    """Buffers that every step looks at, such as counters: they stay on the CPU, where that costs nothing."""
    monitor: str | None = None
    """The metric of a report that the kept weights minimise; None keeps the latest before `should_stop`."""
    config: Any
    optimizers: dict[str, Optimizer]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or convert the module as any other, except for the buffers `on_host`."""
        kept = {name: getattr(self, name) for name in self.on_host}
        super()._apply(fn, recurse)
        for name, buffer in kept.items():
            setattr(self, name, buffer)
        return self

    @abstractmethod
    def configure(self) -> None:
        """Create the optimisers; called once the module is on its device."""

    @abstractmethod
    def step(self, batch: Any, progress: float) -> StepMetrics:
        """Learn from one batch; `progress` in [0, 1) is the fraction of training done."""

    def learn(self, batch: Any, progress: float) -> StepMetrics:
        """Take a step, with what is added to it whatever the algorithm; the training loop calls this."""
        return self.step(batch, progress)

    @abstractmethod
    def evaluate(self, batches: Iterable[Any]) -> Metrics:
        """Measure on held-out batches, without dropout."""

    @abstractmethod
    def samples(self, n: int) -> Tensor:
        """Draw n sentences (n, T) or images (n, C, H, W) to show in a report."""

    def should_stop(self, report: Metrics, first: Metrics) -> str | None:
        """Say why training must stop after this report, or None; `first` is the report at step 0."""
        return None

    def remark(self, report: Metrics) -> str | None:
        """Say what a user must know of the last report beside its numbers, as that one of them is wrong."""
        return None


class TextAlgorithm(Algorithm):
    """What sampling, evaluation and other algorithms need of one that generates text.

    It is built as `cls(config, vocab_size=…, length=…)`, with `tokenizer=…` where it asks for that.
    """

    needs_start: ClassVar[bool] = False
    """Whether it starts from the generator of a run, or from its encoder and decoder where it is `latent`."""
    needs_labels: ClassVar[bool] = False
    """Whether the run that it starts from must be of labelled text."""
    needs_tokenizer: ClassVar[bool] = False
    """Whether its constructor takes the tokenizer."""
    bucket_by_length: ClassVar[bool] = False
    """Whether the sentences of a batch have similar lengths, which wastes little on padding."""
    latent: ClassVar[bool] = False
    """Whether it has latent vectors: `encoder`, `prior`, `encode` and `decode`."""
    cross_fits: ClassVar[bool] = False
    """Whether it learns from a generator's scores of training sentences (`seqgen.training.cross_fitting`)."""
    takes_candidates: ClassVar[bool] = False
    """Whether `sample` chooses among `candidates`."""
    infills: ClassVar[bool] = False
    """Whether it has `infill`, which fills blanks of given sentences."""
    likelihood: ClassVar[Literal["exact", "estimated"] | None] = "exact"
    """How `log_likelihood` knows log p of a sentence; None where there is no such method."""
    keeps_ngrams: ClassVar[bool] = False
    """Whether it takes over the n-grams, too, where the run that it starts from is a mixture with them."""
    inherits: ClassVar[tuple[str, ...]] = ("generator",)
    """Settings that it takes from the run that it starts from."""
    generator: Generator
    """An autoregressive model, where it has one; another algorithm can start from it."""
    mixture: NGramMixture | None
    """The n-grams that the generator is mixed with, where there are any. What starts from the algorithm's run
    takes the generator alone, unless it `keeps_ngrams`."""
    length: int
    """Tokens of a sample at most."""
    condition: Condition | None
    """What sentences are given, where the corpus has labels or sources."""
    teacher: Teacher | None
    """The model whose embeddings of sentences it learns as well, where there is one."""

    def __init__(self, config: Any, *, vocab_size: int, length: int, tokenizer: Tokenizer | None = None):
        super().__init__()
        self.config, self.vocab_size, self.length = config, vocab_size, length
        self.mixture = self.condition = self.teacher = None

    @property
    def mixed(self) -> NGramMixture | None:
        """The n-grams, where held-out text is likelier with them than without."""
        return self.mixture if self.mixture is not None and self.mixture.is_used else None

    @property
    def policy(self) -> Generator:
        """What is sampled and scored: the generator, unless it is told more than the tokens before."""
        return self.generator

    def learn(self, batch: Batch, progress: float) -> StepMetrics:
        """Take a step, beside the teacher where there is one."""
        if self.teacher is None:
            return self.step(batch, progress)
        return self.teacher.step(self, batch, progress)

    def embed(self, tokens: Tensor) -> Tensor:
        """Return an embedding of each sentence, with a gradient; (B, T) → (B, H)."""
        return sentence_embeddings(self.generator, tokens)

    @classmethod
    def inherited(cls, start: "TextAlgorithm") -> dict[str, Any]:
        """Return the settings, by name, that it takes from the algorithm of the run that it starts from."""
        given = settings.to_dict(start.config)
        keeps_ngrams = cls.keeps_ngrams and start.mixed is not None
        return {name: given[name] for name in (*cls.inherits, *(("ngram",) if keeps_ngrams else ()))}

    def read_corpus(self, train: Ids) -> None:
        """Take from the training split what is counted, not learned by steps; called once, before any."""

    def start_from(self, start: "TextAlgorithm") -> None:
        """Take over what the algorithm of another run has learned."""
        raise TypeError(f"{type(self).__name__} does not start from a run")

    def sample(self, n: int, length: int | None = None, **options: Any) -> Samples:
        """Draw n sentences with the options of `seqgen.generation.sample.sample`.

        Where sentences are given something, there is an option `condition`: its token ids, (P,) or (n, P),
        which stand before the prompt. If not given, labels are drawn as often as the corpus has them, and
        sources are the model's own.
        """
        return sample(self.policy, n, length or self.length, mixture=self.mixed, **self.begun(n, options))

    def begun(self, n: int, options: dict[str, Any]) -> dict[str, Any]:
        """Return the options of sampling, what the sentences are given being part of the prompt."""
        if self.condition is None:
            return options
        return self.condition.begun(n, dict(options), device=self.generator.head.weight.device)

    def of_sentence(self, tokens: Tensor) -> Tensor:
        """Say which tokens are the sentence's own: neither padding nor given; (B, T) → bool (B, T)."""
        return tokens != PAD if self.condition is None else self.condition.of_sentence(tokens)

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        """Return log p of sentences given what stands before them, in nats; (B, T) → (B,)."""
        with evaluating(self.policy):
            found = widened(log_prob(self.policy, tokens, mixture=self.mixed))
        return found.masked_fill(~self.of_sentence(tokens), 0).sum(dim=1)

    def samples(self, n: int) -> Tensor:
        """Draw n sentences at temperature 1; (n, T)."""
        return self.sample(n).tokens

    def evaluate(self, batches: Iterable[Batch]) -> Metrics:
        """Measure `valid_nll`, nats a real token (EOS counts), its exponential `valid_ppl`, and samples."""
        nats, tokens = 0.0, 0
        for batch in batches:
            nats -= float(self.log_likelihood(batch.tokens).sum())
            tokens += int(self.of_sentence(batch.tokens).sum())
        valid = {"valid_nll": nats / tokens, "valid_ppl": perplexity(nats / tokens)} if tokens else {}
        return valid | self.sample_metrics(self.sample(1000))

    def sample_metrics(self, samples: Samples) -> Metrics:
        """Return `unique`, `distinct_tokens` and `sample_nll` of samples; the module says what they mean."""
        own = self.of_sentence(samples.tokens)
        unique = len(torch.unique(samples.tokens, dim=0)) / len(samples.tokens)
        distinct = len(torch.unique(samples.tokens[own]))
        nll = -float(widened(samples.log_probs[own]).mean())
        return {"unique": unique, "distinct_tokens": float(distinct), "sample_nll": nll}


def perplexity(nats: float) -> float:
    """Return exp of nats a token, infinite where that overflows."""
    return math.exp(nats) if nats < 709 else math.inf


class RunningMean(nn.Module):
    """The mean of all numbers so far, kept with the weights."""

    value: Tensor
    """The mean; scalar."""
    count: Tensor
    """How many numbers; scalar."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("value", torch.zeros(()))
        self.register_buffer("count", torch.zeros(()))

    def add(self, number: Tensor) -> Tensor:
        """Take one more number into the mean, and return the mean."""
        self.count += 1
        self.value += (number - self.value) / self.count
        return self.value
