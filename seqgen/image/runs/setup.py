"""From images and settings to a run: what `seqgen image train` does, as functions.

`train` trains to the end and returns the run. `train_job` stops short of training: a `Job` holds everything
ready, so that the command line can show it and draw its progress.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqgen import image
from seqgen.core import device as devices
from seqgen.core import plugins, settings
from seqgen.core.errors import UserError
from seqgen.core.random_state import apart
from seqgen.image.data.dataset import Batch, ImageBatches, ImageData, Images, in_order, open_images
from seqgen.image.data.pictures import ReadOptions
from seqgen.image.networks.networks import NetConfig, Shape
from seqgen.image.runs import load, plots
from seqgen.training import paths, run_folder, time_budget
from seqgen.training.data_config import resolved, short_name
from seqgen.training.job import ROOT, Job, assemble, request
from seqgen.training.loop import Medium
from seqgen.training.run_folder import Run

VALID_BATCH = 500
"""Validation images measured at a time."""
MOST_REPORTS = 40
"""Reports of a training, about, where an epoch is shorter than that."""


def train(
    model: str = "vae",
    data: str = "digits",
    *,
    run: Path | str | None = None,
    device: str = "auto",
    **options: Any,
) -> Run:
    """Train an image model and return its run.

    `run`, its folder, and `device` are the options of the command; the others are those of `train_job`.
    """
    job = train_job(model, data, path=run, device_name=device, **options)
    job.train()
    return job.run


def train_job(
    model: str = "vae",
    data: str = "digits",
    *,
    path: Path | str | None = None,
    init: Path | str | None = None,
    values: Mapping[str, Any] | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    device_name: str = "auto",
    compile: bool = False,
    binarise: str = "none",
    without: int | str | Sequence[int | str] | None = None,
    only: Sequence[int | str] = (),
    size: int | None = None,
    label_column: str | None = None,
    background: str | None = None,
) -> Job:
    """Open the images and build the model with its settings.

    Args:
        model: a name of `seqgen.image.MODELS`, an entry point, or `module:Class`.
        data, binarise, without, only: as for `seqgen.image.data.dataset.open_images`, where data are the
            `spec`.
        size, label_column, background: as for `seqgen.image.data.pictures.ReadOptions`.
        path: the run folder; `runs/image-MODEL-DATA` where not given. An unfinished run there is resumed.
        init: a run on images to start from: its networks, of the same names, that fit.
        values: settings by (dotted) name, over the model's defaults.
        steps: length of training in steps; otherwise `epochs`, otherwise the setting of that name.
        minutes: length of training in minutes, in their place: its first steps are timed, and the number of
            steps is fixed in the configuration of the run, which keeps it when it is resumed.
        compile: let torch compile the networks, where it can here (`seqgen.core.compiled`).

    Raises:
        UserError: the images, a setting or the run folder is not what it must be.
    """
    by_setting = (values or {}).get("epochs")
    time_budget.check(minutes, {"--steps ": steps, "--epochs ": epochs, "--set epochs=": by_setting})
    entry = image.get(model)
    config = settings.override(
        entry.config(), dict(values or {}) | ({} if epochs is None else {"epochs": epochs})
    )
    device = devices.pick(device_name)
    options = ReadOptions(size, label_column, background)
    opened = open_images(data, seed=seed, without=without, only=only, binarise=binarise, options=options)
    given, config = config, config.sized(opened.shape).fitted(opened.train)
    _check(config, opened)

    def begin(algorithm: Any) -> None:
        if start is not None:
            _adopt(algorithm, start)

    start = None if init is None else load.load(Path(init), "cpu")
    if start is not None:
        with apart():
            fresh = entry.cls(config, shape=opened.shape, classes=opened.classes)
        taken = _adopt(fresh, start)
    folder = Path(path) if path else ROOT / f"image-{model.rpartition(':')[2]}-{short_name(data)}"
    config_keys = {
        "verb": "image",
        "algorithm": model,
        "settings": settings.to_dict(config),
        "data": paths.to_store(resolved(data), folder),
        "data_hash": opened.hash,
        "binarise": binarise,
        "without": _recorded(opened.left_out),
        "seed": seed,
        "init": None if init is None else paths.to_store(str(Path(init).resolve()), folder),
        "init_hash": None if start is None else run_folder.weights_hash(start.run.path),
        **asdict(options),
    }
    return assemble(
        request(folder, config_keys, entry.config().sized(opened.shape).fitted(opened.train)),
        config,
        build=lambda described: load.build(described, entry),
        start=begin,
        facts=_facts(opened) | {"code_hash": plugins.source_hash(entry.cls)},
        steps=steps,
        minutes=minutes,
        fewest_steps_between_reports=lambda length: -(-length // MOST_REPORTS),
        batches=ImageBatches(
            opened.train, config.read_size, seed=seed, binarise=binarise == "dynamic", device=device
        ),
        validation=_Validation(opened.valid, device),
        device=device,
        compile=compile,
        medium=Medium("images", _count_images, plots.REPORT_SAMPLES, _sample_writer(config, opened)),
        notes=[
            _describe(opened),
            *_describe_networks(given, config, opened.shape),
            *([] if start is None else [f"start: {', '.join(taken)} of run '{start.run.path}'"]),
        ],
    )


def _sample_writer(config: Any, data: ImageData) -> Callable[[Path, Tensor], None]:
    """Return what writes the samples of a report: a column for each label where they are conditional."""
    labels = _training_labels(data)
    if not config.conditional or not 1 < len(labels) <= plots.MOST_HEADINGS:
        return plots.write_report_samples
    return partial(plots.write_report_samples, headings=[data.names[label] for label in labels])


def _training_labels(data: ImageData) -> list[int]:
    return [label for label in data.train.labels.unique().tolist() if label >= 0]


def _recorded(labels: Sequence[int]) -> int | list[int] | None:
    """Return the labels left out as a run's configuration has them: one alone is a number."""
    return list(labels) if len(labels) > 1 else labels[0] if labels else None


@torch.no_grad()
def _adopt(model: Any, start: load.TrainedImages) -> list[str]:
    """Give a model the networks of a run whose names and shapes are the same; return their names.

    A network is taken over whole or not at all. UserError where none fits.
    """
    mine, theirs = model.state_dict(), start.model.state_dict()
    taken = []
    for network, _ in model.named_children():
        names = [name for name in mine if name.startswith(f"{network}.")]
        same = [name for name in theirs if name.startswith(f"{network}.")]
        if names and names == same and all(mine[name].shape == theirs[name].shape for name in names):
            for name in names:
                mine[name].copy_(theirs[name])
            taken.append(network)
    if not taken:
        raise UserError(
            f"no network of run '{start.run.path}' ({start.run.config['algorithm']}) fits the one to train: "
            "give it the same networks, latent_dim and size of images"
        )
    return taken


def _check(config: Any, data: ImageData) -> None:
    """Raise UserError where a model of these settings cannot learn from these images."""
    if config.conditional and not data.classes:
        raise UserError(f"'{data.name}' has no labels for the model to be conditional on; drop conditional")
    nets = [value for value in vars(config).values() if isinstance(value, NetConfig)]
    if min(config.batch_size, len(data.train)) < 2 and any(net.normalise == "batch" for net in nets):
        raise UserError(
            f"batches of one image ({len(data.train)} for training, batch_size={config.batch_size}) cannot "
            "have batch normalisation; give more images, or set normalise to layer or none"
        )


def _facts(data: ImageData) -> dict[str, Any]:
    """Return the facts about its images that a run's configuration records."""
    return {
        "shape": list(data.shape),
        "classes": data.classes,
        "names": list(data.names),
        "training_labels": _training_labels(data),
        "sizes": {"train": len(data.train), "valid": len(data.valid), "test": len(data.test)},
    }


def _describe(data: ImageData) -> str:
    channels, height, width = data.shape
    sizes = f"{len(data.train):,} training, {len(data.valid):,} validation, {len(data.test):,} test"
    binary = "" if data.binarise == "none" else f", {data.binarise} binarisation"
    facts = f" ({'; '.join(data.facts)})" if data.facts else ""
    return f"data: {data.name}{facts}: {sizes} images of {height}×{width}×{channels}{binary}"


def _describe_networks(given: Any, config: Any, shape: Shape) -> Iterator[str]:
    """Say which networks were chosen by the size of the images, in one line."""
    chosen = {
        name: net
        for name, net in vars(config).items()
        if isinstance(net, NetConfig) and getattr(given, name).kind is None
    }
    if not chosen:
        return
    net = next(iter(chosen.values()))
    is_conv = net.kind == "conv"
    layers = f"{net.depth} convolutions from {net.channels} channels on" if is_conv else f"{net.depth} layers"
    other = "dense" if is_conv else "conv"
    yield (
        f"networks: {net.kind}, {layers}, by the size of the images, {shape[1]}×{shape[2]} ("
        + ", ".join(f"--set {name}.kind={other}" for name in chosen)
        + " to change that)"
    )


def _count_images(batch: Batch) -> int:
    return len(batch.images)


@dataclass(frozen=True)
class _Validation:
    """The validation split as batches on a device; it can be iterated again."""

    images: Images
    device: torch.device

    def __iter__(self) -> Iterator[Batch]:
        return in_order(self.images, VALID_BATCH, self.device)
