"""Kill commands at random moments and inside their writes, run them again, and compare with undisturbed ones.

    python tests/crash_trials.py --kills 50 --faults 50
    python tests/crash_trials.py pretrain report --kills 3 --faults 3 --seed 7

Each trial begins in an empty folder, with an empty cache. A command is killed (or the disk fails in it) again
and again until it has ended by itself. After each death no file is unreadable and at most one report is lost;
at the end weights, states, reports, samples and outputs are bit for bit those of a run that nobody disturbed,
and no temporary file is left. Prints a line for each command; the exit code is 1 at the first that fails.
"""

import argparse
import dataclasses
import hashlib
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from signal import SIGKILL
from typing import Any

import torch
from faults import KINDS, install
from PIL import Image
from torch import Tensor

from seqgen.cli import main
from seqgen.core.temporary_files import NAMES
from seqgen.corpora import recipes
from seqgen.data.tokenizer import Tokenizer
from seqgen.training import run_folder
from seqgen.training.run_folder import METRICS, STATE, TOKENIZER, WEIGHTS, Run

SENTENCES = "".join(
    f"{who} {does} {where} {n}.\n"
    for n in range(5)
    for who in ("a cat", "two dogs", "the man")
    for does in ("sat", "sleeps", "looks")
    for where in ("here", "by a tree", "at home")
)
SMALL = ["generator.embedding=5", "generator.hidden=7", "batch_size=8", "patience=1000", "report_every=3"]
LATENT = [*SMALL, "encoder.embedding=5", "encoder.hidden=7", "latent_dim=3"]
GAME = ["discriminator_pretraining_steps=2", "batch_size=8", "report_every=2", "patience=1000"]
SEQGAN = [*GAME, "rollouts=2"]
RESIDUAL = ["batch_size=8", "report_every=2", "patience=1000", "cross_fitting=on", "folds=2"]
RESIDUAL += ["held_out_samples=100", "candidates=2"]
RESIDUAL += ["energy.embedding=5", "energy.hidden=6", "energy.heads=2"]
IMAGES = ["batch_size=32", "net.hidden=11", "latent_dim=3", "report_every=3"]
DOWNLOAD = SENTENCES.encode() * 50
START = ["pretrain", "--corpus", "text.txt", "--run", "start", "--steps", 6]


def setting(values: list[str]) -> list[str]:
    return [part for value in values for part in ("--set", value)]


@dataclasses.dataclass
class Trial:
    """A command to disturb, and the run that it needs first."""

    command: list[Any]
    before: list[Any] | None = None
    outputs: tuple[str, ...] = ()
    """Files that are either absent or complete, besides runs."""
    prints: bool = False
    """Whether its standard output is compared, once it has ended by itself."""


TRIALS = {
    "pretrain": Trial(["pretrain", "--corpus", "text.txt", "--run", "r", "--steps", 40, *setting(SMALL)]),
    "pretrain-vae": Trial(
        ["pretrain", "sentence-vae", "--corpus", "text.txt", "--run", "r", "--steps", 20, *setting(LATENT)]
    ),
    "adversarial": Trial(
        ["adversarial", "--init", "start", "--run", "r", "--steps", 10, *setting(RESIDUAL)],
        [*START, *setting(SMALL)],
    ),
    "adversarial-seqgan": Trial(
        ["adversarial", "seqgan", "--init", "start", "--run", "r", "--steps", 8, *setting(SEQGAN)],
        [*START, *setting(SMALL)],
    ),
    "image-train": Trial(["image", "train", "vae", "--run", "r", "--steps", 20, *setting(IMAGES)]),
    "image-left-out": Trial(
        ["image", "left-out", "vae", "--run", "r", "--steps", 4, "--json", *setting(IMAGES)], prints=True
    ),
    "sample": Trial(
        ["sample", "--run", "start", "--n", 4000, "--out", "out.jsonl", "--format", "jsonl"],
        [*START, *setting(SMALL)],
        ("out.jsonl",),
    ),
    "evaluate": Trial(
        ["evaluate", "--run", "start", "--n", 200, "--json", "--plot", "out.png"],
        [*START, *setting(SMALL)],
        ("out.png",),
        prints=True,
    ),
    "report": Trial(
        ["report", "--run", "start", "--n", 60, "--temperatures", "0.7,1"],
        [*START, *setting(SMALL)],
        ("start/report.html",),
    ),
    "fetch": Trial(["corpora", "fetch", "poems", "--out", "data"], None, ("data/poems.txt",)),
}


class Failed(Exception):
    """Something was lost."""


def require(holds: bool, what: str) -> None:
    if not holds:
        raise Failed(what)


class Server(BaseHTTPRequestHandler):
    """Serves the download slowly, in parts where it is asked for them."""

    def do_GET(self) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(DOWNLOAD) - start))
        self.send_header("Content-Range", f"bytes {start}-{len(DOWNLOAD) - 1}/{len(DOWNLOAD)}")
        self.end_headers()
        with suppress(OSError):  # the client has been killed
            for first in range(start, len(DOWNLOAD), 20_000):
                self.wfile.write(DOWNLOAD[first : first + 20_000])
                time.sleep(0.02)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[None]:
    """Serve the file of a recipe on this machine."""
    server = HTTPServer(("127.0.0.1", 0), Server)
    child = os.fork()
    if not child:
        server.serve_forever()
    server.server_close()
    url, digest = f"http://127.0.0.1:{server.server_port}/shi.txt", hashlib.sha256(DOWNLOAD).hexdigest()
    file = recipes.File(url, "poems.txt", len(DOWNLOAD), digest)
    recipes.RECIPES = (dataclasses.replace(recipes.get_recipe("poems"), files=(file,)),)
    try:
        yield
    finally:
        os.kill(child, SIGKILL)
        os.waitpid(child, 0)


def run(
    command: list[Any], folder: Path, *, kill_after: float | None = None, fault: tuple[str, int] = ("", -1)
) -> int:
    """Run a command in a process of its own; return its exit code, or -9 where it was killed.

    It is forked, so that it has imported everything and lives as long as the command. The file `steps` in the
    folder then lists the steps of its writes.
    """
    child = os.fork()
    if not child:
        os.chdir(folder)
        os.environ["SEQGEN_CACHE"] = str(folder / "cache")
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        faults = install(*fault)
        sys.argv = ["seqgen", *map(str, command), *(() if "fetch" in command else ("--threads", "1"))]
        code = 70
        try:
            main.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            sys.stdout.flush()
            (folder / "steps").write_text("".join(faults.steps))
            os._exit(code)
    deadline = None if kill_after is None else time.monotonic() + kill_after
    while True:
        ended, status = os.waitpid(child, 0 if deadline is None else os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if deadline is not None and time.monotonic() > deadline:
            os.kill(child, SIGKILL)
            deadline = None
        time.sleep(0.001)


def runs(folder: Path) -> list[Path]:
    """Find every folder of a run that holds anything."""
    names = {STATE, WEIGHTS, METRICS, TOKENIZER, run_folder.CONFIG}
    return sorted(
        {path.parent for path in folder.rglob("*") if path.name in names and "cache" not in path.parts}
    )


def check(folder: Path, reports: dict[Path, list[int]], outputs: dict[str, bytes | None]) -> None:
    """Raise Failed where a file cannot be read, or more than one report is lost since the last look."""
    for path in runs(folder):
        found = run_folder.open_run(path) if (path / run_folder.CONFIG).exists() else Run(path, {})
        state = run_folder.load_state(found)
        done = state["progress"]["step"] if state else -1
        if (path / WEIGHTS).exists():
            run_folder.load_weights(found)
        if (path / TOKENIZER).exists():
            Tokenizer.load(path / TOKENIZER)
        for sample in (path / "samples").glob("step-*"):
            require(sample.stat().st_size > 0, f"{sample} is empty")
            if sample.suffix == ".png":
                Image.open(sample).load()
        steps = [row["step"] for row in found.metrics()]
        require(
            len([step for step in steps if step > done]) <= 1, f"{path}: reports {steps}, state of {done}"
        )
        kept = [step for step in reports.get(path, []) if step <= done]
        require(steps[: len(kept)] == kept, f"{path}: of the reports {kept} there are {steps}")
        reports[path] = steps
    for name, expected in outputs.items():
        path = folder / name
        require(not path.exists() or path.read_bytes() == expected, f"{name} is half-written")


def plain(value: Any) -> Any:
    """Return a part of a checkpoint or a report as what compares, without times."""
    if isinstance(value, Tensor):
        return value.dtype, value.shape, value.contiguous().flatten().view(torch.uint8).tolist()
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items() if "second" not in str(key)}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def contents(folder: Path, trial: Trial) -> dict[str, Any]:
    """Return everything that a command made, without times and without the names of folders."""
    found: dict[str, Any] = {name: (folder / name).read_bytes() for name in trial.outputs}
    if trial.prints:
        found["stdout"] = (folder / "stdout").read_text().replace(str(folder), "")
    for path in runs(folder):
        name, made = str(path.relative_to(folder)), run_folder.open_run(path)
        found[f"{name}/state"] = plain(run_folder.load_state(made))
        found[f"{name}/metrics"] = plain(made.metrics())
        for file in (path / WEIGHTS, *sorted((path / "samples").iterdir())):
            found[f"{name}/{file.name}"] = file.read_bytes()
    return found


def prepare(folder: Path, trial: Trial) -> None:
    """Make `begin` beside a folder, which holds the text and the run that the command needs."""
    begin = folder.with_name("begin")
    shutil.rmtree(begin, ignore_errors=True)
    begin.mkdir()
    (begin / "text.txt").write_text(SENTENCES)
    if trial.before:
        require(run(trial.before, begin) == 0, (begin / "stderr").read_text())
    shutil.rmtree(begin / "cache", ignore_errors=True)


def begin_again(folder: Path) -> None:
    """Let a folder hold what the command begins with, and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(folder.with_name("begin"), folder, symlinks=True)


def disturb(
    folder: Path, trial: Trial, expected: dict[str, Any], draw: Callable[[], dict[str, Any]], lives: int
) -> list[int]:
    """Run a command, disturbed at most `lives` times, until it ends by itself; return the codes of deaths."""
    begin_again(folder)
    reports: dict[Path, list[int]] = {}
    outputs = {name: expected[name] for name in trial.outputs}
    deaths = []
    for _ in range(lives):
        how = draw()
        code = run(trial.command, folder, **how)
        said = (folder / "stderr").read_text().strip().splitlines()
        require(code in (0, 2, -9), f"{how}: exit code {code}: {said[-3:]}")
        require(code != 2 or said[-1].startswith("seqgen: "), f"{how}: {said[-3:]}")
        check(folder, reports, outputs)
        if code == 0:
            break
        deaths.append(code)
    code = run(trial.command, folder)
    require(code == 0, f"resumed: exit code {code}: {(folder / 'stderr').read_text()[-500:]}")
    found = contents(folder, trial)
    different = [name for name in expected | found if expected.get(name) != found.get(name)]
    require(not different, f"not as without {deaths}: {different}")
    left = [str(path) for path in folder.rglob(NAMES)]
    require(not left, f"left behind: {left}")
    return deaths


def try_command(name: str, folder: Path, kills: int, faults: int, rng: random.Random) -> str:
    """Disturb a command so many times; return what to print."""
    trial = TRIALS[name]
    prepare(folder / "run", trial)
    begin_again(folder / "run")
    started = time.monotonic()
    require(run(trial.command, folder / "run") == 0, (folder / "run/stderr").read_text())
    seconds, steps = time.monotonic() - started, (folder / "run/steps").read_text()
    expected = contents(folder / "run", trial)
    killed = struck = 0
    while killed < kills:
        deaths = disturb(
            folder / "run",
            trial,
            expected,
            lambda: {"kill_after": rng.uniform(0, 1.1) * seconds},
            kills - killed,
        )
        killed += len(deaths)

    def fault() -> dict[str, Any]:
        step = rng.choice(sorted(set(steps)))  # most are writes of a few bytes
        return {"fault": (rng.choice(KINDS), rng.choice([i for i, each in enumerate(steps) if each == step]))}

    while struck < faults:
        struck += max(1, len(disturb(folder / "run", trial, expected, fault, min(3, faults - struck))))
    return (
        f"{name}: {killed} kills within {seconds:.1f} s, {struck} faults within {len(steps)} steps of writes"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commands", nargs="*", help=f"of {', '.join(TRIALS)}; all if none is given")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    given = parse()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as place, serving():
        for each in given.commands or TRIALS:
            try:
                line = try_command(each, Path(place), given.kills, given.faults, random.Random(given.seed))
            except Failed as error:
                sys.exit(f"{each}: {error}")
            print(line, flush=True)  # noqa: T201
