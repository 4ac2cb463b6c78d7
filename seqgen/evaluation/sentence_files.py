"""Read the files to be scored, as a corpus is read; a blank line or an empty field is an empty sentence."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from seqgen.core.errors import UserError
from seqgen.data import files
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
    """
    given = f"{option} '{path}'"
    if str(path) != "-" and not path.exists():
        raise UserError(f"{given} does not exist; give a file with one sentence a line, or a table")
    found = files.find(str(path), name=given)
    how = replace(files.fitting(how, found), column=how.column)  # a separator may be meant for other files
    taken = Taken()
    chunks = (chunk for file in found for chunk in files.read(file, how, taken))
    sentences = [_clean(each, keep_whitespace) for chunk in chunks for each in chunk]
    if not any(each.strip() for each in sentences):
        raise UserError(f"{given} is empty: it holds no sentence; give one sentence a line")
    empty = [f"{count:,} {reason}, which count as empty" for reason, count in taken.dropped.items()]
    if taken.facts or empty:
        notify(f"{given}: {'; '.join([*taken.facts, *empty])}")
    return sentences


def _clean(sentence: str | None, keep_whitespace: bool) -> str:
    composed = compose(sentence or "")
    return composed if keep_whitespace and composed.strip() else " ".join(composed.split())


def normalise_sentence(text: str) -> str:
    """Return a sentence as files of them are read: in Unicode NFC, each run of white space as one space."""
    return _clean(text, keep_whitespace=False)
