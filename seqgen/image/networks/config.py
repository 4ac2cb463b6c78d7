"""How long an image model trains: images a step, passes over the data, reports."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from seqgen.core import settings
from seqgen.image.data.dataset import Images


@dataclass(frozen=True)
class Schedule:
    """The settings that every image model has of its training's length."""

    READ: ClassVar[int]
    """Images read in all, about, where the passes are left open."""
    PASSES: ClassVar[tuple[int, int]]
    """Fewest and most passes then."""

    batch_size: int = 128
    """images a step"""
    epochs: int | None = None
    """passes over the training split; none: by its size"""
    report_every: int | None = None
    """steps between reports; none means an epoch, at most 40 reports"""

    def __post_init__(self) -> None:
        settings.bounds(self, batch_size=(1, None), epochs=(1, None), report_every=(1, None))

    def fitted(self, images: Images) -> Self:
        """Fill in what was left to the number of images."""
        return replace(self, epochs=self.epochs or self.passes(len(images)))

    def passes(self, images: int) -> int:
        """Choose the passes over so many images."""
        fewest, most = self.PASSES
        return min(max(round(self.READ / max(images, 1)), fewest), most)

    @property
    def read_size(self) -> int:
        """Images of a step."""
        return self.batch_size

    def total_steps(self, batches: int) -> int:
        """Length of training in steps; `batches` make an epoch."""
        return (self.epochs or 1) * batches
