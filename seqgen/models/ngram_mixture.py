"""A mixture of a network and n-gram counts: p(token | prefix) = λ · network + (1 - λ) · Kneser–Ney.

Counts know what a network of a small corpus does not, and the mixture of the two is better than either
(Mikolov et al. 2011, "Empirical evaluation and combination of advanced language modeling techniques"). λ is
a gate of the network's state, sigmoid(w · h + b) (as Bakhtin et al. 2018, "Lightweight adaptive mixture of
neural and n-gram language models"). What differs: nothing is trained through the mixture, the gate is fitted
to held-out text after the network, and it is kept only where that text becomes likelier. On the text that was
counted, Kneser–Ney looks so good that a gate fitted to it would leave the network out.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.models.vocab_head import ruled_out
from seqgen.ngrams import count_tables
from seqgen.ngrams.count_tables import NGramCounts, NGramTables
from seqgen.ngrams.ngrams import Ints

FOLDS = 5
"""Parts of the held-out sentences, each of which judges a gate fitted to the others."""
STATE_VARIANCE = 0.2
"""Prior variance of the gate's logit due to the state: of 500 COCO captions, of few tokens, a gate without
such a prior learns the captions (on others it gained .35 nats a sentence, this one .50, a constant .46)."""


class HeldOut(NamedTuple):
    """What a gate is fitted to: N tokens of held-out sentences, on the CPU."""

    hidden: Tensor
    """What the vocabulary head reads to predict each; (N, H)."""
    network: Tensor
    """log p of each by the network; float64 (N,)."""
    ngrams: Tensor
    """log p of each by the counts; float64 (N,)."""
    sentence: Tensor
    """The number of its sentence; (N,)."""


class GateFit(NamedTuple):
    """How well the mixture does on held-out text."""

    nll: float
    """Nats a token of the mixture, each sentence under a gate that was not fitted to it; where the mixture is
    not kept, of the network."""
    network_nll: float
    """Nats a token of the network alone."""
    weight: float
    """Mean weight of the counts, 1 - λ; 0 where the mixture is not kept."""


class NGramMixture(nn.Module):
    """The counts of a text and the gate. The network, whose states of H units the gate reads, is not in it.

    The counts are buffers of the state dict; what follows from them is computed when they are loaded.
    """

    keys: Tensor
    counts: Tensor
    sizes: Tensor
    gate_weight: Tensor
    gate_bias: Tensor
    used: Tensor
    cumulative: Tensor
    first: Tensor
    unigrams: Tensor

    def __init__(self, hidden: int, order: int, vocab_size: int | None = None) -> None:
        super().__init__()
        self.order = order
        """The longest n-gram, in tokens; 2 at least."""
        self.vocab_size = vocab_size
        """Token ids that counts which are loaded must have; None: any number."""
        self.widths: tuple[int, ...] = ()
        self.is_used = False
        """Whether held-out text is likelier under the mixture than under the network; False until fitted."""
        self.never: tuple[int, ...] = ()
        """Token ids that no sentence holds, as `VocabHead.rule_out` has them; Kneser–Ney has some of each."""
        whole = torch.zeros(0, dtype=torch.long)
        self.register_buffer("keys", whole)
        self.register_buffer("counts", whole.int())
        self.register_buffer("sizes", whole)
        self.register_buffer("gate_weight", torch.zeros(hidden))
        self.register_buffer("gate_bias", torch.zeros(()))
        self.register_buffer("used", torch.zeros((), dtype=torch.bool))
        self.register_buffer("cumulative", whole, persistent=False)
        self.register_buffer("first", whole, persistent=False)
        self.register_buffer("unigrams", torch.zeros(0), persistent=False)

    def rule_out(self, ids: Sequence[int]) -> None:
        """Give tokens that no sentence holds probability 0 in the counts as well, before there are any."""
        self.never = tuple(ids)

    def count(self, stream: Ints, vocab_size: int) -> None:
        """Count the sentences of a stream of token ids (P,), each of which BOS begins."""
        self._hold(count_tables.count(stream, vocab_size, self.order))

    def _hold(self, counted: NGramCounts) -> None:
        device = self.gate_weight.device
        tables = count_tables.tables(counted)
        self.keys, self.counts, self.sizes = (part.to(device) for part in counted)
        self.cumulative, self.first = tables.cumulative.to(device), tables.first.to(device)
        unigrams = tables.unigrams
        if self.never:
            unigrams = ruled_out(unigrams, self.never, 0.0)
            unigrams = unigrams / unigrams.sum()
        self.unigrams, self.widths = unigrams.to(self.gate_weight), tables.widths

    @property
    def tables(self) -> NGramTables:
        """The Kneser–Ney model of the counts."""
        return NGramTables(self.keys, self.cumulative, self.first, self.unigrams, self.widths)

    def log_weights(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return log λ and log (1 - λ), float32 or wider; (…, H) → (…,), (…,)."""
        hidden = hidden.to(self.gate_weight.dtype)
        logit = hidden @ self.gate_weight + self.gate_bias
        return F.logsigmoid(logit), F.logsigmoid(-logit)

    def log_probs(self, hidden: Tensor, network: Tensor, contexts: Tensor, tokens: Tensor) -> Tensor:
        """Return log p of tokens under the mixture.

        hidden (…, H), network log p of the tokens (…,), contexts of the prefixes (…, L), tokens (…,) → (…,).
        """
        of_network, of_counts = self.log_weights(hidden)
        return torch.logaddexp(of_network + network, of_counts + self.tables.probs(contexts, tokens).log())

    def fit(self, held_out: HeldOut) -> GateFit:
        """Fit the gate to held-out text, and keep the mixture if it is better there by over a standard error.

        Each of `FOLDS` parts of the sentences judges a gate that was fitted to the others. Deterministic.
        """
        last = self.gate_weight.cpu().double(), self.gate_bias.cpu().double()
        found = _cross_fitted(held_out, last)
        network_nll = -float(held_out.network.mean())
        gains = torch.zeros(int(held_out.sentence.max()) + 1, dtype=torch.float64)
        gains.index_add_(0, held_out.sentence, found - held_out.network)
        is_used = len(gains) > 1 and bool(gains.mean() > gains.std() / len(gains) ** 0.5)
        weight, bias = _fit_gate(held_out, last)
        self.gate_weight.copy_(weight)
        self.gate_bias.copy_(bias)
        self.used.fill_(is_used)
        self.is_used = is_used
        if not is_used:
            return GateFit(network_nll, network_nll, 0.0)
        mean_weight = float(torch.sigmoid(-(held_out.hidden.double() @ weight + bias)).mean())
        return GateFit(-float(found.mean()), network_nll, mean_weight)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: Any, *more: Any
    ) -> None:
        """Take counts of any size; a run that was saved before there were any is the network alone.

        Counts that no text has are an error of loading, which torch collects in the last argument.
        """
        names = [name for name, _ in self.named_buffers() if name not in self._non_persistent_buffers_set]
        if not any(prefix + name in state_dict for name in names):
            return
        for name in ("keys", "counts", "sizes"):
            if prefix + name in state_dict and state_dict[prefix + name].dim() == 1:
                setattr(self, name, getattr(self, name).new_empty(state_dict[prefix + name].shape))
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *more)
        if len(self.sizes):
            counted = NGramCounts(self.keys, self.counts, self.sizes)
            try:
                count_tables.check(counted, self.vocab_size, self.order)
            except ValueError as error:
                more[-1].append(str(error))
                return
            self._hold(counted)
        self.is_used = bool(self.used)


Gate = tuple[Tensor, Tensor]
"""Weight (H,) and bias (), float64, on the CPU."""


def _cross_fitted(held_out: HeldOut, start: Gate) -> Tensor:
    """Return log p of each token under a gate that was fitted to the other folds; (N,)."""
    fold = held_out.sentence % FOLDS
    found = held_out.network.clone()
    for k in range(FOLDS):
        mine, others = fold == k, fold != k
        if mine.any() and others.any():
            weight, bias = _fit_gate(HeldOut(*(part[others] for part in held_out)), start)
            part = HeldOut(*(part[mine] for part in held_out))
            found[mine] = _log_mix(part.hidden.double() @ weight + bias, part)
    return found


def _log_mix(logit: Tensor, part: HeldOut) -> Tensor:
    return torch.logaddexp(F.logsigmoid(logit) + part.network, F.logsigmoid(-logit) + part.ngrams)


def _fit_gate(held_out: HeldOut, start: Gate) -> Gate:
    """Return the likeliest gate under a normal prior of its weights, from the last one on.

    The states are standardised first, so that the prior does not depend on their scale. There is one optimum;
    from the gate of the last report it is a few steps away.
    """
    states = held_out.hidden.double()
    mean, scale = states.mean(dim=0), states.std(dim=0, correction=0) + 1e-6
    states = (states - mean) / scale
    size = states.shape[1]
    parameters = torch.cat((start[0] * scale, (start[1] + start[0] @ mean)[None])).requires_grad_()
    optimizer = torch.optim.LBFGS([parameters], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = -_log_mix(states @ parameters[:-1] + parameters[-1], held_out).sum()
        value = value + parameters[:-1].square().sum() * size / (2 * STATE_VARIANCE)
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    weight = parameters.detach()[:-1] / scale
    return weight, parameters.detach()[-1] - weight @ mean
