"""The sentence-VAE: its loss by hand, schedules and metrics, and that its latents carry what they should."""

import copy
import math

import helpers
import pytest
import torch
import torch.nn.functional as F
from helpers import LENGTH, Z, batch, same, sentences
from torch.distributions import Normal, kl_divergence

from seqgen import algorithms
from seqgen.algorithms import vae_objective
from seqgen.algorithms.regularisation import TextSize
from seqgen.core import optim, settings
from seqgen.core.errors import UserError
from seqgen.data.batch import Batch
from seqgen.data.batches import Batches, pack
from seqgen.data.tokenizer import EOS, PAD
from seqgen.generation.sample import shifted

SMALL = {"generator.dropout": 0.0, "encoder.dropout": 0.0, "calibration": 0.0}


def build(seed=0, **values):
    return helpers.build("sentence-vae", SMALL | values, seed=seed)


def test_the_loss_is_the_bound_over_the_tokens_of_a_usual_batch():
    algorithm, tokens = build(penalty="kl", decorrelation=0.0), sentences(3)
    algorithm.tokens_per_batch.count.fill_(1e9)
    algorithm.tokens_per_batch.value.fill_(10.0)
    torch.manual_seed(3)
    loss, metrics = algorithm._loss(tokens, 0.5)
    torch.manual_seed(3)
    mean, log_var = algorithm.encoder(tokens)
    latents = mean + (0.5 * log_var).exp() * torch.randn(3, Z)
    logits, _ = algorithm.generator(shifted(tokens), algorithm.generator.initial(len(tokens), latents))
    recon = F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), ignore_index=PAD, reduction="sum")
    kl = kl_divergence(Normal(mean, (0.5 * log_var).exp()), Normal(0.0, 1.0)).sum()
    assert float(loss.detach()) == pytest.approx((recon + 0.5 * kl).item() / 10, rel=1e-5)
    assert float(metrics["recon"]) == pytest.approx(recon.item() / 3, rel=1e-5)
    assert float(metrics["kl"]) == pytest.approx(kl.item() / 3, rel=1e-5)
    assert float(metrics["elbo"]) == pytest.approx(-(recon + kl).item() / 3, rel=1e-5)


def test_what_dimensions_share_is_dear():
    algorithm, tokens = build(penalty="kl", decorrelation=2.0), sentences(3)
    free = build(penalty="kl", decorrelation=0.0)
    for each in (algorithm, free):
        each.tokens_per_batch.count.fill_(1.0)
        each.encoder.mean.weight.data *= 20  # latents that differ
    mean, log_var = algorithm.encoder(tokens)
    shared = algorithm._total_correlation(mean, log_var)
    # of the first batch the running covariance is that of the batch, so the gradient is the exact one
    errors = mean - mean.mean(dim=0)
    cov = errors.t() @ errors / 3 + log_var.exp().mean(dim=0).diag()
    exact = (cov.diagonal().log().sum() - torch.logdet(cov)) / 2
    assert float(shared.detach()) == pytest.approx(float(exact.detach()), rel=1e-4)
    weights = list(algorithm.encoder.parameters())
    for mine, reference in zip(
        torch.autograd.grad(shared, weights, retain_graph=True),
        torch.autograd.grad(exact, weights),
        strict=True,
    ):
        assert torch.allclose(mine, reference, atol=1e-5)
    torch.manual_seed(3)
    dear, _ = algorithm._loss(tokens, 1.0)
    torch.manual_seed(3)
    cheap, _ = free._loss(tokens, 1.0)
    part = (dear - cheap).detach() * algorithm.tokens_per_batch.value / 3
    assert float(part) == pytest.approx(2 * float(exact.detach()), rel=0.05)


def test_figures_of_a_report_against_their_definitions():
    algorithm, tokens = build(), sentences(5)
    algorithm.step(batch(3), 0.5)
    metrics = algorithm.evaluate([Batch(tokens[:2]), Batch(tokens[2:])])
    algorithm.eval()
    mean, log_var = algorithm.encoder(tokens)
    kl = kl_divergence(Normal(mean, (0.5 * log_var).exp()), Normal(0.0, 1.0)).sum(dim=1).mean()
    assert metrics["valid_kl"] == pytest.approx(float(kl.detach()), rel=1e-4)
    assert metrics["valid_elbo"] == pytest.approx(-metrics["valid_recon"] - float(kl.detach()), rel=1e-5)
    # of few samples the estimate is nearer the bound, of many nearer the likelihood, never far below
    real = int((tokens != PAD).sum())
    assert metrics["valid_nll"] * real / 5 <= -metrics["valid_elbo"] + 0.05
    many = -algorithm.log_likelihood(tokens, samples=3001).sum() / real
    assert metrics["valid_nll"] == pytest.approx(float(many), abs=0.02)
    assert metrics["active_units"] in range(Z + 1)
    assert 0 <= metrics["mutual_information"] + 0.05 <= math.log(5) + 0.05
    decoded = vae_objective.measure_reconstructions(
        algorithm.encoder, algorithm.generator, [tokens[:2], tokens[2:]], LENGTH
    )
    assert {name: metrics[name] for name in ("reconstruction_bleu", "shuffled_bleu")} == decoded


def test_a_collapsed_posterior_is_named():
    algorithm = build()
    assert "collapsed" not in algorithm.evaluate([batch(3)])  # nothing has been learned yet
    algorithm.step(batch(3), 0.5)
    with torch.no_grad():
        for head in (algorithm.encoder.mean, algorithm.encoder.log_var):
            head.weight.zero_()
            head.bias.zero_()
    assert algorithm.evaluate([batch(3)])["collapsed"] == 1.0
    algorithm.encoder.mean.bias.data.fill_(1.0)
    assert algorithm.evaluate([batch(3)])["collapsed"] == 0.0


def test_the_encoder_goes_on_alone_while_its_losses_fall():
    # windows of 2: from 7 to 6.5 the mean falls, then to 6.5 it does not, so both move; the next window has
    # nothing to compare with, and the last part of a step moves both whatever the losses are
    losses = [6.0, 8.0, 6.5, 6.5, 6.0, 7.0, 9.0, 2.0, 2.0, 1.0]
    algorithm = build(aggressive=9, aggressive_window=2, batch_size=1)
    assert algorithm.config.read_size == 10
    script = iter(losses)
    moved = []

    def scripted(part, beta):
        loss = sum(p.sum() for p in algorithm.parameters())
        return loss - loss.detach() + next(script), {}

    algorithm._loss = scripted
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            optim, "update", lambda losses, clip: moved.append(len(losses)) or dict.fromkeys(losses, 0.0)
        )
        algorithm.step(batch(rows=10), 0.5)
    assert moved == [1, 1, 1, 1, 1, 1, 2, 1, 1, 2]


def test_an_encoder_alone_leaves_the_decoder_be():
    algorithm = build(aggressive=1, batch_size=3)
    decoder = copy.deepcopy(algorithm.generator)
    encoder = copy.deepcopy(algorithm.encoder)
    loss, _ = algorithm._loss(sentences(3), 1.0)
    optim.update({algorithm.optimizers["encoder"]: loss})
    assert same(algorithm.generator, decoder)
    assert not same(algorithm.encoder, encoder)
    assert all(p.grad is None for p in algorithm.parameters())


def test_aggressive_training_ends_for_good_when_information_stops_rising(monkeypatch):
    algorithm = build(aggressive=2)
    seen = []
    algorithm.tokens_per_batch.count.fill_(1.0)  # it has been trained
    for information in (0.4, 0.7, 0.6, 0.9):
        measured = {"mutual_information": information, "valid_kl": 1.0}
        monkeypatch.setattr(vae_objective, "measure", lambda *_, measured=measured, **__: dict(measured))
        algorithm.evaluate([batch(3)])
        seen.append(bool(algorithm.encoder_lags))
    algorithm.tokens_per_batch.count.zero_()
    assert seen == [True, True, False, False]
    metrics = algorithm.step(batch(rows=9), 0.5)  # three updates of both
    assert metrics["grad_norm"] > 0
    assert float(algorithm.tokens_per_batch.count) == 3


def test_a_warm_start_ends_with_a_new_decoder():
    algorithm = build(warm_start=0.5, anneal="none", warmup=0.0)
    assert algorithm.step(batch(3), 0.25)["beta"] == 0.0
    decoder, encoder = copy.deepcopy(algorithm.generator), copy.deepcopy(algorithm.encoder)
    assert algorithm._schedule(0.5) == (1.0, 1.0)  # the learning rate begins at its peak again
    assert not same(algorithm.generator, decoder)
    assert same(algorithm.encoder, encoder)
    assert not algorithm.optimizers["generator"].state
    assert algorithm.optimizers["encoder"].state
    decoder = copy.deepcopy(algorithm.generator)
    assert algorithm._schedule(0.75)[0] == pytest.approx(0.5)  # half of the cosine
    assert same(algorithm.generator, decoder)


def test_annealing_follows_what_is_left_after_the_warm_start():
    algorithm = build(warm_start=0.2, anneal="linear", anneal_fraction=0.5, beta=2.0)
    # 0.2 + 0.8 · 0.25: half way up
    assert algorithm._schedule(0.4)[1] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "values",
    [{}, {"aggressive": 2, "aggressive_window": 1}, {"warm_start": 0.5, "generator.latent_skip": True}],
)
def test_a_saved_state_goes_on_bit_for_bit(values):
    one = build(**values)
    for i in range(4):
        one.step(batch(rows=9, seed=i), i / 6)
    weights = copy.deepcopy(one.state_dict())
    optimizers = {name: copy.deepcopy(o.state_dict()) for name, o in one.optimizers.items()}
    rng = torch.get_rng_state()
    two = build(seed=9, **values)
    two.load_state_dict(weights)
    for name, optimizer in two.optimizers.items():
        optimizer.load_state_dict(optimizers[name])
    for algorithm in (one, two):
        torch.set_rng_state(rng)
        for i in range(4, 6):
            algorithm.step(batch(rows=9, seed=i), i / 6)
    assert same(one, two)


def test_a_report_changes_nothing_that_is_learned():
    one, two = build(calibration=1.0), build(calibration=1.0)
    for algorithm in (one, two):
        torch.manual_seed(5)
        algorithm.step(batch(3), 0.1)
    two.evaluate([batch(3, seed=4)])
    assert float(two.generator.head.scale) != 1.0
    for algorithm in (one, two):
        torch.manual_seed(6)
        algorithm.step(batch(3, seed=2), 0.2)
    assert same(one, two)


def test_sampling_and_scoring_follow_their_random_state():
    algorithm = build()
    first, again, other = (
        algorithm.sample(5, rng=torch.Generator().manual_seed(seed)).tokens for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    scores = [
        algorithm.log_likelihood(first, samples=2, rng=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert torch.equal(scores[0], scores[1])
    assert not torch.equal(scores[0], scores[2])
    assert scores[0].shape == (5,)
    # a latent's sentence is drawn from that latent: the likeliest of it where the temperature is 0
    latents = algorithm.encode(first)
    assert latents.shape == (5, Z)
    assert torch.equal(
        algorithm.decode(latents).tokens, algorithm.decode(latents, LENGTH, temperature=0.0).tokens
    )


def test_what_is_left_to_the_corpus_is_fitted_to_its_size():
    text = TextSize(10_000, 100_000, 1_001)
    config = algorithms.get("sentence-vae").config().fitted(text)
    assert (config.generator.dropout, config.weight_decay, config.epochs) == (0.278, 0.0266, 25)
    assert (config.generator.latent_skip, config.encoder.pooling) == (True, "max")
    chosen = settings.override(config, {"latent_skip": False, "pooling": "mean"}).fitted(
        TextSize(10_000, 100_000, 1_001)
    )
    assert (chosen.generator.latent_skip, chosen.encoder.pooling) == (False, "mean")
    autoencoder = algorithms.get("autoencoder").config().fitted(text)
    assert (autoencoder.generator.latent_skip, autoencoder.encoder.pooling) == (False, "last")
    with pytest.raises(UserError, match="target_kl=-1"):
        settings.override(config, {"target_kl": -1})


@pytest.mark.parametrize("seed", range(3))
def test_codes_carry_what_they_may_and_cost_no_likelihood(seed):
    # 9 words, each sentence one of them thrice: ln 9 = 2.2 nats, all in the first word or in the latent
    language = [[word] * 3 + [EOS] for word in range(4, 13)]
    values = {
        "penalty": "free_bits",
        "target_kl": 1.5,
        "lr": 2e-2,
        "batch_size": 45,
        "generator.hidden": 23,
        "encoder.hidden": 23,
    }
    algorithm = build(seed=seed, **values)
    batches = Batches(pack(language * 40), 45, seed=seed)
    for i in range(150):
        algorithm.step(next(batches), i / 150)
    tokens = torch.tensor(language)
    assert -float(algorithm.log_likelihood(tokens).mean()) == pytest.approx(math.log(9), rel=0.08)
    metrics = algorithm.evaluate([Batch(tokens.repeat(30, 1))])
    assert 1.2 < metrics["valid_kl"] < 2.5
    assert metrics["mutual_information"] > 1.0
    assert metrics["active_units"] == Z
