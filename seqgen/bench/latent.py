"""The speed of training a sentence-VAE, against a plain loop and the floor."""

from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen.algorithms.vae_objective import reconstruction
from seqgen.bench import reference_loops
from seqgen.bench.speed import chunks, copied, device_clock, product, rnn_generator
from seqgen.bench.timing import Clock, Row, interleaved
from seqgen.core import optim
from seqgen.data.tokenizer import EOS, PAD
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
    decoder = rnn_generator(sizes.vocab, sizes.embedding, sizes.hidden, latent_dim=sizes.latent_dim).to(
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

    timings = interleaved(
        {
            "naive": (lambda: reference_loops.vae_step(*plain, plain_optimizers, tokens), 1),
            "ours": (ours, 1),
            "product": product(decoder),
        },
        repeats=2 * repeats,
        clock=clock or device_clock(device),
    )
    work = int((tokens != PAD).sum())
    floor = timings["product"].median * chunks(decoder, 3 * work)
    return [Row("sentence-VAE step", "tokens", work, timings["naive"], timings["ours"], floor)]


def batch(sizes: Sizes) -> Tensor:
    """Return random sentences whose lengths, EOS included, are spread evenly; (B, T)."""
    lengths = torch.linspace(sizes.shortest, sizes.longest, sizes.batch).round().long()[:, None]
    tokens = torch.randint(EOS + 1, sizes.vocab, (sizes.batch, sizes.longest))
    places = torch.arange(sizes.longest)
    return tokens.masked_fill(places == lengths - 1, EOS).masked_fill(places >= lengths, PAD)
