"""The speed benchmark: sampling, adversarial updates and pretraining, against references and the floor."""

import copy
import math
import time
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from seqgen.bench import floor, reference_loops
from seqgen.bench.timing import Case, Clock, Row, interleaved
from seqgen.core import optim, settings
from seqgen.core.device import wait
from seqgen.data.tokenizer import EOS, PAD
from seqgen.functional.chunked_loss import head_loss, real_rows
from seqgen.generation.rollouts import rollout_rewards
from seqgen.generation.sample import sample, shifted
from seqgen.models.base import Generator, GeneratorConfig
from seqgen.models.discriminator import RNNDiscriminator

NEVER = -1e4
N = TypeVar("N", bound=nn.Module)
CELLS = "lstm", "gru", "transformer"
LARGE = 1_000_000
"""Weights of a vocabulary head from which a step takes so long that it is timed by itself, not in fives."""
LENGTHS = "fixed", "varied"
"""Whether all sentences have the full length, or from a third of it on end by chance."""


@dataclass(frozen=True)
class Sizes:
    """What is benchmarked; the defaults are SeqGAN's oracle task (Yu et al. 2017)."""

    vocab: int = 5000
    length: int = 20
    embedding: int = 32
    hidden: int = 32
    batch: int = 64
    rollouts: int = 16
    scored: int | None = None
    """sentences of an adversarial update; none: those of a batch"""

    def __str__(self) -> str:
        return f"{self.vocab:,} / {self.hidden} / {self.length}"


SIZES = {
    "paper": Sizes(),
    "medium": Sizes(10_000, 30, 256, 256, 64, 2, scored=16),
    "large": Sizes(20_000, 50, 512, 512, 64, 1, scored=8),
}
"""Sizes by name: updates of the larger ones have so few completions that a run takes minutes."""


class _Task:
    """A generator of a kind and size whose sentences are all of one length, or are not."""

    def __init__(self, sizes: Sizes, cell: str, lengths: str, device: torch.device) -> None:
        self.sizes, self.is_varied = sizes, lengths == "varied"
        self.what = f"{cell}, {sizes}, {lengths}"
        torch.manual_seed(0)
        self.generator = build_generator(sizes.vocab, sizes.embedding, sizes.hidden, cell=cell).to(device)
        # The references have no means to stop: there no sentence ends early. Else the logit of the end, among
        # others near 0, gives each token after a third of them the probability 2 / length to be the last.
        ends = 2 / sizes.length
        offset = math.log(ends / (1 - ends) * sizes.vocab) if self.is_varied else NEVER
        with torch.no_grad():
            self.generator.head.offset[EOS] = offset
        self.shortest = sizes.length // 3
        self.calls = 5 if sizes.vocab * sizes.hidden < LARGE else 1

    def sample(self, generator: Generator, batch: int) -> Tensor:
        """Draw the same sentences at every call; (B, T)."""
        if generator.head.weight.device.type == "cpu":
            torch.default_generator.manual_seed(1)  # torch.manual_seed takes a millisecond to format a stack
        least = self.shortest if self.is_varied else 0
        return sample(generator, batch, self.sizes.length, min_length=least).tokens

    def sentences(self, device: torch.device) -> Tensor:
        """Return random sentences to learn from; (B, T)."""
        of = self.sizes
        shortest = max(1, self.shortest) if self.is_varied else of.length
        return uneven_sentences(of.vocab, shortest, of.length, of.batch).to(device)


def run(
    sizes: Sizes,
    device: torch.device,
    *,
    cell: str = "lstm",
    lengths: str = "fixed",
    with_naive: bool = True,
    repeats: int = 5,
    clock: Clock | None = None,
) -> list[Row]:
    """Time the three tasks; reference, ours and the floor (`seqgen.bench.floor`) of each take turns.

    The references have sentences of one length alone. Pretraining comes first, in a process that has
    allocated nothing yet, as one that trains: the memory of the reference's logits then goes back to the
    system after every step, and comes anew as page faults, half its time. After other work the allocator may
    happen to keep it, and the reference is that much faster.
    """
    clock = clock or device_clock(device)
    task = _Task(sizes, cell, lengths, device)
    with_naive = with_naive and not task.is_varied
    return [of(task, with_naive, repeats, clock) for of in (_pretraining, _sampling, _adversarial)]


def build_generator(
    vocab_size: int, embedding: int, hidden: int, *, cell: str = "lstm", latent_dim: int = 0
) -> Generator:
    """Return a fresh generator without dropout; a Transformer has the two layers of the default."""
    own = {} if cell == "transformer" else {"cell": cell}
    config = GeneratorConfig.of_kind("rnn" if own else cell)()
    values = {"embedding": embedding, "hidden": hidden, "dropout": 0.0, **own}
    return settings.override(config, values).build(vocab_size, latent_dim=latent_dim)


def uneven_sentences(vocab: int, shortest: int, longest: int, batch: int) -> Tensor:
    """Return random sentences whose lengths, EOS included, are spread evenly; (batch, longest)."""
    lengths = torch.linspace(shortest, longest, batch).round().long()[:, None]
    tokens = torch.randint(EOS + 1, vocab, (batch, longest))
    places = torch.arange(longest)
    return tokens.masked_fill(places == lengths - 1, EOS).masked_fill(places >= lengths, PAD)


def _pretraining(task: _Task, with_naive: bool, repeats: int, clock: Clock) -> Row:
    generator = task.generator
    device = generator.head.weight.device
    tokens = task.sentences(device)
    plain, fast = copied(generator), copied(generator)
    plain_optimizer, fast_optimizer = optim.adamw(plain, lr=1e-3), optim.adamw(fast, lr=1e-3)
    ones = torch.ones(tokens.shape, device=device)
    rows = floor.sentences_by_step((tokens != PAD).sum(dim=1))
    work = floor.training(generator, rows) + floor.head_pass(generator, sum(rows))
    cases: dict[str, Case] = {
        "naive": (lambda: reference_loops.pretraining_step(plain, plain_optimizer, tokens), 5),
        "ours": (lambda: _update(fast, fast_optimizer, tokens, ones), task.calls),
    }
    return _timed("pretraining step", "tokens", sum(rows), cases, work, task, with_naive, 2 * repeats, clock)


def _sampling(task: _Task, with_naive: bool, repeats: int, clock: Clock) -> Row:
    generator, batch, length = task.generator, task.sizes.batch, task.sizes.length
    with floor.rows_read(generator, "hidden", length) as rows:
        task.sample(generator, batch)
    work = floor.reading(generator, rows) + floor.draws(generator, rows)
    cases: dict[str, Case] = {
        "naive": (lambda: reference_loops.sample(generator, batch, length), 1),
        "ours": (lambda: task.sample(generator, batch), task.calls),
    }
    return _timed("sampling", "sentences", batch, cases, work, task, with_naive, 2 * repeats, clock)


def _adversarial(task: _Task, with_naive: bool, repeats: int, clock: Clock) -> Row:
    sizes, device = task.sizes, task.generator.head.weight.device
    batch, length = sizes.scored or sizes.batch, sizes.length
    discriminator = RNNDiscriminator(sizes.vocab, sizes.embedding, sizes.hidden).to(device)
    plain, fast = copied(task.generator), copied(task.generator)
    # Nothing is learned: every call draws the sentences and completions whose work the lower bound counts.
    plain_optimizer, fast_optimizer = optim.adamw(plain, lr=0.0), optim.adamw(fast, lr=0.0)
    shape = {"batch": batch, "length": length, "rollouts": sizes.rollouts}

    def ours() -> None:
        tokens = task.sample(fast, batch)
        rewards = rollout_rewards(fast, tokens, discriminator, sizes.rollouts)
        _update(fast, fast_optimizer, tokens, rewards - rewards.mean(dim=0))

    def naive() -> None:
        reference_loops.adversarial_update(plain, discriminator, plain_optimizer, **shape)

    work = _adversarial_work(task, discriminator, batch)
    cases: dict[str, Case] = {"naive": (naive, 1), "ours": (ours, 1)}
    return _timed("adversarial update", "updates", 1, cases, work, task, with_naive, repeats, clock)


def _adversarial_work(task: _Task, discriminator: RNNDiscriminator, batch: int) -> floor.Work:
    """Return the products and draws of a sampling, of its rollouts and of an update by their rewards."""
    # A copy, of which no CUDA graph is recorded that would be replayed without a call.
    generator, length = copied(task.generator), task.sizes.length
    with floor.rows_read(generator, "hidden", length) as sampled:
        tokens = task.sample(generator, batch)
    with (
        floor.rows_read(generator, "hidden", length) as rolled,
        floor.rows_read(discriminator, "read", length) as judged,
    ):
        rollout_rewards(generator, tokens, discriminator, task.sizes.rollouts)
    learned = floor.sentences_by_step((tokens != PAD).sum(dim=1))
    return (
        floor.reading(generator, sampled)
        + floor.draws(generator, sampled)
        + floor.reading(generator, rolled)
        + floor.draws(generator, rolled[1:])  # first tokens are those of the sentences
        + floor.reading(discriminator, judged)
        + floor.training(generator, learned)
        + floor.head_pass(generator, sum(learned))
    )


def _timed(
    name: str,
    unit: str,
    amount: float,
    cases: dict[str, Case],
    work: floor.Work,
    task: _Task,
    with_naive: bool,
    repeats: int,
    clock: Clock,
) -> Row:
    """Time a task beside its floor, and beside the reference if that is asked for."""
    if not with_naive:
        del cases["naive"]
    cases["floor"] = floor.case(work, task.generator.head.weight.device, clock=clock)
    timings = interleaved(cases, repeats=repeats, clock=clock)
    return Row(name, unit, amount, timings.get("naive"), timings["ours"], timings["floor"].median, task.what)


def copied(network: N) -> N:
    """Copy a network, its recurrent weights in one piece of memory, as cuDNN wants them."""
    fresh = copy.deepcopy(network)
    for module in fresh.modules():
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()
    return fresh


def _update(
    generator: Generator, optimizer: torch.optim.AdamW, tokens: Tensor, token_weights: Tensor
) -> dict[torch.optim.Optimizer, float | Tensor]:
    """Update the generator by the mean of weight · -log p(token), as the algorithms of the package do."""
    mask = tokens != PAD
    hidden, _ = generator.hidden(shifted(tokens), generator.initial(len(tokens)))
    rows, targets, weights = real_rows(mask, hidden, tokens, token_weights * mask / mask.sum())
    loss = head_loss(rows, generator.head.weight, generator.head.bias, targets, weights).loss
    return optim.update({optimizer: loss}, clip=5.0)


def device_clock(device: torch.device) -> Clock:
    """Seconds, once the device has done what it was asked."""
    if device.type == "cpu":
        return time.perf_counter

    def synchronised() -> float:
        wait(device)
        return time.perf_counter()

    return synchronised
