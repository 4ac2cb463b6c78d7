"""What algorithms with latent vectors share: an encoder of sentences, and a generator that decodes them."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from seqgen.algorithms import vae_objective
from seqgen.algorithms.base import RunningMean, TextAlgorithm
from seqgen.core import distributed, optim
from seqgen.data.tokenizer import PAD
from seqgen.generation.sample import Samples
from seqgen.models.calibration import calibrate, one_by_one

C = TypeVar("C", bound=Any)


def with_paths(config: C, *, latent_skip: bool, pooling: str) -> C:
    """Fill in the ways into and out of the latent vector where they were left open.

    latent_skip: whether it is added to what the vocabulary head reads. pooling: what it is made of.
    """
    generator, encoder = config.generator, config.encoder
    if generator.latent_skip is None:
        generator = replace(generator, latent_skip=latent_skip)
    if encoder.pooling is None:
        encoder = replace(encoder, pooling=pooling)
    return replace(config, generator=generator, encoder=encoder)


class LatentAlgorithm(TextAlgorithm):
    """An encoder, and a generator that starts from a latent vector and reads it at every step."""

    latent: ClassVar[bool] = True
    inherits: ClassVar[tuple[str, ...]] = ("generator", "encoder", "latent_dim")

    def __init__(self, config: Any, *, vocab_size: int, length: int) -> None:
        super().__init__(config, vocab_size=vocab_size, length=length)
        self.generator = config.generator.build(vocab_size, latent_dim=config.latent_dim)
        self.encoder = config.encoder.build(vocab_size, config.latent_dim)

    def prior(self, n: int, rng: torch.Generator | None = None) -> Tensor:
        """Draw n latent vectors from N(0, I); (n, Z)."""
        device = self.generator.head.weight.device
        return distributed.randn(n, self.config.latent_dim, device=device, generator=rng)

    def sample(
        self, n: int, length: int | None = None, *, rng: torch.Generator | None = None, **options: Any
    ) -> Samples:
        """Draw n latent vectors and decode them, with the options of `seqgen.generation.sample.sample`."""
        latents = self.prior(n, rng)
        options = self.begun(n, {"temperature": 1.0, "rng": rng} | options)
        return self.decode(latents, length, **options)

    def embed(self, tokens: Tensor) -> Tensor:
        """Return the latent vector of each sentence, with a gradient, dropout as the mode has it."""
        return self.encoder(tokens)[0]

    def encode(self, tokens: Tensor) -> Tensor:
        """Return each sentence's latent vector, the mean where it has a distribution; (B, T) → (B, Z)."""
        return vae_objective.encode(self.encoder, tokens)

    def decode(self, latents: Tensor, length: int | None = None, **options: Any) -> Samples:
        """Decode latent vectors (B, Z), by the likeliest words unless `temperature` says otherwise."""
        return vae_objective.decode(self.generator, latents, length or self.length, **options)

    def log_likelihood(  # type: ignore[override]
        self, tokens: Tensor, *, samples: int = 500, rng: torch.Generator | None = None
    ) -> Tensor:
        """Estimate log p of sentences, in nats, by importance weighting of so many draws; (B, T) → (B,).

        That is the probability of what stands before them, too, of which the latent vector knows.

        It needs an encoder that is a posterior (`likelihood` is then "estimated").
        """
        weights = vae_objective.importance_weights(
            self.encoder, self.generator, tokens, samples=samples, rng=rng
        )
        return weights.log_likelihood()

    def measure(self, batches: Iterable[Tensor], *, samples: int) -> dict[str, float]:
        """Measure bound, likelihood by so many draws, and latents on held-out batches (B, T).

        The keys are those of `seqgen.algorithms.vae_objective.measure`. It needs what `log_likelihood` does.
        """
        return vae_objective.measure(self.encoder, self.generator, batches, samples=samples)

    def reconstruction_metrics(self, held_out: Iterable[Tensor]) -> dict[str, float]:
        """Measure greedy reconstructions, `seqgen.algorithms.vae_objective.measure_reconstructions`."""
        return vae_objective.measure_reconstructions(
            self.encoder, self.generator, held_out, self.length, self.of_sentence
        )

    def calibrate(self, held_out: Iterable[Tensor]) -> float:
        """Calibrate the decoder by the NLL given a draw of each posterior; return the temperature."""
        head = self.generator.head
        return calibrate(
            head,
            one_by_one(head, lambda: vae_objective.one_draw_nll(self.encoder, self.generator, held_out)),
            fraction=self.config.calibration,
        )


class PretrainedAutoencoder(LatentAlgorithm):
    """What autoencoders that start from random weights share: the optimisers and running means."""

    bucket_by_length: ClassVar[bool] = True
    latent_mean: Tensor
    """Mean of the latent vectors of training sentences, running; (Z,)."""
    latent_cov: Tensor
    """Their covariance, running; (Z, Z)."""

    def __init__(self, config: Any, *, vocab_size: int, length: int) -> None:
        super().__init__(config, vocab_size=vocab_size, length=length)
        self.tokens_per_batch = RunningMean()
        self.register_buffer("latent_mean", torch.zeros(config.latent_dim))
        self.register_buffer("latent_cov", torch.eye(config.latent_dim))

    def mean_tokens(self, tokens: Tensor) -> Tensor:
        """Count a batch's real tokens, (B, T), and return the mean number of all batches so far; scalar.

        Where several processes share a batch it is that of a process's part.
        """
        return self.tokens_per_batch.add(distributed.total((tokens != PAD).sum())) / distributed.shards()

    @property
    def moments(self) -> vae_objective.Moments:
        """The running mean and covariance of latent vectors."""
        return vae_objective.Moments(self.latent_mean, self.latent_cov)

    def configure(self) -> None:
        """Create the optimisers; called once the module is on its device."""
        c = self.config
        self.optimizers = {
            name: optim.adamw(network, lr=c.peak_lr, weight_decay=c.weight_decay or 0.0)
            for name, network in (("generator", self.generator), ("encoder", self.encoder))
        }

    def set_learning_rates(self, factor: float) -> None:
        """Set both learning rates to their highest times a factor."""
        for optimizer in self.optimizers.values():
            optim.scale_lr(optimizer, factor)
