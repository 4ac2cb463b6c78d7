"""Samples in a file: an interrupted command goes on to the same bytes, in whatever way it samples."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

import seqgen
from seqgen.core.errors import UserError
from seqgen.core.user_functions import SentenceFunction
from seqgen.inference import conditional, generate, sample_file
from seqgen.inference.sample_file import Layout, settings_of, write_samples
from seqgen.inference.sentence import SamplingPosition, Sentence
from seqgen.inference.steering import Steering
from seqgen.training import load
from seqgen.training.load import Trained

BATCH, N = 7, 31
"""Sentences of a batch, and of a file: four batches and three sentences."""
SMALL = {"generator.embedding": 5, "generator.hidden": 11, "batch_size": 8}


class Stopped(BaseException):
    pass


def lengths(sentences: list[str]) -> list[float]:
    return [len(each) / 10 for each in sentences]


def is_even(sentences: list[str]) -> list[bool]:
    return [len(each) % 2 == 0 for each in sentences]


WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "scored": {"with_log_prob": True, "temperature": 0.7},
    "unique": {"unique": True, "max_length": 2},
    "filtered": {"where": SentenceFunction("even", is_even), "unique": True},
    "steered": {"steering": Steering(SentenceFunction("length", lengths), 2.0), "candidates": 3},
    "prompted": {"prompt": "a cat", "top_k": 5, "min_length": 3},
}


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "SAMPLE_BATCH", BATCH)
    monkeypatch.setattr(conditional, "BLOCK", 3)


@pytest.fixture(params=["mle", "sentence-vae"])
def trained(request: pytest.FixtureRequest, small_runs: dict[str, Path]) -> Trained:
    return load.load(small_runs[request.param], "cpu")


def drawing(trained: Trained, options: dict[str, Any]) -> sample_file.Draw:
    return lambda position, before: generate.generate(
        trained, N, seed=5, position=position, before=before, **options
    )


def stopping(draw: sample_file.Draw, after: int) -> sample_file.Draw:
    """Stop after so many more sentences."""

    def stop(position: SamplingPosition, before: Any) -> Iterator[Sentence]:
        for number, sentence in enumerate(draw(position, before)):
            if number == after:
                raise Stopped
            yield sentence

    return stop


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "jsonl"])
def test_what_goes_on_writes_the_same_bytes(
    trained: Trained, tmp_path: Path, way: str, as_json: bool
) -> None:
    draw, layout = drawing(trained, WAYS[way]), Layout(as_json)
    unique = bool(WAYS[way].get("unique"))
    how: dict[str, Any] = {"total": N, "unique": unique}
    write_samples(tmp_path / "whole", draw, layout, {}, **how)
    whole = (tmp_path / "whole").read_bytes()
    assert len(layout.texts(whole.decode())) == N
    assert not unique or len(set(layout.texts(whole.decode()))) == N
    said: list[str] = []
    for after in (16, 9):  # in the middle of a batch, twice
        with pytest.raises(Stopped):
            write_samples(tmp_path / "a", stopping(draw, after), layout, {}, notify=said.append, **how)
        kept = (tmp_path / "a.part").read_bytes()
        assert whole.startswith(kept[: json.loads((tmp_path / "a.part.json").read_text())["bytes"]])
    write_samples(tmp_path / "a", draw, layout, {}, notify=said.append, **how)
    assert (tmp_path / "a").read_bytes() == whole
    counts = [int(each.split()[3]) for each in said]
    assert said == [f"going on from {count} of 31 sentences" for count in counts]
    assert 0 < counts[0] <= 16
    assert counts[0] < counts[1] < N


@pytest.mark.cuda
@pytest.mark.parametrize("way", WAYS)
def test_on_a_gpu_as_well(small_runs: dict[str, Path], tmp_path: Path, way: str) -> None:
    draw = drawing(load.load(small_runs["mle"], "cuda"), WAYS[way])
    how: dict[str, Any] = {"total": N, "unique": bool(WAYS[way].get("unique"))}
    write_samples(tmp_path / "whole", draw, Layout(False), {}, **how)
    with pytest.raises(Stopped):
        write_samples(tmp_path / "a", stopping(draw, 16), Layout(False), {}, **how)
    write_samples(tmp_path / "a", draw, Layout(False), {}, **how)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "whole").read_bytes()


def test_unique_sentences_leave_many_out(trained: Trained) -> None:
    drawn = list(generate.generate(trained, 3 * N, seed=5, max_length=WAYS["unique"]["max_length"]))
    assert N < len({sentence.text for sentence in drawn}) < 3 * N


def test_every_way_of_sampling_moves_a_position_that_is_json(trained: Trained) -> None:
    position = SamplingPosition()
    list(drawing(trained, {})(position, ()))
    assert position.sentences == N
    again = SamplingPosition(**json.loads(json.dumps(asdict(position))))
    assert again == position
    assert len(position.random_states) == 2  # of samples and of scores


def test_sentences_that_go_on_from_sources(tmp_path: Path) -> None:
    table = tmp_path / "pairs.jsonl"
    pairs = [{"text": f"it is {i} {'so ' * (i % 5)}.", "given": f"is it {i} ?"} for i in range(40)]
    table.write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
    data = {"column": "text", "source_column": "given", "min_count": 1}
    run = seqgen.pretrain(str(table), run=tmp_path / "run", steps=3, values=SMALL, **data)
    trained = load.load(run, "cpu")
    sources = [f"is it {i} {'? ' * (i % 3)}" for i in range(11)]

    def draw(position: SamplingPosition, before: Any) -> Iterator[Sentence]:
        return conditional.go_on_from(trained, sources, 2, seed=3, position=position)

    write_samples(tmp_path / "whole", draw, Layout(False), {}, total=22)
    with pytest.raises(Stopped):
        write_samples(tmp_path / "a", stopping(draw, 15), Layout(False), {}, total=22)
    said: list[str] = []
    write_samples(tmp_path / "a", draw, Layout(False), {}, total=22, notify=said.append)
    assert said == ["going on from 12 of 22 sentences"]  # two blocks of three sources, two of each
    assert (tmp_path / "a").read_bytes() == (tmp_path / "whole").read_bytes()


def said_of(sentences: list[str]) -> sample_file.Draw:
    """Yield sentences in batches of two."""

    def draw(position: SamplingPosition, before: Any) -> Iterator[Sentence]:
        while position.sentences < len(sentences):
            batch = sentences[position.sentences : position.sentences + 2]
            yield from (Sentence(text, 1, None) for text in batch)
            position.advance(len(batch))

    return draw


def test_texts_that_cannot_be_told_apart_are_refused_where_that_matters(tmp_path: Path) -> None:
    draw = said_of(["a", "b\nb", "c", "d"])
    for name in ("one", "other"):
        with pytest.raises(Stopped):
            write_samples(tmp_path / name, stopping(draw, 3), Layout(False), {}, total=4)
    with pytest.raises(UserError, match=r"what stands between sentences, .* or add --format jsonl"):
        write_samples(tmp_path / "one", draw, Layout(False), {}, total=4, unique=True)
    write_samples(tmp_path / "other", draw, Layout(False), {}, total=4)
    assert (tmp_path / "other").read_text() == "a\nb\nb\nc\nd\n"


@pytest.mark.parametrize("layout", [Layout(True), Layout(False, "\n\n"), Layout(False, "\n%\n")])
def test_a_layout_reads_what_it_writes(layout: Layout) -> None:
    texts = ["a cat", "", "two\u2028lines Ω"]
    written = "".join(layout.write(Sentence(text, 3, None)) for text in texts)
    assert layout.texts(written) == texts


def test_the_settings_are_of_the_weights_and_of_what_was_asked(
    small_runs: dict[str, Path], tmp_path: Path
) -> None:
    mle, vae = (load.load(small_runs[name], "cpu") for name in ("mle", "sentence-vae"))
    asked: Callable[[Trained], dict[str, Any]] = lambda trained: settings_of(trained, {"seed": 3})  # noqa: E731
    assert asked(mle) == asked(mle)
    assert asked(mle) != asked(vae)
    assert asked(mle)["seed"] == 3
    before = asked(mle)
    with torch.no_grad():
        next(iter(mle.algorithm.parameters())).view(-1)[3] += 1e-3
    assert {key for key in before if before[key] != asked(mle)[key]} == {"run of SHA-256"}
    with pytest.raises(Stopped):
        write_samples(
            tmp_path / "a", stopping(said_of(list("abcdef")), 4), Layout(False), asked(mle), total=6
        )
    with pytest.raises(UserError, match=r"a.part' was begun with run of SHA-256 \w{20}…, not \w{20}…; run"):
        write_samples(tmp_path / "a", said_of(list("abcdef")), Layout(False), asked(vae), total=6)
