"""A trained run read back: its algorithm with the kept weights, its tokenizer, its corpus."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqgen import algorithms, device, run, settings, text
from seqgen.batches import Ids, bounded_rows
from seqgen.errors import UserError
from seqgen.run import Run
from seqgen.tokenizer import EOS, PAD, UNK, Tokenizer

SAMPLE_BATCH = 512
"""Sentences drawn at a time: enough to fill a core, little enough to stream."""
SCORE_SAMPLES = 50
"""Codes by which the likelihood of a sentence is estimated where sentences are scored one by one."""


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
    """Nats under the model at temperature 1, where asked for and the model has a likelihood."""


def load(path: Path | str | Run, device_name: str = "auto") -> Trained:
    """Read a run back from its folder; UserError where a part is missing, corrupt or of another model."""
    found = path if isinstance(path, Run) else run.open_run(Path(path))
    if found.config.get("verb") == "image":
        raise UserError(
            f"'{found.path}' is a run on images, not on text; use 'seqgen image sample --run {found.path}', "
            "or name a run on text with --run"
        )
    check(found)
    where = device.pick(device_name)
    tokenizer = Tokenizer.load(found.path / run.TOKENIZER)
    if tokenizer.vocab_size != found.config["vocab_size"]:
        raise UserError(
            f"'{found.path / run.TOKENIZER}' has {tokenizer.vocab_size} tokens and the run's model "
            f"{found.config['vocab_size']}; it is of another run"
        )
    algorithm = build(found.config)
    run.load_into(algorithm, found)
    return Trained(found, algorithm.to(where).eval(), tokenizer, where)


def check(found: Run) -> None:
    """Raise UserError where a run's configuration lacks what every run on text says."""
    kinds = {"settings": dict, "source": dict, "vocab_size": int, "length": int, "seed": int}
    for name, kind in kinds.items():
        if not isinstance(found.config.get(name), kind):
            raise UserError(
                f"'{found.path / run.CONFIG}' is damaged: it has {name}={found.config.get(name)!r}; "
                "restore it or train again"
            )


def build(config: dict[str, Any]) -> Any:
    """Return the algorithm that a run's configuration describes, with fresh weights."""
    cls = algorithms.get(config["algorithm"])
    return cls(
        settings.from_dict(cls.Config, config["settings"]),
        vocab_size=config["vocab_size"],
        length=config["length"],
    )


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
        with_log_prob: also score each sentence under the model at temperature 1 (EOS included); of a model
            with codes by importance sampling, 50 codes a sentence, and not at all without a likelihood.
        unknown: allow the unknown-word token, which is otherwise never drawn.
        options: temperature, top_k, top_p, min_length, length, search.
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
    scoring = torch.Generator(trained.device).manual_seed(seed)  # its own: scores do not change what is drawn
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
        yield from _sentences(trained, batch[rows], with_log_prob, scoring)
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


def log_likelihood(trained: Trained, tokens: Tensor, *, samples: int, rng: torch.Generator) -> Tensor:
    """log p of sentences under an algorithm that has a likelihood, in nats; (B, T) → (B,).

    Of latent variables, the importance-weighted estimate with so many codes, drawn by `rng`.
    """
    if trained.algorithm.likelihood == "exact":
        return trained.algorithm.log_likelihood(tokens)
    return trained.algorithm.log_likelihood(tokens, samples=samples, rng=rng)


def _sentences(
    trained: Trained, tokens: Tensor, with_log_prob: bool, rng: torch.Generator
) -> Iterator[Sentence]:
    scores = None
    if with_log_prob and len(tokens) and trained.algorithm.likelihood:
        scores = log_likelihood(trained, tokens, samples=SCORE_SAMPLES, rng=rng).tolist()
    counts = (tokens != PAD).sum(dim=1).tolist()
    for i, text_ in enumerate(decode(trained.tokenizer, tokens)):
        yield Sentence(text_, counts[i], scores[i] if scores else None)


def ids_of(trained: Trained, sentences: Sequence[str]) -> Ids:
    """Encode sentences of any length, each ended by EOS, in memory."""
    flat = trained.tokenizer.encode_flat(sentences)
    ends = np.flatnonzero(flat == EOS) + 1
    return Ids(flat, np.concatenate([[0], ends]), truncated=0, unknown=int((flat == UNK).sum()))


def over_sentences(
    trained: Trained, sentences: Sequence[str], function: Callable[[Tensor], Tensor], *, rows: int = 256
) -> Tensor:
    """Apply a function of ids (B, T) → (B, …) to sentences of any length; (N, …) on the CPU, in their order.

    Sentences of like length share a batch of at most `rows`, so that little is spent on padding.
    """
    ids = ids_of(trained, sentences)
    found: Tensor | None = None
    for chosen in bounded_rows(ids.lengths(), rows=rows):
        values = function(ids.batch(chosen).to(trained.device)).cpu()
        if found is None:
            found = values.new_empty(len(ids), *values.shape[1:])
        found[torch.from_numpy(chosen)] = values
    return torch.empty(0) if found is None else found


def decode(tokenizer: Tokenizer, tokens: Tensor) -> list[str]:
    """Turn ids (B, T) into sentences."""
    return [tokenizer.decode(row) for row in tokens.tolist()]
