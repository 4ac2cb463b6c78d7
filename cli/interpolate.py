"""`seqgen interpolate`: decode the latents between those of two sentences."""

from typing import Annotated

import typer

from seqgen.cli import common, latent_common
from seqgen.core.errors import UserError


def interpolate(
    first: Annotated[
        str | None, typer.Argument(help="A sentence; one of the test split if not given.")
    ] = None,
    last: Annotated[str | None, typer.Argument(help="Another sentence.")] = None,
    steps: Annotated[int, typer.Option(min=2, help="Sentences, both ends included.")] = 7,
    spherical: Annotated[
        bool, typer.Option("--spherical", help="Spherical interpolation instead of linear.")
    ] = False,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Of a run with labels: that of both sentences, or twice, of each."),
    ] = None,
    run: latent_common.Run = None,
    corpus: common.Moved = None,
    temperature: latent_common.Temperature = 0.0,
    seed: latent_common.Seed = 0,
    format: latent_common.Format = "text",
    device: common.Device = "auto",
    threads: common.Threads = None,
    trust: common.Trust = False,
    quiet: common.Quiet = False,
) -> None:
    """Interpolate between the latents of two sentences; with jsonl also the weight of the last sentence."""
    latent_common.check_format(format)
    if first is not None and last is None:
        raise UserError(f"'{first}' is only one sentence; give two sentences to interpolate, or none")
    if len(label or []) > 2:
        raise UserError(
            f"--label is given {len(label or [])} times; give it once for both sentences, or twice"
        )
    trained, notify = latent_common.load_with_latents(run, device, threads, trust, quiet, corpus)
    from seqgen.data.reading import Reading
    from seqgen.inference import latent_space
    from seqgen.training.load import alone

    def texts(given: list[str] | None, n: int, name: str | None) -> list[str]:
        return latent_common.read_texts(trained, notify, given, None, Reading(), n=n, seed=seed, label=name)

    names = [*(label or [None]) * 2][:2]
    if last is None and names[0] == names[1]:
        ends = texts(None, 2, names[0])
    else:
        given = [None, None] if last is None else [[first or ""], [last]]
        ends = [end for text, name in zip(given, names, strict=True) for end in texts(text, 1, name)]
    if len(ends) < 2:
        raise UserError("the corpus does not have two sentences to interpolate; give two")
    shown = [alone(trained, each) for each in ends]
    notify(f"from: {shown[0]}\nto:   {shown[1]}")
    decoded = latent_space.interpolate(
        trained, ends[0], ends[1], steps, spherical=spherical, temperature=temperature, seed=seed
    )
    rows = [{"weight": i / (steps - 1), "text": line} for i, line in enumerate(decoded)]
    latent_common.print_lines(decoded if format == "text" else [latent_common.to_json(row) for row in rows])
