"""`seqgen encode`: write the latents of sentences as a NumPy file."""

from pathlib import Path
from types import SimpleNamespace
from typing import IO, Annotated

import typer

from seqgen.cli import common, latent_common


def encode(
    file: Annotated[Path, typer.Argument(help="Sentences, one per line, or a table; - is stdin.")],
    out: Annotated[Path, typer.Option(metavar="FILE.npy", help="The file to write.")],
    run: latent_common.Run = None,
    column: common.Column = None,
    encoding: common.Encoding = None,
    separator: common.Separator = None,
    label: latent_common.Label = None,
    label_column: latent_common.LabelColumn = None,
    device: common.Device = "auto",
    threads: common.Threads = None,
    trust: common.Trust = False,
    quiet: common.Quiet = False,
) -> None:
    """Write the latents of sentences as a NumPy file: float32 (N, Z), one row per line, in their order."""
    common.check_file(out, ".npy")
    trained, notify = latent_common.load_with_latents(run, device, threads, trust, quiet)
    import numpy as np

    from seqgen.core.atomic_files import write_atomic
    from seqgen.data.reading import Reading
    from seqgen.inference import latent_space

    how = Reading(column, encoding, separator, label_column)
    sentences = latent_common.read_file(trained, file, "FILE", how, notify, label)
    latents = latent_space.encode(trained, sentences).numpy()

    def write(opened: IO[bytes]) -> None:
        np.lib.format.write_array(SimpleNamespace(write=opened.write), latents)  # type: ignore[arg-type]

    write_atomic(out, write)
    notify(f"{out}: {len(latents):,} latents of {latents.shape[1]} dimensions")
