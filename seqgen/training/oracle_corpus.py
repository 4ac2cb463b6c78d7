"""The samples of an oracle as a corpus: three splits of sentences of numbers, each token a word."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqgen.algorithms.regularisation import LEAST, decay_for
from seqgen.core import cache
from seqgen.data.corpus import Corpus
from seqgen.data.sentence_store import Store, open_store, write_store
from seqgen.data.splits import HELD_OUT_FRACTION, HELD_OUT_MAX
from seqgen.data.tokenizer import Tokenizer
from seqgen.data.tokenizer_training import numbered_tokenizer
from seqgen.generation import oracles
from seqgen.generation.oracles import FIRST, Oracle

FORMAT = 1
"""Part of every cache key; increase it when the same name gives other sentences."""
CHUNK = 10_000
DROPOUT = 0.55
LR = 0.02
"""Of likelihood training; chosen by fresh samples of oracles (seqgen/bench/README.md has the figures)."""


def open_oracle_corpus(name: str, *, seed: int) -> Corpus:
    """Draw the splits of an oracle's corpus by a seed, or open them from the cache folder.

    Training and validation together have the number of sentences that the name says, 5 % of them for
    validation; the test split has as many, at most 10,000, and is drawn afresh. All are independent draws, so
    nothing is removed. They are drawn on the CPU; another version of torch may draw others.
    """
    spec = oracles.with_seed(oracles.parse(name), seed)
    held_out = min(max(round(HELD_OUT_FRACTION * spec.sentences), 1), HELD_OUT_MAX)
    sizes = {
        "train": spec.sentences - held_out,
        "valid": held_out,
        "test": min(spec.sentences, HELD_OUT_MAX),
    }
    seeds = np.random.SeedSequence(spec.seed).generate_state(len(sizes)).tolist()
    oracle = oracles.load(spec)
    stores = {role: _drawn(oracle, n, own) for (role, n), own in zip(sizes.items(), seeds, strict=True)}
    lines = {role: store.lines for role, store in stores.items()}
    hashes = [each.hash for each in lines.values()]
    return Corpus(
        name=name,
        train=lines["train"],
        valid=lines["valid"],
        test=lines["test"],
        hash=hashlib.sha256(json.dumps(["oracle", FORMAT, *hashes]).encode()).hexdigest(),
        removed={},
        grammar=None,
        fixed_length=spec.length,
    )


def regularised(config: Any, fitted: Any) -> Any:
    """Return fitted settings with the dropout, weight decay and learning rate that an oracle's samples need.

    They are nearly noise, 7.4 nats a token where the vocabulary has 8.5: where text would need some dropout
    they need more, and under it a recurrent language model learns them slowly by the learning rate of text.
    Settings that were given stay.
    """
    generator = getattr(config, "generator", None)  # which an algorithm of the user's may not have
    if generator is None or fitted.generator.dropout <= LEAST:
        return fitted
    more: dict[str, Any] = {}
    if getattr(config, "lr", 0) is None and generator.kind == "rnn":
        more["lr"] = LR
    if generator.dropout is None:
        more["generator"] = replace(fitted.generator, dropout=DROPOUT)
        most_decay = getattr(config, "most_decay", None)  # of algorithms that leave their decay to the text
        if most_decay is not None and config.weight_decay is None:
            more["weight_decay"] = decay_for(DROPOUT, most_decay)
    return replace(fitted, **more)


def oracle_tokenizer(name: str) -> Tokenizer:
    """Return the tokenizer of an oracle's corpus: one id for each of its tokens."""
    return numbered_tokenizer(oracles.load(name).vocab)


def to_lines(tokens: torch.Tensor) -> list[str]:
    """Write samples of an oracle (N, T) as sentences of its numbers."""
    return [" ".join(map(str, row)) for row in (tokens - FIRST).tolist()]


def _drawn(oracle: Oracle, n: int, seed: int) -> Store:
    """Draw n sentences by a seed, a chunk at a time, or open them from the cache."""

    def chunks() -> Iterator[list[str]]:
        for first in range(0, n, CHUNK):
            own = int(np.random.SeedSequence([seed, first]).generate_state(1)[0])
            yield to_lines(oracle.sample(min(CHUNK, n - first), seed=own))

    def fill(folder: Path) -> None:
        write_store(folder, chunks())

    key = json.dumps([FORMAT, _identity(oracle), oracle.spec.length, n, seed, torch.__version__])
    return open_store(cache.entry("oracles", hashlib.sha256(key.encode()).hexdigest(), fill))


def _identity(oracle: Oracle) -> str:
    """Return the SHA-256 of the weights of an oracle, in hex."""
    weights = hashlib.sha256()
    for name, tensor in sorted(oracle.generator.state_dict().items()):
        weights.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return weights.hexdigest()
