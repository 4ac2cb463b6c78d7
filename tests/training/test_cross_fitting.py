"""Cross-fitting: when it is needed, that no generator has seen what it scores, and that it resumes."""

import json
import shutil

import numpy as np
import pytest
import torch
from helpers import write_lines

from seqgen.algorithms.residual import Residual
from seqgen.core.errors import UserError
from seqgen.data.batches import encode_lines
from seqgen.data.folds import fold_of
from seqgen.generation.sample import log_prob
from seqgen.training import cross_fitting, load, setup
from seqgen.training.setup import adversarial, adversarial_job, pretrain

SMALL = {"generator.embedding": 7, "generator.hidden": 11, "generator.dropout": 0.0, "batch_size": 16}
ENERGY = {
    "energy.embedding": 5,
    "energy.hidden": 6,
    "batch_size": 8,
    "report_every": 2,
    "held_out_samples": 101,
    "folds": 3,
}


@pytest.fixture
def start(tmp_path, monkeypatch):
    """A run on 90 sentences that it has learned by heart."""
    monkeypatch.chdir(tmp_path)
    words = ("red", "blue", "green", "old", "new")
    lines = [f"{a} {b} {i % 30} {i // 30}" for i in range(90) for a, b in [(words[i % 5], words[i // 5 % 5])]]
    corpus = write_lines(tmp_path / "corpus.txt", lines)
    return pretrain(corpus, run="start", steps=150, values=SMALL | {"lr": 0.03, "weight_decay": 0.0})


def job(start, path="r", steps=4, **values):
    return adversarial_job(
        start.path, "residual", path=path, steps=steps, values=ENERGY | values, device_name="cpu"
    )


def without_times(run):
    times = ("seconds", "tokens_per_second")
    return [{key: value for key, value in row.items() if key not in times} for row in run.metrics()]


def test_it_is_needed_where_the_generator_has_memorised(start):
    made = job(start)
    assert made.run.config["settings"]["cross_fitting"] == "on"
    assert made.run.config["settings"]["energy"]["linear"] is True
    assert len(made.folds) == 3
    (note,) = [note for note in made.notes if note.startswith("cross-fitting")]
    assert "nats a token likelier than others, so 3 generators are trained first" in note
    off = job(start, cross_fitting="off")
    assert not off.folds
    assert off.run.config["settings"]["energy"]["linear"] is False


def test_it_is_not_needed_where_the_generator_has_not(start, monkeypatch):
    monkeypatch.setattr(cross_fitting, "memorised", lambda start, train, valid: 0.049)
    assert job(start).run.config["settings"]["cross_fitting"] == "off"
    asked = job(start, cross_fitting="on")
    assert asked.folds
    (note,) = [note for note in asked.notes if note.startswith("cross-fitting")]
    assert note.startswith("cross-fitting: 3 generators are trained first")


def test_what_was_asked_for_or_decided_before_is_not_measured(start, monkeypatch):
    adversarial(start.path, "residual", run="r", steps=2, values=ENERGY)
    measured = []
    monkeypatch.setattr(cross_fitting, "memorised", lambda *given: measured.append(given) or 9.0)
    assert job(start, "other", cross_fitting="on").folds
    again = job(start, "r")
    assert again.folds
    assert not [note for note in again.notes if note.startswith("cross-fitting")]  # they have been trained
    assert not measured


def test_nats_a_token_are_those_of_tokens_that_are_drawn(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [f"{a} {b} {c}\t{b}" for a in "abc" for b in "defg" for c in "hijkl"]
    corpus = write_lines(tmp_path / "pairs.tsv", ["source\ttarget", *lines])
    options = {"column": "target", "source_column": "source", "run": "pairs", "steps": 5, "values": SMALL}
    trained = load.load(pretrain(corpus, **options), "cpu")
    ids = encode_lines(trained.corpus.train, trained.tokenizer, max_length=20)
    tokens = ids.batch(np.arange(len(ids)))
    # An answer is a word and its end; before it stand three words of the source and what separates them.
    expected = -float(trained.algorithm.log_likelihood(tokens).sum()) / (2 * len(ids))
    assert cross_fitting._nats_per_token(trained, ids) == pytest.approx(expected, rel=1e-6)


def test_steps_are_timed_with_as_many_generators_as_there_will_be(start):
    made = job(start)
    assert len(made.algorithm.folds) == 3
    made.train()
    assert len(set(map(id, made.algorithm.folds))) == 3


def test_the_generators_of_the_folds_go_to_the_device_of_the_training(start, monkeypatch):
    # Of several processes each has its own, which cannot be named.
    places = {"cpu": torch.device("cpu"), "auto": torch.device("meta")}
    monkeypatch.setattr(setup.devices, "pick", lambda name: places[name])
    monkeypatch.setattr(cross_fitting, "memorised", lambda start, train, valid: 9.0)
    made = adversarial_job(start.path, path="r", values=ENERGY, device_name="auto")
    made.use_folds([start] * 3)
    assert all(each.is_meta for fold in made.algorithm.folds for each in fold.parameters())


def test_a_finished_training_does_not_need_its_folds_again(start):
    run = adversarial(start.path, "residual", run="r", steps=2, values=ENERGY)
    shutil.rmtree(run.path / "folds")
    made = job(start, "r", 2)
    made.train(train_fold=lambda fold: pytest.fail("a fold is trained again"))
    made.train()
    assert not (run.path / "folds").exists()
    longer = adversarial(start.path, "residual", run="r", steps=3, values=ENERGY)
    assert (run.path / "folds" / "2").exists()
    assert longer.metrics()[-1]["step"] == 3


def test_the_generators_of_the_folds_learn_from_the_teacher_of_the_start(start):
    corpus = start.path.parent / "corpus.txt"
    taught = pretrain(corpus, run="taught", steps=4, values=SMALL, teacher=start.path, tokenizer=start.path)
    made = job(taught, cross_fitting="on")
    made.train()
    for fold in range(3):
        run = load.load(made.run.path / "folds" / str(fold), "cpu").run
        assert run.config["teacher_hash"] == taught.config["teacher_hash"]
        assert run.config["teacher_hash"] is not None
        assert "teacher_loss" in run.metrics()[-1]


@pytest.mark.parametrize("fitting", ["on", "off", "auto"])
def test_the_linear_part_alone_is_an_energy(start, fitting, monkeypatch):
    monkeypatch.setattr(cross_fitting, "memorised", lambda start, train, valid: 0.0)
    made = job(start, cross_fitting=fitting, **{"energy.network": "none"})
    energy = made.run.config["settings"]["energy"]
    assert (energy["linear"], energy["states"]) == (True, 0)
    if fitting == "off":
        made.train()
        assert load.load(made.run, "cpu").algorithm.discriminator.linear.weight.any()
    with pytest.raises(UserError, match=r"energy.states=5: states are read by a network"):
        job(start, "other", cross_fitting=fitting, **{"energy.network": "none", "energy.states": 5})


def test_the_n_grams_are_those_of_the_start(start):
    with pytest.raises(UserError, match=r"ngram.order=5 does not fit the run .* samples without n-grams"):
        job(start, "r", **{"ngram.order": 5})
    corpus = start.path.parent / "corpus.txt"
    mixed = pretrain(corpus, run="mixed", steps=4, values=SMALL | {"ngram.order": 5})
    assert load.load(mixed, "cpu").algorithm.mixed is not None
    with pytest.raises(UserError, match=r"ngram.order=3 does not fit the run .* has ngram.order=5"):
        job(mixed, "r", **{"ngram.order": 3})
    assert job(mixed, "r").algorithm.mixed is not None
    assert job(mixed, "r", **{"ngram.order": 0}).algorithm.mixed is None


def test_no_generator_has_seen_what_it_scores(start, monkeypatch):
    seen = []
    step = load.entry_of(start).cls.step

    def noted(self, batch, progress):
        seen[-1].update(map(tuple, batch.tokens.tolist()))
        return step(self, batch, progress)

    monkeypatch.setattr(load.entry_of(start).cls, "step", noted)
    made = job(start)

    def train_fold(fold):
        seen.append(set())
        fold.train()

    made.train(train_fold=train_fold)
    for fold, sentences in enumerate(seen):
        folds = {int(fold_of(torch.tensor([row]), 3)[0]) for row in sentences}
        assert folds == {0, 1, 2} - {fold}
    # and each sentence is scored by the generator of its own fold
    algorithm = made.algorithm
    assert isinstance(algorithm, Residual)
    tokens = next(made.batches).tokens
    for row, fold in zip(tokens, fold_of(tokens, 3).tolist(), strict=True):
        trained = load.load(made.run.path / "folds" / str(fold), "cpu")
        own = log_prob(trained.algorithm.generator, row[None])
        found = algorithm._log_probs_of_folds(tokens)[(tokens == row).all(dim=1)][:1]
        torch.testing.assert_close(found, own, rtol=1e-4, atol=1e-5)


def test_it_resumes_in_a_fold_and_after_the_folds(start):
    whole = adversarial(start.path, "residual", run="whole", steps=6, values=ENERGY)

    class Stop(BaseException):
        pass

    def stop_at(step):
        def observe(progress, report):
            if progress.step >= step:
                raise Stop

        return observe

    def in_the_second_fold(fold):
        observe = stop_at(60) if fold.run.path.name == "1" else (lambda progress, report: None)
        fold.train(observe)

    with pytest.raises(Stop):
        job(start, "parts", 6).train(train_fold=in_the_second_fold)
    assert not (start.path.parent / "parts" / "model.safetensors").exists()
    with pytest.raises(Stop):
        job(start, "parts", 6).train(stop_at(3))
    parts = adversarial(start.path, "residual", run="parts", steps=6, values=ENERGY)
    one, other = (load.load(run, "cpu").algorithm.state_dict() for run in (whole, parts))
    assert all(torch.equal(one[key], other[key]) for key in one)
    drop = ("seconds", "tokens_per_second")
    rows = [
        [{k: v for k, v in row.items() if k not in drop} for row in run.metrics()] for run in (whole, parts)
    ]
    assert rows[0] == rows[1]


def test_a_fold_is_an_ordinary_run(start):
    run = adversarial(start.path, "residual", run="r", steps=2, values=ENERGY)
    fold = load.load(run.path / "folds" / "2", "cpu")
    assert fold.run.config["verb"] == "pretrain"
    assert (fold.run.config["fold"], fold.run.config["folds"]) == (2, 3)
    assert fold.run.config["steps"] == 100  # of the start's 150
    assert fold.algorithm.sample(3).tokens.shape[0] == 3


def test_a_start_that_cannot_be_trained_again_is_named(start):
    gan = {"discriminator_pretraining_steps": 0, "policy.rollouts": 2, "batch_size": 4}
    seqgan = adversarial(start.path, "seqgan", run="gan", steps=1, values=gan)
    with pytest.raises(UserError, match=r"was not trained from nothing .* give --set cross_fitting=off"):
        job(seqgan, cross_fitting="on")
    run = adversarial(seqgan.path, "residual", run="r2", steps=2, values=ENERGY | {"cross_fitting": "off"})
    assert json.loads((run.path / "config.json").read_text())["init"].endswith("gan")


def test_no_training_starts_from_a_run_whose_energy_it_would_lose(start):
    run = adversarial(start.path, "residual", run="runs/r", steps=2, values=ENERGY | {"cross_fitting": "off"})
    with pytest.raises(
        UserError, match=r"samples by its energy, which would be left out; start from '.*start'"
    ):
        adversarial_job(run.path, "seqgan", path="other")
    with pytest.raises(UserError, match="no run under 'runs/' that seqgan can start from"):
        adversarial_job(None, "seqgan", path="other")


def test_a_further_round_takes_over_the_folds_of_the_first(start):
    first = adversarial(start.path, "residual", run="runs/first", steps=2, values=ENERGY)
    values = {key: ENERGY[key] for key in ("batch_size", "report_every", "held_out_samples")}
    made = adversarial_job(first.path, path="runs/second", steps=2, values=values)
    assert made.run.config["settings"]["rounds"] == 2
    assert made.run.config["settings"]["energy"] == first.config["settings"]["energy"]
    assert not [note for note in made.notes if note.startswith("cross-fitting")]  # nothing is trained first
    trained = []
    made.train(train_fold=lambda job: trained.append(job.run.path))
    assert trained == [first.path / "folds" / str(fold) for fold in range(3)]
    third = adversarial(made.run, run="runs/third", steps=2, values=values)
    assert third.config["settings"]["rounds"] == 3
    assert not (third.path / "folds").exists()
    assert len(load.load(third, "cpu").algorithm.earlier) == 2
    # The same command without a start goes on with that run, from the start that it had.
    again = adversarial(run="runs/third", steps=3, values=values)
    assert (again.config["settings"]["rounds"], again.metrics()[-1]["step"]) == (3, 3)
    # Without those folds, or with another number of them, it has some of its own.
    other = adversarial_job(first.path, path="runs/other", values=values | {"folds": 2})
    assert [each().run.path.parent.parent.name for each in other.folds] == ["other", "other"]
    assert [note for note in other.notes if note.startswith("cross-fitting")]


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("rounds", 3, "rounds=3 does not fit the run to start from, after which it is 2; leave it out"),
        (
            "energy.hidden",
            7,
            "energy.hidden=7 does not fit the run to start from, which has energy.hidden=6",
        ),
    ],
)
def test_a_further_round_has_the_shapes_of_the_first(start, setting, value, message):
    first = adversarial(
        start.path, "residual", run="runs/first", steps=2, values=ENERGY | {"cross_fitting": "off"}
    )
    with pytest.raises(UserError, match=message):
        adversarial(first.path, run="runs/second", steps=2, values={setting: value})
    assert not (first.path.parent / "second").exists()
    with pytest.raises(UserError, match="rounds=2 does not fit the run to start from, after which it is 1"):
        adversarial(start.path, run="runs/second", values={"rounds": 2, "cross_fitting": "off"})


def test_a_resumed_run_keeps_to_what_it_decided(start, monkeypatch):
    for gap, expected in ((0.2, "on"), (0.01, "off")):
        monkeypatch.setattr(cross_fitting, "memorised", lambda start, train, valid, gap=gap: gap)
        adversarial(start.path, "residual", run=expected, steps=2, values=ENERGY)
    for name, gap in (("on", 0.01), ("off", 0.2)):
        monkeypatch.setattr(cross_fitting, "memorised", lambda start, train, valid, gap=gap: gap)
        run = adversarial(start.path, "residual", run=name, steps=3, values=ENERGY)
        assert run.config["settings"]["cross_fitting"] == name
        assert run.metrics()[-1]["step"] == 3


def test_a_corpus_that_is_one_fold_is_refused(start, monkeypatch):
    monkeypatch.setattr(cross_fitting, "outside", lambda ids, fold, folds: ids.subset(np.empty(0, np.int64)))
    with pytest.raises(UserError, match="fall into one of 3 folds; give --set cross_fitting=off"):
        job(start).train()


def test_where_it_is_off_nothing_is_scored(start, monkeypatch):
    monkeypatch.setattr(cross_fitting, "memorised", lambda *given: pytest.fail("scored"))
    assert not job(start, cross_fitting="off").folds


def test_the_n_grams_of_a_fold_are_counted_without_it(start, tmp_path):
    values = SMALL | {"ngram.order": 2}
    mixed = pretrain(str(tmp_path / "corpus.txt"), run="mixed", steps=2, values=values)
    whole = load.load(mixed, "cpu").algorithm.mixture.counts.sum()
    run = adversarial(mixed.path, "residual", run="r", steps=1, values=ENERGY | {"cross_fitting": "on"})
    parts = [load.load(run.path / "folds" / str(fold), "cpu").algorithm.mixture.counts for fold in range(3)]
    assert all(part.sum() < whole for part in parts)
