"""`seqgen replay`: train a run again from its configuration."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqgen.cli import common
from seqgen.core.errors import UserError

if TYPE_CHECKING:
    from seqgen.training.job import Job


def replay(
    source: Annotated[
        Path, typer.Argument(metavar="RUN", help="The run, or its config.json, of which no more is needed.")
    ],
    run: Annotated[
        Path | None, typer.Option(help="The folder of the new run; runs/RUN-again if not given.")
    ] = None,
    corpus: Annotated[
        str | None, typer.Option(help="Where its text, or its images, are now, if they have moved.")
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="Where the run that it started from is now, if it has moved.")
    ] = None,
    teacher: Annotated[Path | None, typer.Option(help="Where its teacher is now, if it has moved.")] = None,
    device: common.Device = "auto",
    threads: common.Threads = None,
    compile: common.Compile = False,
    trust: common.Trust = False,
    quiet: common.Quiet = False,
) -> None:
    """Train a run again: the same text or images, settings, seed and length, in a folder of its own.

    On a CPU, with as many threads and the same versions, the weights are the same bit for bit.
    """

    def make() -> "Job":
        from seqgen.training import run_folder

        found = run_folder.open_run(source.parent if source.name == run_folder.CONFIG else source)
        options: dict[str, Any] = {"device_name": device, "compile": compile, "trust": trust}
        if found.config["verb"] == "image":
            if teacher is not None:
                raise UserError("a run on images has no teacher; leave --teacher out")
            from seqgen.image.runs import replay as images

            return images.replay_job(found, run, data=corpus, init=init, **options)
        from seqgen.training import replay as texts

        moved = {"corpus": corpus, "init": init, "teacher": teacher}
        return texts.replay_job(found, run, **moved, **options)

    common.run_job(make, threads=threads, quiet=quiet, then="seqgen report --run {run}")
