"""Anomaly scores: areas by hand and against sklearn, distances too, folders, and a label left out."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from seqgen.core.errors import UserError
from seqgen.image.applications import anomaly
from seqgen.image.runs import load, plots, setup

SMALL = {"net.hidden": 11, "latent_dim": 3, "batch_size": 32}


@pytest.fixture(scope="module")
def without_three(tmp_path_factory):
    """A run that has never seen a 3, hardly trained."""
    folder = tmp_path_factory.mktemp("runs") / "r"
    trained = setup.train("vae", run=folder, steps=5, values=SMALL, without=3, device="cpu")
    return load.load(trained, "cpu")


@pytest.mark.parametrize("is_anomalous", [np.zeros(5, bool), np.ones(5, bool)])
def test_one_kind_alone_has_no_area(is_anomalous):
    with pytest.raises(UserError, match="needs normal and anomalous items"):
        anomaly.area(np.arange(5.0), is_anomalous)


def test_the_error_of_principal_components():
    rng = torch.Generator().manual_seed(0)
    known = torch.randn(53, 7, generator=rng) * torch.tensor([5.0, 4, 3, 2, 1, 1, 1]) + 2
    images = torch.randn(31, 7, generator=rng) * 3
    reference = PCA(3).fit(known.numpy())
    reconstructed = reference.inverse_transform(reference.transform(images.numpy()))
    expected = ((images.numpy() - reconstructed) ** 2).sum(axis=1)
    np.testing.assert_allclose(anomaly.pca_error(known, images, 3).numpy(), expected, rtol=1e-3)


def test_the_test_images_of_a_run_are_scored_and_the_label_left_out_is_anomalous(without_three):
    scored = anomaly.score(without_three)
    test = without_three.data.test
    assert len(scored.names) == len(scored.labels) == len(scored.scores) == len(test)
    assert scored.labels[:7] == [str(label) for label in test.labels[:7].tolist()]
    assert scored.anomalous == "3"
    expected = roc_auc_score((test.labels == 3).numpy(), scored.scores)
    assert scored.auroc.value == pytest.approx(expected, abs=1e-6)
    batch = test.batch(slice(11, 13))
    np.testing.assert_allclose(scored.scores[11:13], without_three.model.score(*batch).numpy(), rtol=1e-4)
    assert anomaly.score(without_three, anomalous="5").anomalous == "5"
    with pytest.raises(UserError, match="no image has the label '33'; did you mean '3'"):
        anomaly.score(without_three, anomalous="33")


def test_a_folder_of_pictures_is_scored(without_three, tmp_path):
    test = without_three.data.test
    for kind, rows in (("anomalous", [2, 3]), ("normal", [5, 7, 11])):
        for row in rows:
            picture = Image.fromarray(test.pixels[row, 0].numpy())
            plots.save(picture, tmp_path / kind / f"{row}.png")
    scored = anomaly.score(without_three, tmp_path, "anomalous")
    assert [name.removeprefix(f"{tmp_path}/") for name in scored.names] == [
        "anomalous/2.png",
        "anomalous/3.png",
        "normal/11.png",
        "normal/5.png",
        "normal/7.png",
    ]
    assert scored.labels == ["anomalous", "anomalous", "normal", "normal", "normal"]
    all_images = anomaly.score(without_three)
    np.testing.assert_allclose(scored.scores, all_images.scores[[2, 3, 11, 5, 7]], rtol=1e-4)
    assert scored.auroc is not None
    assert anomaly.score(without_three, tmp_path).auroc is None  # no folder is called 3


def test_folders_that_do_not_fit(without_three, tmp_path):
    with pytest.raises(UserError, match="no pictures in"):
        anomaly.score(without_three, tmp_path)
    plots.save(Image.new("RGB", (5, 7), "red"), tmp_path / "a.png")
    with pytest.raises(UserError, match="are colour of 5×7 pixels, and run"):
        anomaly.score(without_three, tmp_path)


def test_pictures_are_read_as_those_of_the_run(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(9):
        plots.save(Image.fromarray(rng.integers(0, 256, (13, 7), np.uint8)), tmp_path / f"data/{i}.png")
        grey = Image.fromarray(rng.integers(0, 256, (11, 17), np.uint8))
        plots.save(grey.convert("RGB"), tmp_path / f"new/{i}.png")  # of another size, grey saved in colour
    options = {"values": SMALL, "steps": 2, "device": "cpu", "size": 5}
    setup.train("vae", str(tmp_path / "data"), run=tmp_path / "r", **options)
    assert len(anomaly.score(load.load(tmp_path / "r", "cpu"), tmp_path / "new").scores) == 9


def test_labels_are_left_out_by_their_names(tmp_path, data_of_three_labels):
    for old, new in (("2", "10"), ("1", "2"), ("0", "1")):  # the names 1, 2, 10 of the labels 0, 1, 2
        (data_of_three_labels / old).rename(data_of_three_labels / new)
    options = {"folder": tmp_path / "r", "steps": 2, "values": SMALL, "device_name": "cpu"}
    rows = list(anomaly.left_out("vae", str(data_of_three_labels), **options))
    assert [row.label for row in rows] == ["1", "2", "10"]
    assert 1 not in load.load(tmp_path / "r/without-1", "cpu").data.train.labels


def test_every_label_is_left_out_in_turn(tmp_path, data_of_three_labels):
    messages = []
    options = {"folder": tmp_path / "r", "steps": 4, "values": SMALL, "device_name": "cpu"}
    rows = list(anomaly.left_out("vae", str(data_of_three_labels), notify=messages.append, **options))
    assert [row.label for row in rows] == ["0", "1", "2"]
    assert [line[:9] for line in messages] == ["without 0", "without 1", "without 2"]
    again = list(anomaly.left_out("vae", str(data_of_three_labels), **options))  # nothing is trained again
    assert again == rows
    row = rows[1]
    run = load.load(tmp_path / "r/without-1", "cpu")
    assert (run.data.train.labels != 1).all()
    assert row.model == anomaly.score(run).auroc
    train_images, test_images = (
        split.pixels.flatten(1).float() / 255 for split in (run.data.train, run.data.test)
    )
    anomalous = (run.data.test.labels == 1).numpy()
    error = anomaly.pca_error(train_images, test_images, 3).numpy()
    assert row.pca.value == pytest.approx(roc_auc_score(anomalous, error), abs=1e-6)
    nearest, _ = NearestNeighbors(n_neighbors=1).fit(train_images.numpy()).kneighbors(test_images.numpy())
    assert row.nearest.value == pytest.approx(roc_auc_score(anomalous, nearest[:, 0]), abs=1e-6)
    lines = anomaly.table(rows)
    assert [line.split()[0] for line in lines] == ["label", "0", "1", "2", "mean"]
    assert lines[2].split()[1] == f"{row.model.value:.3f}"
    mean = sum(each.nearest.value for each in rows) / 3
    assert lines[4].split()[3] == f"{mean:.3f}"


@pytest.fixture
def data_of_three_labels(tmp_path):
    """Pictures of three labels, each dark in its own column, 7 × 5 pixels."""
    rng = np.random.default_rng(0)
    for label in range(3):
        for i in range(20):
            pixels = rng.integers(0, 120, (7, 5)).astype(np.uint8)
            pixels[:, label] += 130
            plots.save(Image.fromarray(pixels), tmp_path / "data" / str(label) / f"{i}.png")
    return tmp_path / "data"


def test_a_conditional_model_does_not_get_the_label(tmp_path):
    options = {"values": SMALL | {"conditional": True}, "without": 3, "device": "cpu"}
    run = load.load(setup.train("vae", run=tmp_path / "r", steps=5, **options), "cpu")
    images = run.data.test.rows(torch.arange(31))
    scored_labels = []
    real = run.model.score
    run.model.score = lambda images, labels: (
        scored_labels.append(labels.unique().tolist()) or real(images, labels)
    )
    torch.manual_seed(0)
    scores = anomaly.scores(run, images)
    assert scored_labels == [[label] for label in range(10) if label != 3]
    assert run.run.config["training_labels"] == [label for (label,) in scored_labels]
    run.run.config["training_labels"] = [2, 7]  # as of data whose labels have gaps
    scored_labels.clear()
    anomaly.scores(run, images)
    assert scored_labels == [[2], [7]]
    run.run.config["training_labels"] = [label for label in range(10) if label != 3]
    scored_labels[:] = [[label] for label in run.training_labels]
    torch.manual_seed(0)
    each = [real(images.batch(slice(None)).images, torch.full((31,), label)) for (label,) in scored_labels]
    assert np.allclose(scores, torch.stack(each).amin(dim=0).numpy(), atol=1e-4)
