"""Few labels: balanced draws, inputs scaled alike, accuracies of data that only their latents separate."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from seqgen.core.errors import UserError
from seqgen.image.applications import few_labels
from seqgen.image.data.dataset import ImageData, Images


def noisy_images(n, seed):
    """Images (n, 1, 5, 7) of noise, but for one pixel that depends on the label, 0 to 2."""
    rng = torch.Generator().manual_seed(seed)
    truth = torch.arange(n) % 3
    pixels = torch.randint(0, 256, (n, 1, 5, 7), generator=rng, dtype=torch.uint8)
    pixels[:, 0, 2, 3] = (truth * 9).byte()
    return Images(pixels, truth)


@pytest.fixture
def run():
    """A run whose latents are the pixel that depends on the label, and nothing else."""
    config = SimpleNamespace(conditional=False)
    model = SimpleNamespace(encode=lambda images, _: images[:, :, 2, 3], config=config)
    parts = [noisy_images(n, seed) for seed, n in enumerate((121, 11, 61))]
    data = ImageData("noise", *parts, classes=3, hash="")
    return SimpleNamespace(model=model, data=data, device=torch.device("cpu"))


def test_every_class_has_as_many_labels():
    truth = np.array([4, 0, 0, 7, 4, 7, 0, 4, 7, 4, -1, 0])
    rows = few_labels.labelled(truth, 6, np.random.default_rng(0))
    assert len(set(rows)) == 6
    assert sorted(truth[rows]) == [0, 0, 4, 4, 7, 7]


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (7, "7 labels cannot be divided among 3 classes; give a multiple of 3 from 6 on"),
        (3, "3 labels cannot be divided among 3 classes"),
        (15, "15 labels are 5 of each class, and one class has 4 training images; give at most 12"),
    ],
)
def test_numbers_that_cannot_be_drawn(count, message):
    with pytest.raises(UserError, match=message):
        few_labels.labelled(np.arange(12) % 3, count, np.random.default_rng(0))
    with pytest.raises(UserError, match="the data have no labels"):
        few_labels.labelled(np.full(12, -1), count, np.random.default_rng(0))


def test_inputs_are_scaled_by_one_number():
    train = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]])
    # means 2 and 1; variances 8/3 and 0, whose mean is 4/3
    scaled, held = few_labels._scale(train, np.array([[2.0, 3.0]]))
    np.testing.assert_allclose(scaled, (train - [2, 1]) / (4 / 3) ** 0.5)
    np.testing.assert_allclose(held, [[0.0, 2 / (4 / 3) ** 0.5]])
    same, _ = few_labels._scale(np.ones((3, 2)), np.ones((1, 2)))
    assert (same == 0).all()


def test_latents_that_are_the_label_beat_pixels_that_hide_it(run):
    messages = []
    rows = list(few_labels.few_labels(run, (6, 30), draws=2, notify=messages.append))
    assert [(row.labels, row.input, row.classifier) for row in rows] == [
        (count, source, kind)
        for count in (6, 30)
        for source in ("pixels", "latents")
        for kind in ("neighbours", "logistic", "svm")
    ]
    assert len(messages) == 12
    for row in rows:
        assert len(row.accuracies) == 2
        if row.input == "latents":
            assert row.mean == 1.0
        else:
            assert row.mean < 0.8
    one = ["logistic"]  # the draws depend on the seed and the number alone
    assert list(few_labels.few_labels(run, (30,), draws=2, classifiers=one)) == [rows[7], rows[10]]
    assert list(few_labels.few_labels(run, (30,), draws=2, classifiers=one, seed=1)) != [rows[7], rows[10]]


def test_numbers_are_checked_before_anything_is_encoded(run):
    run.model.encode = None
    rows = few_labels.few_labels(run, (6, 7))
    run.model.encode = lambda *_: pytest.fail("encoded before the check")
    with pytest.raises(UserError, match="7 labels cannot be divided among 3 classes"):
        next(rows)


def test_accuracies_are_of_the_test_images_that_have_a_label(run):
    test = run.data.test
    half = Images(test.pixels, torch.where(torch.arange(61) < 31, test.labels, -1))
    options = {"draws": 1, "classifiers": ["neighbours"]}
    run.data = replace(run.data, test=half)
    assert [row.mean for row in few_labels.few_labels(run, (6,), **options)][1] == 1.0
    run.data = replace(run.data, test=Images(test.pixels, torch.full((61,), -1)))
    with pytest.raises(UserError, match="no test image of 'noise' has a label, so that no accuracy can be"):
        next(few_labels.few_labels(run, (6,), **options))


def test_the_table_has_mean_and_standard_deviation():
    # mean 0.7; deviations ∓0.1 and 0 about it: √(0.02 / 2) = 0.1
    row = few_labels.Accuracies(1000, "latents", "svm", [0.6, 0.7, 0.8])
    assert row.standard_deviation == pytest.approx(0.1)
    assert few_labels.Accuracies(10, "latents", "svm", [0.6]).standard_deviation == 0.0
    head, line = few_labels.table([row])
    assert head.split() == ["labels", "input", "classifier", "accuracy", "%", "sd", "draws"]
    assert line.split() == ["1,000", "latents", "svm", "70.0", "10.0", "3"]
