"""Augmentation: shifted images pixel by pixel, the inputs of the classifier, the images of the model."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from seqgen.core.errors import UserError
from seqgen.image.applications import augmentation
from seqgen.image.data.dataset import ImageData, Images


def shaped(n, seed, classes=3):
    """Images (n, 1, 8, 8): a bright column whose place is the label, in noise."""
    rng = torch.Generator().manual_seed(seed)
    truth = torch.arange(n) % classes
    pixels = torch.randint(0, 90, (n, 1, 8, 8), generator=rng, dtype=torch.uint8)
    pixels[torch.arange(n), 0, :, truth * 3] = 250
    return Images(pixels, truth)


def test_each_image_is_shifted_on_its_own_with_a_black_border():
    torch.manual_seed(0)
    images = torch.rand(41, 2, 28, 5) + 1
    shifted = augmentation.shifted(images)
    seen = set()
    for before, after in zip(images, shifted, strict=True):
        fits = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if torch.equal(after, placed(before, down, right))
        ]
        assert len(fits) == 1
        seen |= set(fits)
    assert {down for down, _ in seen} == {-2, -1, 0, 1, 2}  # 28 // 14 of the height
    assert {right for _, right in seen} == {-1, 0, 1}


def placed(image, down, right):
    """Shift one image, row by row and column by column."""
    shifted = torch.zeros_like(image)
    _, height, width = image.shape
    for y in range(height):
        for x in range(width):
            if 0 <= y + down < height and 0 <= x + right < width:
                shifted[:, y + down, x + right] = image[:, y, x]
    return shifted


def test_small_images_are_shifted_by_a_pixel_at_least():
    torch.manual_seed(0)
    images = torch.ones(50, 1, 8, 8)
    borders = augmentation.shifted(images)[:, 0, :, 0].amin(dim=1)
    assert 0 < (borders == 0).float().mean() < 1


def test_flat_images_keep_their_height():
    torch.manual_seed(0)
    for height, most in ((1, 0), (3, 0), (4, 1), (13, 1)):
        shifted = augmentation.shifted(torch.ones(50, 1, height, 100))
        rows_lit = (shifted[:, 0].amax(dim=2) > 0).sum(dim=1)
        assert int(rows_lit.min()) == height - most
        columns_lit = (shifted[:, 0].amax(dim=1) > 0).sum(dim=1)
        assert int(columns_lit.min()) == 100 - 7


def test_numbers_are_checked_and_test_labels_needed_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(augmentation, "fit", lambda *_, **__: pytest.fail("trained before the check"))
    data = ImageData("shaped", *(shaped(n, seed) for seed, n in enumerate((90, 9, 60))), classes=3, hash="")
    with pytest.raises(UserError, match="600 labels are 200 of each class, and one class has 30"):
        next(augmentation.augment(data, "vae", (12, 600)))
    blind = replace(data, test=Images(data.test.pixels, torch.full((60,), -1)))
    with pytest.raises(UserError, match="no test image of 'shaped' has a label"):
        next(augmentation.augment(blind, "vae", (12,)))


def test_the_classifier_learns_from_images_and_from_as_many_samples(monkeypatch):
    monkeypatch.setattr(augmentation, "STEPS", 3)
    requests = []

    def sample(n, labels):
        requests.append(labels)
        return torch.zeros(n, 1, 8, 8)

    few = shaped(12, seed=0).only([0, 2])
    net = augmentation.classifier(few, 3, SimpleNamespace(sample=sample))
    assert len(requests) == 3
    labels = torch.cat(requests)
    assert labels.shape == (3 * augmentation.BATCH,)
    assert set(labels.tolist()) == {0, 2}  # no sample of a label that none of the images has
    assert not net.training


def test_the_model_sees_the_labelled_few_alone_and_easy_images_are_classified(monkeypatch):
    monkeypatch.setattr(augmentation, "STEPS", 60)
    seen = []
    fit = augmentation.fit

    def watched(model, images, *args, **options):
        seen.append(images)
        return fit(model, images, *args, **options)

    monkeypatch.setattr(augmentation, "fit", watched)
    data = ImageData("shaped", *(shaped(n, seed) for seed, n in enumerate((90, 9, 60))), classes=3, hash="")
    messages = []
    options = {
        "draws": 2,
        "steps": 5,
        "values": {"net.hidden": 7, "latent_dim": 2},
        "notify": messages.append,
    }
    rows = list(augmentation.augment(data, "vae", (12,), **options))
    assert [row.input for row in rows] == list(augmentation.VARIANTS)
    assert [len(images) for images in seen] == [12, 12]
    assert all(torch.bincount(images.labels).tolist() == [4, 4, 4] for images in seen)
    assert all(row.mean > 0.8 for row in rows)
    assert messages[1].startswith("12 labels, draw 2 of 2: images ")
    before = torch.get_rng_state()
    assert list(augmentation.augment(data, "vae", (12,), **options)) == rows
    assert torch.equal(torch.get_rng_state(), before)


def test_the_model_is_conditional_whatever_the_settings_say():
    model = augmentation.fit("vae", shaped(12, 0), 3, steps=1, values={"conditional": False, "net.hidden": 7})
    assert model.config.conditional


def test_the_networks_of_the_model_fit_the_size():
    images = Images(torch.zeros(12, 1, 32, 32, dtype=torch.uint8), torch.arange(12) % 3)
    model = augmentation.fit("vae", images, 3, steps=1, values={"net.hidden": 7})
    assert (model.config.net.kind, model.config.lr) == ("conv", 1e-3)


def test_accuracy_by_hand():
    images = shaped(9, seed=0)
    always_one = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    torch.nn.init.zeros_(always_one[1].weight)
    always_one[1].bias.data = torch.tensor([0.0, 1.0, 0.0])
    assert augmentation.accuracy(always_one, images) == pytest.approx(1 / 3)
