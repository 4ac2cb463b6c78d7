"""Protocols by name: what they fix, against sacrebleu and the published tables, and what contradicts them."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from sacrebleu.metrics import BLEU

from seqgen.core.errors import UserError
from seqgen.evaluation.references import build_references
from seqgen.evaluation.scores import MetricsRow, add_diversity, add_reference_similarity
from seqgen.metrics.bleu import bleu, self_bleu
from seqgen.metrics.confidence import Bootstrap
from seqgen.metrics.protocols import PROTOCOLS, check, get_protocol

WORDS = ["the", "dog,", "a", "1,000", "can't", "(so)", "x-y", "end."]


def random_lines(
    rng: random.Random, count: int, *, words: Sequence[str] = WORDS, longest: int = 7
) -> list[str]:
    """Lines with blank ones, single words and repeats among them, most shorter than five words."""
    lines = [" ".join(rng.choices(words, k=rng.randint(0, longest))) for _ in range(count)]
    return [*lines, *rng.sample(lines, count // 4), "", rng.choice(words)]


def row_of(lines: list[str], refs: list[str], protocol: str, tokenisation: str = "auto") -> dict:
    references = build_references(refs, protocol=protocol, tokenisation=tokenisation)
    row, encoded = MetricsRow(), references.vocabulary.encode(lines)
    add_reference_similarity(row, lines, encoded, references, Bootstrap(len(lines), 0, resamples=2))
    add_diversity(row, lines, encoded, references)
    return row.metrics


@pytest.mark.parametrize("seed", range(6))
def test_sacrebleu_scores_sentences_as_sacrebleu_does(seed: int) -> None:
    rng = random.Random(seed)
    lines, refs = random_lines(rng, 9), [line for line in random_lines(rng, 7) if line]
    found = row_of(lines, refs, "sacrebleu")
    for n in range(2, 6):
        metric = BLEU(max_ngram_order=n, effective_order=True)
        expected = np.mean([metric.sentence_score(line, refs).score for line in lines]) / 100
        assert found["bleu"][str(n)] == pytest.approx(expected, rel=1e-9)
        others = [[*lines[:i], *lines[i + 1 :]] for i in range(len(lines))]
        scores = [metric.sentence_score(line, rest).score for line, rest in zip(lines, others, strict=True)]
        assert found["self_bleu"][str(n)] == pytest.approx(np.mean(scores) / 100, rel=1e-9)
    whole = BLEU()
    theirs = whole.corpus_score(lines, [[ref] * len(lines) for ref in refs])
    assert found["sacrebleu"]["score"] == pytest.approx(theirs.score, rel=1e-9)
    assert found["sacrebleu"]["signature"] == str(whole.get_signature())


@pytest.mark.parametrize("seed", range(6))
def test_seqgen_and_texygen_score_sentences_as_nltk_does(seed: int) -> None:
    rng = random.Random(10 + seed)
    words = ["a", "b", "c"]
    lines, refs = (random_lines(rng, size, words=words) for size in (9, 7))
    refs = [ref for ref in refs if ref]
    found = row_of(lines, refs, "seqgen")
    assert row_of(lines, refs, "texygen")["bleu"] == found["bleu"]
    for n in range(2, 6):
        split, method1 = [ref.split() for ref in refs], SmoothingFunction().method1
        scores = [sentence_bleu(split, line.split(), (1 / n,) * n, method1) for line in lines]
        assert found["bleu"][str(n)] == pytest.approx(np.mean(scores), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_fast_bleu_agrees_where_it_is_installed(seed: int) -> None:
    fast_bleu = pytest.importorskip("fast_bleu", reason="fast-bleu has no wheel: it needs a compiler")
    rng = random.Random(20 + seed)
    split = [line.split() for line in random_lines(rng, 31, words=list("abcdefg"), longest=11)]
    lines, refs = split[:17], split[17:]
    weights = {n: (1 / n,) * n for n in range(2, 6)}  # which it keeps in 32 bits
    ours, theirs = bleu(lines, refs), fast_bleu.BLEU(refs, weights).get_score(lines)
    ours_self, theirs_self = self_bleu(lines), fast_bleu.SelfBLEU(lines, weights).get_score()
    # Its self-BLEU takes the sentence's own length for a reference's: only a length that comes again agrees.
    again = [sum(len(other) == len(line) for other in lines) > 1 for line in lines]
    for n in weights:
        np.testing.assert_allclose(ours[n], theirs[n], rtol=0, atol=1e-6)
        np.testing.assert_allclose(ours_self[n][again], np.array(theirs_self[n])[again], rtol=0, atol=1e-6)


def test_the_tokens_of_each_protocol() -> None:
    spaced, unspaced = ["it isn't so."], ["秦川雄帝宅，函谷壮皇居。"]
    chosen = {
        name: [build_references(refs, protocol=name).tokenisation for refs in (spaced, unspaced)]
        for name in PROTOCOLS
    }
    assert chosen == {
        "seqgen": ["treebank", "character"],
        "texygen": ["treebank", "treebank"],
        "sacrebleu": ["13a", "character"],
    }
    assert build_references(spaced, protocol="seqgen", tokenisation="whitespace").tokenisation == "whitespace"


@pytest.mark.parametrize(
    ("protocol", "tokenisation", "message"),
    [
        ("texigen", "auto", "no protocol 'texigen'; did you mean 'texygen'"),
        ("bleu4", "auto", "allowed: seqgen, texygen, sacrebleu"),
        (
            "texygen",
            "character",
            "texygen scores treebank tokens, not character; leave --tokenisation out",
        ),
        ("sacrebleu", "whitespace", "--protocol sacrebleu scores 13a or character tokens, not whitespace"),
        ("seqgen", "treebnk", "no tokenisation 'treebnk'; did you mean 'treebank'"),
    ],
)
def test_contradictions_are_refused(protocol: str, tokenisation: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(protocol, tokenisation)
    with pytest.raises(UserError, match=message):
        build_references(["a"], protocol=protocol, tokenisation=tokenisation)


def test_allowed_combinations_pass() -> None:
    for protocol in PROTOCOLS.values():
        for tokenisation in ("auto", *protocol.allowed):
            check(protocol.name, tokenisation)
    assert get_protocol("texygen").smoothing == "method1"


def test_texygen_reproduces_a_published_row(data_dir: Path) -> None:
    # Texygen's README, SeqGAN on COCO; the other rows: test_metrics_bleu.py
    lines, refs = (
        (data_dir / name).read_text(encoding="utf-8").splitlines()
        for name in ("texygen/seq.txt", "text/coco_test.txt")
    )
    found = row_of(lines, refs, "texygen")
    measured = [*found["bleu"].values(), *found["self_bleu"].values()]
    assert measured == pytest.approx([0.745, 0.498, 0.294, 0.180, 0.950, 0.840, 0.670, 0.489], abs=1e-3)
