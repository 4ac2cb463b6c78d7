"""What image models share beside the contract: labels, samples of the prior, EMA networks and collapse."""

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from seqgen.algorithms.base import Algorithm, Metrics, StepMetrics
from seqgen.core import optim
from seqgen.image.data.dataset import Batch
from seqgen.image.networks import adversarial


class ImageModel(Algorithm):
    """A model that generates images from latents; built as `cls(config, shape=(C, H, W), classes=…)`."""

    classes: int
    """Labels that the networks are conditional on; 0 where they are not."""
    encode: Callable[..., Tensor]
    """Where the model has an encoder: images (B, C, H, W), labels (B,) or None → latents (B, Z)."""

    def __init__(self, config: Any, *, classes: int) -> None:
        super().__init__()
        self.config = config
        self.classes = classes if config.conditional else 0

    @abstractmethod
    def decode(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the images of latents; (N, Z), (N,) → (N, C, H, W) in [0, 1]."""

    def network_labels(self, labels: Tensor | None) -> Tensor | None:
        """Return the labels as the networks take them: None where the model is not conditional."""
        return labels if self.classes else None

    def prior(self, noise: Tensor) -> Tensor:
        """Return latents of the prior from standard normal noise; (N, Z) → (N, Z)."""
        return noise

    @torch.no_grad()
    def sample(self, n: int, labels: Tensor | None = None, rng: torch.Generator | None = None) -> Tensor:
        """Draw latents from the prior and decode them, without noise of pixels; (n, C, H, W) in [0, 1].

        labels: (n,) of a conditional model; 0, 1, 2, … and again from 0 where not given.
        """
        device = next(self.parameters()).device
        noise = torch.randn(n, self.config.latent_dim, generator=rng, device=rng.device if rng else device)
        if labels is None:
            labels = cycle_labels(n, self.classes, device)
        return self.decode(self.prior(noise.to(device)), labels)

    def samples(self, n: int) -> Tensor:
        """Draw n images to show; of the labels 0, 1, 2, … and again from 0 where the model is conditional."""
        return self.sample(n)

    def reconstruct(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the decoder's images of the images' latents; (B, C, H, W) → (B, C, H, W)."""
        return self.decode(self.encode(images, labels), labels)


class AdversarialModel(ImageModel):
    """An image model with a critic: each optimiser has its own loss, and samples come from EMA networks."""

    averaged: ClassVar[tuple[str, ...]] = ("generator",)
    """Names of the networks that `ema` averages; the last one generates images."""
    main_optimizer: ClassVar[str] = "generator"
    """The optimiser whose gradient norm and learning rate are reported."""
    ema: nn.ModuleDict
    """Exponential moving averages of the networks of `averaged`, by their names."""
    updates: Tensor
    """Updates so far; scalar."""
    highest_diversity: Tensor
    """The highest diversity of the reports so far; scalar."""

    def __init__(self, config: Any, *, classes: int) -> None:
        super().__init__(config, classes=classes)
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        self.register_buffer("highest_diversity", torch.zeros(()))

    def _averaged_networks(self) -> nn.ModuleDict:
        return nn.ModuleDict({name: getattr(self, name) for name in self.averaged})

    def _start_ema(self) -> None:
        """Copy the networks of `averaged` once they are built."""
        self.ema = copy.deepcopy(self._averaged_networks()).requires_grad_(False)

    @abstractmethod
    def losses(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor | float]]:
        """Return the losses by the names of their optimisers, and metrics."""

    def step(self, batch: Batch, progress: float) -> StepMetrics:
        """Update every network on one batch, each by its own loss, at the same time."""
        self.train()
        adversarial.set_learning_rates(self.optimizers.values(), progress)
        losses, metrics = self.losses(batch)
        norms = optim.update({self.optimizers[name]: loss for name, loss in losses.items()})
        self.updates += 1
        networks, decay = self._averaged_networks(), self.config.gan.ema_decay
        adversarial.update_ema(self.ema, networks, decay=decay, updates=int(self.updates))
        main = self.optimizers[self.main_optimizer]
        return {**metrics, "grad_norm": norms[main], "lr": main.param_groups[0]["lr"]}

    @torch.no_grad()
    def decode(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the images of latents by the EMA network; (N, Z), (N,) → (N, C, H, W) in [0, 1]."""
        self.eval()
        return adversarial.decode_in_chunks(self.ema[self.averaged[-1]], latents, self.network_labels(labels))

    def samples(self, n: int) -> Tensor:
        """Draw n images to show, from the same latents every time, of the labels 0, 1, 2, …"""
        return self.sample(n, rng=torch.Generator(self.updates.device).manual_seed(0))

    def measure_diversity(self, generated: Tensor, held_out: Tensor) -> Metrics:
        """Compare the diversity of generated images with that of held-out ones, and remember the highest."""
        metrics = adversarial.diversity(generated, held_out)
        self.highest_diversity.clamp_(min=metrics.get("diversity", 0.0))
        return metrics

    def should_stop(self, report: Metrics, first: Metrics) -> str | None:
        """Stop where the generator has collapsed; the weights of the report before are kept."""
        return adversarial.collapsed(report, float(self.highest_diversity))


def cycle_labels(n: int, classes: int, device: torch.device) -> Tensor | None:
    """Return the labels 0, 1, …, classes - 1, 0, 1, …; (n,), None where there are no classes."""
    return torch.arange(n, device=device) % classes if classes else None


def mean_metrics(batches: Sequence[tuple[int, Mapping[str, Tensor]]]) -> Metrics:
    """Return the mean over images of the metrics of batches, each given with its number of images."""
    images = sum(size for size, _ in batches)
    return {
        name: sum(size * float(metrics[name]) for size, metrics in batches) / images for name in batches[0][1]
    }
