"""What one does with a trained run from Python: draw sentences and score them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from seqgen import trained
from seqgen.metrics import evaluation
from seqgen.metrics.runs import evaluate_run
from seqgen.run import Run
from seqgen.trained import Sentence, Trained


def sample(
    run: Run | Path | str | Trained, n: int = 20, *, device: str = "auto", **options: Any
) -> Iterator[Sentence]:
    """Yield n sentences of a trained run, in constant memory.

    The options are those of `seqgen.trained.generate`: seed, prompt, unique, with_log_prob, unknown,
    temperature, top_k, top_p, min_length, length. UserError where the run cannot be read.
    """
    yield from trained.generate(_loaded(run, device), n, **options)


def evaluate(
    run: Run | Path | str | Trained | None = None,
    *,
    hyps: Sequence[str] | None = None,
    refs: Sequence[str] | None = None,
    train: Sequence[str] | None = None,
    device: str = "auto",
    **options: Any,
) -> dict[str, Any]:
    """Score samples of a run against its test split, or any sentences `hyps` against `refs`.

    Returns the object that `seqgen evaluate --json` prints; its keys are documented in
    `seqgen.metrics.evaluation`. The options are those of `seqgen.metrics.runs.evaluate_runs` (n, temperature,
    temperatures, seed, protocol, tokenisation, embeddings, encoder) for a run, and of
    `seqgen.metrics.evaluation.evaluate` for sentences. UserError where there is nothing to score.
    """
    if run is not None:
        return evaluate_run(_loaded(run, device), **options)
    if hyps is None or refs is None:
        raise TypeError("evaluate() takes a run, or hyps and refs")
    return evaluation.evaluate(hyps, refs, train, **options)


def _loaded(run: Run | Path | str | Trained, device: str) -> Trained:
    return run if isinstance(run, Trained) else trained.load(run, device)
