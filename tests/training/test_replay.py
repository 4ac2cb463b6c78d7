"""A run trained again from its configuration."""

import json
import shutil
from pathlib import Path

import pytest
from helpers import coin_corpus

import seqgen
from seqgen.core.errors import UserError
from seqgen.image.runs import replay as image_replay
from seqgen.image.runs import setup
from seqgen.training import run_folder
from seqgen.training.replay import check_is_same, replay_job
from seqgen.training.run_folder import Run, open_run

SMALL = {
    "generator.embedding": 5,
    "generator.hidden": 7,
    "batch_size": 8,
    "report_every": 2,
    "patience": None,
}
GAME = {"discriminator_pretraining_steps": 2, "rollouts": 2, "report_every": 2, "batch_size": 8}


@pytest.fixture
def start(tmp_path: Path) -> Run:
    corpus = coin_corpus(tmp_path / "coins.txt")
    return seqgen.pretrain(corpus, run=tmp_path / "runs" / "start", steps=5, seed=3, values=SMALL)


def alone(run: Run, folder: Path) -> Run:
    """Return what a colleague has been sent: the configuration and nothing else, in a folder beside it."""
    folder.mkdir()
    shutil.copy(run.path / run_folder.CONFIG, folder)
    return open_run(folder)


def weights(run: Run) -> bytes:
    return (run.path / run_folder.WEIGHTS).read_bytes()


def trained(job) -> Run:
    job.train()
    return job.run


def test_it_is_the_same_run_from_the_configuration_alone(start: Run, tmp_path: Path) -> None:
    sent = alone(start, tmp_path / "runs" / "sent")
    again = trained(replay_job(sent, tmp_path / "runs" / "again"))
    assert weights(again) == weights(start)
    kept = ("algorithm", "settings", "corpus_hash", "seed", "steps", "length", "vocab_size")
    assert {key: again.config[key] for key in kept} == {key: start.config[key] for key in kept}


def test_so_is_a_game_with_the_run_that_it_started_from(start: Run, tmp_path: Path) -> None:
    game = seqgen.adversarial(start, "seqgan", run=tmp_path / "runs" / "game", steps=3, values=GAME, seed=7)
    again = trained(replay_job(game, tmp_path / "runs" / "again"))
    assert weights(again) == weights(game)
    assert again.config["settings"] == game.config["settings"]
    assert again.config["seed"] == 7


def test_and_one_on_images(tmp_path: Path) -> None:
    values = {"net.hidden": 11, "latent_dim": 3, "batch_size": 32, "report_every": 2}
    first = setup.train("vae", run=tmp_path / "first", steps=4, seed=5, without=3, values=values)
    again = trained(image_replay.replay_job(first, tmp_path / "again"))
    assert weights(again) == weights(first)
    assert again.config["without"] == 3


@pytest.mark.parametrize("name", ["settings", "data", "binarise", "without", "seed", "steps"])
def test_a_configuration_of_images_without_all_of_it_is_damaged(tmp_path: Path, name: str) -> None:
    first = setup.train("vae", run=tmp_path / "first", steps=1, values={"net.hidden": 11, "latent_dim": 3})
    rest = {key: value for key, value in first.config.items() if key != name}
    with pytest.raises(UserError, match=f"is damaged: it has no {name}"):
        image_replay.replay_job(Run(first.path, rest), tmp_path / "again")


def test_a_text_that_is_another_or_has_moved(start: Run, tmp_path: Path) -> None:
    corpus = tmp_path / "coins.txt"
    moved = tmp_path / "elsewhere.txt"
    shutil.move(corpus, moved)
    with pytest.raises(UserError, match=r"coins\.txt"):
        replay_job(start, tmp_path / "again")
    job = replay_job(start, tmp_path / "again", corpus=str(moved))
    assert job.run.config["corpus_hash"] == start.config["corpus_hash"]
    moved.write_text(moved.read_text() + "one more line\n")
    with pytest.raises(UserError, match="cannot be replayed: this would be a run on another text"):
        replay_job(start, tmp_path / "again", corpus=str(moved))


@pytest.mark.parametrize("key", ["vocab_size", "seed"])
def test_what_would_be_another_run_is_refused(start: Run, tmp_path: Path, key: str) -> None:
    """Another version may choose another tokenizer, and then what comes out is no replay."""
    job = replay_job(start, tmp_path / "again")
    changed = Run(start.path, start.config | {key: start.config[key] + 1})
    with pytest.raises(UserError, match=f"this would be a run with {key}={start.config[key]}, not"):
        check_is_same(changed, job)


def test_sizes_that_are_not_those_of_the_weights_beside_are_refused_before_they_are_allocated(
    start: Run, tmp_path: Path
) -> None:
    """As a run's own loading does: a damaged number would be gigabytes and minutes."""
    huge = 2**40
    enlarged = json.loads(json.dumps(start.config))
    enlarged["settings"]["generator"]["hidden"] = huge
    with pytest.raises(UserError, match=r"does not fit the model of its config\.json"):
        replay_job(Run(start.path, enlarged), tmp_path / "again")
    images = setup.train("vae", run=tmp_path / "images", steps=1, values={"net.hidden": 11, "latent_dim": 3})
    enlarged = json.loads(json.dumps(images.config))
    enlarged["settings"]["latent_dim"] = huge
    with pytest.raises(UserError, match=r"does not fit the model of its config\.json"):
        image_replay.replay_job(Run(images.path, enlarged), tmp_path / "again")


def test_its_own_folder_is_refused(start: Run) -> None:
    with pytest.raises(UserError, match="is the run to replay; give another folder with --run"):
        replay_job(start, start.path)


def test_code_that_a_configuration_names_needs_trust(start: Run, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    code = tmp_path / "mine.py"
    code.write_text(f"open({str(ran)!r}, 'w')\ndef f(s):\n    return [1.0 for _ in s]\n")
    reward = {"reward": f"{code}:f", "reward_weight": 0.5}
    game = seqgen.adversarial(start, "seqgan", run=tmp_path / "runs" / "game", steps=1, values=GAME | reward)
    ran.unlink()
    with pytest.raises(
        UserError, match="code outside seqgen that training runs; look at it, and give --trust"
    ):
        replay_job(game, tmp_path / "again")
    assert not ran.exists()
    assert weights(trained(replay_job(game, tmp_path / "again", trust=True))) == weights(game)
    config = json.loads((game.path / run_folder.CONFIG).read_text())
    (game.path / run_folder.CONFIG).write_text(json.dumps(config | {"algorithm": "antigravity:X"}))
    with pytest.raises(UserError, match="trust"):
        replay_job(open_run(game.path), tmp_path / "third")


def test_a_run_from_before_latents_had_other_paths_keeps_its_own(tmp_path: Path) -> None:
    corpus = coin_corpus(tmp_path / "coins.txt")
    small = SMALL | {"encoder.embedding": 5, "encoder.hidden": 7, "latent_dim": 3}
    folder = tmp_path / "runs" / "old"
    values = small | {"generator.latent_skip": False, "encoder.pooling": "last"}
    seqgen.pretrain(corpus, "sentence-vae", run=folder, steps=3, seed=3, values=values)
    config = json.loads((folder / run_folder.CONFIG).read_text())
    del config["settings"]["generator"]["latent_skip"], config["settings"]["encoder"]["pooling"]
    (folder / run_folder.CONFIG).write_text(json.dumps(config))
    old = open_run(folder)
    before = seqgen.load(folder).algorithm
    assert (before.generator.latent_skip, before.encoder.pooling) == (None, "last")
    assert weights(trained(replay_job(old, tmp_path / "runs" / "again"))) == weights(old)
    asked = small | {"generator.latent_skip": True}
    with pytest.raises(UserError, match=r"with settings\.generator\.latent_skip=False, not True"):
        seqgen.pretrain(corpus, "sentence-vae", run=folder, steps=5, seed=3, values=asked)
    for given, steps in ((values, 5), (small, 7)):  # named or not
        longer = seqgen.pretrain(corpus, "sentence-vae", run=folder, steps=steps, seed=3, values=given)
        assert longer.config["steps"] == steps
        assert longer.config["settings"]["encoder"]["pooling"] == "last"
    fresh = seqgen.pretrain(corpus, "sentence-vae", run=tmp_path / "new", steps=1, values=small)
    now = seqgen.load(fresh.path).algorithm
    assert (now.generator.latent_skip is not None, now.encoder.pooling) == (True, "max")
