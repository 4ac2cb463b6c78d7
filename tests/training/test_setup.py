"""From a corpus to a run: code outside the package and its trust, patience, kinds of generators in a run."""

import json
import sys

import pytest
import torch
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
    yield seqgen.pretrain(corpus, NAME, run="runs/outside", steps=2, values=SMALL), path
    sys.modules.pop("algorithm_of_a_test", None)


def test_an_algorithm_outside_the_package_trains_and_resumes(outside, corpus):
    run, _ = outside
    assert run.config["algorithm"] == NAME
    assert len(run.config["code_hash"]) == 64
    assert seqgen.pretrain(corpus, NAME, run="runs/outside", steps=3, values=SMALL).metrics()[-1]["step"] == 3
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
        adversarial_job(run, "seqgan", path="runs/gan", values=GAN)
    assert (
        adversarial_job(run, "seqgan", path="runs/gan", values=GAN, trust=True).algorithm.generator
        is not None
    )


def test_a_kind_of_generator_that_is_not_the_packages_is_refused(corpus):
    run = pretrain(corpus, run="runs/a", steps=1, values=SMALL)
    config = json.loads((run.path / run_folder.CONFIG).read_text())
    config["settings"]["generator"]["kind"] = "evil_module:Config"
    (run.path / run_folder.CONFIG).write_text(json.dumps(config))
    with pytest.raises(UserError, match="names code outside seqgen, 'evil_module:Config'"):
        load.load(run.path, "cpu")
    with pytest.raises(UserError, match="cannot import 'evil_module:Config'"):
        load.load(run.path, "cpu", trust=True)


def test_patience_ends_adversarial_training(corpus):
    run = pretrain(corpus, run="runs/a", steps=2, values=SMALL)
    # a generator that does not move has the validation NLL of the first report at every other
    job = adversarial_job(run, "seqgan", path="runs/gan", steps=60, values=GAN | {"lr": 0.0, "patience": 2})
    assert job.algorithm.monitor is None
    progress = job.train()
    assert progress.step == 2
    assert progress.finished.startswith("stopped: valid_nll has not improved on")
    assert progress.finished.endswith("for 2 reports")
    assert (
        adversarial_job(run, "seqgan", path="runs/patient", steps=3, values=GAN | {"lr": 0.0}).train().step
        == 4
    )


def test_an_adversarial_algorithm_that_needs_no_start_takes_a_corpus(corpus):
    values = {"batch_size": 8, "generator.hidden": 7, "generator.embedding": 5}
    run = adversarial(algorithm="scratchgan", corpus=corpus, run="runs/s", steps=2, values=values)
    assert (run.config["init"], run.config["verb"]) == (None, "adversarial")
    assert run.config["data"]["corpus"] == "../../coins.txt"
    assert load.load(run.path, "cpu").algorithm.generator.vocab_size == run.config["vocab_size"]
    with pytest.raises(UserError, match="scratchgan starts from random weights; leave --init out"):
        adversarial(run, "scratchgan")
    with pytest.raises(UserError, match="seqgan learns from the corpus of the run that it starts from"):
        adversarial(run, "seqgan", corpus=corpus, min_count=3)
    with pytest.raises(UserError, match="give 'seqgen adversarial seqgan'"):
        pretrain(corpus, "seqgan")


def test_the_configuration_keeps_what_replays_the_run(corpus):
    run = run_folder.open_run(pretrain(corpus, run="runs/a", steps=1, values=SMALL).path)
    assert run.config["format"] == run_folder.FORMAT
    assert run.config["data"]["corpus"] == "../../coins.txt"
    assert run.config["code_hash"] is None
    assert run.config["settings"]["generator"]["kind"] == "rnn"
    assert "source" not in run.config


def test_a_setting_that_a_run_does_not_know_has_its_default(corpus):
    run = pretrain(corpus, run="runs/a", steps=2, values=SMALL)
    path = run.path / "config.json"
    config = json.loads(path.read_text())
    # As a run that was written before these settings existed: their defaults reproduce what it did.
    del config["settings"]["contrastive"], config["settings"]["generator"]["attention"]
    path.write_text(json.dumps(config))
    assert pretrain(corpus, run="runs/a", steps=3, values=SMALL).metrics()[-1]["step"] == 3
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"holds a run with settings\.generator\.attention=False, not True"):
        pretrain(corpus, run="runs/a", steps=3, values=SMALL | {"generator.attention": True})


def test_a_run_goes_on_with_the_regularisation_that_it_was_begun_with(corpus):
    run = pretrain(corpus, run="runs/whole", steps=1, values=SMALL)
    path = run.path / run_folder.CONFIG
    config = json.loads(path.read_text())
    filled_in = config["settings"]["generator"]["dropout"], config["settings"]["weight_decay"]
    config["settings"]["generator"]["dropout"], config["settings"]["weight_decay"] = 0.45, 0.07
    path.write_text(json.dumps(config))  # as an earlier rule would have it
    assert filled_in != (0.45, 0.07)
    resumed = pretrain(corpus, run="runs/whole", steps=2, values=SMALL)
    assert resumed.config["settings"]["generator"]["dropout"] == 0.45
    assert resumed.config["settings"]["weight_decay"] == 0.07
    assert load.load(resumed, "cpu").algorithm.generator.dropout.p == 0.45
    assert pretrain(corpus, run="runs/whole", steps=2, values=SMALL | {"weight_decay": 0.07}).path == run.path
    with pytest.raises(
        UserError, match=r"with settings.generator.dropout=0.45, not 0.1; choose another --run"
    ):
        pretrain(corpus, run="runs/whole", steps=2, values=SMALL | {"generator.dropout": 0.1})
    for damage in ({}, {"settings": []}, {"settings": {"generator": 3}}):
        rest = {key: value for key, value in config.items() if key != "settings"}
        path.write_text(json.dumps(rest | damage))
        with pytest.raises(UserError, match="settings"):
            pretrain(corpus, run="runs/whole", steps=2, values=SMALL)
    path.write_text(json.dumps(config))
    # its length is the one setting that may change
    assert resumed.config["settings"]["epochs"] == config["settings"]["epochs"]
    assert pretrain(corpus, run="runs/whole", epochs=1, values=SMALL).config["settings"]["epochs"] == 1
    assert pretrain(corpus, run="runs/whole", steps=2, values=SMALL).config["settings"]["epochs"] == 25


def test_a_setting_that_is_filled_in_is_as_before_where_a_run_does_not_know_it(corpus):
    values = SMALL | {"encoder.embedding": 5, "encoder.hidden": 7, "latent_dim": 3}
    old = {"generator.latent_skip": False, "encoder.pooling": "last"}
    run = pretrain(corpus, "sentence-vae", run="runs/cut", steps=2, values=values | old)
    path = run.path / "config.json"
    config = json.loads(path.read_text())
    del config["settings"]["generator"]["latent_skip"], config["settings"]["encoder"]["pooling"]
    path.write_text(json.dumps(config))
    resumed = pretrain(corpus, "sentence-vae", run="runs/cut", steps=3, values=values)
    assert resumed.metrics()[-1]["step"] == 3
    assert load.load(resumed, "cpu").algorithm.generator.latent_skip is None
    assert load.load(resumed, "cpu").algorithm.encoder.pooling == "last"


def test_the_generators_learning_rate_does_not_depend_on_the_discriminators_pretraining(corpus):
    run = pretrain(corpus, run="runs/a", steps=1, values=SMALL)
    rates = {}
    for steps in (1, 13):
        values = GAN | {"discriminator_pretraining_steps": steps, "warmup": 0.5, "lr": 0.1}
        job = adversarial_job(run, "seqgan", path=f"runs/gan-{steps}", steps=5, values=values)
        rates[steps] = []
        optimizer = job.algorithm.optimizers["generator"]
        job.train(lambda progress, row, seen=rates[steps], o=optimizer: seen.append(o.param_groups[0]["lr"]))
    # Five updates at 0, 1/5, 2/5, 3/5 and 4/5 of its training: rising up to ½, then a cosine to a tenth.
    expected = [0.1 * each for each in (0.001, 0.4, 0.8, 0.914058, 0.410942)]
    assert rates[1][-5:] == pytest.approx(expected, rel=1e-4)
    assert rates[13][-5:] == pytest.approx(expected, rel=1e-4)


def test_without_teacher_forcing_no_likelihood_is_reported(corpus):
    run = pretrain(corpus, run="runs/a", steps=1, values=SMALL)
    rows = adversarial(
        run, "seqgan", run="runs/gan", steps=2, values=GAN | {"teacher_forcing": 0.0}
    ).metrics()
    assert "reward" in rows[-1]
    assert all("nll" not in row for row in rows)
    rows = adversarial(run, "seqgan", run="runs/forced", steps=2, values=GAN).metrics()
    assert rows[-1]["nll"] > 0


def test_a_constant_reward_is_reported_as_it_is(corpus):
    run = pretrain(corpus, run="runs/a", steps=1, values=SMALL)
    values = GAN | {"reward": "constant", "report_every": 2, "discriminator_pretraining_steps": 3}
    rows = adversarial(run, "seqgan", run="runs/gan", steps=3, values=values).metrics()
    assert [row.get("reward") for row in rows] == [None, None, pytest.approx(1.0), pytest.approx(1.0)]


@pytest.mark.cuda
@pytest.mark.parametrize("devices", [("cuda", "cpu"), ("cpu", "cuda"), ("cuda", "cuda")])
def test_a_run_goes_on_where_another_device_stopped(corpus, devices):
    still = SMALL | {"generator.dropout": 0.0, "report_every": 2}
    trained = {}
    for name, (first, second) in {"there": devices, "here": ("cpu", "cpu")}.items():
        for steps, device in ((3, first), (7, second)):
            pretrain(str(corpus), run=name, values=still, steps=steps, device=device)
        trained[name] = load.load(name, "cpu")
        assert trained[name].run.metrics()[-1]["step"] == 7
    weights = trained["here"].algorithm.state_dict()
    for key, weight in trained["there"].algorithm.state_dict().items():
        torch.testing.assert_close(weight, weights[key], rtol=1e-3, atol=1e-4, msg=key)
