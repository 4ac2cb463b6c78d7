"""Marks of what is copied, frequent n-grams and histograms, by hand."""

from seqgen.evaluation.references import Vocabulary
from seqgen.metrics.tokenization import tokeniser
from seqgen.report import text_analysis


def test_marks_by_hand() -> None:
    train = ["a dog runs fast .", "The cat  sat on a mat .", 'he said "no way" .']
    lines = ["the cat sat on a mat .", "my dog runs fast today", 'so "no way" <b>', "", "zzz"]
    found = text_analysis.mark_copies(lines, train, Vocabulary("treebank"))
    assert [each.copy for each in found] == [True, False, False, False, False]
    assert [each.longest for each in found] == [6, 3, 4, 0, 0]
    assert [each.text[slice(*each.span)] for each in found] == [
        "cat sat on a mat .",  # case matters for substrings, not for copies
        "dog runs fast",
        '"no way"',
        "",
        "",
    ]
    assert found[1].parts == ("my ", "dog runs fast", " today")
    assert found[2].parts == ("so ", '"no way"', " <b>")
    assert (found[3].shown, found[3].parts) == ("(blank)", ("", "", "(blank)"))


def test_the_first_of_several_common_substrings_is_shown() -> None:
    found = text_analysis.mark_copies(["x a b y b c"], ["a b", "b c"], Vocabulary("whitespace"))
    assert found[0].span == (2, 5)


def test_ngrams_are_ranked_by_count_then_text() -> None:
    # b a a / a b: unigrams a 3, b 2 of 5; bigrams aa, ab, ba one each of 3
    lines, split = ["b a a", "a b"], tokeniser("whitespace")
    assert text_analysis.top_ngrams(lines, split, 1) == [("a", 0.6), ("b", 0.4)]
    assert [gram for gram, _ in text_analysis.top_ngrams(lines, split, 2, top=2)] == ["a a", "a b"]
    assert text_analysis.top_ngrams(["床前"], tokeniser("character"), 2, separator="") == [("床前", 1.0)]
    assert text_analysis.top_ngrams(["a"], split, 2) == []


def test_histogram_is_the_outline_of_its_bins() -> None:
    # lengths 1 1 3 of a scale to 3: half-open bins about whole numbers; corners where the height changes
    assert text_analysis.histogram([1, 1, 3, 3], 3) == [
        (-0.5, 0.0),
        (0.5, 50.0),
        (1.5, 0.0),
        (2.5, 50.0),
        (3.5, 0.0),
    ]
    wide = text_analysis.histogram([0, 1, 2, 3], 3, bins=2)
    assert wide == [(-0.5, 0.0), (-0.5, 50.0), (3.5, 0.0)]
