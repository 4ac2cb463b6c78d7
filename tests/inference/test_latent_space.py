"""Latents of sentences: interpolation and distances by hand, order, padding, a memorised corpus."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from seqgen.core.errors import UserError
from seqgen.data.tokenizer import EOS
from seqgen.generation.sample import log_prob
from seqgen.inference import latent_space
from seqgen.training import load
from seqgen.training.load import Trained

LINES = ["two dogs looked at home, as ever.", "a cat sat.", "", "the old man waited in the rain."]


@pytest.fixture
def vae(small_runs: dict[str, Path]) -> Trained:
    return load.load(small_runs["sentence-vae"], "cpu")


@pytest.fixture
def memorised(small_runs: dict[str, Path]) -> Trained:
    return load.load(small_runs["autoencoder"], "cpu")


def test_interpolations_by_hand() -> None:
    start, end = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 4.0])
    assert torch.equal(
        latent_space.interpolate_latents(start, end, 3), torch.tensor([[2.0, 0.0], [1.0, 2.0], [0.0, 4.0]])
    )
    # half of a right angle: the direction is (1, 1) / √2, and the norm is half way from 2 to 4
    turned = latent_space.interpolate_latents(start, end, 3, spherical=True)
    half = 3 / math.sqrt(2)
    assert torch.allclose(turned, torch.tensor([[2.0, 0.0], [half, half], [0.0, 4.0]]), atol=1e-6)


@pytest.mark.parametrize("end", [[-3.0, -6.0], [2.0, 4.0], [0.0, 0.0]])
def test_without_a_plane_to_rotate_in_the_interpolation_is_linear(end: list[float]) -> None:
    start, last = torch.tensor([1.0, 2.0]), torch.tensor(end)
    straight = latent_space.interpolate_latents(start, last, 5)
    assert torch.allclose(
        latent_space.interpolate_latents(start, last, 5, spherical=True), straight, atol=1e-6
    )
    with pytest.raises(UserError, match="an interpolation has at least 2 steps, not 1"):
        latent_space.interpolate_latents(start, last, 1)


def test_nearest_by_hand() -> None:
    known = np.array([[3.0, 0.0], [0.0, 1.0], [0.0, 0.0], [1.0, 1.0], [0.0, 1.0]], np.float32)
    query = np.array([0.0, 2.0], np.float32)
    # distances: √13, 1, 2, √2, 1; equal ones in their order
    distances, rows = latent_space.nearest(known, query, 3)
    assert rows.tolist() == [1, 4, 3]
    assert distances.tolist() == pytest.approx([1.0, 1.0, math.sqrt(2)], rel=1e-6)
    assert latent_space.nearest(known, query, 1)[1].tolist() == [1]
    assert latent_space.nearest(known, query, 31)[1].tolist() == [1, 4, 3, 2, 0]
    # cosines: 0, 1, none, 1/√2, 1
    distances, rows = latent_space.nearest(known, query, 4, metric="cosine")
    assert rows.tolist() == [1, 4, 3, 0]
    assert distances.tolist() == pytest.approx([0.0, 0.0, 1 - math.sqrt(0.5), 1.0], abs=1e-6)


def test_latents_are_in_the_order_of_the_sentences(vae: Trained) -> None:
    found = latent_space.encode(vae, LINES)
    assert found.shape == (4, 7)
    assert found.dtype == torch.float32
    for line, z in zip(LINES, found, strict=True):  # neither the batch nor padding matters
        assert torch.allclose(latent_space.encode(vae, [line])[0], z, atol=1e-6)
    ids = torch.tensor([[*vae.tokenizer.encode(LINES[1]), EOS]])
    assert torch.allclose(vae.algorithm.encode(ids)[0], found[1], atol=1e-6)
    assert latent_space.encode(vae, []).shape == (0, 7)


def test_the_reconstruction_loss(vae: Trained) -> None:
    pairs = latent_space.reconstruct(vae, LINES)
    assert [pair.text for pair in pairs] == LINES
    assert [pair.tokens for pair in pairs] == [10, 5, 1, 9]  # words, comma, full stop, EOS
    generator = vae.algorithm.generator
    for pair, z in zip(pairs, latent_space.encode(vae, LINES), strict=True):
        ids = torch.tensor([[*vae.tokenizer.encode(pair.text), EOS]])
        with torch.no_grad():
            nats = -float(log_prob(generator, ids, generator.initial(1, z[None])).sum())
        assert pair.nll == pytest.approx(nats, rel=1e-5)
    assert [pair.reconstruction for pair in pairs] == latent_space.decode(
        vae, latent_space.encode(vae, LINES)
    )


def test_an_autoencoder_that_memorised_its_corpus_reconstructs_it(memorised: Trained) -> None:
    lines = list(memorised.corpus.train)
    pairs = latent_space.reconstruct(memorised, lines)
    assert sum(pair.reconstruction == pair.text for pair in pairs) > 0.9 * len(lines)
    assert sum(pair.nll for pair in pairs) / len(lines) < 1.0
    decoded = latent_space.interpolate(memorised, lines[0], lines[-1], 5)
    assert len(decoded) == 5
    assert [decoded[0], decoded[-1]] == [pairs[0].reconstruction, pairs[-1].reconstruction]
    assert len(set(decoded)) > 1


def test_decoding_is_greedy_or_sampled_by_the_seed(vae: Trained) -> None:
    some = torch.randn(17, 7, generator=torch.Generator().manual_seed(3))
    assert latent_space.decode(vae, some) == latent_space.decode(vae, some.numpy(), seed=9)
    drawn = latent_space.decode(vae, some, temperature=1.0, seed=9)
    assert drawn == latent_space.decode(vae, some, temperature=1.0, seed=9) != latent_space.decode(vae, some)
    assert all(
        len(line.split()) <= 3 for line in latent_space.decode(vae, some, temperature=1.0, max_length=3)
    )
    with pytest.raises(UserError, match=r"have 7 dimensions; give an array \(N, 7\), not \(17, 4\)"):
        latent_space.decode(vae, some[:, :4])


def test_neighbours_are_distinct_sentences_and_cached(
    memorised: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    among = [*memorised.corpus.train, *memorised.corpus.train]
    query = among[7]
    (near,) = latent_space.neighbours(memorised, [query], among, 4)
    assert (near[0].text, near[0].distance) == (query, pytest.approx(0.0, abs=1e-5))
    assert len({each.text for each in near}) == 4
    assert sorted(each.distance for each in near) == [each.distance for each in near]
    # the second search encodes nothing but the query
    encoded = []
    encode = latent_space.encode
    monkeypatch.setattr(
        latent_space, "encode", lambda found, lines: encoded.append(list(lines)) or encode(found, lines)
    )
    assert list(latent_space.neighbours(memorised, [query], among, 4)) == [near]
    assert encoded == [[query]]


def test_a_run_without_latents_names_the_algorithms_with(small_runs: dict[str, Path]) -> None:
    found = load.load(small_runs["mle"], "cpu")
    message = "is a run of mle, which has no latents; name one of sentence-vae, autoencoder"
    for ask in (
        lambda: latent_space.encode(found, LINES),
        lambda: latent_space.reconstruct(found, LINES),
        lambda: latent_space.decode(found, torch.zeros(1, 7)),
        lambda: list(latent_space.neighbours(found, LINES, LINES, 1)),
    ):
        with pytest.raises(UserError, match=message):
            ask()


def test_contradictory_lengths_are_refused(vae: Trained) -> None:
    some = torch.zeros(2, 7)
    with pytest.raises(UserError, match="at least 5 tokens cannot have at most 3; lower"):
        latent_space.decode(vae, some, max_length=3, min_length=5)
    with pytest.raises(UserError, match="from 1 on"):
        latent_space.decode(vae, some, max_length=0)


@pytest.mark.cuda
def test_latents_and_reconstructions_on_cuda(small_runs: dict[str, Path]) -> None:
    here, there = (load.load(small_runs["autoencoder"], device) for device in ("cpu", "cuda"))
    assert torch.allclose(latent_space.encode(here, LINES), latent_space.encode(there, LINES), atol=1e-4)
    lines = list(here.corpus.train)[:13]
    for mine, theirs in zip(
        latent_space.reconstruct(here, lines), latent_space.reconstruct(there, lines), strict=True
    ):
        assert mine.reconstruction == theirs.reconstruction
        assert mine.nll == pytest.approx(theirs.nll, abs=1e-2)
    assert len(latent_space.decode(there, latent_space.encode(there, LINES), temperature=1.0, seed=3)) == 4
