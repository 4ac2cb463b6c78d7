"""Evaluation of image runs: every metric of runs on digits, metrics by hand, and their table."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seqgen.image.data.dataset import Batch, Images
from seqgen.image.evaluation import evaluate, features, sample_quality
from seqgen.image.evaluation.features import Features
from seqgen.image.runs import load, setup
from seqgen.image.runs.load import TrainedImages
from seqgen.metrics.disentanglement import mutual_information_gap

VALUES = {"net.hidden": 32, "latent_dim": 5, "lr": 5e-3}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainedImages]:
    """A few epochs of each kind of model on digits."""
    folder = tmp_path_factory.mktemp("runs")
    generated = {}
    for name, values in {"vae": VALUES, "avb": VALUES | {"noise_dim": 2, "critic.hidden": 16}}.items():
        run = setup.train(
            name, "digits", run=folder / name, values=values, epochs=4, binarise="fixed", device="cpu"
        )
        generated[name] = load.load(run, "cpu")
    return generated


@pytest.fixture
def pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare by pixels: no classifier to train."""

    def of_pixels(*_: Any, **__: Any) -> list[Features]:
        return [Features(lambda images: images.flatten(1), "pixels")]

    monkeypatch.setattr(evaluate, "choose", of_pixels)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anneal in few steps: the posteriors are nearly right."""
    monkeypatch.setattr(evaluate, "TEMPERATURES", 30)
    monkeypatch.setattr(evaluate, "LEAPFROGS", 3)


@pytest.mark.usefixtures("pixels", "quick")
def test_a_report_of_each_model(runs: dict[str, TrainedImages]) -> None:
    for name, run in runs.items():
        report = evaluate.evaluate(run, 97, importance=50, images=23, annealed=7 if name == "vae" else None)
        assert json.loads(json.dumps(report)) == report
        likelihoods, again = report["likelihood"], report["annealed"]
        assert likelihoods["images"] == 23
        assert -likelihoods["elbo"] > likelihoods["nll"] > 0
        assert (likelihoods["adversarial_bound"] is None) == (name == "vae")
        assert again["images"] == (7 if name == "vae" else 23)  # of AVB 50, of which 23 are there
        # both estimate one number: importance sampling and annealing agree on the same images
        assert abs(again["difference"]) < 5 * again["difference_standard_error"] + 0.05
        assert again["effective_chains"] > 12
        assert report["latent"]["dimensions"] == 5
        images, labels = run.data.test.batch(slice(None))
        wanted = mutual_information_gap(run.model.encode(images).numpy(), labels[:, None].numpy())
        assert report["latent"]["mutual_information_gap"] == pytest.approx(wanted)
        assert report["protocol"]["n"] == 97
        assert report["protocol"]["features"] == "pixels"
        assert report["samples"].keys() == report["training_images"].keys()
        assert report["samples"]["frechet"] > report["training_images"]["frechet"] > 0
        assert report["nearest"]["images"] == 97
        table = evaluate.render(report)
        assert (
            f"NLL {again['nll']:.3f} ± {again['nll_standard_error']:.3f}, annealed importance sampling"
            in table
        )
        assert f"; mutual information gap of the label {wanted:.3f}" in table
        assert ("adversarial bound" in table) == (name == "avb")
        critic = report["critic"]
        assert (critic is None) == (name == "vae")
        if critic is not None:
            assert critic["kl_least"] < critic["kl_most"]
            line = f"{critic['kl']:.3f} by the critic, {critic['kl_least']:.3f} to {critic['kl_most']:.3f} by"
            assert line in table
        warned = report | {"critic": {"kl": 1.0, "kl_least": 2.0, "kl_most": 3.0, "warning": "weak " * 30}}
        assert "warning: weak weak" in evaluate.render(warned)
        assert max(map(len, evaluate.render(warned).splitlines())) <= 110
        assert max(map(len, table.splitlines())) <= 110


@pytest.mark.parametrize("name", ["vae", "avb"])
def test_bounds_and_likelihood_are_of_the_same_images(runs: dict[str, TrainedImages], name: str) -> None:
    trained = runs[name]

    def likelihoods() -> dict[str, Any]:
        rng = torch.Generator().manual_seed(1)
        torch.manual_seed(2)
        return evaluate._likelihood(trained, 5, 7, rng, lambda message: None)[0] or {}

    first, pixels = likelihoods(), trained.data.test.pixels
    kept = pixels[7:].clone()
    pixels[7:] = 255 - pixels[7:]  # images that no model of digits expects
    assert likelihoods() == first
    pixels[7:] = kept
    images, labels = trained.data.test.batch(slice(0, 7))
    many = trained.model.log_likelihood(images.repeat(301, 1, 1, 1), labels.repeat(301), samples=1)
    # of ten draws of seven images, each about 2 nats from its mean
    assert first["elbo"] == pytest.approx(float(many.mean()), abs=1.5)


@pytest.mark.usefixtures("pixels", "quick")
def test_a_report_follows_its_seed_and_leaves_the_random_state_alone(runs: dict[str, TrainedImages]) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first, again, other = (
        evaluate.evaluate(runs["avb"], 53, seed=seed, importance=5, images=3, annealed=2)
        for seed in (1, 1, 2)
    )
    assert torch.equal(torch.rand(2), expected)
    assert first == again
    assert first["samples"] != other["samples"]
    assert first["annealed"] != other["annealed"]


def test_the_default_features_are_a_classifiers(
    runs: dict[str, TrainedImages], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path))
    monkeypatch.setattr(features, "MAX_EPOCHS", 1)
    messages: list[str] = []
    report = evaluate.evaluate(runs["vae"], 31, importance=2, images=2, notify=messages.append)
    assert report["protocol"]["accuracy"] > 0.3
    assert "classifier of the data" in evaluate.render(report)
    assert [message[:30] for message in messages[:3]] == [
        "training a classifier of 'digi",
        "training classifier 2 of 'digi",
        "training classifier 3 of 'digi",
    ]
    assert report["protocol"]["feature_spaces"] == 3
    by_hand = []
    for i in range(3):
        alone = features.classifier(runs["vae"].data, seed=i)  # from the cache
        by_hand.append(sample_quality.measure(runs["vae"], 31, [alone])["samples"]["frechet"])
    assert len(set(by_hand)) == 3
    assert report["samples"]["frechet"] == pytest.approx(sum(by_hand) / 3)
    assert report["ranges"]["samples"]["frechet"] == pytest.approx([min(by_hand), max(by_hand)])
    assert f"{min(by_hand):.2f}–{max(by_hand):.2f}" in evaluate.render(report)
    assert max(map(len, evaluate.render(report).splitlines())) <= 110
    assert "drawing 31 samples" in messages
    assert report["annealed"] is None


class Square(nn.Module):
    """A model without latents or likelihood, whose samples are the training images that it is given."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.images, self.config = images, None

    def sample(self, n: int, labels: Tensor | None = None, rng: torch.Generator | None = None) -> Tensor:
        return self.images[:n]


@pytest.mark.usefixtures("pixels")
def test_a_model_that_copies_is_caught(runs: dict[str, TrainedImages]) -> None:
    data = runs["vae"].data
    copier = TrainedImages(runs["vae"].run, Square(data.train.batch(slice(None)).images), torch.device("cpu"))
    report = evaluate.evaluate(copier, 59)
    assert (report["likelihood"], report["annealed"], report["latent"]) == (None, None, None)
    assert report["nearest"]["samples"] == 0.0
    assert report["nearest"]["copy_rate"] == 1.0
    assert report["nearest"]["test"] > 1.0
    assert "copies: 100.00% of samples" in evaluate.render(report)
    assert "NLL" not in evaluate.render(report)


def test_copies_are_found_beside_test_images_that_are_training_images() -> None:
    # of 200 test images 4 are training images; the others are 1.00, 1.01, … from one
    of_test = torch.cat([torch.zeros(4), 1 + torch.arange(196) / 100])
    rate = sample_quality.copy_rate
    assert rate(torch.zeros(50), of_test) == 1.0
    # 1 % of 196 distances lie below 1.0195 (the quantile at 0.01 · 195 = 1.95 steps of 0.01)
    assert rate(torch.tensor([0.0, 1.0, 1.019, 1.02, 3.0]), of_test) == pytest.approx(3 / 5)
    assert rate(torch.tensor([0.0, 0.5]), torch.zeros(7)) == 0.5  # no new test image to compare with


@pytest.mark.usefixtures("pixels")
def test_known_test_images_are_said(runs: dict[str, TrainedImages]) -> None:
    data = runs["vae"].data
    test = Images(data.test.pixels.clone(), data.test.labels)
    test.pixels[:40] = data.train.pixels[:40]
    copier = TrainedImages(runs["vae"].run, Square(data.train.batch(slice(None)).images), torch.device("cpu"))
    copier.__dict__["data"] = replace(data, test=test)
    report = evaluate.evaluate(copier, len(test))
    assert report["nearest"]["copy_rate"] == 1.0
    assert report["nearest"]["test_in_training"] == pytest.approx(40 / len(test))
    line = next(line for line in evaluate.render(report).splitlines() if line.startswith("copies"))
    assert line.endswith(f"without {40 / len(test):.2%} of these, which are also training images")


def test_labels_that_are_not_known_are_drawn_from_those_of_training_images() -> None:
    training = torch.tensor([3] * 300 + [7] * 100 + [-1] * 50)
    given = torch.tensor([5, -1] * 1000)
    labels = sample_quality.known_labels(given, training, np.random.default_rng(0))
    assert (labels[::2] == 5).all()
    assert set(labels[1::2].tolist()) == {3, 7}
    assert float((labels[1::2] == 3).float().mean()) == pytest.approx(0.75, abs=0.05)
    assert torch.equal(sample_quality.known_labels(given, training[400:], np.random.default_rng(0)), given)


def test_samples_are_binary_where_the_data_are(runs: dict[str, TrainedImages]) -> None:
    labels = torch.zeros(1201, dtype=torch.long)
    generated = sample_quality.draw_samples(runs["vae"], 1201, labels=labels)
    assert generated.shape == (1201, 1, 8, 8)
    assert set(generated.unique().tolist()) == {0.0, 1.0}
    means = runs["vae"].model.sample(1000, rng=torch.Generator().manual_seed(0))
    assert generated.mean() == pytest.approx(float(means.mean()), rel=1e-2 * 5)


def test_samples_of_a_conditional_model_have_the_labels_of_the_test_images(
    runs: dict[str, TrainedImages],
) -> None:
    given_labels: list[Tensor] = []

    class Conditional(Square):
        def sample(self, n: int, labels: Tensor | None = None, rng: torch.Generator | None = None) -> Tensor:
            assert labels is not None
            given_labels.append(labels)
            return self.images[:n]

    model = Conditional(torch.zeros(1000, 1, 8, 8))
    model.config = SimpleNamespace(conditional=True)
    labels = torch.arange(1009) % 7
    run = TrainedImages(runs["vae"].run, model, torch.device("cpu"))
    sample_quality.draw_samples(run, 1009, labels=labels)
    assert torch.equal(torch.cat(given_labels), labels)


def test_frechet_of_two_gaussians_in_closed_form() -> None:
    # Points ±s on both axes have variance s²/2: of s = 2 and 4 at a distance of 5,
    # 25 + 2 · (4/√2 - 2/√2)² = 25 + 4 = 29
    def cross(s: float, x: float, y: float) -> Tensor:
        return torch.tensor([[s + x, y], [x - s, y], [x, s + y], [x, y - s]], dtype=torch.float32)

    assert sample_quality.compare(cross(2, 0, 0), cross(4, 3, 4))["frechet"] == pytest.approx(29, rel=1e-6)


def test_the_nearest_image_of_a_split() -> None:
    # a pixel of 255 against one of 51 = 0.2: 0.8; the other image has 0.2 twice
    split = Images(
        torch.tensor([[255, 255], [51, 51]], dtype=torch.uint8)[:, None, None, :], torch.tensor([-1, -1])
    )
    distance, row = sample_quality.nearest(torch.tensor([[[[1.0, 0.2]]], [[[0.2, 0.0]]]]), split)
    torch.testing.assert_close(distance, torch.tensor([0.8, 0.2]))
    assert row.tolist() == [0, 1]


def test_the_standard_error_by_hand() -> None:
    # deviation of 1, 2, 3, 6 is √(14 / 3); over √4
    assert evaluate.standard_error(torch.tensor([1.0, 2, 3, 6])) == pytest.approx(math.sqrt(14 / 3) / 2)
    assert evaluate.standard_error(torch.tensor([7.0])) == 0.0


def test_annealing_a_decoder_is_exact_where_the_likelihood_is_known() -> None:
    # x = w z + noise of deviation ½ in three pixels, z of one unit: p(x) = N(0, w wᵀ + I / 4)
    weight = torch.tensor([0.5, -1.0, 0.8])

    class Linear(nn.Module):
        classes = 0
        log_sigma = torch.tensor(0.5).log()

        config = SimpleNamespace(likelihood="gaussian")

        def decoder(self, latents: Tensor, labels: Tensor | None) -> Tensor:
            return (latents * weight)[:, None, None, :]

        def posterior(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            return torch.zeros(len(images), 1), torch.zeros(len(images), 1)

    images = torch.rand(2, 1, 1, 3, generator=torch.Generator().manual_seed(0))
    rng = torch.Generator().manual_seed(1)
    estimate = evaluate.annealed(
        Linear(), Batch(images, torch.tensor([-1, -1])), chains=2003, temperatures=40, leapfrogs=3, rng=rng
    )
    marginal = torch.distributions.MultivariateNormal(
        torch.zeros(3), weight[:, None] @ weight[None] + torch.eye(3) / 4
    )
    torch.testing.assert_close(
        estimate.log_likelihood.float(), marginal.log_prob(images[:, 0, 0]), rtol=1e-2, atol=1e-2
    )


@pytest.mark.cuda
@pytest.mark.usefixtures("pixels", "quick")
def test_a_report_on_a_gpu(runs: dict[str, TrainedImages]) -> None:
    trained = load.load(runs["avb"].run, "cuda")
    report = evaluate.evaluate(trained, 97, importance=50, images=23)
    on_cpu = evaluate.evaluate(runs["avb"], 97, importance=50, images=23)
    assert report["likelihood"]["nll"] == pytest.approx(on_cpu["likelihood"]["nll"], abs=0.3)
    assert report["training_images"] == pytest.approx(on_cpu["training_images"])
