"""Temperature scaling of a vocabulary head (Guo et al. 2017, "On calibration of modern neural networks")."""

import math
from collections.abc import Callable, Sequence

import torch

from seqgen.models.vocab_head import VocabHead

Losses = Callable[[Sequence[float]], Sequence[float]]
"""From scales of a head (reciprocals of temperatures) to the held-out loss at each; it may set the scale."""

WIDTH = 0.1
"""Step in the logarithm of the temperature at which the held-out loss is measured."""


@torch.no_grad()
def calibrate(head: VocabHead, losses: Losses, *, fraction: float) -> float:
    """Divide a head's logits by a temperature between 1 and that of the least held-out loss; return it.

    A network that has seen its training sentences often is overconfident, one under heavy dropout is
    underconfident; a temperature corrects both. The optimum is the vertex of the parabola through the loss at
    the temperatures e^-0.1, 1 and e^0.1, kept within e^-0.2 … e^0.2. The temperature set is the optimum to
    the power of `fraction`: 0 leaves the head as it is, 1 goes all the way.
    """
    scale = head.scale
    scale.fill_(1.0)
    if not fraction:
        return 1.0
    low, middle, high = losses([math.exp(-log_temperature) for log_temperature in (-WIDTH, 0.0, WIDTH)])
    curvature = low - 2 * middle + high
    vertex = WIDTH * (low - high) / (2 * curvature) if curvature > 0 else 0.0
    temperature = math.exp(fraction * min(max(vertex, -2 * WIDTH), 2 * WIDTH))
    scale.fill_(1 / temperature)
    return temperature


def one_by_one(head: VocabHead, loss: Callable[[], float]) -> Losses:
    """Return the losses of a head as it is, measured anew at each scale."""

    def losses(scales: Sequence[float]) -> list[float]:
        found = []
        for scale in scales:
            head.scale.fill_(scale)
            found.append(loss())
        return found

    return losses
