"""A trained image run read back: its model with the kept weights, and its images."""

import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from seqgen import image
from seqgen.algorithms import Entry
from seqgen.core import device as devices
from seqgen.core import plugins, settings
from seqgen.core.errors import UserError
from seqgen.core.random_state import apart
from seqgen.image.data.dataset import ImageData, open_images
from seqgen.image.data.pictures import ReadOptions
from seqgen.training import paths, run_config, run_folder
from seqgen.training.run_folder import Run
from seqgen.training.weight_shapes import check_shapes

OPTIONS = ("size", "label_column", "background")
"""How images are read, as a run's configuration says; one of an earlier version says nothing of it."""


@dataclass
class TrainedImages:
    """An image run ready to sample from and to measure."""

    run: Run
    model: Any
    device: torch.device
    moved_data: str | None = None
    """Where the images are now, if they have moved."""

    @property
    def spec(self) -> str:
        """The name or the path of the images that the run was trained on."""
        return self.moved_data or paths.from_store(self.run.config["data"], self.run.path)

    @property
    def names(self) -> list[str]:
        """The names of the labels 0, 1, 2, …"""
        return self.run.config.get("names") or [str(label) for label in range(self.run.config["classes"])]

    @property
    def left_out(self) -> list[int]:
        """The labels that it was trained without."""
        without = self.run.config["without"]
        return without if isinstance(without, list) else [] if without is None else [without]

    @property
    def training_labels(self) -> list[int]:
        """The labels that training images had."""
        return self.run.config["training_labels"]

    @property
    def options(self) -> ReadOptions:
        """How its images are read."""
        return ReadOptions(**{name: self.run.config.get(name) for name in OPTIONS})

    @cached_property
    def data(self) -> ImageData:
        """The images that the run was trained on; UserError where they are gone or have changed."""
        config = self.run.config
        if Path(self.spec).is_absolute() and not Path(self.spec).exists():
            raise UserError(
                f"the images '{self.spec}', which run '{self.run.path}' was trained on, are not there any "
                "more; if they have moved, say where they are now with --run-data"
            )
        opened = open_images(
            self.spec,
            seed=config["seed"],
            without=[self.names[label] for label in self.left_out],
            binarise=config["binarise"],
            options=self.options,
        )
        if opened.hash != config["data_hash"]:
            raise UserError(
                f"the images '{self.spec}' are no longer those that run '{self.run.path}' was trained on; if "
                "those are elsewhere now, name them with --run-data"
            )
        return opened


def load(
    path: Path | str | Run,
    device_name: str = "auto",
    *,
    trust: bool = False,
    given: str | None = None,
    data: str | None = None,
) -> TrainedImages:
    """Read a run back from its folder; UserError where a part is missing, corrupt or of another model.

    Args:
        trust: whether the run may name code outside this package.
        given: a model outside this package that the user has named; the run may name it without `trust`.
        data: where the images of the run are now, if they have moved.
    """
    run = path if isinstance(path, Run) else run_folder.open_run(Path(path))
    if run.config.get("verb") != "image":
        raise UserError(
            f"'{run.path}' is a run on text, not on images; name a run on images with --run, or use: "
            f"seqgen sample --run {shlex.quote(str(run.path))}"
        )
    run_config.require(run.config, run_config.IMAGES, run.path / run_folder.CONFIG)
    entry = entry_of(run, trust=trust, given=given)
    device = devices.pick(device_name)
    check_sizes(run, entry)
    with apart():
        model = build(run.config, entry)
    run_folder.load_into(model, run)
    return TrainedImages(run, model.to(device).eval(), device, data)


def check_sizes(run: Run, entry: Entry) -> None:
    """Raise UserError where the weights of a run of this package's are not those of its configuration."""
    if run.config["algorithm"] in image.MODELS:
        check_shapes(lambda: build(run.config, entry), run)


def entry_of(run: Run, *, trust: bool = False, given: str | None = None) -> Entry:
    """Return the model that a run's configuration names, by the rules of `seqgen.training.load.entry_of`."""
    name = run.config["algorithm"]
    plugins.check_trusted(name, image.MODELS, run.path / run_folder.CONFIG, trust=trust, given=given)
    entry = image.get(name)
    if name not in image.MODELS and not trust:
        plugins.check_unchanged(entry.cls, name, run.config.get("code_hash"), run.path)
    return entry


def build(config: dict[str, Any], entry: Entry) -> Any:
    """Return the model that a run's configuration describes, with fresh weights."""
    values = settings.from_dict(entry.cls.Config, config["settings"])
    model = entry.cls(values, shape=tuple(config["shape"]), classes=config["classes"])
    if values.conditional:
        model.drawn_labels = config["training_labels"]
    return model
