"""Jobs of a benchmark, each with a result file of its own: the same command goes on where it stopped."""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqgen.core.atomic_files import write_text
from seqgen.core.errors import UserError
from seqgen.training.run_folder import locked

OPTIONS = "bench.json"
Result = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A part of a benchmark: its name, which is that of its file, and the function that measures it."""

    name: str
    run: Callable[[], Result]


def run_jobs(
    folder: Path,
    jobs: Sequence[Job],
    options: Mapping[str, Any],
    *,
    notify: Callable[[str], None] = lambda message: None,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, Result]:
    """Run every job that has no result yet, in order; return the results of all, by name.

    A result is written once its job is done, with its CPU seconds as `cpu_seconds`, unless it has its own of
    another process. UserError where the folder holds a benchmark of other options, or another process is at
    work in it, or two jobs have the same name.
    """
    names = Counter(job.name for job in jobs)
    if twice := next((name for name, count in names.items() if count > 1), None):
        raise UserError(
            f"two of the corpora have the same name in the results, as in '{twice}'; give each an --out of "
            "its own"
        )
    with locked(folder):
        _check_options(folder / OPTIONS, options)
        results: dict[str, Result] = {}
        for number, job in enumerate(jobs, 1):
            path = folder / "jobs" / f"{job.name}.json"
            found = _read(path)
            if found is None:
                notify(f"{number}/{len(jobs)} {job.name}")
                start = clock()
                done = job.run()
                found = {"cpu_seconds": round(clock() - start, 2)} | done
                write_text(path, json.dumps(found, indent=1) + "\n")
            results[job.name] = found
        return results


def result(folder: Path, name: str) -> Result:
    """Return the result of a job that has been done."""
    found = _read(folder / "jobs" / f"{name}.json")
    assert found is not None, f"job {name} has no result yet"
    return found


def _read(path: Path) -> Result | None:
    """Return the result in a file; None where there is none, or a damaged one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _check_options(path: Path, options: Mapping[str, Any]) -> None:
    asked = json.loads(json.dumps(dict(options)))
    before = _read(path)
    if before is None:
        write_text(path, json.dumps(asked, indent=1) + "\n")
        return
    for key in sorted({*before, *asked}):
        if before.get(key) != asked.get(key):
            raise UserError(
                f"'{path.parent}' holds a benchmark with {key}={before.get(key)}, not {asked.get(key)}; "
                "name another --out, or delete it"
            )
