"""The speed of a discriminator's update, against plain PyTorch and the floor.

An update reads as many real as generated sentences: loss, gradients, clipping, AdamW. The plain networks have
the layers of ours, as many parameters, and read either half of the batch by itself: the CNN convolves padding
too, recurrent layers read packed sequences. The floor is the products alone, of real tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqgen.algorithms.configs import DiscriminatorConfig, default_generator
from seqgen.algorithms.residual_config import ResidualConfig
from seqgen.bench import latent, plain_models
from seqgen.bench.default_step import Text
from seqgen.bench.speed import device_clock
from seqgen.bench.timing import Clock, Row, interleaved
from seqgen.core import optim
from seqgen.data.batch import stacked
from seqgen.data.tokenizer import PAD, SPECIALS
from seqgen.functional.gan_losses import cross_entropy
from seqgen.generation import summaries
from seqgen.models.discriminator import PAPER_FILTERS, RNNDiscriminator
from seqgen.models.energy import LOG_PROB_SCALE, EnergyConfig, Read, SentenceEnergy

CAPTIONS = Text("captions", 1_872, 7, 17)
TEXTS = CAPTIONS, Text("T 20", 5_000, 20, 20), Text("T 32", 5_000, 32, 32)
SETTINGS = {
    "cnn": DiscriminatorConfig(kind="cnn"),
    "rnn": DiscriminatorConfig(),
    "rnn both ways": DiscriminatorConfig(kind="rnn", bidirectional=True),
}
LR, WEIGHT_DECAY = 1e-3, 0.1


@dataclass(frozen=True)
class Half:
    """Sentences, all real or all generated, and what a generator says of each token."""

    tokens: Tensor
    log_probs: Tensor
    states: Tensor
    head: Tensor


def run(
    device: torch.device,
    texts: Sequence[Text] = TEXTS,
    *,
    batch: int = 64,
    repeats: int = 5,
    clock: Clock | None = None,
) -> list[Row]:
    """Time updates of a CNN, of recurrent layers one way and both ways, and of the residual model."""
    names = (*SETTINGS, "residual")
    clock = clock or device_clock(device)
    return [_row(name, text, batch, device, repeats, clock) for text in texts for name in names]


def _row(name: str, text: Text, batch: int, device: torch.device, repeats: int, clock: Clock) -> Row:
    torch.manual_seed(0)
    sizes = latent.Sizes(text.vocab, text.shortest, text.longest, batch=batch)
    tokens = [latent.batch(sizes)[torch.randperm(batch)].to(device) for _ in range(2)]
    head = torch.randn(text.vocab, state_size(), device=device)
    real, fake = (_half(ids, head) for ids in tokens)
    ours, plain = networks(name, text.vocab)
    ours, plain = ours.to(device).train(), plain.to(device).train()
    optimizer = optim.adamw(ours, lr=LR, weight_decay=WEIGHT_DECAY)
    plain_optimizer = torch.optim.AdamW(plain.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    timings = interleaved(
        {
            "naive": (lambda: plain_step(plain, plain_optimizer, real, fake), 2),
            "ours": (lambda: optim.update({optimizer: loss(ours, real, fake)}, clip=plain_models.CLIP), 2),
            "floor": (_products(name, tokens, plain), 2),
        },
        repeats=2 * repeats,
        clock=clock,
    )
    task = f"discriminator {name}, {text.name}"
    return Row(task, "sentences", 2 * batch, timings["naive"], timings["ours"], timings["floor"].median)


def _half(ids: Tensor, head: Tensor) -> Half:
    """Return sentences with made-up log-probabilities and states of the default generator."""
    log_probs = -5 * torch.rand(ids.shape, device=ids.device) * (ids != PAD)
    return Half(ids, log_probs, torch.randn(*ids.shape, head.shape[1], device=ids.device), head)


def state_size() -> int:
    """Return the units of the default generator's states."""
    return replace(default_generator(), dropout=0.0).build(len(SPECIALS)).head.weight.shape[1]


def networks(name: str, vocab_size: int) -> tuple[nn.Module, nn.Module]:
    """Return the discriminator of a name, of our default sizes, and the plain one of the same layers."""
    if name == "residual":
        energy = ResidualConfig().cross_fitted(False).energy
        ours: nn.Module = energy.build(vocab_size, len(summaries.NAMES), state_size())
        return ours, PlainEnergy(vocab_size, energy)
    config = SETTINGS[name]
    ours = config.build(vocab_size, default_generator())
    if not isinstance(ours, RNNDiscriminator):
        return ours, PlainCNN(vocab_size, config.embedding, config.dropout)
    return ours, PlainRNN(vocab_size, ours.rnn, config.bidirectional, config.dropout)


def loss(network: nn.Module, real: Half, fake: Half) -> Tensor:
    """Return the cross entropy of real and generated sentences, read as the algorithms do."""
    tokens = stacked([real.tokens, fake.tokens])
    if isinstance(network, SentenceEnergy):
        log_probs = torch.cat([real.log_probs, fake.log_probs])
        read = Read(tokens, log_probs, torch.cat([real.states, fake.states]), real.head)
        logits = network(read, summaries.summarise(tokens, log_probs))
    else:
        logits = network(tokens)
    return cross_entropy(logits[: len(real.tokens)], logits[len(real.tokens) :])


def plain_step(network: nn.Module, optimizer: torch.optim.Optimizer, real: Half, fake: Half) -> None:
    """Update a plain network by the binary cross entropy of either half."""
    optimizer.zero_grad()
    on_real, on_fake = network(real), network(fake)
    of_real = F.binary_cross_entropy_with_logits(on_real, torch.ones_like(on_real))
    of_fake = F.binary_cross_entropy_with_logits(on_fake, torch.zeros_like(on_fake))
    (of_real + of_fake).backward()
    nn.utils.clip_grad_norm_(network.parameters(), plain_models.CLIP)
    optimizer.step()


class PlainCNN(nn.Module):
    """The CNN of published code: two-dimensional convolutions over all positions, a maximum, a highway."""

    def __init__(self, vocab_size: int, embedding: int, dropout: float) -> None:
        super().__init__()
        total = sum(PAPER_FILTERS.values())
        self.embedding = nn.Embedding(vocab_size, embedding)
        self.convolutions = nn.ModuleList(nn.Conv2d(1, n, (w, embedding)) for w, n in PAPER_FILTERS.items())
        self.transform, self.gate = nn.Linear(total, total), nn.Linear(total, total)
        self.dropout, self.output = nn.Dropout(dropout), nn.Linear(total, 1)

    def forward(self, half: Half) -> Tensor:
        tokens = half.tokens
        short = max(0, max(PAPER_FILTERS) - tokens.shape[1])
        images = self.embedding(F.pad(tokens, (0, short), value=PAD))[:, None]
        maps = [F.relu(each(images))[..., 0] for each in self.convolutions]
        pooled = torch.cat([F.max_pool1d(each, each.shape[2])[..., 0] for each in maps], dim=1)
        gate = torch.sigmoid(self.gate(pooled))
        mixed = gate * F.relu(self.transform(pooled)) + (1 - gate) * pooled
        return self.output(self.dropout(mixed))[:, 0]


class PlainRNN(nn.Module):
    """Packed recurrent layers, one way or both, their last states, a linear map."""

    def __init__(self, vocab_size: int, like: nn.RNNBase, bidirectional: bool, dropout: float) -> None:
        super().__init__()
        kind = nn.LSTM if isinstance(like, nn.LSTM) else nn.GRU
        self.embedding = nn.Embedding(vocab_size, like.input_size)
        self.rnn = kind(like.input_size, like.hidden_size, batch_first=True, bidirectional=bidirectional)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(like.hidden_size * (1 + bidirectional), 1)

    def forward(self, half: Half) -> Tensor:
        inputs = self.dropout(self.embedding(half.tokens))
        _, last = self.rnn(_packed(inputs, half.tokens))
        last = last[0] if isinstance(last, tuple) else last
        return self.output(self.dropout(torch.cat(list(last), dim=1)))[:, 0]


class PlainEnergy(nn.Module):
    """That of the residual model: a packed LSTM both ways; mean, maximum and last states; two layers."""

    def __init__(self, vocab_size: int, config: EnergyConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, config.embedding)
        inputs, read = config.embedding + 1, config.states or 0
        self.rnn = nn.LSTM(inputs, config.hidden, batch_first=True, bidirectional=True)
        self.states, self.products = nn.Linear(state_size(), read), nn.Linear(state_size(), read)
        layers = nn.Linear(inputs + 2 * read, 128), nn.Linear(128, config.hidden)
        self.layers = nn.Sequential(layers[0], nn.LeakyReLU(0.1), layers[1], nn.LeakyReLU(0.1))
        self.dropout = nn.Dropout(config.dropout)
        first, last = nn.Linear(8 * config.hidden + 1, 128), nn.Linear(128, 1)
        drops = nn.Dropout(config.dropout), nn.Dropout(config.dropout)
        self.output = nn.Sequential(drops[0], first, nn.LeakyReLU(0.1), drops[1], last)

    def forward(self, half: Half) -> Tensor:
        tokens = half.tokens
        real = (tokens != PAD)[..., None]
        known = half.log_probs[..., None] * LOG_PROB_SCALE
        inputs = torch.cat((self.dropout(self.embedding(tokens)), known), dim=2)
        packed, (last, _) = self.rnn(_packed(inputs, tokens))
        states, lengths = pad_packed_sequence(packed, batch_first=True, total_length=tokens.shape[1])
        lengths = lengths[:, None].to(states.device)
        of_states = self.dropout(self.states(half.states))
        of_products = self.dropout(self.products(half.states * half.head[tokens]))
        weighed = self.layers(torch.cat((inputs, of_states, of_products), dim=2)) * real
        features = []
        for each in (states, weighed):
            largest = each.masked_fill(~real, -torch.inf).amax(dim=1)
            features += [each.sum(dim=1) / lengths, largest]
        mean = known.sum(dim=(1, 2))[:, None] / lengths.sqrt()
        return self.output(torch.cat((*features[:2], *last, mean, *features[2:]), dim=1))[:, 0]


def _packed(inputs: Tensor, tokens: Tensor) -> nn.utils.rnn.PackedSequence:
    lengths = (tokens != PAD).sum(dim=1).cpu()
    return pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)


def _products(name: str, halves: Sequence[Tensor], plain: nn.Module) -> Callable[[], None]:
    """Return the products of an update, forwards and twice backwards, of real tokens alone."""
    tokens = torch.cat(list(halves))
    lengths = (tokens != PAD).sum(dim=1)
    sizes: list[tuple[int, int, int]] = []  # rows, what is summed over, columns
    if isinstance(plain, PlainCNN):
        size = plain.embedding.embedding_dim
        for width, filters in PAPER_FILTERS.items():
            sizes.append((int((lengths - width + 1).clamp(min=1).sum()), width * size, filters))
        total = sum(PAPER_FILTERS.values())
        sizes += [(len(tokens), total, total)] * 2
    else:
        rnn = plain.get_submodule("rnn")
        assert isinstance(rnn, nn.RNNBase)
        gates = rnn.all_weights[0][0].shape[0]
        steps = [int((lengths > t).sum()) for t in range(int(lengths.max()))]
        one_way = [(sum(steps), rnn.input_size, gates), *((rows, rnn.hidden_size, gates) for rows in steps)]
        sizes = one_way * (1 + rnn.bidirectional)
        if isinstance(plain, PlainEnergy):
            linear = [
                plain.states,
                plain.products,
                *(each for each in plain.layers if isinstance(each, nn.Linear)),
            ]
            sizes += [(sum(steps), each.in_features, each.out_features) for each in linear]
    device = tokens.device
    shapes = {
        shape: (
            torch.randn(shape[0], shape[1], device=device),
            torch.randn(shape[1], shape[2], device=device),
            torch.randn(shape[0], shape[2], device=device),
        )
        for shape in set(sizes)
    }

    @torch.no_grad()
    def products() -> None:
        for shape in sizes:
            left, right, gradient = shapes[shape]
            torch.mm(left, right)
            torch.mm(gradient, right.t())
            torch.mm(left.t(), gradient)

    return products
