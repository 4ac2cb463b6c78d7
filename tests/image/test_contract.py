"""The contract, held by every image model with each of its `examples`."""

import json
import math
import sys

import pytest
import torch
from helpers import OneDevice
from image_helpers import CLASSES, SHAPE, batch, build, same, train, weights

from seqgen import image
from seqgen.core import device, settings
from seqgen.image.data.dataset import open_images
from seqgen.image.models.base import AdversarialModel
from seqgen.image.networks import adversarial

CLASSES_OF_MODELS = list(dict.fromkeys(entry.cls for entry in image.MODELS.values()))
CASES = [
    pytest.param(entry.cls, settings.flatten(dict(entry.presets)) | example, id=f"{name}-{i}")
    for name, entry in image.MODELS.items()
    for i, example in enumerate(entry.cls.examples)
]


@pytest.mark.parametrize(("cls", "values"), CASES)
def test_metrics_are_finite_and_every_parameter_changes_but_the_idle_ones(cls, values):
    model = build(cls, values)
    before = {name: p.clone() for name, p in model.named_parameters()}
    for metrics in train(model):
        assert all(math.isfinite(float(value)) for value in metrics.values()), metrics
    unchanged = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
    assert all(name.startswith(cls.idle_parameters) for name in unchanged), unchanged
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(("cls", "values"), CASES)
def test_nothing_waits_for_an_accelerator_or_is_float64_on_mps(cls, values, monkeypatch):
    """On torch's meta device a look at a value raises an error, and so does a CPU tensor beside others."""
    monkeypatch.setattr(device, "WITHOUT_FLOAT64", {"meta"})
    model = build(cls, values).to("meta")
    model.configure()
    for i in range(3):
        given = batch(model.config.read_size).to("meta")
        with OneDevice():
            metrics = model.step(given, i / 3)
        assert any(value.is_meta for value in metrics.values() if isinstance(value, torch.Tensor))
    assert model.sample(5).is_meta


@pytest.mark.parametrize("cls", CLASSES_OF_MODELS)
def test_idle_parameters_exist(cls):
    names = [name for name, _ in build(cls, cls.examples[0]).named_parameters()]
    assert all(any(name.startswith(idle) for name in names) for idle in cls.idle_parameters)


@pytest.mark.parametrize(("cls", "values"), CASES)
def test_same_seed_same_weights_and_state_round_trip(cls, values):
    one, two, other = build(cls, values), build(cls, values), build(cls, values, seed=9)
    train(one)
    train(two)
    assert not same(other, weights(one))
    other.load_state_dict(one.state_dict())
    assert same(one, weights(two))
    assert same(other, weights(one))
    rng = [torch.Generator().manual_seed(2) for _ in range(2)]
    assert torch.equal(other.sample(3, rng=rng[0]), one.sample(3, rng=rng[1]))


@pytest.mark.parametrize(("cls", "values"), CASES)
def test_a_report_has_the_monitor_and_does_not_stop_at_once(cls, values):
    model = build(cls, values)
    train(model, steps=1)
    report = model.evaluate([batch(4), batch(3, seed=2)])
    assert all(math.isfinite(value) for value in report.values()), report
    assert model.monitor is None or model.monitor in report
    assert model.should_stop(report, report) is None


@pytest.mark.parametrize("cls", [cls for cls in CLASSES_OF_MODELS if issubclass(cls, AdversarialModel)])
def test_diversity_is_relative_to_all_held_out_images(cls, monkeypatch):
    model = build(cls, cls.examples[0])
    compared = []
    measure = adversarial.diversity
    monkeypatch.setattr(
        adversarial, "diversity", lambda *sets: (compared.append(tuple(map(len, sets))), measure(*sets))[1]
    )
    model.evaluate([batch(4), batch(3, seed=2)])
    assert compared == [(1000, 7)]
    compared.clear()
    large = torch.zeros(2, 3, 64, 64)
    model.measure_diversity(model.sample_to_measure(large), large)
    assert compared == [(250, 2)]  # a quarter of the images of 32 × 32 pixels
    assert len(model.sample_to_measure(torch.zeros(2, 3, 512, 512))) == 64


@pytest.mark.parametrize(("cls", "values"), CASES)
def test_every_metric_is_documented(cls, values):
    model = build(cls, values)
    names = {*train(model, steps=1)[0], *model.evaluate([batch(4)])}
    text = sys.modules[cls.__module__].__doc__
    for name in names:
        known = {name, name.removeprefix("valid_"), name.rsplit("_", 1)[0] + "_…"}
        assert any(f"`{each}`" in text for each in known), name


@pytest.mark.parametrize(("cls", "values"), CASES)
def test_samples_are_images(cls, values):
    model = build(cls, values)
    train(model, steps=1)
    for images in (model.samples(7), model.sample(7, rng=torch.Generator().manual_seed(2))):
        assert images.shape == (7, *SHAPE)
        assert 0 <= images.min() <= images.max() <= 1
    first, again, other = (model.sample(7, rng=torch.Generator().manual_seed(seed)) for seed in (2, 2, 3))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("cls", "values"), CASES)
def test_latents_reconstructions_and_scores(cls, values):
    model = build(cls, values)
    train(model, steps=1)
    images, labels = batch(4)
    assert model.decode(torch.rand(4, model.config.latent_dim), labels).shape == (4, *SHAPE)
    assert model.score(images, labels).shape == (4,)
    if hasattr(model, "encode"):
        latents = model.encode(images, labels)
        assert latents.shape == (4, model.config.latent_dim)
        torch.testing.assert_close(model.decode(latents, labels), model.reconstruct(images, labels))
    if hasattr(model, "log_likelihood"):
        assert model.log_likelihood(images, labels, samples=3).shape == (4,)
    if hasattr(model, "posterior"):
        mean, log_var = model.posterior(images, labels)
        torch.testing.assert_close(mean, latents)
        assert log_var.shape == latents.shape


@pytest.mark.parametrize(("cls", "values"), CASES)
def test_a_conditional_model_depends_on_the_label_and_another_ignores_it(cls, values):
    model = build(cls, values)
    train(model)
    images, labels = batch(4)
    others = (labels + 1) % CLASSES
    results = [
        [model.decode(torch.full((4, model.config.latent_dim), 0.3), each) for each in (labels, others)]
    ]
    results.append([model.score(images, each) for each in (labels, others)])
    if hasattr(model, "encode"):
        results.append([model.encode(images, each) for each in (labels, others)])
    for one, other in results:
        assert torch.equal(one, other) != model.config.conditional
    cycled = model.sample(4, torch.tensor([0, 1, 2, 0]), rng=torch.Generator().manual_seed(2))
    assert torch.equal(model.sample(4, rng=torch.Generator().manual_seed(2)), cycled)


@pytest.mark.parametrize("cls", CLASSES_OF_MODELS)
def test_learning_rates_follow_a_cosine_to_their_floor(cls):
    model = build(cls, cls.examples[0] | {"lr": 0.01})
    floor = model.config.lr_floor
    for progress, factor in ((0.0, 1.0), (0.5, (1 + floor) / 2), (1.0, floor)):
        metrics = model.step(batch(model.config.read_size), progress)
        assert metrics["lr"] == pytest.approx(0.01 * factor, abs=1e-9)
        groups = [group for each in model.optimizers.values() for group in each.param_groups]
        for group in groups:
            assert group["lr"] / group["initial_lr"] == pytest.approx(factor, abs=1e-9)


@pytest.mark.parametrize("cls", CLASSES_OF_MODELS)
def test_a_batch_of_one_image(cls):
    layers = [name for name, *_ in settings.describe(cls.Config) if name.endswith(".normalise")]
    model = build(cls, cls.examples[0] | dict.fromkeys(layers, "none"))
    for metrics in train(model, rows=1):
        assert all(math.isfinite(float(value)) for value in metrics.values()), metrics


@pytest.mark.parametrize("name", image.MODELS)
def test_every_setting_is_documented_and_survives_a_round_trip(name):
    config = image.get(name).config()
    assert all(text for _, _, _, text in settings.describe(type(config)))
    fitted = config.fitted(open_images("digits").train)
    assert settings.from_dict(type(config), json.loads(json.dumps(settings.to_dict(fitted)))) == fitted


@pytest.mark.cuda
@pytest.mark.parametrize(("cls", "values"), CASES)
def test_a_gpu_trains_measures_and_samples(cls, values):
    model = build(cls, values).cuda()
    model.configure()
    on_gpu = batch(model.config.read_size).to("cuda")
    metrics = model.step(on_gpu, 0.0) | model.evaluate([on_gpu])
    assert all(math.isfinite(float(value)) for value in metrics.values())
    assert model.sample(3, rng=torch.Generator("cuda").manual_seed(0)).is_cuda
