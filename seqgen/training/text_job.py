"""A training of text ready to start, from a corpus, its tokenizer and settings: encoded, built, assembled."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqgen.algorithms import Entry, finetune
from seqgen.algorithms.teacher import Teacher
from seqgen.core import plugins, settings, user_functions
from seqgen.core.atomic_files import write_text
from seqgen.data.batch import Batch
from seqgen.data.batches import Batches, Ids, encode_lines, in_order
from seqgen.data.corpus import Corpus
from seqgen.data.reading import Reading
from seqgen.data.tokenizer import Tokenizer
from seqgen.training import load, paths, run_folder, sentence_ends
from seqgen.training.data_config import DataConfig, describe, length_limit, to_store, why
from seqgen.training.job import Job, Request, assemble
from seqgen.training.load import Trained
from seqgen.training.loop import Medium, Stream
from seqgen.training.sentence_ends import SentenceEnds

VALID_BATCH = 256
"""Validation sentences measured at a time."""
FEWEST_STEPS_BETWEEN_REPORTS = 50


def config_keys(
    verb: str,
    algorithm: str,
    config: Any,
    data: DataConfig,
    corpus_hash: str,
    *,
    folder: Path,
    seed: int,
    init: Path | None,
    teacher: Path | None = None,
) -> dict[str, Any]:
    """Return what the configuration of the run asked for, in a folder, must say.

    data: with absolute paths. init: the run that it starts from. teacher: the run that it learns from.
    """
    return {
        "verb": verb,
        "algorithm": algorithm,
        "settings": settings.to_dict(config),
        "data": to_store(data, folder),
        "corpus_hash": corpus_hash,
        "seed": seed,
        "init": paths.to_store(str(init.resolve()), folder) if init else None,
        "init_hash": run_folder.weights_hash(init) if init else None,
        "teacher": paths.to_store(str(teacher.resolve()), folder) if teacher else None,
        "teacher_hash": run_folder.weights_hash(teacher) if teacher else None,
    } | _user_code(config)


def _user_code(config: Any) -> dict[str, Any]:
    """Return the hashes of the user's functions, which a resumed training must call as they were."""
    hashes = {name: user_functions.load(name).source_hash for name in config.functions}
    return {"user_code": hashes} if hashes else {}


def text_job(
    entry: Entry,
    config: Any,
    asked: Request,
    corpus: Corpus,
    tokenizer: Tokenizer,
    *,
    steps: int | None,
    minutes: float | None = None,
    fit: Callable[[int], Any] | None = None,
    device: torch.device,
    start: Trained | None,
    adopt: Callable[[Any], None],
    teacher: Trained | None = None,
    select: Callable[[Ids], Ids] = lambda ids: ids,
    compile: bool = False,
) -> Job:
    """Encode the corpus and assemble the training, by the training sentences that are selected.

    fit: from a length of training to the settings, where minutes decide that; see `seqgen.training.job`, for
    `compile`, too.
    """
    cls = entry.cls
    data = DataConfig(**asked.config["data"])
    limit = length_limit(data, tokenizer)
    end = Reading(separator=data.separator).item_end
    train, valid, ends = _encoded(corpus, tokenizer, limit, asked, start, replays=config.replays)

    def stream(ids: Any) -> Batches:
        return Batches(
            ids, config.read_size, seed=asked.config["seed"], bucket_by_length=cls.bucket_by_length
        )

    selected = select(train)
    own = stream(selected)
    batches: Stream = own
    if start is not None and config.replays:
        replayed = encode_lines(start.corpus.train, tokenizer, max_length=limit)
        batches = finetune.ReplayBatches(own, stream(replayed))
    chosen_as = why(data, corpus, tokenizer)
    notes = describe(
        corpus, tokenizer, train, valid, limit, fixed_length=ends.fixed_length, chosen_as=chosen_as
    )

    def begin(fresh: Any) -> None:
        fresh.read_corpus(selected)
        adopt(fresh)
        if teacher is not None:
            fresh.teacher = Teacher(teacher.algorithm)
            fresh.teacher.check(fresh)

    return assemble(
        asked,
        config,
        build=lambda described: load.build(described, entry, tokenizer),
        start=begin,
        facts={
            "vocab_size": tokenizer.vocab_size,
            "length": int(train.lengths().max()),
            "grammar": corpus.grammar,
            "fixed_length": ends.fixed_length,
            "never_empty": ends.never_empty,
            "labels": dict(Counter(corpus.train.conditions())) if data.label_column is not None else None,
            "sizes": {"train": len(corpus.train), "valid": len(corpus.valid), "test": len(corpus.test)},
            "removed": corpus.removed,
            "code_hash": plugins.source_hash(cls),
        },
        steps=steps,
        minutes=minutes,
        fit=fit,
        fewest_steps_between_reports=lambda length: FEWEST_STEPS_BETWEEN_REPORTS,
        batches=batches,
        validation=_Validation(valid, device),
        device=device,
        medium=Medium("tokens", finetune.real_tokens, 10, partial(_write_sentences, tokenizer, end)),
        notes=_start_notes(start, cls.keeps_ngrams) + _teacher_notes(teacher) + notes,
        files={} if asked.existing else {run_folder.TOKENIZER: tokenizer.to_json()},
        compile=compile,
    )


def _encoded(
    corpus: Corpus,
    tokenizer: Tokenizer,
    limit: int,
    asked: Request,
    start: Trained | None,
    *,
    replays: bool,
) -> tuple[Ids, Ids, SentenceEnds]:
    """Encode training and validation sentences, and say where they end, if all agree.

    A run that has begun keeps to what it says of that, and adversarial training to what the run says that it
    starts from.
    """
    limit = corpus.fixed_length or limit
    train, valid = (
        encode_lines(lines, tokenizer, max_length=limit) for lines in (corpus.train, corpus.valid)
    )
    if asked.existing is not None:
        ends = sentence_ends.recorded(asked.existing.config)
    elif start is not None and asked.config["verb"] == "adversarial":
        ends = sentence_ends.recorded(start.run.config)
    else:
        ends = sentence_ends.find(corpus, tokenizer, train, valid, limit=limit)
        if replays and ends.fixed_length:  # the sentences of another corpus have ends
            ends = SentenceEnds(never_empty=True)
    if ends.fixed_length not in (None, limit):
        limit = ends.fixed_length
        train, valid = (
            encode_lines(lines, tokenizer, max_length=limit) for lines in (corpus.train, corpus.valid)
        )
    return train, valid, ends


def _start_notes(start: Trained | None, keeps_ngrams: bool) -> list[str]:
    """Say what the training starts from, and what of it is left behind."""
    if start is None:
        return []
    notes = [f"starts from: {start.run.path}"]
    if start.algorithm.mixed is not None and not keeps_ngrams:
        notes.append("its n-grams are left out: the network alone is trained and rolled out")
    return notes


def _teacher_notes(teacher: Trained | None) -> list[str]:
    """Say whose embeddings of sentences are learned."""
    if teacher is None:
        return []
    return [f"learns embeddings from: {teacher.run.path} ({teacher.run.config['algorithm']})"]


def _write_sentences(tokenizer: Tokenizer, end: str, path: Path, samples: Tensor) -> None:
    write_text(path.with_suffix(".txt"), "".join(each + end for each in load.decode(tokenizer, samples)))


@dataclass(frozen=True)
class _Validation:
    """The validation split as batches on a device, as often as asked for."""

    ids: Any
    device: torch.device

    def __iter__(self) -> Iterator[Batch]:
        for tokens, _ in in_order(self.ids, VALID_BATCH):
            yield Batch(tokens.to(self.device))
