"""The parts of the `tokenizers` library of which each kind of tokenizer consists, and choosing a kind."""

import functools
import json
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import chain, product
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

KINDS = ("auto", "word", "character", "bpe", "byte")
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")

SPACELESS = ("CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "YI")
"""First words of the Unicode names of letters of scripts without spaces between words."""

SPACE = "▁"
"""Stands for the space before a word in the vocabulary."""

_LONE = r"\p{Han}\p{Hiragana}\p{Katakana}"
_LETTER = rf"[\p{{L}}\p{{M}}&&[^{_LONE}]]"
_PART = rf"(?:{_LETTER}|\p{{N}})+"
# A number with its separators; a word of letters and digits, with inner apostrophes, and hyphens between
# letters (4-1 is arithmetic); or any one character, so each Han or kana letter. Each has the space before it.
_WORD = rf"{_PART}(?:(?:['’]|(?<={_LETTER})-(?={_LETTER})){_PART})*"
_WORDS = rf"{SPACE}?(?:\p{{N}}+(?:[.,]\p{{N}}+)+|{_WORD}|[^{SPACE}])|{SPACE}"
_SPACED_CHARACTERS = rf"{SPACE}?[^{SPACE}]|{SPACE}"
_CHARACTERS = r"[\s\S]"


def build(kind: str, *, lowercase: bool, spaced: bool) -> tokenizers.Tokenizer:
    """Return an untrained tokenizer: a normalizer, a pre-tokenizer, an empty model and the decoder.

    `spaced`: in a `character` tokenizer the space belongs to the character after it and is no token of its
    own.
    """
    inner = tokenizers.Tokenizer(_model(kind))
    steps: list[normalizers.Normalizer] = [normalizers.NFC()]
    if lowercase:
        steps.append(normalizers.Lowercase())
    if kind == "byte":
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        # The first word has a space before it too, which the decoder removes.
        inner.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    elif kind == "character" and not spaced:
        inner.pre_tokenizer = pre_tokenizers.Split(Regex(_CHARACTERS), "isolated")
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


def kind_of(parsed: dict) -> tuple[str, bool]:
    """Return the kind of a parsed `tokenizer.json`, and whether the space is a token of its own.

    Raise ValueError if its parts are not those that `build` combines.
    """
    cut = parsed.get("pre_tokenizer") or {}
    model, parts = parsed["model"]["type"], cut.get("pretokenizers") or [cut]
    pattern = parts[-1].get("pattern", {}).get("Regex")
    match model, [part.get("type") for part in parts]:
        case "BPE", ["ByteLevel"]:
            return "byte", False
        case "BPE", ["Metaspace", "Split"]:
            return "bpe", False
        case "WordLevel", ["Metaspace", "Split"]:
            return ("character" if pattern == _SPACED_CHARACTERS else "word"), False
        case "WordLevel", ["Split"]:
            return "character", True
    raise ValueError(f"it splits text in another way ({model} over {cut.get('type', 'complete lines')})")


@functools.cache
def _empty() -> tuple[dict[str, Any], ...]:
    """Return the JSON of every tokenizer that `build` returns, with the special tokens."""
    made = []
    for kind, lowercase, spaced in product(KINDS[1:], (False, True), (False, True)):
        inner = build(kind, lowercase=lowercase, spaced=spaced)
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


def spaced_characters(sample: Sequence[str]) -> bool:
    """Return True if nearly all characters of a sample stand between spaces."""
    pieces = [len(piece) for line in sample if len(line) > 1 for piece in line.split()]
    return 10 * sum(length == 1 for length in pieces) > 9 * len(pieces)


def _model(kind: str) -> models.Model:
    if kind == "byte":
        return models.BPE()
    unknown = SPECIALS[-1]
    return models.BPE(unk_token=unknown) if kind == "bpe" else models.WordLevel({}, unk_token=unknown)
