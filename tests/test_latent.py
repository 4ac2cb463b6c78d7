"""The KL term and its schedule, reconstruction, decoding, and importance weights against plain loops."""

import math

import pytest
import torch
import torch.nn.functional as F

from seqgen import gaussian, latent
from seqgen.models.encoder import RNNEncoder
from seqgen.models.generator import RNNGenerator
from seqgen.sampling import shifted
from seqgen.tokenizer import EOS, PAD, UNK

V, E, H, Z, S, T = 13, 5, 11, 3, 17, 7
KL = torch.tensor([[0.0, 1.0, 4.0], [0.2, 3.0, 0.0]])  # means of the units: 0.1, 2, 2
SENTENCES = torch.tensor(
    [
        [5, 6, 7, 8, EOS, PAD, PAD],
        [9, EOS, PAD, PAD, PAD, PAD, PAD],
        [4, 10, 11, EOS, PAD, PAD, PAD],
        [4, 5, 6, 7, 8, 9, 10],
    ]
)


def players(code=Z, **options):
    torch.manual_seed(0)
    decoder = RNNGenerator(V, E, H, code=code, **options)
    return RNNEncoder(V, E, H, code, dropout=options.get("dropout", 0.0)), decoder


def nll(decoder, tokens, codes):
    """-log p(tokens | codes) with the whole table of logits; (B,)."""
    logits, _ = decoder(shifted(tokens), decoder.state(codes))
    return (
        F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), ignore_index=PAD, reduction="none")
        .view(tokens.shape)
        .sum(dim=1)
    )


@pytest.mark.parametrize(
    ("kind", "progress", "weight"),
    [
        ("none", 0.0, 1.0),
        ("linear", 0.1, 0.25),  # a quarter of the first 0.4
        ("linear", 0.7, 1.0),
        ("logistic", 0.0, 1 / (1 + math.exp(6))),
        ("logistic", 0.2, 0.5),
        ("logistic", 0.9, 1 / (1 + math.exp(-6))),
        ("cyclical", 0.0, 0.0),
        ("cyclical", 0.05, 0.5),  # a quarter of a cycle of 0.2
        ("cyclical", 0.15, 1.0),
        ("cyclical", 0.2, 0.0),
    ],
)
def test_schedules_by_hand(kind, progress, weight):
    assert latent.anneal(progress, kind, over=0.4, cycles=5) == pytest.approx(weight, abs=1e-9)


def test_a_schedule_over_nothing_starts_at_the_end():
    assert latent.anneal(0.0, "linear", over=0.0) == 1.0


@pytest.mark.parametrize(
    ("kind", "target", "value"),
    [
        ("kl", 9.0, 4.1),
        ("free_bits", 1.5, 4.5),  # a share of 0.5 a unit: 0.5 + 2 + 2
        ("free_bits", 9.0, 9.0),
        ("hinge", 3.0, 4.1),
        ("hinge", 5.0, 5.0),
        ("target", 3.0, 1.1),
        ("target", 5.0, 0.9),
    ],
)
def test_forms_of_the_kl_term_by_hand(kind, target, value):
    assert float(latent.penalty(KL, kind, target)) == pytest.approx(value, abs=1e-6)


def test_free_bits_do_not_push_a_unit_below_its_share():
    kl = KL.clone().requires_grad_()
    latent.penalty(kl, "free_bits", 1.5).backward()
    assert kl.grad.tolist() == [[0.0, 0.5, 0.5]] * 2


def test_reconstruction_is_the_cross_entropy_of_real_tokens():
    _, decoder = players()
    codes = torch.randn(4, Z, requires_grad=True)
    ours = latent.reconstruction(decoder, SENTENCES, codes)
    reference = nll(decoder, SENTENCES, codes).sum()
    assert float(ours) == pytest.approx(float(reference), rel=1e-5)
    (mine,), (theirs,) = (torch.autograd.grad(loss, codes) for loss in (ours, reference))
    assert torch.allclose(mine, theirs, atol=1e-5)
    wider = F.pad(SENTENCES, (0, 4), value=PAD)
    assert float(latent.reconstruction(decoder, wider, codes)) == pytest.approx(float(ours), rel=1e-5)


def test_the_decoder_reads_blanks_where_words_were():
    _, decoder = players()
    codes = torch.randn(4, Z)
    read = shifted(SENTENCES)
    blanked = torch.where((read > UNK), torch.full_like(read, UNK), read)
    logits, _ = decoder(blanked, decoder.state(codes))
    reference = F.cross_entropy(logits.flatten(0, 1), SENTENCES.flatten(), ignore_index=PAD, reduction="sum")
    ours = latent.reconstruction(decoder, SENTENCES, codes, blank=1.0)
    assert float(ours) == pytest.approx(float(reference), rel=1e-5)


def test_decoding_takes_the_likeliest_words_and_keeps_the_rows():
    _, decoder = players()
    codes = 3 * torch.randn(5, Z)
    written = latent.decode(decoder, codes, T).tokens
    assert written.shape == (5, T)
    assert torch.equal(written, latent.decode(decoder, codes, T).tokens)
    assert torch.equal(written[3:4], latent.decode(decoder, codes[3:4], T).tokens)
    logits, _ = decoder(shifted(written), decoder.state(codes))
    real = written != PAD
    assert torch.equal(logits.argmax(dim=-1)[real], written[real])
    drawn = [
        latent.decode(decoder, codes, T, temperature=1.0, rng=torch.Generator().manual_seed(seed)).tokens
        for seed in (1, 1, 2)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_importance_weights_are_those_of_a_plain_loop(monkeypatch):
    monkeypatch.setattr(latent, "BLOCK", 3)  # the last block is short
    monkeypatch.setattr(latent, "POSITIONS", 29)  # and so is the last chunk of rows
    encoder, decoder = players(dropout=0.5)
    found = latent.importance_weights(
        encoder, decoder, SENTENCES, samples=S, rng=torch.Generator().manual_seed(4)
    )
    assert encoder.training
    assert decoder.training
    encoder.eval()
    decoder.eval()
    rng = torch.Generator().manual_seed(4)
    for first in (0, 3):
        mean, log_var = encoder(SENTENCES[first : first + 3])
        noise = torch.randn(len(mean), S, Z, generator=rng)
        for row in range(len(mean)):
            for s in range(S):
                code = mean[row] + (0.5 * log_var[row]).exp() * noise[row, s]
                prior = gaussian.prior_log_density(code) - gaussian.log_density(code, mean[row], log_var[row])
                tokens = SENTENCES[first + row : first + row + 1]
                likelihood = -float(nll(decoder, tokens, code[None]))
                assert float(found.likelihood[s, first + row]) == pytest.approx(likelihood, abs=1e-4)
                assert float(found.prior[s, first + row]) == pytest.approx(float(prior), abs=1e-4)


def test_padding_changes_no_weight():
    encoder, decoder = players()
    wider = F.pad(SENTENCES, (0, 4), value=PAD)
    one, two = (
        latent.importance_weights(encoder, decoder, tokens, samples=S, rng=torch.Generator().manual_seed(1))
        for tokens in (SENTENCES, wider)
    )
    assert torch.allclose(one.likelihood, two.likelihood, atol=1e-5)
    assert torch.allclose(one.prior, two.prior, atol=1e-5)


def test_the_estimate_comes_to_the_integral_over_codes():
    encoder, decoder = players(code=1)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(3)  # a decoder to which the code matters
    grid = torch.linspace(-8, 8, 1601)
    for row in SENTENCES:
        log_joint = -nll(decoder, row.expand(len(grid), -1), grid[:, None]) + gaussian.prior_log_density(
            grid[:, None]
        )
        exact = float(torch.logsumexp(log_joint.detach().double(), dim=0)) + math.log(0.01)
        weights = latent.importance_weights(
            encoder, decoder, row[None], samples=4001, rng=torch.Generator().manual_seed(0)
        )
        assert float(weights.log_likelihood()) == pytest.approx(exact, abs=1e-2 * 3)


def test_posteriors_of_batches_are_put_together():
    encoder, _ = players(dropout=0.5)
    found = latent.posteriors(encoder, [SENTENCES[:3], SENTENCES[3:]])
    encoder.eval()
    mean, log_var = encoder(SENTENCES)
    assert torch.allclose(found.mean, mean, atol=1e-6)
    assert torch.allclose(found.log_var, log_var, atol=1e-6)
    assert torch.allclose(latent.encode(encoder.train(), SENTENCES), mean, atol=1e-6)
    assert latent.posteriors(encoder, []) is None
