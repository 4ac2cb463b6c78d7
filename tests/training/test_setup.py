"""From a corpus to a run: code outside the package and its trust, patience, kinds of generators in a run."""

import json
import sys

import pytest
from helpers import coin_corpus

import seqgen
from seqgen.core.errors import UserError
from seqgen.training import load, run_folder
from seqgen.training.setup import adversarial, adversarial_job, pretrain

SMALL = {"generator.embedding": 5, "generator.hidden": 7, "batch_size": 8}
GAN = {"discriminator_pretraining_steps": 1, "rollouts": 2, "batch_size": 4, "report_every": 1}
MODULE = '''"""An algorithm of the user's."""

from seqgen.algorithms.mle import MLE


class Mine(MLE):
    """Maximum likelihood under another name."""
'''
NAME = "algorithm_of_a_test:Mine"


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return coin_corpus(tmp_path / "coins.txt")


@pytest.fixture
def outside(corpus, tmp_path, monkeypatch):
    """A run of an algorithm outside the package, and the file that it is in."""
    path = tmp_path / "code" / "algorithm_of_a_test.py"
    path.parent.mkdir()
    path.write_text(MODULE)
    monkeypatch.setattr(sys, "path", [*sys.path, str(path.parent)])
    yield seqgen.pretrain(corpus, NAME, path="runs/outside", steps=2, values=SMALL), path
    sys.modules.pop("algorithm_of_a_test", None)


def test_an_algorithm_outside_the_package_trains_and_resumes(outside, corpus):
    run, _ = outside
    assert run.config["algorithm"] == NAME
    assert len(run.config["code_hash"]) == 64
    assert (
        seqgen.pretrain(corpus, NAME, path="runs/outside", steps=3, values=SMALL).metrics()[-1]["step"] == 3
    )
    assert seqgen.pretrain(corpus, NAME, steps=1, values=SMALL).path.name == "Mine-coins"


def test_its_run_is_loaded_only_where_the_user_names_or_trusts_the_code(outside):
    run, _ = outside
    with pytest.raises(UserError, match=f"names code outside seqgen, '{NAME}'.*--trust"):
        load.load(run.path, "cpu")
    assert type(load.load(run.path, "cpu", trust=True).algorithm).__name__ == "Mine"
    assert type(load.load(run.path, "cpu", given=NAME).algorithm).__name__ == "Mine"


def test_code_that_has_changed_is_refused_unless_trusted(outside):
    run, path = outside
    path.write_text(MODULE + "\n\nCHANGED = True\n")
    with pytest.raises(UserError, match=f"the code of '{NAME}' is not what it was when .* was trained"):
        load.load(run.path, "cpu", given=NAME)
    assert load.load(run.path, "cpu", trust=True).algorithm


def test_what_starts_from_its_run_needs_trust_too(outside):
    run, _ = outside
    with pytest.raises(UserError, match="names code outside seqgen"):
        adversarial_job(run, path="runs/gan", values=GAN)
    assert adversarial_job(run, path="runs/gan", values=GAN, trust=True).algorithm.generator is not None


def test_a_kind_of_generator_that_is_not_the_packages_is_refused(corpus):
    run = pretrain(corpus, path="runs/a", steps=1, values=SMALL)
    config = json.loads((run.path / run_folder.CONFIG).read_text())
    config["settings"]["generator"]["kind"] = "evil_module:Config"
    (run.path / run_folder.CONFIG).write_text(json.dumps(config))
    with pytest.raises(UserError, match="names code outside seqgen, 'evil_module:Config'"):
        load.load(run.path, "cpu")
    with pytest.raises(UserError, match="cannot import 'evil_module:Config'"):
        load.load(run.path, "cpu", trust=True)


def test_patience_ends_adversarial_training(corpus):
    run = pretrain(corpus, path="runs/a", steps=2, values=SMALL)
    # a generator that does not move has the validation NLL of the first report at every other
    job = adversarial_job(run, path="runs/gan", steps=60, values=GAN | {"lr": 0.0, "patience": 2})
    assert job.algorithm.monitor is None
    progress = job.train()
    assert progress.step == 2
    assert progress.finished.startswith("stopped: valid_nll has not improved on")
    assert progress.finished.endswith("for 2 reports")
    assert adversarial_job(run, path="runs/patient", steps=3, values=GAN | {"lr": 0.0}).train().step == 4


def test_an_adversarial_algorithm_that_needs_no_start_takes_a_corpus(corpus):
    values = {"batch_size": 8, "generator.hidden": 7, "generator.embedding": 5}
    run = adversarial(algorithm="scratchgan", corpus=corpus, path="runs/s", steps=2, values=values)
    assert (run.config["init"], run.config["verb"]) == (None, "adversarial")
    assert run.config["data"]["corpus"] == corpus
    assert load.load(run.path, "cpu").algorithm.generator.vocab_size == run.config["vocab_size"]
    with pytest.raises(UserError, match="scratchgan starts from random weights; leave --init out"):
        adversarial(run, "scratchgan")
    with pytest.raises(UserError, match="seqgan learns from the corpus of the run that it starts from"):
        adversarial(run, "seqgan", corpus=corpus)
    with pytest.raises(UserError, match="no algorithm 'seqgan'"):
        pretrain(corpus, "seqgan")


def test_the_configuration_keeps_what_replays_the_run(corpus):
    run = run_folder.open_run(pretrain(corpus, path="runs/a", steps=1, values=SMALL).path)
    assert run.config["format"] == run_folder.FORMAT
    assert run.config["data"]["corpus"] == corpus
    assert run.config["code_hash"] is None
    assert run.config["settings"]["generator"]["kind"] == "rnn"
    assert "source" not in run.config
