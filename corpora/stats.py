"""Statistics of a corpus: numbers of sentences, tokens and types, lengths, duplicates."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

MOST_FREQUENT = 20


def statistics(chunks: Iterable[list[str]]) -> dict[str, Any]:
    """Count sentences given in lists, in one pass; memory for one list, the types and 8 bytes a sentence.

    sentences                their number
    duplicates               fraction of the sentences that repeat an earlier one, 0 to 1
    tokens, types            tokens between white space, and distinct ones
    characters               without white space
    character_types          distinct characters
    tokens_per_sentence      min, median, mean, p95, max (quantiles are lengths that occur, the lower ones)
    characters_per_sentence  the same, spaces included
    most_frequent            the most frequent tokens with their counts
    """
    types: Counter[str] = Counter()
    characters: Counter[str] = Counter()
    lengths: Counter[int] = Counter()
    widths: Counter[int] = Counter()
    hashes = []
    for chunk in chunks:
        split = [sentence.split() for sentence in chunk]
        for tokens in split:
            types.update(tokens)
            characters.update("".join(tokens))
        lengths.update(map(len, split))
        widths.update(map(len, chunk))
        hashes.append(np.fromiter(map(hash, chunk), np.int64, len(chunk)))
    sentences = lengths.total()
    distinct = len(np.unique(np.concatenate(hashes))) if hashes else 0
    return {
        "sentences": sentences,
        "duplicates": 1 - distinct / sentences if sentences else 0.0,
        "tokens": types.total(),
        "types": len(types),
        "characters": characters.total(),
        "character_types": len(characters),
        "tokens_per_sentence": _spread(lengths),
        "characters_per_sentence": _spread(widths),
        "most_frequent": types.most_common(MOST_FREQUENT),
    }


def _spread(lengths: Counter[int]) -> dict[str, float]:
    if not lengths:
        return {}
    values = np.array(sorted(lengths))
    ranks = np.cumsum([lengths[value] for value in values])
    total = int(ranks[-1])

    def quantile(fraction: float) -> int:
        return int(values[np.searchsorted(ranks, fraction * total)])

    return {
        "min": int(values[0]),
        "median": quantile(0.5),
        "mean": float(sum(value * count for value, count in lengths.items()) / total),
        "p95": quantile(0.95),
        "max": int(values[-1]),
    }
