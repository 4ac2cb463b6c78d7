"""What the codes of a run are worth, measured on held-out sentences.

| key                  | meaning                                                                             |
|----------------------|-------------------------------------------------------------------------------------|
| `reconstruction`     | -log p(sentence given its code), nats a sentence: the mean over draws of the        |
|                      | posterior, or of the one code of an algorithm without a posterior                   |
| `kl`                 | KL(posterior ‖ prior), nats a sentence                                              |
| `elbo`               | evidence lower bound, minus the sum of both                                         |
| `mutual_information` | of sentences and codes, nats; at most the logarithm of `sentences`                  |
| `active_units`       | numbers of a code whose posterior mean varies by more than a variance of 0.01       |
| `units`              | numbers of a code                                                                   |
| `collapsed`          | whether the code tells nothing: a divergence below 0.1 nats                         |
| `bleu`               | sacrebleu's corpus BLEU of greedy reconstructions against the sentences, 0 to 100   |
| `exact`              | share of sentences that are reconstructed word for word                             |
| `sentences`          | how many of the test split were measured, drawn by the seed                         |

What needs a posterior is null for an algorithm whose sentences have a code each and no distribution of codes.
"""

from collections.abc import Sequence
from typing import Any

from sacrebleu.metrics import BLEU

from seqgen.algorithms import vae_objective
from seqgen.algorithms.sentence_vae import COLLAPSED
from seqgen.core.random_state import own_randomness
from seqgen.evaluation.references import real_sample
from seqgen.generation.likelihood import bounded_batches
from seqgen.inference.latent_space import reconstruct
from seqgen.metrics.corpus_bleu import tokenizer_for
from seqgen.training.load import Trained, ids_of

SENTENCES = 2000
"""Test sentences measured at most."""
DRAWS = 5
"""Codes of each sentence by which its reconstruction is averaged."""


def latent_figures(found: Trained, *, tokenisation: str, seed: int = 0) -> dict[str, Any]:
    """Measure the codes of a run on its test split; the keys are those of the module's table."""
    lines = real_sample(found.corpus.test, SENTENCES, seed)
    pairs = reconstruct(found, lines)
    figures: dict[str, Any] = {
        "reconstruction": sum(pair.cost for pair in pairs) / len(pairs),
        **dict.fromkeys(("kl", "elbo", "mutual_information", "active_units", "collapsed")),
        "units": found.algorithm.generator.code,
        "bleu": _bleu([pair.reconstruction for pair in pairs], lines, tokenisation),
        "exact": sum(pair.reconstruction == pair.text for pair in pairs) / len(pairs),
        "sentences": len(lines),
    }
    if found.algorithm.likelihood == "estimated":
        figures |= _of_posteriors(found, lines, seed)
    return figures


def _of_posteriors(found: Trained, lines: Sequence[str], seed: int) -> dict[str, Any]:
    batches = [tokens.to(found.device) for tokens in bounded_batches(ids_of(found, lines))]
    with own_randomness(seed):
        said = vae_objective.measure(
            found.algorithm.encoder, found.algorithm.generator, batches, samples=DRAWS
        )
    return {
        "reconstruction": said["valid_recon"],
        "kl": said["valid_kl"],
        "elbo": said["valid_elbo"],
        "mutual_information": said["mutual_information"],
        "active_units": int(said["active_units"]),
        "collapsed": said["valid_kl"] < COLLAPSED,
    }


def _bleu(written: Sequence[str], lines: Sequence[str], tokenisation: str) -> float:
    return BLEU(tokenize=tokenizer_for(tokenisation)).corpus_score(list(written), [list(lines)]).score
