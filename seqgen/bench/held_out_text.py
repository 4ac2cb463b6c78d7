"""Samplers judged by the test split of a corpus whose true distribution nobody knows.

Of as many sentences of each as there are training sentences, at most N, and of the whole test split:

| key            | meaning                                                                               |
|----------------|---------------------------------------------------------------------------------------|
| `nll_test`     | -log q of a test sentence, nats; infinite (null) where q cannot draw one of them      |
| `gain`         | nats a sentence by which it is below that of the training `mle`, by paired sentences  |
| `bleu_5`, `self_bleu_5` | against the test split, and of each sentence against the others              |
| `ms_jaccard_4` | MS-Jaccard of 4-grams, 1 for equal counts                                             |
| `frechet`      | Fréchet distance of sentence embeddings from the test split's                         |
| `reverse_lm`   | nats a token of the test split under an n-gram model of the sentences                 |
| `classifier`   | accuracy of a classifier that tells them from the test split; chance is 0.5           |

Each has a standard error: over sentences, or by a jackknife of the samples; over several seeds that of the
seeds. Definitions and protocol are those of `seqgen evaluate` (`seqgen.evaluation.text`).
"""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from seqgen.bench.controls import Sampler
from seqgen.bench.truths import Figures, finite
from seqgen.data.tokenizer import UNK
from seqgen.evaluation.references import build_references, random_subset
from seqgen.evaluation.scores import score_row
from seqgen.metrics import divergences
from seqgen.training import load
from seqgen.training.load import Trained, ids_of

SCORES = {
    "bleu_5": ("bleu", "5"),
    "self_bleu_5": ("self_bleu", "5"),
    "ms_jaccard_4": ("ms_jaccard", "4"),
    "frechet": ("frechet",),
    "reverse_lm": ("lm", "reverse"),
    "classifier": ("classifier", "accuracy"),
}
"""Where a figure is in a row of `seqgen.evaluation.scores`."""
DEVIATIONS = 1.96
"""Standard errors on either side of a 95 % interval."""


class HeldOutText:
    """Judges samplers by the test split of the corpus of a run."""

    reference = "real text"
    """The row that all others are read against: training sentences."""

    def __init__(self, run: Trained, base: Sampler, *, n: int, seed: int) -> None:
        self.run, self.base, self.seed = run, base, seed
        self.length: int = run.run.config["length"]
        self.forbid: tuple[int, ...] = (UNK,)
        corpus = run.corpus
        self.n = min(n, len(corpus.train))
        self.references = build_references(corpus.test, corpus.train, seed=seed)

    @cached_property
    def _test(self) -> Tensor:
        ids = ids_of(self.run, self.references.refs)
        return ids.batch(np.arange(len(ids)))

    @cached_property
    def _of_base(self) -> Tensor:
        return self.base.log_likelihood(self._test)

    def of_reference(self) -> Figures:
        """Score as many training sentences as every sampler draws."""
        return self._scores(random_subset(self.run.corpus.train, self.n, self.seed), is_real=True)

    def measure(self, sampler: Sampler) -> Figures:
        """Measure a sampler; the module says the keys."""
        of_test = sampler.log_likelihood(self._test)
        likelihood = {
            "nll_test": divergences.mean(-of_test),
            "gain": divergences.mean(of_test - self._of_base),
        }
        drawn = load.decode(self.run.tokenizer, sampler.sample(self.n, seed=self.seed + 17))
        return {name: finite(each) for name, each in likelihood.items()} | self._scores(drawn)

    def _scores(self, lines: Sequence[str], *, is_real: bool = False) -> Figures:
        row = score_row(lines, self.references, is_real=is_real)
        found: Figures = {}
        for name, path in SCORES.items():
            value: Any = row
            interval: Any = row["intervals"]
            for part in path:
                value, interval = (value or {}).get(part), (interval or {}).get(part)
            if value is not None:
                low, high = interval or (math.nan, math.nan)
                found[name] = finite(divergences.Estimate(value, (high - low) / (2 * DEVIATIONS)))
        return found
