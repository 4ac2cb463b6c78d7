"""sacrebleu's corpus BLEU from our counts against sacrebleu itself."""

import random

import pytest
from sacrebleu.metrics import BLEU

from seqgen.metrics.corpus_bleu import corpus_bleu, signature

WORDS = ["the", "dog,", "a", "1,000", "can't", "(so)", "x-y", "end.", "5-4", "&amp;"]


def random_lines(rng: random.Random, count: int) -> list[str]:
    return [" ".join(rng.choices(WORDS, k=rng.randint(0, 9))) for _ in range(count)]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("tokenizer", ["13a", "char", "none"])
def test_equal_to_sacrebleu_with_every_reference_for_each(seed: int, tokenizer: str) -> None:
    rng = random.Random(seed)
    hyps, refs = random_lines(rng, 11), random_lines(rng, 7)
    metric = BLEU(tokenize=tokenizer)
    theirs = metric.corpus_score(hyps, [[ref] * len(hyps) for ref in refs])
    ours = corpus_bleu(hyps, refs, tokenizer)
    assert ours.score == pytest.approx(theirs.score, rel=1e-12)
    assert ours.signature == str(metric.get_signature())


@pytest.mark.parametrize("hyps", [["q r s"], ["the", "dog"], ["", ""], ["the dog, a q r s t"]])
def test_equal_to_sacrebleu_without_matches_or_without_long_n_grams(hyps: list[str]) -> None:
    refs = ["the dog, a cat", "dog"]
    theirs = BLEU().corpus_score(hyps, [[ref] * len(hyps) for ref in refs])
    assert corpus_bleu(hyps, refs).score == pytest.approx(theirs.score, rel=1e-12, abs=1e-12)


def test_signature_states_the_number_of_references() -> None:
    assert signature(10_000).startswith("nrefs:10000|case:mixed|eff:no|tok:13a|smooth:exp|version:")
