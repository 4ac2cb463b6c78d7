"""The speed benchmark: sampling, adversarial updates and pretraining, against references and the floor."""

import copy
import time
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from seqgen.algorithms.configs import default_generator
from seqgen.bench import reference_loops
from seqgen.bench.timing import Case, Clock, Row, Timing, interleaved
from seqgen.core import optim, settings
from seqgen.core.device import wait
from seqgen.data.tokenizer import EOS, PAD
from seqgen.functional.chunked_loss import head_loss, real_rows
from seqgen.functional.vocab_projection import chunk_rows, matmul
from seqgen.generation.rollouts import rollout_rewards
from seqgen.generation.sample import sample, shifted
from seqgen.models.base import Generator
from seqgen.models.discriminator import RNNDiscriminator

NEVER = -1e4
N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class Sizes:
    """What is benchmarked; the defaults are SeqGAN's oracle task (Yu et al. 2017)."""

    vocab: int = 5000
    length: int = 20
    embedding: int = 32
    hidden: int = 32
    batch: int = 64
    rollouts: int = 16

    def rollout_rows(self) -> int:
        """Distributions that the rollouts of a batch need: one for each prefix, then one a token."""
        first = self.batch * (self.length - 1)
        return first + self.batch * self.rollouts * (self.length - 1) * (self.length - 2) // 2


def run(sizes: Sizes, device: torch.device, *, repeats: int = 5, clock: Clock | None = None) -> list[Row]:
    """Time the three tasks; reference, ours and the bare matrix products of each take turns.

    Pretraining comes first, in a process that has allocated nothing yet, as one that trains: the memory of
    the reference's logits then goes back to the system after every step, and comes anew as page faults, half
    its time. After other work the allocator may happen to keep it, and the reference is that much faster.
    """
    clock = clock or device_clock(device)
    torch.manual_seed(0)
    generator = rnn_generator(sizes.vocab, sizes.embedding, sizes.hidden).to(device)
    with torch.no_grad():  # no sentence ends early: the references have no means to stop
        generator.head.offset[EOS] = NEVER
    tasks = (_pretraining, _sampling, _adversarial)
    return [task(sizes, generator, repeats, clock) for task in tasks]


def rnn_generator(vocab_size: int, embedding: int, hidden: int, *, latent_dim: int = 0) -> Generator:
    """Return a fresh LSTM generator without dropout."""
    config = settings.override(
        default_generator(), {"embedding": embedding, "hidden": hidden, "dropout": 0.0}
    )
    return config.build(vocab_size, latent_dim=latent_dim)


def _sampling(sizes: Sizes, generator: Generator, repeats: int, clock: Clock) -> Row:
    batch, length = sizes.batch, sizes.length
    timings = interleaved(
        {
            "naive": (lambda: reference_loops.sample(generator, batch, length), 1),
            "ours": (lambda: sample(generator, batch, length), 10),
            "product": product(generator),
        },
        repeats=2 * repeats,
        clock=clock,
    )
    return _row("sampling", "sentences", batch, timings, chunks=chunks(generator, batch * length))


def _adversarial(sizes: Sizes, generator: Generator, repeats: int, clock: Clock) -> Row:
    discriminator = RNNDiscriminator(sizes.vocab, sizes.embedding, sizes.hidden).to(
        generator.head.weight.device
    )
    plain, fast = copied(generator), copied(generator)
    plain_optimizer, fast_optimizer = optim.adamw(plain, lr=1e-4), optim.adamw(fast, lr=1e-4)
    shape = {"batch": sizes.batch, "length": sizes.length, "rollouts": sizes.rollouts}

    def ours() -> None:
        tokens = sample(fast, sizes.batch, sizes.length).tokens
        rewards = rollout_rewards(fast, tokens, discriminator, sizes.rollouts)
        _update(fast, fast_optimizer, tokens, rewards - rewards.mean(dim=0))

    timings = interleaved(
        {
            "naive": (
                lambda: reference_loops.adversarial_update(plain, discriminator, plain_optimizer, **shape),
                1,
            ),
            "ours": (ours, 1),
            "product": product(generator),
        },
        repeats=repeats,
        clock=clock,
    )
    products = sizes.rollout_rows() + 4 * sizes.batch * sizes.length
    return _row("adversarial update", "updates", 1, timings, chunks=chunks(generator, products))


def _pretraining(sizes: Sizes, generator: Generator, repeats: int, clock: Clock) -> Row:
    tokens = reference_loops.sample(generator, sizes.batch, sizes.length)
    plain, fast = copied(generator), copied(generator)
    plain_optimizer, fast_optimizer = optim.adamw(plain, lr=1e-3), optim.adamw(fast, lr=1e-3)
    ones = torch.ones(tokens.shape, device=tokens.device)
    timings = interleaved(
        {
            "naive": (lambda: reference_loops.pretraining_step(plain, plain_optimizer, tokens), 5),
            "ours": (lambda: _update(fast, fast_optimizer, tokens, ones), 5),
            "product": product(generator),
        },
        repeats=2 * repeats,
        clock=clock,
    )
    work = sizes.batch * sizes.length
    return _row("pretraining step", "tokens", work, timings, chunks=chunks(generator, 3 * work))


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


def product(generator: Generator) -> Case:
    """The case that measures the floor: a chunk's product with the vocabulary, the fastest that torch has."""
    weight = generator.head.weight.detach()
    vocab_size, hidden = weight.shape
    states = torch.randn(chunk_rows(vocab_size, weight.device), hidden, device=weight.device)
    bias = torch.zeros(vocab_size, device=weight.device)
    return (lambda: matmul(states, weight, bias), 20)


def chunks(generator: Generator, rows: int) -> float:
    """How many products of a chunk make a product of so many rows."""
    return rows / chunk_rows(generator.vocab_size, generator.head.weight.device)


def _row(task: str, unit: str, work: int, timings: dict[str, Timing], *, chunks: float) -> Row:
    """Make a row whose floor is so many of the products that `product` times."""
    floor = timings["product"].median * chunks
    return Row(task, unit, work, timings["naive"], timings["ours"], floor)


def device_clock(device: torch.device) -> Clock:
    """Seconds, once the device has done what it was asked."""
    if device.type == "cpu":
        return time.perf_counter

    def synchronised() -> float:
        wait(device)
        return time.perf_counter()

    return synchronised
