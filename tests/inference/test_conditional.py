"""Labels and sources from the corpus to the samples, on corpora whose truth is known."""

import itertools
import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import seqgen
from seqgen import algorithms
from seqgen.algorithms.aegan import AEGAN
from seqgen.core.errors import UserError
from seqgen.data.conditions import joined
from seqgen.evaluation.conditional import LabelClassifier, source_scores
from seqgen.inference.latent_space import neighbours, reconstruct
from seqgen.inference.scoring import score
from seqgen.report.page import page
from seqgen.training.load import Trained, load

WORDS = {"up": ("high", "tall", "lofty"), "down": ("low", "deep", "sunken")}
"""The words of each label, of which a sentence has three."""
SMALL = {"generator.embedding": 11, "generator.hidden": 31, "generator.dropout": 0.0, "lr": 0.02}
LATENT = SMALL | {"encoder.embedding": 11, "encoder.hidden": 31, "latent_dim": 7}
ANSWERS = {"one": "two", "two": "three", "three": "four", "four": "one"}


HELD_OUT = {"valid": 5, "test": 7}
"""The first of every nine sentences and pairs that is held out."""


def sentences_of(label: str) -> list[str]:
    """Return all 27 sentences of a label, which are equally likely."""
    return [" ".join(words) for words in itertools.product(WORDS[label], repeat=3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled table, in which `down` is twice as frequent, and one of pairs, with held-out files."""
    folder = tmp_path_factory.mktemp("conditional")
    pairs = [(f"{ANSWERS[a]} {ANSWERS[b]}", f"{a} {b}") for a, b in itertools.product(ANSWERS, repeat=2)]
    up, down = ([(text, label) for text in sentences_of(label)] for label in WORDS)
    tables = {"labels": 5 * (up + 2 * down), "pairs": 9 * pairs}
    for part, at in HELD_OUT.items():  # which the training split then leaves out
        tables[f"labels-{part}"], tables[f"pairs-{part}"] = up[at::9] + down[at::9], pairs[at::9]
    for name, table in tables.items():
        lines = [json.dumps({"text": text, "given": given}) for text, given in table]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def train(folder: Path, name: str, algorithm: str, **options: object) -> Path:
    data = {f"{'label' if name == 'labels' else 'source'}_column": "given", "min_count": 1}
    held_out = {part: str(folder / f"{name}-{part}.jsonl") for part in ("valid", "test")}
    seqgen.pretrain(str(folder / f"{name}.jsonl"), algorithm, **(data | held_out | options))
    return Path(str(options["run"]))


@pytest.fixture(scope="module")
def runs(folder: Path) -> dict[str, Path]:
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQGEN_CACHE", str(folder / "cache"))
        for name, algorithm, values, steps in (
            ("labels", "mle", SMALL, 300),
            ("labels", "autoencoder", LATENT, 30),
            ("pairs", "mle", SMALL | {"generator.attention": True}, 300),
        ):
            run = folder / f"{name}-{algorithm}"
            made[run.name] = train(folder, name, algorithm, run=run, values=values, steps=steps)
    return made


@pytest.fixture
def labelled(runs: dict[str, Path]) -> Trained:
    return load(runs["labels-mle"], "cpu")


@pytest.fixture
def paired(runs: dict[str, Path]) -> Trained:
    return load(runs["pairs-mle"], "cpu")


def is_of(sentence: str, label: str) -> bool:
    return set(sentence.split()) <= set(WORDS[label])


def test_sentences_have_the_words_of_the_label_they_are_given(labelled: Trained) -> None:
    for label in WORDS:
        drawn = list(seqgen.sample(labelled, 200, labels={label: 1.0}))
        assert {each.label for each in drawn} == {label}
        assert sum(is_of(each.text, label) for each in drawn) >= 190


def test_labels_come_as_often_as_in_the_corpus_or_as_asked(labelled: Trained) -> None:
    natural = Counter(each.label for each in seqgen.sample(labelled, 3_001))
    assert natural["down"] / 3_001 == pytest.approx(2 / 3, abs=0.04)
    asked = Counter(each.label for each in seqgen.sample(labelled, 3_001, labels={"up": 4, "down": 1}))
    assert asked["up"] / 3_001 == pytest.approx(4 / 5, abs=0.04)
    assert labelled.run.config["labels"] == {"up": 105, "down": 210}


def test_the_likelihood_is_that_of_the_sentence_given_its_label(labelled: Trained) -> None:
    """A label's 21 training sentences have probability 1 / 21 each; the label itself is not counted."""
    for label in WORDS:
        lines = [joined(label, text) for text in sentences_of(label)]
        scores = list(score(labelled, lines))
        assert [each.text for each in scores] == sentences_of(label)
        assert {each.tokens for each in scores} == {3}  # all have three words, so their end is no token
        assert 0.9 < math.fsum(math.exp(each.log_prob) for each in scores) < 1.0 + 1e-5
        nats = [-each.log_prob for i, each in enumerate(scores) if i % 9 not in HELD_OUT.values()]
        assert len(nats) == 21
        assert math.fsum(nats) / 21 == pytest.approx(math.log(21), abs=0.25)
        sampled = next(iter(seqgen.sample(labelled, 1, labels={label: 1.0}, with_log_prob=True)))
        known = dict(zip(sentences_of(label), scores, strict=True))[sampled.text]
        assert sampled.log_prob == pytest.approx(known.log_prob, abs=1e-4)
        assert sampled.tokens == 3
    with pytest.raises(
        UserError, match=r"every sentence of .* is given a label, and here they are given none"
    ):
        list(score(labelled, ["high tall lofty"]))


def test_a_run_with_the_tokenizer_of_another_gets_the_labels_and_resumes(
    runs: dict[str, Path], folder: Path, tmp_path: Path
) -> None:
    plain = seqgen.pretrain(str(folder / "labels.jsonl"), column="text", run=tmp_path / "plain", steps=1)
    options = {"run": tmp_path / "labelled", "tokenizer": str(plain.path), "values": SMALL}
    data = {"column": "text", "label_column": "given"}
    for steps in (1, 3):
        run = seqgen.pretrain(str(folder / "labels.jsonl"), steps=steps, **data, **options)
    assert run.metrics()[-1]["step"] == 3
    assert set(load(run, "cpu").tokenizer.labels) == set(WORDS)


def test_a_prompt_begins_the_sentence_and_not_its_label(labelled: Trained) -> None:
    drawn = list(seqgen.sample(labelled, 50, labels={"up": 1.0}, prompt="tall", min_length=3))
    assert all(each.text.startswith("tall ") for each in drawn)
    assert sum(is_of(each.text, "up") for each in drawn) >= 48
    cut = list(seqgen.sample(labelled, 20, labels={"up": 1.0}, max_length=2))
    assert max(each.tokens for each in cut) == 2
    greedy = {each.text for each in seqgen.sample(labelled, 5, labels={"down": 1}, temperature=0.0)}
    assert len(greedy) == 1


def test_wrong_labels_weights_and_runs_are_refused(labelled: Trained, paired: Trained) -> None:
    with pytest.raises(UserError, match="the run has no label 'upp'; did you mean 'up'"):
        list(seqgen.sample(labelled, 1, labels={"upp": 1.0}))
    with pytest.raises(UserError, match="the weights of labels are"):
        list(seqgen.sample(labelled, 1, labels={"up": -1.0}))
    with pytest.raises(UserError, match="was trained without labels"):
        list(seqgen.sample(paired, 1, labels={"up": 1.0}))
    with pytest.raises(UserError, match="go on from no source"):
        list(seqgen.sample(labelled, 1, sources=["one"]))
    with pytest.raises(UserError, match="give the source, too"):
        list(seqgen.sample(paired, 1, prompt="two"))


def test_sentences_go_on_from_their_sources_in_order(paired: Trained) -> None:
    sources = [f"{a} {b}" for a, b in itertools.product(ANSWERS, repeat=2)] + ["one", "never seen"]
    drawn = list(seqgen.sample(paired, 2, sources=sources, temperature=0.0))
    assert [each.source for each in drawn] == [source for source in sources for _ in range(2)]
    expected = [" ".join(ANSWERS[word] for word in source.split()) for source in sources[:16]]
    right = [each.text == text for each, text in zip(drawn[:32:2], expected, strict=True)]
    assert all(right[i] for i in range(16) if i % 9 not in HELD_OUT.values())
    (scored,) = seqgen.sample(paired, 1, sources=["one two"], temperature=0.0, with_log_prob=True)
    assert scored.log_prob == pytest.approx(0.0, abs=0.1)
    assert scored.tokens == 3


def test_evaluation_by_label(labelled: Trained) -> None:
    results = seqgen.evaluate(labelled, n=120)
    assert results["labels"]["accuracy"] >= 0.97
    assert results["real"]["labels"]["accuracy"] == 1.0
    assert results["labels"]["chance"] == pytest.approx(2 / 3)
    assert sum(each["n"] for each in results["labels"]["by_label"].values()) == 120
    low, high = results["intervals"]["labels"]["accuracy"]
    assert low < results["labels"]["accuracy"] <= high + 1e-9
    assert results["likelihood"]["test"]["tokens"] == 3 * len(labelled.corpus.test)  # without labels and ends
    one = seqgen.evaluate(labelled, n=60, label="up")
    assert "labels" not in one
    assert one["protocol"]["references"] == labelled.corpus.test.conditions().count("up")


def test_a_classifier_that_samples_disagree_with_says_so(labelled: Trained) -> None:
    classifier = LabelClassifier(labelled.corpus, seed=0, of_characters=False)
    swapped = sentences_of("up") + sentences_of("down")
    scores, _ = classifier.scores(swapped, ["down"] * 27 + ["up"] * 27)
    assert scores["accuracy"] == 0.0
    assert scores["by_label"]["up"] == {"n": 27, "accuracy": 0.0}


def test_latent_vectors_are_of_sentences_with_their_labels(runs: dict[str, Path]) -> None:
    trained = load(runs["labels-autoencoder"], "cpu")
    lines = list(trained.corpus.test.whole)
    pairs = reconstruct(trained, lines)
    assert [pair.text for pair in pairs] == list(trained.corpus.test)
    near = next(iter(neighbours(trained, lines[:1], lines, 2)))
    assert near[0].text == trained.corpus.test[0]
    assert near[0].distance == pytest.approx(0.0, abs=1e-3)
    assert seqgen.evaluate(trained, n=40)["latent"]["sentences"] == len(lines)


def test_the_report_has_columns_of_each_label_and_of_answers(labelled: Trained, paired: Trained) -> None:
    shown = page([labelled], n=40, temperatures=[1.0])
    assert all(shown.count(f"label {label}<") == 2 for label in WORDS)  # of real text and of samples
    assert "label " not in page([paired], n=40, temperatures=[1.0])


def test_answers_to_test_sources_are_scored_against_their_references(paired: Trained) -> None:
    results = seqgen.evaluate(paired, n=40)
    assert results["sources"]["n"] == 1
    known = replace(paired)
    known.__dict__["corpus"] = replace(paired.corpus, test=paired.corpus.train)
    found = source_scores(known, tokenisation="whitespace", seed=0)
    assert found["n"] == 13
    assert found["exact"] == 1.0
    assert found["chrf"] == pytest.approx(100.0)


@pytest.mark.parametrize("name", algorithms.PRETRAIN | algorithms.ADVERSARIAL)
def test_every_algorithm_learns_from_labelled_text_and_gives_labels(
    name: str, runs: dict[str, Path], folder: Path, tmp_path: Path
) -> None:
    entry = (algorithms.PRETRAIN | algorithms.ADVERSARIAL)[name]
    values: dict[str, object] = {"batch_size": 5}
    if hasattr(entry.config(), "discriminator_pretraining_steps"):
        values["discriminator_pretraining_steps"] = 1
    options = {"run": tmp_path / name, "steps": 2, "values": values}
    if name in algorithms.PRETRAIN:
        small = LATENT if entry.cls.latent else SMALL
        run: object = train(folder, "labels", name, **(options | {"values": values | small}))
    elif not entry.cls.needs_start:
        data = {"corpus": str(folder / "labels.jsonl"), "label_column": "given", "min_count": 1}
        run = seqgen.adversarial(None, name, **data, **options)
    else:
        start = "labels-autoencoder" if issubclass(entry.cls, AEGAN) else "labels-mle"
        run = seqgen.adversarial(runs[start], name, **options)
    trained = load(str(getattr(run, "path", run)), "cpu")  # with all that it has counted of the corpus
    torch.manual_seed(0)
    drawn = list(seqgen.sample(trained, 40, labels={"up": 1.0}))
    assert {each.label for each in drawn} == {"up"}
    if start_is_good(entry):  # two steps change little
        assert sum(is_of(each.text, "up") for each in drawn) >= 30
    tokens = trained.algorithm.samples(64)
    labels = set(trained.tokenizer.labels.values())
    inside = tokens[:, 1:].flatten().tolist()
    assert not labels & set(inside)


def start_is_good(entry: algorithms.Entry) -> bool:
    return entry.cls.needs_start and not entry.cls.latent
