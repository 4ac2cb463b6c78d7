"""Scores of generated text: BLEU, self-BLEU, diversity, likelihood; `evaluate` puts them together."""

from seqgen.metrics.bleu import bleu, self_bleu
from seqgen.metrics.evaluation import evaluate

__all__ = ["bleu", "evaluate", "self_bleu"]
