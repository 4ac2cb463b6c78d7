"""`seqgen image anomaly`, `left-out`, `few-labels` and `augment`: applications of image models."""

import csv
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from seqgen.cli import common
from seqgen.cli.image import common as image_common
from seqgen.core.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from seqgen.image.applications.few_labels import Accuracies

Counts = Annotated[
    str, typer.Option("--labels", metavar="N,N,…", help="Labelled images, as many of each class.")
]
FORMATS = ("csv", "jsonl")


def anomaly(
    run: image_common.Run = None,
    run_data: image_common.Moved = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Pictures to score; the run's test images if not given."),
    ] = None,
    anomalous: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL",
            help="Anomalous images: a label, or a subfolder of FOLDER; repeatable. If not given, the labels "
            "that the run was not trained on.",
        ),
    ] = None,
    normal: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL",
            help="Normal images; repeatable. All others are anomalous, or those of --anomalous alone.",
        ),
    ] = None,
    quantile: Annotated[
        float | None,
        typer.Option(
            metavar="Q",
            help="Call anomalous what scores above this quantile of the validation images, as in 0.95.",
        ),
    ] = None,
    format: Annotated[str, typer.Option("--format", help="csv or jsonl.")] = "csv",
    out: Annotated[Path | None, typer.Option(help="A file to write; stdout if not given.")] = None,
    trust: image_common.Trust = False,
    device: common.Device = "auto",
    threads: common.Threads = None,
    quiet: common.Quiet = False,
) -> None:
    """Score the images by a run: image, label, anomaly score, a line each; higher is more anomalous.

    Where it is known which images are anomalous, the area under the ROC curve and the average precision go to
    stderr; with --quantile also precision, recall and F1, and each line says whether it is called anomalous.
    """
    common.check_file(out)
    if format not in FORMATS:
        raise UserError(f"no format '{format}'" + did_you_mean(format, FORMATS))
    from seqgen.image.applications import anomaly as anomalies

    trained = image_common.load(run, device=device, threads=threads, quiet=quiet, trust=trust, data=run_data)
    scored = anomalies.score(trained, data, anomalous or (), normal or (), quantile=quantile)
    header, columns = ["image", "label", "score"], [scored.names, scored.labels, scored.scores.tolist()]
    if scored.threshold is not None:
        header.append("anomalous")
        columns.append((scored.scores > scored.threshold.value).tolist())

    def write(file: IO[str]) -> None:
        rows = zip(*columns, strict=True)
        if format == "csv":
            shown = ([str(each).lower() if isinstance(each, bool) else each for each in row] for row in rows)
            csv.writer(file, lineterminator="\n").writerows([header, *shown])
        else:
            for row in rows:
                file.write(json.dumps(dict(zip(header, row, strict=True))) + "\n")

    common.write_to(out, write)
    for line in anomalies.summary(scored):
        image_common.notifier(quiet)(line)


def left_out(
    model: Annotated[str, typer.Argument(help="The model to train, once for each label.")] = "vae",
    data: image_common.Data = "digits",
    size: image_common.Size = None,
    label_column: image_common.LabelColumn = None,
    background: image_common.Background = None,
    run: Annotated[
        Path | None, typer.Option(help="The folder of the runs; runs/left-out-MODEL-DATA if not given.")
    ] = None,
    settings: common.Set = None,
    config: common.ConfigFile = None,
    steps: common.Steps = None,
    epochs: common.Epochs = None,
    seed: Annotated[int, common.seed_option("Seed of every training.")] = 0,
    as_json: image_common.Json = False,
    device: common.Device = "auto",
    threads: common.Threads = None,
    quiet: common.Quiet = False,
) -> None:
    """Train without each label in turn, and measure how well the model detects it among the test images.

    Two scores that need no training are the baselines. The same command again resumes.
    """
    from seqgen.core import device as devices
    from seqgen.image.applications import anomaly as anomalies
    from seqgen.training.loop import Interrupted

    devices.prepare(threads)
    results = anomalies.left_out(
        model,
        data,
        folder=run,
        notify=image_common.notifier(quiet),
        values=common.gather(config, settings),
        steps=steps,
        epochs=epochs,
        seed=seed,
        device_name=device,
        size=size,
        label_column=label_column,
        background=background,
    )
    try:
        rows = list(results)
    except Interrupted as stop:
        image_common.notifier(quiet)(f"interrupted and saved at step {stop.step}; the same command resumes")
        raise typer.Exit(128 + stop.signal_number) from stop
    if as_json:
        typer.echo(json.dumps({"labels": [asdict(row) for row in rows], "mean": anomalies.mean(rows)}))
    else:
        typer.echo("\n".join(anomalies.table(rows)))


def few_labels(
    run: image_common.Run = None,
    run_data: image_common.Moved = None,
    labels: Counts = "100,1000",
    draws: Annotated[int, typer.Option(min=1, help="Draws of the labelled images.")] = 10,
    seed: Annotated[int, common.seed_option("Seed of the draws.")] = 0,
    as_json: image_common.Json = False,
    trust: image_common.Trust = False,
    device: common.Device = "auto",
    threads: common.Threads = None,
    quiet: common.Quiet = False,
) -> None:
    """Classify test images from few labels: by a run's latents, and by raw pixels."""
    from seqgen.image.applications import few_labels as few

    counts = _parse_counts(labels)
    trained = image_common.load(
        run, device=device, threads=threads, quiet=quiet, trust=trust, data=run_data, with_encoder=True
    )
    _print_accuracies(
        few.few_labels(trained, counts, draws=draws, seed=seed, notify=image_common.notifier(quiet)),
        as_json=as_json,
    )


def augment(
    model: Annotated[str, typer.Argument(help="The model to train on the labelled images.")] = "vae",
    data: image_common.Data = "digits",
    size: image_common.Size = None,
    label_column: image_common.LabelColumn = None,
    background: image_common.Background = None,
    labels: Counts = "100,1000",
    draws: Annotated[int, typer.Option(min=1, help="Draws of the labelled images.")] = 5,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each training of the model.")] = 3000,
    settings: common.Set = None,
    config: common.ConfigFile = None,
    seed: Annotated[int, common.seed_option("Seed of the draws and the trainings.")] = 0,
    as_json: image_common.Json = False,
    device: common.Device = "auto",
    threads: common.Threads = None,
    quiet: common.Quiet = False,
) -> None:
    """Classify test images from few labels, with and without samples of a model trained on those images.

    The model is conditional on the label and is trained on no other image: nothing leaks from the rest.
    """
    from seqgen.core import device as devices
    from seqgen.image.applications import augmentation
    from seqgen.image.data.dataset import open_images
    from seqgen.image.data.pictures import ReadOptions

    counts = _parse_counts(labels)
    devices.prepare(threads)
    rows = augmentation.augment(
        open_images(data, seed=seed, options=ReadOptions(size, label_column, background)),
        model,
        counts,
        draws=draws,
        steps=steps,
        values=common.gather(config, settings),
        seed=seed,
        device=devices.pick(device),
        notify=image_common.notifier(quiet),
    )
    _print_accuracies(rows, as_json=as_json)


def _parse_counts(listed: str) -> list[int]:
    """Parse numbers separated by commas."""
    if not all(each.strip().isdecimal() for each in listed.split(",")):
        raise UserError(f"--labels '{listed}': whole numbers separated by commas, as in 100,1000")
    return [int(each) for each in listed.split(",")]


def _print_accuracies(rows: "Iterable[Accuracies]", *, as_json: bool) -> None:
    """Print accuracies as a table, or as one JSON object."""
    from seqgen.image.applications.few_labels import table

    accuracies = list(rows)
    if not as_json:
        typer.echo("\n".join(table(accuracies)))
        return
    objects = [
        asdict(row) | {"mean": row.mean, "standard_deviation": row.standard_deviation} for row in accuracies
    ]
    typer.echo(json.dumps({"accuracies": objects}))
