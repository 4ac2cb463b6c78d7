"""Opening a corpus: a built-in name, files, standard input or a dataset becomes three splits of sentences.

A sentence is a line of text, what stands between separators, or a field of a table. It is normalised to
Unicode NFC, so that an accent has one encoding; NFC also replaces the few compatibility ideographs by
unified ones. Blank sentences are dropped. Lines end with LF, CR LF or CR only; U+2028 and U+0085 are white
space. Case and punctuation are kept.

White space is kept as it is for a tokenizer that keeps it. Otherwise every run of it, line ends within a
sentence included, becomes one space, and that at either end is removed.
"""

import hashlib
import json
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path

import numpy as np

from seqgen.core import cache
from seqgen.core.errors import UserError
from seqgen.data import files, huggingface
from seqgen.data.conditions import joined, parted
from seqgen.data.reading import Chunks, Reading, Taken
from seqgen.data.sentence_store import Lines, Store, open_store, store_of, write_store
from seqgen.data.splits import HELD_OUT_FRACTION, HELD_OUT_MAX, Splits, split

__all__ = ["BUILT_IN_SIZES", "Corpus", "Lines", "normalise", "open_corpus"]

BUILT_IN_SIZES = {"train": 60_000, "valid": 1_000, "test": 1_000}
"""Sentences drawn from a built-in grammar for each split."""

FORMAT = 1
"""Part of the hash of every corpus, which runs have recorded; increase it when splits become others."""

READ_FORMAT = 3
"""Part of every cache key of a source; increase it when reading or normalising stores something else."""

TAKEN = "taken.json"
"""The file of a cached source that says what was taken of it."""


@dataclass(frozen=True)
class Corpus:
    """Three splits of sentences; no sentence is in two of them, unless an oracle has drawn it twice."""

    name: str
    """The name that the user gave: 'scenes', 'captions.txt', 'hf:NAME'."""
    train: Lines
    valid: Lines
    """Empty, like `test`, if the corpus has fewer than three distinct sentences."""
    test: Lines
    hash: str
    """SHA-256, in hex, of the content and of every option that determines the splits."""
    removed: dict[str, int]
    """Number of sentences removed from 'train' and from 'valid' because they are in a later split too."""
    grammar: str | None
    """The built-in grammar that generated the corpus, if any: its true distribution is then known."""
    fixed_length: int | None = None
    """Tokens of every sentence, where their number is fixed: sentences then have no end, and EOS is never
    part of one. So it is for the samples of an oracle (`seqgen.generation.oracles`)."""
    taken: Taken = field(default_factory=Taken)
    """What was taken of all sources and what was left out."""


@dataclass(frozen=True)
class _Source:
    """The sentences of a source, and what was taken of it."""

    store: Store
    taken: Taken = field(default_factory=Taken)


def open_corpus(
    spec: str,
    *,
    column: str | None = None,
    encoding: str | None = None,
    separator: str | None = None,
    label: str | None = None,
    source: str | None = None,
    valid: str | None = None,
    test: str | None = None,
    seed: int = 0,
    keep_whitespace: bool = False,
) -> Corpus:
    """Open the corpus `spec`: a built-in name, a file, a folder, `-` (standard input) or `hf:NAME[:CONFIG]`.

    Files are text with one sentence a line, or tables (.csv, .tsv, .json, .jsonl, .parquet) whose `column`
    holds the sentences; it must be given if several columns hold text. All but Parquet may be compressed as
    .gz. A folder stands for all its files in the order of their names. `hf:` takes the name of a dataset of
    the Hugging Face hub or a local dataset folder. A built-in name has precedence over a file of that name
    (./scenes is the file). `encoding` and `separator` are those of `seqgen.data.reading.Reading`, and so are
    `label` and `source`, the column of what sentences are given (`seqgen.data.conditions`); a label may be
    that of the `folder` that a text file is in. With labels no sentence is in two splits, whatever its label;
    with sources no source is.

    `valid` and `test` name held-out files of the same formats. Without them the splits of a dataset are used,
    if it has them, and a built-in corpus is sampled three times. A split that is still missing is taken from
    the training sentences at random by `seed`: 5 % of the lines, at least one and at most 10,000. All copies
    of a sentence go to one split; a sentence with more copies than the split may hold stays in train. If
    there are fewer than three distinct sentences, all are in train and the held-out splits are empty.

    The test split is never changed. Sentences of test are removed from valid and train, those of valid from
    train. Copies within a split stay.

    The sentences are written to the cache folder once; the next time they are read from there. Raise
    UserError for everything that can be wrong with the arguments and the files.
    """
    how = Reading(column, encoding, separator, label, source)
    sources = _open(spec, how, seed, keep_whitespace)
    for role, given in (("valid", valid), ("test", test)):
        if given is not None:
            sources[role] = _open_held_out(given, role, how, keep_whitespace)
    found = {role: source.store for role, source in sources.items()}
    stores = [found.get(role) for role in ("train", "valid", "test")]
    parts = [store and store.lines.hash for store in stores]
    drawn = None if all(parts) else [seed, HELD_OUT_FRACTION, HELD_OUT_MAX]
    hash = _digest([FORMAT, parts, drawn])
    rows = _split_cached(hash, found, seed)
    _refuse_emptied(found, rows, spec, valid, test)
    train, held_out = found["train"], {role: found.get(role, found["train"]) for role in ("valid", "test")}
    taken = Taken()
    for each in sources.values():
        taken.add(each.taken)
    return Corpus(
        name=spec,
        train=train.select(rows.train, _digest([hash, "train"])),
        valid=held_out["valid"].select(rows.valid, _digest([hash, "valid"])),
        test=held_out["test"].select(rows.test, _digest([hash, "test"])),
        hash=hash,
        removed=rows.removed,
        grammar=spec if _is_built_in(spec) else None,
        taken=taken,
    )


def compose(sentence: str) -> str:
    """Normalise a sentence to NFC."""
    return sentence if sentence.isascii() else unicodedata.normalize("NFC", sentence)


def normalise(sentences: list[str]) -> list[str]:
    """Normalise sentences to NFC, collapse white space, and drop blank sentences."""
    return [clean for clean in [" ".join(compose(each).split()) for each in sentences] if clean]


def _normalised(
    chunks: Chunks, taken: Taken, keep_whitespace: bool, *, conditioned: bool
) -> Iterator[list[str]]:
    """Yield sentences as they are stored, and count what that changes."""
    for chunk in chunks:
        kept = []
        blank = no_text = 0
        for line in chunk:
            if line is None:
                continue
            if "\0" in line:  # which a table can hold, and no tokenizer
                no_text += 1
                continue
            condition, sentence = parted(line) if conditioned else ("", line)
            composed = compose(sentence)
            clean = " ".join(composed.split())
            if not clean:
                blank += 1
                continue
            if clean != composed:
                taken.respaced += 1
                taken.laid_out += composed[0].isspace() or "\n" in composed.strip()
            stored = composed if keep_whitespace else clean
            kept.append(joined(compose(condition), stored) if conditioned else stored)
        taken.drop("blank", blank)
        taken.drop("with the character NUL", no_text)
        yield kept


def _open(spec: str, how: Reading, seed: int, keep: bool) -> dict[str, _Source]:
    if _is_built_in(spec):
        if how.given is not None:
            raise UserError(f"the built-in corpus '{spec}' has no columns; leave {how.given!r} out")
        return {role: _Source(store) for role, store in _sample_built_in(spec, seed).items()}
    if spec.startswith("hf:"):
        return _open_dataset(spec, how, keep)
    return {"train": _open_files(spec, how, keep, given="corpus")}


def _open_held_out(spec: str, role: str, how: Reading, keep: bool) -> _Source:
    """Open a held-out source; of a dataset, its split of that role, or else its training split."""
    if spec.startswith("hf:"):
        splits = _open_dataset(spec, how, keep)
        return splits.get(role, splits["train"])
    return _open_files(spec, how, keep, given=role)


def _is_built_in(spec: str) -> bool:
    from seqgen.corpora import names

    return spec in names()


def _sample_built_in(name: str, seed: int) -> dict[str, Store]:
    """Sample the three splits of a built-in corpus, each with a seed of its own."""
    from seqgen.corpora import load

    grammar = load(name)
    seeds = np.random.SeedSequence(seed).generate_state(len(BUILT_IN_SIZES)).tolist()
    sizes = zip(BUILT_IN_SIZES.items(), seeds, strict=True)
    return {role: store_of(normalise(grammar.sample(size, own))) for (role, size), own in sizes}


def _open_files(spec: str, how: Reading, keep: bool, *, given: str) -> _Source:
    if not spec:
        raise UserError(f"the {given} has an empty name; give a path, '-' or hf:NAME")
    if given == "corpus":
        _refuse_unknown(spec)
    found = files.find(spec)
    if given != "corpus":
        how = files.fitting(how, found)  # the options are those of the training file

    def chunks(taken: Taken) -> Chunks:
        for file in found:
            yield from files.read(file, how, taken)

    return _source(files.key(found, how), spec, chunks, keep, how)


def _open_dataset(spec: str, how: Reading, keep: bool) -> dict[str, _Source]:
    if how != replace(how, encoding=None, separator=None):
        raise UserError(f"a dataset such as {spec!r} has no encoding or separator to name; leave it out")
    splits = huggingface.load(spec.removeprefix("hf:"))
    if "train" not in splits:
        raise UserError(f"the training split of {spec!r} is empty")
    return {
        role: _source(huggingface.key(part, how), spec, partial(huggingface.read, part, spec, how), keep, how)
        for role, part in splits.items()
    }


def _source(key: str, name: str, chunks: Callable[[Taken], Chunks], keep: bool, how: Reading) -> _Source:
    """Open the sentences of a source from the cache; if they are not there, read and normalise them first."""
    conditioned = how.given is not None

    def identity(line: str) -> str:
        return parted(line)[how.source is None]

    def fill(folder: Path) -> None:
        taken = Taken()
        lines = _normalised(chunks(taken), taken, keep, conditioned=conditioned)
        if not write_store(folder, lines, identity if conditioned else None):
            dropped = ", ".join(f"{count:,} {reason}" for reason, count in taken.dropped.items())
            found = f" (left out: {dropped})" if dropped else ""
            raise UserError(
                f"{name} holds no sentence{found}; give text with at least one line that is not blank"
            )
        (folder / TAKEN).write_text(taken.to_json(), encoding="utf-8")

    place = cache.entry("text", _digest([READ_FORMAT, keep, key]), fill)
    return _Source(
        open_store(place, conditioned=conditioned),
        Taken.from_json((place / TAKEN).read_text(encoding="utf-8")),
    )


def _split_cached(hash: str, found: dict[str, Store], seed: int) -> Splits:
    def fill(folder: Path) -> None:
        hashes = {role: store.hashes for role, store in found.items()}
        split(hashes["train"], hashes.get("valid"), hashes.get("test"), seed=seed).save(folder)

    return Splits.load(cache.entry("splits", hash, fill))


def _refuse_emptied(
    found: dict[str, Store], rows: Splits, spec: str, valid: str | None, test: str | None
) -> None:
    if not len(rows.train):
        raise UserError(f"every sentence of {spec} is also in its held-out files; give others")
    if "valid" in found and not len(rows.valid):
        raise UserError(
            f"every sentence of {valid or f'the validation split of {spec}'} is also in "
            f"{test or f'the test split of {spec}'}; give another, or leave it out to split the corpus"
        )


def _refuse_unknown(spec: str) -> None:
    """Raise UserError for a bare word that is neither a built-in corpus nor a file."""
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
