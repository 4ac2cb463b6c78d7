"""Contrastive search: decoding that weighs a token's probability against its repetition of the sentence.

Su et al. 2022 (SimCTG), eq. 5: of the k likeliest tokens v the one with the largest
(1 - α) p(v) - α max cos(h(v), h) over the representations h of all that was read before it, BOS included.
What differs: nothing is read after EOS in training, so its representation means nothing; it gets the
mean similarity of the other candidates. The search is deterministic: for sentences of one prompt, or of
none, to differ, their first tokens are drawn.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.core import settings
from seqgen.data.tokenizer import BOS, EOS, PAD
from seqgen.generation.mixture_draw import log_distribution
from seqgen.generation.sample import Read, Samples, reading, sample, started
from seqgen.models.base import Generator, evaluating
from seqgen.models.ngram_mixture import NGramMixture
from seqgen.models.state import State, repeat, select
from seqgen.models.vocab_head import ruled_out


@dataclass(frozen=True)
class ContrastiveSearch:
    """Contrastive search and its settings: a `search` for `seqgen.generation.sample.sample`."""

    penalty: float = 0.6
    """α, weight of the similarity to the sentence so far against the probability; 0 is greedy search"""
    candidates: int = 8
    """k, the likeliest tokens among which one is chosen"""
    sampled: int = 5
    """tokens after the prompt that are drawn at random before the search begins"""

    def __post_init__(self) -> None:
        settings.bounds(self, penalty=(0.0, 1.0), candidates=(1, None), sampled=(0, None))

    def __call__(
        self,
        generator: Generator,
        batch: int,
        length: int,
        *,
        prompt: Tensor | None = None,
        min_length: int = 0,
        forbid: Sequence[int] = (),
        state: State | None = None,
        mixture: NGramMixture | None = None,
        **how: Any,
    ) -> Samples:
        """Generate `batch` sentences; arguments as of `sample`, `how` those of the tokens that are drawn.

        The log-probability of a token that was not drawn is 0. With a `mixture` the probabilities are those
        of the mixture with n-grams, and the representations the generator's.
        """
        start = (0 if prompt is None else prompt.shape[-1]) + self.sampled
        with evaluating(generator):
            state = generator.initial(batch) if state is None else state
            # At least one token is drawn, if only to be left out: so `sample` sees to the prompt.
            how |= {"prompt": prompt, "min_length": min_length, "forbid": forbid, "state": state}
            how |= {"mixture": mixture}
            drawn = sample(generator, batch, min(start + (self.sampled == 0), length), **how)
            prefix, scores = drawn.tokens[:, :start], drawn.log_probs[:, :start]
            tokens = F.pad(prefix, (0, length - prefix.shape[1]), value=PAD)
            log_probs = F.pad(scores, (0, length - prefix.shape[1]))
            rows = (prefix != EOS).all(dim=1).nonzero()[:, 0]
            read = F.pad(prefix[rows], (1, 0), value=BOS)
            step = reading(generator, mixture)
            hidden, state = step(read, started(generator, mixture, len(rows), select(state, rows)))
            past = F.normalize(hidden, dim=-1)  # (R, t + 1, H)
            for t in range(start, length):
                if not len(rows):
                    break
                is_early = t < min_length or t == generator.head.never_ends_at
                banned = (*forbid, EOS) if is_early else forbid
                probs = _probs(generator, mixture, hidden[:, -1], state, banned)
                chosen, hidden, state = self._choose(step, probs, state, past)
                tokens[rows, t] = chosen
                past = torch.cat((past, F.normalize(hidden, dim=-1)), dim=1)
                alive = chosen != EOS
                rows, hidden, past, state = rows[alive], hidden[alive], past[alive], select(state, alive)
        return Samples(tokens, log_probs)

    def _choose(self, step: Read, probs: Tensor, state: State, past: Tensor) -> tuple[Tensor, Tensor, State]:
        """Choose a token for each row; → tokens (R,), what the head reads after them (R, 1, H), and State.

        probs (R, V) of the next token, state after what was read so far, past (R, t, H) the unit vectors of
        it all.
        """
        k = min(self.candidates, probs.shape[1])
        probs, ids = probs.topk(k, dim=-1)  # (R, k)
        after, states = step(ids.view(-1, 1), repeat(state, k))  # every candidate at once
        directions = F.normalize(after[:, 0], dim=-1).unflatten(0, (-1, k))
        similarity = (directions @ past.transpose(1, 2)).amax(dim=-1)  # (R, k)
        ends, possible = ids == EOS, probs > 0
        others = possible & ~ends
        mean = (similarity * others).sum(dim=1, keepdim=True) / others.sum(dim=1, keepdim=True).clamp(min=1)
        scores = (1 - self.penalty) * probs - self.penalty * torch.where(ends, mean, similarity)
        best = scores.masked_fill(~possible, -math.inf).argmax(dim=1)
        rows = torch.arange(len(ids), device=ids.device)
        at = rows * k + best
        return ids[rows, best], after[at], select(states, at)


def _probs(
    generator: Generator,
    mixture: NGramMixture | None,
    hidden: Tensor,
    state: State,
    forbid: Sequence[int],
) -> Tensor:
    """Return the probability of every token but those forbidden, (R, V), by what the head reads (R, H)."""
    head = generator.head
    if mixture is None:
        logits = head(hidden).float()
    else:
        logits = log_distribution(hidden, state[-1], head.weight, head.bias, mixture)
    return torch.softmax(ruled_out(logits, forbid, -math.inf), dim=-1)
