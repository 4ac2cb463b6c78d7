"""The speed of training a sentence-VAE, against a plain loop and the floor."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqgen.algorithms.vae_objective import reconstruction
from seqgen.bench import floor, reference_loops
from seqgen.bench.speed import build_generator, copied, device_clock, uneven_sentences
from seqgen.bench.timing import Clock, Row, interleaved
from seqgen.core import optim
from seqgen.data.tokenizer import PAD
from seqgen.functional import gaussian
from seqgen.models.encoder import RNNEncoder


@dataclass(frozen=True)
class Sizes:
    """What is benchmarked; the defaults are those of the published results that we compare with."""

    vocab: int = 10_000
    shortest: int = 10
    longest: int = 50
    embedding: int = 300
    hidden: int = 256
    latent_dim: int = 16
    batch: int = 32


def run(
    device: torch.device, sizes: Sizes | None = None, *, repeats: int = 5, clock: Clock | None = None
) -> list[Row]:
    """Time an update of encoder and decoder by the evidence lower bound of a batch of uneven sentences."""
    sizes = sizes or Sizes()
    torch.manual_seed(0)
    tokens = batch(sizes).to(device)
    encoder = RNNEncoder(sizes.vocab, sizes.embedding, sizes.hidden, sizes.latent_dim).to(device)
    decoder = build_generator(sizes.vocab, sizes.embedding, sizes.hidden, latent_dim=sizes.latent_dim).to(
        device
    )
    plain = copied(encoder), copied(decoder)
    plain_optimizers = [optim.adamw(network, lr=1e-3) for network in plain]
    optimizers = [optim.adamw(network, lr=1e-3) for network in (encoder, decoder)]

    def ours() -> None:
        mean, log_var = encoder(tokens)
        recon = reconstruction(decoder, tokens, gaussian.sample(mean, log_var))
        loss = (recon + gaussian.kl(mean, log_var).sum()) / len(tokens)
        optim.update({each: loss for each in optimizers}, clip=5.0)

    rows = floor.sentences_by_step((tokens != PAD).sum(dim=1))
    work = floor.head_pass(decoder, sum(rows))
    for module in (*encoder.modules(), *decoder.modules()):
        if isinstance(module, nn.RNNBase):
            work += floor.training(module, rows)
        elif isinstance(module, nn.Linear):  # of the latent vector, one of each sentence
            work += floor.of_linear(module.weight, len(tokens))
    clock = clock or device_clock(device)
    timings = interleaved(
        {
            "naive": (lambda: reference_loops.vae_step(*plain, plain_optimizers, tokens), 1),
            "ours": (ours, 1),
            "floor": floor.case(work, device, clock=clock),
        },
        repeats=2 * repeats,
        clock=clock,
    )
    least = timings["floor"].median
    return [Row("sentence-VAE step", "tokens", sum(rows), timings["naive"], timings["ours"], least)]


def batch(sizes: Sizes) -> Tensor:
    """Return random sentences whose lengths, EOS included, are spread evenly; (B, T)."""
    return uneven_sentences(sizes.vocab, sizes.shortest, sizes.longest, sizes.batch)
