"""Autoencoders: loss by hand, the Gaussian of the latents, noise, and that they give sentences back."""

import math

import helpers
import pytest
import torch
import torch.nn.functional as F
from helpers import LENGTH, Z, batch, sentences

from seqgen import algorithms
from seqgen.algorithms.regularisation import TextSize
from seqgen.core import optim, settings
from seqgen.data.batch import Batch
from seqgen.data.batches import Batches, pack
from seqgen.data.tokenizer import EOS, PAD, UNK
from seqgen.generation.sample import shifted

SMALL = {"generator.dropout": 0.0, "encoder.dropout": 0.0}


def build(name="autoencoder", seed=0, **values):
    return helpers.build(name, SMALL | values, seed=seed)


def recon(algorithm, tokens):
    """-log p of sentences given their own latent vectors, summed."""
    latents, _ = algorithm.encoder(tokens)
    logits, _ = algorithm.generator(shifted(tokens), algorithm.generator.initial(len(tokens), latents))
    loss = F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), ignore_index=PAD, reduction="sum")
    return float(loss.detach())


def test_figures_are_reconstruction_and_the_size_of_codes():
    algorithm, tokens = build(), sentences(3)
    expected = recon(algorithm, tokens)
    norm = float(algorithm.encoder(tokens)[0].detach().square().sum()) / 2
    metrics = algorithm.step(Batch(tokens), 0.5)
    assert float(metrics["recon"]) == pytest.approx(expected / 3, rel=1e-5)
    assert float(metrics["latent_norm"]) == pytest.approx(norm / 3, rel=1e-5)
    reported = algorithm.evaluate([Batch(tokens[:1]), Batch(tokens[1:])])
    assert reported["valid_recon"] == pytest.approx(recon(algorithm, tokens) / 3, rel=1e-5)
    decoded = algorithm.reconstruction_metrics([tokens[:1], tokens[1:]])
    assert decoded.keys() == {"reconstruction_bleu", "shuffled_bleu"}
    assert decoded.items() <= reported.items()


def step_with(algorithm, latents, *, batches):
    """Step as if the encoder gave these latent vectors and this were batch number `batches`."""
    algorithm.tokens_per_batch.count.fill_(batches - 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(algorithm.encoder, "forward", lambda tokens: (latents, None))
        patch.setattr(optim, "update", lambda losses, clip: dict.fromkeys(losses, 0.0))
        algorithm.step(batch(len(latents)), 0.5)


def test_moments_follow_the_latents():
    algorithm = build()
    rng = torch.Generator().manual_seed(0)
    mixing = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, -1.0, 1.5]])
    for step in range(1, 301):
        latents = torch.randn(64, Z, generator=rng) @ mixing.t() + torch.tensor([1.0, -2.0, 3.0])
        step_with(algorithm, latents, batches=step)
    assert torch.allclose(algorithm.latent_mean, torch.tensor([1.0, -2.0, 3.0]), atol=0.15)
    assert torch.allclose(algorithm.latent_cov, mixing @ mixing.t(), atol=0.5)


def test_the_first_batch_is_all_that_is_known_of_the_latents():
    algorithm = build()
    step_with(algorithm, torch.tensor([[1.0, 0.0, 2.0], [3.0, 0.0, 2.0]]), batches=1)
    assert algorithm.latent_mean.tolist() == [2.0, 0.0, 2.0]
    assert algorithm.latent_cov.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def test_samples_are_decoded_from_the_fitted_gaussian():
    algorithm = build()
    mixing = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, -1.0, 1.5]])
    algorithm.latent_mean.copy_(torch.tensor([1.0, -2.0, 3.0]))
    algorithm.latent_cov.copy_(mixing @ mixing.t())
    seen = []
    initial = algorithm.generator.initial
    algorithm.generator.initial = lambda n, latents: seen.append(latents) or initial(n, latents)
    tokens = algorithm.sample(20_000, rng=torch.Generator().manual_seed(1)).tokens
    assert tokens.shape == (20_000, LENGTH)
    assert torch.allclose(seen[0].mean(dim=0), algorithm.latent_mean, atol=0.1)
    assert torch.allclose(seen[0].t().cov(), algorithm.latent_cov, atol=0.2)
    again = algorithm.sample(20_000, rng=torch.Generator().manual_seed(1)).tokens
    assert torch.equal(tokens, again)


def test_a_covariance_of_low_rank_can_be_sampled():
    algorithm = build()
    algorithm.latent_cov.zero_()
    assert algorithm.sample(5).tokens.shape == (5, LENGTH)


def test_only_the_encoder_reads_noise_and_only_in_training():
    algorithm = build("denoising-autoencoder", delete_rate=1.0, shuffle_distance=0.0)
    tokens = torch.tensor([[5, 6, 7, EOS], [8, 9, EOS, PAD]])
    torch.manual_seed(0)
    assert algorithm.corrupted(tokens).tolist() == [[EOS, PAD, PAD, PAD]] * 2
    nothing = torch.tensor([[EOS]])
    latents, _ = algorithm.encoder(nothing.expand(2, -1))
    logits, _ = algorithm.generator(shifted(tokens), algorithm.generator.initial(len(tokens), latents))
    expected = F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), ignore_index=PAD, reduction="sum")
    assert float(algorithm.step(Batch(tokens), 0.5)["recon"]) == pytest.approx(
        float(expected.detach()) / 2, rel=1e-5
    )
    assert not torch.allclose(algorithm.encode(tokens), algorithm.encode(nothing))
    assert algorithm.evaluate([Batch(tokens)])["valid_recon"] == pytest.approx(
        recon(algorithm, tokens) / 2, rel=1e-5
    )


def test_every_kind_of_noise_is_made():
    algorithm = build(mask_rate=0.3, delete_rate=0.2, shuffle_distance=2.0)
    torch.manual_seed(0)
    tokens = torch.arange(4, 12)[None].repeat(301, 1)
    noisy = algorithm.corrupted(tokens)
    assert bool((noisy == UNK).any())
    assert bool((noisy == PAD).any())
    kept = [[token for token in row if token > UNK] for row in noisy.tolist()]
    assert any(row != sorted(row) for row in kept)
    assert torch.equal(build().corrupted(tokens), tokens)


def test_the_denoising_one_differs_by_its_defaults_alone():
    plain, denoising = (algorithms.get(name) for name in ("autoencoder", "denoising-autoencoder"))
    assert plain.cls is denoising.cls
    one, other = (settings.flatten(settings.to_dict(entry.config())) for entry in (plain, denoising))
    assert {key for key in one if one[key] != other[key]} == {"delete_rate", "shuffle_distance"}
    assert (denoising.config().delete_rate, denoising.config().shuffle_distance) == (0.3, 3.0)
    assert denoising.config().fitted(TextSize(10_000, 100_000, 1_001)).epochs == 25


@pytest.mark.parametrize("name", ["autoencoder", "denoising-autoencoder"])
def test_it_gives_sentences_back_and_generates_such(name):
    # 9 words, each sentence one of them four times: of two that are left one knows all
    language = [[word] * 4 + [EOS] for word in range(4, 13)]
    values = {"lr": 2e-2, "batch_size": 45, "generator.hidden": 23, "encoder.hidden": 23}
    algorithm = build(name, **values)
    batches = Batches(pack(language * 40), 45, seed=0)
    for i in range(120):
        algorithm.step(next(batches), i / 120)
    tokens = torch.tensor(language)
    assert torch.equal(algorithm.decode(algorithm.encode(tokens)).tokens[:, :5], tokens)
    assert algorithm.evaluate([Batch(tokens)])["valid_recon"] < 0.2 * math.log(9)
    generated = algorithm.sample(200).tokens
    known = (generated[:, 1:4] == generated[:, :1]).all(dim=1) & (generated[:, 4] == EOS)
    assert float(known.float().mean()) > 0.25  # of words at random: 1 / 729
