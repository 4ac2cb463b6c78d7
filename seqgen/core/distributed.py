"""Training in several processes, one for each device: data parallelism, in which all hold the same weights.

`torchrun` starts the processes, and `joined` makes them one group. Within `sharded` each of N processes, the
ranks, has every N-th row of a batch, and a step does what one process does with the whole batch:

- random numbers of a batch's rows are drawn for the whole batch by every rank, which keeps those of its rows
  (`rand`, `randn`, `rows_of`), so that all generators stay alike and their state is that of one process;
- what a loss or a baseline needs of the whole batch is a mean over ranks (`mean`), or the rows of all of them
  (`gather`); a sum over a batch that is divided by a count is divided by the mean count of a rank;
- gradients are averaged over ranks, once an update (`average_gradients`).

Outside of `sharded`, as in a report, all ranks do the same with the same numbers. In a single process every
function here returns what it is given. A rank that waits in vain raises UserError.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from seqgen.core import launcher
from seqgen.core.errors import UserError

PATIENCE = timedelta(seconds=60)
"""How long a rank waits for the others within a step; that one has ended it sees at once."""
LONG_PATIENCE = timedelta(hours=1)
"""How long it waits where they may differ much: before the first step and around a report."""
MESSAGE_BYTES = 5 * 2**20
"""Bytes of gradients in a message, unless one of them has more: by gloo as fast as any, and one is slower."""
Draw = Callable[[int], Tensor]
"""Random numbers of so many rows; n → (n, …)."""


@dataclass(frozen=True)
class _Group:
    """The processes that this one has joined."""

    rank: int
    count: int
    patient: Any
    """The same processes, as a group that waits long."""


_ALONE = _Group(0, 1, None)
_group: ContextVar[_Group] = ContextVar("_group", default=_ALONE)
_shards: ContextVar[_Group] = ContextVar("_shards", default=_ALONE)


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Join the processes that `torchrun` started, within a `with` block; alone where it started one."""
    if not launcher.is_launched():
        yield
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with _noticing():
        dist.init_process_group(backend, timeout=PATIENCE)
        patient = dist.new_group(backend="gloo", timeout=LONG_PATIENCE)
    token = _group.set(_Group(dist.get_rank(), dist.get_world_size(), patient))
    try:
        yield
        dist.destroy_process_group()  # not after an error: it would wait for a process that is lost
    finally:
        _group.reset(token)


@contextlib.contextmanager
def sharded(is_divided: bool = True) -> Iterator[None]:
    """Learn from a part of a batch within a `with` block; from all of it where that is not divided."""
    token = _shards.set(_group.get() if is_divided else _ALONE)
    try:
        yield
    finally:
        _shards.reset(token)


def rank() -> int:
    """Return the number of this process, from 0 on."""
    return _group.get().rank


def count() -> int:
    """Return how many processes train together."""
    return _group.get().count


def is_writer() -> bool:
    """Whether this process is the one that writes files and reports."""
    return rank() == 0


def local_rank() -> int:
    """Return the number of this process among those of its machine, which is that of its device."""
    return int(os.environ["LOCAL_RANK"]) if count() > 1 else 0


def shards() -> int:
    """Return into how many parts the batch at hand is divided: 1 outside of `sharded`."""
    return _shards.get().count


def part(rows: int) -> int:
    """Return how many of so many rows of a whole batch are this process's."""
    return rows // shards()


def shard(tensor: Tensor) -> Tensor:
    """Return this process's rows of the whole batch; (B, …) → (B / N, …)."""
    at = _shards.get()
    return tensor if at.count == 1 else tensor[at.rank :: at.count]


def rows_of(draw: Draw, rows: int) -> Tensor:
    """Draw the random numbers of so many rows of a batch: of those of all ranks, this one's; → (rows, …)."""
    return draw(rows) if shards() == 1 else shard(draw(rows * shards()))


def rand(rows: int, *shape: int, device: Any = None, generator: torch.Generator | None = None) -> Tensor:
    """Draw uniform numbers in [0, 1) for rows of a batch; (rows, *shape)."""
    return rows_of(lambda n: torch.rand(n, *shape, device=device, generator=generator), rows)


def randn(
    rows: int,
    *shape: int,
    device: Any = None,
    dtype: torch.dtype | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw standard normal numbers for rows of a batch; (rows, *shape)."""
    return rows_of(lambda n: torch.randn(n, *shape, device=device, dtype=dtype, generator=generator), rows)


def mean(value: Tensor) -> Tensor:
    """Return the mean over ranks, of one shape on all; (…) → (…).

    Its gradient is that of the mean: what each rank's loss asks for is averaged on the way back.
    """
    return value if shards() == 1 else _Mean.apply(value)


def total(value: Tensor) -> Tensor:
    """Return the sum over ranks; (…) → (…)."""
    return value if shards() == 1 else _reduced(value, dist.ReduceOp.SUM)


def maximum(value: int) -> int:
    """Return the largest of a number that each rank of a divided batch has; the host waits for it."""
    return value if shards() == 1 else _largest(value)


def gather(rows: Tensor) -> Tensor:
    """Return the rows of the whole batch, in its order; (B / N, …) → (B, …).

    A loss of them is that of the whole batch, on every rank, and its gradient reaches each one's own rows.
    """
    return rows if shards() == 1 else _Gather.apply(rows)


def by_rows(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Return a function of rows, each by itself and without chance, to which each process gives its part.

    rows (B, …) → (B, …). A batch that cannot be divided evenly every process gives as a whole.
    """
    if count() == 1 or len(rows) % count():
        return function(rows)
    with sharded():
        return gather(function(shard(rows)))


def average_gradients(gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Return gradients averaged over ranks, in messages of some `MESSAGE_BYTES`, each of one type of number.

    A message is under way while the next one is put together.
    """
    if count() == 1:
        return list(gradients)
    averaged = list(gradients)
    sent: list[tuple[list[int], Tensor, Any]] = []
    with _noticing():
        for places in _messages(gradients):
            flat = torch.cat([gradients[i].reshape(-1) for i in places])  # type: ignore[union-attr]
            sent.append((places, flat, dist.all_reduce(flat, async_op=True)))
        for places, flat, work in sent:
            work.wait()
            parts = flat.div_(count()).split([gradients[i].numel() for i in places])  # type: ignore[union-attr]
            for i, average in zip(places, parts, strict=True):
                averaged[i] = average.view_as(gradients[i])  # type: ignore[arg-type]
    return averaged


def _messages(gradients: Sequence[Tensor | None]) -> list[list[int]]:
    """Return the places of gradients that go in one message, in an order that is the same on all ranks."""
    found: list[list[int]] = []
    open_ones: dict[tuple[torch.dtype, torch.device], tuple[list[int], int]] = {}
    for i, gradient in enumerate(gradients):
        if gradient is None:
            continue
        kind, size = (gradient.dtype, gradient.device), gradient.numel() * gradient.element_size()
        places, filled = open_ones.get(kind, ([], 0))
        if not places or filled + size > MESSAGE_BYTES:
            places, filled = [], 0
            found.append(places)
        places.append(i)
        open_ones[kind] = places, filled + size
    return found


def be_patient() -> None:
    """Wait long for the others from now on within a step, too, as what they compile may take minutes."""
    if count() > 1:
        dist.distributed_c10d._set_pg_timeout(LONG_PATIENCE)


def any_asks(number: int) -> int:
    """Return the largest of a number that each process has, 0 for none; the host waits for the others."""
    return number if count() == 1 else _largest(number)


def averages(values: Sequence[float]) -> list[float]:
    """Return the mean over ranks of each number."""
    if count() == 1:
        return list(values)
    sums = torch.tensor(values, dtype=torch.float64)
    with _noticing():
        dist.all_reduce(sums)
    return (sums / count()).tolist()


def copy_from_writer(tensors: Iterable[Tensor]) -> None:
    """Put the first rank's contents into tensors of the same shapes on all ranks."""
    if count() == 1:
        return
    with _noticing():
        for tensor in tensors:
            whole = tensor.contiguous()
            dist.broadcast(whole, 0)
            if whole is not tensor:
                tensor.copy_(whole)


def share(thing: Any) -> Any:
    """Return the first rank's object, such as a time that it has measured, of kinds that can be pickled."""
    if count() == 1:
        return thing
    box = [thing]
    with _noticing():
        dist.broadcast_object_list(box, 0, device=torch.device("cpu"))
    return box[0]


def wait_for_all() -> None:
    """Wait, perhaps long, until all processes are here."""
    if count() > 1:
        with _noticing():
            dist.barrier(group=_group.get().patient)


def check_same(tensors: Iterable[Tensor], what: str) -> None:
    """Raise UserError where tensors differ between ranks by a single bit."""
    if count() == 1:
        return
    sums = torch.stack([_bits(tensor).sum(dtype=torch.int64).cpu() for tensor in tensors])
    ends = torch.stack([sums, -sums])
    with _noticing():
        dist.all_reduce(ends, dist.ReduceOp.MAX)
    if not torch.equal(ends[0], -ends[1]):
        raise UserError(
            f"{what} have come to differ between the processes, so training has stopped; the same command "
            "goes on from the last checkpoint, also in one process"
        )


def speaks_first() -> bool:
    """Whether this process is the first of all that asks: it says why they end, and the others are silent."""
    if count() == 1:
        return True
    try:
        return dist.distributed_c10d._get_default_store().add("seqgen ends", 1) == 1
    except RuntimeError:  # nobody is left to ask
        return True


def _bits(tensor: Tensor) -> Tensor:
    """Return a tensor's bits as whole numbers."""
    sizes = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.detach().contiguous().view(-1).view(sizes[tensor.element_size()])


def _largest(number: int) -> int:
    found = torch.tensor(number)
    with _noticing():
        dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)


def _reduced(value: Tensor, how: Any) -> Tensor:
    found = value.detach().clone(memory_format=torch.contiguous_format)
    with _noticing():
        dist.all_reduce(found, how)
    return found


class _Mean(torch.autograd.Function):
    """The mean over ranks; the gradient of a rank is the mean of what all ask for."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        ctx.shards = _shards.get()
        exact = value if value.is_floating_point() else value.float()
        return _reduced(exact, dist.ReduceOp.SUM) / ctx.shards.count

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> Tensor:
        with _again(ctx.shards):
            return _Mean.apply(outer)


class _Gather(torch.autograd.Function):
    """The rows of all ranks in the order of the whole batch; the gradient of a rank is that of its rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.shards = _shards.get()
        mine = rows.detach().contiguous()
        parts = [torch.empty_like(mine) for _ in range(ctx.shards.count)]
        with _noticing():
            dist.all_gather(parts, mine)
        return torch.stack(parts, dim=1).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> Tensor:
        with _again(ctx.shards):
            return shard(_Sum.apply(outer))


class _Sum(torch.autograd.Function):
    """The sum over ranks, and so is its gradient."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        ctx.shards = _shards.get()
        return _reduced(value, dist.ReduceOp.SUM)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> Tensor:
        with _again(ctx.shards):
            return _Sum.apply(outer)


@contextlib.contextmanager
def _again(group: _Group) -> Iterator[None]:
    """Be among the same shards as before: the way back may run in a thread of torch's."""
    token = _shards.set(group)
    try:
        yield
    finally:
        _shards.reset(token)


@contextlib.contextmanager
def _noticing() -> Iterator[None]:
    """Raise UserError where another process has ended or does not answer."""
    try:
        yield
    except RuntimeError as error:  # of gloo and NCCL alike, without a class of its own
        raise UserError(
            "another of the processes has ended, or has not answered for so long that this one ends, too; a "
            "training goes on from its last checkpoint by the same command"
        ) from error
