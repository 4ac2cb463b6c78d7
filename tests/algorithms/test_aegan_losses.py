"""Losses of the cycles by hand and against exact Jacobians; what whitening keeps."""

import math

import pytest
import torch

from seqgen.algorithms import aegan_losses
from seqgen.data.tokenizer import EOS, PAD, UNK
from seqgen.functional.contrastive_losses import info_nce, logistic_contrastive
from seqgen.generation.sample import log_prob, shifted
from seqgen.models.encoder import RNNEncoder
from seqgen.models.rnn_generator import RNNGenerator

V, Z, B, T = 11, 3, 5, 7


def generator(seed=0, **options):
    torch.manual_seed(seed)
    return RNNGenerator(V, 5, 13, code=Z, **options).eval()


def encoder(seed=2):
    torch.manual_seed(seed)
    return RNNEncoder(V, 5, 7, Z).eval()


def sentences(rows=B, seed=1):
    rng = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, V, (rows, T), generator=rng)
    for row, end in enumerate(torch.randint(1, T, (rows,), generator=rng).tolist()):
        tokens[row, end] = EOS
        tokens[row, end + 1 :] = PAD
    return tokens


def codes(rows=B, seed=3):
    return torch.randn(rows, Z, generator=torch.Generator().manual_seed(seed))


def test_pairings():
    one, other = codes(), codes(seed=4)
    nce = aegan_losses.pairing_loss("info_nce", one, other, temperature=0.3)
    assert torch.equal(nce, info_nce(one, other, temperature=0.3))
    assert torch.equal(aegan_losses.pairing_loss("logistic", one, other), logistic_contrastive(one, other))
    for kind in ("info_nce", "logistic"):
        assert aegan_losses.pairing_loss(kind, one, one) < aegan_losses.pairing_loss(
            kind, one, one.roll(1, 0)
        )


@pytest.mark.parametrize("options", [{}, {"cell": "gru", "layers": 2}, {"attention": True}])
def test_the_decoders_energy_against_the_exact_jacobian(options):
    net, tokens, given = generator(**options), sentences(2), codes(2)
    with torch.no_grad():
        net.head.weight.mul_(5)

    def exact(row):
        def probs(code):
            hidden, _ = net.hidden(shifted(tokens[row : row + 1]), net.state(code))
            return torch.softmax(net.head(hidden), dim=-1)[0, tokens[row] != PAD]

        jacobian = torch.autograd.functional.jacobian(probs, given[row : row + 1])  # (T, V, 1, Z)
        return jacobian.square().sum().item() / 2

    wanted = (exact(0) + exact(1)) / 2
    many = 3000
    estimate = aegan_losses.decoder_energy(
        net,
        given.repeat(many, 1),
        tokens.repeat(many, 1),
        rng=torch.Generator().manual_seed(5),
    )
    assert estimate.item() == pytest.approx(wanted, rel=3e-2)
    gradients = torch.autograd.grad(aegan_losses.decoder_energy(net, given, tokens), list(net.parameters()))
    assert all(g.isfinite().all() for g in gradients)


def test_the_decoders_energy_is_nothing_where_the_code_says_nothing():
    net, tokens = generator(), sentences()
    with torch.no_grad():
        net.begin.weight.zero_()
        net.rnn.weight_ih_l0[:, -Z:].zero_()
    assert aegan_losses.decoder_energy(net, codes(), tokens).item() == 0


def test_reinforce_by_hand():
    net, given = generator(), codes(3)
    tokens = torch.tensor([[5, EOS], [6, EOS], [EOS, PAD]])
    scores = torch.tensor([4.0, 1.0, -2.0])
    # less the mean of the others at a position: 4 + ½, 1 - 1, -2 - 2½; then, of two, 4 - 1 and 1 - 4
    advantages = torch.tensor([[4.5, 3.0], [0.0, -3.0], [-4.5, 0.0]])
    deviation = math.sqrt((2 * 4.5**2 + 2 * 3.0**2) / 5)  # of five real tokens, whose mean is 0
    hidden, _ = net.hidden(shifted(tokens), net.state(given))
    logits = net.head(hidden)
    logits[..., UNK] = -1e4
    logs = torch.log_softmax(logits, dim=-1).gather(2, tokens[..., None])[..., 0]
    wanted = -(advantages / deviation * logs).sum() / 5
    loss = aegan_losses.reinforce(net, given, tokens, scores)
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-5)
    mine, theirs = (torch.autograd.grad(each, net.head.weight)[0] for each in (loss, wanted))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_reinforce_raises_what_scores_better_and_needs_a_difference():
    net, given, tokens = generator(), codes(), sentences()
    assert aegan_losses.reinforce(net, given, tokens, torch.ones(B)).item() == 0
    better = torch.tensor([1.0, 0, 0, 0, 0])
    gradients = torch.autograd.grad(
        aegan_losses.reinforce(net, given, tokens, better), list(net.parameters())
    )
    before = log_prob(net, tokens, net.state(given)).sum(dim=1)
    with torch.no_grad():
        for parameter, gradient in zip(net.parameters(), gradients, strict=True):
            parameter.sub_(0.1 * gradient)
    after = log_prob(net, tokens, net.state(given)).sum(dim=1)
    assert after[0] > before[0]


@pytest.mark.parametrize("options", [{}, {"cell": "gru", "layers": 2}])
def test_whitening_changes_codes_but_not_what_is_written(options):
    net, reader, tokens = generator(**options), encoder(), sentences(400)
    with torch.no_grad():
        reader.mean.weight.mul_(7)
        before = reader(tokens)[0]
        written = log_prob(net, tokens, net.state(before))
        mean, cov = before.mean(dim=0), torch.cov(before.t(), correction=0)
        aegan_losses.whiten(net, reader, mean, cov)
        after = reader(tokens)[0]
        torch.testing.assert_close(after.mean(dim=0), torch.zeros(Z), rtol=0, atol=1e-3)
        torch.testing.assert_close(torch.cov(after.t(), correction=0), torch.eye(Z), rtol=0, atol=1e-2)
        torch.testing.assert_close(log_prob(net, tokens, net.state(after)), written, rtol=1e-4, atol=1e-4)


def test_blurred_codes_keep_their_variance():
    reader, tokens = encoder(), sentences()
    means = reader(tokens)[0]
    aegan_losses.blur(reader, 0.6)
    mean, log_var = reader(tokens)
    torch.testing.assert_close(mean, 0.8 * means, rtol=1e-5, atol=1e-6)  # 0.8² + 0.6² = 1
    torch.testing.assert_close(log_var.exp(), torch.full((B, Z), 0.36), rtol=1e-5, atol=1e-6)


@pytest.mark.cuda
def test_the_decoders_energy_on_cuda():
    net = generator().cuda().train()
    loss = aegan_losses.decoder_energy(net, codes().cuda(), sentences().cuda())
    assert torch.autograd.grad(loss, net.head.weight)[0].isfinite().all()
