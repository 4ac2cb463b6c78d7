"""Word, character, BPE and byte-level tokenizers, each a `tokenizers.Tokenizer` with four special tokens."""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import models

from seqgen.core.errors import UserError, did_you_mean
from seqgen.core.untrusted import parse_nested, read_regular
from seqgen.data import tokenizer_pipelines
from seqgen.data.conditions import THEN, entry_of_label, label_of
from seqgen.data.sentence_store import Lines
from seqgen.data.tokenizer_pipelines import KINDS, SPECIALS, Splitting

__all__ = ["BOS", "EOS", "KINDS", "PAD", "SPECIALS", "UNK", "Tokenizer"]

PAD, BOS, EOS, UNK = 0, 1, 2, 3

MEMO_CHARACTERS = 1 << 22
"""Size in characters of the memo of words and their token ids, which saves encoding a word again."""

COUNT_WORDS = 1 << 20
"""Distinct words held in memory while tokens are counted."""

MOST_BYTES = 1 << 29
"""Size of a `tokenizer.json`, at most."""

_END = ""
"""Marks the end of a sentence in a list of words; no word is empty."""


class Tokenizer:
    """Text to token ids and back; `kind` is one of word, character, bpe, byte.

    `decode(encode(text)) == text` for text in Unicode NFC, if every token is known (to `byte` all are) and
    case is kept. `word`, and `character` where a space stands between any two, normalise: every run of white
    space is one space, none is at either end, and U+2581 (▁), which stands for the space, becomes `_`. So did
    `bpe` and `byte` in runs written before white space was kept, as `keeps_whitespace` says.
    """

    def __init__(self, inner: tokenizers.Tokenizer):
        self.inner = inner
        self._splitting = tokenizer_pipelines.splitting_of(json.loads(inner.to_str()))
        self.kind = self._splitting.kind
        # The string '</s>' in a corpus is plain text. The library does not save this setting.
        inner.encode_special_tokens = True
        self._entries = sorted(vocabulary := inner.get_vocab(), key=vocabulary.__getitem__)
        self._known: dict[str, list[int]] = {_END: [EOS]}
        self._known_size = 0
        named = {label_of(entry): id for id, entry in enumerate(self._entries)}
        self.labels: dict[str, int] = {name: id for name, id in named.items() if name is not None}
        """The token id of each label that a sentence may be given."""
        self._label_ids = frozenset(self.labels.values())
        self.then: int | None = vocabulary.get(THEN)
        """The token id that ends a source, where sentences are given one."""

    @property
    def keeps_whitespace(self) -> bool:
        """Whether decoding gives the white space of the text as it was."""
        return self._splitting.keeps_whitespace

    @property
    def vocab_size(self) -> int:
        """Number of token ids V, the four special ones included."""
        return len(self._entries)

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a sentence, without BOS and EOS; UNK for tokens outside the vocabulary."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each sentence, without BOS and EOS."""
        cut = split_units(texts, self._splitting)
        known = self._lookup(cut)
        return [list(chain.from_iterable(map(known.__getitem__, pieces))) for pieces in cut]

    def encode_flat(self, texts: Sequence[str]) -> np.ndarray:
        """Return the token ids of all sentences in one array, EOS after each; int32."""
        cut = split_units(texts, self._splitting)
        known = self._lookup(cut)
        for pieces in cut:
            pieces.append(_END)
        return np.fromiter(chain.from_iterable(map(known.__getitem__, chain.from_iterable(cut))), np.int32)

    def encode_conditions(self, conditions: Sequence[str], most: int | None = None) -> list[list[int]]:
        """Return the token ids that stand before sentences: of a label, or of a source and its end.

        Of a longer source the last `most` tokens are kept. UserError for a label that the vocabulary lacks.
        """
        if self.then is not None:
            first = 0 if most is None else -most
            return [[*ids[first:], self.then] for ids in self.encode_batch(conditions)]
        unknown = next((each for each in conditions if each not in self.labels), None)
        if unknown is not None:
            raise UserError(f"the run has no label {unknown!r}{did_you_mean(unknown, list(self.labels))}")
        return [[self.labels[each]] for each in conditions]

    def with_labels(self, names: Iterable[str]) -> "Tokenizer":
        """Return this tokenizer with a token for each of these labels, after the others."""
        return self._with_entries([entry_of_label(name) for name in names if name not in self.labels])

    def with_sources(self) -> "Tokenizer":
        """Return this tokenizer with a token that ends a source, after the others."""
        return self._with_entries([] if self.then is not None else [THEN])

    def _with_entries(self, new: list[str]) -> "Tokenizer":
        if not new:
            return self
        parsed = json.loads(self.to_json())
        parsed["model"]["vocab"] |= {entry: self.vocab_size + i for i, entry in enumerate(new)}
        return Tokenizer.from_json(json.dumps(parsed))

    def label(self, ids: Iterable[int]) -> str | None:
        """Return the label that token ids begin with, or None."""
        first = next((int(id) for id in ids if id not in (PAD, BOS)), None)
        return None if first is None else label_of(self._entries[first])

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of token ids (a list or a tensor) up to EOS; PAD and BOS are skipped.

        So is what the sentence is given: a label, or all up to the end of a source.
        """
        listed: list[int] = ids.tolist() if hasattr(ids, "tolist") else list(ids)
        if EOS in listed:
            listed = listed[: listed.index(EOS)]
        if self.then is not None and self.then in listed:
            listed = listed[len(listed) - listed[::-1].index(self.then) :]
        if self.labels:
            listed = [id for id in listed if id not in self._label_ids]
        unknown = tokenizer_pipelines.SPACE + SPECIALS[UNK] if self.kind == "word" else SPECIALS[UNK]
        tokens = [unknown if id == UNK else self._entries[id] for id in listed if id not in (PAD, BOS)]
        return self.inner.decoder.decode(tokens)

    def encode_prompt(self, text: str) -> tuple[list[int], str]:
        """Return the token ids of the beginning of a sentence, and the text by which sentences show it.

        That is the text as it was typed, unknown words included, with its white space as in the corpus. Where
        the characters of the corpus stand between spaces, those of an unspaced text are separated, too.
        """
        ids, shown = self.encode(text), text if self.keeps_whitespace else " ".join(text.split())
        if self.kind == "character" and self._splitting.units == "words":
            spaced = " ".join(shown.replace(" ", ""))
            spaced_ids = self.encode(spaced)
            if (" " not in shown or UNK in ids) and spaced_ids.count(UNK) <= ids.count(UNK):
                ids, shown = spaced_ids, spaced
        return ids, text if self.decode(ids) == text else shown

    def unknown(self, text: str) -> dict[str, str | None]:
        """Return the words or characters that the vocabulary lacks, as they are written, in their order.

        Each has the most frequent token that differs from it in case only, or None.
        """
        missing: list[str] = []
        for piece in split_units([text], self._splitting)[0]:
            found = self.inner.encode(piece, add_special_tokens=False)
            pairs = zip(found.ids, found.offsets, strict=True)
            missing += [piece[start:end] for id, (start, end) in pairs if id == UNK]
        known: dict[str, str] = {}
        if missing and self.kind in ("word", "character"):
            for entry in self._entries[len(SPECIALS) :]:
                word = entry.removeprefix(tokenizer_pipelines.SPACE)
                known.setdefault(word.casefold(), word)
        return {each: known.get(each.casefold()) for each in missing}

    def extended(self, lines: Lines) -> "Tokenizer":
        """Return this tokenizer with the words or characters of more sentences added to its vocabulary.

        Every token keeps its id. `bpe` and `byte` are returned unchanged, as their subwords were learned
        jointly.
        """
        if self.kind in ("bpe", "byte"):
            return self
        counts = count_tokens(lines.chunks(), self.inner, self._splitting)
        known = set(self._entries)
        new = sorted((token for token in counts if token not in known), key=lambda t: (-counts[t], t))
        inner = tokenizers.Tokenizer.from_str(self.to_json())
        inner.model = word_level([*self._entries, *new])
        return Tokenizer(inner)

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """Return the vocabulary entry of each token id, as in `tokenizer.json`."""
        return [self._entries[id] for id in ids]

    def to_json(self) -> str:
        """Return the content of `tokenizer.json`."""
        return self.inner.to_str(pretty=True)

    def save(self, path: str | Path) -> None:
        """Write `tokenizer.json`, which `tokenizers.Tokenizer.from_file` reads too."""
        Path(path).write_text(self.to_json(), encoding="utf-8")

    def _lookup(self, cut: list[list[str]]) -> dict[str, list[int]]:
        """Return a dictionary with the token ids of at least these words.

        No token reaches from one of these parts of the text into the next, so a word is encoded once and
        remembered. That is several times faster than encoding sentences, with the same result.
        """
        if self._known_size > MEMO_CHARACTERS:
            self._known, self._known_size = {_END: [EOS]}, 0
        new = [word for word in dict.fromkeys(chain.from_iterable(cut)) if word not in self._known]
        for word, found in zip(new, self.inner.encode_batch_fast(new, add_special_tokens=False), strict=True):
            self._known[word] = found.ids
        self._known_size += sum(map(len, new))
        return self._known

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Read a file written by `save`; raise UserError if it is missing, damaged or of another library."""
        try:
            return cls.from_json(read_regular(Path(path), most=MOST_BYTES).decode())
        except UserError:
            raise
        except OSError as error:
            raise UserError(
                f"cannot read the tokenizer {path}: {error.strerror}; restore it, or train the run again"
            ) from error
        except ValueError as error:
            raise UserError(
                f"{path} is no tokenizer of seqgen: {error}; name a run, its tokenizer.json, or a kind of "
                "tokenizer, and restore the file if it is damaged"
            ) from error

    @classmethod
    def from_json(cls, text: str) -> "Tokenizer":
        """Rebuild a tokenizer from `to_json`; raise ValueError for other content or special token ids."""
        return cls(tokenizer_pipelines.rebuild(parse_nested(json.loads, text.encode())))


def split_units(texts: Sequence[str], splitting: Splitting) -> list[list[str]]:
    """Split sentences into parts that can be tokenised separately.

    Sentences are normalised to NFC first, so that no character is separated from its accent. Raise UserError
    for a lone surrogate, which stands for a byte that is no UTF-8.
    """
    composed = [text if text.isascii() else unicodedata.normalize("NFC", text) for text in texts]
    for text in composed:
        if not text.isascii() and not _is_unicode(text):
            shown = text.encode("utf-8", "replace").decode()
            raise UserError(f"the text '{shown}' holds bytes that are not UTF-8; give it in UTF-8")
    return [splitting.split(text) for text in composed]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def count_tokens(
    batches: Iterable[list[str]], inner: tokenizers.Tokenizer, splitting: Splitting
) -> Counter[str]:
    """Count tokens; each distinct word is split once for every `COUNT_WORDS` distinct words."""
    tokens: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for batch in chain(batches, [None]):
        if batch is not None:
            words.update(chain.from_iterable(split_units(batch, splitting)))
        if batch is None or len(words) > COUNT_WORDS:
            for word, count in words.items():
                normal = inner.normalizer.normalize_str(word)
                for token, _ in inner.pre_tokenizer.pre_tokenize_str(normal):
                    tokens[token] += count
            words.clear()
    return tokens


def word_level(entries: Sequence[str]) -> models.WordLevel:
    """Return a model of these tokens; the id of each is its place."""
    return models.WordLevel({token: id for id, token in enumerate(entries)}, unk_token=SPECIALS[UNK])
