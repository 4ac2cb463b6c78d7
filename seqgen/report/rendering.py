"""The templates of a page, in `templates/`: every value is escaped, its control characters written out."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from seqgen.core.printable import printable


def render(template: str, **values: Any) -> str:
    """Fill a template of `seqgen/report/templates` with values."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("seqgen.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )


def _finalize(value: Any) -> Any:
    """Write out the control characters of a text; markup, which macros return, holds none any more."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
