"""Measure the memory, the open files and the disk of trainings of 10,000 steps.

    python tests/endurance.py --steps 10000 --every 1000
    python tests/endurance.py mle --steps 2000 --every 500

Trains small models, with a report every 100 steps, and prints for each of them the resident memory, the open
files, and the bytes of the run folder along the way. `tests/training/test_endurance.py` measures less long.
"""

import argparse
import gc
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from helpers import coin_corpus

from seqgen.cli.progress import Display
from seqgen.image.runs.setup import train_job
from seqgen.training.job import Job
from seqgen.training.run_folder import STATE, WEIGHTS
from seqgen.training.setup import DataConfig, adversarial_job, pretrain_job

SMALL = {"generator.embedding": 5, "generator.hidden": 7, "batch_size": 8, "report_every": 100}
LONG = {"patience": None}
GAME = {"rollouts": 2, "batch_size": 4, "report_every": 100, "discriminator_pretraining_steps": 1} | LONG
IMAGES = {"batch_size": 16, "net.hidden": 11, "latent_dim": 3, "report_every": 100} | LONG


@dataclass(frozen=True)
class Reading:
    """What a training held and had written at a step."""

    step: int
    memory: int
    """Resident bytes."""
    tensors: int
    """Living tensors."""
    files: int
    """Open files."""
    checkpoint: int
    """Bytes of the state and the weights on disk."""
    samples: int
    """Bytes of the samples."""
    logs: int
    """Bytes of all else in the run folder: the reports, as lines and as TensorBoard's events."""


def read(step: int, folder: Path) -> Reading:
    """Measure this process, and the run in a folder."""
    gc.collect()
    tensors = sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    samples = sum(size for path, size in sizes.items() if path.parent.name == "samples")
    checkpoint = sum(sizes[folder / name] for name in (STATE, WEIGHTS))
    logs = sum(sizes.values()) - samples - checkpoint
    files = len(os.listdir("/proc/self/fd"))
    return Reading(step, pages * os.sysconf("SC_PAGE_SIZE"), tensors, files, checkpoint, samples, logs)


def train(job: Job, every: int) -> list[Reading]:
    """Train, with the display of the command line, and measure every so many steps."""
    readings = []
    display = Display(job.run, job.plan, quiet=True)

    def observe(progress: Any, report: Any) -> None:
        display(progress, report)
        if progress.step % every == 0 and progress.step:
            readings.append(read(progress.step, job.run.path))

    job.train(observe)
    display.close()
    return readings


def trainings(folder: Path, steps: int) -> Iterator[tuple[str, Callable[[], Job]]]:
    """Yield trainings of so many steps in a folder, by name, each to be made when the one before is done."""
    data = DataConfig(corpus=coin_corpus(folder / "coins.txt"), min_count=1)
    values = SMALL | LONG
    yield (
        "mle",
        lambda: pretrain_job(data, path=folder / "mle", steps=steps, values=values, device_name="cpu"),
    )
    yield (
        "seqgan",
        lambda: adversarial_job(
            folder / "mle", "seqgan", path=folder / "gan", steps=steps, values=GAME, device_name="cpu"
        ),
    )
    yield "vae", lambda: train_job("vae", path=folder / "vae", steps=steps, values=IMAGES, device_name="cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", help="of mle, seqgan (which starts from it) and vae; all if none is given"
    )
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=1_000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        os.environ["SEQGEN_CACHE"] = str(Path(place) / "cache")
        for name, make in trainings(Path(place), given.steps):
            if given.names and name not in given.names:
                continue
            for each in train(make(), given.every):
                held = (
                    f"memory {each.memory / 2**20:.1f} MiB, {each.tensors} tensors, {each.files} open files"
                )
                sizes = (each.checkpoint, each.samples, each.logs)
                disk = "checkpoint {:.0f}, samples {:.0f}, logs {:.0f} KiB".format(
                    *(size / 2**10 for size in sizes)
                )
                sys.stdout.write(f"{name:8} step {each.step:6,}: {held}, {disk}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
