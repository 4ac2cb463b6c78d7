"""Runs on images: their files, resuming bit by bit, reading them back, and foreign code."""

import json
import shutil

import pytest
import torch
from helpers import Killed, kill_at
from PIL import Image

from seqgen import image
from seqgen.core.errors import UserError
from seqgen.image.data.dataset import open_images
from seqgen.image.runs import load as images
from seqgen.image.runs import setup
from seqgen.training import load, loop, run_folder, time_budget
from seqgen.training.data_config import DataConfig
from seqgen.training.setup import pretrain_job

SMALL = {"net.hidden": 11, "latent_dim": 3, "batch_size": 32}


def files_of(trained):
    return sorted(path.name for path in trained.path.iterdir() if path.name not in (".lock", "tensorboard"))


QUICK = {"batch_size": 32, "report_every": 3}


RESUMED = [
    *((name, "none", {}) for name in image.MODELS),
    ("vae", "dynamic", {}),
    ("vae", "none", {"optimizer": "sgd", "decoder_lr": 1e-4, "weight_decay": 0.1}),
    ("gan", "none", {"gan.optimizer": "sgd", "gan.beta1": 0.9}),
    ("autoencoder", "none", {"net.kind": "parallel", "net.widths": "13,7"}),
]


@pytest.mark.parametrize(("name", "binarise", "values"), RESUMED)
def test_a_killed_run_resumes_bit_identically(tmp_path, name, binarise, values):
    def job(path):
        options = {
            "values": QUICK | values,
            "steps": 7,
            "seed": 5,
            "device_name": "cpu",
            "binarise": binarise,
        }
        return setup.train_job(name, "digits", path=tmp_path / path, **options)

    uninterrupted = job("uninterrupted")
    uninterrupted.train()
    with pytest.raises(Killed):
        job("resumed").train(kill_at(5))
    torch.rand(7)  # another process would have another random state
    resumed = job("resumed")
    resumed.train()
    one, other = (run_folder.load_state(each.run)["weights"] for each in (uninterrupted, resumed))
    assert all(torch.equal(one[key], other[key]) for key in one)
    rows = [
        [{k: v for k, v in row.items() if "second" not in k} for row in each.run.metrics()]
        for each in (uninterrupted, resumed)
    ]
    assert rows[0] == rows[1]
    assert [row["step"] for row in rows[0]] == [0, 3, 6, 7]
    for path in sorted((uninterrupted.run.path / "samples").iterdir()):
        assert path.read_bytes() == (resumed.run.path / "samples" / path.name).read_bytes()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "r"
    options = {
        "values": QUICK,
        "steps": 5,
        "seed": 5,
        "binarise": "fixed",
        "without": 4,
        "device": "cpu",
    }
    return setup.train("vae", "digits", run=path, **options)


def test_a_run_has_its_files_and_its_configuration_is_complete(trained):
    assert files_of(trained) == ["config.json", "metrics.jsonl", "model.safetensors", "samples", "state.pt"]
    config = json.loads((trained.path / run_folder.CONFIG).read_text())
    expected = {
        "verb": "image",
        "algorithm": "vae",
        "data": "digits",
        "binarise": "fixed",
        "without": 4,
        "seed": 5,
        "steps": 5,
        "shape": [1, 8, 8],
        "classes": 10,
    }
    assert {key: config[key] for key in expected} == expected
    assert config["settings"]["batch_size"] == 32
    with Image.open(trained.path / "samples/step-0000005.png") as picture:
        assert picture.mode == "L"
    assert all(row["images_per_second"] >= 0 for row in trained.metrics())


def test_a_run_is_read_back_with_its_images(trained):
    loaded = images.load(trained.path, "cpu")
    kept = run_folder.load_weights(trained)
    assert all(torch.equal(value, kept[key]) for key, value in loaded.model.state_dict().items())
    assert not loaded.model.training
    assert 4 not in loaded.data.train.labels
    assert 4 in loaded.data.test.labels
    assert set(loaded.data.test.pixels.unique().tolist()) == {0, 255}


def test_images_that_have_changed_are_refused(trained, monkeypatch):
    loaded = images.load(trained.path, "cpu")
    loaded.run.config["data_hash"] = "another"
    with pytest.raises(UserError, match="no longer those that run"):
        _ = loaded.data
    monkeypatch.undo()
    loaded.run.config["data_hash"] = trained.config["data_hash"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 6}, "holds a run with seed=5, not 6"),
        ({"binarise": "none"}, "holds a run with binarise=fixed, not none"),
        ({"without": None}, "holds a run with without=4, not None"),
        ({"values": {"latent_dim": 3}}, r"holds a run with settings\.latent_dim=50, not 3"),
        ({"model": "autoencoder"}, "holds a run with algorithm=vae, not autoencoder"),
    ],
)
def test_another_training_in_the_same_folder_is_refused(trained, options, message):
    same = {"seed": 5, "binarise": "fixed", "without": 4, "model": "vae", "values": {}}
    given = same | options
    given["values"] = QUICK | given["values"]
    with pytest.raises(UserError, match=message):
        setup.train_job(given.pop("model"), "digits", path=trained.path, steps=5, **given)


def test_a_finished_run_continues_where_more_steps_are_given(trained, tmp_path):
    folder = tmp_path / "longer"
    shutil.copytree(trained.path, folder)
    options = {"values": QUICK, "seed": 5, "binarise": "fixed", "without": 4, "device_name": "cpu"}
    again = setup.train_job("vae", "digits", path=folder, steps=5, **options).train()
    assert again.finished == "done: 5 steps"
    longer = setup.train_job("vae", "digits", path=folder, steps=8, **options)
    assert longer.train().step == 8
    assert run_folder.open_run(folder).config["steps"] == 8


def test_a_run_of_the_other_kind_is_named(trained, tmp_path):
    with pytest.raises(
        UserError, match=r"is a run on images, not on text; .* use: seqgen image sample --run"
    ):
        load.load(trained.path)
    run_folder.create(
        tmp_path / "text", {"format": run_folder.FORMAT, "verb": "pretrain", "algorithm": "mle"}
    )
    with pytest.raises(UserError, match=r"is a run on text, not on images; .* use: seqgen sample --run"):
        images.load(tmp_path / "text")


def test_images_that_have_moved_are_found_or_named(tmp_path):
    project = tmp_path / "project"
    for label in "ab":
        (project / "pictures" / label).mkdir(parents=True)
        for i in range(7):
            Image.new("L", (8, 8), 13 * i + ord(label)).save(project / "pictures" / label / f"{i}.png")
    options = {"values": SMALL | {"batch_size": 4}, "device": "cpu"}
    trained = setup.train("vae", str(project / "pictures"), run=project / "runs/r", steps=1, **options)
    assert trained.config["data"] == "../../pictures"
    project.rename(tmp_path / "moved")
    run = tmp_path / "moved/runs/r"
    assert len(images.load(run, "cpu").data.train) > 5
    (tmp_path / "moved/pictures").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"are not there any more; .* say where they are now with --run-data"):
        _ = images.load(run, "cpu").data
    assert len(images.load(run, "cpu", data=str(tmp_path / "elsewhere")).data.train) > 5
    again = setup.train("vae", str(tmp_path / "elsewhere"), run=run, steps=2, **options)
    assert again.metrics()[-1]["step"] == 2


def test_an_unknown_model_or_setting_names_the_nearest(tmp_path):
    with pytest.raises(UserError, match="no algorithm 'vea'; did you mean 'vae'"):
        setup.train_job("vea", path=tmp_path / "r")
    with pytest.raises(UserError, match="no setting 'betta'; did you mean 'beta'"):
        setup.train_job("vae", path=tmp_path / "r", values={"betta": 2})
    assert not (tmp_path / "r").exists()


FOREIGN = """
from seqgen.image.models.vae import VAE


class Mine(VAE):
    pass
"""


def test_a_run_of_foreign_code_must_be_trusted(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "foreign_images.py").write_text(FOREIGN)
    name = "foreign_images:Mine"
    options = {"values": SMALL, "steps": 2, "device": "cpu"}
    monkeypatch.chdir(tmp_path)
    trained = setup.train(name, **options)
    assert str(trained.path) == "runs/image-Mine-digits"
    with pytest.raises(UserError, match="names code outside seqgen, 'foreign_images:Mine'"):
        images.load(trained, "cpu")
    assert type(images.load(trained, "cpu", given=name).model).__name__ == "Mine"
    (tmp_path / "foreign_images.py").write_text(FOREIGN + "\n# changed\n")
    with pytest.raises(UserError, match="is not what it was"):
        images.load(trained, "cpu", given=name)
    assert images.load(trained, "cpu", trust=True).model.sample(2).shape == (2, 1, 8, 8)


def test_the_default_folder_names_model_and_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = setup.train_job("autoencoder", values=QUICK, steps=1, device_name="cpu")
    assert str(job.run.path) == "runs/image-autoencoder-digits"
    assert "1,366 training, 72 validation, 359 test images of 8×8×1" in job.notes[0]
    assert isinstance(job.medium, loop.Medium)
    assert job.medium.count(next(job.batches)) == 32


def write_pictures(folder, *, sizes=((9, 13), (21, 16)), labels="ab", n=11):
    """Write pictures of several sizes, grey but saved in colour, in a folder for each label."""
    for label in labels:
        (folder / label).mkdir(parents=True)
        for i in range(n):
            picture = Image.new("RGB", sizes[i % len(sizes)], (13 * i + ord(label),) * 3)
            picture.save(folder / label / f"{i}.png")
    return folder


def test_how_images_are_read_is_recorded_and_read_back(tmp_path):
    folder = write_pictures(tmp_path / "pictures")
    transparent = Image.new("LA", (9, 13), (70, 0))
    transparent.save(folder / "a/transparent.png")
    options = {"path": tmp_path / "r", "values": SMALL, "steps": 2, "device_name": "cpu"}
    with pytest.raises(UserError, match="give --size N"):
        setup.train_job("vae", str(folder), **options)
    job = setup.train_job("vae", str(folder), size=11, background="black", **options)
    assert "(1 with transparency, laid on black)" in job.notes[0]
    assert "images of 11×11×1" in job.notes[0]
    job.train()
    config = run_folder.open_run(tmp_path / "r").config
    assert (config["size"], config["background"], config["label_column"]) == (11, "black", None)
    assert images.load(tmp_path / "r", "cpu").data.hash == config["data_hash"]
    for other, message in (({"size": 12}, "with size=11, not 12"), ({"size": 11}, "with background=black")):
        with pytest.raises(UserError, match=message):
            setup.train_job("vae", str(folder), **other, **options)


def test_a_run_that_says_nothing_of_a_size_is_one_without(trained, tmp_path):
    folder = tmp_path / "old"
    shutil.copytree(trained.path, folder)
    config = json.loads((folder / run_folder.CONFIG).read_text())
    for name in images.OPTIONS:
        del config[name]
    (folder / run_folder.CONFIG).write_text(json.dumps(config))
    assert images.load(folder, "cpu").data.shape == (1, 8, 8)
    options = {"values": QUICK, "seed": 5, "binarise": "fixed", "without": 4, "device_name": "cpu"}
    assert setup.train_job("vae", "digits", path=folder, steps=6, **options).train().step == 6


def test_a_label_left_out_by_its_name_is_found_again(tmp_path):
    folder = write_pictures(tmp_path / "pictures", sizes=((9, 13),), labels=("0", "2", "1"))
    (folder / "1").rename(folder / "10")
    options = {"values": SMALL, "steps": 2, "device": "cpu"}
    trained = setup.train("vae", str(folder), run=tmp_path / "r", without="2", **options)
    assert trained.config["names"] == ["0", "2", "10"]
    assert trained.config["without"] == 1
    assert set(images.load(tmp_path / "r", "cpu").data.train.labels.tolist()) == {0, 2}
    trained = setup.train("vae", str(folder), run=tmp_path / "s", without="10", **options)
    assert set(images.load(tmp_path / "s", "cpu").data.train.labels.tolist()) == {0, 1}


def test_the_seed_splits_and_a_dynamic_training_batch_is_binary(tmp_path):
    options = {"values": QUICK, "steps": 1, "seed": 5, "device_name": "cpu"}
    job = setup.train_job("vae", path=tmp_path / "r", binarise="dynamic", **options)
    expected = open_images("digits", seed=5, binarise="dynamic").valid.batch(slice(None)).images
    assert torch.equal(torch.cat([batch.images for batch in job.validation]), expected)
    assert set(next(job.batches).images.unique().tolist()) == {0.0, 1.0}


def test_reports_are_at_most_forty_or_an_epoch_apart(tmp_path):
    options = {"path": tmp_path / "r", "values": {"batch_size": 100}, "device_name": "cpu"}
    # 13 batches make an epoch; 1,000 steps in 40 reports
    assert setup.train_job("vae", steps=1000, **options).plan.report_every == 25
    options["path"] = tmp_path / "s"
    assert setup.train_job("vae", steps=130, **options).plan.report_every == 13


@pytest.mark.cuda
@pytest.mark.parametrize("name", image.MODELS)
def test_every_model_trains_on_a_gpu_and_is_read_on_the_cpu(tmp_path, name):
    options = {"values": QUICK, "steps": 4, "device": "cuda"}
    trained = setup.train(name, "digits", run=tmp_path / "r", **options)
    loaded = images.load(trained, "cpu")
    assert loaded.model.sample(3).shape == (3, 1, 8, 8)


def test_a_folder_with_another_kind_of_run_is_left_alone(tmp_path):
    trained = setup.train("vae", run=tmp_path / "r", steps=2, values=SMALL, device="cpu")
    before = (trained.path / run_folder.CONFIG).read_bytes()
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(f"{a} and {b}\n" for a in "abcdefg" for b in "hijklm"))
    with pytest.raises(UserError, match="holds a run with verb=image, not pretrain"):
        pretrain_job(DataConfig(corpus=str(lines)), path=trained.path, device_name="cpu")
    assert (trained.path / run_folder.CONFIG).read_bytes() == before
    assert not (trained.path / run_folder.TOKENIZER).exists()
    (trained.path / run_folder.CONFIG).unlink()
    with pytest.raises(UserError, match=r"holds state.pt but no config.json; restore it"):
        setup.train("vae", run=trained.path, steps=2, values=SMALL, device="cpu")
    assert not (trained.path / run_folder.CONFIG).exists()


def test_nothing_is_written_before_training_begins(tmp_path):
    job = setup.train_job("vae", steps=3, values=SMALL, path=tmp_path / "r", device_name="cpu")
    assert not (tmp_path / "r").exists()
    job.train()
    with run_folder.locked(tmp_path / "r"), pytest.raises(UserError, match="another process is training"):
        setup.train("vae", steps=9, values=SMALL, run=tmp_path / "r", device="cpu")
    assert run_folder.open_run(tmp_path / "r").config["steps"] == 3


def test_a_shorter_length_than_was_trained_changes_nothing(tmp_path):
    options = {"run": tmp_path / "r", "values": SMALL, "device": "cpu"}
    setup.train("vae", steps=5, **options)
    assert setup.train("vae", steps=2, **options).config["steps"] == 5


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    options = {"steps": 3, "device": "cpu"}
    one = setup.train("vae", run=tmp_path / "a", values=SMALL, **options)
    setup.train("vae", run=tmp_path / "b", values=SMALL | {"latent_dim": 5}, **options)
    for state in ((tmp_path / "b" / run_folder.STATE).read_bytes(), None):
        if state is None:
            torch.save({"other": 1}, one.path / run_folder.STATE)
        else:
            (one.path / run_folder.STATE).write_bytes(state)
        with pytest.raises(UserError, match=r"state.pt' is no checkpoint of this run"):
            setup.train("vae", run=one.path, values=SMALL, **options)


def test_images_that_a_model_cannot_learn_from_are_refused(tmp_path):
    for name in "abcdefg":
        Image.new("L", (8, 8), 17 * ord(name) % 255).save(tmp_path / f"{name}.png")
    with pytest.raises(UserError, match="has no labels for the model to be conditional on"):
        setup.train_job("vae", str(tmp_path), values={"conditional": True})
    for name in "bcdefg"[: 7 - 3]:
        (tmp_path / f"{name}.png").unlink()
    with pytest.raises(UserError, match=r"batches of one image \(1 for training, batch_size=64\)"):
        setup.train_job("gan", str(tmp_path))


def test_a_length_in_minutes_fixes_the_steps_and_resumes(tmp_path, monkeypatch):
    # two reports of 1 s, and of 28 s steps of 0.5 s with a report of 1 s every 8: (30 - 2) / (0.5 + 1 / 8)
    monkeypatch.setattr(time_budget, "measure", lambda *args, **options: time_budget.Timing(0.5, 1.0))
    options = {"values": SMALL | {"report_every": 8}, "device_name": "cpu"}
    job = setup.train_job(path=tmp_path / "run", minutes=0.5, **options)
    assert job.plan.steps == 44
    assert job.notes[-1] == "--minutes 0.5: 44 steps, as a step takes 0.5 s here and a report 1 s"
    with pytest.raises(Killed):
        job.train(kill_at(9))
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert (config["minutes"], config["steps"]) == (0.5, 44)
    monkeypatch.setattr(time_budget, "measure", lambda: None)  # what resumes measures nothing
    assert setup.train_job(path=tmp_path / "run", minutes=0.5, **options).plan.steps == 44
    with pytest.raises(UserError, match=r"holds a run with --minutes 0\.5, not --minutes 2"):
        setup.train_job(path=tmp_path / "run", minutes=2, **options)
    for given in ({"steps": 3}, {"epochs": 3}, {"values": {"epochs": 3}}):
        with pytest.raises(UserError, match="both say how long to train"):
            setup.train_job(path=tmp_path / "other", minutes=1, **given)
    with pytest.raises(UserError, match="--steps 3 and --epochs 2 both say how long to train"):
        setup.train_job(path=tmp_path / "other", steps=3, epochs=2)


def test_a_training_starts_from_the_networks_of_a_run_that_fit(tmp_path):
    first = setup.train("vae", run=tmp_path / "first", steps=3, values=SMALL, device="cpu")
    options = {"init": tmp_path / "first", "device_name": "cpu", "steps": 7}
    frozen = SMALL | {"decoder_lr": 0.0, "report_every": 3}
    job = setup.train_job(path=tmp_path / "second", values=frozen, **options)
    assert job.notes[-1] == f"start: encoder, decoder of run '{tmp_path / 'first'}'"
    before = images.load(first, "cpu").model
    for network in ("encoder", "decoder"):
        for name, weight in before.get_submodule(network).state_dict().items():
            assert torch.equal(job.algorithm.get_submodule(network).state_dict()[name], weight)
    with pytest.raises(Killed):
        job.train(kill_at(5))
    resumed = setup.train_job(path=tmp_path / "second", values=frozen, **options)
    resumed.train()
    whole = setup.train_job(path=tmp_path / "whole", values=frozen, **options)
    whole.train()
    ours, wanted = (each.algorithm.state_dict() for each in (resumed, whole))
    assert all(torch.equal(ours[name], wanted[name]) for name in wanted)
    decoder = before.decoder.state_dict()
    assert all(torch.equal(ours[f"decoder.{name}"], weight) for name, weight in decoder.items())
    assert not torch.equal(ours["encoder.head.weight"], before.encoder.head.weight)
    # of an autoencoder the encoder has one number a dimension, and of a VAE two
    other = setup.train_job("autoencoder", path=tmp_path / "third", values=SMALL, **options)
    assert other.notes[-1].startswith("start: decoder of run")
    with pytest.raises(UserError, match=r"no network of run .* \(vae\) fits the one to train"):
        setup.train_job(
            path=tmp_path / "fourth", values=SMALL | {"latent_dim": 5, "net.hidden": 7}, **options
        )
    with pytest.raises(UserError, match="holds a run that started from another run"):
        setup.train_job(path=tmp_path / "second", values=frozen, device_name="cpu", steps=7)


def test_samples_of_a_conditional_run_have_a_column_for_each_label_trained_on(tmp_path):
    values = SMALL | {"conditional": True, "report_every": 2}
    run = setup.train("vae", "digits", run=tmp_path / "r", steps=2, values=values, without=[3, 4])
    with Image.open(run.path / "samples/step-0000002.png") as grid:
        assert grid.width == 8 * (8 * 8) + 7 * 8  # 8 labels, 8 pixels a pixel, one pixel between
        assert grid.crop((0, 0, grid.width, 30)).getextrema()[0] < 100  # headings
    model = images.load(run, "cpu").model
    assert list(model.drawn_labels) == [0, 1, 2, 5, 6, 7, 8, 9]
    noise = torch.randn(11, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 5, 6, 7, 8, 9, 0, 1, 2])
    drawn = model.sample(11, rng=torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn, model.decode(noise, labels))
