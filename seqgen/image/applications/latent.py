"""Latents of images: of a whole split, on a grid, between two images; N latents of Z dimensions."""

import torch
from torch import Tensor

from seqgen.core.errors import UserError
from seqgen.image.data.dataset import Images, in_order
from seqgen.image.runs.load import TrainedImages

CHUNK = 1000
"""Images encoded at a time."""


@torch.no_grad()
def encode_images(trained: TrainedImages, images: Images) -> Tensor:
    """Return the latents of images on the CPU, (N, Z); UserError where the model has no encoder."""
    check_encoder(trained)
    batches = in_order(images, CHUNK, trained.device)
    return torch.cat([trained.model.encode(batch.images, batch.labels).cpu() for batch in batches])


def check_encoder(trained: TrainedImages) -> None:
    """Raise UserError where a model has no encoder."""
    if not hasattr(trained.model, "encode"):
        raise UserError(
            f"run '{trained.run.path}' is a {trained.run.config['algorithm']}, which has no encoder; "
            "use a run of a model that has one, such as a vae"
        )


def prior_grid(side: int) -> Tensor:
    """Return a grid of 2-d latents at even quantiles of the standard normal, row by row; (side², 2).

    Each dimension has the quantiles (i + ½) / side (Kingma and Welling 2014, appendix A); the first one grows
    to the right, the second one upwards.
    """
    quantiles = torch.special.ndtri((torch.arange(side, dtype=torch.float64) + 0.5) / side).float()
    up, right = torch.meshgrid(quantiles.flip(0), quantiles, indexing="ij")
    return torch.stack([right.flatten(), up.flatten()], dim=1)


def interpolate(starts: Tensor, ends: Tensor, points: int) -> Tensor:
    """Interpolate linearly between latents, both ends included; (N, Z), (N, Z) → (N, points, Z)."""
    weights = torch.linspace(0, 1, points, device=starts.device)[:, None]
    return torch.lerp(starts[:, None], ends[:, None], weights)
