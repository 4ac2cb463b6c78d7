"""One self-contained HTML page about runs on images, laid out as that about runs on text.

A summary with five numbers beside those of real images, samples beside real images and over the training, the
nearest training images, reconstructions, interpolations and a map of latents by label, loss curves, settings.
The same runs and options give the same page.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seqgen.core.errors import UserError
from seqgen.image import report_pictures as pictures
from seqgen.image.evaluation.evaluate import evaluate, render
from seqgen.image.runs.load import TrainedImages
from seqgen.metrics.classifier import wilson_interval
from seqgen.report import rendering
from seqgen.report.charts import hue, key
from seqgen.report.findings import Finding
from seqgen.report.scores import settings_table
from seqgen.report.summary import Summary, Trained, length_of_training
from seqgen.report.tables import Cell, Table
from seqgen.report.training import METRICS, training

SECTIONS = {
    "summary": "Summary",
    "samples": "Samples",
    "nearest": "Nearest training images",
    "over-time": "Samples over the training",
    "reconstructions": "Reconstructions",
    "latents": "Latent space",
    "training": "Training",
    "settings": "Settings",
    "protocol": "Protocol",
}
"""Anchors and headings of the sections, in order; a section that no run has is left out."""
REAL = "real images"
LIKELIHOOD_IMAGES, IMPORTANCE = 100, 500
"""Test images whose likelihood is estimated for the page, and draws of the latent of each."""
OF_IMAGES = {
    "loss": ("Loss", "loss"),
    "reconstruction": ("Reconstruction: -log p(x | z)", "nats an image"),
    "kl": ("KL of posterior and prior", "nats an image"),
    "squared_error": ("Squared error of reconstructions", "sum over pixels"),
    "feature_distance": ("Distance in the features of the critic", "distance"),
    "d_loss": ("Loss of the critic", "loss"),
    "g_loss": ("Loss of the generator", "loss"),
    "images_per_second": ("Speed", "training images per second"),
}
TITLES = OF_IMAGES | METRICS | OF_IMAGES
"""Title and unit of the metrics of metrics.jsonl; any other metric has its key as its title."""
COPIED, LESS = 0.03, 0.1
"""Rate of copies, and how much less precision or recall than of real images, from which on they are named."""
NUMBERS = {
    "Fréchet": (("frechet",), ".3f", "distance from real images: lower is nearer"),
    "precision": (("precision",), ".1%", "quality: samples among real images"),
    "recall": (("recall",), ".1%", "diversity: real images among samples"),
    "coverage": (("coverage",), ".1%", "real images with a sample near them"),
    "copies": (("copy_rate",), ".1%", "nearer to training images than 99 % of test images"),
}
"""The five numbers: their keys, formats, and what they say."""
NOTE = (
    "Real images: as many training images, against test images, the values of perfect samples. All but copies"
    " is in the features named under Protocol, and compares only within them."
)
RANGES = (
    " Below each number its range over {spaces} classifiers of other seeds, in whose features it is; below"
    " copies the 95 % interval of {n:,} samples."
)


@dataclass(frozen=True)
class Scored:
    """A run on the page."""

    label: str
    trained: TrainedImages
    scores: Mapping[str, Any] | None
    """of `evaluate`; None where there are too few images to compare"""
    missing: str = ""
    """why there are none"""


def page(
    runs: Sequence[TrainedImages],
    *,
    n: int = 2000,
    seed: int = 0,
    notify: Callable[[str], None] = lambda message: None,
) -> str:
    """Return the page about one or more runs of the same images.

    Args:
        n: samples and real images that are compared, at most as many as there are test images.

    Raises:
        UserError: the images are gone or have changed, or the runs have different ones.
    """
    for other in runs[1:]:
        if any(getattr(other.data, key) != getattr(runs[0].data, key) for key in ("hash", "binarise")):
            raise UserError(
                f"runs '{runs[0].run.path}' and '{other.run.path}' are of different images or splits; report "
                "on them one by one"
            )
    scored = [_scored(label, run, n, seed, notify) for label, run in zip(_labels(runs), runs, strict=True)]
    labels, hues = [each.label for each in scored], [hue(i) for i in range(len(runs))]
    shown = _pictures(scored, seed)
    sections = {anchor: title for anchor, title in SECTIONS.items() if shown.get(anchor, True)}
    metrics = [each.run.metrics() for each in runs]
    return rendering.render(
        "image.html",
        title=", ".join(labels),
        sections=sections,
        summary=_summary(scored, metrics),
        pictures=shown,
        training=training(labels, hues, metrics, TITLES),
        run_keys=[key(*each) for each in zip(labels, hues, strict=True)],
        settings=settings_table(
            [str(each.run.path) for each in runs],
            labels,
            [each.run.config | {"data": each.spec} for each in runs],
        ),
        protocol=[line for each in scored for line in _protocol(each)],
    )


def _labels(runs: Sequence[TrainedImages]) -> list[str]:
    """Name each run by its folder, or by its path if two folders have the same name."""
    counts = Counter(each.run.name for each in runs)
    return [each.run.name if counts[each.run.name] == 1 else str(each.run.path) for each in runs]


def _scored(label: str, trained: TrainedImages, n: int, seed: int, notify: Callable[[str], None]) -> Scored:
    how: dict[str, Any] = {"importance": IMPORTANCE, "images": LIKELIHOOD_IMAGES, "annealed": 0}
    try:
        return Scored(label, trained, evaluate(trained, n, seed=seed, notify=notify, **how))
    except UserError as error:  # of few images: the rest of the page does not need them
        if len(trained.data.test) > n:
            raise
        return Scored(label, trained, None, str(error))


def _pictures(scored: Sequence[Scored], seed: int) -> dict[str, Any]:
    """Return what each section shows, by its anchor; nothing where no run has it."""
    encoders = [each for each in scored if hasattr(each.trained.model, "encode")]
    maps = [pictures.latent_map(each.label, each.trained, seed=seed) for each in encoders]
    between = [pictures.interpolations(each.label, each.trained, seed=seed) for each in encoders]
    planes = [pictures.manifold(each.label, each.trained) for each in scored]
    latents = {
        "maps": list(filter(None, maps)),
        "interpolations": list(filter(None, between)),
        "planes": list(filter(None, planes)),
    }
    grids = [(each.label, pictures.over_time(each.trained), _in_turn(each.trained)) for each in scored]
    return {
        "samples": [
            pictures.real(scored[0].trained, seed=seed),
            *(pictures.generated(each.label, each.trained, seed=seed) for each in scored),
        ],
        "nearest": [pictures.nearest(each.label, each.trained, seed=seed) for each in scored],
        "over-time": [grid for grid in grids if grid[1]],
        "reconstructions": [
            pictures.reconstructions(each.label, each.trained, seed=seed) for each in encoders
        ],
        "latents": latents if any(latents.values()) else None,
    }


def _in_turn(trained: TrainedImages) -> str:
    """Say which labels the samples of a report have: none where they are not conditional."""
    if not trained.model.config.conditional:
        return ""
    labels = trained.training_labels
    names = ", ".join(trained.names[label] for label in labels[: pictures.MOST_LABELS])
    more = ", …" if len(labels) > pictures.MOST_LABELS else ""
    return f"the labels {names}{more} in turn"


def _summary(scored: Sequence[Scored], metrics: Sequence[Sequence[Mapping[str, Any]]]) -> Summary:
    data, config = scored[0].trained.data, scored[0].trained.run.config
    channels, height, width = config["shape"]
    sizes = f"{len(data.train):,} training images of {height}×{width}×{channels}"
    held = f"{len(data.valid):,} for validation, {len(data.test):,} for the test"
    classes = f", {config['classes']} labels" if config["classes"] else ""
    trained = [
        Trained(
            each.label, f"{each.trained.run.config['algorithm']}; {_length(each, rows)}{_likelihood(each)}"
        )
        for each, rows in zip(scored, metrics, strict=True)
    ]
    trained.append(Trained("images", f"{data.name}, {sizes}, {held}{classes}."))
    columns: dict[str, Mapping[str, Any] | None] = {
        REAL: next((_real(each.scores) for each in scored if each.scores), None)
    }
    columns |= {each.label: each.scores and _generated(each.scores) for each in scored}
    rows = [
        [Cell(name, [meaning]), *(_cell(column, keys[0], spec) for column in columns.values())]
        for name, (keys, spec, meaning) in NUMBERS.items()
    ]
    missing = " ".join(f"{each.label} was not scored: {each.missing}." for each in scored if each.missing)
    look_at = [finding for each, log in zip(scored, metrics, strict=True) for finding in _findings(each, log)]
    nothing = Finding("Nothing stands out in the numbers: look at the samples beside real images.", "samples")
    note = " ".join([missing, _note(scored)]).strip()
    return Summary(trained, Table(["number", *columns], rows), [], look_at or [nothing], note)


def _note(scored: Sequence[Scored]) -> str:
    """Say what the numbers and their intervals are; nothing where there are no numbers."""
    scores = next((each.scores for each in scored if each.scores), None)
    if scores is None:
        return ""
    spaces = scores["protocol"]["feature_spaces"]
    return NOTE + (RANGES.format(spaces=spaces, n=scores["nearest"]["images"]) if spaces > 1 else "")


def _generated(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of samples, and by the same keys their intervals."""
    nearest = scores["nearest"]
    copied = wilson_interval(round(nearest["copy_rate"] * nearest["images"]), nearest["images"])
    intervals = _ranges(scores, "samples") | {"copy_rate": copied}
    return {**scores["samples"], **nearest, "intervals": intervals}


def _real(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of real images: of their copies, what the rate is by its definition."""
    return {
        **scores["training_images"],
        "copy_rate": 0.01,
        "intervals": _ranges(scores, "training_images"),
    }


def _ranges(scores: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return each metric's range over the feature spaces, where there are several."""
    return dict(scores["ranges"][name]) if scores["protocol"]["feature_spaces"] > 1 else {}


def _length(each: Scored, rows: Sequence[Mapping[str, Any]]) -> str:
    return length_of_training(each.trained.run.config, rows)


def _likelihood(each: Scored) -> str:
    found = (each.scores or {}).get("likelihood")
    return f" ELBO of test images {found['elbo']:.2f} nats." if found else ""


def _cell(column: Mapping[str, Any] | None, name: str, spec: str) -> Cell:
    if column is None:
        return Cell("–")
    interval = column["intervals"].get(name)
    below = [] if interval is None else ["–".join(format(bound, spec) for bound in interval)]
    return Cell(format(column[name], spec), below)


def _findings(each: Scored, metrics: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Return what stands out in the numbers of a run."""
    if each.scores is None:
        return []
    samples, usual, label = each.scores["samples"], each.scores["training_images"], each.label
    found = []
    if usual["recall"] - samples["recall"] > LESS:
        text = f"Samples of {label} leave out much: recall {samples['recall']:.0%}"
        found.append(Finding(f"{text}, of real images {usual['recall']:.0%}.", "samples"))
    if usual["precision"] - samples["precision"] > LESS:
        text = f"Samples of {label} are unlike real images: precision {samples['precision']:.0%}"
        found.append(Finding(f"{text}, of real ones {usual['precision']:.0%}.", "samples"))
    if (rate := each.scores["nearest"]["copy_rate"]) > COPIED:
        text = f"{rate:.0%} of the samples of {label} are very near to a training image: copied, or blurred."
        found.append(Finding(text, "nearest"))
    latent = each.scores["latent"]
    if latent and latent["active_units"] < latent["dimensions"]:
        text = f"{latent['active_units']} of {latent['dimensions']} latent dimensions of {label} are used."
        found.append(Finding(text, "latents"))
    losses = [row["valid_loss"] for row in metrics if "valid_loss" in row]
    if losses and losses[-1] > min(losses) + 0.02 * abs(min(losses)):
        text = f"The validation loss of {label} has risen again since its least value."
        found.append(Finding(text, "training"))
    return found


def _protocol(each: Scored) -> list[str]:
    lines = [f"images hash {each.trained.run.config['data_hash']}"]
    if each.scores is None:
        return [f"{each.label}: not scored: {each.missing}", *lines]
    return [
        f"{each.label}: {line.strip()}" for line in render(each.scores).splitlines() if line.strip()
    ] + lines
