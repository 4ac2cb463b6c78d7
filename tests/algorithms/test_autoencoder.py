"""Autoencoders: loss by hand, the Gaussian of the codes, noise, and that they give sentences back."""

import math

import pytest
import torch
import torch.nn.functional as F

from seqgen import algorithms
from seqgen.core import settings
from seqgen.data.batches import Batches, pack
from seqgen.data.tokenizer import EOS, PAD, UNK
from seqgen.generation.sample import shifted

V, LENGTH, Z = 13, 7, 3
SMALL = {
    "generator.embedding": 5,
    "generator.hidden": 11,
    "generator.dropout": 0.0,
    "encoder.embedding": 5,
    "encoder.hidden": 7,
    "encoder.dropout": 0.0,
    "code": Z,
    "batch_size": 3,
}


def build(name="autoencoder", seed=0, **values):
    torch.manual_seed(seed)
    cls = algorithms.get(name)
    algorithm = cls(settings.override(cls.Config(), SMALL | values), vocab_size=V, length=LENGTH)
    algorithm.configure()
    return algorithm


def batch(rows=3, seed=1):
    rng = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, V, (rows, LENGTH), generator=rng)
    for row, end in enumerate(torch.randint(1, LENGTH, (rows,), generator=rng).tolist()):
        tokens[row, end] = EOS
        tokens[row, end + 1 :] = PAD
    return tokens


def recon(algorithm, tokens):
    """-log p of sentences given their own codes, summed."""
    codes, _ = algorithm.encoder(tokens)
    logits, _ = algorithm.generator(shifted(tokens), algorithm.generator.state(codes))
    loss = F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), ignore_index=PAD, reduction="sum")
    return float(loss.detach())


def test_figures_are_reconstruction_and_the_size_of_codes():
    algorithm, tokens = build(), batch()
    expected = recon(algorithm, tokens)
    norm = float(algorithm.encoder(tokens)[0].detach().square().sum()) / 2
    figures = algorithm.step(tokens, 0.5)
    assert float(figures["recon"]) == pytest.approx(expected / 3, rel=1e-5)
    assert float(figures["code_norm"]) == pytest.approx(norm / 3, rel=1e-5)
    assert algorithm.evaluate([tokens[:1], tokens[1:]])["valid_recon"] == pytest.approx(
        recon(algorithm, tokens) / 3, rel=1e-5
    )


def test_moments_follow_the_codes():
    algorithm = build()
    rng = torch.Generator().manual_seed(0)
    mixing = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, -1.0, 1.5]])
    for step in range(1, 301):
        algorithm.batches_seen.fill_(step)
        algorithm._follow(torch.randn(64, Z, generator=rng) @ mixing.t() + torch.tensor([1.0, -2.0, 3.0]))
    assert torch.allclose(algorithm.code_mean, torch.tensor([1.0, -2.0, 3.0]), atol=0.15)
    assert torch.allclose(algorithm.code_cov, mixing @ mixing.t(), atol=0.5)


def test_the_first_batch_is_all_that_is_known_of_the_codes():
    algorithm = build()
    algorithm.batches_seen.fill_(1)
    algorithm._follow(torch.tensor([[1.0, 0.0, 2.0], [3.0, 0.0, 2.0]]))
    assert algorithm.code_mean.tolist() == [2.0, 0.0, 2.0]
    assert algorithm.code_cov.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def test_samples_are_decoded_from_the_fitted_gaussian():
    algorithm = build()
    mixing = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, -1.0, 1.5]])
    algorithm.code_mean.copy_(torch.tensor([1.0, -2.0, 3.0]))
    algorithm.code_cov.copy_(mixing @ mixing.t())
    seen = []
    state = algorithm.generator.state
    algorithm.generator.state = lambda codes: seen.append(codes) or state(codes)
    tokens = algorithm.sample(20_000, rng=torch.Generator().manual_seed(1)).tokens
    assert tokens.shape == (20_000, LENGTH)
    assert torch.allclose(seen[0].mean(dim=0), algorithm.code_mean, atol=0.1)
    assert torch.allclose(seen[0].t().cov(), algorithm.code_cov, atol=0.2)
    again = algorithm.sample(20_000, rng=torch.Generator().manual_seed(1)).tokens
    assert torch.equal(tokens, again)


def test_a_covariance_of_low_rank_can_be_sampled():
    algorithm = build()
    algorithm.code_cov.zero_()
    assert algorithm.sample(5).tokens.shape == (5, LENGTH)


def test_only_the_encoder_reads_noise_and_only_in_training():
    algorithm = build("denoising-autoencoder", delete=1.0, shuffle=0.0)
    tokens = torch.tensor([[5, 6, 7, EOS], [8, 9, EOS, PAD]])
    torch.manual_seed(0)
    assert algorithm.disturbed(tokens).tolist() == [[EOS, PAD, PAD, PAD]] * 2
    nothing = torch.tensor([[EOS]])
    codes, _ = algorithm.encoder(nothing.expand(2, -1))
    logits, _ = algorithm.generator(shifted(tokens), algorithm.generator.state(codes))
    expected = F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), ignore_index=PAD, reduction="sum")
    assert float(algorithm.step(tokens, 0.5)["recon"]) == pytest.approx(
        float(expected.detach()) / 2, rel=1e-5
    )
    assert not torch.allclose(algorithm.encode(tokens), algorithm.encode(nothing))
    assert algorithm.evaluate([tokens])["valid_recon"] == pytest.approx(
        recon(algorithm, tokens) / 2, rel=1e-5
    )


def test_every_kind_of_noise_is_made():
    algorithm = build(blank=0.3, delete=0.2, shuffle=2.0)
    torch.manual_seed(0)
    tokens = torch.arange(4, 12)[None].repeat(301, 1)
    noisy = algorithm.disturbed(tokens)
    assert bool((noisy == UNK).any())
    assert bool((noisy == PAD).any())
    kept = [[token for token in row if token > UNK] for row in noisy.tolist()]
    assert any(row != sorted(row) for row in kept)
    assert torch.equal(build().disturbed(tokens), tokens)


def test_the_denoising_one_differs_by_its_defaults_alone():
    plain, denoising = (algorithms.get(name) for name in ("autoencoder", "denoising-autoencoder"))
    rows = [
        {key: (default, text) for key, _, default, text in settings.describe(cls.Config)}
        for cls in (plain, denoising)
    ]
    assert rows[0].keys() == rows[1].keys()
    assert {key for key in rows[0] if rows[0][key][0] != rows[1][key][0]} == {"delete", "shuffle"}
    assert denoising.Config().fitted(10_000).epochs == 25
    assert isinstance(denoising.Config().fitted(10_000), denoising.Config)


@pytest.mark.parametrize("name", ["autoencoder", "denoising-autoencoder"])
def test_it_gives_sentences_back_and_writes_such(name):
    # 9 words, each sentence one of them four times: of two that are left one knows all
    sentences = [[word] * 4 + [EOS] for word in range(4, 13)]
    values = {"lr": 2e-2, "batch_size": 45, "generator.hidden": 23, "encoder.hidden": 23}
    algorithm = build(name, **values)
    batches = Batches(pack(sentences * 40), 45, seed=0)
    for i in range(120):
        algorithm.step(next(batches), i / 120)
    tokens = torch.tensor(sentences)
    assert torch.equal(algorithm.decode(algorithm.encode(tokens)).tokens[:, :5], tokens)
    assert algorithm.evaluate([tokens])["valid_recon"] < 0.2 * math.log(9)
    written = algorithm.sample(200).tokens
    known = (written[:, 1:4] == written[:, :1]).all(dim=1) & (written[:, 4] == EOS)
    assert float(known.float().mean()) > 0.25  # of words at random: 1 / 729
