"""What algorithms with codes share: an encoder from sentences to codes, a generator that writes of them."""

from typing import Any

import torch
from torch import Tensor, nn

from seqgen.algorithms import vae_objective
from seqgen.generation.sample import Samples


class Coder(nn.Module):
    """A generator that starts from a code and reads it at every step, and an encoder."""

    latent = True

    def __init__(self, config: Any, *, vocab_size: int, length: int) -> None:
        super().__init__()
        self.config, self.length = config, length
        self.generator = config.generator.build(vocab_size, code=config.code)
        self.encoder = config.encoder.build(vocab_size, config.code)

    def prior(self, n: int, rng: torch.Generator | None = None) -> Tensor:
        """Draw n codes to write of, from N(0, I); (n, Z)."""
        where = self.generator.head.weight.device
        return torch.randn(n, self.config.code, device=where, generator=rng)

    def samples(self, n: int) -> Tensor:
        """Draw n sentences at temperature 1; (n, T)."""
        return self.sample(n).tokens

    def sample(
        self, n: int, length: int | None = None, *, rng: torch.Generator | None = None, **options: object
    ) -> Samples:
        """Draw n codes and a sentence of each, with the options of `seqgen.generation.sample.sample`."""
        codes = self.prior(n, rng)
        return self.decode(codes, length, temperature=options.pop("temperature", 1.0), rng=rng, **options)

    def encode(self, tokens: Tensor) -> Tensor:
        """Return each sentence's code, the mean where it has a distribution; (B, T) → (B, Z)."""
        return vae_objective.encode(self.encoder, tokens)

    def decode(self, codes: Tensor, length: int | None = None, **options: object) -> Samples:
        """Write a sentence from each code (B, Z), the likeliest words unless `temperature` says otherwise."""
        return vae_objective.decode(self.generator, codes, length or self.length, **options)  # type: ignore[arg-type]
