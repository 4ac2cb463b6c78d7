"""Sample sentences from a trained run, one by one in constant memory."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqgen.core import distributed
from seqgen.core.errors import UserError
from seqgen.core.user_functions import SentenceFunction
from seqgen.data.tokenizer import EOS, UNK, Tokenizer
from seqgen.generation.sample import Samples
from seqgen.inference import shared_draw, template
from seqgen.inference.conditional import drawn_labels
from seqgen.inference.sentence import SamplingPosition, Sentence
from seqgen.inference.steering import Steering, steered_sample
from seqgen.training.load import SAMPLE_BATCH, SCORE_SAMPLES, Trained, log_likelihood


def generate(
    trained: Trained,
    n: int,
    *,
    prompt: str = "",
    max_length: int | None = None,
    min_length: int = 0,
    seed: int = 0,
    unique: bool = False,
    with_log_prob: bool = False,
    unknown: bool = False,
    candidates: int | None = None,
    where: SentenceFunction | None = None,
    steering: Steering | None = None,
    infill: str | None = None,
    labels: Mapping[str, float] | None = None,
    notify: Callable[[str], None] = lambda message: None,
    position: SamplingPosition | None = None,
    before: Iterable[str] = (),
    **options: Any,
) -> Iterator[Sentence]:
    """Yield n sentences one by one in constant memory, by `seqgen.generation.sample.sample`.

    Args:
        prompt: text that every sentence begins with, as it is typed: unknown words stand in it as they are.
        max_length: tokens of a sentence at most, EOS included; that of the training data if not given.
        min_length: tokens of a sentence at least, without EOS.
        unique: leave sentences out whose text has been sampled before; ends early, with a notice, if the
            generator seems to have no more.
        with_log_prob: also score each sentence under the model at temperature 1 (EOS included): a
            latent-variable model by importance sampling with 50 latents per sentence, a model without a
            likelihood not at all.
        unknown: allow the unknown-word token, which is otherwise never sampled.
        candidates: of how many candidates a residual model or a steering chooses each sentence; none: its
            setting.
        where: keep the sentences that it finds true; ends early, with a notice, if there seem to be no more.
        steering: choose each sentence by a reward of the user's as well.
        infill: a text with blanks, `_`, that an algorithm which `infills` fills: a token for each.
        labels: what the sentences are given, each with its weight; labels as often as the corpus has them if
            not given.
        position: where a sampling of the same arguments stood between two batches; it goes on from there, to
            the same n sentences, and moves the position along.
        before: the texts that were sampled before that, for `unique`.
        options: temperature, top_k, top_p, min_p, search.

    Raises:
        UserError: the lengths contradict each other or the prompt, or the run chooses from no candidates or
            fills no blanks.
    """
    ids, shown = trained.tokenizer.encode_prompt(prompt) if prompt else ([], "")
    if note := describe_unknown(trained.tokenizer, shown):
        notify(f"the prompt '{prompt}' has {note}")
    if candidates is not None:
        if not (trained.algorithm.takes_candidates or steering):
            raise UserError(
                f"candidates are for a residual model, and '{trained.run.path}' is a run of "
                f"{trained.run.config['algorithm']}; leave --candidates out, or give --reward"
            )
        options["candidates"] = candidates
    forbid = () if unknown else (UNK,)
    give = _giving(trained, labels, fills=infill is not None)
    if infill is not None:
        unfit = {"--prompt": prompt, "--min-length": min_length, "--max-length": max_length}
        draw = _filling(trained, infill, unfit | {"--reward": steering}, options)
    else:
        length = length_limit(trained, max_length, min_length)
        if len(ids) >= length:
            raise UserError(
                f"the prompt has {len(ids)} tokens and a sentence at most {length}; shorten it"
                + (", or give a higher --max-length" if not trained.run.config.get("fixed_length") else "")
            )
        sample = trained.algorithm.sample
        if steering is not None:
            sample = partial(steered_sample, trained.algorithm, energy=steering.energy(trained.tokenizer))
        given = torch.tensor(ids, device=trained.device) if ids else None
        how = {"length": length, "min_length": min_length, "prompt": given, "forbid": forbid}
        by_rows = steering is None and shared_draw.is_by_rows(trained.algorithm, options)
        draw = shared_draw.divided(partial(sample, **how, **options), by_rows=by_rows)
    rng = torch.Generator(trained.device).manual_seed(seed)
    # A generator of its own, so that scoring does not change the samples.
    scoring = torch.Generator(trained.device).manual_seed(seed)
    at = SamplingPosition() if position is None else position
    at.restore(rng, scoring)
    seen = set(map(_key, before))
    while at.sentences < n:
        size = SAMPLE_BATCH if unique or where else min(SAMPLE_BATCH, n - at.sentences)
        batch = draw(size, rng=rng, **give(size, rng)).tokens
        texts = [_with_prompt(trained.tokenizer, row, ids, shown) for row in batch.tolist()]
        kept = range(len(texts)) if where is None else np.flatnonzero(where(texts)).tolist()
        rows = [i for i in kept if not unique or _is_new(texts[i], seen)][: n - at.sentences]
        yield from _sentences(trained, [texts[i] for i in rows], batch[rows], with_log_prob, scoring)
        at.advance(len(rows), rng, scoring)
        if at.batches_without_new == 20:
            kinds = " ".join(kind for kind, asked in (("unique", unique), ("fitting", where)) if asked)
            notify(f"only {at.sentences} {kinds} sentences: {20 * SAMPLE_BATCH} more samples had no new one")
            return


def length_limit(trained: Trained, max_length: int | None, min_length: int) -> int:
    """Return the most tokens of a sentence, EOS and label included: what is asked for, or as in training.

    UserError where there is no such sentence, or it could not have as many tokens as it must have at least.
    """
    longest = trained.run.config["length"] if max_length is None else max_length
    if max_length is not None and (fixed := trained.run.config.get("fixed_length")):
        longest = min(longest, fixed)
    if longest < 1 or min_length < 0:
        raise UserError(
            f"a sentence of at least {min_length} and at most {longest} tokens: give --min-length from 0 on "
            "and --max-length from 1 on"
        )
    if min_length > longest:
        source = ", the length of the longest training sentence" if max_length is None else ""
        raise UserError(
            f"a sentence of at least {min_length} tokens cannot have at most {longest}{source}; "
            "lower --min-length or raise --max-length"
        )
    # The label is no token of the sentence, but one of the longest training sentence.
    return longest + (max_length is not None and bool(trained.tokenizer.labels))


def describe_unknown(tokenizer: Tokenizer, text: str) -> str:
    """Name the words or characters of a text that a model has never seen; nothing where it knows them all."""
    unknown = tokenizer.unknown(text)
    if not unknown:
        return ""
    note = f"what the model has never seen: {', '.join(map(repr, unknown))}"
    if known := [word for word in unknown.values() if word is not None]:
        note += f"; case counts, and it knows {', '.join(map(repr, known))}"
    return note


def _with_prompt(tokenizer: Tokenizer, row: list[int], ids: list[int], shown: str) -> str:
    """Decode a sentence that begins with the token ids of a prompt, which is shown by its own words."""
    text = tokenizer.decode(row)
    return shown + text.removeprefix(tokenizer.decode(ids)) if ids else text


def _giving(
    trained: Trained, labels: Mapping[str, float] | None, *, fills: bool
) -> Callable[[int, torch.Generator], dict[str, Tensor]]:
    """Return what gives so many sentences their labels, as an option of sampling.

    Where the user chose none the algorithm draws them, unless it fills blanks.
    """
    if labels is None and fills and trained.tokenizer.labels:
        labels = trained.run.config["labels"]
    if labels is None:
        return lambda n, rng: {}
    give = drawn_labels(trained, labels)
    return lambda n, rng: {"condition": give(n, rng)}


def _filling(
    trained: Trained, text: str, given: dict[str, Any], options: dict[str, Any]
) -> Callable[..., Samples]:
    """Return what draws so many fillings of a text with blanks; UserError where that cannot be."""
    run = trained.run
    if not trained.algorithm.infills:
        raise UserError(
            f"'{run.path}' is a run of {run.config['algorithm']}, which fills no blanks; "
            "train one with 'seqgen adversarial maskgan', or leave --infill out"
        )
    given = given | {"--search": options.pop("search", None)}
    if unfit := [option for option, value in given.items() if value]:
        raise UserError(f"--infill fills the blanks of a given text; leave {' and '.join(unfit)} out")
    if trained.tokenizer.then is not None:
        raise UserError(
            f"the sentences of '{run.path}' go on from sources; --infill takes a run without them"
        )
    ids = template.encode(trained.tokenizer, text) + [EOS] * (not run.config.get("fixed_length"))
    longest = run.config["length"] - bool(trained.tokenizer.labels)
    if len(ids) > longest:
        raise UserError(
            f"the text has {len(ids)} tokens with its end, and a sentence at most {longest}; shorten the text"
        )
    row = torch.tensor([ids], device=trained.device)

    def fill(n: int, rng: torch.Generator, condition: Tensor | None = None) -> Samples:
        rows = row.expand(n, -1)
        if condition is not None:
            rows = torch.cat((condition, rows), dim=1)
        return trained.algorithm.infill(rows, rng=rng, **options)

    return shared_draw.divided(fill)


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _is_new(text: str, seen: set[bytes]) -> bool:
    key = _key(text)
    if key in seen:
        return False
    seen.add(key)
    return True


def _sentences(
    trained: Trained, texts: list[str], tokens: Tensor, with_log_prob: bool, rng: torch.Generator
) -> Iterator[Sentence]:
    scores = None
    if with_log_prob and len(tokens) and trained.algorithm.likelihood:
        score = partial(log_likelihood, trained, samples=SCORE_SAMPLES, rng=rng)
        is_exact = trained.algorithm.likelihood == "exact"  # an estimate draws for all of them, in its order
        scores = (distributed.by_rows(score, tokens) if is_exact else score(tokens)).tolist()
    counts = trained.algorithm.of_sentence(tokens).sum(dim=1).tolist()
    for i, text in enumerate(texts):
        label = trained.tokenizer.label(tokens[i, :1].tolist()) if trained.tokenizer.labels else None
        yield Sentence(text, counts[i], scores[i] if scores else None, label)
