"""The lower bound of the speed benchmark: matrix products of a task and passes of its draws, alone.

A task's work is a count of products by their shapes, and of passes over logits. It is measured by running
each of them as often as the task has it, one kind after the other and nothing else, on buffers that are
there, with the fastest routine that torch has for the shape. What else a task does (embeddings, gates,
softmax, losses, the optimiser's arithmetic) is not in it, nor is what it does for padding.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqgen.bench.timing import Case, Clock
from seqgen.functional.vocab_projection import chunk_rows, matmul
from seqgen.generation.categorical import sums_of_blocks
from seqgen.models.base import Generator

TRIALS = 3
"""How often each routine is tried before the fastest is taken."""


class Product(NamedTuple):
    """A product (M, K) · (K, N), or `batch` of them at once."""

    m: int
    n: int
    k: int
    batch: int = 1


class Passes(NamedTuple):
    """What a draw does to logits (rows, vocab) in a reused buffer: exp2 in place, and the sums of blocks."""

    rows: int
    vocab: int


Work = Counter[Product | Passes]
"""How often each is done."""


def draws(generator: Generator, rows: Sequence[int]) -> Work:
    """Return the products with the vocabulary and the passes of a draw for so many rows at each step."""
    (vocab, hidden), work = generator.head.weight.shape, Work()
    for part in _parts(generator, rows):
        work[Product(part, vocab, hidden)] += 1
        work[Passes(part, vocab)] += 1
    return work


def head_pass(generator: Generator, rows: int) -> Work:
    """Return the three products of the vocabulary head of so many rows, forward and backward."""
    (vocab, hidden), work = generator.head.weight.shape, Work()
    for part in _parts(generator, [rows]):
        work.update(
            [Product(part, vocab, hidden), Product(part, hidden, vocab), Product(hidden, vocab, part)]
        )
    return work


def reading(network: nn.Module, rows: Sequence[int]) -> Work:
    """Return the products of the layers of a network that reads a token of so many rows at each step."""
    work = Work()
    for weight in _matrices(network):
        work.update(Product(now, *weight.shape) for now in rows if now)
    for heads, size in _attention(network):
        for past, now in enumerate(rows):
            if now:
                many = now * heads
                work.update([Product(1, past + 1, size, many), Product(1, size, past + 1, many)])
    return work


def training(network: nn.Module, rows: Sequence[int]) -> Work:
    """Return the products of a network's layers over whole sentences, forward and backward.

    rows: how many sentences have a first token, a second, and so on. Inputs of all positions are multiplied
    at once, recurrent states one position at a time.
    """
    tokens, work = sum(rows), Work()
    for module in network.modules():
        if isinstance(module, nn.RNNBase):
            for name, weight in module.named_parameters():
                outputs, inputs = weight.shape[0], weight.shape[-1]
                if name.startswith("weight_hh"):
                    work.update(Product(now, outputs, inputs) for now in rows if now)
                    work.update(Product(now, inputs, outputs) for now in rows[1:] if now)
                    work[Product(outputs, inputs, tokens)] += 1
                elif name.startswith("weight_ih"):
                    work += of_linear(weight, tokens)
        elif isinstance(module, nn.Linear):
            work += of_linear(module.weight, tokens)
    for heads, size in _attention(network):
        # Sentences of all lengths, as so many of the full one as have its products.
        longest = sum(now > 0 for now in rows)
        squares = sum((2 * t + 1) * now for t, now in enumerate(rows))
        many = max(1, round(heads * squares / longest**2))
        work[Product(longest, longest, size, many)] += 2  # scores; gradient of the weights of attention
        work[Product(longest, size, longest, many)] += 4  # context; gradients of query, key and value
    return work


def of_linear(weight: Tensor, rows: int) -> Work:
    """Return the three products of a linear map (out, in) of so many rows, forward and backward."""
    outputs, inputs = weight.shape
    return Work(
        [Product(rows, outputs, inputs), Product(rows, inputs, outputs), Product(outputs, inputs, rows)]
    )


def sentences_by_step(lengths: Tensor) -> list[int]:
    """Return how many sentences have a first token, a second, and so on; lengths (B,)."""
    return [int((lengths > t).sum()) for t in range(int(lengths.amax()))]


@contextmanager
def rows_read(network: nn.Module, method: str, most: int) -> Iterator[list[int]]:
    """Note how many rows a network's method is given in each of its first `most` calls in a `with` block."""
    rows: list[int] = []
    own = getattr(network, method)

    def noting(tokens: Tensor, state: tuple[Tensor, ...]) -> object:
        if len(rows) < most:
            rows.append(len(tokens))
        return own(tokens, state)

    setattr(network, method, noting)
    try:
        yield rows
    finally:
        delattr(network, method)


def case(work: Work, device: torch.device, *, clock: Clock = time.perf_counter) -> Case:
    """Return the case that does the work, each part of it as often in a row as it is counted."""
    buffers = _Buffers(work, device)
    chosen = [(_fastest(buffers.routines(part), clock), times) for part, times in work.items()]

    def run() -> None:
        for routine, times in chosen:
            for _ in range(times):
                routine()

    return run, 1


class _Buffers:
    """Operands and results of all products, as views of three pieces of memory."""

    def __init__(self, work: Work, device: torch.device) -> None:
        products = [part for part in work if isinstance(part, Product)]
        passes = [part for part in work if isinstance(part, Passes)]
        self.left = _random(max((p.batch * p.m * p.k for p in products), default=0), device)
        self.right = _random(max((p.batch * p.k * p.n for p in products), default=0), device)
        written = [p.batch * p.m * p.n for p in products] + [p.rows * p.vocab for p in passes]
        self.result = torch.zeros(max(written, default=0), device=device)

    def routines(self, part: Product | Passes) -> list[Callable[[], object]]:
        """Return the ways to do a part of the work."""
        if isinstance(part, Passes):
            logits = self.result[: part.rows * part.vocab].view(part.rows, part.vocab)

            def passes() -> None:
                sums_of_blocks(logits.exp2_())

            return [passes]
        m, n, k, batch = part
        left, right = self.left[: batch * m * k], self.right[: batch * k * n]
        result = self.result[: batch * m * n]
        if batch > 1:
            factors = left.view(batch, m, k), right.view(batch, k, n)
            ways: list[Callable[[], object]] = [lambda: torch.bmm(*factors, out=result.view(batch, m, n))]
            if m == 1:  # many small ones, which a product and a sum may do faster
                ways.append(lambda: (left.view(batch, k, 1) * factors[1]).sum(dim=1, keepdim=True))
            return ways
        rows, columns, out = left.view(m, k), right.view(n, k), result.view(m, n)
        return [
            lambda: matmul(rows, columns),
            lambda: torch.mm(rows, columns.t(), out=out),
            lambda: torch.mm(rows, right.view(k, n), out=out),
        ]


def _random(numbers: int, device: torch.device) -> Tensor:
    return torch.randn(numbers, device=device)


def _fastest(routines: Sequence[Callable[[], object]], clock: Clock) -> Callable[[], object]:
    if len(routines) == 1:
        return routines[0]
    for routine in routines:  # the first call compiles a kernel
        routine()

    def seconds(routine: Callable[[], object]) -> float:
        start = clock()
        routine()
        return clock() - start

    return min(routines, key=lambda routine: min(seconds(routine) for _ in range(TRIALS)))


def _parts(generator: Generator, rows: Sequence[int]) -> Iterator[int]:
    """Split the rows of every step into as many as are projected to the vocabulary at a time."""
    weight = generator.head.weight
    most = chunk_rows(len(weight), weight.device)
    for now in rows:
        yield from [most] * (now // most) + [now % most] * (now % most > 0)


def _matrices(network: nn.Module) -> Iterator[Tensor]:
    """Return the matrices by which a network's layers multiply, but for embedding and vocabulary head."""
    for module in network.modules():
        if isinstance(module, nn.RNNBase):
            yield from (each for name, each in module.named_parameters() if name.startswith("weight"))
        elif isinstance(module, nn.Linear):
            yield module.weight


def _attention(network: nn.Module) -> Iterator[tuple[int, int]]:
    """Return the heads of every layer of attention, and the width of one."""
    for module in network.modules():
        heads = getattr(module, "heads", None)
        if isinstance(heads, int):
            yield heads, module.merge.in_features // heads  # type: ignore[union-attr, operator, misc]
