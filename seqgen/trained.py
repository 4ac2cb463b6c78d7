"""A trained run read back: its algorithm with the kept weights, its tokenizer, its corpus."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqgen import algorithms, device, run, settings, text
from seqgen.errors import UserError
from seqgen.run import Run
from seqgen.tokenizer import PAD, UNK, Tokenizer

SAMPLE_BATCH = 512
"""Sentences drawn at a time: enough to fill a core, little enough to stream."""


@dataclass
class Trained:
    """A run ready to sample from and to measure."""

    run: Run
    algorithm: Any
    tokenizer: Tokenizer
    device: torch.device

    @cached_property
    def corpus(self) -> text.Corpus:
        """The corpus that the run was trained on; UserError where it is gone or has changed."""
        return open_corpus(self.run)


@dataclass(frozen=True)
class Sentence:
    """One sampled sentence."""

    text: str
    tokens: int
    """How many tokens were drawn or given, EOS included."""
    log_prob: float | None
    """Nats under the model at temperature 1, where asked for."""


def load(path: Path | str | Run, device_name: str = "auto") -> Trained:
    """Read a run back from its folder; UserError where a part is missing, corrupt or of another model."""
    found = path if isinstance(path, Run) else run.open_run(Path(path))
    where = device.pick(device_name)
    tokenizer = Tokenizer.load(found.path / run.TOKENIZER)
    algorithm = build(found.config)
    weights = run.load_weights(found)
    try:
        algorithm.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"'{found.path / run.WEIGHTS}' does not fit the model of its {run.CONFIG}; it is of another run"
        ) from error
    return Trained(found, algorithm.to(where).eval(), tokenizer, where)


def build(config: dict[str, Any]) -> Any:
    """Return the algorithm that a run's configuration describes, with fresh weights."""
    cls = algorithms.get(config["algorithm"])
    try:
        return cls(
            settings.from_dict(cls.Config, config["settings"]),
            vocab_size=config["vocab_size"],
            length=config["length"],
        )
    except KeyError as error:
        raise UserError(f"the run's {run.CONFIG} lacks {error}; it was written by another version") from error


def open_corpus(found: Run) -> text.Corpus:
    """Open the corpus of a run again; UserError where it is gone or no longer what was trained on."""
    source = found.config["source"]
    corpus = text.open_corpus(
        source["corpus"],
        column=source["column"],
        valid=source["valid"],
        test=source["test"],
        seed=found.config["seed"],
    )
    if corpus.hash != found.config["corpus_hash"]:
        raise UserError(
            f"the corpus '{source['corpus']}' is no longer the one that run '{found.path}' was trained on"
        )
    return corpus


def generate(
    trained: Trained,
    n: int,
    *,
    prompt: str = "",
    seed: int = 0,
    unique: bool = False,
    with_log_prob: bool = False,
    unknown: bool = False,
    notify: Callable[[str], None] = lambda message: None,
    **options: Any,
) -> Iterator[Sentence]:
    """Yield n sentences one by one in constant memory, as `seqgen.sampling.sample` draws them.

    Args:
        prompt: text that every sentence begins with.
        unique: leave repeats out; ends early, with a note, where the generator seems to have no more.
        with_log_prob: also score each sentence under the model at temperature 1 (EOS included).
        unknown: allow the unknown-word token, which is otherwise never drawn.
        options: temperature, top_k, top_p, min_length, length.
    """
    ids = trained.tokenizer.encode(prompt) if prompt else []
    if UNK in ids:
        notify(f"the prompt '{prompt}' has words or characters that the model has never seen")
    length = options.pop("length", None) or trained.run.config["length"]
    if len(ids) >= length:
        raise UserError(
            f"the prompt has {len(ids)} tokens and a sentence at most {length}; shorten the prompt"
        )
    given = torch.tensor(ids, device=trained.device) if ids else None
    rng = torch.Generator(trained.device).manual_seed(seed)
    seen: set[int] = set()
    made, fruitless = 0, 0
    while made < n:
        batch = trained.algorithm.sample(
            min(SAMPLE_BATCH, n - made) if not unique else SAMPLE_BATCH,
            length=length,
            prompt=given,
            forbid=() if unknown else (UNK,),
            rng=rng,
            **options,
        ).tokens
        rows = [i for i in range(len(batch)) if not unique or _is_new(batch[i], seen)][: n - made]
        yield from _sentences(trained, batch[rows], with_log_prob)
        made += len(rows)
        fruitless = 0 if rows else fruitless + 1
        if fruitless == 20:
            notify(f"only {made} unique sentences: {20 * SAMPLE_BATCH} further draws brought no new one")
            return


def _is_new(row: Tensor, seen: set[int]) -> bool:
    key = hash(row.cpu().numpy().tobytes())
    if key in seen:
        return False
    seen.add(key)
    return True


def _sentences(trained: Trained, tokens: Tensor, with_log_prob: bool) -> Iterator[Sentence]:
    scores = None
    if with_log_prob and len(tokens):
        scores = trained.algorithm.log_likelihood(tokens).tolist()
    counts = (tokens != PAD).sum(dim=1).tolist()
    for i, text_ in enumerate(decode(trained.tokenizer, tokens)):
        yield Sentence(text_, counts[i], scores[i] if scores else None)


def decode(tokenizer: Tokenizer, tokens: Tensor) -> list[str]:
    """Turn ids (B, T) into sentences."""
    return [tokenizer.decode(row) for row in tokens.tolist()]
