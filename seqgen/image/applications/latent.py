"""Codes of images: of many images, over the plane, on the way from one to another; N codes of Z units."""

import torch
from torch import Tensor

from seqgen.core.errors import UserError
from seqgen.image.data.dataset import Images, in_order
from seqgen.image.runs.load import TrainedImages

ROWS = 1000
"""Images encoded at a time."""


@torch.no_grad()
def encoded(trained: TrainedImages, images: Images) -> Tensor:
    """Return the codes of images on the CPU, (N, Z); UserError where the model has none."""
    check_codes(trained)
    batches = in_order(images, ROWS, trained.device)
    return torch.cat([trained.model.encode(batch.images, batch.labels).cpu() for batch in batches])


def check_codes(trained: TrainedImages) -> None:
    """Raise UserError where a model reads no codes off images."""
    if not hasattr(trained.model, "encode"):
        kind = trained.run.config["algorithm"]
        raise UserError(
            f"run '{trained.run.path}' is a {kind}, which makes images of codes and no codes of images; "
            "take a run that does both, such as a vae"
        )


def plane(side: int) -> Tensor:
    """Return the 2-d codes that divide the standard normal evenly, in reading order; (side², 2).

    Each unit takes its quantiles (i + ½) / side (Kingma and Welling 2014, appendix A); the first unit grows
    to the right, the second upwards.
    """
    quantiles = torch.special.ndtri((torch.arange(side, dtype=torch.float64) + 0.5) / side).float()
    up, right = torch.meshgrid(quantiles.flip(0), quantiles, indexing="ij")
    return torch.stack([right.flatten(), up.flatten()], dim=1)


def paths(starts: Tensor, ends: Tensor, points: int) -> Tensor:
    """Return straight paths between codes, both ends among the points; (N, Z), (N, Z) → (N, points, Z)."""
    weights = torch.linspace(0, 1, points, device=starts.device)[:, None]
    return torch.lerp(starts[:, None], ends[:, None], weights)
