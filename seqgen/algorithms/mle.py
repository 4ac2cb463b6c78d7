"""Maximum likelihood: a recurrent language model of sentences, trained on the next token.

Report figures: `nll` and `valid_nll`, nats a real token (EOS counts, padding does not), of the training
batches under dropout and of the validation split; `valid_ppl`, exp of the latter; `grad_norm` before
clipping; `lr`; `temperature`, by which calibration divided the logits before measuring; and of 1,000 samples
at temperature 1 `unique`, the share of different sentences, `distinct_tokens`, and `entropy`, nats a token.
With a weight for it also `contrastive`, the token-level contrastive loss (Su et al. 2022, SimCTG), and
`anisotropy`, the mean cosine of two token representations of a sentence, of the training batches. Started
from a run on another corpus also `align`, the contrastive loss of the codes, and `replay_nll`, nats a token
of that corpus's batches, where they have a weight.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from seqgen.algorithms.configs import Schedule
from seqgen.algorithms.finetune import Pair, alignment
from seqgen.core import optim, settings
from seqgen.data.tokenizer import PAD
from seqgen.functional import chunked_loss, contrastive_losses
from seqgen.generation.likelihood import nll_figures
from seqgen.generation.sample import Samples, sample, sentence_log_prob, shifted
from seqgen.models import calibration
from seqgen.models.rnn_generator import RNNGenerator

Metrics = dict[str, float]


@dataclass(frozen=True)
class ContrastiveConfig:
    """The contrastive part of the loss."""

    weight: float = 0.0
    """weight of the token-level contrastive loss (Su et al. 2022, SimCTG, has 1); 0 for none"""
    margin: float = 0.5
    """how far below 1 it pushes the cosine of two tokens' representations (0.5 there)"""
    align: float = 0.0
    """with --init: weight of the contrastive loss that ties a sentence's code to its code in that run"""
    temperature: float = 0.1
    """what the cosines of codes are divided by in it"""

    def __post_init__(self) -> None:
        settings.bounds(
            self, weight=(0.0, None), margin=(0.0, 2.0), align=(0.0, None), temperature=(1e-3, None)
        )


@dataclass(frozen=True)
class MLEConfig(Schedule):
    """Settings of maximum-likelihood training."""

    contrastive: ContrastiveConfig = field(default_factory=ContrastiveConfig)
    patience: int | None = 4
    """reports without a better validation NLL before training stops"""
    calibration: float = 0.75
    """how far the kept weights go towards the temperature of least validation NLL; 0 leaves them alone"""
    replay: float = 0.0
    """with --init: weight of the likelihood of sentences of that run's corpus"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, replay=(0.0, None), calibration=(0.0, 1.0))

    @property
    def needs_source(self) -> bool:
        """Whether training looks at the run that it starts from."""
        return bool(self.contrastive.align or self.replay)


class Sampler(Protocol):
    """An algorithm with an autoregressive generator."""

    generator: RNNGenerator

    def sample(self, n: int) -> Samples: ...


class LanguageModel(nn.Module):
    """A generator whose likelihood is exact: what can be done with one, however it learned."""

    likelihood = "exact"
    generator: RNNGenerator
    length: int
    """Tokens of a sample at most."""

    def samples(self, n: int) -> Tensor:
        """Draw n sentences at temperature 1; (n, T)."""
        return self.sample(n).tokens

    def sample(self, n: int, length: int | None = None, **options: object) -> Samples:
        """Draw n sentences with the options of `seqgen.generation.sample.sample`."""
        return sample(self.generator, n, length or self.length, **options)  # type: ignore[arg-type]

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        """log p of sentences, in nats, exact; (B, T) → (B,)."""
        return sentence_log_prob(self.generator, tokens)


class MLE(LanguageModel):
    """A generator and its optimiser; (B, T) batches of ids in, next-token cross entropy down.

    A batch's loss is the sum over its tokens divided by the tokens of a usual batch, not by its own: where
    batches hold sentences of like length, its own count would give a token of a short sentence more weight
    than one of a long, and the generator would write too short.
    """

    Config = MLEConfig
    monitor: str | None = "valid_nll"
    usual_tokens: Tensor
    """Tokens of a batch, the mean so far; scalar."""
    batches_seen: Tensor
    bucket_by_length = True  # batches of sentences of like length waste little on padding

    def __init__(self, config: MLEConfig, *, vocab_size: int, length: int) -> None:
        super().__init__()
        self.config, self.length = config, length
        self.generator = config.generator.build(vocab_size)
        self.origin: RNNGenerator | None = None
        if config.contrastive.align:
            self.origin = copy.deepcopy(self.generator).requires_grad_(False)
        self.register_buffer("usual_tokens", torch.zeros(()))
        self.register_buffer("batches_seen", torch.zeros(()))

    def configure(self) -> None:
        """Create the optimisers; call it once the module is on its device."""
        c = self.config
        self.optimizers = {
            "generator": optim.adamw(self.generator, lr=c.lr, weight_decay=c.weight_decay or 0.0)
        }

    def step(self, batch: Tensor | Pair, progress: float) -> dict[str, Tensor | float]:
        """Move the generator by one batch (B, T), or by one and another of the corpus that it comes from."""
        batch, source = batch if isinstance(batch, Pair) else (batch, None)
        optimizer = self.optimizers["generator"]
        factor = optim.warmup_cosine(progress, warmup=self.config.warmup)
        optim.scale_lr(optimizer, factor)
        self.train()
        self.generator.head.scale.fill_(1.0)  # a report has calibrated what it measured and kept
        tokens = (batch != PAD).sum()
        self.batches_seen += 1
        self.usual_tokens += (tokens - self.usual_tokens) / self.batches_seen
        nll, states = nll_and_states(self.generator, batch, bf16=self.config.bf16)
        spread, figures = self._spread(states, batch != PAD)
        kept, more = self._keep(batch, source)
        loss = nll * (tokens / self.usual_tokens) + spread + kept
        norms = optim.update({optimizer: loss}, clip=self.config.clip)
        figures |= more | {"nll": nll.detach(), "grad_norm": norms[optimizer], "lr": self.config.lr * factor}
        return figures

    def _spread(self, states: Tensor, mask: Tensor) -> tuple[Tensor | float, dict[str, Tensor | float]]:
        """Return the weighted token-level contrastive loss and its figures; 0 and none where it is off."""
        c = self.config.contrastive
        if not c.weight:
            return 0.0, {}
        loss = contrastive_losses.token_contrastive(states, mask, margin=c.margin)
        similarity = contrastive_losses.anisotropy(states.detach(), mask)
        return c.weight * loss, {"contrastive": loss.detach(), "anisotropy": similarity}

    def _keep(self, batch: Tensor, source: Tensor | None) -> tuple[Tensor | float, dict[str, Tensor | float]]:
        """Return what ties the generator to the run that it comes from, weighted, and its figures."""
        c = self.config
        loss: Tensor | float = 0.0
        figures: dict[str, Tensor | float] = {}
        if self.origin is not None:
            temperature = c.contrastive.temperature
            aligned = alignment(self.generator, self.origin, batch, temperature=temperature)
            loss, figures["align"] = c.contrastive.align * aligned, aligned.detach()
        if c.replay and source is not None:
            replayed = mean_nll(self.generator, source, bf16=c.bf16)
            loss, figures["replay_nll"] = loss + c.replay * replayed, replayed.detach()
        return loss, figures

    def evaluate(self, batches: Iterable[Tensor]) -> Metrics:
        """Calibrate the generator, then measure held-out likelihood and the variety of samples."""
        temperature = calibrate(self.generator, batches, share=self.config.calibration)
        return evaluate(self, batches) | {"temperature": temperature}

    def should_stop(self, report: Metrics, first: Metrics) -> str | None:
        """Never stop: likelihood has no collapse."""
        return None


def mean_nll(generator: RNNGenerator, batch: Tensor, *, bf16: bool = False) -> Tensor:
    """Return the mean negative log-likelihood of a batch's real tokens, in nats a token; (B, T) → scalar."""
    return nll_and_states(generator, batch, bf16=bf16)[0]


def nll_and_states(generator: RNNGenerator, batch: Tensor, *, bf16: bool = False) -> tuple[Tensor, Tensor]:
    """Return `mean_nll` of a batch (B, T), and the states that the tokens are predicted from, (B, T, H).

    The states are those before the dropout of what the head reads: a state predicts its token, so at position
    t it stands for the token t - 1, BOS at the first.
    """
    mask = batch != PAD
    with torch.autocast(batch.device.type, dtype=torch.bfloat16, enabled=bf16):
        states, _ = generator.representations(shifted(batch), generator.initial(len(batch)))
        targets = batch[mask]
        weights = torch.full((len(targets),), 1.0 / len(targets), device=batch.device)
        head, hidden = generator.head, generator.dropout(states)[mask]
        return chunked_loss.head_loss(hidden, head.weight, head.bias, targets, weights).loss, states


def calibrate(generator: RNNGenerator, batches: Iterable[Tensor], *, share: float) -> float:
    """Calibrate a generator's head by the NLL of held-out batches; see `seqgen.models.calibration.calibrate`."""
    return calibration.calibrate(
        generator.head, lambda: nll_figures(generator, batches).get("nll", 0.0), share=share
    )


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
