"""Maximum likelihood: an autoregressive model of sentences, trained on the next token.

Report metrics: `nll` and `valid_nll`, nats a real token (EOS counts, padding does not), of the training
batches under dropout and of the validation split; `valid_ppl`, exp of the latter; `grad_norm` before
clipping; `lr`; `temperature`, by which calibration divided the logits before measuring; and `unique`,
`distinct_tokens` and `sample_nll` of `seqgen.algorithms.base`. With a weight for it also `contrastive`, the
token-level contrastive loss (Su et al. 2022, SimCTG), and `anisotropy`, the mean cosine of two token
representations of a sentence, of the training batches. Started from a run on another corpus also `align`, the
contrastive loss of sentence embeddings, and `replay_nll`, nats a token of that corpus's batches, where they
have a weight.

With n-grams (`ngram.order`) `valid_nll`, `valid_ppl` and samples are of their mixture with the network, each
sentence judged by a gate that was fitted to others; `network_nll`, nats a token, is of the network alone, and
`ngram_weight` the mean weight of the counts: 0 where validation shows no use of them, and then the network is
alone. Of more than 4,000 validation sentences these are measured on an even choice of so many.

Where no sentence is empty, an end at its first place is left out of samples and of all likelihoods but `nll`,
the training loss, and the counts' part of a mixture's `valid_nll`, which are a little higher for it.
"""

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from seqgen.algorithms.base import Metrics, RunningMean, StepMetrics, TextAlgorithm, perplexity
from seqgen.algorithms.configs import NGramConfig, PretrainingConfig
from seqgen.algorithms.finetune import alignment
from seqgen.core import distributed, optim, settings
from seqgen.core.device import autocast, widened
from seqgen.data.batch import Batch, TokensOf
from seqgen.data.token_ids import Ids
from seqgen.data.tokenizer import EOS, PAD
from seqgen.functional import contrastive_losses
from seqgen.functional.chunked_log_probs import HeadInputs, head_log_probs
from seqgen.functional.chunked_loss import head_loss, real_rows
from seqgen.generation.sample import log_not, log_prob, log_prob_of_states, shifted
from seqgen.models import calibration
from seqgen.models.base import Generator, evaluating
from seqgen.models.ngram_mixture import HeldOut, NGramMixture
from seqgen.ngrams import count_tables


@dataclass(frozen=True)
class ContrastiveConfig:
    """The contrastive part of the loss."""

    weight: float = 0.0
    """weight of the token-level contrastive loss (Su et al. 2022, SimCTG, has 1); 0 for none"""
    margin: float = 0.5
    """how far below 1 it pushes the cosine of two tokens' representations (0.5 there)"""
    align: float = 0.0
    """with --init: weight of the contrastive loss between a sentence's embeddings here and in that run"""
    temperature: float = 0.1
    """divides the cosines of sentence embeddings in it"""

    def __post_init__(self) -> None:
        settings.bounds(
            self, weight=(0.0, None), margin=(0.0, 2.0), align=(0.0, None), temperature=(1e-3, None)
        )


GATE_SENTENCES = 4_000
"""Validation sentences at most to which the gate of an n-gram mixture is fitted."""


@dataclass(frozen=True)
class MLEConfig(PretrainingConfig):
    """Settings of maximum-likelihood training."""

    most_decay: ClassVar[float] = 0.3

    contrastive: ContrastiveConfig = field(default_factory=ContrastiveConfig)
    ngram: NGramConfig = field(default_factory=NGramConfig)
    lr: float | None = None
    """peak learning rate of AdamW; none: 0.003, of a recurrent generator on samples of an oracle 0.02"""
    weight_decay: float | None = None
    """AdamW's decay of matrices; none: with the dropout, 0.01 at 0.1 to 0.3 at 0.3"""
    patience: int | None = 4
    """reports without a better validation NLL before training stops"""
    calibration: float = 0.75
    """fraction of the way, in log temperature, to the least validation NLL; 0 for no calibration"""
    replay: float = 0.0
    """with --init: weight of the likelihood of sentences of that run's corpus"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, replay=(0.0, None), calibration=(0.0, 1.0))

    @property
    def replays(self) -> bool:
        """Whether a step also reads sentences of the corpus of the run that training starts from."""
        return self.replay > 0

    @property
    def uses_start(self) -> bool:
        """Whether training needs a run to start from."""
        return bool(self.contrastive.align or self.replay)


class MLE(TextAlgorithm):
    """A generator and its optimiser: next-token cross entropy.

    A batch's loss is the sum over its tokens divided by the mean number of tokens of a batch, not by its own:
    where batches hold sentences of similar length, its own number would give a token of a short sentence more
    weight than one of a long sentence, and the generator would write too short.
    """

    Config = MLEConfig
    config: MLEConfig
    monitor: str | None = "valid_nll"
    bucket_by_length = True
    examples = (
        {},
        {"generator.cell": "gru", "generator.layers": 2, "generator.tied": True},
        {"generator.attention": True},
        {"contrastive.weight": 1.0, "contrastive.margin": 0.9},
        {
            "generator.kind": "transformer",
            "generator.hidden": 12,
            "generator.heads": 3,
            "generator.tied": True,
        },
        {"generator.kind": "relational-memory", "generator.head_size": 5, "generator.slots": 2},
        {"ngram.order": 3},
    )

    def __init__(self, config: MLEConfig, *, vocab_size: int, length: int) -> None:
        super().__init__(config, vocab_size=vocab_size, length=length)
        self.generator = config.generator.build(vocab_size)
        self.origin: Generator | None = None
        if config.contrastive.align:
            self.origin = copy.deepcopy(self.generator).requires_grad_(False)
        self.tokens_per_batch = RunningMean()
        if config.ngram.order:
            self.mixture = NGramMixture(
                self.generator.head.weight.shape[1], config.ngram.order, self.vocab_size
            )

    def read_corpus(self, train: Ids) -> None:
        """Count the n-grams of the training split."""
        if self.mixture is not None:
            self.mixture.count(count_tables.stream(train), self.vocab_size)

    def configure(self) -> None:
        """Create the optimiser; called once the module is on its device."""
        c = self.config
        self.optimizers = {
            "generator": optim.adamw(self.generator, lr=c.peak_lr, weight_decay=c.weight_decay or 0.0)
        }

    def step(self, batch: Batch, progress: float) -> StepMetrics:
        """Update the generator by one batch, and by its `replay` where that has a weight."""
        optimizer = self.optimizers["generator"]
        factor = optim.warmup_cosine(progress, warmup=self.config.warmup)
        optim.scale_lr(optimizer, factor)
        self.train()
        self.generator.head.scale.fill_(1.0)  # the last report has calibrated what it measured and kept
        mask = batch.tokens != PAD
        tokens = distributed.total(mask.sum())
        mean_tokens = self.tokens_per_batch.add(tokens)
        nll, states = nll_and_states(self.generator, batch.tokens, bf16=self.config.bf16)
        contrastive, metrics = self._contrastive(states, mask)
        fine_tuning, more = self._fine_tuning(batch)
        loss = nll * (tokens / mean_tokens) + contrastive + fine_tuning
        norms = optim.update({optimizer: loss}, clip=self.config.clip)
        metrics |= more | {
            "nll": nll.detach(),
            "grad_norm": norms[optimizer],
            "lr": self.config.peak_lr * factor,
        }
        return metrics

    def _contrastive(self, states: Tensor, mask: Tensor) -> tuple[Tensor | float, StepMetrics]:
        """Return the weighted token-level contrastive loss and its metrics; 0 and none where it is off."""
        c = self.config.contrastive
        if not c.weight:
            return 0.0, {}
        loss = contrastive_losses.token_contrastive(states, mask, margin=c.margin)
        similarity = contrastive_losses.anisotropy(states.detach(), mask)
        return c.weight * loss, {"contrastive": loss.detach(), "anisotropy": similarity}

    def _fine_tuning(self, batch: Batch) -> tuple[Tensor | float, StepMetrics]:
        """Return what ties the generator to the run that it comes from, weighted, and its metrics."""
        c = self.config
        loss: Tensor | float = 0.0
        metrics: StepMetrics = {}
        if self.origin is not None:
            temperature = c.contrastive.temperature
            aligned = alignment(self.generator, self.origin, batch.tokens, temperature=temperature)
            loss, metrics["align"] = c.contrastive.align * aligned, aligned.detach()
        if c.replay and batch.replay is not None:
            replayed = mean_nll(self.generator, batch.replay, bf16=c.bf16)
            loss, metrics["replay_nll"] = loss + c.replay * replayed, replayed.detach()
        return loss, metrics

    def evaluate(self, batches: Iterable[Batch]) -> Metrics:
        """Calibrate the generator and mix it with n-grams, then measure held-out likelihood and samples."""
        temperature = calibrate(self.generator, TokensOf(batches), fraction=self.config.calibration)
        mixed: Metrics = {}
        if self.mixture is not None:
            mixed = fit_mixture(self.generator, self.mixture, TokensOf(batches), self.of_sentence)
        return super().evaluate(batches) | mixed | {"temperature": temperature}


def mean_nll(generator: Generator, tokens: Tensor, *, bf16: bool = False) -> Tensor:
    """Return the mean negative log-likelihood of a batch's real tokens, in nats a token; (B, T) → scalar."""
    return nll_and_states(generator, tokens, bf16=bf16)[0]


def nll_and_states(generator: Generator, tokens: Tensor, *, bf16: bool = False) -> tuple[Tensor, Tensor]:
    """Return `mean_nll` of a batch (B, T), and the states that the tokens are predicted from, (B, T, H).

    The states are those before the dropout of what the head reads: a state predicts its token, so at position
    t it stands for the token t - 1, BOS at the first.
    """
    mask = tokens != PAD
    with autocast(tokens.device, bf16=bf16):
        states, _ = generator.representations(shifted(tokens), generator.initial(len(tokens)))
        head = generator.head
        weights = mask / distributed.mean(mask.sum())
        hidden, targets, weights = real_rows(mask, generator.dropout(states), tokens, weights)
        return head_loss(hidden, head.weight, head.bias, targets, weights).loss, states


def sentence_log_probs(generator: Generator, tokens: Tensor) -> Tensor:
    """Return log p of each sentence, in nats, with a gradient; (B, T) → (B,).

    Dropout is as the generator's mode has it.
    """
    hidden, _ = generator.hidden(shifted(tokens), generator.initial(len(tokens)))
    mask = tokens != PAD
    number = torch.arange(len(tokens), device=tokens.device)[:, None].expand_as(tokens)
    rows, targets, sentence, is_real = real_rows(mask, hidden, tokens, number, mask)
    head = HeadInputs(rows, generator.head.weight, generator.head.bias)
    found = head_log_probs(head, targets)
    found = found.new_zeros(len(tokens)).index_add(0, sentence, found * is_real)
    log_goes_on = log_no_early_end(generator, hidden, head.bias)
    return found if log_goes_on is None else found - log_goes_on


def log_no_early_end(generator: Generator, hidden: Tensor, bias: Tensor) -> Tensor | None:
    """Return log(1 - p(EOS)) where no sentence ends, by which its log p is too high; with a gradient; (B,).

    hidden: what the head reads, (B, T, H). bias: of the head, (V,). None where there is no such position.
    """
    at = generator.head.never_ends_at
    if at is None or hidden.shape[1] <= at:
        return None
    ends = torch.full((len(hidden),), EOS, device=hidden.device)
    return log_not(head_log_probs(HeadInputs(hidden[:, at], generator.head.weight, bias), ends))


def calibrate(generator: Generator, batches: Iterable[Tensor], *, fraction: float) -> float:
    """Calibrate a generator's head by the NLL of held-out batches; see `seqgen.models.calibration`."""
    head = generator.head

    def losses(scales: Sequence[float]) -> list[float]:
        """Sum the NLL at each scale; the states, which are most of the work, are computed once."""
        sums = [0.0 for _ in scales]
        for tokens in batches:
            head.scale.fill_(1.0)
            states, _ = generator.hidden(shifted(tokens), generator.initial(len(tokens)))
            for i, scale in enumerate(scales):
                head.scale.fill_(scale)
                sums[i] -= float(widened(log_prob_of_states(head, tokens, states * scale)).sum())
        return sums

    with evaluating(generator):
        return calibration.calibrate(head, losses, fraction=fraction)


@torch.no_grad()
def fit_mixture(
    generator: Generator,
    mixture: NGramMixture,
    batches: Iterable[Tensor],
    real: Callable[[Tensor], Tensor] = lambda tokens: tokens != PAD,
) -> Metrics:
    """Fit the gate of an n-gram mixture to held-out batches (B, T); return the metrics that come of it.

    real: which tokens count, (B, T) → bool (B, T).
    """
    sentences = sum(len(tokens) for tokens in batches)
    every = math.ceil(sentences / GATE_SENTENCES)
    parts = []
    seen = 0
    with evaluating(generator):
        for tokens in batches:
            chosen = tokens[-seen % every :: every]
            first = math.ceil(seen / every)
            seen += len(tokens)
            if len(chosen):
                parts.append(_held_out(generator, mixture, chosen, first, real(chosen)))
    if not parts:
        return {}
    found = mixture.fit(HeldOut(*(torch.cat(each) for each in zip(*parts, strict=True))))
    return {
        "valid_nll": found.nll,
        "valid_ppl": perplexity(found.nll),
        "network_nll": found.network_nll,
        "ngram_weight": found.weight,
    }


def _held_out(
    generator: Generator, mixture: NGramMixture, tokens: Tensor, first: int, real: Tensor
) -> HeldOut:
    """Measure network and counts on real tokens of sentences (B, T); the first has the number `first`."""
    read = shifted(tokens)
    hidden, _ = generator.hidden(read, generator.initial(len(tokens)))
    tables = mixture.tables
    counts = tables.probs(tables.read(read, tables.begin(len(tokens))), tokens).log()
    network = log_prob(generator, tokens)
    sentence = torch.arange(first, first + len(tokens), device=tokens.device)[:, None].expand_as(tokens)
    parts = hidden.float(), network, counts, sentence
    hidden, network, counts, sentence = (part[real].cpu() for part in parts)
    return HeldOut(hidden, network.double(), counts.double(), sentence)
