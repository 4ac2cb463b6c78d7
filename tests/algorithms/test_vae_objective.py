"""The KL term and its schedule, reconstruction, decoding, and importance weights against plain loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from helpers import GENERATOR_KINDS, Z, generator
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from seqgen.algorithms import vae_objective
from seqgen.data.tokenizer import EOS, PAD, UNK
from seqgen.functional import gaussian
from seqgen.generation.sample import Samples, shifted
from seqgen.models.encoder import RNNEncoder

V, E, H, S, T = 13, 5, 11, 17, 7
KL = torch.tensor([[0.0, 1.0, 4.0], [0.2, 3.0, 0.0]])  # means of the dimensions: 0.1, 2, 2
SENTENCES = torch.tensor(
    [
        [5, 6, 7, 8, EOS, PAD, PAD],
        [9, EOS, PAD, PAD, PAD, PAD, PAD],
        [4, 10, 11, EOS, PAD, PAD, PAD],
        [4, 5, 6, 7, 8, 9, 10],
    ]
)


def networks(kind="rnn", latent_dim=Z, **options):
    decoder = generator(kind, latent_dim=latent_dim, **options)
    return RNNEncoder(V, E, H, latent_dim, dropout=options.get("dropout", 0.0)), decoder


def nll(decoder, tokens, latents):
    """-log p(tokens | latents) with the whole table of logits; (B,)."""
    logits, _ = decoder(shifted(tokens), decoder.initial(len(latents), latents))
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
    assert vae_objective.anneal(progress, kind, over=0.4, cycles=5) == pytest.approx(weight, abs=1e-9)


def test_a_schedule_over_nothing_starts_at_the_end():
    assert vae_objective.anneal(0.0, "linear", over=0.0) == 1.0


@pytest.mark.parametrize(
    ("kind", "target", "value"),
    [
        ("kl", 9.0, 4.1),
        ("free_bits", 1.5, 4.5),  # 0.5 a dimension: 0.5 + 2 + 2
        ("free_bits", 9.0, 9.0),
        ("hinge", 3.0, 4.1),
        ("hinge", 5.0, 5.0),
        ("target", 3.0, 1.1),
        ("target", 5.0, 0.9),
    ],
)
def test_forms_of_the_kl_term_by_hand(kind, target, value):
    assert float(vae_objective.penalty(KL, kind, target)) == pytest.approx(value, abs=1e-6)


def test_free_bits_do_not_push_a_unit_below_its_part():
    kl = KL.clone().requires_grad_()
    vae_objective.penalty(kl, "free_bits", 1.5).backward()
    assert kl.grad.tolist() == [[0.0, 0.5, 0.5]] * 2


def test_total_correlation_by_hand_and_by_torch():
    # two dimensions that correlate by 0.6, variances 4 and 9: -ln(1 - 0.36) / 2
    cov = torch.tensor([[4.0, 3.6], [3.6, 9.0]])
    assert float(vae_objective.total_correlation(cov)) == pytest.approx(-math.log(0.64) / 2, rel=1e-5)
    mixing = torch.randn(Z, Z, generator=torch.Generator().manual_seed(0))
    cov = mixing @ mixing.t() + torch.eye(Z)
    joint = MultivariateNormal(torch.zeros(Z), cov)
    alone = MultivariateNormal(torch.zeros(Z), cov.diagonal().diag())
    assert float(vae_objective.total_correlation(cov)) == pytest.approx(
        float(kl_divergence(joint, alone)), rel=1e-4
    )


def test_moments_go_part_of_the_way_to_those_of_a_batch():
    moments = vae_objective.Moments(torch.tensor([1.0, 0.0]), torch.eye(2))
    latents, var = torch.tensor([[2.0, 1.0], [4.0, -1.0]]), torch.tensor([[0.5, 2.0], [1.5, 2.0]])
    moments.follow(torch.tensor(0.5), latents, var)
    # mean (3, 0), so half way to it (2, 0); about that errors (0, 1), (2, -1): covariance (2, -1; -1, 1),
    # with the variances (1, 2) added (3, -1; -1, 3); half way to it from the identity
    assert moments.mean.tolist() == [2.0, 0.0]
    assert moments.cov.tolist() == [[2.0, -0.5], [-0.5, 2.0]]
    assert moments.of_batch(latents).tolist() == [[2.0, -1.0], [-1.0, 1.0]]


@pytest.mark.parametrize("kind", GENERATOR_KINDS)
def test_reconstruction_is_the_cross_entropy_of_real_tokens(kind):
    _, decoder = networks(kind)
    latents = torch.randn(4, Z, requires_grad=True)
    ours = vae_objective.reconstruction(decoder, SENTENCES, latents)
    reference = nll(decoder, SENTENCES, latents).sum()
    assert float(ours.detach()) == pytest.approx(float(reference.detach()), rel=1e-5)
    (mine,), (theirs,) = (torch.autograd.grad(loss, latents) for loss in (ours, reference))
    assert torch.allclose(mine, theirs, atol=1e-5)
    wider = F.pad(SENTENCES, (0, 4), value=PAD)
    padded = vae_objective.reconstruction(decoder, wider, latents).detach()
    assert float(padded) == pytest.approx(float(ours.detach()), rel=1e-5)


def test_the_decoder_reads_blanks_where_words_were():
    _, decoder = networks()
    latents = torch.randn(4, Z)
    read = shifted(SENTENCES)
    blanked = torch.where((read > UNK), torch.full_like(read, UNK), read)
    logits, _ = decoder(blanked, decoder.initial(len(latents), latents))
    reference = F.cross_entropy(logits.flatten(0, 1), SENTENCES.flatten(), ignore_index=PAD, reduction="sum")
    ours = vae_objective.reconstruction(decoder, SENTENCES, latents, mask_rate=1.0)
    assert ours.item() == pytest.approx(reference.item(), rel=1e-5)


@pytest.mark.parametrize("kind", GENERATOR_KINDS)
def test_decoding_takes_the_likeliest_words_and_keeps_the_rows(kind):
    _, decoder = networks(kind)
    latents = 3 * torch.randn(5, Z)
    generated = vae_objective.decode(decoder, latents, T).tokens
    assert generated.shape == (5, T)
    assert torch.equal(generated, vae_objective.decode(decoder, latents, T).tokens)
    assert torch.equal(generated[3:4], vae_objective.decode(decoder, latents[3:4], T).tokens)
    logits, _ = decoder(shifted(generated), decoder.initial(len(latents), latents))
    real = generated != PAD
    assert torch.equal(logits.argmax(dim=-1)[real], generated[real])
    drawn = [
        vae_objective.decode(
            decoder, latents, T, temperature=1.0, rng=torch.Generator().manual_seed(seed)
        ).tokens
        for seed in (1, 1, 2)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_importance_weights_are_those_of_a_plain_loop(monkeypatch):
    monkeypatch.setattr(vae_objective, "BLOCK", 3)  # the last block is short
    monkeypatch.setattr(vae_objective, "POSITIONS", 29)  # and so is the last chunk of rows
    encoder, decoder = networks(dropout=0.5)
    found = vae_objective.importance_weights(
        encoder, decoder, SENTENCES, samples=S, rng=torch.Generator().manual_seed(4)
    )
    assert encoder.training
    assert decoder.training
    encoder.eval()
    decoder.eval()
    rng = torch.Generator().manual_seed(4)
    for first in (0, 3):
        mean, log_var = encoder(SENTENCES[first : first + 3])
        rows = len(mean)
        gauss = [gaussian.tempered(mean, log_var, weight) for weight in (1.0, 0.5, 0.0)]
        # 17 draws: 6 of the posterior, 6 from half way, 5 of the prior
        latents = torch.cat(
            [
                middle[:, None] + (0.5 * spread).exp()[:, None] * torch.randn(rows, n, Z, generator=rng)
                for (middle, spread), n in zip(gauss, (6, 6, 5), strict=True)
            ],
            dim=1,
        )
        for row in range(rows):
            mixture = MixtureSameFamily(
                Categorical(torch.tensor([6.0, 6.0, 5.0])),
                Independent(
                    Normal(
                        torch.stack([g[0][row] for g in gauss]),
                        torch.stack([(0.5 * g[1][row]).exp() for g in gauss]),
                    ),
                    1,
                ),
            )
            for s in range(S):
                latent = latents[row, s]
                prior = gaussian.prior_log_density(latent) - mixture.log_prob(latent)
                tokens = SENTENCES[first + row : first + row + 1]
                likelihood = -float(nll(decoder, tokens, latent[None]).detach())
                assert float(found.likelihood[s, first + row]) == pytest.approx(likelihood, abs=1e-4)
                assert float(found.prior[s, first + row]) == pytest.approx(float(prior.detach()), abs=1e-4)


def test_one_draw_is_of_the_posterior():
    encoder, decoder = networks()
    rng = torch.Generator().manual_seed(4)
    found = vae_objective.importance_weights(encoder, decoder, SENTENCES, samples=1, rng=rng)
    mean, log_var = encoder(SENTENCES)
    latent = gaussian.sample(mean, log_var, torch.Generator().manual_seed(4))
    expected = gaussian.prior_log_density(latent) - gaussian.log_density(latent, mean, log_var)
    assert torch.allclose(found.prior[0], expected.double(), atol=1e-5)
    seeded = vae_objective.one_draw_nll(encoder, decoder, [SENTENCES])
    latent = gaussian.sample(mean, log_var, torch.Generator().manual_seed(0))
    assert seeded == pytest.approx(float(nll(decoder, SENTENCES, latent).detach().sum()), rel=1e-5)


def test_a_posterior_that_is_too_sure_costs_little():
    # With draws of the posterior alone the estimate would be worse by the distance
    # of its mean, 3²/2 a dimension.
    encoder, decoder = networks()
    with torch.no_grad():
        for head in (encoder.mean, encoder.log_var):
            head.weight.zero_()
        encoder.mean.bias.fill_(3.0)
        encoder.log_var.bias.fill_(-3.0)
        for weight, _ in decoder.latent_layers():  # a decoder to which the latent vector means nothing
            weight[:, -Z:] = 0
    exact = -nll(decoder, SENTENCES, torch.zeros(4, Z))
    weights = vae_objective.importance_weights(
        encoder, decoder, SENTENCES, samples=300, rng=torch.Generator().manual_seed(0)
    )
    assert torch.allclose(weights.log_likelihood().float(), exact, atol=0.1)


def test_padding_changes_no_weight():
    encoder, decoder = networks()
    wider = F.pad(SENTENCES, (0, 4), value=PAD)
    one, two = (
        vae_objective.importance_weights(
            encoder, decoder, tokens, samples=S, rng=torch.Generator().manual_seed(1)
        )
        for tokens in (SENTENCES, wider)
    )
    assert torch.allclose(one.likelihood, two.likelihood, atol=1e-5)
    assert torch.allclose(one.prior, two.prior, atol=1e-5)


def test_the_estimate_comes_to_the_integral_over_codes():
    encoder, decoder = networks(latent_dim=1)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(3)  # a decoder to which the latent matters
    grid = torch.linspace(-8, 8, 1601)
    for row in SENTENCES:
        log_joint = -nll(decoder, row.expand(len(grid), -1), grid[:, None]) + gaussian.prior_log_density(
            grid[:, None]
        )
        exact = float(torch.logsumexp(log_joint.detach().double(), dim=0)) + math.log(0.01)
        weights = vae_objective.importance_weights(
            encoder, decoder, row[None], samples=4001, rng=torch.Generator().manual_seed(0)
        )
        assert float(weights.log_likelihood()) == pytest.approx(exact, abs=1e-2 * 3)


def test_posteriors_of_batches_are_put_together():
    encoder, _ = networks(dropout=0.5)
    found = vae_objective.posteriors(encoder, [SENTENCES[:3], SENTENCES[3:]])
    encoder.eval()
    mean, log_var = encoder(SENTENCES)
    assert torch.allclose(found.mean, mean, atol=1e-6)
    assert torch.allclose(found.log_var, log_var, atol=1e-6)
    assert torch.allclose(vae_objective.encode(encoder.train(), SENTENCES), mean, atol=1e-6)
    assert vae_objective.posteriors(encoder, []) is None


def test_rows_are_chosen_evenly_across_batches():
    rows = torch.arange(17)[:, None]
    batches = [rows[:5], rows[5:6], rows[6:]]
    assert torch.cat(vae_objective.evenly_chosen(batches, 17)).flatten().tolist() == list(range(17))
    # 17 rows, 5 at most: every fourth
    assert torch.cat(vae_objective.evenly_chosen(batches, 5)).flatten().tolist() == [0, 4, 8, 12, 16]
    assert vae_objective.evenly_chosen([], 5) == []


def test_reconstructions_are_decoded_from_the_posterior_mean_and_scored_without_ends_or_what_was_given(
    monkeypatch,
):
    encoder, decoder = networks()
    shown = torch.tensor([[4, 5, 6, 7, 8, EOS, PAD], [4, 5, 10, 11, 12, EOS, PAD]])
    asked = []

    def decoded(generator, latents, length, **options):
        asked.append((latents, length, options))
        tokens = torch.tensor([[9, 5, 6, 7, 8, EOS], [4, 5, 10, 11, EOS, PAD]])
        return Samples(tokens, torch.zeros(2, 6))

    monkeypatch.setattr(vae_objective, "decode", decoded)
    found = vae_objective.measure_reconstructions(encoder, decoder, [shown], 7)
    latents, length, options = asked[0]
    assert torch.equal(latents, encoder(shown)[0].detach())
    assert (length, options) == (7, {"forbid": (UNK,)})
    # of 9 tokens, 5 and 4: matched 8 of 9 tokens, 6 of 7 pairs, 4 of 5 triples, 2 of 3 quadruples; a token
    # fewer than the sentences have
    product = 8 / 9 * 6 / 7 * 4 / 5 * 2 / 3
    assert found["reconstruction_bleu"] == pytest.approx(100 * math.exp(1 - 10 / 9) * product**0.25, rel=1e-6)
    # against each other: (5) and (4 5) match, of pairs one, of longer ones none: 1/2 and 1/4 counted
    product = 3 / 9 * 1 / 7 * (1 / 2) / 5 * (1 / 4) / 3
    assert found["shuffled_bleu"] == pytest.approx(100 * math.exp(1 - 10 / 9) * product**0.25, rel=1e-6)
    # where the first token was given it counts on neither side: 7 of 7, 5 of 5, 3 of 3, 1 of 1
    later = vae_objective.measure_reconstructions(
        encoder,
        decoder,
        [shown],
        7,
        lambda tokens: (tokens != PAD) & (torch.arange(tokens.shape[1]) > 0),
    )
    assert later["reconstruction_bleu"] == pytest.approx(100 * math.exp(1 - 8 / 7), rel=1e-6)


def test_reconstructions_from_equal_latents_are_no_better_than_the_control():
    encoder, decoder = networks()
    with torch.no_grad():  # all latents are equal
        encoder.mean.weight.zero_()
    found = vae_objective.measure_reconstructions(encoder, decoder, [SENTENCES[:2]], 7)
    assert found["reconstruction_bleu"] == pytest.approx(found["shuffled_bleu"])
    assert vae_objective.measure_reconstructions(encoder, decoder, [], 7) == {}
