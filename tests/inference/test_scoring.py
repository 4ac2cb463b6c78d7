"""Scores of sentences, corruptions, and how well the scores detect them."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from seqgen.core.errors import UserError
from seqgen.data.tokenizer import EOS
from seqgen.generation.sample import sentence_log_prob
from seqgen.inference import latent_space, scoring
from seqgen.inference.scoring import corrupted, measure_auroc, score
from seqgen.metrics.auroc import auroc
from seqgen.training import load as trained
from seqgen.training.load import Trained

LINES = ["A cat, two dogs (and a hen) can't wait.", "no no no", "it rains.", "", "the end"]


def words(line: str) -> list[str]:
    return re.findall(r"[\w']+", line)


def test_corruptions_change_words_and_leave_the_rest() -> None:
    copies = corrupted(LINES, seed=1)
    assert list(copies) == ["shuffled", "swapped", "replaced"]
    # the last five of nine words go before the first four, one of two before the other; equal ones cannot
    assert copies["swapped"] == [
        "and a, hen can't (wait A cat) two dogs.",
        None,
        "rains it.",
        None,
        "end the",
    ]
    shuffled, replaced = copies["shuffled"], copies["replaced"]
    assert shuffled[1] is shuffled[3] is replaced[3] is None
    assert shuffled[2] == "rains it."
    assert shuffled[0] not in (None, LINES[0])
    assert Counter(words(shuffled[0] or "")) == Counter(words(LINES[0]))
    known = {word for line in LINES for word in words(line)}
    for old, new in zip(LINES, replaced, strict=True):
        if new is not None:
            changed = [b for a, b in zip(words(old), words(new), strict=True) if a != b]
            assert len(changed) == 1
            assert set(changed) <= known
    for copy in filter(None, [*shuffled, *replaced]):  # what is between words stays
        assert re.sub(r"[\w']+", "w", copy) in {re.sub(r"[\w']+", "w", line) for line in LINES}


def test_corruptions_depend_on_the_seed_and_not_on_each_other() -> None:
    assert corrupted(LINES, seed=1) == corrupted(LINES, seed=1) != corrupted(LINES, seed=2)
    others = ["x", "y", "z"]
    found = corrupted(LINES, seed=1, others=others)
    assert {name: found[name] for name in found if name != "other"} == corrupted(LINES, seed=1)
    assert sorted(found["other"][:3]) == others
    assert found["other"][3:] == [None, None]


def test_without_spaces_characters_are_words() -> None:
    (line,) = corrupted(["床前明月，光。"], seed=0)["swapped"]
    assert line == "明月光床，前。"  # five characters: two go behind the other three


def load(small_runs: dict[str, Path], name: str) -> Trained:
    return trained.load(small_runs[name], "cpu")


def test_an_exact_score_is_the_log_probability(small_runs: dict[str, Path]) -> None:
    found = load(small_runs, "mle")
    lines = ["two dogs sat by a tree.", "a cat sat.", ""]
    scores = list(score(found, lines))
    assert [each.text for each in scores] == lines
    assert (scores[2].tokens, scores[2].log_prob) == (1, None)  # no sentence of its corpus is empty
    for each in scores[:2]:
        ids = torch.tensor([[*found.tokenizer.encode(each.text), EOS]])
        assert each.tokens == ids.shape[1]
        assert each.log_prob == pytest.approx(
            float(sentence_log_prob(found.algorithm.generator, ids)[0]), rel=1e-5
        )
        assert each.energy is None


def test_an_estimated_score_is_seeded_and_rises_with_its_samples(small_runs: dict[str, Path]) -> None:
    found = load(small_runs, "sentence-vae")
    lines = list(found.corpus.test)
    scores = list(score(found, lines, samples=7, seed=3))
    assert scores == list(score(found, lines, samples=7, seed=3))
    assert scores != list(score(found, lines, samples=7, seed=4))
    # one draw is the evidence lower bound in the mean, and no more than that of many
    one, many = ([each.log_prob or 0.0 for each in score(found, lines, samples=n)] for n in (1, 101))
    assert sum(one) < sum(many)
    losses = [pair.nll for pair in latent_space.reconstruct(found, lines)]
    assert [each.energy for each in scores] == pytest.approx(losses, rel=1e-5)


def test_an_autoencoder_has_an_energy_alone_and_an_algorithm_may_have_its_own(
    small_runs: dict[str, Path],
) -> None:
    found = load(small_runs, "autoencoder")
    lines = list(found.corpus.test)
    scores = list(score(found, lines))
    assert {each.log_prob for each in scores} == {None}
    assert [each.energy for each in scores] == pytest.approx(
        [p.nll for p in latent_space.reconstruct(found, lines)]
    )
    found.algorithm.energy = lambda tokens: tokens.float().sum(dim=1)
    sums = [sum(found.tokenizer.encode(line)) + EOS for line in lines]
    assert [each.energy for each in score(found, lines)] == sums


def test_long_files_are_scored_in_parts(small_runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    found = load(small_runs, "mle")
    lines = list(found.corpus.train)[:13]
    whole = [each.log_prob for each in score(found, lines)]
    monkeypatch.setattr(scoring, "CHUNK", 5)
    assert [each.log_prob for each in score(found, lines)] == pytest.approx(whole, rel=1e-5)


def test_an_autoencoder_that_memorised_its_corpus_detects_other_sentences(
    small_runs: dict[str, Path],
) -> None:
    found = load(small_runs, "autoencoder")
    lines = list(found.corpus.train)
    table = measure_auroc(found, lines, corrupted(lines, others=["mat mat tree dogs"] * 31))
    assert list(table) == ["energy", "energy per token"]
    energies = np.array([each.energy / each.tokens for each in score(found, lines)])
    copies = corrupted(lines)["shuffled"]
    anomalous = np.array([each.energy / each.tokens for each in score(found, copies)])
    assert table["energy per token"]["shuffled"] == auroc(energies, anomalous, np.arange(len(lines)))
    cells = table["energy"]
    assert list(cells) == ["shuffled", "swapped", "replaced", "other"]
    assert cells["shuffled"].value > 0.95
    assert cells["swapped"].interval[0] <= cells["swapped"].value <= cells["swapped"].interval[1]


def test_the_less_likely_is_the_more_anomalous(small_runs: dict[str, Path]) -> None:
    found = load(small_runs, "mle")
    lines = list(found.corpus.train)
    copies = corrupted(lines)
    table = measure_auroc(found, lines, copies)
    assert list(table) == ["nats per sentence", "nats per token"]
    normal, anomalous = (list(score(found, texts)) for texts in (lines, copies["replaced"]))
    for name, unit in (("nats per sentence", lambda each: 1), ("nats per token", lambda each: each.tokens)):
        nats = [np.array([-each.log_prob / unit(each) for each in scores]) for scores in (normal, anomalous)]
        assert table[name]["replaced"] == auroc(*nats, np.arange(len(lines)))


def test_lines_that_cannot_be_corrupted_are_refused(small_runs: dict[str, Path]) -> None:
    found = load(small_runs, "mle")
    lines = ["no", "no no"]
    with pytest.raises(UserError, match="no line can be shuffled: give lines of several distinct words"):
        measure_auroc(found, lines, corrupted(lines))
