"""`seqgen encode`: write the latents of sentences as a NumPy file."""

from pathlib import Path
from typing import Annotated

import typer

from seqgen.cli import common, latent_common
from seqgen.core.errors import UserError


def encode(
    file: Annotated[Path, typer.Argument(help="Sentences, one per line, or a table; - is stdin.")],
    out: Annotated[Path, typer.Option(metavar="FILE.npy", help="The file to write.")],
    run: latent_common.Run = None,
    column: common.Column = None,
    encoding: common.Encoding = None,
    separator: common.Separator = None,
    device: common.Device = "auto",
    threads: common.Threads = None,
    trust: common.Trust = False,
    quiet: common.Quiet = False,
) -> None:
    """Write the latents of sentences as a NumPy file: float32 (N, Z), one row per line, in their order."""
    if out.suffix != ".npy":
        raise UserError(f"--out '{out}' does not end in .npy, the only format written")
    trained, notify = latent_common.load_with_latents(run, device, threads, trust, quiet)
    import numpy as np

    from seqgen.core.atomic_files import write_atomic
    from seqgen.data.reading import Reading
    from seqgen.inference import latent_space

    how = Reading(column, encoding, separator)
    sentences = latent_common.read_file(trained, file, "FILE", how, notify)
    latents = latent_space.encode(trained, sentences).numpy()

    def write(temporary: Path) -> None:
        with temporary.open("wb") as opened:
            np.save(opened, latents)

    write_atomic(out, write)
    notify(f"{out}: {len(latents):,} latents of {latents.shape[1]} dimensions")
