"""What a tokenizer learns from text: its vocabulary, by kind, size and least count."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sized
from itertools import chain, islice

from tokenizers import AddedToken, pre_tokenizers, trainers

from seqgen.core import cache
from seqgen.core.errors import UserError, did_you_mean
from seqgen.data import tokenizer_pipelines
from seqgen.data.sentence_store import Lines
from seqgen.data.tokenizer import Tokenizer, count_tokens, word_level
from seqgen.data.tokenizer_pipelines import KINDS, SPECIALS, choose

SUBWORD_VOCAB = 400, 8_000
"""Least number of merges of `bpe` and `byte`, and greatest vocabulary size, if `max_vocab` is not given."""

CHARACTERS_PER_PIECE = 200
"""Characters of text for each merge of such a vocabulary: fewer, and a piece is too rare to be learned."""

MAX_UNKNOWN_RATE = 0.04
"""Largest fraction of the tokens of the text that may become UNK if `min_count` is not given."""

SAMPLE = 1_000
"""Sentences from which `auto` chooses a kind."""

FORMAT = 3
"""Part of every cache key; increase it when the same sentences give another vocabulary."""


def train_tokenizer(
    lines: Iterable[str],
    kind: str = "auto",
    *,
    lowercase: bool = False,
    max_vocab: int | None = None,
    min_count: int | None = None,
) -> Tokenizer:
    """Learn a vocabulary from sentences; token ids depend on the sentences and the options only.

    The tokens of `word` are words with inner apostrophes and hyphens, numbers, single punctuation marks, and
    single Han or kana characters, each with the space before it, so that decoding restores the spacing. Those
    of `character` are single characters, spaces too; if the text has a space between any two characters, the
    space belongs to the character after it. `bpe` merges the characters of words and of white space, `byte`
    their UTF-8 bytes. `auto` chooses by what the text is (`seqgen.data.tokenizer_pipelines.choose`).

    `max_vocab` bounds the vocabulary size, special tokens included (default for bpe and byte: every
    character and a merge for each 200 characters of text, 400 merges at least, 8,000 tokens at most).
    `min_count` is the least count of a word, a character or a merge. By default it is 3 for words and
    characters, or the largest smaller count that makes at most 4 % of the text unknown. Words and characters
    have token ids by falling count, and by code point among equal counts. The tokenizer of `Lines` is cached.
    Raise UserError for options that cannot be satisfied.
    """
    if kind not in KINDS:
        raise UserError(f"no tokenizer {kind!r}{did_you_mean(kind, KINDS)}")
    least = len(SPECIALS) + (256 if kind == "byte" else 1)
    if max_vocab is not None and max_vocab < least:
        raise UserError(f"a vocabulary of {max_vocab} is too small; the least for {kind!r} is {least}")
    if min_count is not None and min_count < 1:
        raise UserError(f"a minimum count of {min_count} is too small; give 1 or more")
    if not isinstance(lines, Lines):
        return _train(lines, kind, lowercase, max_vocab, min_count)

    key = json.dumps([FORMAT, lines.hash, kind, lowercase, max_vocab, min_count, MAX_UNKNOWN_RATE])
    place = cache.entry(
        "tokenizers",
        hashlib.sha256(key.encode()).hexdigest(),
        lambda draft: _train(lines, kind, lowercase, max_vocab, min_count).save(draft / "tokenizer.json"),
    )
    return Tokenizer.load(place / "tokenizer.json")


def numbered_tokenizer(size: int) -> Tokenizer:
    """Return a `word` tokenizer of the numbers 0 … size - 1; number i has the id i + 4."""
    inner = tokenizer_pipelines.build("word", lowercase=False, spaced=False)
    inner.model = word_level([*SPECIALS, *(f"{tokenizer_pipelines.SPACE}{i}" for i in range(size))])
    inner.add_special_tokens([AddedToken(token, special=True) for token in SPECIALS])
    return Tokenizer(inner)


def default_min_count(counts: Mapping[str, int]) -> int:
    """Return the greatest of 3, 2 and 1 that leaves at most `MAX_UNKNOWN_RATE` of the tokens unknown.

    A model learns little about a word from one or two sentences, and can only learn about UNK if the training
    text contains it; but most words of a small corpus are rare.
    """
    total = sum(counts.values())
    for least in (3, 2):
        if sum(count for count in counts.values() if count < least) <= MAX_UNKNOWN_RATE * total:
            return least
    return 1


def _train(
    lines: Iterable[str], kind: str, lowercase: bool, max_vocab: int | None, min_count: int | None
) -> Tokenizer:
    batches = lines.chunks(SAMPLE) if isinstance(lines, Lines) else _batches(iter(lines))
    sample = next(batches, [])
    if not sample:
        raise UserError("there is no sentence to learn a vocabulary from")
    kind = choose(sample).kind if kind == "auto" else kind
    spaced = tokenizer_pipelines.spaced_characters(sample)
    inner = tokenizer_pipelines.build(kind, lowercase=lowercase, spaced=spaced)
    batches = chain([sample], batches)
    special = [AddedToken(token, special=True) for token in SPECIALS]
    if kind in ("word", "character"):
        counts = count_tokens(batches, inner, tokenizer_pipelines.splitting_of(json.loads(inner.to_str())))
        least = default_min_count(counts) if min_count is None else min_count
        known = sorted((token for token in counts if counts[token] >= least), key=lambda t: (-counts[t], t))
        if not known:
            raise UserError(f"no token is in the corpus {least:,} times; lower --min-count")
        entries = [*SPECIALS, *known][:max_vocab]
        inner.model = word_level(entries)
        inner.add_special_tokens(special)
    else:
        inner.train_from_iterator(
            batches, _trainer(kind, max_vocab or _subword_vocab(lines), min_count or 1, special)
        )
    return Tokenizer(inner)


def _subword_vocab(lines: Iterable[str]) -> int:
    """Return the vocabulary size that fits a text: all of its characters, and merges as its size allows.

    Of lines that can be read only once nothing is known beforehand.
    """
    least, most = SUBWORD_VOCAB
    if not isinstance(lines, Sized):
        return most
    characters, alphabet = 0, set[str]()
    for batch in lines.chunks(SAMPLE) if isinstance(lines, Lines) else [lines]:
        joined = "".join(batch)
        characters += len(joined)
        alphabet.update(joined)
    merges = max(characters // CHARACTERS_PER_PIECE, least)
    return min(len(SPECIALS) + len(alphabet) + merges, most)


def _batches(lines: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(islice(lines, SAMPLE)):
        yield batch


def _trainer(kind: str, size: int, min_count: int, special: list[AddedToken]) -> trainers.BpeTrainer:
    alphabet = pre_tokenizers.ByteLevel.alphabet() if kind == "byte" else []
    return trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=min_count,
        special_tokens=special,
        limit_alphabet=size - len(special),
        initial_alphabet=alphabet,
        show_progress=False,
    )
