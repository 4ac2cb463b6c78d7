"""Sentences as the codes of a run that has them: encoding, reconstruction, paths between codes, near codes.

N sentences or codes, Z numbers of a code, Q queries. Codes are posterior means, so nothing here is random but
what is decoded at a temperature above 0.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from seqgen import algorithms
from seqgen.core import cache
from seqgen.core.errors import UserError
from seqgen.data.sentence_store import Lines
from seqgen.data.tokenizer import PAD, UNK
from seqgen.generation.sample import sentence_log_prob
from seqgen.training import load, run_folder
from seqgen.training.load import SAMPLE_BATCH, Trained, ids_of, over_sentences

SEARCHED = 100_000
"""Training sentences at most among which neighbours are looked for, drawn by the seed."""
FORMAT = 1
"""Part of every cache key; raise it when what is stored changes."""

Metric = Literal["euclidean", "cosine"]


@dataclass(frozen=True)
class Reconstruction:
    """A sentence and what its code is decoded to."""

    text: str
    reconstruction: str
    cost: float
    """-log p(text | its code), nats, EOS included."""
    tokens: int
    """Of the text, EOS included."""


@dataclass(frozen=True)
class Neighbour:
    """A sentence and how far its code is from that of the query."""

    text: str
    distance: float


def has_codes(found: Trained) -> bool:
    """Whether the algorithm of a run goes from sentences to codes and back."""
    return getattr(found.algorithm, "latent", False)


def check(found: Trained) -> None:
    """Refuse a run of an algorithm without codes; UserError that names the algorithms with."""
    if has_codes(found):
        return
    known = (algorithms.PRETRAIN | algorithms.ADVERSARIAL).keys()
    latent = [name for name in known if getattr(algorithms.get(name), "latent", False)]
    raise UserError(
        f"'{found.run.path}' is a run of {found.run.config['algorithm']}, which has no codes; "
        f"name one of {', '.join(latent)} with --run, or train it: 'seqgen pretrain {latent[0]}'"
    )


def encode(found: Trained, sentences: Sequence[str]) -> Tensor:
    """Return the code of each sentence, its posterior mean; float32 (N, Z) on the CPU.

    UserError where the algorithm has no codes.
    """
    check(found)
    codes = over_sentences(found, sentences, found.algorithm.encode)
    return codes.float() if len(sentences) else torch.zeros(0, found.algorithm.generator.code)


def decode(
    found: Trained,
    codes: Tensor | np.ndarray,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    length: int | None = None,
    **options: Any,
) -> list[str]:
    """Write a sentence of each code (N, Z), greedily, or drawn at a temperature above 0.

    `length` bounds its tokens, by the longest training sentence's if not given; the other options are those
    of `seqgen.generation.sample.sample`. Unknown words are not written. UserError where the algorithm has no codes, or
    the codes are not of its size.
    """
    check(found)
    given = torch.as_tensor(codes, dtype=torch.float32)
    size = found.algorithm.generator.code
    if given.dim() != 2 or given.shape[1] != size:
        raise UserError(
            f"the codes of '{found.run.path}' have {size} numbers; give an array (N, {size}), "
            f"not {tuple(given.shape)}"
        )
    rng = torch.Generator(found.device).manual_seed(seed)
    how = {"forbid": (UNK,), "rng": rng, "temperature": temperature} | options
    written: list[str] = []
    for part in given.split(SAMPLE_BATCH):
        drawn = found.algorithm.decode(part.to(found.device), length or found.run.config["length"], **how)
        written += load.decode(found.tokenizer, drawn.tokens)
    return written


def reconstruct(
    found: Trained, sentences: Sequence[str], *, temperature: float = 0.0, seed: int = 0
) -> list[Reconstruction]:
    """Encode and decode sentences; the options are those of `decode`, its errors as well."""
    check(found)
    counts = over_sentences(found, sentences, lambda tokens: (tokens != PAD).sum(dim=1)).tolist()
    costs = over_sentences(found, sentences, lambda tokens: reconstruction_cost(found.algorithm, tokens))
    written = decode(found, encode(found, sentences), temperature=temperature, seed=seed)
    return [Reconstruction(*each) for each in zip(sentences, written, costs.tolist(), counts, strict=True)]


def reconstruction_cost(algorithm: Any, tokens: Tensor) -> Tensor:
    """-log p(sentence | its code) in nats, EOS included; (B, T) → (B,)."""
    generator = algorithm.generator
    return -sentence_log_prob(generator, tokens, generator.state(algorithm.encode(tokens)))


def path(start: Tensor, end: Tensor, steps: int, *, spherical: bool = False) -> Tensor:
    """Return codes at even steps from one to another, both included; (Z,), (Z,) → (steps, Z).

    A straight line as in Bowman et al. 2016, or `spherical` (Shoemake 1985; White 2016): the direction turns
    at a constant rate and the length changes linearly, so that the way does not come nearer to the origin
    than both ends. That suits draws of a Gaussian prior, which lie about a sphere. Posterior means do not,
    and between those of COCO captions a language model found the sentences on the straight way likelier.
    UserError for fewer than two steps.
    """
    if steps < 2:
        raise UserError(f"{steps} step is no way from one sentence to another; give at least 2 steps")
    share = torch.linspace(0, 1, steps, dtype=start.dtype)[:, None]
    lengths = start.norm(), end.norm()
    if not spherical or min(lengths) == 0:
        return torch.lerp(start, end, share)
    one, other = start / lengths[0], end / lengths[1]
    angle = torch.arccos((one @ other).clamp(-1, 1))
    if angle.sin() < 1e-3:  # no plane to turn in
        return torch.lerp(start, end, share)
    turned = (((1 - share) * angle).sin() * one + (share * angle).sin() * other) / angle.sin()
    return turned * torch.lerp(lengths[0], lengths[1], share)


def interpolate(
    found: Trained,
    first: str,
    last: str,
    steps: int = 7,
    *,
    spherical: bool = False,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """Write the sentences on the way from one to another (`path`); the ends are their reconstructions."""
    start, end = encode(found, [first, last])
    return decode(found, path(start, end, steps, spherical=spherical), temperature=temperature, seed=seed)


def nearest(
    codes: np.ndarray, query: np.ndarray, n: int, *, metric: Metric = "euclidean"
) -> tuple[np.ndarray, np.ndarray]:
    """Find the n codes nearest to one, equal ones in their order; (N, Z), (Z,) → distances (n,), rows (n,).

    `cosine` is one minus the cosine of the angle at the origin, 1 for a code of zeros.
    """
    if metric == "cosine":
        sizes = np.linalg.norm(codes, axis=1) * np.linalg.norm(query)
        distances = 1 - codes @ query / np.maximum(sizes, np.finfo(np.float32).tiny)
    else:
        distances = np.linalg.norm(codes - query, axis=1)
    few = np.argpartition(distances, n - 1)[:n] if n < len(distances) else np.arange(len(distances))
    within = np.flatnonzero(distances <= distances[few].max(initial=0.0))
    rows = within[np.argsort(distances[within], kind="stable")][:n]
    return distances[rows], rows


def neighbours(
    found: Trained, texts: Sequence[str], among: Sequence[str], n: int, *, metric: Metric = "euclidean"
) -> Iterator[list[Neighbour]]:
    """Yield for each text the n different sentences whose codes are nearest; UserError without codes.

    The codes of `among` are kept in the cache, so that only the first search takes the time to encode them.
    """
    different = Lines.from_strings(dict.fromkeys(among))
    codes = kept_codes(found, different)
    for query in encode(found, texts).numpy():
        distances, rows = nearest(codes, query, n, metric=metric)
        yield [Neighbour(different[int(row)], float(d)) for row, d in zip(rows, distances, strict=True)]


def kept_codes(found: Trained, lines: Lines) -> np.ndarray:
    """Return the codes of sentences by way of the cache; float32 (N, Z)."""
    check(found)
    weights = hashlib.sha256((found.run.path / run_folder.WEIGHTS).read_bytes()).hexdigest()
    parts = [FORMAT, found.run.config["algorithm"], weights, found.tokenizer.to_json(), lines.hash]

    def fill(folder: Path) -> None:
        np.save(folder / "codes.npy", encode(found, list(lines)).numpy())

    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return np.load(cache.entry("codes", key, fill) / "codes.npy", mmap_mode="r")


def unknown_words(found: Trained, text: str) -> int:
    """Count the tokens of a text that the run has never seen, and so cannot encode or write."""
    return ids_of(found, [text]).unknown
