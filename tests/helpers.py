"""What several test files build: small algorithms and generators, sentences, corpora, a killed training."""

import functools
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from seqgen import algorithms
from seqgen.core import device, settings
from seqgen.data.batch import Batch
from seqgen.data.batches import pack
from seqgen.data.tokenizer import EOS, PAD
from seqgen.models.base import KINDS, Generator, GeneratorConfig

V, LENGTH, Z = 13, 7, 3
"""Tokens of the vocabulary, tokens of a sentence at most, dimensions of a latent vector."""

GENERATOR_KINDS = tuple(KINDS)
GENERATORS: dict[str, dict[str, Any]] = {
    "rnn": {"embedding": 5, "hidden": 11},
    "transformer": {"embedding": 5, "hidden": 12, "heads": 3, "expansion": 2},
    "relational-memory": {"embedding": 5, "head_size": 5, "slots": 2},
}
"""Small sizes of each kind of generator."""
SMALL: dict[str, Any] = {
    "generator.dropout": 0.1,
    "encoder.embedding": 5,
    "encoder.hidden": 7,
    "latent_dim": Z,
    "batch_size": 3,
    "discriminator.embedding": 5,
    "discriminator.embeddings": 3,
    "discriminator.hidden": 7,
    "discriminator.projection_dim": 3,
    "energy.embedding": 5,
    "energy.hidden": 6,
    "energy.heads": 3,
    "held_out_samples": 101,
    "candidates": 3,
    "discriminator_pretraining_steps": 1,
    "discriminator_steps": 2,
    "policy.rollouts": 2,
    "policy.entropy_coefficient": 0.1,
    "samples": 5,
    "manager_hidden": 5,
    "goal_embedding": 2,
    "goal_horizon": 3,
    "critic.filters": 3,
    "critic.hidden": 5,
    "critic.pretraining_steps": 1,
    "critic.penalty_every": 2,
}
"""Small sizes of everything else; an algorithm takes those that it has."""


def config(name: str, values: dict[str, Any] | None = None) -> Any:
    """Return the settings of an algorithm with small sizes under the values given."""
    return _config(name, tuple((values or {}).items()))


@functools.cache
def _config(name: str, given: tuple[tuple[str, Any], ...]) -> Any:
    """Cached, as reading the settings' help texts from their source takes longer than a step."""
    values = dict(given)
    default = algorithms.get(name).config()
    kind = values.get("generator.kind", default.generator.kind)
    default = settings.override(default, {"generator.kind": kind})
    known = {key for key, *_ in settings.describe(type(default), default)}
    small = {f"generator.{key}": size for key, size in GENERATORS[kind].items()} | SMALL
    return settings.override(default, {key: size for key, size in small.items() if key in known} | values)


def build(
    name: str,
    values: dict[str, Any] | None = None,
    *,
    seed: int = 0,
    vocab_size: int = V,
    length: int = LENGTH,
) -> Any:
    """Return a small algorithm with fresh weights, ready to step."""
    torch.manual_seed(seed)
    algorithm = algorithms.get(name).cls(config(name, values), vocab_size=vocab_size, length=length)
    algorithm.read_corpus(pack(real_lines(sentences(rows=41, length=length, seed=3, vocab_size=vocab_size))))
    algorithm.configure()
    return algorithm


def examples() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every algorithm of both registries with each of its examples.

    A name that differs from another by its settings alone has the first example only.
    """
    seen = set()
    for name, entry in (algorithms.PRETRAIN | algorithms.ADVERSARIAL).items():
        for values in entry.cls.examples if entry.cls not in seen else entry.cls.examples[:1]:
            yield name, values
        seen.add(entry.cls)


def generator(
    kind: str = "rnn", vocab_size: int = V, *, seed: int = 0, latent_dim: int = 0, **options: Any
) -> Generator:
    """Return a small generator of a kind, without dropout unless the options say otherwise."""
    torch.manual_seed(seed)
    values = GENERATORS[kind] | {"dropout": 0.0} | options
    return GeneratorConfig.of_kind(kind)(kind=kind, **values).build(vocab_size, latent_dim=latent_dim)


def sentences(
    rows: int = 6, length: int = LENGTH, *, seed: int = 1, vocab_size: int = V, shortest: int = 2
) -> Tensor:
    """Draw sentences of `shortest` to `length` tokens, EOS included, of known words; (rows, length)."""
    rng = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, vocab_size, (rows, length), generator=rng)
    for row, end in enumerate(torch.randint(shortest - 1, length, (rows,), generator=rng).tolist()):
        tokens[row, end] = EOS
        tokens[row, end + 1 :] = PAD
    return tokens


def batch(rows: int = 6, length: int = LENGTH, *, seed: int = 1) -> Batch:
    """Draw a batch of such sentences."""
    return Batch(sentences(rows, length, seed=seed))


def chi_square(tokens: Tensor, probs: Tensor) -> float:
    """The p-value of the counts under probs; tokens expected fewer than ten times are one class."""
    counts = torch.bincount(tokens.flatten(), minlength=len(probs)).double()
    expected = probs * tokens.numel()
    rare = expected < 10
    counts = torch.cat((counts[~rare], counts[rare].sum()[None]))
    expected = torch.cat((expected[~rare], expected[rare].sum()[None]))
    counts, expected = counts[expected > 1e-6], expected[expected > 1e-6]
    statistic = ((counts - expected) ** 2 / expected).sum()
    return float(torch.special.gammaincc(torch.tensor((len(counts) - 1) / 2.0), statistic.float() / 2))


def real_lines(tokens: Tensor) -> list[list[int]]:
    """Return sentences (B, T) as lists of ids without their padding."""
    return [[token for token in row if token != PAD] for row in tokens.tolist()]


def padded(tokens: Tensor, more: int = 5) -> Tensor:
    """Add columns of PAD; (B, T) → (B, T + more)."""
    return nn.functional.pad(tokens, (0, more), value=PAD)


def run(algorithm: Any, steps: int = 4, *, given: Batch | None = None, seed: int = 5) -> list[dict[str, Any]]:
    """Step through batches of their own, or one given again and again; return the metrics of each step."""
    torch.manual_seed(seed)
    return [algorithm.step(batch(seed=i) if given is None else given, i / steps) for i in range(steps)]


def weights(module: nn.Module) -> dict[str, Tensor]:
    """Copy a module's parameters, by name."""
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def moved(module: nn.Module, before: dict[str, Tensor]) -> set[str]:
    """Return the names of the parameters that are no longer what they were."""
    return {name for name, parameter in module.named_parameters() if not torch.equal(parameter, before[name])}


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules of one shape have equal parameters."""
    return all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


def all_finite(metrics: dict[str, Any]) -> bool:
    """Whether every metric is a finite number."""
    return all(math.isfinite(float(value)) for value in metrics.values())


def write_lines(path: Path, lines: list[str]) -> str:
    """Write a corpus of one sentence a line; return its path as a user gives it."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def coin_corpus(path: Path, sentences: int = 60) -> str:
    """Write a corpus of sentences of three coins, each with its number, so that none is a duplicate."""
    coins = ("heads", "tails")
    lines = [f"{coins[i % 2]} {coins[i // 2 % 2]} {coins[i // 4 % 2]} {i}" for i in range(sentences)]
    return write_lines(path, lines)


class Killed(BaseException):
    """What `kill_at` raises: nothing that catches an Exception catches it."""


def kill_at(step: int) -> Callable[..., None]:
    """Return an observer of a training that dies after a step as `kill -9` would: nothing after it runs."""

    def observe(progress: Any, report: Any) -> None:
        if progress.step == step and report is None:
            raise Killed

    return observe


class OneDevice(TorchDispatchMode):
    """Fails where an operation sees tensors of two devices: an upload, or a CPU number beside others.

    It also fails where one makes float64 on a kind of device that has none (`device.WITHOUT_FLOAT64`).

    torch's meta device by itself lets both pass, as long as the CPU's tensor is a copy's or has no dimension.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = tree_leaves((args, kwargs or {}))
        devices = {leaf.device.type for leaf in leaves if isinstance(leaf, Tensor)}
        devices |= {leaf.type for leaf in leaves if isinstance(leaf, torch.device)} if len(devices) else set()
        assert len(devices) <= 1, f"{func} of {devices}"
        result = func(*args, **(kwargs or {}))
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        wide = [leaf for leaf in made if leaf.dtype == torch.float64]
        assert not any(leaf.device.type in device.WITHOUT_FLOAT64 for leaf in wide), f"{func} makes float64"
        return result


ORACLE_SIZES = 13, 3, 5
"""V, E and H of small weights of an LSTM oracle."""


def oracle_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """Draw the weights of a small LSTM oracle, by name, as its .npz holds them."""
    v, e, h = ORACLE_SIZES
    rng = np.random.default_rng(seed)
    shapes = {
        "embedding": (v, e),
        "weight_ih": (4 * h, e),
        "weight_hh": (4 * h, h),
        "bias": (4 * h,),
        "output_weight": (h, v),
        "output_bias": (v,),
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def oracle_pickle_list(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Return them as the pickle of the SeqGAN code lists them: embedding, gates i, f, o, c, output."""
    h = ORACLE_SIZES[2]
    listed = [arrays["embedding"]]
    for gate in (0, 1, 3, 2):  # the third gate in torch's order is the cell's, here the last
        part = slice(gate * h, (gate + 1) * h)
        listed += [arrays["weight_ih"][part].T, arrays["weight_hh"][part].T, arrays["bias"][part]]
    return [*listed, arrays["output_weight"], arrays["output_bias"]]


def without_compaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every loop keep what has ended behind a mask, as on an accelerator."""
    for name, module in list(sys.modules.items()):
        if name.startswith("seqgen.") and hasattr(module, "is_host"):
            monkeypatch.setattr(module, "is_host", lambda device: False)


def one_line(err: str) -> bool:
    """Whether a command has printed an error as one line and nothing else."""
    return err.startswith("seqgen: ") and err.count("\n") == 1
