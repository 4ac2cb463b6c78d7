"""Figures of a trained model: samples, reconstructions, denoising, interpolations, the latent space.

Each function writes one PNG file and returns nothing; `seed` is that of the test images and the noise.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seqgen.core.errors import UserError
from seqgen.image.applications import latent
from seqgen.image.applications.latent import check_encoder
from seqgen.image.data import folders
from seqgen.image.data.dataset import Batch, Images, label_of
from seqgen.image.models.autoencoder import Autoencoder
from seqgen.image.models.base import cycle_labels
from seqgen.image.runs import plots
from seqgen.image.runs.load import TrainedImages
from seqgen.inference import projection_2d

IMAGES_IN_ROW = 10
"""Test images in a row."""
REACH = 3.0
"""Standard deviations of the prior that a traversal of a dimension goes to."""
DEFAULT_NOISE = 0.3
"""Standard deviation of the noise for a model that was trained without noise."""


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
    """Draw a grid of n samples; of a conditional model with the name of the label beside each row.

    All are of one label where given, else as many of each as can be, in rows of their own.

    UserError where a label is given to an unconditional model, or there is no such label.
    """
    rng = torch.Generator(trained.device).manual_seed(seed)
    labels = repeat_label(trained, n, label)
    if not trained.model.config.conditional:
        plots.grid(trained.model.sample(n, None, rng=rng), columns, path)
        return
    if labels is None:
        labels = cycle_labels(n, trained.training_labels, trained.device)
        assert labels is not None, "a conditional model has labels"
    images = trained.model.sample(n, labels, rng=rng)
    rows, captions = [], []
    for value in labels.unique().tolist():  # sorted
        for part in images[labels == value].split(columns):
            rows.append(part)
            captions.append(trained.names[value])
    width = max(map(len, rows))
    plots.grid(torch.cat([_filled_up(row, width) for row in rows]), width, path, captions=captions)


def _filled_up(images: Tensor, n: int) -> Tensor:
    """Add white images behind some, so that there are n; (N, C, H, W) → (n, C, H, W)."""
    return torch.cat([images, images.new_ones(n - len(images), *images.shape[1:])])


def repeat_label(trained: TrainedImages, n: int, label: int | str | None) -> Tensor | None:
    """Return one label n times as a conditional model takes it; None where no label is given."""
    if label is None:
        return None
    if not trained.model.config.conditional:
        raise UserError(
            f"run '{trained.run.path}' is not conditional; drop --label, or train with --set conditional=true"
        )
    number = label_of(label, trained.names)
    if number not in trained.training_labels:
        raise UserError(f"run '{trained.run.path}' was trained without label {label}; name another")
    return torch.full((n,), number, device=trained.device)


@torch.no_grad()
def sample_files(
    trained: TrainedImages, n: int, folder: Path, *, label: int | str | None = None, seed: int = 0
) -> None:
    """Write n samples as pictures of their own size, 000000.png and on, into a folder.

    UserError where it holds pictures already: they would be mixed with the samples.
    """
    if folder.is_dir() and folders.pictures_in(folder):
        raise UserError(f"'{folder}' holds pictures already; empty it, or give --out another folder")
    rng = torch.Generator(trained.device).manual_seed(seed)
    for first in range(0, n, latent.CHUNK):
        size = min(latent.CHUNK, n - first)
        images = trained.model.sample(size, repeat_label(trained, size, label), rng=rng)
        for i, pixels in enumerate(plots.pixels(images), start=first):
            plots.save(Image.fromarray(pixels), folder / f"{i:06d}.png")


@torch.no_grad()
def reconstructions(trained: TrainedImages, n: int, path: Path, *, seed: int = 0) -> None:
    """Draw n test images, and below each its reconstruction."""
    check_encoder(trained)
    batch = test_batch(trained, n, seed)
    rows = {"original": batch.images, "reconstruction": trained.model.reconstruct(*batch)}
    _draw_rows(rows, path)


@torch.no_grad()
def denoised(
    trained: TrainedImages, n: int, path: Path, *, noise: float | None = None, seed: int = 0
) -> None:
    """Draw n test images with noise, their reconstructions, and the images without noise.

    `noise` is the standard deviation of each pixel's Gaussian noise, and noisy images are clipped to [0, 1];
    where not given the one that the model was trained with, or 0.3.
    """
    check_encoder(trained)
    batch = test_batch(trained, n, seed)
    rng = torch.Generator(trained.device).manual_seed(seed)
    in_training = getattr(trained.model.config, "noise_std", 0.0)
    std = (in_training or DEFAULT_NOISE) if noise is None else noise
    if not math.isfinite(std):
        raise UserError(f"--noise {noise} is not a standard deviation; give a number such as 0.3")
    normal = torch.randn(batch.images.shape, generator=rng, device=trained.device)
    noisy = batch._replace(images=(batch.images + std * normal).clamp(0, 1))
    rows = {"noisy": noisy.images, "denoised": trained.model.reconstruct(*noisy), "clean": batch.images}
    _draw_rows(rows, path)


@torch.no_grad()
def interpolations(
    trained: TrainedImages, path: Path, *, rows: int = 8, points: int = 10, seed: int = 0
) -> None:
    """Draw linear interpolations between latents, a row each: of two test images, which stand at its ends.

    A model without an encoder interpolates between draws of its prior. Both images of a row have the same
    label where the model is conditional, because the latent does not contain the label then.
    """
    model = trained.model
    if not hasattr(model, "encode"):
        rng = torch.Generator(trained.device).manual_seed(seed)
        starts, ends = torch.randn(2, rows, model.config.latent_dim, generator=rng, device=trained.device)
        labels = cycle_labels(rows, trained.training_labels or [0], trained.device)
        assert labels is not None
        images = _decode_between(trained, starts, ends, labels, points)
    else:
        first, last = image_pairs(trained, rows, seed)
        labels = first.labels
        between = _decode_between(trained, model.encode(*first), model.encode(*last), first.labels, points)
        left, right = first.images[:, None], last.images[:, None]
        white = torch.ones_like(left)
        images = torch.cat([left, white, between, white, right], dim=1)
    named = [trained.names[label] for label in labels.tolist()] if model.config.conditional else []
    plots.grid(images.flatten(0, 1), images.shape[1], path, captions=named)


def _decode_between(
    trained: TrainedImages, starts: Tensor, ends: Tensor, labels: Tensor, points: int
) -> Tensor:
    """Return the images of interpolated latents; (N, Z), (N, Z), (N,) → (N, points, C, H, W)."""
    latents = latent.interpolate(starts, ends, points)
    images = trained.model.decode(latents.flatten(0, 1), labels.repeat_interleave(points))
    return images.unflatten(0, (len(starts), points))


@torch.no_grad()
def traversals(
    trained: TrainedImages, path: Path, *, dimensions: int = 10, points: int = 9, seed: int = 0
) -> None:
    """Draw what one latent dimension at a time changes, a row each, from -3 to 3 standard deviations.

    The other dimensions stay those of a random test image, or at the mean of the prior where the model has no
    encoder. The dimensions whose latents vary most over test images come first.
    """
    model = trained.model
    total = model.config.latent_dim
    if hasattr(model, "encode"):
        start = test_batch(trained, 1, seed)
        base, label = model.encode(*start)[0], start.labels
        spread = latent.encode_images(trained, trained.data.test).var(dim=0)
        chosen = spread.argsort(descending=True, stable=True)[:dimensions].tolist()
    else:
        base = model.prior(torch.zeros(1, total, device=trained.device))[0]
        chosen = list(range(min(dimensions, total)))
        label = torch.tensor(trained.training_labels[:1] or [-1], device=trained.device)
    steps = torch.linspace(-REACH, REACH, points, device=trained.device)
    moved = _independent_prior(model, steps[:, None].expand(points, total))
    latents = base.repeat(len(chosen), points, 1)
    for row, dimension in enumerate(chosen):
        latents[row, :, dimension] = moved[:, dimension]
    flat = latents.flatten(0, 1)
    images = model.decode(flat, label.expand(len(flat)))
    plots.grid(images, points, path, captions=[f"z {dimension}" for dimension in chosen])


def _independent_prior(model: Any, noise: Tensor) -> Tensor:
    """Return latents of standard normal noise, every dimension by itself; (N, Z) → (N, Z)."""
    return model.prior(noise, correlated=False) if isinstance(model, Autoencoder) else model.prior(noise)


@torch.no_grad()
def activations(trained: TrainedImages, path: Path, *, n: int = 3, seed: int = 0) -> None:
    """Draw n test images, and beside each a bar chart of its latent: the activation of each dimension."""
    check_encoder(trained)
    batch = test_batch(trained, n, seed)
    latents = trained.model.encode(*batch).cpu().numpy()
    plots.bars(batch.images, latents, path, title=_title(trained, "latents of test images"))


def _title(trained: TrainedImages, what: str) -> str:
    return f"{trained.run.config['algorithm']} on {Path(trained.data.name).name}: {what}"


@torch.no_grad()
def manifold(trained: TrainedImages, path: Path, *, side: int = 20, label: int | str | None = None) -> None:
    """Draw the decoded images of a 2-d latent space, side × side of them at even quantiles of the prior.

    An autoencoder has no prior; its latents are those of the Gaussian of the training latents.

    UserError where the latent space has not two dimensions.
    """
    dimensions = trained.model.config.latent_dim
    if dimensions != 2:
        raise UserError(
            f"run '{trained.run.path}' has {dimensions} latent dimensions, and a plane has two; "
            "draw its map with --view tsne, or train with --set latent_dim=2"
        )
    latents = latent.prior_grid(side).to(trained.device)
    latents = _independent_prior(trained.model, latents)
    captions: list[str] = []
    if trained.model.config.conditional:
        label = trained.names[trained.training_labels[0]] if label is None else label
        captions = [f"label {label}", *[""] * (side - 1)]
    images = trained.model.decode(latents, repeat_label(trained, len(latents), label))
    # Larger images have margins of their own.
    plots.grid(images, side, path, gap=images.shape[-1] < 16, captions=captions)


def latent_map(
    trained: TrainedImages,
    path: Path,
    *,
    method: projection_2d.Method = "tsne",
    n: int = 2000,
    seed: int = 0,
) -> None:
    """Draw the latents of n test images as points of the plane, coloured by label."""
    images = trained.data.test
    if n < len(images):
        images = images.rows(torch.from_numpy(np.random.default_rng(seed).permutation(len(images))[:n]))
    projection = projection_2d.project(latent.encode_images(trained, images), method, seed=seed)
    name = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}[method]
    of = "the" if trained.model.config.latent_dim == 1 else f"{name} of the"
    title = _title(trained, f"{of} latents of {len(images):,} test images")
    plots.scatter(
        projection.points, images.labels.numpy(), path, names=trained.names, title=title, axes=projection.axes
    )


def test_images(trained: TrainedImages) -> Images:
    """Return the test images; of a conditional model without the labels that it has not been trained on."""
    images = trained.data.test
    if not trained.model.config.conditional:
        return images
    unknown = set(range(trained.run.config["classes"])) - set(trained.training_labels)
    return images.without(sorted(unknown)) if unknown else images


def test_batch(trained: TrainedImages, n: int, seed: int) -> Batch:
    """Return n random images of `test_images`, as many of each label as can be, on the model's device."""
    images = test_images(trained)
    rows = balanced_rows(images, n, np.random.default_rng(seed))
    return images.batch(torch.from_numpy(rows)).to(trained.device)


def balanced_rows(images: Images, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return random rows of n images: one of each label, then another of each, and so on; -1 is a label too.

    UserError where there are fewer images.
    """
    if n > len(images):
        raise UserError(f"{n} images are too many: the test split has {len(images)}")
    order = rng.permutation(len(images))
    labels = images.labels.numpy()[order]
    # How many images of the same label come before each image.
    rank = np.empty(len(order), int)
    for label in np.unique(labels):
        rank[labels == label] = np.arange((labels == label).sum())
    return order[np.lexsort((labels, rank))][:n]


def most_pairs(trained: TrainedImages) -> int:
    """Return how many pairs of test images there are at most for `image_pairs`."""
    images = test_images(trained)
    return len(_paired(images)) if trained.model.config.conditional else len(images) // 2


def _paired(images: Images) -> np.ndarray:
    """Return the rows of the images whose label another image has, too."""
    labels = images.labels.numpy()
    values, counts = np.unique(labels, return_counts=True)
    return np.flatnonzero(np.isin(labels, values[counts > 1]))


def image_pairs(trained: TrainedImages, n: int, seed: int) -> tuple[Batch, Batch]:
    """Return n random pairs of two test images each, of one label where the model is conditional.

    UserError where there are too few images, or where no label has two.
    """
    images, rng = test_images(trained), np.random.default_rng(seed)
    if not trained.model.config.conditional:
        rows = balanced_rows(images, 2 * n, rng)
        starts, ends = rows[::2], rows[1::2]
    else:
        labels, paired = images.labels.numpy(), _paired(images)
        if not len(paired):
            raise UserError(
                "no two test images have one label, as both ends of a row of a conditional model must; give "
                "more images"
            )
        starts = paired[balanced_rows(images.rows(torch.from_numpy(paired)), n, rng)]
        ends = np.array([_another(labels, row, rng) for row in starts])
    first, second = (images.batch(torch.from_numpy(np.ascontiguousarray(side))) for side in (starts, ends))
    return first.to(trained.device), second.to(trained.device)


def _another(labels: np.ndarray, row: int, rng: np.random.Generator) -> int:
    """Return a random row of the same label as a row, but not that row itself; labels (N,)."""
    others = np.flatnonzero(labels == labels[row])
    return int(rng.choice(others[others != row]))


def _draw_rows(rows: dict[str, Tensor], path: Path) -> None:
    """Draw rows of images below each other, ten images at a time, each row with its name."""
    chunks = [images.split(IMAGES_IN_ROW) for images in rows.values()]
    parts = [part for together in zip(*chunks, strict=True) for part in together]
    width = len(parts[0])
    plots.grid(
        torch.cat([_filled_up(part, width) for part in parts]),
        width,
        path,
        captions=list(rows) * len(chunks[0]),
    )
