"""Maximum likelihood: a recurrent language model of sentences, trained on the next token.

Report figures: `nll` and `valid_nll`, nats a real token (EOS counts, padding does not), of the training
batches under dropout and of the validation split; `valid_ppl`, exp of the latter; `grad_norm` before
clipping; `lr`; `temperature`, by which calibration divided the logits before measuring; and of 1,000 samples
at temperature 1 `unique`, the share of different sentences, `distinct_tokens`, and `entropy`, nats a token.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from seqgen import losses, optim, settings
from seqgen.algorithms.players import GeneratorConfig, scarcity
from seqgen.metrics.likelihood import nll_figures
from seqgen.models.generator import RNNGenerator
from seqgen.sampling import Samples, sample, sentence_log_prob, shifted
from seqgen.tokenizer import PAD

Metrics = dict[str, float]


@dataclass(frozen=True)
class MLEConfig:
    """Settings of maximum-likelihood training."""

    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    lr: float = 3e-3
    """peak learning rate of AdamW"""
    weight_decay: float | None = None
    """AdamW's decay of matrices; none: by the corpus, as the dropout, from 0.05 to 0.01"""
    warmup: float = 0.02
    """share of training over which the learning rate rises; a cosine to zero follows"""
    clip: float = 1.0
    """bound of the gradient's norm"""
    batch_size: int = 64
    """sentences a step"""
    epochs: int | None = None
    """passes over the training split; none: about 600,000 sentences in all, 3 to 25 passes"""
    report_every: int | None = None
    """steps between reports; none means an epoch, at least 50 and at most 1,000 steps"""
    patience: int | None = 4
    """reports without a better validation NLL before training stops"""
    calibration: float = 0.75
    """how far the kept weights go towards the temperature of least validation NLL; 0 leaves them alone"""
    bf16: bool = False
    """run the generator in bfloat16 autocast"""

    def __post_init__(self) -> None:
        settings.bounds(
            self,
            lr=(0.0, None),
            weight_decay=(0.0, None),
            warmup=(0.0, 1.0),
            clip=(0.0, None),
            batch_size=(1, None),
            epochs=(1, None),
            report_every=(1, None),
            patience=(1, None),
            calibration=(0.0, 1.0),
        )

    def fitted(self, sentences: int) -> "MLEConfig":
        """Fill in what was left to the size of the corpus."""
        epochs = self.epochs or min(max(round(600_000 / max(sentences, 1)), 3), 25)
        decay = 0.01 + 0.04 * scarcity(sentences) if self.weight_decay is None else self.weight_decay
        return replace(
            self, generator=self.generator.fitted(sentences), epochs=epochs, weight_decay=round(decay, 4)
        )

    def total_steps(self, batches: int) -> int:
        """Length of training in steps; `batches` make an epoch."""
        return (self.epochs or 1) * batches

    @property
    def read_size(self) -> int:
        """Sentences of a step."""
        return self.batch_size


class Sampler(Protocol):
    """An algorithm with an autoregressive generator."""

    generator: RNNGenerator

    def sample(self, n: int) -> Samples: ...


class MLE(nn.Module):
    """A generator and its optimiser; (B, T) batches of ids in, next-token cross entropy down.

    A batch's loss is the sum over its tokens divided by the tokens of a usual batch, not by its own: where
    batches hold sentences of like length, its own count would give a token of a short sentence more weight
    than one of a long, and the generator would write too short.
    """

    Config = MLEConfig
    likelihood = "exact"
    criterion: str | None = "valid_nll"
    usual_tokens: Tensor
    """Tokens of a batch, the mean so far; scalar."""
    batches_seen: Tensor
    grouped = True  # batches of sentences of like length waste little on padding

    def __init__(self, config: MLEConfig, *, vocab_size: int, length: int) -> None:
        super().__init__()
        self.config, self.length = config, length
        self.generator = config.generator.build(vocab_size)
        self.register_buffer("usual_tokens", torch.zeros(()))
        self.register_buffer("batches_seen", torch.zeros(()))

    def configure(self) -> None:
        """Create the optimisers; call it once the module is on its device."""
        c = self.config
        self.optimizers = {
            "generator": optim.adamw(self.generator, lr=c.lr, weight_decay=c.weight_decay or 0.0)
        }

    def step(self, batch: Tensor, progress: float) -> dict[str, Tensor | float]:
        """Move the generator by one batch (B, T)."""
        optimizer = self.optimizers["generator"]
        factor = optim.warmup_cosine(progress, warmup=self.config.warmup)
        optim.scale_lr(optimizer, factor)
        self.train()
        self.generator.head.scale.fill_(1.0)  # a report has calibrated what it measured and kept
        tokens = (batch != PAD).sum()
        self.batches_seen += 1
        self.usual_tokens += (tokens - self.usual_tokens) / self.batches_seen
        loss = mean_nll(self.generator, batch, bf16=self.config.bf16)
        norms = optim.update({optimizer: loss * (tokens / self.usual_tokens)}, clip=self.config.clip)
        return {"nll": loss.detach(), "grad_norm": norms[optimizer], "lr": self.config.lr * factor}

    def evaluate(self, batches: Iterable[Tensor]) -> Metrics:
        """Calibrate the generator, then measure held-out likelihood and the variety of samples."""
        temperature = calibrate(self.generator, batches, share=self.config.calibration)
        return evaluate(self, batches) | {"temperature": temperature}

    def watch(self, report: Metrics, first: Metrics) -> str | None:
        """Never stop: likelihood has no collapse."""
        return None

    def samples(self, n: int) -> Tensor:
        """Draw n sentences at temperature 1; (n, T)."""
        return self.sample(n).tokens

    def sample(self, n: int, length: int | None = None, **options: object) -> Samples:
        """Draw n sentences with the options of `seqgen.sampling.sample`."""
        return sample(self.generator, n, length or self.length, **options)  # type: ignore[arg-type]

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        """log p of sentences, in nats, exact; (B, T) → (B,)."""
        return sentence_log_prob(self.generator, tokens)


def mean_nll(generator: RNNGenerator, batch: Tensor, *, bf16: bool = False) -> Tensor:
    """Return the mean negative log-likelihood of a batch's real tokens, in nats a token; (B, T) → scalar."""
    mask = batch != PAD
    with torch.autocast(batch.device.type, dtype=torch.bfloat16, enabled=bf16):
        hidden, _ = generator.hidden(shifted(batch), generator.initial(len(batch)))
        targets = batch[mask]
        weights = torch.full((len(targets),), 1.0 / len(targets), device=batch.device)
        head = generator.head
        return losses.head_loss(hidden[mask], head.weight, head.bias, targets, weights).loss


@torch.no_grad()
def calibrate(generator: RNNGenerator, batches: Iterable[Tensor], *, share: float) -> float:
    """Divide a generator's logits by a temperature between 1 and that of least held-out NLL; return it.

    A network that has seen its training sentences often is too sure of itself, one under heavy dropout not
    sure enough; temperature scaling mends both (Guo et al. 2017, "On calibration of modern neural networks").
    `share` of the way is gone, in the logarithm. The optimum is the vertex of the parabola through the NLL at
    three temperatures e^-0.1, 1 and e^0.1, kept within e^-0.2 … e^0.2.
    """
    scale, width = generator.head.scale, 0.1
    scale.fill_(1.0)
    if not share:
        return 1.0
    nlls = []
    for log_temperature in (-width, 0.0, width):
        scale.fill_(math.exp(-log_temperature))
        nlls.append(nll_figures(generator, batches).get("nll", 0.0))
    low, middle, high = nlls
    curvature = low - 2 * middle + high
    vertex = width * (low - high) / (2 * curvature) if curvature > 0 else 0.0
    temperature = math.exp(share * min(max(vertex, -2 * width), 2 * width))
    scale.fill_(1 / temperature)
    return temperature


def evaluate(algorithm: Sampler, batches: Iterable[Tensor]) -> Metrics:
    """Return NLL and perplexity a token of held-out batches, and how varied 1,000 samples are."""
    figures = nll_figures(algorithm.generator, batches)
    valid = {"valid_nll": figures["nll"], "valid_ppl": figures["ppl"]} if figures["tokens"] else {}
    return valid | sample_figures(algorithm.sample(1000))


def sample_figures(samples: Samples) -> Metrics:
    """Return the share of unique sentences, the distinct tokens and the entropy (nats a token) of samples."""
    mask = samples.tokens != PAD
    unique = len(torch.unique(samples.tokens, dim=0)) / len(samples.tokens)
    distinct = len(torch.unique(samples.tokens[mask]))
    entropy = -float(samples.log_probs[mask].double().mean())
    return {"unique": unique, "distinct_tokens": float(distinct), "entropy": entropy}
