"""Networks and learning rates by the size of the images, and trainings that diverge or collapse."""

import numpy as np
import pytest
import torch
from helpers import Killed, kill_at
from PIL import Image

from seqgen import image
from seqgen.image.runs import load as images
from seqgen.image.runs import setup
from seqgen.training import run_folder


def noise_files(folder, side, *, channels=3, n=23):
    """Write pictures of noise."""
    folder.mkdir()
    for i in range(n):
        pixels = np.random.default_rng(i).integers(0, 256, (side, side, channels), np.uint8)
        Image.fromarray(pixels.squeeze()).save(folder / f"{i}.png")
    return str(folder)


@pytest.mark.parametrize(
    ("name", "nets", "dense"),
    [
        ("vae", ["net"], []),
        ("gan", ["critic", "generator"], []),
        ("aegan", ["critic", "encoder", "generator"], ["latent_critic"]),
    ],
)
def test_networks_are_chosen_by_the_size_of_the_images_and_said(tmp_path, name, nets, dense):
    data = noise_files(tmp_path / "data", 37)
    options = {"path": tmp_path / "r", "steps": 1, "device_name": "cpu"}
    job = setup.train_job(name, data, **options)
    settings = job.run.config["settings"]
    assert [settings[net]["kind"] for net in nets + dense] == ["conv"] * len(nets) + ["dense"] * len(dense)
    assert [(settings[net]["layers"], settings[net]["channels"]) for net in nets] == [(3, 32)] * len(nets)
    changes = ", ".join(f"--set {net}.kind=dense" for net in nets)
    assert job.notes[1] == (
        f"networks: conv, 3 convolutions from 32 channels on, by the size of the images, 37×37 ({changes} to "
        "change that)"
    )
    given = {f"{net}.kind": "dense" for net in nets}
    assert len(setup.train_job(name, data, values=given, **options).notes) == 1
    small = setup.train_job(name, "digits", **options)
    assert small.run.config["settings"][nets[0]]["kind"] == "dense"
    assert "networks: dense, 2 layers, by the size of the images, 8×8" in small.notes[1]


def test_the_learning_rate_follows_the_networks_that_the_size_led_to(tmp_path):
    options = {"path": tmp_path / "r", "steps": 1, "device_name": "cpu"}
    data = noise_files(tmp_path / "data", 37)
    rates = {
        spec: setup.train_job("vae", spec, **options).run.config["settings"]["lr"]
        for spec in (data, "digits")
    }
    assert rates == {data: 1e-3, "digits": 2.5e-3}
    assert setup.train_job("vae", data, values={"lr": 0.3}, **options).run.config["settings"]["lr"] == 0.3


def test_a_run_by_size_resumes_bit_by_bit_and_is_read_back(tmp_path):
    data = noise_files(tmp_path / "data", 33)

    def job(path):
        options = {"values": {"batch_size": 5, "report_every": 2, "latent_dim": 3}, "steps": 5, "seed": 5}
        return setup.train_job("gan", data, path=tmp_path / path, device_name="cpu", **options)

    uninterrupted = job("uninterrupted")
    uninterrupted.train()
    with pytest.raises(Killed):
        job("resumed").train(kill_at(3))
    resumed = job("resumed")
    resumed.train()
    one, other = (run_folder.load_state(each.run)["weights"] for each in (uninterrupted, resumed))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert images.load(tmp_path / "resumed", "cpu").model.sample(2).shape == (2, 3, 33, 33)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("gan", {"lr": 1e6}),
        ("gan", {"lr": 1e6, "critic_lr": 1e6}),
        ("gan", {"lr": 1.0, "critic_lr": 1.0, "gan.loss": "wasserstein"}),
        ("vae-gan", {"lr": 1e6}),
        ("aegan", {"lr": 1e6}),
        ("vae", {"lr": 1e6}),
    ],
)
def test_a_learning_rate_that_is_far_too_high_is_a_divergence(tmp_path, name, values):
    job = setup.train_job(
        name,
        values={"batch_size": 32, "report_every": 20} | values,
        steps=40,
        path=tmp_path,
        device_name="cpu",
    )
    with pytest.raises(FloatingPointError):
        job.train()
    assert run_folder.load_state(job.run)["progress"]["step"] == 0  # what was before it is kept
    assert images.load(tmp_path, "cpu").model.sample(2).isfinite().all()


def test_a_loss_far_above_that_before_the_first_step_is_a_divergence():
    model = image.get("vae").cls(image.get("vae").config(), shape=(1, 5, 7), classes=0)
    first = {"valid_loss": 20.0}
    assert model.should_stop({"valid_loss": 199.0}, first) is None
    for bad in (200.0, float("nan"), float("inf")):
        with pytest.raises(FloatingPointError, match=r"valid_loss is .*, and was 20 before the first step"):
            model.should_stop({"valid_loss": bad}, first)
    assert model.should_stop({"valid_loss": 5.0}, {"valid_loss": -3.0}) is None  # of a density
    assert model.should_stop({}, {}) is None


def test_a_generator_that_never_varied_does_not_end_as_done(tmp_path):
    values = {"batch_size": 32, "report_every": 40, "generator.hidden": 7, "critic.hidden": 7, "lr": 0.0}
    values["generator.normalise"] = "none"  # its running variance would grow
    job = setup.train_job("gan", values=values, steps=600, path=tmp_path, device_name="cpu")
    progress = job.train()
    assert progress.step == 320  # half of training is over, and 300 updates are done
    assert progress.finished.startswith("stopped: the generator has collapsed from the first step on")
