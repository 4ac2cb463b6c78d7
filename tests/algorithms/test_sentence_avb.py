"""Adversarial variational Bayes of sentences: its loss by hand, known bounds, a critic that is checked."""

import copy
import math

import helpers
import pytest
import torch
import torch.nn.functional as F
from helpers import Z, batch, moved, same, sentences, weights
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from seqgen.algorithms.adversarial_bayes import update_critic
from seqgen.data.batch import Batch
from seqgen.data.batches import Batches, pack
from seqgen.data.tokenizer import EOS, PAD
from seqgen.functional.implicit_posterior import gaussian_reference
from seqgen.generation.sample import shifted

SMALL = {
    "generator.dropout": 0.0,
    "encoder.dropout": 0.0,
    "calibration": 0.0,
    "noise_dim": 2,
    "critic.hidden": 11,
    "critic.lr": 0.0,
}


def build(seed=0, **values):
    algorithm = helpers.build("sentence-avb", SMALL | values, seed=seed)
    torch.nn.init.zeros_(algorithm.critic.body[-1].bias)  # an untrained critic then scores 0
    return algorithm


def spread_loadings(algorithm, scale=1.0):
    """Give the posterior correlations and a skew that cannot be overlooked."""
    with torch.no_grad():
        algorithm.loadings.weight.normal_(std=scale)
    return algorithm


@pytest.mark.parametrize("contrast", ["none", "diagonal", "full"])
def test_the_loss_is_the_bound_with_the_critics_part(contrast):
    values = {"penalty": "kl", "decorrelation": 0.0, "contrast": contrast, "adversarial_weight": 0.7}
    algorithm, tokens = spread_loadings(build(**values)), sentences(5)
    torch.nn.init.normal_(algorithm.critic.body[-1].weight)
    torch.nn.init.constant_(algorithm.critic.body[-1].bias, 1.3)
    algorithm.tokens_per_batch.count.fill_(1e9)
    algorithm.tokens_per_batch.value.fill_(10.0)
    torch.manual_seed(3)
    loss, metrics = algorithm._loss(tokens, 0.5)
    torch.manual_seed(3)
    posterior = algorithm.implicit_posterior(tokens)
    for _ in range(2):  # the critic's two updates have their own draws
        posterior.draw(4)
        torch.randn(5, 4, Z)
    latents = posterior.draw(1)
    whitened = gaussian_reference(posterior, contrast).whiten(latents)
    score = algorithm.critic(posterior.features, whitened).mean()
    latents = latents[:, 0]
    logits, _ = algorithm.generator(shifted(tokens), algorithm.generator.initial(5, latents))
    recon = F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), ignore_index=PAD, reduction="sum")
    prior = MultivariateNormal(torch.zeros(Z), torch.eye(Z))
    cov = posterior.std[:, :, None] * posterior.correlation() * posterior.std[:, None, :]
    known = {
        "none": torch.zeros(5),
        "diagonal": kl_divergence(Normal(posterior.mean, posterior.std), Normal(0.0, 1.0)).sum(dim=1),
        "full": kl_divergence(MultivariateNormal(posterior.mean, cov), prior),
    }[contrast].sum()
    expected = (recon + 0.5 * (known + 0.7 * 5 * score)) / 10
    assert float(loss.detach()) == pytest.approx(expected.item(), rel=1e-4)
    assert float(metrics["recon"]) == pytest.approx(recon.item() / 5, rel=1e-5)
    assert float(metrics["kl"]) == pytest.approx((known / 5 + score).item(), rel=1e-4)
    assert float(metrics["elbo"]) == pytest.approx(-((recon + known) / 5 + score).item(), rel=1e-4)


def test_free_bits_leave_a_dimension_free_and_charge_what_is_not_in_any():
    free, charged = (build(target_kl=target, decorrelation=0.0) for target in (0.0, 30.0))
    for algorithm in (free, charged):
        spread_loadings(algorithm, 0.0)
        with torch.no_grad():
            algorithm.loadings.bias.fill_(0.8)
    torch.manual_seed(3)
    low, _ = free._loss(sentences(5), 1.0)
    torch.manual_seed(3)
    high, metrics = charged._loss(sentences(5), 1.0)
    posterior = free.implicit_posterior(sentences(5))
    marginal = kl_divergence(Normal(posterior.mean, posterior.std), Normal(0.0, 1.0)).sum(dim=1).mean()
    correlations = gaussian_reference(posterior, "full").kl().mean() - marginal
    assert correlations > 0.5
    per_sentence = (high - low).detach() * free.tokens_per_batch.value / 5
    assert float(per_sentence) == pytest.approx(30.0 - float(marginal.detach()), rel=1e-4)
    total = float((marginal + correlations).detach())
    assert float(metrics["kl"]) == pytest.approx(total, rel=1e-4)


def test_without_common_noise_it_measures_what_the_sentence_vae_does():
    algorithm, tokens = build(), sentences(7)
    torch.nn.init.zeros_(algorithm.loadings.weight)  # a diagonal Gaussian, of which the critic knows all
    metrics = algorithm.evaluate([Batch(tokens[:3]), Batch(tokens[3:])])
    mean, log_var = algorithm.encoder(tokens)
    exact = kl_divergence(Normal(mean, (0.5 * log_var).exp()), Normal(0.0, 1.0)).sum(dim=1).mean().item()
    assert metrics["valid_kl_critic"] == pytest.approx(exact, rel=1e-4)
    assert metrics["valid_kl_least"] == pytest.approx(metrics["valid_kl"], abs=1e-5)
    # a draw's log density varies about its mean, by √(Z / 2) here
    many = algorithm._bound(tokens.repeat(2003, 1), torch.Generator().manual_seed(1))
    assert float(many["valid_kl"].detach()) / (7 * 2003) == pytest.approx(exact, abs=4e-2)
    other = helpers.build("sentence-vae", {key: SMALL[key] for key in list(SMALL)[:3]})
    other.load_state_dict(algorithm.state_dict(), strict=False)
    same_of_vae = other.evaluate([Batch(tokens)])
    assert metrics["valid_nll"] == pytest.approx(same_of_vae["valid_nll"], abs=2e-2)
    assert metrics["valid_recon"] == pytest.approx(same_of_vae["valid_recon"], rel=2e-2)


def test_the_critic_learns_by_its_own_loss_alone():
    algorithm = spread_loadings(build(**{"critic.lr": 1e-3}))
    algorithm.step(batch(3), 0.5)  # the first update of an untrained critic changes its last layer alone
    before = weights(algorithm)
    posterior = algorithm.implicit_posterior(sentences(3))
    reference, critic = gaussian_reference(posterior, "full"), algorithm.optimizers["critic"]
    update_critic(algorithm.critic, algorithm.config.critic, critic, posterior, reference)
    assert moved(algorithm, before) == {name for name in before if name.startswith("critic.")}
    before = weights(algorithm)
    loss, _ = build(**{"critic.lr": 1e-3})._loss(sentences(3), 1.0)
    assert loss.requires_grad
    frozen = spread_loadings(build())  # at a learning rate of 0 its critic stays
    critic = copy.deepcopy(frozen.critic)
    frozen.step(batch(3), 0.5)
    assert same(frozen.critic, critic)


def test_the_encoder_alone_learns_by_a_part_of_the_critics_score():
    # The same step with a critic of score 0 and with another: the decoder learns from the same latents.
    encoders, decoders = [], []
    for spread in (0.0, 0.5):
        algorithm = spread_loadings(build(anneal="none"))
        torch.nn.init.normal_(algorithm.critic.body[-1].weight, std=spread)
        algorithm.step(batch(3), 0.5)
        encoders.append(algorithm.loadings)
        decoders.append(algorithm.generator)
    assert same(*decoders)
    assert not same(*encoders)


def test_a_critic_that_underestimates_the_divergence_is_said():
    algorithm, tokens = build(contrast="none"), sentences(5)
    with torch.no_grad():
        algorithm.encoder.mean.bias.fill_(2.0)  # 2 nats a dimension, of which an untrained critic knows none
    report = algorithm.evaluate([Batch(tokens)])
    assert report["valid_kl_critic"] == pytest.approx(0.0, abs=1e-6)
    assert report["valid_kl_least"] > 5.0
    assert "the critic underestimates KL(q(z | x) ‖ p(z)): 0.00 nats" in algorithm.remark(report)
    assert algorithm.remark(report | {"valid_kl_critic": report["valid_kl_least"]}) is None
    assert algorithm.remark(algorithm.evaluate([])) is None


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_of_a_known_language_is_below_its_entropy(seed):
    # 9 words, each sentence one of them thrice: log p(x) = -ln 9 at best, whatever a critic says
    language = [[word] * 3 + [EOS] for word in range(4, 13)]
    values = {"target_kl": 1.5, "lr": 2e-2, "batch_size": 45, "generator.hidden": 23, "encoder.hidden": 23}
    algorithm = build(seed=seed, **values | {"critic.lr": 3e-3, "critic.hidden": 32})
    batches = Batches(pack(language * 40), 45, seed=seed)
    for i in range(150):
        algorithm.step(next(batches), i / 150)
    tokens = torch.tensor(language)
    assert -float(algorithm.log_likelihood(tokens).mean()) == pytest.approx(math.log(9), rel=0.08)
    report = algorithm.evaluate([Batch(tokens.repeat(30, 1))])
    assert -math.log(9) - 0.9 < report["valid_elbo"] < -math.log(9) + 0.05
    assert 0 < report["valid_kl"] - report["valid_kl_least"] < 0.1
    assert report["valid_kl_critic"] == pytest.approx(report["valid_kl"], abs=0.35)
    assert report["active_units"] == Z


def test_aegan_starts_from_its_encoder_and_decoder():
    start = build()
    other = helpers.build("aegan", {key: SMALL[key] for key in list(SMALL)[:2]}, seed=4)
    other.start_from(start)
    assert same(other.encoder.forwards, start.encoder.forwards)
