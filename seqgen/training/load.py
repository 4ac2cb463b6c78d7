"""A trained run read back: its algorithm with the kept weights, its tokenizer, its corpus."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqgen import algorithms
from seqgen.algorithms import Entry
from seqgen.core import device as devices
from seqgen.core import distributed, plugins, settings
from seqgen.core.errors import UserError
from seqgen.core.random_state import apart
from seqgen.core.untrusted import read_fields
from seqgen.data.batches import Ids, bounded_rows
from seqgen.data.conditions import SEPARATOR, parted
from seqgen.data.corpus import Corpus
from seqgen.data.token_ids import with_given
from seqgen.data.tokenizer import EOS, UNK, Tokenizer
from seqgen.generation import oracles
from seqgen.generation.condition import Condition
from seqgen.models.base import KINDS
from seqgen.models.ngram_mixture import NGramMixture
from seqgen.models.vocab_head import VocabHead
from seqgen.training import run_config, run_folder, sentence_ends
from seqgen.training.data_config import DataConfig, from_store, open_with_tokenizer
from seqgen.training.run_folder import Run
from seqgen.training.weight_shapes import check_shapes

SAMPLE_BATCH = 512
"""Sentences drawn at a time: enough to fill a core, little enough to stream."""
SCORE_SAMPLES = 50
"""Latent vectors by which the likelihood of a sentence is estimated where sentences are scored one by one."""


@dataclass
class Trained:
    """A run ready to sample from and to measure."""

    run: Run
    algorithm: Any
    tokenizer: Tokenizer
    device: torch.device
    moved_corpus: str | None = None
    """Where the corpus is now, if it has moved."""

    @property
    def data(self) -> DataConfig:
        """Where the text of the run is, and how it became tokens."""
        return from_store(self.run.config["data"], self.run.path, corpus=self.moved_corpus)

    @cached_property
    def corpus(self) -> Corpus:
        """The corpus that the run was trained on; UserError where it is gone or has changed."""
        return open_corpus(self.run, self.data)


def load(
    path: Path | str | Run,
    device_name: str = "auto",
    *,
    trust: bool = False,
    given: str | None = None,
    corpus: str | None = None,
) -> Trained:
    """Read a run back from its folder; UserError where a part is missing, corrupt or of another model.

    trust: whether the run may name code outside this package. given: the name of an algorithm that the user
    gave himself, which the run may name, too. corpus: where its corpus is now, if that has moved.
    """
    found = path if isinstance(path, Run) else run_folder.open_run(Path(path))
    if found.config["verb"] == "image":
        raise UserError(
            f"'{found.path}' is a run on images, not on text; name a run on text with --run, or use: "
            f"seqgen image sample --run {shlex.quote(str(found.path))}"
        )
    check(found)
    entry = entry_of(found, trust=trust, given=given)
    device = devices.pick(device_name)
    tokenizer = tokenizer_of(found)
    check_sizes(found, entry, tokenizer)
    with apart():
        algorithm = build(found.config, entry, tokenizer)
    run_folder.load_into(algorithm, found)
    return Trained(found, algorithm.to(device).eval(), tokenizer, device, corpus)


def check(found: Run) -> None:
    """Raise UserError where a run's configuration lacks what every run on text says."""
    where = found.path / run_folder.CONFIG
    run_config.require(found.config, run_config.TEXT, where)
    try:
        read_fields(DataConfig, found.config["data"])
    except ValueError as error:
        raise UserError(f"'{where}' is damaged: its data have {error}; restore it or train again") from error


def tokenizer_of(found: Run) -> Tokenizer:
    """Read the tokenizer of a run; UserError where it is missing, damaged or another's."""
    place = found.path / run_folder.TOKENIZER
    tokenizer = Tokenizer.load(place)
    if tokenizer.vocab_size != found.config["vocab_size"]:
        raise UserError(
            f"'{place}' has {tokenizer.vocab_size} tokens and the run's model "
            f"{found.config['vocab_size']}; it is of another run"
        )
    return tokenizer


def check_sizes(found: Run, entry: Entry, tokenizer: Tokenizer) -> None:
    """Raise UserError where the weights of a run of this package's are not those of its configuration."""
    if is_built_in(found):
        check_shapes(partial(build, found.config, entry, tokenizer), found)


def is_built_in(found: Run) -> bool:
    """Whether a run's algorithm is one of this package."""
    return found.config["algorithm"] in algorithms.PRETRAIN | algorithms.ADVERSARIAL


def entry_of(found: Run, *, trust: bool = False, given: str | None = None) -> Entry:
    """Return the algorithm that a run's configuration names; UserError where that is code not to be trusted.

    Code outside this package must be named by the user as well, or trusted; and it must be what it was when
    the run was trained, by its file's hash, unless it is trusted.
    """
    config, where = found.config, found.path / run_folder.CONFIG
    name, known = config["algorithm"], algorithms.PRETRAIN | algorithms.ADVERSARIAL
    plugins.check_trusted(name, known, where, trust=trust, given=given, group=algorithms.GROUP)
    # Of whatever part and however it is written: nested, dotted, or the end of a key alone.
    for key, kind in settings.flatten(config.get("settings", {})).items():
        if key.split(".")[-1] == "kind":
            plugins.check_trusted(str(kind), KINDS, where, trust=trust, given=given)
    entry = algorithms.get(name)
    if name not in known and not trust:
        plugins.check_unchanged(entry.cls, name, config.get("code_hash"), found.path)
    return entry


def build(config: dict[str, Any], entry: Entry, tokenizer: Tokenizer) -> Any:
    """Return the algorithm that a run's configuration describes, with fresh weights.

    What is known of the ends of its sentences (`seqgen.training.sentence_ends`) its heads and its n-grams are
    told: where all have the same number of tokens, an end has no probability, nor has an unknown word of an
    oracle.
    """
    more = {"tokenizer": tokenizer} if entry.cls.needs_tokenizer else {}
    algorithm = entry.cls(
        settings.from_dict(entry.cls.Config, config["settings"]),
        vocab_size=config["vocab_size"],
        length=config["length"],
        **more,
    )
    algorithm.condition = _condition(config, tokenizer)
    ends = sentence_ends.recorded(config)
    never = (EOS, UNK) if oracles.is_oracle(config["data"]["corpus"]) else (EOS,)
    for module in algorithm.modules():
        if ends.fixed_length and isinstance(module, VocabHead | NGramMixture):
            module.rule_out(never)
        elif ends.never_empty and isinstance(module, VocabHead):
            module.never_ends_at = int(bool(config.get("labels")))
    return algorithm


def _condition(config: dict[str, Any], tokenizer: Tokenizer) -> Condition | None:
    """Return what the sentences of a run are given; UserError where its tokenizer lacks a label."""
    if tokenizer.then is not None:
        return Condition(then=tokenizer.then)
    counts = config.get("labels")
    if not counts:
        return None
    ids = [ids[0] for ids in tokenizer.encode_conditions(list(counts))]
    return Condition(tuple(ids), tuple(map(float, counts.values())))


def open_corpus(found: Run, data: DataConfig) -> Corpus:
    """Open the corpus of a run again; UserError where it is gone or no longer what was trained on."""
    for path in (data.corpus, data.valid, data.test):
        if path is not None and Path(path).is_absolute() and not Path(path).exists():
            raise UserError(
                f"'{path}', which run '{found.path}' was trained with, is not there any more; if it has "
                "moved or has another name, say where the corpus is now with --corpus"
            )
    tokenizer = Tokenizer.load(found.path / run_folder.TOKENIZER)
    opened, _ = open_with_tokenizer(data, tokenizer, seed=found.config["seed"])
    if opened.hash != found.config["corpus_hash"]:
        raise UserError(
            f"the corpus '{data.corpus}' is no longer the one that run '{found.path}' was trained on, or its "
            "held-out files are not; --corpus says where that is now, and is left out where it has not moved"
        )
    return opened


def log_likelihood(trained: Trained, tokens: Tensor, *, samples: int, rng: torch.Generator) -> Tensor:
    """log p of sentences under an algorithm that has a likelihood, in nats; (B, T) → (B,).

    Of latent variables, the importance-weighted estimate with so many draws by `rng`.
    """
    if trained.algorithm.likelihood == "exact":
        return trained.algorithm.log_likelihood(tokens)
    return trained.algorithm.log_likelihood(tokens, samples=samples, rng=rng)


def ids_of(trained: Trained, sentences: Sequence[str]) -> Ids:
    """Encode sentences of any length, each ended by EOS, in memory; without it where none has an end.

    Where sentences are given something, it stands before them (`seqgen.data.conditions`); UserError for one
    that is given nothing.
    """
    given: list[list[int]] = []
    if trained.algorithm.condition is not None:
        conditions, sentences = _parted(trained, sentences)
        given = trained.tokenizer.encode_conditions(conditions)
    flat = trained.tokenizer.encode_flat(sentences)
    ends = np.flatnonzero(flat == EOS) + 1
    if given:
        flat, lengths = with_given(given, flat, np.diff(ends, prepend=0))
        ends = np.cumsum(lengths)
    if trained.run.config.get("fixed_length"):
        ends -= np.arange(1, len(ends) + 1)
        flat = flat[flat != EOS]
    return Ids(flat, np.concatenate([[0], ends]), truncated=0, unknown=int((flat == UNK).sum()))


def _parted(trained: Trained, lines: Sequence[str]) -> tuple[list[str], list[str]]:
    pairs = [parted(line) for line in lines]
    if any(SEPARATOR not in line for line in lines):
        kind, how = "a source", "generate from sources by 'seqgen sample --source FILE'"
        if trained.tokenizer.then is None:
            kind, how = "a label", "give --label, or --label-column where a table has labels"
        raise UserError(
            f"every sentence of '{trained.run.path}' is given {kind}, and here they are given none; {how}"
        )
    return [condition for condition, _ in pairs], [sentence for _, sentence in pairs]


def alone(trained: Trained, line: str) -> str:
    """Return a sentence without what it is given, where the run's sentences are given something."""
    return line if trained.algorithm.condition is None else parted(line)[1]


def over_sentences(
    trained: Trained, sentences: Sequence[str], function: Callable[[Tensor], Tensor], *, rows: int = 256
) -> Tensor:
    """Apply a function of ids (B, T) → (B, …) to sentences of any length; (N, …) on the CPU, in their order.

    Sentences of like length share a batch of at most `rows`, so that little is spent on padding.
    """
    ids = ids_of(trained, sentences)
    found: Tensor | None = None
    for chosen in bounded_rows(ids.lengths(), rows=rows):
        values = distributed.by_rows(function, ids.batch(chosen).to(trained.device)).cpu()
        if found is None:
            found = values.new_empty(len(ids), *values.shape[1:])
        found[torch.from_numpy(chosen)] = values
    return torch.empty(0) if found is None else found


def decode(tokenizer: Tokenizer, tokens: Tensor) -> list[str]:
    """Turn ids (B, T) into sentences."""
    return [tokenizer.decode(row) for row in tokens.tolist()]
