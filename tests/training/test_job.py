"""A training and its folder: which run is the one asked for, what another process did, what is kept."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers import coin_corpus, write_lines

from seqgen.core import distributed
from seqgen.core.errors import UserError
from seqgen.image.runs import setup as images
from seqgen.training import load, run_folder
from seqgen.training.setup import DataConfig, adversarial, adversarial_job, pretrain, pretrain_job

SMALL = {"generator.embedding": 5, "generator.hidden": 7, "batch_size": 8, "report_every": 2}
GAN = {"discriminator_pretraining_steps": 1, "rollouts": 2, "batch_size": 4, "report_every": 1}


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return coin_corpus(tmp_path / "project/coins.txt")


def job(corpus, **options):
    return pretrain_job(DataConfig(corpus=corpus), values=SMALL, **{"path": "runs/a", "steps": 5} | options)


def contents(folder):
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()
    }


def test_a_process_that_waited_does_not_rewrite_what_another_has_trained(corpus):
    late = job(corpus, seed=3)  # it looks at the folder before there is a run in it
    job(corpus).train()
    before = contents(job(corpus).run.path)
    with pytest.raises(UserError, match="holds a run with seed=0, not 3; choose another --run"):
        late.train()
    assert contents(late.run.path) == before


def test_a_process_that_waited_for_the_same_training_finds_it_done(corpus):
    late = job(corpus, steps=3)
    job(corpus).train()
    before = contents(late.run.path)
    assert late.train().step == 5
    assert contents(late.run.path) == before


def test_a_finished_run_is_left_as_it_is(corpus):
    run = job(corpus).run
    job(corpus).train()
    before = contents(run.path)
    assert job(corpus).train().finished == "done: 5 steps"
    assert contents(run.path) == before


@pytest.mark.parametrize("steps", [0, -1])
def test_a_training_of_no_steps_is_refused(corpus, steps):
    message = f"steps={steps}: the length of training must be at least 1 step"
    with pytest.raises(UserError, match=message):
        job(corpus, steps=steps)
    with pytest.raises(UserError, match=message):
        images.train_job(path="runs/i", steps=steps)


def test_another_seed_or_text_is_named_as_such(corpus, tmp_path):
    job(corpus).train()
    with pytest.raises(UserError, match=r"'runs/a' holds a run with seed=0, not 3; choose another --run$"):
        job(corpus, seed=3)
    other = write_lines(tmp_path / "other.txt", [f"a line {i}" for i in range(60)])
    with pytest.raises(UserError, match="'runs/a' holds a run on another text, or with other held-out"):
        job(other)
    images.train(run="runs/i", steps=1, values={"batch_size": 32})
    with pytest.raises(UserError, match=r"'runs/i' holds a run with seed=0, not 3; choose another --run$"):
        images.train_job(path="runs/i", steps=1, values={"batch_size": 32}, seed=3)


@pytest.mark.parametrize("damaged", [0.5, 7, None, ["word"]])
def test_a_tokenizer_that_is_no_name_is_damage_or_another(corpus, damaged):
    pretrain(corpus, run="runs/source", steps=1, values=SMALL)
    given = {"run": "runs/a", "tokenizer": "runs/source", "values": SMALL}
    folder = pretrain(corpus, steps=1, **given).path
    config = json.loads((folder / "config.json").read_text())
    config["data"]["tokenizer"] = damaged
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"holds a run with data\.tokenizer="):
        pretrain(corpus, steps=3, **given)


def test_the_number_of_threads_is_recorded_and_a_change_is_noted(corpus):
    threads = torch.get_num_threads()
    run = job(corpus).run
    job(corpus).train()
    assert run_folder.open_run(run.path).config["threads"] == threads
    assert not any("CPU threads" in note for note in job(corpus, steps=9).notes)
    torch.set_num_threads(threads + 1)
    try:
        longer, done = job(corpus, steps=9, device_name="cpu"), job(corpus, device_name="cpu")
    finally:
        torch.set_num_threads(threads)
    (note,) = (note for note in longer.notes if "CPU threads" in note)
    assert note.startswith(f"the run was begun with {threads} CPU threads and goes on with {threads + 1}, ")
    assert note.endswith(f"--threads {threads} makes it so")
    assert not any("CPU threads" in note for note in done.notes)  # there is nothing left to do
    assert longer.run.config["threads"] == threads


def test_a_folder_deleted_while_it_is_trained_ends_the_training(corpus):
    def delete(progress, report):
        if progress.step == 3:
            shutil.rmtree("runs/a")

    with pytest.raises(UserError, match="'runs/a' was deleted, moved or replaced while it was being trained"):
        job(corpus).train(delete)
    assert not Path("runs/a").exists()


def test_a_link_in_a_run_is_not_followed_out_of_it(corpus, tmp_path):
    job(corpus, steps=3).train()
    (tmp_path / "precious").mkdir()
    shutil.rmtree("runs/a/samples")
    Path("runs/a/samples").symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match=r"samples' is a link to '.*precious', outside of the run"):
        job(corpus).train()
    assert list((tmp_path / "precious").iterdir()) == []


def moved(tmp_path, monkeypatch):
    """Move the project, and the working folder with it."""
    (tmp_path / "project").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")


def test_a_project_may_move_while_its_run_is_half_trained(corpus, tmp_path, monkeypatch):
    start = pretrain(corpus, run="runs/a", steps=3, values=SMALL)
    adversarial(start, "seqgan", run="runs/gan", steps=2, values=GAN)
    config = run_folder.open_run(Path("runs/gan")).config
    assert (config["data"]["corpus"], config["init"]) == ("../../coins.txt", "../a")
    moved(tmp_path, monkeypatch)
    assert pretrain("coins.txt", run="runs/a", steps=5, values=SMALL).metrics()[-1]["step"] == 5
    again = adversarial(None, "seqgan", run="runs/gan", steps=4, values=GAN)
    assert again.metrics()[-1]["step"] == 5
    again = adversarial("runs/a", "seqgan", run="runs/gan", steps=5, values=GAN)
    assert again.metrics()[-1]["step"] == 6


def test_a_run_to_start_from_may_have_another_name_but_not_be_another(corpus):
    start = pretrain(corpus, run="runs/a", steps=3, values=SMALL)
    adversarial(start, "seqgan", run="runs/gan", steps=2, values=GAN)
    start.path.rename("runs/renamed")
    with pytest.raises(
        UserError, match="/runs/a', the run that 'runs/gan' started from, is not there any more"
    ):
        adversarial_job(None, "seqgan", path="runs/gan", steps=4, values=GAN)
    assert adversarial("runs/renamed", "seqgan", run="runs/gan", steps=4, values=GAN).config["init"] == (
        "../renamed"
    )
    pretrain(corpus, run="runs/b", steps=4, values=SMALL)
    with pytest.raises(UserError, match="'runs/gan' holds a run that started from another run; choose"):
        adversarial_job("runs/b", "seqgan", path="runs/gan", steps=5, values=GAN)


def test_the_text_may_have_another_name(corpus):
    start = pretrain(corpus, run="runs/a", steps=3, values=SMALL)
    Path(corpus).rename("text.txt")
    again = pretrain("text.txt", run="runs/a", steps=5, values=SMALL)
    assert (again.metrics()[-1]["step"], again.config["data"]["corpus"]) == (5, "../../text.txt")
    gan = adversarial(start, "seqgan", corpus="text.txt", run="runs/gan", steps=2, values=GAN)
    assert gan.config["data"]["corpus"] == "../../text.txt"
    with pytest.raises(UserError, match=r"seqgan learns from the corpus of the run .* give --corpus alone"):
        adversarial_job(start, "seqgan", data=DataConfig(corpus="text.txt", min_count=1))


def test_a_tokenizer_may_move_but_not_be_another(corpus, tmp_path):
    source = pretrain(corpus, run="runs/source", steps=1, values=SMALL)
    given = {"run": "runs/a", "values": SMALL}
    pretrain(corpus, tokenizer="runs/source", steps=1, **given)
    source.path.rename("runs/renamed")
    assert pretrain(corpus, tokenizer="runs/renamed", steps=3, **given).metrics()[-1]["step"] == 3
    pretrain(corpus, run="runs/other", tokenizer="character", steps=1, values=SMALL)
    with pytest.raises(UserError, match=r"'runs/a' holds a run with another tokenizer than '.*/runs/other'"):
        pretrain(corpus, tokenizer="runs/other", steps=4, **given)
    with pytest.raises(UserError, match=r"holds a run with data\.tokenizer=\.\./renamed, not word"):
        pretrain(corpus, tokenizer="word", steps=4, **given)


def test_a_run_that_was_stored_with_absolute_paths_goes_on(corpus):
    start = pretrain(corpus, run="runs/a", steps=3, values=SMALL)
    gan = adversarial(start, "seqgan", run="runs/gan", steps=2, values=GAN)
    for run in (start, gan):
        config = run_folder.open_run(run.path).config
        config["data"]["corpus"] = corpus
        if config["init"]:
            config["init"] = str(start.path.resolve())
            del config["init_hash"]
        (run.path / run_folder.CONFIG).write_text(json.dumps(config))
    assert pretrain(corpus, run="runs/a", steps=4, values=SMALL).metrics()[-1]["step"] == 4
    assert adversarial(start, "seqgan", run="runs/gan", steps=3, values=GAN).metrics()[-1]["step"] == 4


def test_held_out_files_are_looked_for_beside_the_corpus(corpus, tmp_path):
    Path("held").mkdir()
    test = write_lines(Path("held/test.txt"), ["heads heads 1000", "tails tails 1001"])
    run = pretrain(corpus, test=test, run=tmp_path / "elsewhere/deep/r", steps=1, values=SMALL)
    assert run.config["data"]["test"] == str((tmp_path / "project/held/test.txt").resolve())
    (tmp_path / "project").rename(tmp_path / "moved")
    again = load.load(run.path, "cpu", corpus=str(tmp_path / "moved/coins.txt"))
    assert list(again.corpus.test) == ["heads heads 1000", "tails tails 1001"]


def test_a_newest_game_does_not_take_the_place_of_the_folder_named(corpus):
    start = pretrain(corpus, run="runs/a", steps=3, values=SMALL)
    first = adversarial(start, "seqgan", run="runs/gan", steps=2, values=GAN)
    weights = (first.path / run_folder.WEIGHTS).read_bytes()
    second = adversarial(None, "seqgan", run="runs/second", steps=3, values=GAN)
    assert (str(second.path), second.config["init"]) == ("runs/second", "../a")
    assert (first.path / run_folder.WEIGHTS).read_bytes() == weights


def test_processes_that_cannot_have_equal_parts_of_a_batch_are_refused(corpus, monkeypatch):
    monkeypatch.setattr(distributed, "count", lambda: 3)
    with pytest.raises(
        UserError, match="batch_size=8 cannot be divided among 3 processes; give --set batch_s"
    ):
        job(corpus)
    monkeypatch.setattr(distributed, "count", lambda: 4)
    job(corpus)
