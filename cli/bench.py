"""`seqgen bench`: speed of the package on this machine, and generators against what they have to beat."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from seqgen.cli import common
from seqgen.cli.bench_speed import AsJson, Threads, speed
from seqgen.core.errors import UserError

app = typer.Typer(help="Measure speed, and generators against what they have to beat.", no_args_is_help=True)
app.command()(speed)

Seeds = Annotated[int, typer.Option(min=1, help="Seeds 0, 1, … of data and trainings.")]
Algorithms = Annotated[
    str | None,
    typer.Option(
        help="Adversarial algorithms, comma-separated, or all that any text can train (the default but for "
        "--quick, which has residual); two controls are sized by the first."
    ),
]
Rewards = Annotated[
    str | None, typer.Option(help="Rewards that know nothing, as controls, comma-separated, or none.")
]


@app.command()
def oracle(
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--oracle",
            metavar="NAME",
            help="lstm-0, gru-0, transformer-0, seqgan, weights.npz, or a grammar (scenes); repeatable.",
        ),
    ] = None,
    length: Annotated[
        str, typer.Option(help="Tokens of a sentence of an oracle, comma-separated.")
    ] = "20,40",
    regime: Annotated[
        str, typer.Option(help="limited (10,000 sentences), unlimited, or both comma-separated.")
    ] = "limited,unlimited",
    seeds: Seeds = 3,
    algorithms: Algorithms = None,
    rewards: Rewards = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Minutes: T 20, limited data, one seed, small nets.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="The folder; runs/bench-oracle, or -quick, if not given.")
    ] = None,
    device: common.Device = "auto",
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Measure generators, and the controls that they have to beat, against a known distribution.

    Each training and each row is a job with a result of its own; the same command goes on where it stopped.
    """
    from seqgen.bench import generators as bench

    options = {
        "lengths": [20] if quick else _lengths(length),
        "regimes": ["limited"] if quick else common.chosen("regime", regime, bench.REGIMES),
        "seeds": 1 if quick else seeds,
        "scale": _scale(quick, algorithms, rewards),
    }
    folder = out or Path("runs") / ("bench-oracle-quick" if quick else "bench-oracle")
    _run(source or ["lstm-0"], folder, options, device, threads, as_json)


@app.command()
def text(
    corpus: Annotated[str, typer.Option(help="The training sentences, as of seqgen pretrain.")] = "scenes",
    test: Annotated[str | None, typer.Option(help="Held-out sentences; split off if not given.")] = None,
    column: common.Column = None,
    encoding: common.Encoding = None,
    separator: common.Separator = None,
    resplit: Annotated[
        bool, typer.Option("--resplit", help="Divide training and test sentences anew by each seed.")
    ] = False,
    seeds: Seeds = 3,
    algorithms: Algorithms = None,
    rewards: Rewards = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small nets, 2,000 samples, one seed.")] = False,
    out: Annotated[Path | None, typer.Option(help="The folder; runs/bench-CORPUS if not given.")] = None,
    device: common.Device = "auto",
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Measure generators, and the controls that they have to beat, by held-out sentences of a corpus.

    Each training and each row is a job with a result of its own; the same command goes on where it stopped.
    """
    from seqgen.bench.case import Text
    from seqgen.training.data_config import DataConfig, short_name

    name = short_name(corpus)
    source = Text(
        name, DataConfig(corpus, column=column, encoding=encoding, separator=separator, test=test), resplit
    )
    folder = out or Path("runs") / f"bench-{name}{'-resplit' * resplit}{'-quick' * quick}"
    options = {"seeds": 1 if quick else seeds, "scale": _scale(quick, algorithms, rewards)}
    _run([source], folder, options, device, threads, as_json)


@app.command()
def images(
    models: Annotated[
        str | None, typer.Option(help="Image models, comma-separated; all of them if not given.")
    ] = None,
    sizes: Annotated[str, typer.Option(help="Height and width, comma-separated.")] = "8,16,28,32,64,128,256",
    pictures: Annotated[str, typer.Option(help="What they show, comma-separated.")] = "photographs,noise",
    colours: Annotated[str, typer.Option(help="grey, colour or both, comma-separated.")] = "grey,colour",
    steps: Annotated[int, typer.Option(min=1, help="Steps of each training.")] = 30,
    device: common.Device = "auto",
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Train every image model shortly, by its defaults, on photographs and noise of every size.

    The table has the loss of held-out images relative to that before training, and of GANs the diversity.
    """
    from seqgen import image
    from seqgen.bench import image_sizes
    from seqgen.core import device as devices

    devices.prepare(threads)
    chosen = list(image.MODELS) if models is None else common.chosen("model", models, tuple(image.MODELS))
    rows = list(
        image_sizes.run(
            chosen,
            _lengths(sizes, "sizes"),
            kinds=common.chosen("kind of pictures", pictures, image_sizes.PICTURES),
            colours=common.chosen("colour", colours, tuple(image_sizes.CHANNELS)),
            steps=steps,
            device=devices.pick(device),
            notify=_notify,
        )
    )
    if as_json:
        typer.echo(json.dumps({"steps": steps, "rows": [row.as_dict() for row in rows]}))
    else:
        typer.echo(image_sizes.table(rows))


@app.command()
def jobs(
    corpus: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|FILE", help="A text of your own, or one of those; repeatable."),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Length of each training; its default length if not given.")
    ] = None,
    search: Annotated[
        bool, typer.Option("--search", help="Also train at four dropouts, as far as the default.")
    ] = False,
    seeds: Seeds = 1,
    quick: Annotated[bool, typer.Option("--quick", help="Six seconds a training.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="The folder; runs/bench-jobs, or -quick, if not given.")
    ] = None,
    device: common.Device = "auto",
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Train the default generator on texts that users bring, beside plain PyTorch of the same CPU time.

    Without --corpus: names, molecules, logs, tweets, poems, coco and news, those that have been fetched.
    """
    from seqgen.bench import user_texts as bench
    from seqgen.core import device as devices
    from seqgen.training.loop import Interrupted

    devices.prepare(threads)
    texts = [_text_of(each) for each in corpus] if corpus else _fetched_texts(bench.PUBLIC)
    folder = out or Path("runs") / ("bench-jobs-quick" if quick else "bench-jobs")
    options: dict[str, Any] = {"minutes": 0.1 if quick else minutes, "search": search, "seeds": seeds}
    try:
        rows = bench.run(texts, folder, device=device, notify=_notify, **options)
    except Interrupted as stop:
        raise _stopped(stop) from stop
    _write(folder, rows, bench.table(rows), as_json)
    _notify(f"results.json and table.txt are in {folder}")


@app.command()
def scale(
    sizes: Annotated[
        str | None,
        typer.Option(help="Lines of text, comma-separated; 100000,1000000,10000000 if not given."),
    ] = None,
    tasks: Annotated[
        str, typer.Option(help="What is measured, comma-separated.")
    ] = "pretrain,sample,evaluate,start,demo,synthetic",
    steps: Annotated[int | None, typer.Option(min=1, help="Of the longer trainings; 1,000.")] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="A minute or two: 5,000 and 20,000 lines, 20 steps, no whole training."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="The folder; runs/bench-scale, or -quick, if not given.")
    ] = None,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Measure time and memory of whole commands, each in a process of its own, and how they grow.

    Training on texts made by a grammar, sampling to a file and evaluating, at each size; the start of
    commands; the trainings of 'make demo' and of the SeqGAN paper's synthetic task. The same command goes on
    where it stopped.
    """
    import torch

    from seqgen.bench import scale as bench

    chosen = common.chosen("task", tasks, bench.TASKS)
    if quick:
        chosen = [task for task in chosen if task not in bench.WHOLE]
    default = bench.QUICK_SIZES if quick else bench.SIZES
    folder = out or Path("runs") / ("bench-scale-quick" if quick else "bench-scale")
    rows = bench.run(
        folder,
        sizes=default if sizes is None else _lengths(sizes, "sizes"),
        steps=steps or (bench.QUICK_STEPS if quick else bench.STEPS),
        tasks=chosen,
        threads=threads,
        notify=_notify,
    )
    machine = {"instructions": torch.backends.cpu.get_cpu_capability(), "threads": threads}
    results = machine | {"torch": torch.__version__, "rows": rows}
    told = f"{machine['instructions']}, {threads} thread{'s' * (threads > 1)}, torch {torch.__version__}"
    _write(folder, results, f"{told}\n{bench.table(rows)}", as_json)
    _notify(f"results.json and table.txt are in {folder}, and the texts and runs, which may be deleted")


def _fetched_texts(names: Sequence[str]) -> list[Any]:
    """Return the public texts that have been fetched; UserError where none has."""
    from seqgen.bench import user_texts as bench

    present = [name for name in names if bench.is_fetched(name)]
    missing = [name for name in names if name not in present]
    if not present:
        raise UserError(
            f"none of {', '.join(names)} has been fetched; run 'seqgen corpora fetch {names[0]}' and the "
            "like, or name a text by --corpus"
        )
    if missing:
        _notify(f"left out: {', '.join(missing)} (seqgen corpora fetch {missing[0]})")
    return [bench.public_text(name) for name in present]


def _text_of(name: str) -> Any:
    """Return a text by the name of a public one, or by a file or folder."""
    from seqgen.bench import user_texts as bench

    if name not in bench.PUBLIC or Path(name).exists():
        return bench.own_text(name)
    return _fetched_texts([name])[0]


def _scale(quick: bool, algorithms: str | None, rewards: str | None) -> Any:
    """Return how much the benchmark does; UserError for the name of an algorithm or reward it hasn't."""
    from seqgen.algorithms import ADVERSARIAL
    from seqgen.bench import controls
    from seqgen.bench import generators as bench
    from seqgen.bench.case import comparable

    scale = bench.QUICK if quick else bench.Scale()
    if algorithms is not None:
        chosen = (
            comparable()
            if algorithms == "all"
            else common.chosen("algorithm", algorithms, tuple(ADVERSARIAL))
        )
        for name in chosen:
            if name not in comparable():
                needs_labels = ADVERSARIAL[name].cls.needs_labels
                what = "learns from labels" if needs_labels else "starts from an autoencoder"
                raise UserError(
                    f"'{name}' {what}, which this benchmark has none of; leave it out of --algorithms"
                )
        scale = replace(scale, adversarial=tuple(chosen))
    if rewards is not None:
        chosen = [] if rewards == "none" else common.chosen("reward", rewards, tuple(controls.REWARDS))
        scale = replace(scale, rewards=tuple(chosen))
    return scale


def _run(
    sources: Sequence[Any], folder: Path, options: dict[str, Any], device: str, threads: int, as_json: bool
) -> None:
    """Run a benchmark of generators, and write and print its results."""
    from seqgen.bench import frontier
    from seqgen.bench import generators as bench
    from seqgen.core import device as devices
    from seqgen.training.loop import Interrupted

    devices.prepare(threads)
    try:
        results = bench.run(sources, folder, device=device, notify=_notify, **options)
    except Interrupted as stop:
        raise _stopped(stop) from stop
    frontier.save(results["summary"], folder / "frontier.png")
    laid_out = [frontier.table(results["summary"]), frontier.table(results["comparisons"], null="–")]
    _write(folder, results, "\n\n".join(laid_out), as_json)
    _notify(f"results.json, table.txt and frontier.png are in {folder}")


def _write(folder: Path, results: Any, laid_out: str, as_json: bool) -> None:
    """Write results as JSON and laid out, and print them in one of these ways."""
    from seqgen.core.atomic_files import write_text

    write_text(folder / "results.json", json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    write_text(folder / "table.txt", laid_out + "\n")
    typer.echo(json.dumps(results, ensure_ascii=False) if as_json else laid_out)


def _notify(message: str) -> None:
    typer.echo(message, err=True)


def _stopped(stop: Any) -> typer.Exit:
    """Say that a benchmark was interrupted; → what ends the command."""
    _notify("interrupted and saved; the same command goes on")
    return typer.Exit(128 + stop.signal_number)


def _lengths(listed: str, option: str = "length") -> list[int]:
    """Parse comma-separated lengths; UserError where one is no whole number above 0."""
    parts = listed.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UserError(f"--{option} '{listed}': give whole numbers above 0, comma-separated, as in 20,40")
    return [int(part) for part in parts]
