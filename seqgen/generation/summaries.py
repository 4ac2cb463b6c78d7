"""Summaries of a sentence: a few numbers by which a real sentence can be told from a generated one.

They are what the linear part of an energy reads (`seqgen.models.energy`), each under a name so that its
weight can be read.
"""

import torch
from torch import Tensor

from seqgen.data.tokenizer import PAD

NAMES = (
    "length",
    "log_prob",
    "mean_log_prob",
    "min_log_prob",
    "log_prob_deviation",
    "repeated",
    "distinct",
)
"""What each column of `summarise` is."""


def summarise(tokens: Tensor, log_probs: Tensor) -> Tensor:
    """Summarise sentences, tokens (B, T) with a generator's log-probability of each (B, T); → (B, S).

    length: real tokens, EOS included. log_prob, mean_log_prob, min_log_prob, log_prob_deviation: sum, mean,
    least and standard deviation of the log-probabilities, nats. repeated: fraction of the tokens that equal
    the one before. distinct: different tokens over tokens.
    """
    real = tokens != PAD
    lengths = real.sum(dim=1).clamp(min=1)
    known = log_probs.float().where(real, 0.0)
    mean = known.sum(dim=1) / lengths
    variance = (known - mean[:, None]).where(real, 0.0).square().sum(dim=1) / lengths
    least = known.where(real, torch.inf).amin(dim=1).where(real.any(dim=1), 0.0)
    repeated = ((tokens[:, 1:] == tokens[:, :-1]) & real[:, 1:]).sum(dim=1) / lengths
    ordered = tokens.sort(dim=1).values
    is_first = torch.cat((torch.ones_like(real[:, :1]), ordered[:, 1:] != ordered[:, :-1]), dim=1)
    distinct = (is_first & (ordered != PAD)).sum(dim=1) / lengths
    columns = (lengths.float(), known.sum(dim=1), mean, least, variance.sqrt(), repeated, distinct)
    return torch.stack(columns, dim=1)
