"""Sample sentences from a trained run, one by one in constant memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqgen.core.errors import UserError
from seqgen.core.user_functions import SentenceFunction
from seqgen.data.tokenizer import PAD, UNK
from seqgen.inference.steering import Steering, steered_sample
from seqgen.training.load import SAMPLE_BATCH, SCORE_SAMPLES, Trained, decode, log_likelihood


@dataclass(frozen=True)
class Sentence:
    """One sampled sentence."""

    text: str
    tokens: int
    """Number of tokens, those of the prompt and EOS included."""
    log_prob: float | None
    """Nats under the model at temperature 1; None if not requested or the model has no likelihood."""


def generate(
    trained: Trained,
    n: int,
    *,
    prompt: str = "",
    seed: int = 0,
    unique: bool = False,
    with_log_prob: bool = False,
    unknown: bool = False,
    candidates: int | None = None,
    where: SentenceFunction | None = None,
    steering: Steering | None = None,
    notify: Callable[[str], None] = lambda message: None,
    **options: Any,
) -> Iterator[Sentence]:
    """Yield n sentences one by one in constant memory, by `seqgen.generation.sample.sample`.

    Args:
        prompt: text that every sentence begins with.
        unique: leave duplicates out; ends early, with a notice, if the generator seems to have no more.
        with_log_prob: also score each sentence under the model at temperature 1 (EOS included): a
            latent-variable model by importance sampling with 50 latents per sentence, a model without a
            likelihood not at all.
        unknown: allow the unknown-word token, which is otherwise never sampled.
        candidates: of how many candidates a residual model or a steering chooses each sentence; none: its
            setting.
        where: keep the sentences that it finds true; ends early, with a notice, if there seem to be no more.
        steering: choose each sentence by a reward of the user's as well.
        options: temperature, top_k, top_p, min_p, min_length, length, search.
    """
    ids = trained.tokenizer.encode(prompt) if prompt else []
    if UNK in ids:
        notify(f"the prompt '{prompt}' has words or characters that the model has never seen")
    if candidates is not None:
        if not (trained.algorithm.takes_candidates or steering):
            raise UserError(
                f"candidates are for a residual model, and '{trained.run.path}' is a run of "
                f"{trained.run.config['algorithm']}; leave --candidates out, or give --reward"
            )
        options["candidates"] = candidates
    length = options.pop("length", None) or trained.run.config["length"]
    if len(ids) >= length:
        raise UserError(
            f"the prompt has {len(ids)} tokens and a sentence at most {length}; shorten the prompt"
        )
    given = torch.tensor(ids, device=trained.device) if ids else None
    rng = torch.Generator(trained.device).manual_seed(seed)
    scoring = torch.Generator(trained.device).manual_seed(
        seed
    )  # separate, so that scoring does not change the samples
    draw = trained.algorithm.sample
    if steering is not None:
        draw = partial(steered_sample, trained.algorithm, energy=steering.energy(trained.tokenizer))
    seen: set[int] = set()
    generated, batches_without_new = 0, 0
    while generated < n:
        batch = draw(
            SAMPLE_BATCH if unique or where else min(SAMPLE_BATCH, n - generated),
            length=length,
            prompt=given,
            forbid=() if unknown else (UNK,),
            rng=rng,
            **options,
        ).tokens
        rows = list(range(len(batch)))
        if where is not None:
            rows = np.flatnonzero(where(decode(trained.tokenizer, batch))).tolist()
        rows = [i for i in rows if not unique or _is_new(batch[i], seen)][: n - generated]
        yield from _sentences(trained, batch[rows], with_log_prob, scoring)
        generated += len(rows)
        batches_without_new = 0 if rows else batches_without_new + 1
        if batches_without_new == 20:
            kinds = " ".join(kind for kind, asked in (("unique", unique), ("fitting", where)) if asked)
            notify(f"only {generated} {kinds} sentences: {20 * SAMPLE_BATCH} more samples had no new one")
            return


def _is_new(row: Tensor, seen: set[int]) -> bool:
    key = hash(row.cpu().numpy().tobytes())
    if key in seen:
        return False
    seen.add(key)
    return True


def _sentences(
    trained: Trained, tokens: Tensor, with_log_prob: bool, rng: torch.Generator
) -> Iterator[Sentence]:
    scores = None
    if with_log_prob and len(tokens) and trained.algorithm.likelihood:
        scores = log_likelihood(trained, tokens, samples=SCORE_SAMPLES, rng=rng).tolist()
    counts = (tokens != PAD).sum(dim=1).tolist()
    for i, text_ in enumerate(decode(trained.tokenizer, tokens)):
        yield Sentence(text_, counts[i], scores[i] if scores else None)
