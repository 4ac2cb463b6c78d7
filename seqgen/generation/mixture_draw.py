"""Draws from a mixture of a network and n-grams, `seqgen.models.ngram_mixture`.

At temperature 1 and without truncation the component is drawn first, then a token from it: from the network
by the draw that never holds (R, V) at a time, from the counts by walking the levels of their interpolation.
That is exact, also where tokens are forbidden: the components then count by what they leave to the others.
There is no loop until a draw is allowed, so shapes are fixed and nothing waits for an accelerator. Otherwise
tokens are drawn from the whole distribution, a chunk of rows at a time.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.functional.vocab_projection import LOG2E, chunk_rows, no_autocast
from seqgen.generation.categorical import WHOLE, Truncation, draw_from, drawer, invert
from seqgen.models.ngram_mixture import NGramMixture
from seqgen.models.vocab_head import VocabHead, ruled_out
from seqgen.ngrams.count_tables import BITS, DRAW_BITS, NGramTables, rest

MixtureDrawer = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Draws at uniform numbers in [0, 1): what the head reads (R, H), contexts (R, L), numbers (R, K) → tokens,
log-probabilities, (R,)."""


def numbers_of_a_draw(*, temperature: float, cut: Truncation) -> int:
    """Return how many uniform numbers a draw needs (K)."""
    return 5 if temperature == 1 and cut.is_none else 1


def mixture_drawer(
    head: VocabHead,
    mixture: NGramMixture,
    dtype: torch.dtype,
    *,
    temperature: float = 1.0,
    cut: Truncation = WHOLE,
    forbid: Sequence[int] = (),
) -> MixtureDrawer:
    """Prepare draws for states of one type: hidden (R, H), contexts (R, L) → tokens, log-probabilities, (R,).

    The settings mean what they do in `seqgen.generation.categorical.draw`, and the log-probability is that of
    the distribution that the token was drawn from: temperature and truncation are those of the mixture.
    """
    # Once for both ways: the settings are checked here.
    network = drawer(head.weight, head.bias, dtype, temperature=temperature, cut=cut, forbid=forbid)
    if temperature == 1 and cut.is_none:
        by_component = _ByComponent(head, mixture, forbid)

        def draw_rows(hidden: Tensor, contexts: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
            drawn, scores = network(hidden, uniform[:, :1])
            return by_component(hidden, contexts, drawn[:, 0], scores[:, 0], uniform[:, 1:].t())

        return draw_rows
    step = max(1, chunk_rows(len(head.weight), head.weight.device) // 4)  # four numbers of each are held
    bias = head.bias.detach()

    def draw_chunk(hidden: Tensor, contexts: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        log_probs = log_distribution(hidden, contexts, head.weight, bias, mixture)
        log2_probs = ruled_out(log_probs, forbid, -torch.inf).mul_(LOG2E / (temperature or 1.0))
        log2_probs.sub_(log2_probs.amax(dim=-1, keepdim=True))
        tokens, scores = draw_from(
            lambda states, subtract_max: log2_probs, hidden, uniform, is_greedy=temperature == 0, cut=cut
        )
        return tokens[:, 0], scores[:, 0]

    def draw_in_chunks(hidden: Tensor, contexts: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), no_autocast(hidden.device):
            parts = map(draw_chunk, hidden.split(step), contexts.split(step), uniform.split(step))
            tokens, scores = zip(*parts, strict=True)
            return torch.cat(tokens), torch.cat(scores)

    return draw_in_chunks


def log_distribution(
    hidden: Tensor, contexts: Tensor, weight: Tensor, bias: Tensor, mixture: NGramMixture
) -> Tensor:
    """Return log p of every token under a mixture; hidden (R, H), contexts (R, L) → (R, V)."""
    states = hidden.to(mixture.unigrams.dtype)
    network = torch.log_softmax(F.linear(states, weight.to(states.dtype), bias.to(states.dtype)), dim=-1)
    of_network, of_counts = mixture.log_weights(hidden)
    counts = mixture.tables.distribution(contexts).log()
    return torch.logaddexp(of_network[:, None] + network, of_counts[:, None] + counts)


class _ByComponent:
    """Draws the component, then takes the network's draw or one from the counts."""

    def __init__(self, head: VocabHead, mixture: NGramMixture, forbid: Sequence[int]) -> None:
        self.mixture, self.forbid = mixture, sorted(set(forbid))
        self.weight, self.bias = head.weight.detach(), head.bias.detach()
        self.counts = _CountDraw(mixture.tables, self.forbid)

    def __call__(
        self, hidden: Tensor, contexts: Tensor, drawn: Tensor, scores: Tensor, uniform: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Draw tokens at four uniform numbers a row, (4, R); → tokens, log-probabilities, (R,).

        hidden (R, H), contexts (R, L), the network's draws and their log p (R,).
        """
        with torch.no_grad(), no_autocast(hidden.device):
            states = hidden.to(self.mixture.unigrams.dtype)
            log_allowed = (
                self._logits(states, drawn) - scores
            )  # log of the network's sum over what is allowed
            log_sum = log_allowed
            if self.forbid:
                forbidden = [self._logits(states, token) for token in self.forbid]
                log_sum = torch.logsumexp(torch.stack((log_allowed, *forbidden)), dim=0)
            counted, allowed = self.counts(contexts, uniform[:3])
            of_network, of_counts = self.mixture.log_weights(hidden)
            by_network = of_network + log_allowed - log_sum
            by_counts = of_counts + allowed.log()
            tokens = drawn.where(uniform[3] < torch.sigmoid(by_network - by_counts), counted)
            network = self._logits(states, tokens) - log_sum
            mixed = self.mixture.log_probs(hidden, network, contexts, tokens)
            return tokens, mixed - torch.logaddexp(by_network, by_counts)

    def _logits(self, states: Tensor, tokens: Tensor | int) -> Tensor:
        """Return the network's logits of a token of each row, or of one for all rows; (R,)."""
        weight, bias = self.weight[tokens].to(states.dtype), self.bias[tokens].to(states.dtype)
        return (states * weight).sum(dim=-1) + bias


class _CountDraw:
    """Draws from a Kneser–Ney model without the tokens `forbid`, which are ascending."""

    def __init__(self, tables: NGramTables, forbid: Sequence[int]) -> None:
        self.tables, self.forbid = tables, forbid
        self.unigrams = ruled_out(tables.unigrams, forbid, 0.0)
        self.unigram_cdf = self.unigrams.cumsum(dim=0)

    def __call__(self, contexts: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Return a token of each row, (R,), and the probability of all that is not forbidden, (R,).

        contexts (R, L); three independent uniform numbers a row, (3, R).
        """
        tables, dtype = self.tables, self.unigrams.dtype
        first, last = tables.spans(contexts)
        start = tables.cumulative[first]
        mass = tables.cumulative[last] - start  # (R, L), whole numbers
        left = mass
        places = [tables.find(contexts, token) for token in self.forbid]
        for each in places:
            left = left - tables.mass(each)
        # The probability of reaching each level, the longest context first, and last the unigrams.
        backoff = rest(mass, dtype).flip(1).cumprod(dim=1)
        reach = torch.cat((torch.ones_like(backoff[:, :1]), backoff), dim=1)
        levels = torch.cat(
            (left.flip(1).to(dtype) * 2.0**-BITS, self.unigram_cdf[-1:].expand(len(left), 1)), dim=1
        )
        levels = levels * reach  # (R, L + 1)
        cdf = levels.cumsum(dim=1)
        level = invert(levels, cdf, uniform[0, :, None] * cdf[:, -1:])  # (R, 1)
        by_unigrams = invert(self.unigrams, self.unigram_cdf, uniform[1] * self.unigram_cdf[-1:])
        at = (tables.levels - 1 - level).clamp(min=0)
        bits = (uniform[2, :, None] * 2.0**DRAW_BITS).long()
        target = start.gather(1, at) + ((left.gather(1, at) * bits) >> DRAW_BITS)
        for each in places:  # step over the forbidden, which lie in this order
            place = each.gather(1, at)
            target = target + tables.mass(place) * (target >= tables.cumulative[place])
        found = torch.searchsorted(tables.cumulative, target, right=True) - 1
        by_counts = tables.keys[found.clamp(max=len(tables.keys) - 1)] % len(self.unigrams)
        return by_unigrams.where(level[:, 0] == tables.levels, by_counts[:, 0]), cdf[:, -1]
