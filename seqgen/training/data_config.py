"""Which text a run learns from, and how it becomes tokens: as the user gave it, and as a run stores it."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from seqgen.core import distributed
from seqgen.core.atomic_files import write_bytes
from seqgen.core.errors import UserError
from seqgen.corpora import names as built_in_names
from seqgen.data import huggingface
from seqgen.data.conditions import MOST_LABELS
from seqgen.data.corpus import Corpus, open_corpus
from seqgen.data.files import format_of
from seqgen.data.token_ids import Ids
from seqgen.data.tokenizer import KINDS, Tokenizer
from seqgen.data.tokenizer_pipelines import LAID_OUT, Choice, choose
from seqgen.data.tokenizer_training import SAMPLE, train_tokenizer
from seqgen.generation import oracles
from seqgen.training import oracle_corpus, paths, run_folder
from seqgen.training.folder_lock import check_link
from seqgen.training.run_config import LONGEST


@dataclass(frozen=True)
class DataConfig:
    """Which text, and how it becomes tokens."""

    corpus: str = "scenes"
    column: str | None = None
    encoding: str | None = None
    """A codec of Python; None: UTF-8, or what a byte-order mark names."""
    separator: str | None = None
    """What stands between sentences of a text file: `blank` (a blank line) or a string; None: a line end."""
    label_column: str | None = None
    """The column of labels; `folder`: the folders that text files are in."""
    source_column: str | None = None
    """The column of the texts that the sentences go on from."""
    valid: str | None = None
    test: str | None = None
    tokenizer: str = "auto"
    """One of `seqgen.data.tokenizer.KINDS`, a run's folder or a tokenizer.json."""
    lowercase: bool = False
    max_vocab: int | None = None
    min_count: int | None = None
    max_length: int | None = None
    """Tokens a sentence, EOS included; None: 64 words or pieces, 200 characters or bytes."""


def short_name(corpus: str) -> str:
    """Return a corpus's short name for a folder: 'data/captions.txt' → 'captions'."""
    if oracles.is_oracle(corpus):
        corpus = corpus.removeprefix(oracles.PREFIX).split(",")[0]
    name = Path(corpus.removeprefix("hf:").split(":")[0].rstrip("/")).name
    name = name.split(".")[0] if name != "-" else "stdin"
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name) or "corpus"


def absolute(data: DataConfig, folder: Path, texts: Sequence[str] | None = None) -> DataConfig:
    """Return the data with absolute paths, and a copy in the run's folder of what comes from no file.

    That is a pipe, or the `texts` that are the corpus. An evaluation reads the corpus again.

    UserError where the run's folder keeps another such text.
    """
    if data.corpus == "-":
        piped = _read_pipe() if texts is None else _as_jsonl(texts)
        copy = folder / (f"corpus{format_of(piped) or '.txt'}" if texts is None else "corpus.jsonl")
        check_link(copy, folder)
        has_begun = any((folder / name).exists() for name in (run_folder.STATE, run_folder.WEIGHTS))
        if has_begun and copy.exists() and copy.read_bytes() != piped:
            raise UserError(f"'{folder}' holds a run on another text; choose another --run")
        write_bytes(copy, piped)
        data = replace(data, corpus=str(copy))
    if oracles.is_oracle(data.corpus):
        _check_oracle(data)
        return replace(data, corpus=str(oracles.parse(data.corpus)))
    names = {*built_in_names(), *KINDS}
    if Path(data.corpus).is_dir() and folder.resolve().is_relative_to(Path(data.corpus).resolve()):
        raise UserError(
            f"the run folder '{folder}' is in the folder '{data.corpus}' of the corpus, and would be read as "
            "a part of it; choose another --run"
        )
    return _with_paths(data, lambda spec: resolved(spec) if spec not in names else spec)


def _read_pipe() -> bytes:
    """Read standard input; of several processes, which have one together, the first reads it for all."""
    piped = sys.stdin.buffer.read() if distributed.is_writer() else b""
    distributed.wait_for_all()
    return distributed.share(piped)


def _as_jsonl(texts: Sequence[str]) -> bytes:
    """Write sentences as a table of one column, in which a line break within one is kept."""
    return "".join(json.dumps({"text": each}) + "\n" for each in texts).encode()


def resolved(spec: str) -> str:
    """Return the absolute path of what exists, and anything else, such as a name of the hub, as it is."""
    if spec.startswith("hf:"):
        return "hf:" + huggingface.absolute(spec.removeprefix("hf:"))
    return str(Path(spec).resolve()) if Path(spec).exists() else spec


def to_store(data: DataConfig, folder: Path) -> dict[str, Any]:
    """Return the data as the run in a folder stores it."""
    return asdict(_with_paths(data, lambda path: paths.to_store(path, folder)))


def from_store(stored: Mapping[str, Any], folder: Path, *, corpus: str | None = None) -> DataConfig:
    """Return the data that the run in a folder stores, from where the corpus is now, if that is given.

    Held-out files that are not where they were are looked for beside it: the hash tells whether they are it.
    """
    data = _with_paths(DataConfig(**stored), lambda path: paths.from_store(path, folder))
    if corpus is None:
        return data
    now = resolved(corpus)

    def beside(path: str | None) -> str | None:
        return path and paths.moved_along(path, data.corpus, now)

    return replace(data, corpus=now, valid=beside(data.valid), test=beside(data.test))


def _with_paths(data: DataConfig, change: Callable[[str], str]) -> DataConfig:
    """Return the data with every name that may be a path changed."""
    return replace(
        data,
        corpus=change(data.corpus),
        valid=data.valid and change(data.valid),
        test=data.test and change(data.test),
        tokenizer=change(data.tokenizer),
    )


def _check_oracle(data: DataConfig) -> None:
    """Raise UserError where options ask for what an oracle decides: its tokens, its length, its splits."""
    default = DataConfig(corpus=data.corpus)
    for name in vars(default):
        if getattr(data, name) != getattr(default, name):
            raise UserError(
                f"--{name.replace('_', '-')} does not go with an oracle, whose tokens, length and splits are "
                "given; leave it out, and see the options of its name, as in oracle:lstm-3,length=40"
            )


def open_data(data: DataConfig, *, seed: int, keep_whitespace: bool = False) -> Corpus:
    """Open the corpus that the data name: text, or the samples of an oracle."""
    if oracles.is_oracle(data.corpus):
        return oracle_corpus.open_oracle_corpus(data.corpus, seed=seed)
    return open_corpus(
        data.corpus,
        column=data.column,
        encoding=data.encoding,
        separator=data.separator,
        label=data.label_column,
        source=data.source_column,
        valid=data.valid,
        test=data.test,
        seed=seed,
        keep_whitespace=keep_whitespace,
    )


def open_with_tokenizer(data: DataConfig, known: Tokenizer | None, *, seed: int) -> tuple[Corpus, Tokenizer]:
    """Open the corpus that the data name, and train its tokenizer, or take the one that is known.

    White space is kept if the tokenizer keeps it.
    """
    corpus = open_data(data, seed=seed)
    if known is None:
        kind = _kind(data, corpus)
        if corpus.taken.respaced and kind not in ("word", None):
            corpus = open_data(data, seed=seed, keep_whitespace=True)
        known = tokenizer_for(replace(data, tokenizer=kind or data.tokenizer), corpus)
    if corpus.taken.respaced:
        corpus = open_data(data, seed=seed, keep_whitespace=known.keeps_whitespace)
    return corpus, known


def with_conditions(tokenizer: Tokenizer, data: DataConfig, corpus: Corpus) -> Tokenizer:
    """Return a tokenizer with tokens for what the sentences of a corpus are given.

    UserError where the labels are too many to be labels.
    """
    if data.source_column is not None:
        return tokenizer.with_sources()
    if data.label_column is None:
        return tokenizer
    names = {name for lines in (corpus.train, corpus.valid, corpus.test) for name in lines.conditions()}
    if len(names) > MOST_LABELS:
        raise UserError(
            f"column '{data.label_column}' has {len(names):,} different values; labels are at most "
            f"{MOST_LABELS:,}, and for texts to go on from there is --source-column"
        )
    return tokenizer.with_labels(sorted(names))


def _kind(data: DataConfig, corpus: Corpus) -> str | None:
    """Return the kind of tokenizer to train; None where it is another run's or an oracle's."""
    if data.tokenizer not in KINDS or oracles.is_oracle(data.corpus):
        return None
    if data.tokenizer != "auto":
        return data.tokenizer
    return _choice(corpus).kind


def _choice(corpus: Corpus) -> Choice:
    """Choose a tokenizer by what a corpus is."""
    taken, sentences = corpus.taken, len(corpus.train) + len(corpus.valid) + len(corpus.test)
    if taken.laid_out > LAID_OUT * sentences:
        return Choice(
            "bpe", f"{taken.laid_out / sentences:.0%} of the sentences are indented or have several lines"
        )
    return choose(corpus.train[:SAMPLE])


def why(data: DataConfig, corpus: Corpus, tokenizer: Tokenizer) -> str:
    """Say why a tokenizer of its kind was chosen for a corpus; nothing where the user has, or for words."""
    if data.tokenizer != "auto" or oracles.is_oracle(data.corpus):
        return ""
    choice = _choice(corpus)
    return choice.reason if choice.kind == tokenizer.kind else ""


def check_no_tokenizer(data: DataConfig) -> None:
    """Raise UserError where options ask for a vocabulary although it is that of another run."""
    default = DataConfig()
    for name in ("tokenizer", "lowercase", "max_vocab", "min_count"):
        if getattr(data, name) != getattr(default, name):
            raise UserError(
                f"--{name.replace('_', '-')} does not go with --init: the vocabulary is the run's, with the "
                "corpus's further words after it"
            )


def length_limit(data: DataConfig, tokenizer: Tokenizer) -> int:
    """Return the most tokens of a sentence, EOS included: more of them where a token is a character.

    A sentence of an oracle fills them, so that it is encoded without its end.
    """
    if oracles.is_oracle(data.corpus):
        return oracles.parse(data.corpus).length
    if data.max_length and data.max_length > LONGEST:
        raise UserError(f"a maximum length of {data.max_length} is too large; give {LONGEST:,} or less")
    return data.max_length or (200 if tokenizer.kind in ("character", "byte") else 64)


def tokenizer_for(data: DataConfig, corpus: Corpus) -> Tokenizer:
    """Train the tokenizer that is asked for, or read it where a run or a file is named.

    Likelihoods of two models compare only where they share a tokenizer.
    """
    if named := _named_tokenizer(data):
        return named
    if oracles.is_oracle(data.corpus):
        return oracle_corpus.oracle_tokenizer(data.corpus)
    return train_tokenizer(
        corpus.train if data.source_column is None else [*corpus.train, *corpus.train.conditions()],
        data.tokenizer,
        lowercase=data.lowercase,
        max_vocab=data.max_vocab,
        min_count=data.min_count,
    )


def _named_tokenizer(data: DataConfig) -> Tokenizer | None:
    """Read the tokenizer of a run or a file, where one is named."""
    place = Path(data.tokenizer)
    if data.tokenizer in KINDS or not place.exists():
        return None
    return Tokenizer.load(place / run_folder.TOKENIZER if place.is_dir() else place)


def check_same_tokenizer(data: DataConfig, tokenizer: Tokenizer, corpus: Corpus, folder: Path) -> None:
    """Raise UserError where a file names another tokenizer than that of the run in a folder."""
    named = _named_tokenizer(data)
    if named is not None and with_conditions(named, data, corpus).to_json() != tokenizer.to_json():
        raise UserError(
            f"'{folder}' holds a run with another tokenizer than '{data.tokenizer}'; choose another --run"
        )


def describe(
    corpus: Corpus,
    tokenizer: Tokenizer,
    train: Ids,
    valid: Ids,
    limit: int,
    *,
    fixed_length: int | None = None,
    chosen_as: str = "",
) -> list[str]:
    """Say what a user should know of a corpus before training, in one line, and why a split is empty.

    The line has the sizes, what was taken of the files, and what was left out, changed, cut or is unknown.
    fixed_length: the number of tokens of every sentence, where all have the same. chosen_as: why the
    tokenizer is of this kind.
    """
    facts = f" ({'; '.join(corpus.taken.facts)})" if corpus.taken.facts else ""
    sizes = f"{len(corpus.train):,} training, {len(corpus.valid):,} validation, {len(corpus.test):,} test"
    parts = [
        f"corpus: {corpus.name}{facts}: {sizes} sentences",
        f"{tokenizer.kind} tokenizer{chosen_as and f' (as {chosen_as})'}, {tokenizer.vocab_size:,} tokens",
    ]
    dropped = [f"{count:,} {reason}" for reason, count in corpus.taken.dropped.items()]
    dropped += [f"{count:,} of {name} also held out" for name, count in corpus.removed.items() if count]
    if dropped:
        parts.append(f"left out: {', '.join(dropped)}")
    if corpus.taken.respaced and not tokenizer.keeps_whitespace:
        parts.append(
            f"every run of white space is one space, which changed {corpus.taken.respaced:,} sentences "
            "(--tokenizer bpe keeps it)"
        )
    if fixed_length:
        parts.append(f"every sentence has {fixed_length} tokens, so every sample has; its end is not counted")
    elif train.truncated:
        parts.append(
            f"{train.truncated:,} training sentences were cut to {limit} tokens (--max-length raises this)"
        )
    if train.unknown or valid.unknown:
        named = (("training", train), ("validation", valid))
        counts = ", ".join(f"{ids.unknown:,} of {len(ids.tokens):,} in {name}" for name, ids in named)
        parts.append(f"unknown tokens (by --min-count or --max-vocab): {counts}")
    return ["; ".join(parts), *_empty_splits(corpus)]


def _empty_splits(corpus: Corpus) -> list[str]:
    """Explain held-out splits that are empty."""
    empty = [name for name, lines in (("validation", corpus.valid), ("test", corpus.test)) if not len(lines)]
    if not empty:
        return []
    return [
        f"no {' and no '.join(empty)} split: a split takes 5 % of the sentences, all copies of one together, "
        f"and {corpus.name} has too few different ones; name files with --valid and --test"
    ]
