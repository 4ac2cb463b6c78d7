"""How well samples keep to what they are given: to a label, by a classifier of real text, or to a source.

| key | what |
|---|---|
| `labels.accuracy` | fraction of sentences in which a classifier finds the label that they were given |
| `labels.chance` | that of always the most frequent label of real text |
| `labels.by_label` | for each label: `n` sentences, and `accuracy` of these |
| `sources.bleu`, `sources.chrf` | sacreBLEU's of greedy answers to test sources, against their references |
| `sources.shuffled` | BLEU of the same answers against the references of other sources |
| `sources.exact` | fraction of the answers that are equal to a reference |
| `sources.n` | test sources |

The classifier is a logistic regression of the frequencies of words and pairs of words, or of one to four
characters where text has no words, trained on at most 50,000 training sentences. It errs on real text, too:
its accuracy on the test split, in the row of real text, is the highest that samples can be expected to reach.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from seqgen.data.conditions import parted
from seqgen.data.corpus import Corpus
from seqgen.evaluation.references import random_subset
from seqgen.inference.conditional import go_on_from
from seqgen.inference.sentence import Sentence
from seqgen.metrics.classifier import wilson_interval
from seqgen.metrics.corpus_bleu import tokenizer_for
from seqgen.training.load import Trained

MOST_SENTENCES = 50_000
"""Training sentences of the classifier of labels, at most."""
MOST_SOURCES = 1_000
"""Test sources that are answered, at most."""


class LabelClassifier:
    """A classifier of labels that has learned from the training split of a corpus."""

    def __init__(self, corpus: Corpus, *, seed: int, of_characters: bool) -> None:
        self.corpus, self.seed, self.of_characters = corpus, seed, of_characters

    @cached_property
    def _counts(self) -> Counter[str]:
        return Counter(self.corpus.train.conditions())

    @cached_property
    def _fitted(self) -> Any:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        how: dict[str, Any] = {"sublinear_tf": True, "lowercase": False}
        if self.of_characters:
            how |= {"analyzer": "char", "ngram_range": (1, 4)}
        else:
            how |= {"ngram_range": (1, 2), "token_pattern": r"\w+|[^\w\s]"}
        pairs = [parted(each) for each in random_subset(self.corpus.train.whole, MOST_SENTENCES, self.seed)]
        labels, sentences = zip(*pairs, strict=True)
        model = make_pipeline(TfidfVectorizer(**how), LogisticRegression(C=10.0, max_iter=1_000))
        return model.fit(sentences, labels)

    def scores(self, sentences: Sequence[str], labels: Sequence[str]) -> tuple[dict[str, Any], list[float]]:
        """Return how often the classifier finds the labels of sentences, and the 95 % interval of that."""
        found = np.array(labels) if len(self._counts) < 2 else self._fitted.predict(list(sentences))
        correct = found == np.array(labels)
        counts = Counter(labels)
        of_label = {
            name: {"n": count, "accuracy": float(correct[np.array(labels) == name].mean())}
            for name, count in sorted(counts.items())
        }
        chance = max(self._counts.values()) / self._counts.total()
        scores = {"accuracy": float(correct.mean()), "chance": chance, "by_label": of_label}
        return scores, list(wilson_interval(int(correct.sum()), len(correct)))


def source_scores(trained: Trained, *, tokenisation: str, seed: int) -> dict[str, Any]:
    """Answer test sources greedily, and score the answers against their references."""
    from sacrebleu import corpus_bleu, corpus_chrf

    references: dict[str, list[str]] = {}
    for line in trained.corpus.test.whole:
        source, sentence = parted(line)
        references.setdefault(source, []).append(sentence)
    sources = random_subset(list(references), MOST_SOURCES, seed)
    answers = [each.text for each in go_on_from(trained, sources, temperature=0.0, seed=seed)]
    own = [references[source] for source in sources]
    order = np.random.default_rng(seed).permutation(len(own))
    others = [own[i] for i in np.roll(order, 1)[np.argsort(order)]]  # of one cycle: nothing stays in place
    tokenize = tokenizer_for(tokenisation)

    def bleu(expected: list[list[str]]) -> float:
        return float(corpus_bleu(answers, _streams(expected), tokenize=tokenize).score)

    return {
        "bleu": bleu(own),
        "chrf": float(corpus_chrf(answers, _streams(own)).score),
        "shuffled": bleu(others),
        "exact": float(np.mean([answer in known for answer, known in zip(answers, own, strict=True)])),
        "n": len(sources),
    }


def _streams(references: list[list[str]]) -> Any:
    """Return the first reference of every sentence, then the second, …; None where there is none."""
    most = max(map(len, references))
    return [[each[i] if i < len(each) else None for each in references] for i in range(most)]


def answers_of_test(
    trained: Trained, n: int, *, temperature: float, seed: int, score: bool
) -> list[Sentence]:
    """Sample n sentences that go on from test sources, drawn with replacement."""
    sources = [parted(line)[0] for line in trained.corpus.test.whole]
    places = np.random.default_rng(seed).integers(len(sources), size=n).tolist()
    drawn = go_on_from(
        trained, [sources[i] for i in places], temperature=temperature, seed=seed, with_log_prob=score
    )
    return list(drawn)
