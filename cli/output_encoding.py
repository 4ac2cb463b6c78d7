"""Standard output that can write every string: characters that it lacks, paths that are no UTF-8."""

import codecs
import sys

import typer

ESCAPE = "seqgen.escape"
"""The name of the error handler of `escape`."""


def prepare() -> None:
    r"""Let standard output write what its encoding lacks as `\uXXXX`, as JSON does, with a note on stderr.

    Bytes of a path that are no UTF-8 are written as they are.
    """
    noted = False

    def escape(error: UnicodeError) -> tuple[str | bytes, int]:
        nonlocal noted
        if not isinstance(error, UnicodeEncodeError):
            raise error
        lacking = error.object[error.start : error.end]
        if all("\udc80" <= character <= "\udcff" for character in lacking):
            return lacking.encode("ascii", "surrogateescape"), error.end
        if not noted and error.encoding.replace("-", "").lower() != "utf8":
            noted = True
            typer.echo(
                f"standard output is {error.encoding}: characters that it lacks are written as \\uXXXX; set "
                "PYTHONIOENCODING=utf-8",
                err=True,
            )
        units = lacking.encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2)), error.end

    codecs.register_error(ESCAPE, escape)
    if hasattr(sys.stdout, "reconfigure"):  # it may be closed, or replaced by a caller
        sys.stdout.reconfigure(errors=ESCAPE)
