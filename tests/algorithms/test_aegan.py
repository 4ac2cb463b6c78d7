"""AEGAN: what each loss moves, where it starts, its energy, resuming, short batches."""

import math

import helpers
import pytest
import torch
from helpers import LENGTH, Z, all_finite, batch, padded, run, same, sentences, weights
from helpers import moved as changed

from seqgen import algorithms
from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import EOS
from seqgen.functional.contrastive_losses import logistic_contrastive
from seqgen.generation.sample import log_prob

SMALL = {"batch_size": 6, "derivatives": 0.1}
OFF = {
    "cross_entropy": 0,
    "adversarial": 0,
    "adversarial_latents": 0,
    "losses.gradient_penalty": 0,
    "contrastive": 0,
    "derivatives": 0,
}
VARIANTS = [
    {},
    {"relaxation": "gumbel", "critic.loss": "hinge", "generator.attention": True},
    {"relaxation": "policy_gradient", "critic.loss": "energy", "pairing": "logistic"},
    {"generator.cell": "gru", "generator.layers": 2, "encoder.bidirectional": False, "word_dropout": 0.3},
    {"critic.kind": "rnn", "critic.rnn_hidden": 7, "critic.loss": "wasserstein", "losses.latent_l2": 0.1},
]


def build(values=None, seed=0, **sizes):
    return helpers.build("aegan", SMALL | (values or {}), seed=seed, **sizes)


def moved(algorithm, steps=4):
    before = weights(algorithm)
    run(algorithm, steps)
    return changed(algorithm, before)


@pytest.mark.parametrize(
    ("loss", "values", "networks"),
    [
        ("cross_entropy", {}, {"generator", "encoder"}),
        ("adversarial_latents", {}, {"encoder", "critics.latents"}),
        ("adversarial", {"critic.pretraining_steps": 0}, {"generator", "critics.sentences"}),
        (
            "adversarial",
            {"critic.pretraining_steps": 0, "relaxation": "gumbel"},
            {"generator", "critics.sentences"},
        ),
        (
            "adversarial",
            {"critic.pretraining_steps": 0, "relaxation": "policy_gradient"},
            {"generator", "critics.sentences"},
        ),
        ("contrastive", {}, {"generator", "encoder"}),
        ("contrastive", {"relaxation": "policy_gradient"}, {"encoder"}),
        ("derivatives", {}, {"generator"}),
        ("latent_l2", {}, {"encoder"}),
        (
            "adversarial",
            {"critic.pretraining_steps": 0, "critic.kind": "rnn"},
            {"generator", "critics.sentences"},
        ),
        ("gradient_penalty", {}, set()),
    ],
)
def test_each_loss_moves_only_its_own(loss, values, networks):
    algorithm = build(OFF | {f"losses.{loss}": 0.5, "weight_decay": 0, "critic.weight_decay": 0} | values)
    names = (key.split(".") for key in moved(algorithm, steps=1))
    assert {".".join(name[: 1 + (name[0] == "critics")]) for name in names} == networks


def test_the_penalty_moves_the_critics_alone_and_only_when_it_is_due():
    values = {
        "losses.gradient_penalty": 1.0,
        "adversarial": 1e-12,
        "adversarial_latents": 1e-12,
        "critic.pretraining_steps": 0,
    }
    algorithm = build(OFF | values)
    seen = []
    penalty = algorithm.critics.sentences.gradient_penalty
    algorithm.critics.sentences.gradient_penalty = lambda *shown: seen.append(shown) or penalty(*shown)
    run(algorithm, steps=5)
    assert len(seen) == 3  # steps 0, 2 and 4
    assert not any(part.requires_grad for shown in seen for part in shown)


def test_the_variance_of_latents_is_given_and_has_no_gradient():
    algorithm = build().eval()
    trunk = [*algorithm.encoder.embedding.parameters(), *algorithm.encoder.forwards.parameters()]
    mean = torch.autograd.grad(algorithm.encoder(sentences())[0].sum(), trunk)
    drawn = torch.autograd.grad(algorithm._encode(sentences()).sum(), trunk)
    for mine, theirs in zip(drawn, mean, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_critic_of_sentences_learns_first():
    metrics = run(build({"critic.pretraining_steps": 2}))
    assert ["adversarial" in each for each in metrics] == [False, False, True, True]
    assert all("critic_loss" in each for each in metrics)


def test_sentences_of_two_tokens_and_of_none_but_the_end():
    algorithm = build(length=2)
    with torch.no_grad():
        algorithm.generator.head.offset[EOS] = 50.0
    for i in range(3):
        metrics = algorithm.step(Batch(torch.tensor([[5, EOS], [6, EOS]])), i / 3)
        assert all_finite(metrics)


def pretrained(name, **values):
    algorithm = helpers.build(name, {"batch_size": 6} | values, seed=3)
    for i in range(20):
        algorithm.step(batch(seed=i), i / 20)
    return algorithm


def test_it_goes_on_from_an_autoencoder_whose_latents_become_the_priors():
    start, algorithm = pretrained("autoencoder", lr=1e-2), build({"posterior_deviation": 0.6})
    algorithm.start_from(start)
    tokens = sentences(11)
    mean, log_var = algorithm.encoder.eval()(tokens)
    assert log_var.exp().flatten().tolist() == pytest.approx([0.36] * (11 * Z), rel=1e-5)
    # What its latents were turned to is undone: 0.8 L⁻¹ (z - mean).
    factor = torch.linalg.cholesky(start.latent_cov + 1e-5 * torch.eye(Z))
    torch.testing.assert_close(
        mean / 0.8 @ factor.t() + start.latent_mean, start.encode(tokens), rtol=1e-4, atol=1e-4
    )
    theirs = log_prob(start.generator.eval(), tokens, start.generator.initial(11, start.encode(tokens)))
    mine = log_prob(algorithm.generator.eval(), tokens, algorithm.generator.initial(11, mean / 0.8))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
    assert torch.equal(algorithm.critics.sentences.embedding.weight, start.encoder.embedding.weight)


def test_it_goes_on_from_latents_that_are_the_priors_as_they_are():
    for start in (pretrained("sentence-vae"), build(seed=4)):
        algorithm = build()
        algorithm.start_from(start)
        assert same(algorithm.generator, start.generator)
        assert same(algorithm.encoder, start.encoder)


@pytest.mark.parametrize("loss", ["logistic", "hinge", "energy", "wasserstein"])
def test_the_energy_by_its_parts(loss):
    algorithm, tokens = build({"critic.loss": loss}), sentences(11)
    run(algorithm)
    algorithm.eval()
    with torch.no_grad():
        latents = algorithm.encoder(tokens)[0]
        cost = -log_prob(algorithm.generator, tokens, algorithm.generator.initial(11, latents)).sum(dim=1)
        score = algorithm.critics.sentences(tokens)
    of_critic = torch.log1p(torch.exp(-score)) if loss == "energy" else -score
    algorithm.train()
    energy = algorithm.energy(tokens)
    torch.testing.assert_close(energy, (cost + of_critic).double(), rtol=1e-5, atol=1e-5)
    assert algorithm.training
    assert not energy.requires_grad
    torch.testing.assert_close(algorithm.energy(padded(tokens)), energy, rtol=1e-5, atol=1e-5)


def test_evaluation_samples_and_latents():
    algorithm = build()
    metrics = algorithm.evaluate([batch(seed=2), batch(seed=3)])
    assert metrics["valid_nll"] == pytest.approx(math.log(metrics["valid_ppl"]))
    energies = torch.cat([algorithm.energy(sentences(seed=i)) for i in (2, 3)])
    assert metrics["energy"] == pytest.approx(float(energies.mean()))
    assert metrics.keys() >= {
        "latent_mean",
        "latent_var",
        "energy_gap",
        "unique",
        "sample_nll",
        "temperature",
    }
    assert algorithm.log_likelihood(sentences(), samples=3).shape == (6,)
    assert "valid_recon" not in algorithm.evaluate([])
    assert algorithm.should_stop(metrics, metrics) is None
    assert "unique" in algorithm.should_stop(metrics | {"unique": 0.0}, metrics)
    rng = torch.Generator().manual_seed(0)
    assert algorithm.sample(5, length=2, rng=rng).tokens.shape == (5, 2)
    latents = algorithm.encode(sentences())
    assert latents.shape == (6, Z)
    assert torch.equal(algorithm.decode(latents).tokens, algorithm.decode(latents).tokens)
    assert algorithm.samples(4).shape == (4, LENGTH)


def test_the_critic_makes_latents_those_of_the_prior():
    # Latents of mean 1.5 and next to no variance: the critic of latents brings the mean to 0.
    values = {
        "adversarial_latents": 1.0,
        "batch_size": 64,
        "lr": 3e-3,
        "critic.lr": 1e-2,
        "critic.hidden": 31,
    }
    algorithm = build(OFF | {"losses.gradient_penalty": 1.0} | values)
    with torch.no_grad():
        algorithm.encoder.mean.bias.fill_(1.5)
    held_out = [batch(200, seed=99)]
    before = algorithm.evaluate(held_out)
    assert before["latent_mean"] > 2
    torch.manual_seed(1)
    for i in range(100):
        algorithm.step(batch(64, seed=i), i / 100)
    assert algorithm.evaluate(held_out)["latent_mean"] < 0.2


@pytest.mark.parametrize("relaxation", ["straight_through", "gumbel", "policy_gradient"])
def test_the_critic_alone_teaches_what_is_real(relaxation):
    # A language that begins with one word of ten: no cross entropy, only the critic says so.
    tokens = torch.tensor([[5, EOS]]).repeat(32, 1)
    values = {
        "adversarial": 1.0,
        "losses.gradient_penalty": 1.0,
        "samples": 32,
        "lr": 1e-2,
        "critic.lr": 1e-2,
    }
    values |= {"critic.filters": 11, "generator.dropout": 0.0, "relaxation": relaxation}
    algorithm = build(OFF | values)

    def fraction():
        return float((algorithm.sample(1000).tokens[:, 0] == 5).float().mean())

    torch.manual_seed(2)
    before = fraction()
    for i in range(60):
        algorithm.step(Batch(tokens), i / 60)
    assert fraction() > 3 * before


def test_settings_out_of_range():
    config = algorithms.get("aegan").config()
    with pytest.raises(UserError, match=r"posterior_deviation=1\.5 is out of range"):
        settings.override(config, {"posterior_deviation": 1.5})
    with pytest.raises(UserError, match=r"contrastive=-1\.0 is out of range"):
        settings.override(config, {"contrastive": -1.0})
    with pytest.raises(UserError, match=r"critic\.loss=wasserstein needs a penalty"):
        settings.override(config, {"critic.loss": "wasserstein", "losses.gradient_penalty": 0})


def test_the_wasserstein_loss_the_logistic_pairing_and_the_length_of_latents_by_hand():
    values = {
        "critic.loss": "wasserstein",
        "pairing": "logistic",
        "pairing_strength": 3,
        "pairing_gamma": 0.5,
    }
    algorithm, tokens = build(values | {"losses.latent_l2": 0.1}), sentences(11)
    critics = algorithm.eval().critics
    real, fake = sentences(7, seed=2), sentences(5, seed=3)
    expected = critics.sentences(fake).mean() - critics.sentences(real).mean()
    torch.testing.assert_close(critics.sentence_loss(real, fake), expected)
    latents = torch.randn(11, Z)
    torch.testing.assert_close(critics.encoder_loss(latents), -critics.latents(latents).mean())
    generated = algorithm._generate(1.0)
    parts = algorithm._losses(tokens, latents, generated)
    torch.testing.assert_close(parts["latent_l2"], latents.square().sum() / 22)
    encoded, _ = algorithm.encoder(generated.relaxed)
    wanted = logistic_contrastive(generated.latents, encoded, strength=3.0, gamma=0.5)
    torch.testing.assert_close(parts["contrastive"], wanted)


@pytest.mark.cuda
@pytest.mark.parametrize("values", VARIANTS)
def test_steps_on_cuda(values):
    algorithm = build(values).cuda()
    algorithm.configure()
    for i in range(3):
        metrics = algorithm.step(batch(seed=i).to("cuda"), i / 3)
        assert all_finite(metrics)
    assert algorithm.energy(sentences().cuda()).is_cuda
