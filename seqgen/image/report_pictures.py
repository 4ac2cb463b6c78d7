"""What the report of image runs shows: pictures as data URIs, and maps of latents as charts."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seqgen.core.errors import UserError
from seqgen.image.applications import figures, latent
from seqgen.image.data.dataset import Images
from seqgen.image.evaluation import sample_quality
from seqgen.image.models.autoencoder import Autoencoder
from seqgen.image.runs import plots
from seqgen.image.runs.load import TrainedImages
from seqgen.inference import projection_2d
from seqgen.report.charts import Chart, Key, label_key, scatter

ACROSS = 10
"""Images in a row."""
GRID_ROWS = 6
"""Rows of the samples, and of real images, where a model is not conditional on labels."""
MOST_LABELS = 20
"""Labels that have rows of their own, the first ones."""
MAPPED = 1000
"""Test images on the map of latents."""
PANELS = 8
"""Grids of samples that are shown of a training."""
MANIFOLD = 16
"""Images across and down on the plane of two latent dimensions."""
MOST_BYTES = 1 << 25
"""Size of a grid of samples in a run folder, at most."""
UNLABELLED = "no label"


@dataclass(frozen=True)
class Picture:
    """A picture on the page."""

    caption: str
    source: str
    """its content, as a data URI"""
    width: int
    height: int


@dataclass(frozen=True)
class Rows:
    """Rows of images below each other, each with its name at the left."""

    title: str
    pictures: Sequence[Picture]
    note: str = ""


def picture(images: Tensor, caption: str = "", *, columns: int = ACROSS) -> Picture:
    """Return images (N, C, H, W) in [0, 1] in rows, enlarged, as one picture."""
    return encode(Image.fromarray(plots.tiles(images, columns, gap=images.shape[-1] >= 8)), caption)


def encode(image: Image.Image, caption: str) -> Picture:
    """Return a picture of the page."""
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    content = base64.b64encode(stream.getvalue()).decode()
    return Picture(caption, f"data:image/png;base64,{content}", *image.size)


@torch.no_grad()
def generated(label: str, trained: TrainedImages, *, seed: int) -> Rows:
    """Show samples of a run: a row for each label where it is conditional, else a grid."""
    model, rng = trained.model, torch.Generator(trained.device).manual_seed(seed)
    if not getattr(model.config, "conditional", False):
        return Rows(label, [picture(model.sample(ACROSS * GRID_ROWS, None, rng).cpu(), "samples")])
    shown = trained.training_labels[:MOST_LABELS]
    labels = torch.tensor(shown, device=trained.device).repeat_interleave(ACROSS)
    images = model.sample(len(labels), labels, rng).cpu().split(ACROSS)
    pictures = [picture(row, trained.names[of]) for of, row in zip(shown, images, strict=True)]
    return Rows(label, pictures, _left_out(trained))


def real(trained: TrainedImages, *, seed: int) -> Rows:
    """Show test images, in rows by label where the run is conditional."""
    images, draw = trained.data.test, np.random.default_rng(seed)
    if not getattr(trained.model.config, "conditional", False):
        n = min(ACROSS * GRID_ROWS, len(images))
        rows = torch.from_numpy(draw.permutation(len(images))[:n])
        return Rows("real images", [picture(images.batch(rows).images, "of the test split")])
    pictures = []
    for label in trained.training_labels[:MOST_LABELS]:
        of = images.only([label])
        if len(of):
            pictures.append(picture(of.batch(slice(0, ACROSS)).images, trained.names[label]))
    return Rows("real images", pictures, _left_out(trained))


def _left_out(trained: TrainedImages) -> str:
    more = len(trained.training_labels) - MOST_LABELS
    return f"{more} more labels are not shown" if more > 0 else ""


def over_time(trained: TrainedImages) -> list[Picture]:
    """Show the grids of samples that a training wrote at its reports, some of them, at half their size."""
    files = sorted((trained.run.path / "samples").glob("step-*.png"))
    chosen = [files[i] for i in plots.evenly_spaced(len(files), PANELS)]
    return [found for file in chosen if (found := _panel(file)) is not None]


def _panel(path: Path) -> Picture | None:
    """Return a grid of samples; None where the file is none, as one that was damaged."""
    step = path.stem.removeprefix("step-")
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MOST_BYTES or not step.isdigit():
        return None
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return encode(image.reduce(2), f"step {int(step):,}")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


@torch.no_grad()
def reconstructions(label: str, trained: TrainedImages, *, seed: int) -> Rows:
    """Show test images and, below them, their reconstructions."""
    batch = figures.test_batch(trained, min(ACROSS, len(figures.test_images(trained))), seed)
    images = {"original": batch.images, "reconstruction": trained.model.reconstruct(*batch)}
    return Rows(label, [picture(each.cpu(), name) for name, each in images.items()])


@torch.no_grad()
def interpolations(label: str, trained: TrainedImages, *, seed: int, rows: int = 4) -> Rows | None:
    """Show interpolations between the latents of pairs of test images; None where there are no pairs."""
    try:
        first, last = figures.image_pairs(trained, min(rows, len(figures.test_images(trained)) // 2), seed)
    except UserError:
        return None
    model = trained.model
    latents = latent.interpolate(model.encode(*first), model.encode(*last), ACROSS)
    images = model.decode(latents.flatten(0, 1), first.labels.repeat_interleave(ACROSS)).cpu()
    pictures = [picture(row, f"pair {i + 1}") for i, row in enumerate(images.split(ACROSS))]
    return Rows(label, pictures)


@torch.no_grad()
def nearest(label: str, trained: TrainedImages, *, seed: int) -> Rows:
    """Show samples and, below each, the training image that is nearest to it in its pixels."""
    data = trained.data
    rows = torch.from_numpy(np.random.default_rng(seed).permutation(len(data.train))[:ACROSS])
    drawn = sample_quality.draw_samples(trained, len(rows), labels=data.train.labels[rows], seed=seed)
    _, found = sample_quality.nearest(drawn, data.train)
    images = {"sample": drawn, "nearest": data.train.batch(found.cpu()).images}
    return Rows(label, [picture(each, name) for name, each in images.items()])


def manifold(label: str, trained: TrainedImages) -> Picture | None:
    """Show the decoded images of a plane of latents; None where the latents have not two dimensions."""
    model = trained.model
    if model.config.latent_dim != 2:
        return None
    latents = latent.prior_grid(MANIFOLD).to(trained.device)
    if isinstance(model, Autoencoder):  # whose prior is the Gaussian of the training latents
        latents = model.prior(latents, correlated=False)
    first = trained.training_labels[0] if getattr(model.config, "conditional", False) else None
    labels = None if first is None else torch.full((len(latents),), first, device=trained.device)
    with torch.no_grad():
        images = model.decode(latents, labels).cpu()
    name = "" if first is None else f", label {trained.names[first]}"
    return picture(images, f"{label}: the plane of latents, decoded{name}", columns=MANIFOLD)


def latent_map(label: str, trained: TrainedImages, *, seed: int) -> tuple[Chart, list[Key]] | None:
    """Draw the latents of test images by their labels, and the legend; None where no map can be made."""
    images = trained.data.test
    if len(images) > MAPPED:
        images = images.rows(torch.from_numpy(np.random.default_rng(seed).permutation(len(images))[:MAPPED]))
    latents = latent.encode_images(trained, images)
    is_seen = latents.shape[1] <= 2  # as it is
    try:
        projection = projection_2d.project(latents, "pca" if is_seen else "tsne", seed=seed)
    except UserError:
        return None
    points, axes = projection.points, projection.axes
    if not np.isfinite(points).all():
        return None
    groups = _groups(trained, images, points)
    method = "" if is_seen else "t-SNE of "
    title = f"{label}: {method}the latents of {len(images):,} test images"
    note = "" if axes else "only distances between close points mean anything"
    return scatter(groups, title=title, axes=axes, note=note), [entry for entry, _ in groups]


def _groups(
    trained: TrainedImages, images: Images, points: np.ndarray
) -> list[tuple[Key, list[tuple[float, float]]]]:
    """Part points (N, 2) by the labels of their images, those without a label last."""
    labels = images.labels.numpy()
    present = sorted({int(label) for label in np.unique(labels)}, key=lambda label: (label < 0, label))
    groups = []
    for label in present:
        name = trained.names[label] if label >= 0 else UNLABELLED
        chosen = [(float(x), float(y)) for x, y in points[labels == label]]
        groups.append((label_key(name, max(label, 0)), chosen))
    return groups
