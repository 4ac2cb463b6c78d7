"""Losses of the cycles by hand and against exact Jacobians; what whitening keeps."""

import math

import pytest
import torch
from helpers import GENERATOR_KINDS, Z
from helpers import generator as fresh
from helpers import sentences as drawn

from seqgen.algorithms import aegan_losses
from seqgen.data.tokenizer import EOS, PAD, UNK
from seqgen.functional.contrastive_losses import info_nce, logistic_contrastive
from seqgen.generation.sample import log_prob, shifted
from seqgen.models.encoder import RNNEncoder

V, B = 11, 5
KINDS = [{"kind": kind} for kind in GENERATOR_KINDS] + [{"kind": "rnn", "latent_skip": True}]


def generator(seed=0, **options):
    return fresh(vocab_size=V, seed=seed, latent_dim=Z, **options).eval()


def sentences(rows=B):
    return drawn(rows, vocab_size=V)


def encoder(seed=2):
    torch.manual_seed(seed)
    return RNNEncoder(V, 5, 7, Z).eval()


def latents(rows=B, seed=3):
    return torch.randn(rows, Z, generator=torch.Generator().manual_seed(seed))


def test_pairings():
    one, other = latents(), latents(seed=4)
    nce = aegan_losses.pairing_loss("info_nce", one, other, temperature=0.3)
    assert torch.equal(nce, info_nce(one, other, temperature=0.3))
    assert torch.equal(aegan_losses.pairing_loss("logistic", one, other), logistic_contrastive(one, other))
    ours = aegan_losses.pairing_loss("logistic", one, other, strength=3.0, gamma=0.5)
    assert torch.equal(ours, logistic_contrastive(one, other, strength=3.0, gamma=0.5))
    for kind in ("info_nce", "logistic"):
        assert aegan_losses.pairing_loss(kind, one, one) < aegan_losses.pairing_loss(
            kind, one, one.roll(1, 0)
        )


@pytest.mark.parametrize("options", [*KINDS, {"cell": "gru", "layers": 2}, {"attention": True}])
def test_the_decoders_energy_against_the_exact_jacobian(options):
    net, tokens, given = generator(**options), sentences(2), latents(2)
    with torch.no_grad():
        net.head.weight.mul_(5)

    def exact(row):
        def probs(latent):
            hidden, _ = net.hidden(shifted(tokens[row : row + 1]), net.initial(1, latent))
            return torch.softmax(net.head(hidden), dim=-1)[0, tokens[row] != PAD]

        jacobian = torch.autograd.functional.jacobian(probs, given[row : row + 1])  # (T, V, 1, Z)
        return jacobian.square().sum().item() / 2

    wanted = (exact(0) + exact(1)) / 2
    many = 6000  # an error of 1 % or so
    estimate = aegan_losses.decoder_energy(
        net,
        given.repeat(many, 1),
        tokens.repeat(many, 1),
        rng=torch.Generator().manual_seed(5),
    )
    assert estimate.item() == pytest.approx(wanted, rel=3e-2)
    gradients = torch.autograd.grad(aegan_losses.decoder_energy(net, given, tokens), list(net.parameters()))
    assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("options", KINDS)
def test_the_decoders_energy_is_nothing_where_the_latent_says_nothing(options):
    # so `latent_layers` names every way by which a latent vector enters
    net, tokens = generator(**options), sentences()
    with torch.no_grad():
        for weight, _ in net.latent_layers():
            weight[:, -Z:].zero_()
    assert aegan_losses.decoder_energy(net, latents(), tokens).item() == 0


def test_reinforce_by_hand():
    net, given = generator(), latents(3)
    tokens = torch.tensor([[5, EOS], [6, EOS], [EOS, PAD]])
    scores = torch.tensor([4.0, 1.0, -2.0])
    # less the mean of the others at a position: 4 + ½, 1 - 1, -2 - 2½; then, of two, 4 - 1 and 1 - 4
    advantages = torch.tensor([[4.5, 3.0], [0.0, -3.0], [-4.5, 0.0]])
    deviation = math.sqrt((2 * 4.5**2 + 2 * 3.0**2) / 5)  # of five real tokens, whose mean is 0
    hidden, _ = net.hidden(shifted(tokens), net.initial(len(given), given))
    logits = net.head(hidden)
    logits[..., UNK] = -1e4
    logs = torch.log_softmax(logits, dim=-1).gather(2, tokens[..., None])[..., 0]
    wanted = -(advantages / deviation * logs).sum() / 5
    loss = aegan_losses.reinforce(net, given, tokens, scores)
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-5)
    mine, theirs = (torch.autograd.grad(each, net.head.weight)[0] for each in (loss, wanted))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_reinforce_raises_what_scores_better_and_needs_a_difference():
    net, given, tokens = generator(), latents(), sentences()
    assert aegan_losses.reinforce(net, given, tokens, torch.ones(B)).item() == 0
    better = torch.tensor([1.0, 0, 0, 0, 0])
    gradients = torch.autograd.grad(
        aegan_losses.reinforce(net, given, tokens, better), list(net.parameters())
    )
    before = log_prob(net, tokens, net.initial(len(given), given)).sum(dim=1)
    with torch.no_grad():
        for parameter, gradient in zip(net.parameters(), gradients, strict=True):
            parameter.sub_(0.1 * gradient)
    after = log_prob(net, tokens, net.initial(len(given), given)).sum(dim=1)
    assert after[0] > before[0]


@pytest.mark.parametrize("options", [*KINDS, {"cell": "gru", "layers": 2}, {"attention": True}])
def test_whitening_changes_latents_but_not_sentences(options):
    net, posterior_net, tokens = generator(**options), encoder(), sentences(400)
    with torch.no_grad():
        posterior_net.mean.weight.mul_(7)
        before = posterior_net(tokens)[0]
        before_whitening = log_prob(net, tokens, net.initial(len(before), before))
        mean, cov = before.mean(dim=0), torch.cov(before.t(), correction=0)
        aegan_losses.whiten(net, posterior_net, mean, cov)
        after = posterior_net(tokens)[0]
        torch.testing.assert_close(after.mean(dim=0), torch.zeros(Z), rtol=0, atol=1e-3)
        torch.testing.assert_close(torch.cov(after.t(), correction=0), torch.eye(Z), rtol=0, atol=1e-2)
        torch.testing.assert_close(
            log_prob(net, tokens, net.initial(len(after), after)), before_whitening, rtol=1e-4, atol=1e-4
        )


def test_posteriors_of_one_deviation_keep_the_total_variance():
    posterior_net, tokens = encoder(), sentences()
    means = posterior_net(tokens)[0]
    aegan_losses.set_posterior_deviation(posterior_net, 0.6)
    mean, log_var = posterior_net(tokens)
    torch.testing.assert_close(mean, 0.8 * means, rtol=1e-5, atol=1e-6)  # 0.8² + 0.6² = 1
    torch.testing.assert_close(log_var.exp(), torch.full((B, Z), 0.36), rtol=1e-5, atol=1e-6)


@pytest.mark.cuda
def test_the_decoders_energy_on_cuda():
    net = generator().cuda().train()
    loss = aegan_losses.decoder_energy(net, latents().cuda(), sentences().cuda())
    assert torch.autograd.grad(loss, net.head.weight)[0].isfinite().all()
