"""The quality–diversity curve: its points, and that the picture shows each of them."""

from pathlib import Path

import matplotlib
import pytest
from matplotlib.figure import Figure

from seqgen.evaluation import quality_diversity
from seqgen.evaluation.references import build_references
from seqgen.evaluation.text import SentenceSet, compare

REFS = ["a dog runs fast .", "the cat sat on a mat .", "two men ride a horse ."]
TRAIN = ["a dog runs .", "the cat sat .", "two men ride .", "a man rides a horse .", "it rains ."]
FIRST, SECOND = ["a dog runs .", "the men sat ."], ["a cat .", "a cat .", "a cat ."]


def test_points_are_the_scores_of_the_evaluation() -> None:
    references = build_references(REFS, TRAIN)
    sets = [SentenceSet("one", FIRST), SentenceSet("two", SECOND)]
    results = compare(sets, references, provenance={"temperature": 0.7})
    results["sweep"] = [quality_diversity.measure(FIRST, references, name="one", temperature=1.0)]
    found = quality_diversity.points(results, "unused")
    assert [(p["name"], p["temperature"]) for p in found] == [
        ("real text", None),
        ("n-gram baseline", None),
        ("one", 0.7),
        ("two", 0.7),
        ("one", 1.0),
    ]
    for key in ("bleu_5", "self_bleu_5", "lm", "reverse_lm"):
        assert found[4][key] == pytest.approx(found[2][key], rel=1e-12)  # they are the same sentences
    assert found[3]["self_bleu_5"] == results["rows"][1]["self_bleu"]["5"]
    assert found[3]["reverse_lm"] == results["rows"][1]["lm"]["reverse"]
    assert found[0]["lm"] == results["real"]["lm"]["score"]
    alone = compare(sets[:1], build_references(REFS))
    assert [p["name"] for p in quality_diversity.points(alone, "alone")] == ["alone"]


POINTS = [
    {
        "name": name,
        "temperature": t,
        "bleu_5": 0.2 + i / 50,
        "self_bleu_5": 0.3 + i / 40,
        "lm": 4.0 - i,
        "reverse_lm": 5.0 + i,
    }
    for i, (name, t) in enumerate([("real text", None), ("run A", 1.0), ("run A", 0.5), ("run B", 0.8)])
]


def test_the_picture_shows_every_point_and_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (kept.append(self), save(self, *a, **k))[1])
    backend = matplotlib.get_backend(auto_select=False)
    picture = quality_diversity.draw(POINTS, title="N 7")
    assert picture.startswith(b"\x89PNG")
    assert matplotlib.get_backend(auto_select=False) == backend  # no window system is asked for
    bleu, models = kept[0].axes
    lines = {line.get_label(): line for line in bleu.get_lines()}
    assert list(lines) == ["real text", "run A", "run B"]
    # in the order of temperatures; BLEU negated so that better is to the left
    assert lines["run A"].get_xydata().ravel().tolist() == pytest.approx([-0.24, 0.35, -0.22, 0.325])
    assert [line.get_xydata().tolist() for line in models.get_lines()][1] == [[2.0, 7.0], [3.0, 6.0]]
    assert [text.get_text().strip() for text in bleu.texts] == ["0.5", "1", "0.8"]
    assert kept[0].get_suptitle() == "N 7"


def test_the_same_points_give_the_same_file(tmp_path: Path) -> None:
    quality_diversity.save(POINTS, tmp_path / "a.png")
    quality_diversity.save(POINTS, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_the_picture_is_drawn_as_svg_for_a_page() -> None:
    picture = quality_diversity.draw(POINTS, kind="svg").decode()
    assert "<svg" in picture
    assert "<dc:date>" not in picture
