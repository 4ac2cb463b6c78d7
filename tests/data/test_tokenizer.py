"""Tokenizers of every kind: there and back, ids by count, specials that no text can inject, files."""

import json
import subprocess
import sys
import textwrap
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch

from seqgen.core.errors import UserError
from seqgen.data import tokenizer as module
from seqgen.data import tokenizer_training
from seqgen.data.sentence_store import Lines
from seqgen.data.tokenizer import BOS, EOS, KINDS, PAD, SPECIALS, UNK, Tokenizer
from seqgen.data.tokenizer_training import default_min_count, train_tokenizer

TEXTS = [
    "A man's dog-house costs 3,000.50 yen ...",
    "“Hi” , she said ; it's 3.5%!",
    "don’t stop-- état-major, naïve café",
    "mixed 中文字 and かな 😀👩‍👩‍👧 𝒳𠀀",
    "x </s> <s> <pad> <unk> y",
    "a",
    "4-1=3 covid-19",
]


def normal(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").split("\n")
    return [unicodedata.normalize("NFC", " ".join(each.split())) for each in lines if each.strip()]


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("name", ["coco_train", "news_train", "chinese_poems"])
def test_decoding_restores_every_line_of_real_corpora(data_dir: Path, kind: str, name: str) -> None:
    lines = normal(data_dir / "text" / f"{name}.txt")
    tokenizer = train_tokenizer(lines, kind, min_count=1)
    rows = tokenizer.encode_batch(lines)
    assert [tokenizer.decode(row) for row in rows] == lines
    assert UNK not in set().union(*rows)
    # The library by itself, encoding complete sentences, gives the same ids and the same text.
    plain = tokenizers.Tokenizer.from_str(tokenizer.to_json())
    some = slice(0, len(lines), 7)
    assert [each.ids for each in plain.encode_batch(lines[some], add_special_tokens=False)] == rows[some]
    assert plain.decode_batch(rows[some]) == lines[some]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", TEXTS)
def test_decoding_restores_hard_lines(kind: str, text: str) -> None:
    tokenizer = train_tokenizer(TEXTS, kind)
    ids = tokenizer.encode(text)
    assert not {PAD, BOS, EOS, UNK} & set(ids)
    assert tokenizer.decode(ids) == text


def test_words_marks_numbers_and_the_space_before_them() -> None:
    tokenizer = train_tokenizer(TEXTS, "word")
    expected = ["▁A", "▁man's", "▁dog-house", "▁costs", "▁3,000.50", "▁yen", "▁.", ".", "."]
    assert tokenizer.tokens(tokenizer.encode(TEXTS[0])) == expected
    assert tokenizer.tokens(tokenizer.encode(TEXTS[6])) == ["▁4", "-", "1", "=", "3", "▁covid", "-", "19"]
    expected = ["▁mixed", "▁中", "文", "字", "▁and", "▁か", "な", "▁😀"]
    assert tokenizer.tokens(tokenizer.encode(TEXTS[3]))[:8] == expected


def test_ids_fall_with_the_count_then_follow_code_points() -> None:
    # a stands 3 times, b and c twice, d once; every word follows a space or the start.
    tokenizer = train_tokenizer(["c b a", "a d c", "b a"], "word")
    assert tokenizer.tokens(range(8)) == [*SPECIALS, "▁a", "▁b", "▁c", "▁d"]
    assert tokenizer.vocab_size == 8
    assert tokenizer.encode("a d") == [4, 7]


def test_min_count_and_max_vocab_leave_out_the_rare() -> None:
    lines = ["c b a", "a d c", "b a"]
    often = train_tokenizer(lines, "word", min_count=2)
    assert often.encode("a b c d") == [4, 5, 6, UNK]
    few = train_tokenizer(lines, "word", max_vocab=6)
    assert few.vocab_size == 6
    assert few.encode("a b c d") == [4, 5, UNK, UNK]


@pytest.mark.parametrize(("kind", "size"), [("bpe", 31), ("byte", 263), ("character", 13), ("word", 14)])
def test_max_vocab_counts_the_special_tokens(kind: str, size: int) -> None:
    lines = ["the cat sat on the mat", "the dog sat on a log , and the fog"]
    assert train_tokenizer(lines, kind, max_vocab=size).vocab_size == size


def test_the_vocabulary_of_subwords_fits_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{i * 7919 % 99991:05}" for i in range(10_000)]  # 50,000 characters
    monkeypatch.setattr(tokenizer_training, "SUBWORD_VOCAB", (20, 500))
    assert train_tokenizer(lines, "bpe").vocab_size == 4 + 10 + 250
    assert train_tokenizer(lines * 3, "bpe").vocab_size == 500
    assert train_tokenizer(lines[:100], "bpe").vocab_size == 4 + 10 + 20
    assert train_tokenizer(iter(lines), "bpe").vocab_size == 500
    assert train_tokenizer(lines, "bpe", max_vocab=77).vocab_size == 77
    rare = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))  # each once: spelled, not cut
    assert UNK not in train_tokenizer([*lines, rare], "bpe").encode(rare)


def test_bpe_leaves_out_rare_characters_where_there_is_no_room() -> None:
    tokenizer = train_tokenizer(["ab ab ac ad"], "bpe", max_vocab=7)  # 4 special ones, the space, a and b
    assert sorted(tokenizer.tokens(range(4, 7))) == [" ", "a", "b"]


def test_characters_alone_and_with_their_space() -> None:
    plain = train_tokenizer(["床前 明月", "床"], "character")
    assert plain.tokens(plain.encode("床 月")) == ["床", " ", "月"]
    spaced = train_tokenizer(["床 前 明 月", "月 光"], "character")
    assert spaced.kind == "character"
    assert spaced.tokens(spaced.encode("床 月")) == ["▁床", "▁月"]
    assert spaced.decode(spaced.encode("床 月")) == "床 月"


def test_lowercase() -> None:
    tokenizer = train_tokenizer(["A Cat", "a ÉTAT"], "word", lowercase=True)
    assert tokenizer.tokens(range(4, 7)) == ["▁a", "▁cat", "▁état"]
    assert tokenizer.decode(tokenizer.encode("A CAT")) == "a cat"
    assert train_tokenizer(["A Cat", "a cat"], "word").vocab_size == 8


def test_what_is_unknown() -> None:
    words = train_tokenizer(["a cat"], "word")
    assert words.encode("a dog cat") == [4, UNK, 5]
    assert words.decode([4, UNK, 5]) == "a <unk> cat"
    characters = train_tokenizer(["abc"], "character")
    assert characters.encode("axc") == [4, UNK, 6]
    assert characters.decode([4, UNK, 6]) == "a<unk>c"
    assert UNK in train_tokenizer(["abc"], "bpe").encode("axc")
    byte = train_tokenizer(["abc"], "byte")
    assert UNK not in byte.encode("猫 😀 \x00▁")
    assert byte.decode(byte.encode("猫 😀 \x00▁")) == "猫 😀 \x00▁"


def test_decoding_stops_at_eos_and_skips_what_is_no_text() -> None:
    tokenizer = train_tokenizer(["a cat"], "word")
    assert tokenizer.decode([BOS, 4, PAD, 5, EOS, 4, PAD]) == "a cat"
    assert tokenizer.decode(torch.tensor([4, 5, EOS, PAD])) == "a cat"
    assert tokenizer.decode(np.array([4], np.uint16)) == "a"
    assert tokenizer.decode([]) == tokenizer.decode([EOS, 4]) == ""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("special", SPECIALS)
def test_text_cannot_inject_special_tokens(tmp_path: Path, kind: str, special: str) -> None:
    text = f"{special} cat{special}{special} {special}"
    tokenizer = train_tokenizer([text] * 50, kind)
    tokenizer.save(tmp_path / "tokenizer.json")
    for each in (tokenizer, Tokenizer.load(tmp_path / "tokenizer.json")):
        ids = each.encode(text)
        assert not {PAD, BOS, EOS, UNK} & set(ids)
        assert each.decode(ids) == text


def test_the_mark_of_the_space_reads_as_an_underscore() -> None:
    tokenizer = train_tokenizer(["a▁b ▁ c_d"], "word")
    assert tokenizer.decode(tokenizer.encode("a▁b ▁ c_d")) == "a_b _ c_d"


def test_white_space_and_decomposed_accents_in_a_prompt_do_not_matter() -> None:
    tokenizer = train_tokenizer(["un café noir"], "word")
    assert tokenizer.encode("  un  cafe\u0301 noir ") == tokenizer.encode("un café noir") == [6, 4, 5]
    assert tokenizer.encode("") == []
    characters = train_tokenizer(["un café"], "character")
    assert characters.encode("cafe\u0301") == characters.encode("café")


def test_known_words_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMO_CHARACTERS", 5)
    tokenizer = train_tokenizer(TEXTS, "word")
    expected = train_tokenizer(TEXTS, "word").encode_batch(TEXTS)
    for _ in range(3):
        assert tokenizer.encode_batch(TEXTS) == expected
        assert tokenizer.encode_batch(["a a"]) == [[tokenizer.encode("a")[0]] * 2]
        assert tokenizer.encode_flat(["a"]).tolist() == [tokenizer.encode("a")[0], EOS]
        assert len(tokenizer._known) <= 3


def test_counting_in_parts_gives_the_same_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    once = train_tokenizer(TEXTS * 3, "word").to_json()
    monkeypatch.setattr(module, "COUNT_WORDS", 2)
    monkeypatch.setattr(tokenizer_training, "SAMPLE", 2)
    assert train_tokenizer(TEXTS * 3, "word").to_json() == once


def test_flat_encoding_ends_each_sentence() -> None:
    tokenizer = train_tokenizer(TEXTS, "word")
    flat = tokenizer.encode_flat(["a", "", "A a"])
    a, big = tokenizer.encode("a") + tokenizer.encode("A")
    assert flat.tolist() == [a, EOS, EOS, big, a, EOS]
    assert flat.dtype == np.int32


@pytest.mark.parametrize("kind", KINDS[1:])
def test_saved_tokenizers_load_with_the_library_and_equal(tmp_path: Path, kind: str) -> None:
    tokenizer = train_tokenizer(TEXTS, kind)
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert loaded.kind == kind
    assert loaded.vocab_size == tokenizer.vocab_size
    assert loaded.to_json() == tokenizer.to_json()
    assert loaded.encode_batch(TEXTS) == tokenizer.encode_batch(TEXTS)
    plain = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert [plain.token_to_id(each) for each in SPECIALS] == [0, 1, 2, 3]
    ids = tokenizer.encode(TEXTS[0])
    assert plain.decode([BOS, *ids, EOS, PAD]) == TEXTS[0]


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_ids_do_not_depend_on_the_hash_seed(hash_seed: str) -> None:
    lines = [*TEXTS, *(" ".join(f"w{i * j % 31}" for j in range(9)) for i in range(97))]
    code = f"""
        from seqgen.data.tokenizer import KINDS
        from seqgen.data.tokenizer_training import train_tokenizer
        print(ascii([train_tokenizer({lines!a}, kind, max_vocab=300).to_json() for kind in KINDS]))
    """
    environment = {"PYTHONHASHSEED": hash_seed, "RAYON_NUM_THREADS": hash_seed}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    shown = subprocess.run(command, capture_output=True, check=True, env=environment, text=True)
    expected = [train_tokenizer(lines, kind, max_vocab=300).to_json() for kind in KINDS]
    assert shown.stdout.strip() == ascii(expected)


def test_the_vocabulary_of_lines_is_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = Lines.from_strings(["cached once"])
    first = train_tokenizer(lines)

    def refuse(*args: object) -> None:
        raise AssertionError("counted a second time")

    monkeypatch.setattr(tokenizer_training, "_train", refuse)
    assert train_tokenizer(lines).to_json() == first.to_json()
    for changed in ({"kind": "bpe"}, {"lowercase": True}, {"max_vocab": 7}, {"min_count": 2}):
        with pytest.raises(AssertionError, match="second time"):
            train_tokenizer(lines, **changed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "wrod"}, "no tokenizer 'wrod'; did you mean 'word'"),
        ({"max_vocab": 4}, "a vocabulary of 4 is too small; the least for 'auto' is 5"),
        ({"kind": "byte", "max_vocab": 259}, "a vocabulary of 259 is too small; the least for 'byte' is 260"),
        ({"min_count": 0}, "a minimum count of 0 is too small; give 1 or more"),
    ],
)
def test_options_that_cannot_be_met(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        train_tokenizer(["a"], **options)


def test_nothing_to_learn_from() -> None:
    with pytest.raises(UserError, match="there is no sentence to learn a vocabulary from"):
        train_tokenizer([])


def foreign() -> str:
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    inner.add_special_tokens(["[UNK]"])
    return inner.to_str()


def without_cutting() -> str:
    return json.dumps(json.loads(train_tokenizer(["a cat"], "bpe").to_json()) | {"pre_tokenizer": None})


def damaged() -> str:
    parsed = json.loads(train_tokenizer(["a cat"], "word").to_json())
    parsed["model"]["type"] = "Nothing"
    return json.dumps(parsed)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", "null", '{"added_tokens": [1]}', foreign(), damaged(), without_cutting()]
)
def test_foreign_and_corrupt_files(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(UserError, match=r"tokenizer\.json is no tokenizer of seqgen: "):
        Tokenizer.load(tmp_path / "tokenizer.json")


def hostile(**changes: Any) -> str:
    """Return a good file of a BPE tokenizer with parts or, in lower case, keys of its model changed."""
    parsed = json.loads(train_tokenizer(["a cat", "a cap"], "bpe").to_json())
    return json.dumps(parsed | {"model": parsed["model"] | changes.pop("model", {})} | changes)


def vocabulary(**changes: int) -> dict[str, dict[str, int]]:
    return {"vocab": json.loads(hostile())["model"]["vocab"] | changes}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (hostile(model=vocabulary(x=2**31)), r"the ids of its \d+ tokens are not 0 to \d+"),
        (hostile(model=vocabulary(x=2**62)), r"the ids of its \d+ tokens are not 0 to \d+"),
        (hostile(model=vocabulary(x=-1)), r"the ids of its \d+ tokens are not 0 to \d+"),
        (hostile(model=vocabulary(x=1)), r"the ids of its \d+ tokens are not 0 to \d+"),
        (hostile(model={"vocab": {"a": "b"}}), "its vocabulary is not an id for each token"),
        (hostile(model={"vocab": ["a"]}), "its vocabulary is not an id for each token"),
        (hostile(model={"vocab": {"a": 0}}), "its special tokens are not"),
        (hostile(model=vocabulary(**{"<unk>": 9})), "its special tokens are not"),
        (hostile(model={"merges": None}), "its merges are not a list"),
        (hostile(model={"merges": [["a", "x"]]}), "its merge .* is not of two tokens that make a third"),
        (hostile(model={"merges": ["a"]}), "its merge 'a' is not of two tokens that make a third"),
        (hostile(decoder=None), "it splits text in another way, or joins it"),
        (
            hostile(pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a*)*b"}}),
            "it splits text in another way",
        ),
        (
            hostile(normalizer={"type": "Replace", "pattern": {"Regex": "(?<=a+"}}),
            "it splits text in another way",
        ),
        ("[" * 100_000 + "]" * 100_000, "it is nested more than 64 deep"),
        ('{"model": {"vocab": {"\\ud800": 0}}}', "it holds half of a surrogate pair"),
    ],
)
def test_a_file_of_another_hand_is_refused_before_the_library_sees_it(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(UserError, match=rf"tokenizer\.json is no tokenizer of seqgen: {message}"):
        Tokenizer.load(tmp_path / "tokenizer.json")


def test_what_a_file_says_beside_its_vocabulary_does_not_matter(tmp_path: Path) -> None:
    content = hostile(added_tokens=3, truncation={"max_length": 1}, padding=[], model={"dropout": 0.9})
    (tmp_path / "tokenizer.json").write_text(content)
    assert Tokenizer.load(tmp_path / "tokenizer.json").to_json() == Tokenizer.from_json(hostile()).to_json()


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("lowercase", [True, False])
def test_a_file_is_rebuilt_as_it_was(kind: str, lowercase: bool) -> None:
    for lines in (["A cat sat", "two cats"], ["A c a t", "t w o"]):
        trained = train_tokenizer(lines, kind, lowercase=lowercase)
        again = Tokenizer.from_json(trained.to_json())
        assert again.to_json() == trained.to_json()
        assert again.encode_batch(lines) == trained.encode_batch(lines)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the tokenizer .*: No such file"):
        Tokenizer.load(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is no tokenizer of seqgen"):
        Tokenizer.load(tmp_path / "tokenizer.json")


def test_rare_words_become_unknown_only_if_they_are_a_small_fraction():
    # below 3: 4 of 100, exactly the fraction that may become unknown
    assert default_min_count({"a": 96, "b": 2, "c": 1, "d": 1}) == 3
    # below 3: 5 of 100; below 2: 1
    assert default_min_count({"a": 95, "b": 2, "c": 2, "d": 1}) == 2
    assert default_min_count({"a": 5, "b": 1}) == 1
    lines = ["a a a a b"] * 40 + ["a rare word"]
    known = train_tokenizer(lines, "word")
    assert known.decode(known.encode("a rare b")) == "a <unk> b"
    every = train_tokenizer(lines, "word", min_count=1)
    assert every.decode(every.encode("a rare b")) == "a rare b"


LAID_OUT = [
    "def f(x):\n    if x:\n\t\treturn  x + 1\n",
    "Roses are red,\n  violets are blue.\n\nStanza two",
    " pass word  ",
    "\ttab\tand  double  spaces",
    "carriage\r\nreturns\r\n",
    "no\u00a0break and \u3000ideographic",
    " ",
    "\n",
]


@pytest.mark.parametrize("kind", ["character", "bpe", "byte"])
@pytest.mark.parametrize("text", LAID_OUT)
def test_white_space_comes_back_as_it_was(kind: str, text: str) -> None:
    tokenizer = train_tokenizer(LAID_OUT, kind, min_count=1)
    assert tokenizer.keeps_whitespace
    assert tokenizer.decode(tokenizer.encode(text)) == text
    plain = tokenizers.Tokenizer.from_str(tokenizer.to_json())
    assert plain.encode(text, add_special_tokens=False).ids == tokenizer.encode(text)


@pytest.mark.parametrize("sample", [LAID_OUT, ["床 前 明 月 光"]])
def test_words_and_spaced_characters_have_one_space_and_say_so(sample: list[str]) -> None:
    tokenizer = train_tokenizer(sample, "word" if sample is LAID_OUT else "character", min_count=1)
    assert not tokenizer.keeps_whitespace
    for text in sample:
        assert tokenizer.decode(tokenizer.encode(text)) == " ".join(text.split())


def test_an_indentation_is_a_piece_that_merges() -> None:
    tokenizer = train_tokenizer(["if x:\n        return x"] * 7, "bpe")
    assert "\n       " in tokenizer.tokens(range(4, tokenizer.vocab_size))


def as_written_before(kind: str) -> str:
    """Return a tokenizer.json whose parts are those from before white space was kept."""
    parsed = json.loads(train_tokenizer(["床前" if kind == "character" else "a b"], kind).to_json())
    if kind == "character":
        parsed["pre_tokenizer"]["pattern"]["Regex"] = r"[\s\S]"
    elif kind == "bpe":
        word = json.loads(train_tokenizer(["a b"], "word").to_json())  # whose words it split further
        parsed |= {part: word[part] for part in ("normalizer", "pre_tokenizer", "decoder")}
        parsed["model"]["vocab"] = {
            {"Ġ": "▁", " ": "▁"}.get(k, k): v for k, v in parsed["model"]["vocab"].items()
        }
        parsed["model"]["merges"] = []
    else:
        whole = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
        strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
        parsed["pre_tokenizer"] = whole
        parsed["decoder"] = {"type": "Sequence", "decoders": [whole, strip]}
    return json.dumps(parsed)


@pytest.mark.parametrize(("kind", "text"), [("character", "前 床"), ("bpe", "b a"), ("byte", "b a")])
def test_tokenizers_of_earlier_runs_read_as_they_did(kind: str, text: str) -> None:
    tokenizer = Tokenizer.from_json(as_written_before(kind))
    assert (tokenizer.kind, tokenizer.keeps_whitespace) == (kind, False)
    plain = tokenizers.Tokenizer.from_str(tokenizer.to_json())
    assert tokenizer.encode(text) == plain.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(tokenizer.encode(text)) == (text if kind != "character" else "前<unk>床")
    if kind != "character":
        assert tokenizer.encode(f" {text}  ") == tokenizer.encode(text)


def test_bytes_that_are_no_utf8_are_refused() -> None:
    tokenizer = train_tokenizer(["un café"], "word")
    with pytest.raises(UserError, match=r"the text 'caf.' holds bytes that are not UTF-8; give it in UTF-8"):
        tokenizer.encode("caf\udce9")
