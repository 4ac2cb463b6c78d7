"""What making batches costs a step of `seqgen pretrain`'s defaults, beside torch's own loader."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from seqgen import algorithms
from seqgen.bench.default_step import PROGRESS
from seqgen.bench.speed import device_clock
from seqgen.bench.timing import Clock, Row, interleaved
from seqgen.core import settings
from seqgen.corpora import load
from seqgen.data.batch import Batch
from seqgen.data.batches import POOL, Batches, Ids, pack
from seqgen.data.tokenizer import EOS, PAD

FEW, MANY = 57_000, 1_000_000
"""Sentences: the training split of `scenes`, and a text that the processor's caches cannot hold."""
BATCH = 64


def run(
    device: torch.device,
    sizes: tuple[int, int] = (FEW, MANY),
    *,
    repeats: int = 5,
    clock: Clock | None = None,
) -> list[Row]:
    """Time a step with its batch, beside the same with torch's loader; the floor is a step less its batch.

    So what is missing in the fraction of the floor is the share of a step that is making its batch.
    """
    few, many = sizes
    texts = {"scenes": scenes(few), f"{many:,} lines": random_text(many)}
    clock = clock or device_clock(device)
    return [_row(name, ids, device, repeats, clock) for name, ids in texts.items()]


def scenes(sentences: int) -> Ids:
    """Return sentences of the built-in corpus, a number for each word in the order of their first use."""
    numbers: dict[str, int] = {}
    lines = [line.split() for line in load("scenes").sample(sentences, seed=0)]
    return pack([[numbers.setdefault(w, EOS + 1 + len(numbers)) for w in line] + [EOS] for line in lines])


def random_text(sentences: int, *, vocab: int = 1_872, shortest: int = 7, longest: int = 17) -> Ids:
    """Return random sentences like captions, EOS included."""
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(shortest, longest + 1, sentences))])
    tokens = rng.integers(EOS + 1, vocab, offsets[-1], dtype=np.uint16)
    tokens[offsets[1:] - 1] = EOS
    return Ids(tokens, offsets, truncated=0, unknown=0)


def _row(name: str, ids: Ids, device: torch.device, repeats: int, clock: Clock) -> Row:
    torch.manual_seed(0)
    vocab, length = int(ids.tokens.max()) + 1, int(ids.lengths().max())
    entry = algorithms.get("mle")
    config = settings.override(entry.config(), {"generator.dropout": 0.1})
    learner = entry.cls(config, vocab_size=vocab, length=length).to(device)
    learner.configure()
    ours, alone, plain = Batches(ids, BATCH, seed=0), Batches(ids, BATCH, seed=1), plain_batches(ids)
    timings = interleaved(
        {
            "naive": (lambda: learner.step(Batch(next(plain)).to(device), PROGRESS), 10),
            "ours": (lambda: learner.step(next(ours).to(device), PROGRESS), 10),
            "batch": (lambda: next(alone), POOL),
        },
        repeats=2 * repeats,
        clock=clock,
    )
    without = timings["ours"].median - timings["batch"].median
    return Row(f"step with its batch, {name}", "batches", 1, timings["naive"], timings["ours"], without)


class _Sentences(Dataset[Tensor]):
    """Sentences one by one, as torch's loader asks for them."""

    def __init__(self, ids: Ids) -> None:
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(self.ids[index].astype(np.int64))


def plain_batches(ids: Ids) -> Iterator[Tensor]:
    """Yield shuffled batches (B, T) of torch's loader without end, epoch after epoch."""

    def padded(sentences: Sequence[Tensor]) -> Tensor:
        return pad_sequence(list(sentences), batch_first=True, padding_value=PAD)

    loader = DataLoader(_Sentences(ids), BATCH, shuffle=True, collate_fn=padded)
    while True:
        yield from loader
