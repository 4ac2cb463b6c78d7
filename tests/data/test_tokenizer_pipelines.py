"""The automatic choice of a kind, on every sort of script."""

import json
from pathlib import Path

import pytest

from seqgen.data import tokenizer_pipelines
from seqgen.data.tokenizer_pipelines import choose_kind, spaced_characters, splitting_of


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
    assert choose_kind(lines[:1_000]) == kind


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
