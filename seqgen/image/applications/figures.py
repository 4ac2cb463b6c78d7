"""Pictures of what a trained model does: samples, reconstructions, denoising, paths between images, codes.

Each function writes one PNG file and returns nothing; `seed` draws the test images and the noise.
"""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seqgen.core.errors import UserError
from seqgen.image.applications import latent
from seqgen.image.applications.latent import check_codes
from seqgen.image.data import files
from seqgen.image.data.dataset import Batch, Images, label_of
from seqgen.image.models.autoencoder import Autoencoder
from seqgen.image.runs import plots
from seqgen.image.runs.load import TrainedImages
from seqgen.inference import projection_2d

ACROSS = 10
"""Images in a row of test images."""
NOISE = 0.3
"""Of denoising by a model that has learned without noise."""


@torch.no_grad()
def samples(
    trained: TrainedImages,
    n: int,
    path: Path,
    *,
    label: int | str | None = None,
    columns: int = plots.COLUMNS,
    seed: int = 0,
) -> None:
    """Draw a grid of n samples, all of one label where given.

    UserError where a label is asked of a model that knows none, or that has no such class.
    """
    rng = torch.Generator(trained.device).manual_seed(seed)
    plots.grid(trained.model.sample(n, labels_of(trained, n, label), rng=rng), columns, path)


def labels_of(trained: TrainedImages, n: int, label: int | str | None) -> Tensor | None:
    """Return one label n times as a conditional model takes it; None where none is asked for."""
    if label is None:
        return None
    if not trained.model.config.conditional:
        raise UserError(
            f"run '{trained.run.path}' knows no labels; drop --label, or train with --set conditional=true"
        )
    number = label_of(label, trained.names)
    if number not in trained.learned:
        raise UserError(f"run '{trained.run.path}' was trained without label {label}; name another")
    return torch.full((n,), number, device=trained.device)


@torch.no_grad()
def sample_files(
    trained: TrainedImages, n: int, folder: Path, *, label: int | str | None = None, seed: int = 0
) -> None:
    """Write n samples as pictures of their own size, 000000.png and on, into a folder.

    UserError where it holds pictures already: those beyond n would pass for samples of this run.
    """
    if folder.is_dir() and files.pictures_in(folder):
        raise UserError(f"'{folder}' holds pictures already; empty it, or give --out another folder")
    rng = torch.Generator(trained.device).manual_seed(seed)
    for first in range(0, n, latent.ROWS):
        some = min(latent.ROWS, n - first)
        images = trained.model.sample(some, labels_of(trained, some, label), rng=rng)
        for i, pixels in enumerate(plots.pixels(images), start=first):
            plots.save(Image.fromarray(pixels), folder / f"{i:06d}.png")


@torch.no_grad()
def reconstructions(trained: TrainedImages, n: int, path: Path, *, seed: int = 0) -> None:
    """Draw n test images, and below each what the model makes of its code."""
    check_codes(trained)
    batch = chosen(trained, n, seed)
    rows = {"original": batch.images, "reconstruction": trained.model.reconstruct(*batch)}
    _in_rows(rows, path)


@torch.no_grad()
def denoised(
    trained: TrainedImages, n: int, path: Path, *, noise: float | None = None, seed: int = 0
) -> None:
    """Draw n test images with noise, what the model makes of them, and without noise.

    `noise` is the standard deviation of each pixel's Gaussian noise, clipped to [0, 1]; where not given the
    one that the model learned with, or 0.3.
    """
    check_codes(trained)
    batch = chosen(trained, n, seed)
    rng = torch.Generator(trained.device).manual_seed(seed)
    learned = trained.model.config.noise if isinstance(trained.model, Autoencoder) else 0.0
    strength = (learned or NOISE) if noise is None else noise
    if not math.isfinite(strength):
        raise UserError(f"--noise {noise} is no strength; give a number such as 0.3")
    drawn = torch.randn(batch.images.shape, generator=rng, device=trained.device)
    noisy = batch._replace(images=(batch.images + strength * drawn).clamp(0, 1))
    rows = {"noisy": noisy.images, "denoised": trained.model.reconstruct(*noisy), "clean": batch.images}
    _in_rows(rows, path)


@torch.no_grad()
def interpolations(
    trained: TrainedImages, path: Path, *, rows: int = 8, points: int = 10, seed: int = 0
) -> None:
    """Draw straight paths between codes, a row each: of two test images, which stand at the row's ends.

    A model without an encoder goes between draws of its prior. Both images of a row have the same label where
    the model is conditional, for the label is no part of the code then.
    """
    model = trained.model
    if hasattr(model, "encode"):
        starts, ends = pairs(trained, rows, seed)
        codes = model.encode(*starts), model.encode(*ends)
        labels = starts.labels
        first, last = starts.images[:, None], ends.images[:, None]
        sides = [first, torch.ones_like(first), torch.ones_like(last), last]
    else:
        rng = torch.Generator(trained.device).manual_seed(seed)
        noise = torch.randn(2, rows, model.config.code, generator=rng, device=trained.device)
        codes = noise[0], noise[1]
        labels = torch.arange(rows, device=trained.device) % max(trained.run.config["classes"], 1)
        sides = []
    between = latent.paths(codes[0], codes[1], points)
    written = model.decode(between.flatten(0, 1), labels.repeat_interleave(points))
    shown = written.view(rows, points, *written.shape[1:])
    shown = torch.cat([*sides[:2], shown, *sides[2:]], dim=1)
    plots.grid(shown.flatten(0, 1), shown.shape[1], path)


@torch.no_grad()
def manifold(trained: TrainedImages, path: Path, *, side: int = 20, label: int | str | None = None) -> None:
    """Draw what a 2-d code writes over the plane, side × side images at even quantiles of the prior.

    Of an autoencoder, which has none, of the Gaussian of its training codes.

    UserError where the code has more units, or fewer.
    """
    width = trained.model.config.code
    if width != 2:
        raise UserError(
            f"run '{trained.run.path}' has a code of {width} units, and a plane has two; "
            "draw its map with --view tsne, or train with --set code=2"
        )
    codes = latent.plane(side).to(trained.device)
    if isinstance(trained.model, Autoencoder):
        codes = trained.model.spread(codes, axes=False)
    if label is None and trained.model.config.conditional:
        label = trained.names[trained.learned[0]]
    images = trained.model.decode(codes, labels_of(trained, len(codes), label))
    # Seamless where images have a margin of their own; the smallest fill their frames.
    plots.grid(images, side, path, gap=images.shape[-1] < 16)


def code_map(
    trained: TrainedImages,
    path: Path,
    *,
    method: projection_2d.Method = "tsne",
    n: int = 2000,
    seed: int = 0,
) -> None:
    """Draw the codes of n test images as points of the plane, coloured by label."""
    images = trained.data.test
    if n < len(images):
        images = images.rows(torch.from_numpy(np.random.default_rng(seed).permutation(len(images))[:n]))
    found = projection_2d.project(latent.encoded(trained, images), method, seed=seed)
    name = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}[method]
    source = f"{trained.run.config['algorithm']} on {Path(trained.data.name).name}"
    title = f"{source}: {name} of {len(images):,} test codes"
    plots.scatter(
        found.points, images.labels.numpy(), path, names=trained.names, title=title, axes=found.axes
    )


def chosen(trained: TrainedImages, n: int, seed: int) -> Batch:
    """Draw n test images, the labels in turn, onto the model's device."""
    images = trained.data.test
    rows = in_turn(images, n, np.random.default_rng(seed))
    return images.batch(torch.from_numpy(rows)).to(trained.device)


def in_turn(images: Images, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw rows of n images: one of each label, then another of each, and so on; no label is one too.

    UserError where there are fewer images.
    """
    if n > len(images):
        raise UserError(f"{n} images are asked for, and the test split has {len(images)}")
    order = rng.permutation(len(images))
    labels = images.labels.numpy()[order]
    # How many of the same label come before each image: all first ones, then all second ones, …
    turn = np.empty(len(order), int)
    for label in np.unique(labels):
        turn[labels == label] = np.arange((labels == label).sum())
    return order[np.lexsort((labels, turn))][:n]


def pairs(trained: TrainedImages, n: int, seed: int) -> tuple[Batch, Batch]:
    """Draw n pairs of test images, of neighbouring labels, or of one label where the model is conditional."""
    images, rng = trained.data.test, np.random.default_rng(seed)
    if not trained.model.config.conditional:
        rows = in_turn(images, 2 * n, rng)
        starts, ends = rows[::2], rows[1::2]
    else:
        starts = in_turn(images, n, rng)
        labels = images.labels.numpy()
        ends = np.array([rng.choice(np.flatnonzero(labels == labels[row])) for row in starts])
    first, second = (images.batch(torch.from_numpy(np.ascontiguousarray(side))) for side in (starts, ends))
    return first.to(trained.device), second.to(trained.device)


def _in_rows(rows: dict[str, Tensor], path: Path) -> None:
    """Write rows of images below each other, ten images at a time, each row with its name."""
    split = [images.split(ACROSS) for images in rows.values()]
    parts = [part for together in zip(*split, strict=True) for part in together]
    across = len(parts[0])
    white = [part.new_ones(across - len(part), *part.shape[1:]) for part in parts]
    images = torch.cat([piece for pair in zip(parts, white, strict=True) for piece in pair])
    plots.grid(images, across, path, captions=list(rows) * len(split[0]))
