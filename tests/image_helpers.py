"""What the tests of images build and check: small models, pictures, changes of networks."""

import io
from dataclasses import replace

import numpy as np
import pyarrow
import torch
from PIL import Image
from pyarrow import parquet

from seqgen.core import settings
from seqgen.image.data.dataset import Batch, ImageBatches

SHAPE, CLASSES = (2, 9, 11), 3
H, W = 5, 7
"""Height and width of the pictures."""
MODES = torch.tensor([[0.1, 0.9], [0.9, 0.1]])
"""Two pixels of the toy images."""


def build(cls, values=None, *, seed=0, shape=SHAPE, classes=CLASSES):
    """Return a model with settings over its defaults, ready to train."""
    torch.manual_seed(seed)
    config = settings.override(cls.Config(), {"batch_size": 5} | (values or {}))
    if config.epochs is None:
        config = replace(config, epochs=1)
    model = cls(config, shape=shape, classes=classes)
    model.configure()
    return model


def batch(rows=5, *, seed=1, shape=SHAPE, classes=CLASSES):
    """Return random images and labels."""
    rng = torch.Generator().manual_seed(seed)
    return Batch(torch.rand(rows, *shape, generator=rng), torch.randint(classes, (rows,), generator=rng))


def train(model, steps=3, rows=None, *, shape=SHAPE):
    """Train on random batches, and return the metrics of each step."""
    torch.manual_seed(5)
    rows = rows or model.config.read_size
    return [model.step(batch(rows, seed=i, shape=shape), i / steps) for i in range(steps)]


def weights(module):
    """Return a copy of the parameters."""
    return [p.clone() for p in module.parameters()]


def same(module, before):
    """Say whether the parameters are what they were."""
    return all(torch.equal(p, q) for p, q in zip(module.parameters(), before, strict=True))


def train_on_two_modes(cls, values, *, seed=0, steps=300):
    """Return a model trained on images of two pixels, (0.1, 0.9) or (0.9, 0.1), with noise of 0.03."""
    torch.manual_seed(seed)
    model = cls(settings.override(cls.Config(), values), shape=(1, 1, 2), classes=0)
    model.configure()
    for i in range(steps):
        pixels = MODES[torch.randint(2, (64,))] + 0.03 * torch.randn(64, 2)
        model.step(Batch(pixels.view(64, 1, 1, 2), torch.zeros(64)), i / steps)
    return model


def near_the_modes(model):
    """Return the fraction of samples near a mode, and the fraction that is nearer to the first mode."""
    distances = (model.sample(1000).view(1000, 1, 2) - MODES).norm(dim=2)
    near = (distances.min(dim=1).values < 0.15).float().mean()
    first = (distances[:, 0] < distances[:, 1]).float().mean()
    return float(near), float(first)


def train_on_digits(model, data, *, seed, steps=300):
    """Train a model on batches of 64 of the digits."""
    model.configure()
    batches = ImageBatches(data.train, 64, seed=seed)
    for step in range(steps):
        model.step(next(batches), step / steps)


def check_gradient_steps(model, expected, data, *, seed, lr=0.1):
    """Check that a step of gradient descent changes each network by the expected gradients, {name: […]}.

    The step's random draws are those of `seed`. Return its metrics.
    """
    networks = {name: getattr(model, name) for name in expected}
    before = {name: weights(network) for name, network in networks.items()}
    model.optimizers = {
        name: torch.optim.SGD([{"params": list(network.parameters()), "initial_lr": lr}], lr=lr)
        for name, network in networks.items()
    }
    torch.manual_seed(seed)
    metrics = model.step(data, 0.0)
    for name, network in networks.items():
        for now, old, gradient in zip(network.parameters(), before[name], expected[name], strict=True):
            torch.testing.assert_close(now, old - lr * gradient)
    return metrics


def changed_networks(model, before):
    """Return the names of the networks whose parameters differ from those before, {name: […]}."""
    return {name for name, old in before.items() if not same(getattr(model, name), old)}


def pixels(n, channels=1, seed=0):
    """Return random bytes of n pictures; (n, C, H, W)."""
    return np.random.default_rng(seed).integers(0, 256, (n, channels, H, W), np.uint8)


def encoded(array, form="PNG"):
    """Return the bytes of a picture."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format=form)
    return stream.getvalue()


def write_parquet(path, n, *, column="img", channels=3):
    """Write n pictures in the schema of the hub, of the labels 0 to 3 in turn."""
    images = pixels(n, channels, seed=n).transpose(0, 2, 3, 1)
    cells = [{"bytes": encoded(image.squeeze()), "path": None} for image in images]
    parquet.write_table(pyarrow.table({column: cells, "label": [i % 4 for i in range(n)]}), path)
