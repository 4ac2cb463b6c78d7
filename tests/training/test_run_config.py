"""What the configuration of a run may say: of any other kind or size it is refused in one line, at once."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import seqgen
from seqgen.core.errors import UserError
from seqgen.image.runs import load as image_load
from seqgen.image.runs import setup as image_setup
from seqgen.training import load, run_folder
from seqgen.training.run_config import LONGEST
from seqgen.training.setup import adversarial_job


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Return a run on text and one on images, of few weights."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "c.txt").write_text("".join(f"a cat sat on mat {n}\n" for n in range(31)), encoding="utf-8")
    values = {"generator.embedding": 5, "generator.hidden": 7}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQGEN_CACHE", str(folder / "cache"))
        seqgen.pretrain(str(folder / "c.txt"), run=folder / "text", steps=2, values=values)
        image_setup.train("vae", run=folder / "image", steps=2, values={"net.hidden": 11, "latent_dim": 3})
    return folder


@pytest.fixture
def text(kept, tmp_path):
    return Path(shutil.copytree(kept / "text", tmp_path / "text"))


@pytest.fixture
def image(kept, tmp_path):
    return Path(shutil.copytree(kept / "image", tmp_path / "image"))


def change(run, changes):
    """Change a run's configuration: values by dotted name, `...` for what is left out."""
    config = json.loads((run / run_folder.CONFIG).read_text(encoding="utf-8"))
    for name, value in changes.items():
        *parts, last = name.split("/")
        inside = config
        for part in parts:
            inside = inside[part]
        if value is ...:
            del inside[last]
        else:
            inside[last] = value
    (run / run_folder.CONFIG).write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": []}, r"it has algorithm=\[\]"),
        ({"verb": "train"}, "it has verb='train', which is none of pretrain"),
        ({"settings": [1]}, r"it has settings=\[1\]"),
        ({"settings": ...}, "it has no settings"),
        ({"data": "scenes"}, "it has data='scenes'"),
        ({"data/corpus": ...}, "its data have corpus=None"),
        ({"data/corpus": 3}, "its data have corpus=3"),
        ({"data/other": 3}, "its data have other=3"),
        ({"data/lowercase": 1}, "its data have lowercase=1"),
        ({"corpus_hash": ...}, "it has no corpus_hash"),
        ({"seed": -1}, "it has seed=-1"),
        ({"seed": 10**30}, "it has seed=10000"),
        ({"seed": True}, "it has seed=True"),
        ({"length": 10**8}, "it has length=100000000"),
        ({"length": 0}, "it has length=0"),
        ({"steps": 10**20}, "it has steps=1000"),
        ({"vocab_size": -3}, "it has vocab_size=-3"),
        ({"sizes/test": "many"}, "it has sizes=.*, and no numbers of sentences"),
        ({"sizes/valid": -1}, "it has sizes="),
        ({"removed/train": None}, "it has removed="),
        ({"settings/generator": {"kind": 3}}, "no kind of generator '3'"),
        ({"settings/generator/hidden": 8}, "does not fit the model of its config.json"),
        ({"settings/generator/hidden": 2**40}, "does not fit the model"),
        ({"settings/generator/layers": 10**7}, "does not fit the model"),
        ({"settings/lr": 1e300}, "setting lr takes a number; got '1e\\+300'"),
    ],
)
def test_a_run_on_text_that_is_not_right_is_refused(text, changes, message):
    change(text, changes)
    started = time.process_time()
    with pytest.raises(UserError, match=message):
        load.load(text)
    with pytest.raises(UserError, match=message):
        adversarial_job(text, "seqgan", path="game")
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": [1, 8]}, r"it has shape=\[1, 8\]"),
        ({"shape": [1, 8, -8]}, r"it has shape=\[1, 8, -8\]"),
        ({"shape": [1, 8, 10**9]}, "it has shape="),
        ({"shape": [1, 8, 9]}, "does not fit the model"),
        ({"classes": 10**9}, "it has classes=1000000000"),
        ({"classes": ...}, "it has no classes"),
        ({"names": [1, 2]}, "the names of its labels are not text"),
        ({"training_labels": ["a"]}, r"it has training_labels=\['a'\]"),
        ({"data": {}}, r"it has data=\{\}"),
        ({"binarise": None}, "it has binarise=None"),
        ({"without": "3"}, "it has without='3'"),
        ({"sizes/test": 0.5}, "it has sizes="),
        ({"without": 99}, "it has without=99, and 10 labels"),
        ({"settings/net": {"layers": 10**7}}, "does not fit the model"),
        ({"settings/latent_dim": 2**40}, "does not fit the model"),
    ],
)
def test_a_run_on_images_that_is_not_right_is_refused(image, changes, message):
    change(image, changes)
    started = time.process_time()
    with pytest.raises(UserError, match=message):
        image_load.load(image)
    assert time.process_time() - started < 2


def test_what_is_right_is_read(text, image):
    assert load.load(text).tokenizer.vocab_size > 4
    assert image_load.load(image).names[3] == "3"
    change(text, {"data/lowercase": ..., "length": LONGEST, "a key of a later version": [1]})
    assert load.load(text).algorithm.length == LONGEST


@pytest.mark.parametrize(
    "content", ["[" * 100_000 + "]" * 100_000, '{"a":' * 100_000, "\x00", '{"a": "\\ud800"}']
)
def test_text_that_is_no_configuration_is_refused(text, content):
    (text / run_folder.CONFIG).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"config.json' is not a seqgen configuration"):
        run_folder.open_run(text)


@pytest.mark.parametrize("name", [run_folder.CONFIG, run_folder.TOKENIZER, run_folder.WEIGHTS])
@pytest.mark.parametrize("kind", ["FIFO", "device"])
def test_a_file_of_a_run_that_never_ends_is_not_read(text, name, kind):
    (text / name).unlink()
    if kind == "FIFO":
        os.mkfifo(text / name)
    else:
        (text / name).symlink_to("/dev/zero")
    with pytest.raises(UserError, match=rf"{name}' is a {kind}, not a regular file"):
        load.load(text)


@pytest.mark.parametrize("name", [run_folder.STATE, run_folder.METRICS])
def test_nor_one_that_a_training_goes_on_from(text, name):
    run = run_folder.open_run(text)
    (text / name).unlink()
    os.mkfifo(text / name)
    with pytest.raises(UserError, match=rf"{name}' is a FIFO, not a regular file"):
        run_folder.load_state(run) if name == run_folder.STATE else run.metrics()


@pytest.mark.parametrize(
    "changes", [{"settings/generator/hidden": 2**20}, {"settings/generator/embedding": 2**22}]
)
def test_nothing_of_the_models_size_is_allocated(text, changes):
    change(text, changes)
    code = (
        "import resource, sys\n"
        "from seqgen.training import load\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    load.load(sys.argv[1])\n"
        "except ValueError as error:\n    assert 'does not fit' in str(error), error\n"
        "assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000\n"
    )
    subprocess.run([sys.executable, "-P", "-c", code, text], check=True, timeout=60)


@pytest.mark.parametrize(
    "settings",
    [
        {"generator": {"kind": "planted:Config"}},
        {"generator.kind": "planted:Config"},
        {"kind": "planted:Config"},
    ],
)
def test_code_that_a_configuration_names_is_not_run_however_it_is_written(
    text, settings, tmp_path, monkeypatch
):
    (tmp_path / "planted.py").write_text("open('planted', 'w').close()\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    change(text, {"settings": settings})
    with pytest.raises(UserError, match="names code outside seqgen, 'planted:Config'"):
        load.load(text)
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize("init", ["text", None])
def test_nor_code_that_the_start_of_a_run_names(text, kept, init, tmp_path, monkeypatch):
    """A game of another hand, asked to go on, names its start, which names code or is missing."""
    game = Path(shutil.copytree(kept / "text", tmp_path / "game"))
    change(game, {"algorithm": "seqgan", "verb": "adversarial", "init": init and str(text)})
    (tmp_path / "planted.py").write_text("open('planted', 'w').close()\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    change(text, {"settings/generator": {"kind": "planted:Config"}})
    message = (
        "names code outside seqgen, 'planted:Config'"
        if init
        else "'None', the run that '.*game' started from, is not there any more"
    )
    with pytest.raises(UserError, match=message):
        adversarial_job(algorithm="seqgan", path=game)
    assert not (tmp_path / "planted").exists()
