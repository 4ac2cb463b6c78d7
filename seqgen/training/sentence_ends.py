"""Where sentences of a corpus may end, as far as all of them agree: found once, and recorded in the run.

Where every sentence has the same number of tokens, none has an end: EOS is not part of it, the head gives it
no probability, and sampling stops at that length. A model that had to learn the length would miss it. Where
lengths differ but no sentence is empty, no sample is, either: at the first position EOS is left out, and the
likelihood is renormalised (`seqgen.generation.sample`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from seqgen.data.corpus import Corpus
from seqgen.data.token_ids import Ids, encode_lines
from seqgen.data.tokenizer import EOS, Tokenizer

FEWEST = 100
"""Training sentences from which on one length of all is no coincidence."""


class SentenceEnds(NamedTuple):
    """What is known of the ends of all sentences."""

    fixed_length: int | None = None
    """Tokens of every sentence; None where they differ."""
    never_empty: bool = False
    """Whether every sentence has a token before its end; False where there is no end, or first a source."""


def recorded(config: Mapping[str, Any]) -> SentenceEnds:
    """Return what a run's configuration says; nothing where it was written before this was looked for."""
    return SentenceEnds(config.get("fixed_length"), bool(config.get("never_empty")))


def find(corpus: Corpus, tokenizer: Tokenizer, train: Ids, valid: Ids, *, limit: int) -> SentenceEnds:
    """Look for what the sentences of all three splits agree in; `limit` is their maximum length in tokens.

    One length counts only where a token is a word or a character: an equal number of merged pieces says
    nothing of the text, and another spelling of it would have another.
    """
    if corpus.fixed_length is not None:
        return SentenceEnds(corpus.fixed_length)
    if tokenizer.then is not None:  # the source before it ends anywhere
        return SentenceEnds()
    given = bool(tokenizer.labels)
    length = _one_length(train) - given - 1
    is_one = (
        length >= 1
        and len(train) >= FEWEST
        and tokenizer.kind in ("word", "character")
        and _one_length(valid) in (0, length + given + 1)
        and _one_length(encode_lines(corpus.test, tokenizer, max_length=limit)) in (0, length + given + 1)
    )
    if is_one:
        return SentenceEnds(length)
    parts = (train, valid)
    return SentenceEnds(never_empty=not any((_first(part, given) == EOS).any() for part in parts))


def _one_length(ids: Ids) -> int:
    """Return the number of tokens of every sentence; 0 without sentences, -1 where they differ or are cut."""
    if not len(ids):
        return 0
    lengths = ids.lengths()
    return int(lengths[0]) if not ids.truncated and (lengths == lengths[0]).all() else -1


def _first(ids: Ids, given: int) -> np.ndarray:
    """Return each sentence's own first token; (N,)."""
    return ids.tokens[ids.offsets[:-1] + given]
