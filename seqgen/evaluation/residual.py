"""What an energy gains on the generator that it weights, on the test split of the corpus.

| key               | meaning                                                                            |
|-------------------|------------------------------------------------------------------------------------|
| `gain`            | KL(data‖g) - KL(data‖p), nats a sentence: p's likelihood above the generator's g     |
| `gain_error`      | its standard error                                                                 |
| `effective`       | effective sample size of the generator's samples under p, as a fraction            |
| `candidates`      | K, the candidates of which `sample` chooses                                        |
| `gain_sampled`    | the same gain of what is chosen from K candidates, by its density                  |
| `gain_sampled_error` | its standard error over sentences                                               |
| `samples`         | samples of the generator by which all of it was estimated                          |
"""

import math
from typing import Any

from seqgen.core.random_state import own_randomness
from seqgen.generation import resampling
from seqgen.generation.sample import sample
from seqgen.training.load import Trained, over_sentences

SAMPLES = 10_000


def residual_metrics(trained: Trained, *, seed: int = 0, samples: int = SAMPLES) -> dict[str, Any]:
    """Measure a run whose algorithm weights a generator; the keys are those of the module's table."""
    algorithm = trained.algorithm
    with own_randomness(seed):
        drawn = sample(algorithm.generator, samples, algorithm.length)
        on_fake = algorithm.weigh(*drawn).cpu()
    on_real = over_sentences(trained, trained.corpus.test, lambda tokens: algorithm.log_weights(tokens)[1])
    found = resampling.gain(on_real, on_fake)
    candidates = algorithm.config.candidates
    chosen = resampling.log_chosen(on_real, candidates, on_fake)
    return {
        "gain": found.nats,
        "gain_error": found.error,
        "effective": found.effective,
        "candidates": candidates,
        "gain_sampled": float(chosen.mean()),
        "gain_sampled_error": float(chosen.std()) / math.sqrt(len(chosen)),
        "samples": samples,
    }
