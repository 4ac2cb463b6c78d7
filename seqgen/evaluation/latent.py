"""Metrics of the latent variable of a run, measured on held-out sentences.

| key                  | meaning                                                                             |
|----------------------|-------------------------------------------------------------------------------------|
| `reconstruction`     | reconstruction loss -log p(x given z), nats per sentence: mean over posterior       |
|                      | samples, or at the latent of an encoder without a posterior                         |
| `kl`                 | KL(posterior ‖ prior), nats per sentence                                            |
| `elbo`               | evidence lower bound: -(`reconstruction` + `kl`), nats per sentence                 |
| `mutual_information` | estimated mutual information of x and z, nats; at most log(`sentences`)             |
| `active_units`       | latent dimensions whose posterior mean has a variance above 0.01 (Burda et al. 2016)|
| `latent_dim`         | number of latent dimensions                                                         |
| `collapsed`          | posterior collapse: `kl` is below 0.1 nats                                          |
| `bleu`               | sacrebleu's corpus BLEU of greedy reconstructions against the sentences, 0 to 100   |
| `shuffled_bleu`      | the same with the latents shuffled among the sentences: the control                 |
| `exact`              | fraction of sentences that are reconstructed exactly                                |
| `sentences`          | number of test sentences measured, drawn by the seed                                |

The metrics of the posterior are null for an algorithm with a deterministic encoder.
"""

from collections.abc import Sequence
from typing import Any

from seqgen.algorithms.sentence_vae import COLLAPSED
from seqgen.core.random_state import own_randomness
from seqgen.evaluation.references import random_subset
from seqgen.generation.likelihood import bounded_batches
from seqgen.inference.latent_space import latent_dim, reconstruct
from seqgen.metrics.corpus_bleu import tokenizer_for
from seqgen.metrics.reconstruction import reconstruction_bleu
from seqgen.training.load import Trained, ids_of

MAX_SENTENCES = 2000
"""Test sentences measured."""
POSTERIOR_SAMPLES = 5
"""Posterior samples of each sentence, over which the reconstruction loss is averaged."""


def latent_metrics(trained: Trained, *, tokenisation: str, seed: int = 0) -> dict[str, Any]:
    """Measure the latent variable of a run on its test split; the keys are those of the module's table."""
    lines = random_subset(trained.corpus.test.whole, MAX_SENTENCES, seed)
    pairs = reconstruct(trained, lines)
    bleu = reconstruction_bleu([pair.reconstruction for pair in pairs], lines, tokenizer_for(tokenisation))
    metrics: dict[str, Any] = {
        "reconstruction": sum(pair.nll for pair in pairs) / len(pairs),
        **dict.fromkeys(("kl", "elbo", "mutual_information", "active_units", "collapsed")),
        "latent_dim": latent_dim(trained),
        "bleu": bleu.own,
        "shuffled_bleu": bleu.shuffled,
        "exact": sum(pair.reconstruction == pair.text for pair in pairs) / len(pairs),
        "sentences": len(lines),
    }
    if trained.algorithm.likelihood == "estimated":
        metrics |= _posterior_metrics(trained, lines, seed)
    return metrics


def _posterior_metrics(trained: Trained, lines: Sequence[str], seed: int) -> dict[str, Any]:
    batches = [tokens.to(trained.device) for tokens in bounded_batches(ids_of(trained, lines))]
    with own_randomness(seed):
        measured = trained.algorithm.measure(batches, samples=POSTERIOR_SAMPLES)
    return {
        "reconstruction": measured["valid_recon"],
        "kl": measured["valid_kl"],
        "elbo": measured["valid_elbo"],
        "mutual_information": measured["mutual_information"],
        "active_units": int(measured["active_units"]),
        "collapsed": measured["valid_kl"] < COLLAPSED,
    }
