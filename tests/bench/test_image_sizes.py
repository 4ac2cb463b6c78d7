"""The grid of sizes of images: its pictures, what it says of a training that fails, and its table."""

import json
import math

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from seqgen.bench import image_sizes
from seqgen.bench.image_sizes import ShortTraining
from seqgen.cli.bench import app
from seqgen.core.errors import UserError
from seqgen.image.models.vae import VAE


def test_pictures_are_photographs_or_noise_of_their_size_and_seeded():
    for kind in image_sizes.PICTURES:
        for colour, channels in image_sizes.CHANNELS.items():
            one, again, other = (image_sizes.pictures(kind, colour, 13, 7, seed=seed) for seed in (0, 0, 1))
            assert one.pixels.shape == (7, channels, 13, 13)
            assert torch.equal(one.pixels, again.pixels)
            assert not torch.equal(one.pixels, other.pixels)
    photographs, noise = (
        image_sizes.pictures(kind, "grey", 32, 23).pixels.float() for kind in image_sizes.PICTURES
    )

    def between_neighbours(images):
        steps = (images[..., 1:] - images[..., :-1]).square().mean()
        return float(steps / (2 * images.var()))

    assert between_neighbours(photographs) < 0.3  # neighbours are alike
    assert between_neighbours(noise) == pytest.approx(1, abs=0.05)  # and independent here


def test_grey_photographs_are_the_luma_of_those_in_colour():
    colour, grey = (image_sizes.pictures("photographs", each, 11, 3).pixels for each in ("colour", "grey"))
    weights = np.array([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)
    assert np.array_equal(grey.numpy(), np.rint((colour.numpy() * weights).sum(axis=1, keepdims=True)))


@pytest.mark.parametrize(("model", "metric"), [("vae", "valid_loss"), ("gan", "diversity")])
def test_a_short_training_learns(model, metric):
    images = image_sizes.pictures("photographs", "grey", 8, image_sizes.IMAGES + image_sizes.VALID)
    row = image_sizes.train(model, images, ("photographs", "grey", 8), steps=25)
    assert (row.outcome, row.metric, row.net) == ("trained", metric, "dense")
    assert row.last < 0.9 * row.first if model == "vae" else row.last > 0.1


def test_what_goes_wrong_is_the_outcome(monkeypatch):
    images = image_sizes.pictures("noise", "grey", 8, image_sizes.IMAGES + image_sizes.VALID)

    def outcome():
        row = image_sizes.train("vae", images, ("noise", "grey", 8), steps=5)
        return row.outcome, row.cell, row.as_dict()["last"]

    step = VAE.step

    def diverge(self, batch, progress):
        if progress >= 0.4:
            raise FloatingPointError("the norm is inf")
        return step(self, batch, progress)

    monkeypatch.setattr(VAE, "step", diverge)
    assert outcome() == ("diverged at step 3: the norm is inf", "diverged", None)
    first = iter((100.0, 106.0))
    evaluate = VAE.evaluate
    monkeypatch.setattr(VAE, "step", lambda *_: {"loss": 1.0})
    monkeypatch.setattr(VAE, "evaluate", lambda *_: {"valid_loss": next(first)})
    assert outcome()[:2] == ("worse: the loss is higher than before", "worse")
    first = iter((100.0, 104.0))
    assert outcome()[0] == "trained"
    monkeypatch.setattr(VAE, "evaluate", evaluate)
    monkeypatch.setattr(VAE, "step", lambda *_: {"loss": math.nan})
    assert outcome()[:2] == ("not finite: loss", "not finite")


def test_the_table_has_a_column_for_each_size():
    def row(size, outcome="trained", **others):
        values = {"model": "vae", "metric": "valid_loss", "first": 80.0, "last": 20.0} | others
        return ShortTraining(
            pictures="noise", colour="grey", size=size, net="conv", outcome=outcome, seconds=1.0, **values
        )

    gan = {"model": "gan", "metric": "diversity", "first": 0.0, "last": 0.5}
    rows = [row(64), row(8, "diverged at step 3: inf"), row(8, **gan)]
    lines = image_sizes.table(rows).splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["model", "pictures", "8×8", "64×64"],
        ["gan", "noise", "grey", "diversity", "0.50"],
        ["vae", "noise", "grey", "loss", "diverged", "0.25"],
    ]
    assert lines[-2:] == ["networks: 8×8 conv, 64×64 conv", "3 trainings, 1 failed"]


def test_the_command(monkeypatch):
    monkeypatch.setattr(image_sizes, "IMAGES", 40)
    args = ["images", "--models", "autoencoder", "--sizes", "5,8", "--steps", "3"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0
    assert "8 trainings, 0 failed" in done.stdout
    assert "autoencoder, noise, colour, 8×8: trained" in done.stderr
    report = json.loads(CliRunner().invoke(app, [*args, "--json"]).stdout)
    assert len(report["rows"]) == 8
    some = CliRunner().invoke(app, [*args, "--pictures", "noise", "--colours", "grey", "--json"])
    kinds = {(row["pictures"], row["colour"]) for row in json.loads(some.stdout)["rows"]}
    assert kinds == {("noise", "grey")}
    for wrong, message in (
        (["--models", "vea"], "no model 'vea'"),
        (["--pictures", "noises"], "no kind of pictures 'noises'; did you mean 'noise'"),
        (["--colours", "gray"], "no colour 'gray'; did you mean 'grey'"),
        (["--sizes", "8,x"], "--sizes '8,x': give"),
    ):
        failed = CliRunner().invoke(app, ["images", *wrong])
        assert isinstance(failed.exception, UserError)
        assert message in str(failed.exception)
