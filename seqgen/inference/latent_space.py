"""The latent space of a run: encoding, decoding, reconstruction, interpolation, nearest neighbours.

N sentences or latents z, Z latent dimensions. The latent of a sentence is its posterior mean, so everything
is deterministic but decoding at a temperature above 0.
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
from seqgen.inference.generate import length_limit
from seqgen.training import load, run_folder
from seqgen.training.load import SAMPLE_BATCH, Trained, alone, over_sentences

MAX_SEARCHED = 100_000
"""Training sentences among which neighbours are searched, drawn by the seed."""
FORMAT = 1
"""Part of every cache key; raise it when what is stored changes."""

Metric = Literal["euclidean", "cosine"]


@dataclass(frozen=True)
class Reconstruction:
    """A sentence and the sentence decoded from its latent."""

    text: str
    reconstruction: str
    nll: float
    """-log p(text | z), nats, EOS included."""
    tokens: int
    """Number of tokens of the text, EOS included."""


@dataclass(frozen=True)
class Neighbour:
    """A sentence and the distance of its latent from that of the query."""

    text: str
    distance: float


def has_latents(trained: Trained) -> bool:
    """Whether the algorithm of a run encodes sentences to latents and decodes latents."""
    return getattr(trained.algorithm, "latent", False)


def latent_dim(trained: Trained) -> int:
    """Return the number of latent dimensions of a run."""
    return trained.algorithm.generator.latent_dim


def require_latents(trained: Trained) -> None:
    """Raise UserError, naming the algorithms with latents, for a run of an algorithm without."""
    if has_latents(trained):
        return
    known = (algorithms.PRETRAIN | algorithms.ADVERSARIAL).keys()
    latent = [name for name in known if algorithms.get(name).cls.latent]
    raise UserError(
        f"'{trained.run.path}' is a run of {trained.run.config['algorithm']}, which has no latents; "
        f"name one of {', '.join(latent)} with --run, or train it: 'seqgen pretrain {latent[0]}'"
    )


def encode(trained: Trained, sentences: Sequence[str]) -> Tensor:
    """Return the latent of each sentence, its posterior mean; float32 (N, Z) on the CPU.

    UserError if the algorithm has no latents.
    """
    require_latents(trained)
    latents = over_sentences(trained, sentences, trained.algorithm.encode)
    return latents.float() if len(sentences) else torch.zeros(0, latent_dim(trained))


def decode(
    trained: Trained,
    latents: Tensor | np.ndarray,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    max_length: int | None = None,
    min_length: int = 0,
    **options: Any,
) -> list[str]:
    """Decode a sentence from each latent (N, Z), greedily, or sampled at a temperature above 0.

    `max_length` is the maximum number of tokens, by default that of the longest training sentence; the other
    options are those of `seqgen.generation.sample.sample`. Unknown words are not generated. UserError if the
    algorithm has no latents, for a wrong number of dimensions, or for lengths that contradict each other.
    """
    require_latents(trained)
    z = torch.as_tensor(latents, dtype=torch.float32)
    size = latent_dim(trained)
    if z.dim() != 2 or z.shape[1] != size:
        raise UserError(
            f"the latents of '{trained.run.path}' have {size} dimensions; give an array (N, {size}), "
            f"not {tuple(z.shape)}"
        )
    rng = torch.Generator(trained.device).manual_seed(seed)
    options = {"forbid": (UNK,), "rng": rng, "temperature": temperature, "min_length": min_length} | options
    length = length_limit(trained, max_length, min_length)
    sentences: list[str] = []
    for part in z.split(SAMPLE_BATCH):
        samples = trained.algorithm.decode(part.to(trained.device), length, **options)
        sentences += load.decode(trained.tokenizer, samples.tokens)
    return sentences


def reconstruct(
    trained: Trained, sentences: Sequence[str], *, temperature: float = 0.0, seed: int = 0
) -> list[Reconstruction]:
    """Encode and decode sentences; the options and the errors are those of `decode`."""
    require_latents(trained)
    counts = over_sentences(trained, sentences, lambda tokens: (tokens != PAD).sum(dim=1)).tolist()
    nll = over_sentences(trained, sentences, lambda tokens: reconstruction_nll(trained.algorithm, tokens))
    decoded = decode(trained, encode(trained, sentences), temperature=temperature, seed=seed)
    texts = [alone(trained, line) for line in sentences]
    return [Reconstruction(*each) for each in zip(texts, decoded, nll.tolist(), counts, strict=True)]


def reconstruction_nll(algorithm: Any, tokens: Tensor) -> Tensor:
    """-log p(sentence | z) in nats at the latent z of the sentence, EOS included; (B, T) → (B,)."""
    generator = algorithm.generator
    return -sentence_log_prob(generator, tokens, generator.initial(len(tokens), algorithm.encode(tokens)))


def interpolate_latents(start: Tensor, end: Tensor, steps: int, *, spherical: bool = False) -> Tensor:
    """Return latents at equal steps from one to another, both included; (Z,), (Z,) → (steps, Z).

    Linear interpolation as in Bowman et al. 2016, or `spherical` (Shoemake 1985; White 2016): the direction
    rotates at a constant rate and the norm changes linearly, so that the norm is never smaller than at both
    ends. Spherical interpolation suits samples of a Gaussian prior, whose norms are nearly equal. Posterior
    means are different: on COCO captions, linear interpolation gave sentences with a higher likelihood under
    a language model. UserError for fewer than two steps.
    """
    if steps < 2:
        raise UserError(f"an interpolation has at least 2 steps, not {steps}: it includes both ends")
    weight = torch.linspace(0, 1, steps, dtype=start.dtype)[:, None]
    norms = start.norm(), end.norm()
    if not spherical or min(norms) == 0:
        return torch.lerp(start, end, weight)
    first, last = start / norms[0], end / norms[1]
    angle = torch.arccos((first @ last).clamp(-1, 1))
    if angle.sin() < 1e-3:  # parallel or opposite: no unique plane to rotate in
        return torch.lerp(start, end, weight)
    directions = (((1 - weight) * angle).sin() * first + (weight * angle).sin() * last) / angle.sin()
    return directions * torch.lerp(norms[0], norms[1], weight)


def interpolate(
    trained: Trained,
    first: str,
    last: str,
    steps: int = 7,
    *,
    spherical: bool = False,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """Decode the latents between those of two sentences (`interpolate_latents`).

    The first and the last result are the reconstructions of the two sentences.
    """
    start, end = encode(trained, [first, last])
    latents = interpolate_latents(start, end, steps, spherical=spherical)
    return decode(trained, latents, temperature=temperature, seed=seed)


def nearest(
    latents: np.ndarray, query: np.ndarray, n: int, *, metric: Metric = "euclidean"
) -> tuple[np.ndarray, np.ndarray]:
    """Find the n latents nearest to one, ties in their order; (N, Z), (Z,) → distances (n,), rows (n,).

    `cosine` is one minus the cosine similarity, and 1 for a latent of zeros.
    """
    if metric == "cosine":
        norms = np.linalg.norm(latents, axis=1) * np.linalg.norm(query)
        distances = 1 - latents @ query / np.maximum(norms, np.finfo(np.float32).tiny)
    else:
        distances = np.linalg.norm(latents - query, axis=1)
    candidates = np.argpartition(distances, n - 1)[:n] if n < len(distances) else np.arange(len(distances))
    within = np.flatnonzero(distances <= distances[candidates].max(initial=0.0))
    rows = within[np.argsort(distances[within], kind="stable")][:n]
    return distances[rows], rows


def neighbours(
    trained: Trained, texts: Sequence[str], among: Sequence[str], n: int, *, metric: Metric = "euclidean"
) -> Iterator[list[Neighbour]]:
    """Yield for each text the n distinct sentences whose latents are nearest; UserError without latents.

    The latents of `among` are cached, so that only the first search has to encode them.
    """
    distinct = Lines.from_strings(dict.fromkeys(among))
    latents = cached_latents(trained, distinct)
    for query in encode(trained, texts).numpy():
        distances, rows = nearest(latents, query, n, metric=metric)
        found = [alone(trained, distinct[int(row)]) for row in rows]
        yield [Neighbour(text, float(d)) for text, d in zip(found, distances, strict=True)]


def cached_latents(trained: Trained, lines: Lines) -> np.ndarray:
    """Return the latents of sentences, from the cache if they are in it; float32 (N, Z)."""
    require_latents(trained)
    weights = hashlib.sha256((trained.run.path / run_folder.WEIGHTS).read_bytes()).hexdigest()
    parts = [FORMAT, trained.run.config["algorithm"], weights, trained.tokenizer.to_json(), lines.hash]

    def fill(folder: Path) -> None:
        np.save(folder / "latents.npy", encode(trained, list(lines)).numpy())

    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return np.load(cache.entry("latents", key, fill) / "latents.npy", mmap_mode="r")
