"""The parts of the `tokenizers` library of which each kind of tokenizer consists, and choosing a kind."""

import functools
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import chain, product
from typing import Any, NamedTuple

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

KINDS = ("auto", "word", "character", "bpe", "byte")
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")

SPACELESS = ("CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "YI")
"""First words of the Unicode names of letters of scripts without spaces between words."""

SPACE = "▁"
"""Stands for the space before a word in the vocabulary of words."""

LAID_OUT = 0.1
"""Fraction of indented sentences, or sentences of several lines, from which `auto` keeps white space."""

ODD_RATE = 0.03
"""Fraction of odd pieces from which `auto` does not take words. COCO captions, WMT news and the built-in
`scenes` have .001 or less, lines of 20 numbers below 5,000 .02, dpkg's log .06, tweets and Python .08 to .1,
log lines of a web server .3."""

FEWEST = 100
"""Sentences from which on a sample tells what is rare."""

MOSTLY_WORDS = 0.75
"""Fraction of plain pieces from which odd text is read by `bpe`, which keeps words whole."""

CHARACTERS_AT_MOST = 200
"""A longer sentence of characters is cut where the maximum length is the default."""

_BEGINS = re.compile(r"[\w#@$&%+=/\\<>|~^*-]")
_ENDS = re.compile(r"[\w#@$%+=/\\<>|~^*-]")
_PLAIN = re.compile(r"[^\W\d_]+(?:['’.-][^\W\d_]+)*|\d+(?:[.,:]\d+)*|\W*")
_LONG_NUMBER = re.compile(r"(?:\D*\d){3}")

_LONE = r"\p{Han}\p{Hiragana}\p{Katakana}"
_LETTER = rf"[\p{{L}}\p{{M}}&&[^{_LONE}]]"
_PART = rf"(?:{_LETTER}|\p{{N}})+"
# A number with its separators; a word of letters and digits, with inner apostrophes, and hyphens between
# letters (4-1 is arithmetic); or any one character, so each Han or kana letter. Each has the space before it.
_WORD = rf"{_PART}(?:(?:['’]|(?<={_LETTER})-(?={_LETTER})){_PART})*"
_PIECE = rf"\p{{N}}+(?:[.,]\p{{N}}+)+|{_WORD}"
_WORDS = rf"{SPACE}?(?:{_PIECE}|[^{SPACE}])|{SPACE}"
_SPACED_CHARACTERS = rf"{SPACE}?[^{SPACE}]|{SPACE}"
# White space as it is. A run of it is one piece, but for the space that belongs to the word after it.
_PIECES = rf" ?(?:{_PIECE}|[^ \t\r\n])|[ \t\r\n]+(?![^ \t\r\n])|[ \t\r\n]"
_CHUNK = re.compile(r"[ \t\r\n]*[^ \t\r\n]+|[ \t\r\n]+")
_CHARACTERS = r"[\S\s]"
_CHARACTERS_OF_NORMALISED = r"[\s\S]"
"""The same pattern, in files written when text had its white space normalised before it was split."""


class Splitting(NamedTuple):
    """How a tokenizer splits text: its kind, what it reads apart, and whether white space survives."""

    kind: str
    units: str
    """`words`: what stands between white space; `chunks`: words with the white space before them, as it is;
    `characters`."""
    keeps_whitespace: bool

    def split(self, text: str) -> list[str]:
        """Split a sentence into parts that can be tokenised separately."""
        if self.units == "characters":
            return list(text)
        return text.split() if self.units == "words" else _CHUNK.findall(text)


def build(kind: str, *, lowercase: bool, spaced: bool, keeps_whitespace: bool = True) -> tokenizers.Tokenizer:
    """Return an untrained tokenizer: a normalizer, a pre-tokenizer, an empty model and the decoder.

    `spaced`: in a `character` tokenizer the space belongs to the character after it and is no token of its
    own. Without `keeps_whitespace` its parts are those of runs from before white space was kept.
    """
    inner = tokenizers.Tokenizer(_model(kind))
    steps: list[normalizers.Normalizer] = [normalizers.NFC()]
    if lowercase:
        steps.append(normalizers.Lowercase())
    if kind in ("bpe", "byte") and keeps_whitespace:
        pieces = pre_tokenizers.Split(Regex(_PIECES), "isolated")
        as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        inner.pre_tokenizer = pre_tokenizers.Sequence([pieces, as_bytes]) if kind == "byte" else pieces
        inner.decoder = decoders.ByteLevel() if kind == "byte" else decoders.Fuse()
    elif kind == "byte":
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        # The first word has a space before it too, which the decoder removes.
        inner.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    elif kind == "character" and not spaced:
        pattern = _CHARACTERS if keeps_whitespace else _CHARACTERS_OF_NORMALISED
        inner.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
        inner.decoder = decoders.Fuse()
    else:
        steps.append(normalizers.Replace(SPACE, "_"))
        space = pre_tokenizers.Metaspace(SPACE, prepend_scheme="always", split=False)
        pattern = _SPACED_CHARACTERS if kind == "character" else _WORDS
        inner.pre_tokenizer = pre_tokenizers.Sequence(
            [space, pre_tokenizers.Split(Regex(pattern), "isolated")]
        )
        inner.decoder = decoders.Metaspace(SPACE, prepend_scheme="always", split=False)
    inner.normalizer = normalizers.Sequence(steps)
    return inner


def splitting_of(parsed: dict) -> Splitting:
    """Return how a parsed `tokenizer.json` splits text.

    Raise ValueError if its parts are not those that `build` combines, or did before white space was kept.
    """
    cut = parsed.get("pre_tokenizer") or {}
    model, parts = parsed["model"]["type"], cut.get("pretokenizers") or [cut]
    pattern = parts[-1].get("pattern", {}).get("Regex")
    match model, [part.get("type") for part in parts]:
        case "BPE", ["Split", "ByteLevel"]:
            return Splitting("byte", "chunks", True)
        case "BPE", ["Split"]:
            return Splitting("bpe", "chunks", True)
        case "BPE", ["ByteLevel"]:
            return Splitting("byte", "words", False)
        case "BPE", ["Metaspace", "Split"]:
            return Splitting("bpe", "words", False)
        case "WordLevel", ["Metaspace", "Split"]:
            return Splitting("character" if pattern == _SPACED_CHARACTERS else "word", "words", False)
        case "WordLevel", ["Split"]:
            return Splitting("character", "characters", pattern != _CHARACTERS_OF_NORMALISED)
    raise ValueError(f"it splits text in another way ({model} over {cut.get('type', 'complete lines')})")


@functools.cache
def _empty() -> tuple[dict[str, Any], ...]:
    """Return the JSON of every tokenizer that `build` returns, with the special tokens."""
    made = []
    for kind, *how in product(KINDS[1:], (False, True), (False, True), (True, False)):
        lowercase, spaced, keeps = how
        inner = build(kind, lowercase=lowercase, spaced=spaced, keeps_whitespace=keeps)
        inner.add_special_tokens([AddedToken(token, special=True) for token in SPECIALS])
        made.append(json.loads(inner.to_str()))
    return tuple(made)


def rebuild(parsed: Any) -> tokenizers.Tokenizer:
    """Return the tokenizer of a parsed `tokenizer.json`: one that `build` returns, with its vocabulary.

    Nothing else of the file reaches the library, which aborts the process for an id of 2³¹, allocates up to
    the largest id, and runs whatever regular expression is written there. Raise ValueError if it splits text
    in another way, or its ids are not 0 to V - 1, those of the special tokens 0 to 3.
    """
    model = parsed.get("model") if isinstance(parsed, dict) else None
    if not isinstance(model, dict):
        raise ValueError("it has no model")
    vocabulary = model.get("vocab")
    if not isinstance(vocabulary, dict) or not all(type(id) is int for id in vocabulary.values()):
        raise ValueError("its vocabulary is not an id for each token")
    if [vocabulary.get(each) for each in SPECIALS] != list(range(len(SPECIALS))):
        raise ValueError(f"its special tokens are not {' '.join(SPECIALS)} with the ids 0 to 3")
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise ValueError(f"the ids of its {len(vocabulary)} tokens are not 0 to {len(vocabulary) - 1}")
    for empty in _empty():
        parts = ("normalizer", "pre_tokenizer", "decoder")
        if empty["model"]["type"] == model.get("type") and all(empty[p] == parsed.get(p) for p in parts):
            learned: dict[str, Any] = {"vocab": vocabulary}
            if "merges" in empty["model"]:
                learned["merges"] = _checked_merges(model.get("merges"), vocabulary)
            whole = empty | {"model": empty["model"] | learned}
            return tokenizers.Tokenizer.from_str(json.dumps(whole))
    raise ValueError("it splits text in another way, or joins it in another way")


def _checked_merges(merges: Any, vocabulary: dict[str, int]) -> list[list[str]]:
    """Return what a BPE model merges; ValueError where it is not two tokens that make a third."""
    if not isinstance(merges, list):
        raise ValueError("its merges are not a list")
    for pair in merges:
        is_pair = isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)
        if not is_pair or not vocabulary.keys() >= {*pair, "".join(pair)}:
            raise ValueError(f"its merge {pair!r:.80} is not of two tokens that make a third")
    return merges


def choose_kind(sample: Sequence[str]) -> str:
    """Return `character` for text without words between spaces, else `word`.

    Such text has hardly any space (names, formulas), or a space between any two characters, or is mostly of a
    script without spaces. Text of such a script that has already been segmented is `word`: most lines then
    have a space, and the parts between spaces are short, though longer than one character.
    """
    spaced = sum(" " in line for line in sample)
    if 10 * spaced < len(sample) or spaced_characters(sample):
        return "character"
    letters = {letter: n for letter, n in Counter(chain.from_iterable(sample)).items() if letter.isalpha()}
    spaceless = sum(n for letter, n in letters.items() if unicodedata.name(letter, "").startswith(SPACELESS))
    if 2 * spaceless <= sum(letters.values()):
        return "word"
    pieces = [len(piece) for line in sample for piece in line.split()]
    segmented = 2 * spaced > len(sample) and sum(pieces) < 3 * len(pieces)
    return "word" if segmented else "character"


class Choice(NamedTuple):
    """The kind of tokenizer for a text, and why."""

    kind: str
    reason: str
    """A clause that goes after "as"; empty for ordinary words between spaces."""


def choose(sample: Sequence[str]) -> Choice:
    """Choose a tokenizer by what the text is; a sample of sentences decides.

    Text without words between spaces is read by characters (`choose_kind`). Where at least `ODD_RATE` of what
    stands between spaces is odd (`odd_rate`), words would make all of that unknown, and samples would lack
    it. Then rare pieces are spelled: by characters, or by `bpe` where most pieces are ordinary words, or
    lines are so long that characters would not fit.
    """
    kind = choose_kind(sample)
    if kind == "character":
        spaced = spaced_characters(sample)
        return Choice(
            kind, "characters stand between spaces" if spaced else "words do not stand between spaces"
        )
    odd, plain = odd_rate(sample)
    if odd < ODD_RATE or len(sample) < FEWEST:
        return Choice(kind, "")
    reason = f"{odd:.0%} of what stands between spaces are rare numbers, names with signs, addresses"
    lengths = sorted(map(len, sample))
    fits = lengths[int(0.95 * (len(lengths) - 1))] < CHARACTERS_AT_MOST
    return Choice("character" if fits and plain < MOSTLY_WORDS else "bpe", reason)


def odd_rate(sample: Sequence[str]) -> tuple[float, float]:
    """Return the fractions of what stands between spaces that is odd, and that is a plain word or number.

    A piece is plain if, without the marks around it, it has nothing but letters with inner apostrophes,
    hyphens and full stops, or digits with inner separators, or is marks alone. It is odd if the sample has it
    once, and it has three digits or is not plain: `/items/2076`, `#tag`, `2,841`. How often it occurs tells
    the year in the news from the number in a log, and the usual hashtag from the address.
    """
    counts = Counter(without_marks(piece) for line in sample for piece in line.split())
    total = sum(counts.values())
    plain = {piece for piece in counts if _PLAIN.fullmatch(piece)}
    odd = sum(
        1 for piece, n in counts.items() if n == 1 and (piece not in plain or _LONG_NUMBER.match(piece))
    )
    return odd / max(total, 1), sum(counts[piece] for piece in plain) / max(total, 1)


def without_marks(piece: str) -> str:
    """Return what stands between spaces without the marks around it, in time proportional to its length."""
    first = _BEGINS.search(piece)
    kept = piece[first.start() :] if first else ""
    last = _ENDS.search(kept[::-1])
    return kept[: len(kept) - last.start()] if last else ""


def spaced_characters(sample: Sequence[str]) -> bool:
    """Return True if nearly all characters of a sample stand between spaces."""
    pieces = [len(piece) for line in sample if len(line) > 1 for piece in line.split()]
    return 10 * sum(length == 1 for length in pieces) > 9 * len(pieces)


def _model(kind: str) -> models.Model:
    if kind == "byte":
        return models.BPE()
    unknown = SPECIALS[-1]
    return models.BPE(unk_token=unknown) if kind == "bpe" else models.WordLevel({}, unk_token=unknown)
