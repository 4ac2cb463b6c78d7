"""Use a trained run from Python: sample, evaluate, score, encode, decode, reconstruct, interpolate."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seqgen.data.sentence_store import Lines
from seqgen.evaluation import text
from seqgen.evaluation.runs import evaluate_run
from seqgen.evaluation.sentence_files import normalise_sentence
from seqgen.inference import latent_space, scoring
from seqgen.inference.conditional import go_on_from, labelled
from seqgen.inference.generate import generate
from seqgen.inference.latent_space import Reconstruction
from seqgen.inference.scoring import Score
from seqgen.inference.sentence import Sentence
from seqgen.training import load
from seqgen.training.load import Trained
from seqgen.training.run_folder import Run


def sample(
    run: Run | Path | str | Trained, n: int = 20, *, device: str = "auto", **options: Any
) -> Iterator[Sentence]:
    """Yield n sentences of a trained run, in constant memory.

    The options are those of `seqgen.inference.generate.generate`: seed, prompt, unique, with_log_prob,
    unknown, candidates, where, steering, infill, labels, temperature, top_k, top_p, min_p, min_length,
    max_length, search (a `seqgen.generation.contrastive_search.ContrastiveSearch`). With `sources`, a list of
    texts to go on from, there are n sentences for each (`seqgen.inference.conditional.go_on_from`). UserError
    if the run cannot be read.
    """
    if (sources := options.pop("sources", None)) is not None:
        yield from go_on_from(_loaded(run, device), _sentences("sources", sources), n, **options)
    else:
        yield from generate(_loaded(run, device), n, **options)


def evaluate(
    run: Run | Path | str | Trained | None = None,
    *,
    hyps: Sequence[str] | None = None,
    refs: Sequence[str] | None = None,
    train: Sequence[str] | None = None,
    device: str = "auto",
    corpus: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Score samples of a run against its test split, or any sentences `hyps` against `refs`.

    Returns the object that `seqgen evaluate --json` prints; its keys are documented in
    `seqgen.evaluation.text`. The options are those of `seqgen.evaluation.runs.evaluate_runs` (n, temperature,
    temperatures, seed, protocol, tokenisation, embeddings, encoder, estimate) for a run, and of
    `seqgen.evaluation.text.evaluate` for sentences. `corpus` says where the text of the run is now, if it has
    moved. UserError if there is nothing to score, TypeError for one string in place of a list of sentences;
    so in the functions below.
    """
    if run is not None:
        return evaluate_run(_loaded(run, device, corpus), **options)
    if hyps is None or refs is None:
        raise TypeError("evaluate() takes a run, or hyps and refs")
    listed = None if train is None else _sentences("train", train)
    return text.evaluate(_sentences("hyps", hyps), _sentences("refs", refs), listed, **options)


def encode(
    run: Run | Path | str | Trained,
    sentences: Sequence[str],
    *,
    label: str | None = None,
    device: str = "auto",
) -> np.ndarray:
    """Return the latents of sentences; float32 (N, Z), in their order.

    `label` is that of the sentences, where those of the run have labels; so in the next functions. UserError
    if the run cannot be read or its algorithm has no latents; so in the next three functions.
    """
    trained = _loaded(run, device)
    return latent_space.encode(trained, _given(trained, "sentences", sentences, label)).numpy()


def decode(
    run: Run | Path | str | Trained, latents: np.ndarray, *, device: str = "auto", **options: Any
) -> list[str]:
    """Decode a sentence from each latent (N, Z), greedily, or sampled at a `temperature` above 0.

    The options are those of `seqgen.inference.latent_space.decode`: temperature, seed, max_length,
    min_length, top_k, top_p, min_p.
    """
    return latent_space.decode(_loaded(run, device), latents, **options)


def reconstruct(
    run: Run | Path | str | Trained,
    sentences: Sequence[str],
    *,
    label: str | None = None,
    device: str = "auto",
    **options: Any,
) -> list[Reconstruction]:
    """Encode and decode sentences; the options are those of `seqgen.inference.latent_space.reconstruct`."""
    trained = _loaded(run, device)
    return latent_space.reconstruct(trained, _given(trained, "sentences", sentences, label), **options)


def interpolate(
    run: Run | Path | str | Trained,
    first: str,
    last: str,
    steps: int = 7,
    *,
    label: str | None = None,
    device: str = "auto",
    **options: Any,
) -> list[str]:
    """Decode the latents between those of two sentences, both ends included.

    The options are those of `seqgen.inference.latent_space.interpolate`: spherical, temperature, seed.
    """
    trained = _loaded(run, device)
    first, last = _given(trained, "first, last", [first, last], label)
    return latent_space.interpolate(trained, first, last, steps, **options)


def score(
    run: Run | Path | str | Trained,
    sentences: Sequence[str],
    *,
    label: str | None = None,
    device: str = "auto",
    **options: Any,
) -> Iterator[Score]:
    """Yield the log-probability and the energy of sentences, if the run has them, in their order.

    Sentences are normalised as `seqgen score` does: Unicode NFC, each run of white space as one space.
    The options are those of `seqgen.inference.scoring.score`: samples, seed.
    """
    trained = _loaded(run, device)
    return scoring.score(trained, _given(trained, "sentences", sentences, label), **options)


def _given(trained: Trained, name: str, sentences: Sequence[str], label: str | None) -> Sequence[str]:
    """Normalise sentences, and put their label before them."""
    listed = _sentences(name, sentences)
    return listed if label is None else labelled(trained, listed, label)


def _sentences(name: str, given: Sequence[str]) -> Sequence[str]:
    """Normalise sentences as the commands do; TypeError for one string: its characters are no sentences."""
    if isinstance(given, Lines):
        return given  # the splits of a corpus have been normalised, and may be larger than the memory
    if isinstance(given, str | bytes):
        raise TypeError(f"{name} is one string; give a list of sentences, as in [{given[:20]!r}]")
    listed = list(given)
    for each in listed:
        if not isinstance(each, str):
            raise TypeError(f"{name} holds {type(each).__name__} {each!r:.40}; give a list of strings")
    return [normalise_sentence(each) for each in listed]


def _loaded(run: Run | Path | str | Trained, device: str, corpus: str | None = None) -> Trained:
    return run if isinstance(run, Trained) else load.load(run, device, corpus=corpus)
