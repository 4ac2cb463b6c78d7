"""`seqgen image`: train image models, and every command about a trained one."""

import json
from pathlib import Path
from typing import Annotated

import typer

from seqgen.cli import common, processes
from seqgen.cli.image import applications, pictures
from seqgen.cli.image import common as image_common

app = typer.Typer(help="Train image models, draw samples, evaluate and apply them.", no_args_is_help=True)


@app.callback()
def _check(context: typer.Context) -> None:
    processes.check_command(context.invoked_subcommand, ("train",), group="image ")


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="What to train.")] = "vae",
    data: image_common.Data = "digits",
    size: image_common.Size = None,
    label_column: image_common.LabelColumn = None,
    background: image_common.Background = None,
    binarise: Annotated[
        str,
        typer.Option(
            "--binarise", "--binarize", help="none, fixed, or dynamic: drawn each time an image is read."
        ),
    ] = "none",
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL", help="Leave a label out of training, to detect it later; repeatable."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="LABEL", help="Train on this label alone; repeatable.")
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            help="A run on images to start from: its encoder, decoder and the like, where they fit."
        ),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="The run folder; runs/image-MODEL-DATA if not given.")
    ] = None,
    settings: common.Set = None,
    config: common.ConfigFile = None,
    steps: common.Steps = None,
    epochs: common.Epochs = None,
    minutes: common.Minutes = None,
    seed: Annotated[int, common.seed_option("Seed of the splits, the weights and the batches.")] = 0,
    device: common.Device = "auto",
    threads: common.Threads = None,
    compile: common.Compile = False,
    quiet: common.Quiet = False,
    list_settings: common.ListSettings = False,
) -> None:
    """Train an image model. The same command again resumes.

    Models: autoencoder, sparse-autoencoder, denoising-autoencoder, vae, gan, vae-gan, avb, aegan.
    """
    if list_settings:
        from seqgen import image
        from seqgen.core.settings import help_table

        typer.echo(help_table(image.get(model).config()))
        raise typer.Exit
    from seqgen.image.runs import setup

    common.run_job(
        lambda: setup.train_job(
            model,
            data,
            path=run,
            init=init,
            values=common.gather(config, settings),
            steps=steps,
            epochs=epochs,
            minutes=minutes,
            seed=seed,
            device_name=device,
            compile=compile,
            binarise=binarise,
            without=without,
            only=only or (),
            size=size,
            label_column=label_column,
            background=background,
        ),
        threads=threads,
        quiet=quiet,
        then="seqgen image sample --run {run}  or  seqgen image evaluate --run {run}",
    )


@app.command()
def evaluate(
    run: image_common.Run = None,
    run_data: image_common.Moved = None,
    n: Annotated[int, typer.Option("--n", min=4, help="Samples and test images compared.")] = 10_000,
    features: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.pt",
            help="A TorchScript network, such as Inception, whose features are compared, with --trust; a "
            "few classifiers of the data, trained once, if not given.",
        ),
    ] = None,
    classifiers: Annotated[
        int,
        typer.Option(
            min=1,
            max=20,
            help="Classifiers of the data, by whose features metrics are averaged; each is kept.",
        ),
    ] = 3,
    importance: Annotated[
        int, typer.Option(min=1, help="Draws of each image's latent, for its likelihood.")
    ] = 5000,
    images: Annotated[int, typer.Option(min=1, help="Test images whose likelihood is estimated.")] = 500,
    annealed: Annotated[
        int | None,
        typer.Option(
            min=0, help="How many of them by annealed importance sampling as well; avb: 50 if not given."
        ),
    ] = None,
    seed: Annotated[int, common.seed_option("Seed of every draw.")] = 0,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust", help="Load a run whose model is code outside seqgen, or a network of --features."
        ),
    ] = False,
    as_json: image_common.Json = False,
    device: common.Device = "auto",
    threads: common.Threads = None,
    quiet: common.Quiet = False,
) -> None:
    """Measure a run: likelihood, use of the latent, and sample quality."""
    from seqgen.image.evaluation import evaluate

    trained = image_common.load(run, device=device, threads=threads, quiet=quiet, trust=trust, data=run_data)
    report = evaluate.evaluate(
        trained,
        n,
        seed=seed,
        features=features,
        classifiers=classifiers,
        trust=trust,
        importance=importance,
        images=images,
        annealed=annealed,
        notify=image_common.notifier(quiet),
    )
    typer.echo(json.dumps(report, ensure_ascii=False, indent=2) if as_json else evaluate.render(report))


for command in (
    pictures.sample,
    pictures.reconstruct,
    pictures.interpolate,
    pictures.latent,
    pictures.traverse,
    pictures.activations,
    pictures.denoise,
    applications.anomaly,
    applications.left_out,
    applications.few_labels,
    applications.augment,
):
    app.command(command.__name__.replace("_", "-"))(command)
