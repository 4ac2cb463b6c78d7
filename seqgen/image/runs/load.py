"""A trained image run read back: its model with the kept weights, and its images."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from seqgen import image
from seqgen.core import device, settings
from seqgen.core.errors import UserError
from seqgen.image.data.dataset import ImageData, open_images
from seqgen.training import run_folder
from seqgen.training.run_folder import Run


@dataclass
class TrainedImages:
    """An image run ready to sample from and to measure."""

    run: Run
    model: Any
    device: torch.device

    @property
    def names(self) -> list[str]:
        """The names of the labels 0, 1, 2, …"""
        return self.run.config.get("names") or [str(label) for label in range(self.run.config["classes"])]

    @property
    def learned(self) -> list[int]:
        """The labels that training images had."""
        config = self.run.config
        return config.get("learned") or [i for i in range(len(self.names)) if i != config["without"]]

    @cached_property
    def data(self) -> ImageData:
        """The images that the run was trained on; UserError where they are gone or have changed."""
        config = self.run.config
        found = open_images(
            config["data"], seed=config["seed"], without=config["without"], binarise=config["binarise"]
        )
        if found.hash != config["data_hash"]:
            raise UserError(
                f"the images '{config['data']}' are no longer those that run '{self.run.path}' was trained on"
            )
        return found


def load(path: Path | str | Run, device_name: str = "auto") -> TrainedImages:
    """Read a run back from its folder; UserError where a part is missing, corrupt or of another model."""
    found = path if isinstance(path, Run) else run_folder.open_run(Path(path))
    if found.config.get("verb") != "image":
        raise UserError(
            f"'{found.path}' is a run on text, not on images; use 'seqgen sample --run {found.path}', "
            "or name a run on images with --run"
        )
    where = device.pick(device_name)
    model = build(found.config)
    run_folder.load_into(model, found)
    return TrainedImages(found, model.to(where).eval(), where)


def build(config: dict[str, Any]) -> Any:
    """Return the model that a run's configuration describes, with fresh weights."""
    cls = image.get(config["algorithm"])
    try:
        channels, height, width = config["shape"]
        classes = config["classes"]
    except (KeyError, ValueError) as error:
        raise UserError(
            f"the run's {run_folder.CONFIG} does not give the images' shape and classes; restore it or train again"
        ) from error
    return cls(
        settings.from_dict(cls.Config, config["settings"]), shape=(channels, height, width), classes=classes
    )
