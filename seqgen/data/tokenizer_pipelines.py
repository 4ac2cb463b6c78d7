"""How each kind of tokenizer cuts text and puts it together again, as parts of the `tokenizers` library."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import chain

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

KINDS = ("auto", "word", "character", "bpe", "byte")
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")

SPACELESS = ("CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "YI")
"""How the Unicode names of letters begin whose scripts put no space between words."""

SPACE = "▁"
"""Stands for the space before a word within tokens."""

_LONE = r"\p{Han}\p{Hiragana}\p{Katakana}"
_LETTER = rf"[\p{{L}}\p{{M}}&&[^{_LONE}]]"
_PART = rf"(?:{_LETTER}|\p{{N}})+"
# A number with its separators; a word of letters and digits, with inner apostrophes, and hyphens between
# letters (4-1 is a sum); or any one character, so also each Han or kana letter. Each has the space before it.
_WORD = rf"{_PART}(?:(?:['’]|(?<={_LETTER})-(?={_LETTER})){_PART})*"
_WORDS = rf"{SPACE}?(?:\p{{N}}+(?:[.,]\p{{N}}+)+|{_WORD}|[^{SPACE}])|{SPACE}"
_SPACED_CHARACTERS = rf"{SPACE}?[^{SPACE}]|{SPACE}"
_CHARACTERS = r"[\s\S]"


def build(kind: str, *, lowercase: bool, spaced: bool) -> tokenizers.Tokenizer:
    """Return an untrained tokenizer: normalise, cut, look up; and its decoder, the inverse.

    `spaced`: a `character` tokenizer gives each character the space before it, not the space a token of its
    own.
    """
    inner = tokenizers.Tokenizer(_model(kind))
    steps: list[normalizers.Normalizer] = [normalizers.NFC()]
    if lowercase:
        steps.append(normalizers.Lowercase())
    if kind == "byte":
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        # The first word has a space before it too, which the inverse takes away.
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
    """Tell, from the parts of a `tokenizer.json`, the kind, and whether the space is a token of its own.

    Raise ValueError for parts that are not put together as `build` does.
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
    raise ValueError(f"it cuts text in another way ({model} over {cut.get('type', 'whole lines')})")


def choose_kind(sample: Sequence[str]) -> str:
    """Return `character` where there are no words between spaces to be found, otherwise `word`.

    That is text with hardly a space (names, formulas), with a space between any two characters, or mostly of
    a script without spaces. Text of such a script that has been cut into words is `word`: most lines then
    hold a space, and pieces are short, though longer than one character.
    """
    spaced = sum(" " in line for line in sample)
    if 10 * spaced < len(sample) or spaced_characters(sample):
        return "character"
    letters = {letter: n for letter, n in Counter(chain.from_iterable(sample)).items() if letter.isalpha()}
    spaceless = sum(n for letter, n in letters.items() if unicodedata.name(letter, "").startswith(SPACELESS))
    if 2 * spaceless <= sum(letters.values()):
        return "word"
    pieces = [len(piece) for line in sample for piece in line.split()]
    cut_into_words = 2 * spaced > len(sample) and sum(pieces) < 3 * len(pieces)
    return "word" if cut_into_words else "character"


def spaced_characters(sample: Sequence[str]) -> bool:
    """Whether nearly all characters of a sample stand alone between spaces."""
    pieces = [len(piece) for line in sample if len(line) > 1 for piece in line.split()]
    return 10 * sum(length == 1 for length in pieces) > 9 * len(pieces)


def _model(kind: str) -> models.Model:
    if kind == "byte":
        return models.BPE()
    unknown = SPECIALS[-1]
    return models.BPE(unk_token=unknown) if kind == "bpe" else models.WordLevel({}, unk_token=unknown)
