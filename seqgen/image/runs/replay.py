"""The training of a run on images once more, from its configuration alone."""

from pathlib import Path

from seqgen.image.runs import load, setup
from seqgen.training import paths, run_config, run_folder
from seqgen.training.job import Job
from seqgen.training.replay import check_is_same, folder_of
from seqgen.training.run_folder import Run


def replay_job(
    source: Run,
    path: Path | str | None = None,
    *,
    data: str | None = None,
    init: Path | str | None = None,
    device_name: str = "auto",
    compile: bool = False,
    trust: bool = False,
) -> Job:
    """Ask for a run on images again: its data, settings, seed and length, in a folder of its own.

    data, init: where the images, and the run to start from, are now, if they have moved; the other arguments
    and the errors are those of `seqgen.training.replay.replay_job`.
    """
    run_config.require(source.config, (*run_config.IMAGES, "steps"), source.path / run_folder.CONFIG)
    load.check_sizes(source, load.entry_of(source, trust=trust))
    config = source.config
    begins = config.get("init") and paths.from_store(config["init"], source.path)
    job = setup.train_job(
        config["algorithm"],
        data or paths.from_store(config["data"], source.path),
        path=folder_of(source, path),
        init=init or begins,
        values=config["settings"],
        steps=config["steps"],
        seed=config["seed"],
        device_name=device_name,
        compile=compile,
        binarise=config["binarise"],
        without=config["without"],
        size=config.get("size"),
        label_column=config.get("label_column"),
        background=config.get("background"),
    )
    check_is_same(source, job)
    return job
