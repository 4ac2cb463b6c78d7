"""Which text a run learns from, and how it becomes tokens: as the user named it, and as it is kept."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from seqgen.core.atomic_files import write_bytes
from seqgen.core.errors import UserError
from seqgen.corpora import names as built_in_names
from seqgen.data.corpus import Corpus
from seqgen.data.token_ids import Ids
from seqgen.data.tokenizer import KINDS, Tokenizer, train_tokenizer
from seqgen.training import run_folder


@dataclass(frozen=True)
class Source:
    """Which text, and how it becomes tokens."""

    corpus: str = "scenes"
    column: str | None = None
    valid: str | None = None
    test: str | None = None
    tokenizer: str = "auto"
    """One of `seqgen.data.tokenizer.KINDS`, a run's folder or a tokenizer.json."""
    lowercase: bool = False
    max_vocab: int | None = None
    min_count: int | None = None
    max_length: int | None = None
    """Tokens a sentence, EOS included; None: 64 words or pieces, 200 characters or bytes."""


def slug(corpus: str) -> str:
    """Return a corpus's short name for a folder: 'data/captions.txt' → 'captions'."""
    name = Path(corpus.removeprefix("hf:").split(":")[0].rstrip("/")).name
    name = name.split(".")[0] if name != "-" else "stdin"
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name) or "corpus"


def lasting(source: Source, folder: Path) -> Source:
    """Name files by absolute paths, and keep what comes from a pipe: measuring reads the corpus again.

    UserError where the run's folder keeps another text from a pipe.
    """
    if source.corpus == "-":
        kept = folder / "corpus.txt"
        piped = sys.stdin.buffer.read()
        begun = any((folder / name).exists() for name in (run_folder.STATE, run_folder.WEIGHTS))
        if begun and kept.exists() and kept.read_bytes() != piped:
            raise UserError(f"'{folder}' holds a run on another text; choose another --run, or delete it")
        write_bytes(kept, piped)
        source = replace(source, corpus=str(kept))
    built_in = built_in_names()

    def absolute(spec: str | None) -> str | None:
        is_file = spec is not None and spec not in built_in and Path(spec).exists()
        return str(Path(spec).resolve()) if spec is not None and is_file else spec

    return replace(
        source,
        corpus=absolute(source.corpus) or "",
        tokenizer=source.tokenizer if source.tokenizer in KINDS else absolute(source.tokenizer) or "",
        valid=absolute(source.valid),
        test=absolute(source.test),
    )


def check_untokenised(source: Source) -> None:
    """Raise UserError where a source that takes over a run's vocabulary asks for another."""
    usual = Source()
    for name in ("tokenizer", "lowercase", "max_vocab", "min_count"):
        if getattr(source, name) != getattr(usual, name):
            raise UserError(
                f"--{name.replace('_', '-')} does not go with --init: the vocabulary is the run's, with the "
                "corpus's further words after it"
            )


def length_limit(source: Source, tokenizer: Tokenizer) -> int:
    """Return the most tokens of a sentence, EOS included: more of them where a token is a character."""
    return source.max_length or (200 if tokenizer.kind in ("character", "byte") else 64)


def tokenizer_for(source: Source, corpus: Corpus) -> Tokenizer:
    """Train the tokenizer that a source asks for, or read it where the source names a run or a file.

    Likelihoods of two models compare only where they share a tokenizer.
    """
    if source.tokenizer not in KINDS and Path(source.tokenizer).exists():
        place = Path(source.tokenizer)
        return Tokenizer.load(place / run_folder.TOKENIZER if place.is_dir() else place)
    return train_tokenizer(
        corpus.train,
        source.tokenizer,
        lowercase=source.lowercase,
        max_vocab=source.max_vocab,
        min_count=source.min_count,
    )


def notes(corpus: Corpus, tokenizer: Tokenizer, train: Ids, valid: Ids, limit: int) -> list[str]:
    """Say what a user should know of a corpus before training: sizes, what was removed, cut or unknown."""
    sizes = f"{len(corpus.train):,} training, {len(corpus.valid):,} validation, {len(corpus.test):,} test"
    vocabulary = f"{tokenizer.kind} tokenizer, {tokenizer.vocab_size:,} tokens"
    said = [f"corpus: {corpus.name}: {sizes} sentences; {vocabulary}"]
    removed = {name: count for name, count in corpus.removed.items() if count}
    if removed:
        listed = ", ".join(f"{count:,} from {name}" for name, count in removed.items())
        said.append(f"removed as duplicates of held-out sentences: {listed}")
    if train.truncated:
        said.append(
            f"{train.truncated:,} training sentences were cut to {limit} tokens; --max-length raises this"
        )
    if train.unknown or valid.unknown:
        parts = (("training", train), ("validation", valid))
        shares = ", ".join(f"{ids.unknown:,} of {len(ids.tokens):,} in {name}" for name, ids in parts)
        said.append(f"unknown tokens (rarer than --min-count): {shares}")
    return said
