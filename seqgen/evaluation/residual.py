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

from torch import Tensor

from seqgen.core.random_state import own_randomness
from seqgen.generation import resampling
from seqgen.training.load import Trained, over_sentences

SAMPLES = 10_000


def proposed_energies(trained: Trained, *, seed: int = 0, samples: int = SAMPLES) -> Tensor:
    """Return the energies of samples of the generator that a run weights; (samples,), on the CPU."""
    with own_randomness(seed):
        return trained.algorithm.weigh(*trained.algorithm.propose(samples)).cpu()


def log_drawn(trained: Trained, tokens: Tensor, on_fake: Tensor) -> Tensor:
    """Return log of the density of what `sample` draws of K candidates, in nats; (B, T), (F,) → (B,).

    on_fake: the `proposed_energies`, over which the energies of the other candidates are averaged.
    """
    of_generator, energies = (part.cpu() for part in trained.algorithm.log_weights(tokens))
    return of_generator + resampling.log_chosen(energies, trained.algorithm.config.candidates, on_fake)


def residual_metrics(trained: Trained, on_fake: Tensor) -> dict[str, Any]:
    """Measure a run whose algorithm weights a generator, by its `proposed_energies` (F,).

    The keys are those of the module's table.
    """
    algorithm = trained.algorithm
    on_real = over_sentences(
        trained, trained.corpus.test.whole, lambda tokens: algorithm.log_weights(tokens)[1]
    )
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
        "samples": len(on_fake),
    }
