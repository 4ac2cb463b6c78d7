"""The speed of a step of `seqgen pretrain` with its defaults, against plain PyTorch and the floor."""

from dataclasses import dataclass

import torch

from seqgen import algorithms
from seqgen.bench import floor, latent, plain_models
from seqgen.bench.speed import device_clock
from seqgen.bench.timing import Clock, Row, interleaved
from seqgen.core import settings
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import PAD

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

    The floor is that of `seqgen.bench.floor`: the products of the LSTM and of the head, forward and backward.
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
    rows = floor.sentences_by_step((tokens != PAD).sum(dim=1))
    work = floor.training(ours.generator, rows) + floor.head_pass(ours.generator, sum(rows))
    timings = interleaved(
        {
            "naive": (lambda: plain_models.step(plain, optimizer, tokens), 5),
            "ours": (lambda: ours.step(Batch(tokens), PROGRESS), 5),
            "floor": floor.case(work, device, clock=clock),
        },
        repeats=2 * repeats,
        clock=clock,
    )
    least = timings["floor"].median
    return Row(f"default step, {text.name}", "tokens", sum(rows), timings["naive"], timings["ours"], least)
