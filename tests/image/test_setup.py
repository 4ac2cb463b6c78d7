"""Runs on images: their files, resuming bit by bit, reading them back, and whose code they may name."""

import json
import shutil

import pytest
import torch
from PIL import Image

from seqgen import image
from seqgen.core.errors import UserError
from seqgen.image.data.dataset import open_images
from seqgen.image.runs import load as images
from seqgen.image.runs import setup
from seqgen.training import load, loop, run_folder
from seqgen.training.data_config import DataConfig
from seqgen.training.setup import pretrain_job

SMALL = {"net.hidden": 11, "latent_dim": 3, "batch_size": 32}


def files_of(made):
    return sorted(path.name for path in made.path.iterdir() if path.name not in (".lock", "tensorboard"))


QUICK = {"batch_size": 32, "report_every": 3}


def kill_at(step):
    class Killed(BaseException):
        pass

    def observe(progress, report):
        if progress.step == step and report is None:
            raise Killed

    return observe, Killed


RESUMED = [*((name, "none") for name in image.MODELS), ("vae", "dynamic")]


@pytest.mark.parametrize(("name", "binarise"), RESUMED)
def test_a_killed_run_resumes_bit_identically(tmp_path, name, binarise):
    def job(path):
        options = {"values": QUICK, "steps": 7, "seed": 5, "device_name": "cpu", "binarise": binarise}
        return setup.train_job(name, "digits", path=tmp_path / path, **options)

    whole = job("whole")
    whole.train()
    observe, killed = kill_at(5)
    with pytest.raises(killed):
        job("cut").train(observe)
    torch.rand(7)  # another process would have another random state
    cut = job("cut")
    cut.train()
    one, other = (run_folder.load_state(each.run)["weights"] for each in (whole, cut))
    assert all(torch.equal(one[key], other[key]) for key in one)
    rows = [
        [{k: v for k, v in row.items() if "second" not in k} for row in each.run.metrics()]
        for each in (whole, cut)
    ]
    assert rows[0] == rows[1]
    assert [row["step"] for row in rows[0]] == [0, 3, 6, 7]
    for path in sorted((whole.run.path / "samples").iterdir()):
        assert path.read_bytes() == (cut.run.path / "samples" / path.name).read_bytes()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "r"
    options = {
        "values": QUICK,
        "steps": 5,
        "seed": 5,
        "binarise": "fixed",
        "without": 4,
        "device_name": "cpu",
    }
    return setup.train("vae", "digits", path=path, **options)


def test_a_run_has_its_files_and_says_what_it_is(made):
    assert files_of(made) == ["config.json", "metrics.jsonl", "model.safetensors", "samples", "state.pt"]
    config = json.loads((made.path / run_folder.CONFIG).read_text())
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
    with Image.open(made.path / "samples/step-0000005.png") as picture:
        assert picture.mode == "L"
    assert all(row["images_per_second"] >= 0 for row in made.metrics())


def test_a_run_is_read_back_with_its_images(made):
    found = images.load(made.path, "cpu")
    kept = run_folder.load_weights(made)
    assert all(torch.equal(value, kept[key]) for key, value in found.model.state_dict().items())
    assert not found.model.training
    assert 4 not in found.data.train.labels
    assert 4 in found.data.test.labels
    assert set(found.data.test.pixels.unique().tolist()) == {0, 255}


def test_images_that_have_changed_are_not_taken_for_the_same(made, monkeypatch):
    found = images.load(made.path, "cpu")
    found.run.config["data_hash"] = "another"
    with pytest.raises(UserError, match="no longer those that run"):
        _ = found.data
    monkeypatch.undo()
    found.run.config["data_hash"] = made.config["data_hash"]


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
def test_another_training_in_the_same_folder_is_refused(made, options, message):
    same = {"seed": 5, "binarise": "fixed", "without": 4, "model": "vae", "values": {}}
    given = same | options
    given["values"] = QUICK | given["values"]
    with pytest.raises(UserError, match=message):
        setup.train_job(given.pop("model"), "digits", path=made.path, steps=5, **given)


def test_a_finished_run_goes_on_where_more_is_asked_for(made, tmp_path):
    folder = tmp_path / "longer"
    shutil.copytree(made.path, folder)
    options = {"values": QUICK, "seed": 5, "binarise": "fixed", "without": 4, "device_name": "cpu"}
    again = setup.train_job("vae", "digits", path=folder, steps=5, **options).train()
    assert again.finished == "done: 5 steps"
    longer = setup.train_job("vae", "digits", path=folder, steps=8, **options)
    assert longer.train().step == 8
    assert run_folder.open_run(folder).config["steps"] == 8


def test_a_run_of_the_other_kind_is_named(made, tmp_path):
    with pytest.raises(UserError, match="is a run on images, not on text; use 'seqgen image sample --run"):
        load.load(made.path)
    run_folder.create(
        tmp_path / "text", {"format": run_folder.FORMAT, "verb": "pretrain", "algorithm": "mle"}
    )
    with pytest.raises(UserError, match="is a run on text, not on images; use 'seqgen sample --run"):
        images.load(tmp_path / "text")


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


def test_a_run_of_foreign_code_needs_the_users_word(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "foreign_images.py").write_text(FOREIGN)
    name = "foreign_images:Mine"
    options = {"values": SMALL, "steps": 2, "device_name": "cpu"}
    monkeypatch.chdir(tmp_path)
    made = setup.train(name, **options)
    assert str(made.path) == "runs/image-Mine-digits"
    with pytest.raises(UserError, match="names code outside seqgen, 'foreign_images:Mine'"):
        images.load(made, "cpu")
    assert type(images.load(made, "cpu", given=name).model).__name__ == "Mine"
    (tmp_path / "foreign_images.py").write_text(FOREIGN + "\n# changed\n")
    with pytest.raises(UserError, match="is not what it was"):
        images.load(made, "cpu", given=name)
    assert images.load(made, "cpu", trust=True).model.sample(2).shape == (2, 1, 8, 8)


def test_the_default_folder_names_model_and_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = setup.train_job("autoencoder", values=QUICK, steps=1, device_name="cpu")
    assert str(job.run.path) == "runs/image-autoencoder-digits"
    assert "1,366 training, 72 validation, 359 test images of 8×8×1" in job.notes[0]
    assert isinstance(job.medium, loop.Medium)
    assert job.medium.count(next(job.batches)) == 32


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
    options = {"values": QUICK, "steps": 4, "device_name": "cuda"}
    made = setup.train(name, "digits", path=tmp_path / "r", **options)
    found = images.load(made, "cpu")
    assert found.model.sample(3).shape == (3, 1, 8, 8)


def test_a_folder_with_another_kind_of_run_is_left_alone(tmp_path):
    made = setup.train("vae", path=tmp_path / "r", steps=2, values=SMALL, device_name="cpu")
    before = (made.path / run_folder.CONFIG).read_bytes()
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(f"{a} and {b}\n" for a in "abcdefg" for b in "hijklm"))
    with pytest.raises(UserError, match="holds a run with verb=image, not pretrain"):
        pretrain_job(DataConfig(corpus=str(lines)), path=made.path, device_name="cpu")
    assert (made.path / run_folder.CONFIG).read_bytes() == before
    assert not (made.path / run_folder.TOKENIZER).exists()
    (made.path / run_folder.CONFIG).unlink()
    with pytest.raises(UserError, match=r"holds state.pt but no config.json; restore it"):
        setup.train("vae", path=made.path, steps=2, values=SMALL, device_name="cpu")
    assert not (made.path / run_folder.CONFIG).exists()


def test_nothing_is_written_before_training_begins(tmp_path):
    options = {"path": tmp_path / "r", "device_name": "cpu"}
    job = setup.train_job("vae", steps=3, values=SMALL, **options)
    assert not (tmp_path / "r").exists()
    job.train()
    with run_folder.locked(tmp_path / "r"), pytest.raises(UserError, match="another process is training"):
        setup.train("vae", steps=9, values=SMALL, **options)
    assert run_folder.open_run(tmp_path / "r").config["steps"] == 3


def test_a_shorter_length_than_was_trained_says_what_was_trained(tmp_path):
    options = {"path": tmp_path / "r", "values": SMALL, "device_name": "cpu"}
    setup.train("vae", steps=5, **options)
    assert setup.train("vae", steps=2, **options).config["steps"] == 5


def test_a_checkpoint_of_another_run_is_said(tmp_path):
    options = {"steps": 3, "device_name": "cpu"}
    one = setup.train("vae", path=tmp_path / "a", values=SMALL, **options)
    setup.train("vae", path=tmp_path / "b", values=SMALL | {"latent_dim": 5}, **options)
    for state in ((tmp_path / "b" / run_folder.STATE).read_bytes(), None):
        if state is None:
            torch.save({"other": 1}, one.path / run_folder.STATE)
        else:
            (one.path / run_folder.STATE).write_bytes(state)
        with pytest.raises(UserError, match=r"state.pt' is no checkpoint of this run"):
            setup.train("vae", path=one.path, values=SMALL, **options)


def test_what_a_model_cannot_learn_from_is_said(tmp_path):
    for name in "abcdefg":
        Image.new("L", (8, 8), 17 * ord(name) % 255).save(tmp_path / f"{name}.png")
    with pytest.raises(UserError, match="has no labels for the model to be conditional on"):
        setup.train_job("vae", str(tmp_path), values={"conditional": True})
    for name in "bcdefg"[: 7 - 3]:
        (tmp_path / f"{name}.png").unlink()
    with pytest.raises(UserError, match=r"batches of one image \(1 for training, batch_size=64\)"):
        setup.train_job("gan", str(tmp_path))
