"""Statistics of a text, by hand."""

from seqgen.corpora.stats import statistics


def test_statistics_by_hand():
    found = statistics([["a b", "a b c", "a b"], ["dd  e"]])
    assert found == {
        "sentences": 4,
        "duplicates": 0.25,  # the second "a b"
        "tokens": 9,
        "types": 5,
        "characters": 10,
        "character_types": 5,
        "tokens_per_sentence": {"min": 2, "median": 2, "mean": 2.25, "p95": 3, "max": 3},
        "characters_per_sentence": {"min": 3, "median": 3, "mean": 4.0, "p95": 5, "max": 5},
        "most_frequent": [("a", 3), ("b", 3), ("c", 1), ("dd", 1), ("e", 1)],
    }


def test_statistics_of_nothing():
    found = statistics([])
    assert (found["sentences"], found["duplicates"], found["tokens_per_sentence"]) == (0, 0.0, {})
