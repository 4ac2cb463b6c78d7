"""Scores of generated text: likeness, variety, copies, distances, language models; `evaluate` has all."""

from seqgen.metrics.bleu import bleu, self_bleu
from seqgen.metrics.evaluation import evaluate

__all__ = ["bleu", "evaluate", "self_bleu"]
