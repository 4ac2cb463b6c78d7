"""Anomaly scores: areas by hand and against sklearn, distances too, folders, and a label left out."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
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
    (detection,) = scored.detections
    assert (detection.label, detection.anomalous_images) == ("3", int((test.labels == 3).sum()))
    expected = roc_auc_score((test.labels == 3).numpy(), scored.scores)
    assert detection.auroc.value == pytest.approx(expected, abs=1e-6)
    expected = average_precision_score((test.labels == 3).numpy(), scored.scores)
    assert detection.average_precision == pytest.approx(expected, abs=1e-6)
    batch = test.batch(slice(11, 13))
    np.testing.assert_allclose(scored.scores[11:13], without_three.model.score(*batch).numpy(), rtol=1e-4)
    assert [each.label for each in anomaly.score(without_three, anomalous=["5"]).detections] == ["5"]
    with pytest.raises(UserError, match="no image has the label '33'; did you mean '3'"):
        anomaly.score(without_three, anomalous=["33"])


def test_a_folder_of_pictures_is_scored(without_three, tmp_path):
    test = without_three.data.test
    for kind, rows in (("anomalous", [2, 3]), ("normal", [5, 7, 11])):
        for row in rows:
            picture = Image.fromarray(test.pixels[row, 0].numpy())
            plots.save(picture, tmp_path / kind / f"{row}.png")
    scored = anomaly.score(without_three, tmp_path, ["anomalous"])
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
    assert len(scored.detections) == 1
    assert anomaly.score(without_three, tmp_path).detections == []  # no folder is called 3


def test_several_labels_are_detected_together_and_each_by_itself(without_three):
    test, labels = without_three.data.test, ["7", "5"]
    scored = anomaly.score(without_three, anomalous=["7", "5", "7"], normal=["0", "2"])
    assert [each.label for each in scored.detections] == ["7, 5", "7", "5"]
    normal = np.isin(scored.labels, ["0", "2"])
    for each, kinds in zip(scored.detections, (labels, ["7"], ["5"]), strict=True):
        anomalous = np.isin(scored.labels, kinds)  # the other labels are not counted
        rows = normal | anomalous
        expected = roc_auc_score(anomalous[rows], scored.scores[rows])
        assert each.auroc.value == pytest.approx(expected, abs=1e-6)
        assert (each.anomalous_images, each.normal_images) == (anomalous.sum(), normal.sum())
    assert scored.detections[0].normal_images < len(test) / 2
    with pytest.raises(UserError, match="label '5' is given both as --anomalous and as --normal"):
        anomaly.score(without_three, anomalous=["5"], normal=["5"])


def test_all_labels_but_the_normal_ones_are_anomalous(without_three):
    scored = anomaly.score(without_three, normal=["4"])
    assert [each.label for each in scored.detections] == [", ".join("012356789"), *"012356789"]
    normal = np.array(scored.labels) == "4"
    assert scored.detections[0].auroc == anomaly.area(scored.scores, ~normal)


def test_one_kind_of_images_alone_is_scored_and_said(without_three):
    everything = [str(label) for label in range(10)]
    scored = anomaly.score(without_three, anomalous=everything)
    assert scored.detections == []
    assert scored.note.startswith("every image is anomalous, and none normal to compare with")
    assert len(scored.scores) == len(without_three.data.test)
    assert anomaly.score(without_three, normal=everything).note.startswith("every image is normal")


def test_a_threshold_is_a_quantile_of_held_out_normal_images(without_three):
    scored = anomaly.score(without_three, quantile=0.9)
    held_out = anomaly.scores(without_three, without_three.data.valid)
    assert scored.threshold.images == len(held_out)
    assert scored.threshold.value == pytest.approx(np.quantile(held_out, 0.9))
    assert 3 not in without_three.data.valid.labels
    anomalous, called = np.array(scored.labels) == "3", scored.scores > scored.threshold.value
    found = scored.detections[0].at_threshold
    assert found.recall == pytest.approx(called[anomalous].mean())
    assert found.false_positive_rate == pytest.approx(called[~anomalous].mean())
    assert found.f1 == pytest.approx(f1_score(anomalous, called))
    lines = anomaly.summary(scored)
    assert lines[0].startswith(f"threshold: {scored.threshold.value:.4g}, the 0.9 quantile of ")
    assert lines[2].startswith(f"  above the threshold: precision {found.precision:.3f}, recall")
    with pytest.raises(UserError, match="--quantile 1: give a number between 0 and 1"):
        anomaly.score(without_three, quantile=1.0)


def test_a_run_on_some_labels_detects_all_others(tmp_path):
    run = setup.train("vae", run=tmp_path / "r", steps=2, values=SMALL, only=["4", 7], device="cpu")
    assert run.config["without"] == [0, 1, 2, 3, 5, 6, 8, 9]
    trained = load.load(run, "cpu")
    assert trained.data.train.labels.unique().tolist() == [4, 7]
    assert trained.left_out == run.config["without"]
    detection = anomaly.score(trained).detections[0]
    assert detection.label == "0, 1, 2, 3, 5, 6, 8, 9"
    assert detection.normal_images == int(torch.isin(trained.data.test.labels, torch.tensor([4, 7])).sum())
    for options, message in (
        ({"only": ["10"]}, "no label '10'"),
        ({"only": ["1"], "without": ["2"]}, "--only and --without both say which labels to train on"),
    ):
        with pytest.raises(UserError, match=message):
            setup.train_job("vae", path=tmp_path / "s", **options)


def test_several_labels_are_left_out(tmp_path):
    options = {"steps": 2, "values": SMALL, "device": "cpu"}
    run = setup.train("vae", run=tmp_path / "r", without=["7", 2, "2"], **options)
    assert run.config["without"] == [2, 7]
    assert not torch.isin(load.load(run, "cpu").data.train.labels, torch.tensor([2, 7])).any()
    setup.train("vae", run=tmp_path / "r", without=[2, 7], **options)  # the same run
    with pytest.raises(UserError, match=r"holds a run with without=\[2, 7\], not 2"):
        setup.train("vae", run=tmp_path / "r", without=[2], **options)
    with pytest.raises(UserError, match="alone; without it there are no images to train on"):
        setup.train_job("vae", path=tmp_path / "s", without=list(range(10)))


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
    assert row.model == anomaly.score(run).detections[0].auroc
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
