"""The automatic choice of a kind, on every sort of script."""

import json
from pathlib import Path

import pytest
from made_texts import MAKERS, make

from seqgen.data import tokenizer_pipelines
from seqgen.data.tokenizer import UNK
from seqgen.data.tokenizer_pipelines import (
    choose,
    choose_kind,
    odd_rate,
    spaced_characters,
    splitting_of,
    without_marks,
)
from seqgen.data.tokenizer_training import train_tokenizer


@pytest.mark.parametrize(
    ("sample", "kind"),
    [
        (["a man is riding a horse .", "two dogs"], "word"),
        (["Ein Mädchen läuft."], "word"),
        (["나는 학교에 간다"], "word"),  # Hangul puts spaces between words
        (["человек идёт"], "word"),
        (["床前明月光，疑是地上霜。"], "character"),
        (["床前明月光 疑是地上霜"], "character"),  # spaces between clauses
        (["明月", "春风"], "character"),  # short, but no line has a space
        (["明月", "春风", "我们 他们"], "character"),
        (["床 前 明 月 光 ， 疑 是 地 上 霜 。"], "character"),
        (["我们 喜欢 猫 。", "他 去 学校 了"], "word"),  # cut into words
        (["吾輩は猫である。名前はまだ無い。"], "character"),
        (["สวัสดีชาวโลก"], "character"),
        (["ສະບາຍດີຊາວໂລກ"], "character"),
        (["the word 猫 means cat"], "word"),
        (["1 + 3 = 4"], "character"),
        (["112 + 35 = 147"], "word"),
        (["12+3=15", "4-1=3"], "character"),
        (["emma", "olivia"], "character"),
        (["yes"] * 9 + ["no way"], "word"),
    ],
)
def test_choice_by_script(sample: list[str], kind: str) -> None:
    assert choose_kind(sample) == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [("coco_train", "word"), ("news_train", "word"), ("chinese_poems", "character")],
)
def test_choice_on_real_corpora(data_dir: Path, name: str, kind: str) -> None:
    lines = (data_dir / "text" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    assert choose_kind(lines[:1_000]) == choose(lines[:1_000]).kind == kind


@pytest.mark.parametrize(
    ("kind", "tokenizer", "reason"),
    [
        ("names", "character", "words do not stand between spaces"),
        ("molecules", "character", "words do not stand between spaces"),
        ("URLs", "character", "words do not stand between spaces"),
        ("e-mails", "character", "words do not stand between spaces"),
        ("logs", "character", "31% of what stands between spaces are rare"),
        ("hashtags", "character", "% of what stands between spaces are rare"),
        ("tweets", "bpe", "8% of what stands between spaces are rare"),
        ("news", "word", ""),
    ],
)
def test_choice_by_what_the_text_is_and_why(kind: str, tokenizer: str, reason: str) -> None:
    for seed in (0, 1, 2):
        choice = choose(make(kind, 1_000, seed))
        assert choice.kind == tokenizer
        assert reason in choice.reason or "are rare" in reason
        assert bool(choice.reason) == bool(reason)
    assert reason in choose(make(kind, 2_000, 3)[:1_000]).reason


def test_words_are_kept_where_the_odd_is_rare_or_the_text_too_short_to_tell() -> None:
    # of four pieces a line the number is odd in every eighth line: 1 / 32, above .03; in every ninth 1 / 36
    for every, kind in ((8, "bpe"), (9, "word")):
        lines = [f"the cat sat {1000 + i if i % every == 0 else 'down'}" for i in range(1_000)]
        assert odd_rate(lines) == (len(range(0, 1_000, every)) / 4_000, 1.0)
        assert choose(lines).kind == kind
    assert choose([f"the cat {1000 + i}" for i in range(99)]).kind == "word"
    assert choose([f"the cat {1000 + i}" for i in range(100)]).kind == "bpe"
    assert choose([f"the cat {i % 50} {i % 99}" for i in range(500)]).kind == "word"  # no number is rare


def test_odd_lines_that_do_not_fit_as_characters_are_merged() -> None:
    for pieces, kind in ((2, "character"), (40, "bpe")):
        lines = [" ".join(f"id={i}-{j}" for j in range(pieces)) for i in range(1_000)]
        assert choose(lines).kind == kind


@pytest.mark.parametrize("kind", MAKERS)
def test_rare_tokens_are_spelled_and_decoding_restores_what_was_not_trained_on(kind: str) -> None:
    tokenizer = train_tokenizer(make(kind, 2_000, 0))
    lines = make(kind, 500, 1)
    rows = tokenizer.encode_batch(lines)
    assert [tokenizer.decode(row) for row in rows] == lines
    assert UNK not in set().union(*rows)


def test_spaced_characters() -> None:
    assert spaced_characters(["床 前 明 月 光", "，"])
    assert not spaced_characters(["a big cat", "I"])
    assert not spaced_characters(["床前明月光"])
    assert not spaced_characters(["明月", "春风", "我 们"])


@pytest.mark.parametrize("kind", tokenizer_pipelines.KINDS[1:])
@pytest.mark.parametrize("spaced", [True, False])
def test_the_kind_is_read_from_the_parts(kind: str, spaced: bool) -> None:
    inner = tokenizer_pipelines.build(kind, lowercase=False, spaced=spaced)
    units = {"word": "words", "character": "words" if spaced else "characters"}.get(kind, "chunks")
    assert splitting_of(json.loads(inner.to_str())) == (kind, units, units != "words")


@pytest.mark.parametrize("kind", tokenizer_pipelines.KINDS[1:])
@pytest.mark.parametrize("spaced", [True, False])
def test_the_parts_of_earlier_runs_keep_no_white_space(kind: str, spaced: bool) -> None:
    inner = tokenizer_pipelines.build(kind, lowercase=False, spaced=spaced, keeps_whitespace=False)
    units = "characters" if kind == "character" and not spaced else "words"
    assert splitting_of(json.loads(inner.to_str())) == (kind, units, False)


@pytest.mark.parametrize(
    ("piece", "kept"),
    [
        ("(cat),", "cat"),
        ("“#tag!”", "#tag"),
        ("...", ""),
        ("&", ""),
        ("&c.", "&c"),
        ("-3%.", "-3%"),
        ("a.b", "a.b"),
        ("", ""),
        ("x" + "[" * 1_000_000 + "y", "x" + "[" * 1_000_000 + "y"),  # in time in proportion to its length
    ],
)
def test_the_marks_around_a_piece_are_left_out(piece, kept):
    assert without_marks(piece) == kept
