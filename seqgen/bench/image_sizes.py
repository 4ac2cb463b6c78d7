"""Every image model with its default settings on images of every size, in short trainings.

A default that diverges on some size or kind of picture shows here: photographs, of which the two that
scikit-learn includes are cropped at random, and noise, each grey and in colour. Nothing is downloaded.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from seqgen import image
from seqgen.core import optim, settings
from seqgen.core.random_state import own_randomness
from seqgen.image.data.dataset import ImageBatches, Images, in_order
from seqgen.image.data.pictures import scale_images

SIZES = (8, 16, 28, 32, 64, 128, 256)
PICTURES = ("photographs", "noise")
CHANNELS = {"grey": 1, "colour": 3}
IMAGES, VALID = 192, 32
"""Training and validation images; a photograph is cropped as often."""
STEPS, BATCH = 30, 32
"""Length of a training, and images of a step."""


WORSE = 1.05
"""Loss relative to that before training above which it is worse: of noise there is little to learn."""
TRAINED, DIVERSITY = "trained", "diversity"


@dataclass(frozen=True)
class ShortTraining:
    """One model on one kind of pictures of one size."""

    model: str
    pictures: str
    colour: str
    size: int
    net: str
    """kind of the networks that the size led to"""
    metric: str
    """what is compared: the loss of held-out images, or the diversity of the images of a GAN"""
    first: float
    """its value before training"""
    last: float
    """its value after training, nan where that diverged"""
    outcome: str
    """`trained`, or what went wrong"""
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return the row for JSON, null for what is no number."""
        return {name: None if value != value else value for name, value in asdict(self).items()}

    @property
    def cell(self) -> str:
        """The diversity, or the loss relative to that before training; else what went wrong."""
        if self.outcome != TRAINED:
            return self.outcome.split(":")[0].split(" at ")[0]
        return f"{self.last if self.metric == DIVERSITY else self.last / self.first:.2f}"


def pictures(kind: str, colour: str, size: int, n: int, *, seed: int = 0) -> Images:
    """Return n pictures of a kind of `PICTURES`, (n, C, size, size), without labels."""
    rng, channels = np.random.default_rng([seed, size]), CHANNELS[colour]
    if kind == "noise":
        pixels = rng.integers(0, 256, (n, channels, size, size), np.uint8)
    else:
        pixels = np.concatenate([scale_images(each[None], size) for each in _crops(rng, n, size)])
        if channels == 1:
            # the luma of ITU-R 601
            pixels = np.rint(np.tensordot((0.299, 0.587, 0.114), pixels, axes=(0, 1)))[:, None].astype(
                np.uint8
            )
    return Images(torch.from_numpy(pixels), torch.full((n,), -1))


def _crops(rng: np.random.Generator, n: int, size: int) -> Iterator[np.ndarray]:
    """Yield random squares of scikit-learn's photographs, (3, S, S), S from `size` on where that can be."""
    from sklearn.datasets import load_sample_images

    photographs = [photograph.transpose(2, 0, 1) for photograph in load_sample_images().images]
    for i in range(n):
        photograph = photographs[i % len(photographs)]
        _, height, width = photograph.shape
        most = min(height, width)
        side = int(rng.integers(min(max(size, 64), most), most + 1))
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        yield photograph[:, top : top + side, left : left + side]


def run(
    models: Sequence[str],
    sizes: Sequence[int] = SIZES,
    *,
    kinds: Sequence[str] = PICTURES,
    colours: Sequence[str] = tuple(CHANNELS),
    steps: int = STEPS,
    device: torch.device | str = "cpu",
    notify: Callable[[str], None] = lambda message: None,
) -> Iterator[ShortTraining]:
    """Train every model shortly on every kind of pictures of every size; yield a row each."""
    for size in sizes:
        for kind in kinds:
            for colour in colours:
                every = pictures(kind, colour, size, IMAGES + VALID)
                for model in models:
                    row = train(model, every, (kind, colour, size), steps=steps, device=device)
                    notify(f"{model}, {kind}, {colour}, {size}×{size}: {row.outcome}, {row.seconds:.1f} s")
                    yield row


def train(
    model: str,
    images: Images,
    what: tuple[str, str, int],
    *,
    steps: int,
    device: torch.device | str = "cpu",
) -> ShortTraining:
    """Train a model with its default settings but the batch size; what: pictures, colour and size."""
    started = time.perf_counter()
    entry = image.get(model)
    rows = torch.arange(len(images))
    training, valid = images.rows(rows[VALID:]), images.rows(rows[:VALID])
    channels, height, width = images.pixels.shape[1:]
    shape = (channels, height, width)
    config = settings.override(entry.config(), {"batch_size": BATCH}).sized(shape).fitted(training)
    with own_randomness(0):
        algorithm = entry.cls(config, shape=shape, classes=0).to(device)
        algorithm.configure()
        batches = ImageBatches(training, config.read_size, seed=0, device=device)
        first = algorithm.evaluate(in_order(valid, BATCH, device))
        name = algorithm.monitor or DIVERSITY
        last, outcome = _steps(algorithm, batches, valid, steps, device)
    if outcome == TRAINED and name != DIVERSITY and last[name] > WORSE * first[name]:
        outcome = "worse: the loss is higher than before"
    net = next(value.kind for value in vars(config).values() if hasattr(value, "sized"))
    seconds = time.perf_counter() - started
    return ShortTraining(
        model, *what, str(net), name, first[name], last.get(name, math.nan), outcome, seconds
    )


def _steps(
    algorithm: Any, batches: Iterable[Any], valid: Images, steps: int, device: torch.device | str
) -> tuple[dict[str, float], str]:
    """Train for some steps; return the report after them and what came of it."""
    report: dict[str, float] = {}
    try:
        for step, batch in zip(range(steps), batches, strict=False):
            metrics = algorithm.step(batch.to(device), step / steps)
        optim.check_finite(algorithm.optimizers.values())
        report = {name: float(value) for name, value in metrics.items()}
        report |= algorithm.evaluate(in_order(valid, BATCH, device))
        reason = algorithm.should_stop(report, report)
    except FloatingPointError as error:
        return report, f"diverged at step {step + 1}: {error}"
    bad = [name for name, value in report.items() if not math.isfinite(value)]
    return report, reason or (f"not finite: {', '.join(bad)}" if bad else TRAINED)


def table(rows: Sequence[ShortTraining]) -> str:
    """Lay the trainings out: a line for each model and kind of pictures, a column for each size."""
    sizes = sorted({row.size for row in rows})
    cells = [["model", "pictures", "", "", *(f"{size}×{size}" for size in sizes)]]
    lines: dict[tuple[str, ...], dict[int, str]] = {}
    for row in rows:
        what = "diversity" if row.metric == DIVERSITY else "loss"
        lines.setdefault((row.model, row.pictures, row.colour, what), {})[row.size] = row.cell
    cells += [[*names, *(values.get(size, "") for size in sizes)] for names, values in sorted(lines.items())]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    kinds = ", ".join(f"{size}×{size} {next(row.net for row in rows if row.size == size)}" for size in sizes)
    laid_out = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]
    failed = sum(row.outcome != TRAINED for row in rows)
    return "\n".join([*laid_out, "", f"networks: {kinds}", f"{len(rows)} trainings, {failed} failed"])
