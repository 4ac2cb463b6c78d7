"""BLEU of reconstructions and its control: by hand, against sacrebleu, and what they must not depend on."""

import math

import pytest
from sacrebleu.metrics import BLEU

from seqgen.metrics.reconstruction import ROTATIONS, reconstruction_bleu

SENTENCES = [f"{word} b c d e" for word in "pqrstuvwxyzklmn"[:13]]


def test_by_hand() -> None:
    # 7 of 10 tokens match (a b c; b c d e), 5 of 8 pairs (a b, b c, b c, c d, d e), 3 of 6 triples
    # (a b c, b c d, c d e), 1 of 4 quadruples (b c d e); of equal length, so no brevity penalty
    found = reconstruction_bleu(["a b c x y", "q b c d e"], ["a b c d e", "p b c d e"])
    product = 7 / 10 * 5 / 8 * 3 / 6 * 1 / 4
    assert found.own == pytest.approx(100 * product**0.25, rel=1e-6)
    # against each other's: b c of the first; b c d e of the second
    product = 6 / 10 * 4 / 8 * 2 / 6 * 1 / 4
    assert found.shuffled == pytest.approx(100 * product**0.25, rel=1e-6)


def test_the_control_is_the_mean_over_shuffles_that_leave_no_sentence_in_place() -> None:
    n = len(SENTENCES)
    around = [" ".join(str((i + k) % n) for k in range(7)) for i in range(n)]  # neighbours share most words
    hyps = [f"{sentence} x" for sentence in around]
    metric = BLEU(tokenize="none")
    distances = sorted({n * i // (ROTATIONS + 1) for i in range(1, ROTATIONS + 1)})
    assert len(distances) == ROTATIONS
    assert set(distances) <= set(range(1, n))
    scores = [metric.corpus_score(hyps, [[around[(i + d) % n] for i in range(n)]]).score for d in distances]
    found = reconstruction_bleu(hyps, around)
    assert found.shuffled == pytest.approx(sum(scores) / ROTATIONS, rel=1e-9)
    assert found.own == pytest.approx(metric.corpus_score(hyps, [around]).score, rel=1e-9)


def test_copies_score_100_and_what_is_the_same_for_all_scores_no_more_than_its_control() -> None:
    copied = reconstruction_bleu(SENTENCES, SENTENCES)
    assert copied.own == pytest.approx(100.0)
    assert copied.shuffled < 90
    same = reconstruction_bleu(["p b c d e"] * 13, SENTENCES)
    assert same.own == pytest.approx(same.shuffled)


def test_few_sentences() -> None:
    assert reconstruction_bleu([], []) == (0.0, 0.0)
    assert reconstruction_bleu(["a b c d"], ["a b c d"]) == (pytest.approx(100.0), 0.0)
    own, shuffled = reconstruction_bleu(["a b c d", "e f g h"], ["a b c d", "e f g h"])
    assert (own, shuffled) == (pytest.approx(100.0), 0.0)
    assert not math.isnan(reconstruction_bleu(["", ""], ["a", ""]).own)


def test_unequal_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="2 reconstructions of 1 sentences"):
        reconstruction_bleu(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="1 reconstructions of 2 sentences"):
        reconstruction_bleu(["a"], ["a", "b"])
