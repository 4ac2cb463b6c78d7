"""`python -m tests.fuzz`: mutated files for every reader, until something else than one line comes of one."""

import argparse
import math
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from .readers import READERS
from .worker import SECONDS, Outcome, work

PATIENCE = 30 * SECONDS
"""Seconds without a word after which a process waits for ever, or is stuck where no signal reaches it."""


def main() -> int:
    """Run cases for some minutes, report each kind of problem once, and keep its input."""
    options = _parse()
    out, deadline = Path(options.out), time.monotonic() + 60 * options.minutes
    counts: Counter[str] = Counter()
    problems: dict[str, str] = {}
    names = options.readers.split(",") if options.readers else list(READERS)
    first = dict.fromkeys(names, options.case or 0)
    end = options.case + 1 if options.case is not None else options.cases
    while time.monotonic() < deadline and min(first.values()) < end:
        with tempfile.TemporaryDirectory(prefix="seqgen-fuzz-") as folder:
            for outcome in _run(Path(folder), first, end, options.seed, deadline):
                first[outcome.reader] = outcome.number + 1
                counts[f"{outcome.reader} {'refused' if outcome.refused else 'read'}"] += 1
                key = f"{outcome.reader}: {outcome.problem}"
                if outcome.problem and _kind(outcome) not in problems:
                    problems[_kind(outcome)] = key
                    _keep(out, outcome, Path(folder), options.seed)
                    _say(f"{key} (case {outcome.number})")
    for name in names:
        _say(f"{name:14} {counts[f'{name} read']:7,} read  {counts[f'{name} refused']:7,} refused")
    _say(f"{sum(counts.values()):,} cases, {len(problems)} problems{f', kept in {out}' if problems else ''}")
    return 1 if problems else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--cases", type=int, default=math.inf, help="Cases of each reader, at most.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", default="", help="Names, separated by commas; all if not given.")
    parser.add_argument("--case", type=int, help="The number of one case, to see it again.")
    parser.add_argument("--out", default="fuzz-problems", help="Where inputs of problems are kept.")
    return parser.parse_args()


def _run(world: Path, first: Mapping[str, int], end: float, seed: int, deadline: float) -> Iterator[Outcome]:
    """Yield the outcomes of a process until the time is over, or it crashed, which is the last outcome."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=work, args=(world, dict(first), end, seed, theirs), daemon=True
    )
    process.start()
    theirs.close()
    current = (next(iter(first)), -1)  # nothing yet: it makes good files
    try:
        while True:
            if not ours.poll(PATIENCE):
                yield Outcome(*current, problem="stuck", details="no signal reaches it")
                return
            message = ours.recv()
            if not isinstance(message, Outcome):
                current = message
                continue
            yield message
            if time.monotonic() >= deadline:
                return
    except EOFError:
        process.join()
        if process.exitcode:
            yield Outcome(*current, problem=f"the process ended with {process.exitcode}")
    finally:
        process.kill()
        process.join()


def _kind(outcome: Outcome) -> str:
    """Return what problems of one cause have in common: the reader, the error, and where it was raised."""
    frames = [line.strip() for line in outcome.details.splitlines() if line.strip().startswith("File ")]
    ours = [frame for frame in frames if "/seqgen/" in frame or "/corpora/" in frame or "/cli/" in frame]
    return f"{outcome.reader} {outcome.problem.split(':')[0]} {(ours or frames or [''])[-1]}"


def _keep(out: Path, outcome: Outcome, world: Path, seed: int) -> None:
    """Copy the input of a problem, with what was said."""
    place = out / f"{outcome.reader}-{seed}-{outcome.number}"
    place.mkdir(parents=True, exist_ok=True)
    case = world / "runs" / "case" / READERS[outcome.reader].file
    if outcome.content or case.exists():
        (place / case.name).write_bytes(outcome.content or case.read_bytes())
    (place / "problem.txt").write_text(
        f"{outcome.problem}\n\n{outcome.details}", encoding="utf-8", errors="replace"
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
