"""Image models from Python, by the names of `seqgen.image`."""

import subprocess
import sys

import pytest

from seqgen import image


def test_a_model_is_trained_sampled_and_measured(tmp_path):
    values = {"net.hidden": 11, "latent_dim": 3}
    run = image.train("vae", run=tmp_path / "vae", steps=2, values=values)
    trained = image.load(run)
    pictures = trained.model.samples(5)
    assert pictures.shape == (5, *trained.data.shape)
    assert 0 <= pictures.min() <= pictures.max() <= 1
    found = image.evaluate(trained, 20, classifiers=1, importance=7, images=2)
    assert 0 <= found["samples"]["precision"] <= 1


def test_every_public_name_resolves_and_importing_is_light():
    assert set(dir(image)) == set(image.__all__)
    assert all(getattr(image, name) is not None for name in image.__all__)
    with pytest.raises(AttributeError, match=r"module 'seqgen\.image' has no attribute 'trian'"):
        image.trian  # noqa: B018
    code = "import sys, seqgen.image; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
