"""Whole commands at growing sizes: time and peak memory of each in a process of its own, and how they grow.

| task                 | size      | what is measured                                                       |
|----------------------|-----------|------------------------------------------------------------------------|
| `pretrain, new text` | lines     | a text never seen: reading, splits, tokenizer, token ids, one step     |
| `pretrain, 1 step`   | lines     | the same text again: start, two reports, one step, the run saved       |
| `pretrain, N steps`  | lines     | the same with so many steps                                            |
| `sample`             | sentences | sampling so many to a file                                             |
| `evaluate`           | sentences | as many sentences against as many references                           |
| `evaluate --train`   | sentences | the same with as many training sentences: also real text, the baseline |
| `--help`             |           | the start of a command, the median of several                          |
| `sample, 20`         |           | the same, with a run to load                                           |
| `demo: …`            |           | the trainings of `make demo`, on a cache that is empty                 |
| `synthetic: …`       |           | the SeqGAN paper's task: 10,000 sequences of an oracle, its generator, |
|                      |           | until early stop, then 150 updates with 16 rollouts, then measured     |

The text is made by a built-in grammar. There are a tenth as many sentences to `sample` as lines, and a
hundredth as many to `evaluate`. A row has the `seconds` of the clock, `cpu_seconds` of all threads, which
other work on the machine hardly changes, and `peak_mib`, the largest resident memory, mapped files included.
Growth is the exponent of the size between this size and the one before: 1 is proportional, 0 constant.
"""

import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import seqgen
from seqgen.bench.jobs import Job, Result, run_jobs
from seqgen.core.atomic_files import write_atomic
from seqgen.core.errors import UserError
from seqgen.corpora import load as load_grammar

TASKS = ("pretrain", "sample", "evaluate", "start", "demo", "synthetic")
WHOLE = TASKS[4:]
"""Trainings to their ends, the longest tasks."""
SIZES = (100_000, 1_000_000, 10_000_000)
"""Lines of text."""
STEPS = 1000
QUICK_SIZES, QUICK_STEPS = (5_000, 20_000), 20
OF_SAMPLES, OF_EVALUATION = 10, 100
"""Lines of text for each sentence that is sampled, and that is evaluated."""
LEAST_SENTENCES = 40
"""So many are needed for all intervals of an evaluation."""
STARTS = 5
GRAMMAR = "scenes"
CHUNK = 10_000
"""Lines made at a time, each chunk with a seed of its own, so that a text begins as any longer one does."""
MODEL = "model"
"""The run that is sampled from; steps that it was trained."""
MODEL_STEPS = 200
DEMO = (
    ("demo: pretrain", "pretrain --run runs/demo --epochs 3"),
    ("demo: adversarial", "adversarial --init runs/demo --run runs/demo-gan --steps 800"),
)
"""The trainings of `make demo`."""
SYNTHETIC = (
    (
        "synthetic: pretrain",
        "pretrain --corpus oracle:lstm-0 --run runs/synthetic"
        " --set generator.embedding=32 --set generator.hidden=32",
    ),
    (
        "synthetic: seqgan",
        "adversarial seqgan --init runs/synthetic --run runs/synthetic-gan"
        " --steps 150 --set policy.rollouts=16",
    ),
    ("synthetic: evaluate", "evaluate --run runs/synthetic-gan"),
)
"""The synthetic experiment of Yu et al. 2017, section 5, with an oracle of a seed in the place of theirs."""

Measure = Callable[[Sequence[str], Path, int], Result]
"""Runs `seqgen` with arguments in a folder with so many threads, and returns what it took."""


@dataclass(frozen=True)
class Text:
    """A text made by the grammar: its name, its lines, and the first seed."""

    name: str
    lines: int
    seed: int = 0

    def make(self, folder: Path) -> None:
        """Write it, unless it is there, in the memory of a chunk."""
        path = folder / self.name
        if path.exists():
            return
        grammar = load_grammar(GRAMMAR)

        def write(file: Any) -> None:
            for at in range(0, self.lines, CHUNK):
                made = grammar.sample(min(CHUNK, self.lines - at), self.seed + at // CHUNK)
                file.write("".join(f"{line}\n" for line in made).encode())

        write_atomic(path, write)


@dataclass(frozen=True)
class Task:
    """A command at a size, and what must be there before and what must not."""

    name: str
    arguments: tuple[str, ...]
    size: int | None = None
    texts: tuple[Text, ...] = ()
    removed: tuple[str, ...] = ()
    needs_model: bool = False
    repeats: int = 1

    @property
    def job(self) -> str:
        """The name of its job."""
        plain = "".join(c if c.isalnum() else "-" for c in self.name).strip("-")
        return plain if self.size is None else f"{plain}.{self.size}"


def run(
    folder: Path,
    *,
    sizes: Sequence[int] = SIZES,
    steps: int = STEPS,
    tasks: Sequence[str] = TASKS,
    threads: int = 1,
    notify: Callable[[str], None] = lambda message: None,
    measure: Measure | None = None,
) -> list[Result]:
    """Measure the tasks, or what is left of them, and return a row of each in the order of the table.

    Args:
        folder: of results, texts, runs and a cache of its own; the same arguments go on there.
        sizes: lines of the texts.
        steps: of the longer trainings.
        tasks: some of `TASKS`.
        measure: what runs a command; the real one if not given.

    UserError where a command fails, or the system does not say what a process took.
    """
    ordered = sorted(set(sizes))
    measure = _measure if measure is None else measure
    kinds: dict[str, Iterator[Task]] = {
        "pretrain": _pretrainings(ordered, steps),
        "sample": _samples([max(size // OF_SAMPLES, 1) for size in ordered]),
        "evaluate": _evaluations([max(size // OF_EVALUATION, LEAST_SENTENCES) for size in ordered]),
        "start": _starts(),
        "demo": _one_after_another(DEMO),
        "synthetic": _one_after_another(SYNTHETIC),
    }
    chosen = [task for name in tasks for task in kinds[name]]
    jobs = [Job(task.job, partial(_result, task, folder, threads, measure)) for task in chosen]
    options = {"sizes": ordered, "steps": steps, "threads": threads}
    results = run_jobs(folder, jobs, options, notify=notify)
    rows = [{"task": task.name, "size": task.size} | results[task.job] for task in chosen]
    return _with_growth(rows)


def _pretrainings(sizes: Sequence[int], steps: int) -> Iterator[Task]:
    for size in sizes:
        text = Text(f"text-{size}.txt", size)
        for name, runs, length in (
            ("pretrain, new text", "new", 1),
            ("pretrain, 1 step", "one", 1),
            (f"pretrain, {steps:,} steps", "steps", steps),
        ):
            path = f"runs/{runs}-{size}"
            yield Task(
                name,
                ("pretrain", "--corpus", text.name, "--steps", str(length), "--run", path, "--quiet"),
                size,
                texts=(text,),
                removed=("cache", path) if runs == "new" else (path,),
            )


def _samples(sizes: Sequence[int]) -> Iterator[Task]:
    for size in dict.fromkeys(sizes):
        yield Task(
            "sample",
            ("sample", "--run", f"runs/{MODEL}", "--n", str(size), "--out", "samples.txt", "--quiet"),
            size,
            removed=("samples.txt", "samples.txt.part", "samples.txt.part.json"),
            needs_model=True,
        )


def _evaluations(sizes: Sequence[int]) -> Iterator[Task]:
    for size in dict.fromkeys(sizes):
        texts = [
            Text(f"{role}-{size}.txt", size, 10**6 * n) for n, role in enumerate(("hyp", "ref", "train"), 1)
        ]
        hyp, ref, train = (text.name for text in texts)
        command = ("evaluate", "--hyp", hyp, "--ref", ref, "--quiet")
        yield Task("evaluate", command, size, texts=tuple(texts[:2]))
        yield Task("evaluate --train", (*command, "--train", train), size, texts=tuple(texts))


def _starts() -> Iterator[Task]:
    yield Task("--help", ("--help",), repeats=STARTS)
    arguments = ("sample", "--run", f"runs/{MODEL}", "--n", "20", "--quiet")
    yield Task("sample, 20", arguments, needs_model=True, repeats=STARTS)


def _one_after_another(commands: Sequence[tuple[str, str]]) -> Iterator[Task]:
    """Trainings, and what is done with their runs, from an empty cache on."""
    for i, (name, command) in enumerate(commands):
        arguments = tuple(command.split())
        is_training = arguments[0] != "evaluate"
        made = (arguments[arguments.index("--run") + 1],) if is_training else ()
        yield Task(name, (*arguments, "--quiet"), removed=made if i else ("cache", *made))


def _result(task: Task, folder: Path, threads: int, measure: Measure) -> Result:
    """Prepare a task, unmeasured, and return the medians of what it took."""
    for text in task.texts:
        text.make(folder)
    if task.needs_model and not (folder / "runs" / MODEL).exists():
        _train_model(folder, threads, measure)
    for name in task.removed:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    took = [measure(task.arguments, folder, threads) for _ in range(task.repeats)]
    return {key: statistics.median(each[key] for each in took) for key in took[0]}


def _train_model(folder: Path, threads: int, measure: Measure) -> None:
    draft = folder / "runs" / f"{MODEL}-in-training"
    arguments = ("--corpus", GRAMMAR, "--steps", str(MODEL_STEPS), "--run", f"runs/{draft.name}", "--quiet")
    measure(("pretrain", *arguments), folder, threads)
    draft.rename(folder / "runs" / MODEL)


def _measure(arguments: Sequence[str], folder: Path, threads: int) -> Result:
    """Run `seqgen` in a process of its own; UserError with its last line where it fails."""
    if not hasattr(os, "wait4"):
        raise UserError("this system does not say what a process took; run the benchmark on Linux or macOS")
    many = () if arguments == ("--help",) else ("--threads", str(threads))
    command = [sys.executable, "-P", "-m", "seqgen", *arguments, *many]
    launcher = [sys.executable, "-I", "-S", str(Path(__file__).with_name("child_usage.py"))]
    found = [str(Path(seqgen.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(found),
        "SEQGEN_CACHE": str(folder.resolve() / "cache"),
        "OMP_NUM_THREADS": str(threads),
    }
    with (folder / "errors.txt").open("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            [*launcher, *command],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # so that Ctrl-C ends it once, by what follows
        )
        try:
            took, _ = process.communicate()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        if process.returncode:
            errors.seek(0)
            said = errors.read().strip().splitlines() or ["nothing was said"]
            raise UserError(f"'seqgen {' '.join(arguments)}' failed in '{folder}': {said[-1]}")
    return {key: round(value, 3) for key, value in json.loads(took).items()}


def _with_growth(rows: list[Result]) -> list[Result]:
    """Add to each row how its time and memory have grown since the size before; None at the first."""
    before: dict[str, Result] = {}
    for row in rows:
        smaller = before.get(row["task"]) if row["size"] else None
        for key in ("cpu_seconds", "peak_mib"):
            row[f"{key}_growth"] = None if smaller is None else _exponent(smaller, row, key)
        before[row["task"]] = row
    return rows


def _exponent(smaller: Result, larger: Result, key: str) -> float:
    ratio = math.log(larger["size"] / smaller["size"])
    return round(math.log(larger[key] / smaller[key]) / ratio, 3)


def table(rows: Sequence[Result]) -> str:
    """Lay the rows out."""
    head = ["task", "size", "seconds", "CPU seconds", "peak MiB", "growth of time", "of memory"]
    lines = [head]
    for row in rows:
        growth = [row["cpu_seconds_growth"], row["peak_mib_growth"]]
        lines.append(
            [
                row["task"],
                "" if row["size"] is None else f"{row['size']:,}",
                f"{row['seconds']:.3g}" if row["seconds"] < 100 else f"{row['seconds']:.0f}",
                f"{row['cpu_seconds']:.3g}" if row["cpu_seconds"] < 100 else f"{row['cpu_seconds']:.0f}",
                f"{row['peak_mib']:,.0f}",
                *("" if each is None else f"{each:.2f}" for each in growth),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if not i else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
