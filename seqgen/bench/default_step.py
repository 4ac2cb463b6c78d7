"""The speed of a step of `seqgen pretrain` with its defaults, against plain PyTorch and the floor."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqgen import algorithms
from seqgen.bench import latent, plain_models
from seqgen.bench.speed import device_clock
from seqgen.bench.timing import Clock, Row, interleaved
from seqgen.core import settings
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import PAD
from seqgen.functional.vocab_projection import matmul

PROGRESS = 0.5
"""Of training, by which a step takes its learning rate."""


@dataclass(frozen=True)
class Text:
    """A kind of text: its vocabulary, and how many tokens its sentences have, ends included."""

    name: str
    vocab: int
    shortest: int
    longest: int


TEXTS = Text("names", 57, 4, 11), Text("molecules", 29, 20, 53), Text("captions", 1_872, 7, 17)


def run(
    device: torch.device,
    texts: tuple[Text, ...] = TEXTS,
    *,
    batch: int = 64,
    repeats: int = 5,
    clock: Clock | None = None,
) -> list[Row]:
    """Time an update of the default LSTM with dropout, beside one of `plain_models` of the same sizes.

    The floor is both passes of torch's LSTM and of the head's products, without embedding, dropout, loss and
    optimiser.
    """
    return [_step(text, batch, device, repeats, clock or device_clock(device)) for text in texts]


def _step(text: Text, batch: int, device: torch.device, repeats: int, clock: Clock) -> Row:
    torch.manual_seed(0)
    sizes = latent.Sizes(text.vocab, text.shortest, text.longest, batch=batch)
    tokens = latent.batch(sizes).to(device)
    plain = plain_models.PlainLSTM(text.vocab, text.longest).to(device)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=plain.lr, weight_decay=plain_models.WEIGHT_DECAY)
    entry = algorithms.get("mle")
    config = settings.override(entry.config(), {"generator.dropout": plain_models.DROPOUT})
    ours = entry.cls(config, vocab_size=text.vocab, length=text.longest).to(device)
    ours.configure()
    plain.train()
    timings = interleaved(
        {
            "naive": (lambda: plain_models.step(plain, optimizer, tokens), 5),
            "ours": (lambda: ours.step(Batch(tokens), PROGRESS), 5),
            "floor": (_bare_layers(tokens, text.vocab), 5),
        },
        repeats=2 * repeats,
        clock=clock,
    )
    work = int((tokens != PAD).sum())
    floor = timings["floor"].median
    return Row(f"default step, {text.name}", "tokens", work, timings["naive"], timings["ours"], floor)


def _bare_layers(tokens: Tensor, vocab_size: int) -> Callable[[], None]:
    """Return both passes of a recurrent layer over so many tokens, and the three products of a head."""
    device, hidden = tokens.device, plain_models.HIDDEN
    lstm = nn.LSTM(plain_models.EMBEDDING, hidden, batch_first=True).to(device)
    inputs = torch.randn(*tokens.shape, plain_models.EMBEDDING, device=device, requires_grad=True)
    of_hidden = torch.randn(*tokens.shape, hidden, device=device)
    leaves = [inputs, *lstm.parameters()]
    states = torch.randn(int((tokens != PAD).sum()), hidden, device=device)
    weight = torch.randn(vocab_size, hidden, device=device)
    of_logits = torch.randn(len(states), vocab_size, device=device)

    def both_passes() -> None:
        torch.autograd.grad(lstm(inputs)[0], leaves, of_hidden)
        with torch.no_grad():
            matmul(states, weight)
            matmul(of_logits, weight.t())
            matmul(of_logits.t(), states.t())

    return both_passes
