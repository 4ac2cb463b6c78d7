"""Opening a corpus: a built-in, files, standard input or a `datasets` name becomes three splits of sentences.

A sentence is a line (or a field of a table), brought to Unicode NFC, so that one way of writing an accent
is left, with every run of white space, line ends within a field included, collapsed to one space and
stripped; blank ones are dropped. Only LF, CR LF and CR end a line: U+2028 and U+0085 are white space. NFC
also replaces the few compatibility ideographs by the unified ones. Case and punctuation are kept.
"""

import hashlib
import json
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path

import numpy as np

from seqgen.core import cache
from seqgen.core.errors import UserError
from seqgen.data import files as sources
from seqgen.data import huggingface
from seqgen.data.sentence_store import Lines, Store, open_store, store_of, write_store
from seqgen.data.splits import HELD_OUT_FRACTION, HELD_OUT_MOST, Splits, split

__all__ = ["BUILT_IN_SIZES", "Corpus", "Lines", "normalise", "open_corpus"]

BUILT_IN_SIZES = {"train": 60_000, "valid": 1_000, "test": 1_000}
"""Sentences drawn from a built-in grammar for each split."""

FORMAT = 1
"""Part of every cache key; raise it when reading, normalising or splitting changes what is stored."""


@dataclass(frozen=True)
class Corpus:
    """Three splits of sentences, of which no two share a sentence."""

    name: str
    """As the user named it: 'scenes', 'captions.txt', 'hf:NAME'."""
    train: Lines
    valid: Lines
    """May be empty, like `test`, where the corpus has fewer than three different sentences."""
    test: Lines
    hash: str
    """SHA-256, in hex, of the content and of every option that shaped the splits."""
    removed: dict[str, int]
    """Sentences left out of 'train' and 'valid' because they also stand in a later split."""
    grammar: str | None
    """The built-in grammar it was drawn from, if any: the true distribution is then known."""


def open_corpus(
    spec: str, *, column: str | None = None, valid: str | None = None, test: str | None = None, seed: int = 0
) -> Corpus:
    """Open what `spec` names: a built-in corpus, a file, a directory, `-` (stdin) or `hf:NAME[:CONFIG]`.

    Files are text, a sentence a line, or .csv .tsv .jsonl .parquet, of which `column` holds the sentences
    (needed where several columns hold text); all but Parquet also as .gz. A directory is all its files, in
    the order of their names. `hf:` takes a dataset's name or a local dataset folder. A built-in name goes
    before a file of the same name (write ./scenes for the file).

    `valid` and `test` name held-out files of the same kinds; a dataset's own splits serve where it has them,
    and a built-in corpus is drawn three times. What is still missing is split off the training sentences by
    `seed`: each held-out split takes 5 %, at least one and at most 10,000 lines; all copies of a sentence
    go to the same split, and one with more copies than the split has room for stays in train. Fewer than
    three different sentences are all train, and the held-out splits are empty.

    A test set stays as given; sentences that also stand in it are removed from valid and train, those of
    valid from train. Copies within one split stay.

    The sentences are streamed into the cache folder once; the same source opens from there the next time.
    Raise `UserError` for whatever is wrong with what was given.
    """
    found = _open(spec, column, seed)
    for role, given in (("valid", valid), ("test", test)):
        if given is not None:
            found[role] = _open_held_out(given, role, column)
    stores = [found.get(role) for role in ("train", "valid", "test")]
    parts = [store and store.lines.hash for store in stores]
    drawn = None if all(parts) else [seed, HELD_OUT_FRACTION, HELD_OUT_MOST]
    hash = _digest([FORMAT, parts, drawn])
    rows = _split_cached(hash, found, seed)
    _refuse_emptied(found, rows, spec, valid, test)
    train, held = found["train"], {role: found.get(role, found["train"]) for role in ("valid", "test")}
    return Corpus(
        name=spec,
        train=train.select(rows.train, _digest([hash, "train"])),
        valid=held["valid"].select(rows.valid, _digest([hash, "valid"])),
        test=held["test"].select(rows.test, _digest([hash, "test"])),
        hash=hash,
        removed=rows.removed,
        grammar=spec if _is_built_in(spec) else None,
    )


def normalise(sentences: list[str]) -> list[str]:
    """Bring sentences to NFC, collapse white space, and drop the blank ones."""
    composed = [each if each.isascii() else unicodedata.normalize("NFC", each) for each in sentences]
    return [clean for clean in [" ".join(each.split()) for each in composed] if clean]


def _open(spec: str, column: str | None, seed: int) -> dict[str, Store]:
    if _is_built_in(spec):
        return _draw(spec, seed)
    if spec.startswith("hf:"):
        return _open_dataset(spec, column)
    return {"train": _open_files(spec, column, given="corpus")}


def _open_held_out(spec: str, role: str, column: str | None) -> Store:
    """Open a held-out source; of a dataset, its split of that role, or else its training split."""
    if spec.startswith("hf:"):
        splits = _open_dataset(spec, column)
        return splits.get(role, splits["train"])
    return _open_files(spec, column, given=role)


def _is_built_in(spec: str) -> bool:
    from seqgen.corpora import names

    return spec in names()


def _draw(name: str, seed: int) -> dict[str, Store]:
    """Draw the three splits of a built-in corpus, each by a seed of its own."""
    from seqgen.corpora import load

    grammar = load(name)
    seeds = np.random.SeedSequence(seed).generate_state(len(BUILT_IN_SIZES)).tolist()
    sizes = zip(BUILT_IN_SIZES.items(), seeds, strict=True)
    return {role: store_of(normalise(grammar.sample(size, own))) for (role, size), own in sizes}


def _open_files(spec: str, column: str | None, *, given: str) -> Store:
    if not spec:
        raise UserError(f"the {given} has an empty name; give a path, '-' or hf:NAME")
    if given == "corpus":
        _refuse_unknown(spec)
    files = sources.find(spec)
    if given != "corpus" and not any(map(sources.has_columns, files)):
        column = None  # the column is the corpus's; a held-out text file needs none

    def chunks() -> Iterator[list[str]]:
        for file in files:
            yield from sources.read(file, column)

    return _store(sources.key(files, column), spec, chunks)


def _open_dataset(spec: str, column: str | None) -> dict[str, Store]:
    splits = huggingface.load(spec.removeprefix("hf:"))
    if "train" not in splits:
        raise UserError(f"the training split of {spec!r} is empty")
    return {
        role: _store(huggingface.key(part, column), spec, partial(huggingface.read, part, spec, column))
        for role, part in splits.items()
    }


def _store(key: str, name: str, chunks: Callable[[], Iterator[list[str]]]) -> Store:
    """Open the cached sentences of a source, reading and normalising them first where they are not there."""

    def fill(folder: Path) -> None:
        if not write_store(folder, map(normalise, chunks())):
            raise UserError(f"{name} holds no sentence; give text with at least one line that is not blank")

    return open_store(cache.entry("text", _digest([FORMAT, key]), fill))


def _split_cached(hash: str, found: dict[str, Store], seed: int) -> Splits:
    def fill(folder: Path) -> None:
        hashes = {role: store.hashes for role, store in found.items()}
        split(hashes["train"], hashes.get("valid"), hashes.get("test"), seed=seed).save(folder)

    return Splits.load(cache.entry("splits", hash, fill))


def _refuse_emptied(
    found: dict[str, Store], rows: Splits, spec: str, valid: str | None, test: str | None
) -> None:
    if not len(rows.train):
        raise UserError(f"every sentence of {spec} also stands in its held-out files; give others")
    if "valid" in found and not len(rows.valid):
        raise UserError(
            f"every sentence of {valid or f'the validation split of {spec}'} also stands in "
            f"{test or f'the test split of {spec}'}; give another, or leave it out to split the corpus"
        )


def _refuse_unknown(spec: str) -> None:
    """Explain a bare word that is neither a built-in corpus nor a file."""
    from seqgen.corpora import names

    if spec == "-" or Path(spec).exists() or Path(spec).name != spec or Path(spec).suffix:
        return
    near = get_close_matches(spec, names(), n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"the built-in ones: {', '.join(names())};"
    raise UserError(
        f"no corpus {spec!r}: neither built in nor a file; {hint} "
        "Expected a built-in name, the path of a file or directory, '-' or hf:NAME"
    )


def _digest(parts: list) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
