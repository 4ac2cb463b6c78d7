"""Sample sentences from a trained run, one by one in constant memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from seqgen.core.errors import UserError
from seqgen.data.tokenizer import EOS, PAD, UNK
from seqgen.generation.sample import Samples
from seqgen.inference import template
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
    infill: str | None = None,
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
        candidates: of how many candidates a residual model chooses each sentence; none: its setting.
        infill: a text with blanks, `_`, that an algorithm which `infills` fills: a token for each.
        options: temperature, top_k, top_p, min_p, min_length, length, search.
    """
    ids = trained.tokenizer.encode(prompt) if prompt else []
    if UNK in ids:
        notify(f"the prompt '{prompt}' has words or characters that the model has never seen")
    if candidates is not None:
        if not trained.algorithm.takes_candidates:
            raise UserError(
                f"candidates are for a residual model, and '{trained.run.path}' is a run of "
                f"{trained.run.config['algorithm']}; leave --candidates out"
            )
        options["candidates"] = candidates
    forbid = () if unknown else (UNK,)
    if infill is not None:
        draw = _filling(trained, infill, prompt, options)
    else:
        length = options.pop("length", None) or trained.run.config["length"]
        if len(ids) >= length:
            raise UserError(
                f"the prompt has {len(ids)} tokens and a sentence at most {length}; shorten the prompt"
            )
        given = torch.tensor(ids, device=trained.device) if ids else None
        draw = partial(trained.algorithm.sample, length=length, prompt=given, forbid=forbid, **options)
    rng = torch.Generator(trained.device).manual_seed(seed)
    scoring = torch.Generator(trained.device).manual_seed(
        seed
    )  # separate, so that scoring does not change the samples
    seen: set[int] = set()
    generated, batches_without_new = 0, 0
    while generated < n:
        size = min(SAMPLE_BATCH, n - generated) if not unique else SAMPLE_BATCH
        batch = draw(size, rng=rng).tokens
        rows = [i for i in range(len(batch)) if not unique or _is_new(batch[i], seen)][: n - generated]
        yield from _sentences(trained, batch[rows], with_log_prob, scoring)
        generated += len(rows)
        batches_without_new = 0 if rows else batches_without_new + 1
        if batches_without_new == 20:
            notify(f"only {generated} unique sentences: {20 * SAMPLE_BATCH} more samples had no new one")
            return


def _filling(trained: Trained, text: str, prompt: str, options: dict[str, Any]) -> Callable[..., Samples]:
    """Return what draws so many fillings of a text with blanks; UserError where that cannot be."""
    run = trained.run
    if not trained.algorithm.infills:
        raise UserError(
            f"'{run.path}' is a run of {run.config['algorithm']}, which fills no blanks; "
            "train one with 'seqgen adversarial maskgan', or leave --infill out"
        )
    given = {"--prompt": prompt}
    for option, key in (("--search", "search"), ("--min-length", "min_length"), ("--max-length", "length")):
        given[option] = options.pop(key, None)
    if unfit := [option for option, value in given.items() if value]:
        raise UserError(f"--infill fills the blanks of a given text; leave {' and '.join(unfit)} out")
    ids = template.encode(trained.tokenizer, text) + [EOS] * (not run.config.get("fixed_length"))
    if len(ids) > run.config["length"]:
        raise UserError(
            f"the text has {len(ids)} tokens with its end, and a sentence at most "
            f"{run.config['length']}; shorten the text"
        )
    row = torch.tensor([ids], device=trained.device)
    return lambda n, rng: trained.algorithm.infill(row.expand(n, -1), rng=rng, **options)


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
