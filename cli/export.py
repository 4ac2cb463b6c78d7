"""`seqgen export`: a run as an ONNX model of a step, or as a folder for the Hugging Face Hub."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqgen.cli import common
from seqgen.core.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from seqgen.training.load import Trained

FORMATS = ("onnx", "hf")
MOST_BYTES = 1 << 26
"""Size of a file of scores, at most."""


def export(
    to: Annotated[
        str, typer.Option("--to", metavar="FORMAT", help="onnx: a step of the generator; hf: for the hub.")
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder to write, new or empty.")],
    run: Annotated[Path | None, typer.Option(help="The run; the latest under runs/ if not given.")] = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="With hf: what 'evaluate --json' printed of the run, for its card."
        ),
    ] = None,
    trust: common.Trust = False,
    quiet: common.Quiet = False,
) -> None:
    """Write a run in the format of others, with its tokenizer and a card, and print the folder.

    A run of which a format would not hold the whole is refused.
    """
    if to not in FORMATS:
        raise UserError(f"no format '{to}'{did_you_mean(to, FORMATS)}")
    if scores is not None and to != "hf":
        raise UserError("--scores are for the card of --to hf; leave them out")
    trained = common.load_run(run, "cpu", trust=trust)
    if not quiet:
        typer.echo(f"run: {trained.run.path} ({trained.run.config['algorithm']})", err=True)
    _write(trained, to, out, scores)
    typer.echo(str(out))


def _write(trained: "Trained", to: str, out: Path, scores: Path | None) -> None:
    from seqgen.inference import export as exports

    if to == "onnx":
        exports.to_onnx(trained, out)
    else:
        exports.to_hub(trained, out, scores=None if scores is None else _read(scores))


def _read(path: Path) -> dict[str, Any]:
    """Read the JSON object that an evaluation printed; UserError where the file holds none."""
    import json

    from seqgen.core.untrusted import parse_nested, read_regular

    try:
        found = parse_nested(json.loads, read_regular(path, most=MOST_BYTES))
    except ValueError as error:
        raise UserError(
            f"--scores '{path}' is no JSON: {error}; give what 'evaluate --json' printed"
        ) from error
    if not isinstance(found, dict):
        raise UserError(f"--scores '{path}' is no JSON object; give what 'evaluate --json' printed")
    return found
