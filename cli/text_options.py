"""The options that say what text a training reads, which its commands take as one `DataConfig`."""

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqgen.cli import common

if TYPE_CHECKING:
    from seqgen.training.data_config import DataConfig


def _options(
    corpus: Annotated[
        str | None,
        typer.Option(
            help="A built-in name, a file (.txt .csv .tsv .json .jsonl .parquet, or .gz), a folder, -, "
            "hf:NAME or oracle:NAME."
        ),
    ] = None,
    column: common.Column = None,
    encoding: common.Encoding = None,
    separator: common.Separator = None,
    label_column: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="The column of labels to learn; folder: the folders that text files are in.",
        ),
    ] = None,
    source_column: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="The column of texts that the sentences are to go on from."),
    ] = None,
    valid: Annotated[str | None, typer.Option(help="A file held out for validation.")] = None,
    test: Annotated[str | None, typer.Option(help="A file held out for the final measure.")] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="auto, word, character, bpe, byte, or a run or file to take it from.")
    ] = None,
    lowercase: Annotated[bool, typer.Option("--lowercase", help="Fold the case of the words.")] = False,
    max_vocab: Annotated[int | None, typer.Option(min=5, help="Largest vocabulary.")] = None,
    min_count: Annotated[
        int | None, typer.Option(min=1, help="Rarer words become unknown; 3 or less if not given.")
    ] = None,
    max_length: Annotated[int | None, typer.Option(min=2, help="Tokens a sentence, end included.")] = None,
) -> "DataConfig | None":
    """Return what the options ask for; None where not one of them is given."""
    asked = {name: value for name, value in locals().items() if value not in (None, False)}
    if not asked:
        return None
    from seqgen.training.data_config import DataConfig

    return DataConfig(**asked)


def takes_text(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command these options in the place of its parameter `data`, which is what they ask for."""
    options = inspect.signature(_options).parameters

    @functools.wraps(command)
    def with_data(**given: Any) -> None:
        data = _options(**{name: given.pop(name) for name in options})
        command(data=data, **given)

    parameters: list[inspect.Parameter] = []
    signature = inspect.signature(command)
    for each in signature.parameters.values():
        parameters += options.values() if each.name == "data" else [each]
    with_data.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_data.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_data
