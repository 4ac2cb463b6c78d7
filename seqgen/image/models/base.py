"""What image models share beside the contract: labels and samples, one step for each of two families.

An `EncoderDecoderModel` minimises one loss, which has the likelihood of images; an `AdversarialModel` has a
critic, and a loss for each optimiser.
"""

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from seqgen.algorithms.base import Algorithm, Metrics, StepMetrics
from seqgen.core import distributed, optim
from seqgen.image.data.dataset import Batch, at_a_time
from seqgen.image.networks import adversarial, pixel_losses
from seqgen.image.networks.networks import ImageDecoder, ImageEncoder

VALID_SAMPLES = 1000
"""Images generated for a report's metrics, fewer of large ones."""
FEWEST_SAMPLES = 64
"""Images generated for them, however large: the total variance of so many is known well enough."""


class ImageModel(Algorithm):
    """A model that generates images from latents; built as `cls(config, shape=(C, H, W), classes=…)`."""

    classes: int
    """Labels that the networks are conditional on; 0 where they are not."""
    drawn_labels: Sequence[int]
    """Labels of samples where none are given, in turn: those that a run was trained on, all by default."""
    encode: Callable[..., Tensor]
    """Where the model has an encoder: images (B, C, H, W), labels (B,) or None → latents (B, Z)."""

    def __init__(self, config: Any, *, classes: int) -> None:
        super().__init__()
        self.config = config
        self.classes = classes if config.conditional else 0
        self.drawn_labels = range(self.classes)

    @abstractmethod
    def decode(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the images of latents; (N, Z), (N,) → (N, C, H, W) in [0, 1]."""

    def network_labels(self, labels: Tensor | None) -> Tensor | None:
        """Return the labels as the networks take them: None where the model is not conditional."""
        return labels if self.classes else None

    def set_learning_rates(self, progress: float) -> None:
        """Set the learning rates for `progress` in [0, 1), along a cosine that ends at `lr_floor`."""
        factor = optim.warmup_cosine(progress, warmup=0.0, floor=self.config.lr_floor)
        for optimizer in self.optimizers.values():
            optim.scale_lr(optimizer, factor)

    def prior(self, noise: Tensor) -> Tensor:
        """Return latents of the prior from standard normal noise; (N, Z) → (N, Z)."""
        return noise

    @torch.no_grad()
    def sample(self, n: int, labels: Tensor | None = None, rng: torch.Generator | None = None) -> Tensor:
        """Draw latents from the prior and decode them, without noise of pixels; (n, C, H, W) in [0, 1].

        labels: (n,) of a conditional model; the `drawn_labels` in turn where not given.
        """
        device = next(self.parameters()).device
        noise = distributed.randn(
            n, self.config.latent_dim, generator=rng, device=rng.device if rng else device
        )
        if labels is None:
            labels = cycle_labels(n, self.drawn_labels, device)
        return self.decode(self.prior(noise.to(device)), labels)

    def samples(self, n: int) -> Tensor:
        """Draw n images to show; of the `drawn_labels` in turn where the model is conditional."""
        return self.sample(n)

    def reconstruct(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the decoder's images of the images' latents; (B, C, H, W) → (B, C, H, W)."""
        return self.decode(self.encode(images, labels), labels)


class EncoderDecoderModel(ImageModel):
    """An encoder and a decoder that minimise one loss, with the settings of an `EncoderDecoderConfig`."""

    monitor: str | None = "valid_loss"
    clip: ClassVar[float | None] = None
    """Bound of the gradient norm of encoder and decoder."""
    encoder: ImageEncoder
    decoder: ImageDecoder
    log_sigma: nn.Parameter | None
    """Logarithm of a pixel's standard deviation, scalar, where there is a Gaussian likelihood."""

    def __init__(self, config: Any, *, classes: int) -> None:
        super().__init__(config, classes=classes)
        self.register_parameter("log_sigma", None)

    def configure(self) -> None:
        """Create the optimiser; call it once the module is on its device."""
        self.optimizers = {"model": self.config.build_optimizer(self, self.decoder)}

    @abstractmethod
    def training_loss(self, batch: Batch, progress: float) -> tuple[Tensor, StepMetrics]:
        """Return the loss that a step minimises, scalar, and its parts as metrics."""

    def step(self, batch: Batch, progress: float) -> StepMetrics:
        """Update encoder and decoder on one batch."""
        self.train()
        self.set_learning_rates(progress)
        loss, metrics = self.training_loss(batch, progress)
        optimizer = self.optimizers["model"]
        norms = optim.update({optimizer: loss}, clip=self.clip)
        return {
            "loss": loss.detach(),
            **metrics,
            "grad_norm": norms[optimizer],
            "lr": optimizer.param_groups[0]["lr"],
        }

    def should_stop(self, report: Metrics, first: Metrics) -> str | None:
        """Never stop for what is measured.

        Raises:
            FloatingPointError: training has diverged: the loss is ten times that before the first step.
        """
        before, now = first.get(str(self.monitor)), report.get(str(self.monitor))
        if before is not None and now is not None and not now - before < 9 * max(abs(before), 1.0):
            raise FloatingPointError(
                f"{self.monitor} is {now:.4g}, and was {before:.4g} before the first step"
            )
        return None

    def reconstruction_loss(self, latents: Tensor, images: Tensor, labels: Tensor | None) -> Tensor:
        """Return -log p(x | z) of each image, in nats; (B, Z), (B, C, H, W) → (B,)."""
        logits = self.decoder(latents, self.network_labels(labels))
        return pixel_losses.loss(self.config.likelihood, logits, images, self.log_sigma)

    @torch.no_grad()
    def decode(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the expected images of latents; (B, Z) → (B, C, H, W) in [0, 1]."""
        self.eval()
        return pixel_losses.means(self.config.likelihood, self.decoder(latents, self.network_labels(labels)))


class AdversarialModel(ImageModel):
    """An image model with a critic: each optimiser has its own loss, and samples come from EMA networks."""

    averaged: ClassVar[tuple[str, ...]] = ("generator",)
    """Names of the networks that `ema` averages; the last one generates images."""
    main_optimizer: ClassVar[str] = "generator"
    """The optimiser whose gradient norm and learning rate are reported."""
    on_host = ("updates",)
    ema: nn.ModuleDict
    """Exponential moving averages of the networks of `averaged`, by their names."""
    updates: Tensor
    """Updates so far; scalar."""
    highest_diversity: Tensor
    """The highest diversity of the reports so far; scalar."""
    progress: float = 0.0
    """Where training was at the last step, in [0, 1)."""

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
    def losses(self, batch: Batch) -> tuple[dict[str, Tensor], StepMetrics]:
        """Return the losses by the names of their optimisers, and metrics."""

    def step(self, batch: Batch, progress: float) -> StepMetrics:
        """Update every network on one batch, each by its own loss, at the same time."""
        self.train()
        self.progress = progress
        self.set_learning_rates(progress)
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
        decoder = self.ema[self.averaged[-1]]
        return adversarial.decode_in_chunks(
            decoder, latents, self.network_labels(labels), getattr(decoder, "shape", None)
        )

    def samples(self, n: int) -> Tensor:
        """Draw n images to show, from the same latents every time, of the `drawn_labels`."""
        return self.sample(n, rng=torch.Generator(self.updates.device).manual_seed(0))

    def sample_to_measure(self, held_out: Tensor) -> Tensor:
        """Draw images for a report's metrics, as many as are decoded at a time but 64 at least.

        held_out: (N, C, H, W), of the same shape.
        """
        return self.sample(max(at_a_time(VALID_SAMPLES, held_out.shape[1:]), FEWEST_SAMPLES))

    def measure_diversity(self, generated: Tensor, held_out: Tensor) -> Metrics:
        """Return the diversity of generated images relative to that of held-out ones; keep the highest."""
        metrics = adversarial.diversity(generated, held_out)
        self.highest_diversity.clamp_(min=metrics.get("diversity", 0.0))
        return metrics

    def should_stop(self, report: Metrics, first: Metrics) -> str | None:
        """Stop where the generator has collapsed; the weights of the report before are kept.

        Raises:
            FloatingPointError: training has diverged.
        """
        adversarial.check_diverged(report, self)
        highest, updates = float(self.highest_diversity), int(self.updates)
        return adversarial.collapsed(report, highest, progress=self.progress, updates=updates)


def cycle_labels(n: int, labels: Sequence[int], device: torch.device) -> Tensor | None:
    """Return n labels, the given ones in turn; (n,), None where there are none."""
    if not labels:
        return None
    return torch.tensor(list(labels), device=device)[torch.arange(n, device=device) % len(labels)]


def mean_metrics(batches: Sequence[tuple[int, Mapping[str, Tensor]]]) -> Metrics:
    """Return the mean over images of the metrics of batches, each given with its number of images."""
    images = sum(size for size, _ in batches)
    return {
        name: sum(size * float(metrics[name]) for size, metrics in batches) / images for name in batches[0][1]
    }
