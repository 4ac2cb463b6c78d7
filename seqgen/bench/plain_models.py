"""A language model as one writes it in plain PyTorch: what `seqgen pretrain` must not be behind.

Two networks of torch's own layers, of the sizes of our default generators, and one training loop: AdamW,
cross entropy over all logits, clipped gradients, a warmup and a cosine to zero over a given time, the weights
of the least validation loss.
"""

import math
from collections.abc import Callable, Iterator
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.data.batches import Batches, Ids, in_order
from seqgen.data.tokenizer import PAD
from seqgen.generation.sample import shifted

EMBEDDING, HIDDEN = 256, 192
"""Sizes of our default generators (`seqgen.models.base`, `rnn_generator`, `transformer_generator`)."""
LAYERS, HEADS = 2, 4
DROPOUT = 0.1
WARMUP, CLIP, WEIGHT_DECAY = 0.02, 1.0, 0.01
BATCH, VALID_BATCH = 64, 256
REPORTS = 20
"""How often a training measures its validation loss."""


class PlainLSTM(nn.Module):
    """Embedding, one LSTM layer and a linear map to the vocabulary; ids (B, T) → logits (B, T, V)."""

    lr = 3e-3

    def __init__(self, vocab_size: int, length: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, EMBEDDING)
        self.lstm = nn.LSTM(EMBEDDING, HIDDEN, batch_first=True)
        self.dropout = nn.Dropout(DROPOUT)
        self.head = nn.Linear(HIDDEN, vocab_size)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden, _ = self.lstm(self.dropout(self.embedding(tokens)))
        return self.head(self.dropout(hidden))


class PlainTransformer(nn.Module):
    """A causal pre-norm Transformer with learned positions; ids (B, T) → logits (B, T, V)."""

    lr = 1e-3

    def __init__(self, vocab_size: int, length: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, HIDDEN)
        self.positions = nn.Parameter(0.02 * torch.randn(length, HIDDEN))
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.dropout = nn.Dropout(DROPOUT)
        layer = nn.TransformerEncoderLayer(
            HIDDEN, HEADS, 4 * HIDDEN, DROPOUT, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(
            layer, LAYERS, norm=nn.LayerNorm(HIDDEN), enable_nested_tensor=False
        )
        self.head = nn.Linear(HIDDEN, vocab_size)

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=tokens.device)
        read = self.dropout(self.embedding(tokens) + self.positions[:length])
        return self.head(self.layers(read, mask=mask, is_causal=True))


MODELS: dict[str, type[PlainLSTM] | type[PlainTransformer]] = {
    "plain LSTM": PlainLSTM,
    "plain Transformer": PlainTransformer,
}


def train(
    model: PlainLSTM | PlainTransformer,
    train: Ids,
    valid: Ids,
    *,
    seconds: float,
    seed: int,
    device: torch.device,
    clock: Callable[[], float],
) -> int:
    """Train a model for so many seconds of a clock, and leave it with its best weights; return the steps."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=model.lr, weight_decay=WEIGHT_DECAY)
    best, weights = math.inf, deepcopy(model.state_dict())
    start, reports, steps = clock(), 0, 0
    for batch in Batches(train, BATCH, seed=seed):
        spent = (clock() - start) / seconds
        if spent * REPORTS >= reports + 1 or spent >= 1:
            reports = math.floor(spent * REPORTS)
            loss = mean_nll(model, valid, device)
            if loss < best:
                best, weights = loss, deepcopy(model.state_dict())
            model.train()
        if spent >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = model.lr * min(spent / WARMUP, (1 + math.cos(math.pi * spent)) / 2)
        step(model, optimizer, batch.tokens.to(device))
        steps += 1
    model.load_state_dict(weights)
    return steps


def step(model: nn.Module, optimizer: torch.optim.Optimizer, tokens: Tensor) -> None:
    """Update a model by the mean negative log-likelihood of a batch (B, T)."""
    optimizer.zero_grad()
    total, count = _nll(model, tokens)
    (total / count).backward()
    nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    optimizer.step()


@torch.no_grad()
def mean_nll(model: nn.Module, ids: Ids, device: torch.device) -> float:
    """Return the mean negative log-likelihood of the tokens of sentences, ends included, in nats a token."""
    model.eval()
    parts = [_nll(model, tokens) for tokens in _on(device, ids)]
    return float(sum(total for total, _ in parts)) / sum(tokens for _, tokens in parts)


def _on(device: torch.device, ids: Ids) -> Iterator[Tensor]:
    for tokens, _ in in_order(ids, VALID_BATCH):
        yield tokens.to(device)


def _nll(model: nn.Module, tokens: Tensor) -> tuple[Tensor, int]:
    """Return the negative log-likelihood of a batch (B, T), and how many tokens it has."""
    logits = model(shifted(tokens))
    total = F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), ignore_index=PAD, reduction="sum")
    return total, int((tokens != PAD).sum())
