"""The stream of batches: epochs, lengths, seeds, resuming at any point; and the pass in order."""

import time
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seqgen.data import batches as module
from seqgen.data.batch import Batch, TokensOf
from seqgen.data.batches import Batches, Ids, in_order, pack
from seqgen.data.tokenizer import EOS, PAD


@pytest.fixture(autouse=True)
def _small_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POOL", 5)


def numbered(count: int, seed: int = 0) -> Ids:
    """Sentences of 1 to 13 tokens, each of which begins with a token of its own, 100 + its row."""
    lengths = np.random.default_rng(seed).integers(1, 14, count)
    return pack([100 + row, *[7] * (length - 1), EOS] for row, length in enumerate(lengths))


def first_tokens(batches: list[Tensor]) -> list[int]:
    return [row - 100 for batch in batches for row in batch[:, 0].tolist()]


def take(stream: Batches, count: int) -> list[Tensor]:
    return [batch.tokens for batch in islice(stream, count)]


@pytest.mark.parametrize("count", [1, 2, 3, 97, 105, 109])
@pytest.mark.parametrize("batch_size", [1, 7, 200])
def test_an_epoch_contains_every_sentence_once(count: int, batch_size: int) -> None:
    stream = Batches(numbered(count), batch_size, seed=3)
    assert len(stream) == -(-count // batch_size)
    for epoch in range(3):
        assert stream.epoch == epoch
        batches = take(stream, len(stream))
        assert sorted(first_tokens(batches)) == list(range(count))
        assert sorted(map(len, batches))[1:] == [batch_size] * (len(stream) - 1)


def test_rows_are_the_sentences_padded() -> None:
    ids = numbered(31)
    for batch in take(Batches(ids, 7, seed=0), 9):
        assert batch.dtype == torch.int64
        for row in batch.tolist():
            sentence = ids[row[0] - 100].tolist()
            assert row == sentence + [PAD] * (len(row) - len(sentence))
        assert (batch[:, -1] != PAD).any()


def test_epochs_and_seeds_differ_and_repeat() -> None:
    ids = numbered(97)
    first, second = (
        first_tokens(take(Batches(ids, 7, seed=1), 28)[part]) for part in (slice(14), slice(14, 28))
    )
    assert first != second
    assert first == first_tokens(take(Batches(ids, 7, seed=1), 14))
    assert first != first_tokens(take(Batches(ids, 7, seed=2), 14))


def test_batches_are_bucketed_by_length_and_shuffled() -> None:
    ids = numbered(700)
    stream = Batches(ids, 7, seed=0)
    batches = take(stream, len(stream))
    real = sum(int((batch != PAD).sum()) for batch in batches)
    assert real == len(ids.tokens)
    # In random batches of 7 lengths from 2 to 14, less than 70 % is real; bucketed, more than 85 %.
    assert real / sum(batch.numel() for batch in batches) > 0.85
    widths = [batch.shape[1] for batch in batches]
    assert widths[:5] != sorted(widths[:5])
    assert len({tuple(sorted(first_tokens([batch]))) for batch in batches + take(stream, 100)}) == 200


@pytest.mark.parametrize("done", [0, 1, 4, 5, 13, 14, 15, 37])
def test_a_restored_state_continues_with_the_same_batches(done: int) -> None:
    ids = numbered(97)
    stream = Batches(ids, 7, seed=5)
    take(stream, done)
    state = stream.state_dict()
    expected = take(stream, 31)
    resumed = Batches(ids, 7, seed=5)
    take(resumed, 3)  # what it did before does not matter
    resumed.load_state_dict(state)
    for batch, other in zip(take(resumed, 31), expected, strict=True):
        assert torch.equal(batch, other)
    assert resumed.state_dict() == stream.state_dict()


def test_without_buckets_the_lengths_in_a_batch_are_random() -> None:
    ids = numbered(700)
    stream = Batches(ids, 7, seed=0, bucket_by_length=False)
    batches = take(stream, len(stream))
    assert sorted(first_tokens(batches)) == list(range(700))
    # The longest of 7 random lengths of 2 to 14 is nearly always 10 or more; bucketed, in half the batches.
    assert sum(batch.shape[1] >= 10 for batch in batches) > 90


def test_the_state_is_plain() -> None:
    state = Batches(numbered(11), 7, seed=5).state_dict()
    assert state == {"step": 0, "seed": 5, "sentences": 11, "batch_size": 7, "bucket_by_length": True}


@pytest.mark.parametrize(
    ("count", "batch_size", "options"),
    [
        (12, 7, {"seed": 5}),
        (11, 6, {"seed": 5}),
        (11, 7, {"seed": 6}),
        (11, 7, {"seed": 5, "bucket_by_length": False}),
    ],
)
def test_a_state_of_another_stream_is_refused(count: int, batch_size: int, options: dict) -> None:
    state = Batches(numbered(11), 7, seed=5).state_dict()
    with pytest.raises(ValueError, match=r"the saved batch order has [a-z_]+ \w+, not \w+"):
        Batches(numbered(count), batch_size, **options).load_state_dict(state)


@pytest.mark.parametrize("step", [-1, 2.0, True, "3", None, 10**40])
def test_a_state_that_is_at_no_step_is_refused(step: Any) -> None:
    state = Batches(numbered(11), 7, seed=5).state_dict()
    with pytest.raises(ValueError, match="the saved batch order is at step"):
        Batches(numbered(11), 7, seed=5).load_state_dict(state | {"step": step})


def test_nothing_to_batch_is_an_error() -> None:
    with pytest.raises(ValueError, match="no sentences to make batches of"):
        Batches(pack([]), 7, seed=0)
    with pytest.raises(ValueError, match="a batch size of 0 is too small"):
        Batches(numbered(3), 0, seed=0)


@pytest.mark.parametrize("batch_size", [1, 7, 200])
def test_in_order_gives_every_sentence_once_with_its_row(batch_size: int) -> None:
    ids = numbered(97)
    results = np.zeros(97, int)
    widths = []
    for tokens, rows in in_order(ids, batch_size):
        assert len(tokens) == len(rows) <= batch_size
        results[rows] += tokens[:, 0].numpy()
        widths.append(tokens.shape[1])
    assert results.tolist() == list(range(100, 197))
    assert widths == sorted(widths)
    assert list(in_order(pack([]), 7)) == []


def test_a_batch_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POOL", 100)
    stream = Batches(numbered(64_000), 64, seed=0)
    next(stream)
    times = []
    for _ in range(5):
        begin = time.process_time()
        take(stream, 200)
        times.append((time.process_time() - begin) / 200)
    assert min(times) < 100e-6  # a quarter of that on an idle core


def test_a_batch_carries_its_parts_to_a_device_and_counts_its_sentences() -> None:
    batch = Batch(torch.ones(3, 5), replay=torch.zeros(2, 7))
    assert len(batch) == 3
    there = batch.to("meta")
    assert [part.device.type for part in (there.tokens, there.replay)] == ["meta"] * 2
    assert Batch(torch.ones(3, 5)).to("meta").replay is None
    tokens = TokensOf([batch, Batch(torch.zeros(1, 2))])
    for _ in range(2):  # as often as the batches can be read
        assert [part.shape for part in tokens] == [(3, 5), (1, 2)]
