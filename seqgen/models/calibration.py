"""Temperature scaling of a vocabulary head (Guo et al. 2017, "On calibration of modern neural networks")."""

import math
from collections.abc import Callable

import torch

from seqgen.models.vocab_head import VocabHead

WIDTH = 0.1
"""Step in the logarithm of the temperature at which the held-out loss is measured."""


@torch.no_grad()
def calibrate(head: VocabHead, loss: Callable[[], float], *, fraction: float) -> float:
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
    losses = []
    for log_temperature in (-WIDTH, 0.0, WIDTH):
        scale.fill_(math.exp(-log_temperature))
        losses.append(loss())
    low, middle, high = losses
    curvature = low - 2 * middle + high
    vertex = WIDTH * (low - high) / (2 * curvature) if curvature > 0 else 0.0
    temperature = math.exp(fraction * min(max(vertex, -2 * WIDTH), 2 * WIDTH))
    scale.fill_(1 / temperature)
    return temperature
