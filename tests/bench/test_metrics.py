"""The rows of BLEU in the speed benchmark: what is timed, and a part of the work scaled to all."""

import json
import sys
from itertools import count

import pytest
import torch
from typer.testing import CliRunner

from seqgen.bench import metrics, speed
from seqgen.cli.bench import app

HYPS = [["a", "b"], ["b", "c", "d"], ["a"], ["d", "a", "b"], ["c"], ["a", "c"], ["b"]]
REFS = [["a", "b", "c"], ["d"]]


def test_nltk_is_timed_on_two_sentences_and_scaled_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fast_bleu", None)
    ticks = count()
    rows = metrics.run(HYPS, REFS, repeats=3, clock=lambda: float(next(ticks)))  # every run takes a second
    assert [row.task for row in rows] == ["BLEU-2…5, naive: NLTK", "self-BLEU-2…5, naive: NLTK"]
    for row in rows:
        assert (row.work, row.ours.median, row.naive.median, row.naive.least) == (7, 1.0, 3.5, 3.5)
        assert row.ratio == 3.5


def test_fast_bleu_has_rows_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Module:
        calls: list[str] = []  # noqa: RUF012

        class BLEU:
            def __init__(self, *given: object) -> None:
                Module.calls.append(f"{type(self).__name__} {len(given)}")

            def get_score(self, *given: object) -> None:
                Module.calls.append(f"score {len(given)}")

        class SelfBLEU(BLEU):
            pass

    monkeypatch.setitem(sys.modules, "fast_bleu", Module)
    rows = metrics.run(HYPS, REFS, repeats=1)
    assert [row.task.split(": ")[1] for row in rows] == ["NLTK", "fast-bleu", "NLTK", "fast-bleu"]
    assert Module.calls == ["BLEU 2", "score 1"] * 2 + ["SelfBLEU 2", "score 0"] * 2


def test_the_corpus_is_of_the_size_asked_for_and_seeded() -> None:
    hyps, refs = metrics.corpus(31, seed=2)
    assert (len(hyps), len(refs)) == (31, 31)
    assert hyps == metrics.corpus(31, seed=2)[0] != metrics.corpus(31, seed=3)[0]


def test_the_command_adds_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "run", lambda *given, **options: [])
    monkeypatch.setitem(sys.modules, "fast_bleu", None)
    options = ["--sentences=5", "--no-default-step", "--no-discriminators", "--repeats=1", "--json"]
    result = CliRunner().invoke(app, ["speed", *options])
    assert result.exit_code == 0, result.output
    assert [row["unit"] for row in json.loads(result.stdout)["rows"]] == ["tokens", "sentences", "sentences"]
    assert torch.get_num_threads() == 1
