"""Learning from a teacher: its loss by hand, its gradient in every algorithm, and runs that name one."""

import math
from dataclasses import replace

import helpers
import pytest
import torch
import torch.nn.functional as F
from helpers import batch, moved, same, sentences, weights
from helpers import write_lines as lines
from torch import nn

from seqgen import algorithms
from seqgen.algorithms.teacher import Teacher
from seqgen.core import optim
from seqgen.core.errors import UserError
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import EOS, PAD, UNK
from seqgen.training import load, loop, run_folder
from seqgen.training.data_config import DataConfig
from seqgen.training.replay import replay_job
from seqgen.training.setup import adversarial, adversarial_job, pretrain, pretrain_job

TAUGHT = [name for name in algorithms.PRETRAIN | algorithms.ADVERSARIAL if name != "residual"]
SMALL = {"generator.embedding": 5, "generator.hidden": 7, "batch_size": 5}


def test_the_loss_is_the_cross_entropy_of_cosines_by_hand():
    student, other = helpers.build("mle", {"teacher_temperature": 0.2}), helpers.build("mle", seed=3)
    student.eval()
    tokens = sentences(3)
    mine, theirs = student.embed(tokens).detach(), other.eval().embed(tokens).detach()
    table = [[float(F.cosine_similarity(a, b, dim=0)) / 0.2 for b in theirs] for a in mine]
    both = [table, list(zip(*table, strict=True))]
    expected = [
        sum(math.log(sum(map(math.exp, row))) - row[i] for i, row in enumerate(each)) / 3 for each in both
    ]
    found = Teacher(other).loss(student, tokens)
    assert found.item() == pytest.approx(sum(expected) / 2, rel=1e-5)


def test_a_word_that_the_teacher_does_not_have_it_reads_as_unknown():
    student, other = helpers.build("mle", vocab_size=17), helpers.build("mle", seed=3)
    student.eval()
    known, new = torch.tensor([[4, UNK, EOS], [6, EOS, PAD]]), torch.tensor([[4, 15, EOS], [6, EOS, PAD]])
    with torch.no_grad():
        student.generator.embedding.weight[15] = student.generator.embedding.weight[UNK]
    teacher = Teacher(other)
    assert teacher.loss(student, new).item() == pytest.approx(teacher.loss(student, known).item())


def test_the_gradient_is_that_of_the_sum_of_both_losses():
    # p = 2: the loss 3p has the gradient 3, bounded by 2.5; 4 is added, bounded by 1.5 with 3 of the other
    # parameter, (4, 3) · 1.5 / 5 = (1.2, 0.9); a step of stochastic gradient descent at 0.1
    p, q = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(1.0))
    one, two = torch.optim.SGD([p], lr=0.1), torch.optim.SGD([q], lr=0.1)
    with optim.added_gradients([one, two], {p: torch.tensor(4.0), q: torch.tensor(3.0)}, clip=1.5):
        optim.update({one: 3 * p}, clip=2.5)
    assert p.item() == pytest.approx(2.0 - 0.1 * (2.5 + 1.2))
    assert q.item() == 1.0  # its optimiser has taken no step
    optim.update({one: 3 * p}, clip=2.5)
    assert p.item() == pytest.approx(2.0 - 0.1 * (2.5 + 1.2) - 0.1 * 2.5)  # nothing is added any more
    with (
        pytest.raises(FloatingPointError, match="added is nan"),
        optim.added_gradients([one], {p: torch.tensor(math.nan)}, clip=1.0),
    ):
        pass


@pytest.mark.parametrize("name", TAUGHT)
def test_every_algorithm_learns_from_a_teacher(name):
    taught, alone, other = helpers.build(name), helpers.build(name), helpers.build(name, seed=9)
    taught.teacher = Teacher(other)
    taught.teacher.check(taught)
    kept, before = weights(other), weights(taught)
    for i in range(3):
        for algorithm in (taught, alone):
            torch.manual_seed(i)
            metrics = algorithm.learn(batch(seed=i), i / 3)
        torch.manual_seed(i)
    assert not moved(other, kept)
    assert other.training
    embedding = {key for key in moved(taught, before) if key.startswith(("generator.", "encoder."))}
    learned_alone = weights(alone)
    assert {key for key in embedding if not torch.equal(weights(taught)[key], learned_alone[key])}
    metrics = taught.learn(batch(seed=4), 0.9)
    assert 0 < float(metrics["teacher_loss"]) < 20
    assert "teacher_loss" not in alone.learn(batch(seed=4), 0.9)
    assert all(parameter.grad is None for parameter in taught.parameters())


@pytest.mark.parametrize("name", ["mle", "autoencoder", "seqgan"])
def test_the_loss_falls_with_its_weight(name):
    losses = {}
    for weight in (0.0, 3.0):
        values = {"teacher_weight": weight, "lr": 1e-2, "generator.dropout": 0.0}
        algorithm, other = helpers.build(name, values), helpers.build(name, seed=9)
        algorithm.teacher = Teacher(other)
        for i in range(40):
            torch.manual_seed(i)
            algorithm.learn(batch(rows=6, seed=i), 0.5)
        algorithm.eval()
        losses[weight] = algorithm.teacher.loss(algorithm, sentences(11, seed=77)).item()
    assert losses[3.0] < 0.9 * losses[0.0]


def test_without_a_weight_it_is_the_training_without_a_teacher():
    students = [helpers.build("mle", {"teacher_weight": 0.0, "generator.dropout": 0.0}) for _ in range(2)]
    students[0].teacher = Teacher(helpers.build("mle", seed=9))
    for student in students:
        for i in range(3):
            student.learn(batch(seed=i), i / 3)
    assert same(*students)


def text(tmp_path, name, things):
    colours = ("red", "blue", "black", "green")
    rows = [f"a {colour} {thing} is here {i}" for i in range(11) for colour in colours for thing in things]
    return lines(tmp_path / f"{name}.txt", rows)


@pytest.fixture
def two_runs(tmp_path, monkeypatch):
    """Two language models of one vocabulary, each of a text of its own."""
    monkeypatch.chdir(tmp_path)
    one, two = text(tmp_path, "one", ("cat", "dog")), text(tmp_path, "two", ("cat", "bird"))
    first = pretrain(one, run="runs/one", min_count=1, steps=3, values=SMALL)
    return first, pretrain(two, run="runs/two", tokenizer="runs/one", steps=3, values=SMALL)


def test_transfer_goes_both_ways(two_runs, tmp_path):
    one, two = two_runs
    for init, teacher, corpus in ((one, two, "one"), (two, one, "two")):
        data = DataConfig(corpus=str(tmp_path / f"{corpus}.txt"))
        job = pretrain_job(data, init=init, teacher=teacher, path=f"runs/{corpus}-taught", steps=4)
        assert f"learns embeddings from: {teacher.path} (mle)" in job.notes
        job.train()
        assert job.run.metrics()[-1]["teacher_loss"] > 0
        assert job.run.config["teacher"] == f"../{teacher.path.name}"
        assert job.run.config["teacher_hash"] == run_folder.weights_hash(teacher.path)


def test_a_killed_run_with_a_teacher_resumes_bit_identically(two_runs, tmp_path):
    _, two = two_runs
    data = DataConfig(corpus=str(tmp_path / "one.txt"), tokenizer="runs/one")
    options = {"teacher": two, "steps": 9, "values": SMALL | {"report_every": 3}}
    whole = pretrain_job(data, "sentence-vae", path="runs/whole", **options | {"teacher": vae(tmp_path)})
    whole.train()
    with pytest.MonkeyPatch.context() as patch:
        real = loop.save

        def die(algorithm, batches, run, progress):
            real(algorithm, batches, run, progress)
            if progress.step == 6:
                raise helpers.Killed

        patch.setattr(loop, "save", die)
        job = pretrain_job(data, "sentence-vae", path="runs/half", **options | {"teacher": vae(tmp_path)})
        with pytest.raises(helpers.Killed):
            job.train()
    again = pretrain_job(data, "sentence-vae", path="runs/half", **options | {"teacher": vae(tmp_path)})
    again.train()
    assert same(again.algorithm, whole.algorithm)
    copy = replay_job(run_folder.open_run(tmp_path / "runs/whole"), "runs/copy")
    copy.train()
    assert same(copy.algorithm, whole.algorithm)


def vae(tmp_path):
    if (tmp_path / "runs/vae").exists():
        return run_folder.open_run(tmp_path / "runs/vae")
    options = {"run": "runs/vae", "tokenizer": "runs/one", "steps": 2, "values": SMALL}
    return pretrain(str(tmp_path / "two.txt"), "sentence-vae", **options)


def test_adversarial_training_learns_from_a_teacher(two_runs):
    one, two = two_runs
    values = {"discriminator_pretraining_steps": 1, "policy.rollouts": 2}
    run = adversarial(one, "seqgan", teacher=two, run="runs/gan", steps=2, values=values)
    assert run.metrics()[-1]["teacher_loss"] > 0
    assert load.load(run, "cpu").algorithm.teacher is None  # a trained run needs it no longer
    with pytest.raises(UserError, match="holds a run that learns from another teacher"):
        adversarial_job(one, "seqgan", teacher=one, path="runs/gan", steps=2, values=values)
    with pytest.raises(UserError, match="holds a run that learns from another teacher"):
        adversarial_job(one, "seqgan", path="runs/gan", steps=2, values=values)
    with pytest.raises(UserError, match="residual leaves the generator as it is, so that it learns nothing"):
        adversarial_job(one, "residual", teacher=two)


def test_what_cannot_teach_is_said(two_runs, tmp_path):
    _, two = two_runs
    data = DataConfig(corpus=str(tmp_path / "one.txt"))
    for values in ({"teacher_weight": 2.0}, {"teacher_temperature": 0.5}):
        with pytest.raises(UserError, match="needs a teacher; name a run with --teacher, or leave it out"):
            pretrain_job(data, values=values)
    with pytest.raises(UserError, match="'runs/two' has another vocabulary; train with --tokenizer runs/two"):
        pretrain_job(replace(data, tokenizer="character"), teacher=two, values=SMALL)
    wider = SMALL | {"generator.hidden": 9}
    with pytest.raises(UserError, match="has 9 dimensions here and 7 under the teacher"):
        pretrain_job(replace(data, tokenizer="runs/one"), teacher=two, values=wider)
    with pytest.raises(UserError, match=r"has 32 dimensions here and 7 under the teacher, .* the generator"):
        pretrain_job(replace(data, tokenizer="runs/one"), "sentence-vae", teacher=two, values=SMALL)


def test_a_replay_says_that_the_teacher_has_gone(two_runs, tmp_path):
    one, two = two_runs
    run = pretrain(str(tmp_path / "one.txt"), init=one, teacher=two, run="runs/taught", steps=2)
    two.path.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"the teacher of 'runs/taught', is not there any more; .* --teacher"):
        replay_job(run)
    assert replay_job(run, teacher=tmp_path / "elsewhere").run.config["teacher_hash"]


@pytest.mark.cuda
@pytest.mark.parametrize("name", TAUGHT)
def test_a_step_beside_a_teacher_on_cuda(name):
    for bf16 in (False, True):
        algorithm = helpers.build(name, {"bf16": bf16}).cuda()
        algorithm.configure()
        algorithm.teacher = Teacher(helpers.build(name, seed=9))
        for i in range(3):
            assert helpers.all_finite(algorithm.learn(batch(seed=i).to("cuda"), i / 3))


@pytest.mark.parametrize("name", ["mle", "sentence-vae", "relgan"])
def test_a_teacher_waits_for_no_accelerator(name):
    algorithm = helpers.build(name).to("meta")
    algorithm.configure()
    algorithm.teacher = Teacher(helpers.build(name, seed=9).to("meta"))
    tokens = torch.empty_like(batch().tokens, device="meta")
    with helpers.OneDevice():
        assert algorithm.learn(Batch(tokens), 0.5)["teacher_loss"].is_meta
