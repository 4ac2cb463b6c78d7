"""Read the files to be scored, as a corpus is read; a blank line or an empty field is an empty sentence."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from seqgen.core.errors import UserError
from seqgen.data import files
from seqgen.data.conditions import SEPARATOR, joined, parted
from seqgen.data.corpus import compose
from seqgen.data.reading import Reading, Taken


def read_sentences(
    path: Path,
    option: str,
    how: Reading = Reading(),
    *,
    keep_whitespace: bool = False,
    notify: Callable[[str], None] = lambda message: None,
) -> list[str]:
    """Read the sentences of a file of any kind that a corpus may have, a pipe or standard input (`-`).

    Blank ones are kept, so that sentence i is that of line or row i. Characters are normalised to NFC; white
    space is collapsed unless it is kept. `option` is the name of the option, for the UserError if the file is
    missing, not text, or blank; `notify` is told which column was read, and how many rows hold no sentence.
    Where `how` names a column of labels, a row's label stands before its sentence, and UserError for a row
    without either.
    """
    given = f"{option} '{path}'"
    if str(path) != "-" and not path.exists():
        raise UserError(f"{given} does not exist; give a file with one sentence a line, or a table")
    found = files.find(str(path), name=given)
    how = replace(files.fitting(how, found), column=how.column)  # a separator may be meant for other files
    taken = Taken()
    chunks = (chunk for file in found for chunk in files.read(file, how, taken))
    rows = [each for chunk in chunks for each in chunk]
    if how.given is not None:
        return _conditioned(rows, given, how.given, keep_whitespace)
    sentences = [_clean(each, keep_whitespace) for each in rows]
    if not any(each.strip() for each in sentences):
        raise UserError(f"{given} is empty: it holds no sentence; give one sentence a line")
    empty = [f"{count:,} {reason}, which count as empty" for reason, count in taken.dropped.items()]
    if taken.facts or empty:
        notify(f"{given}: {'; '.join([*taken.facts, *empty])}")
    return sentences


def _conditioned(rows: list[str | None], given: str, column: str, keep_whitespace: bool) -> list[str]:
    """Return sentences with what they are given before them."""
    for number, row in enumerate(rows, 1):
        if row is None or SEPARATOR not in row or not parted(row)[1].strip():
            raise UserError(f"{given}: row {number} has no sentence or no '{column}'; leave such rows out")
    pairs = [parted(row or "") for row in rows]
    return [joined(compose(condition), _clean(sentence, keep_whitespace)) for condition, sentence in pairs]


def _clean(sentence: str | None, keep_whitespace: bool) -> str:
    composed = compose(sentence or "")
    return composed if keep_whitespace and composed.strip() else " ".join(composed.split())


def normalise_sentence(text: str) -> str:
    """Return a sentence as files of them are read: in Unicode NFC, each run of white space as one space."""
    return _clean(text, keep_whitespace=False)
