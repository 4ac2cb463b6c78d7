"""Latent metrics against their definitions, on runs with informative and with collapsed latents."""

from pathlib import Path

import pytest
import torch

from seqgen.algorithms import vae_objective
from seqgen.data.tokenizer import EOS
from seqgen.evaluation.latent import latent_metrics
from seqgen.evaluation.runs import Estimate, evaluate_run
from seqgen.evaluation.table import render
from seqgen.functional import gaussian
from seqgen.inference import latent_space
from seqgen.training import load

KEYS = {"reconstruction", "kl", "elbo", "mutual_information", "active_units", "latent_dim", "bleu", "exact"}
KEYS |= {"collapsed", "shuffled_bleu"}


def test_a_posterior_by_its_definitions(small_runs: dict[str, Path]) -> None:
    found = load.load(small_runs["sentence-vae"], "cpu")
    metrics = latent_metrics(found, tokenisation="treebank", seed=3)
    assert metrics.keys() == KEYS | {"sentences"}
    assert (metrics["latent_dim"], metrics["sentences"]) == (7, 12)
    posteriors = []
    with torch.no_grad():
        for line in found.corpus.test:
            ids = torch.tensor([[*found.tokenizer.encode(line), EOS]])
            posteriors.append(torch.cat(found.algorithm.encoder(ids)))
    means, log_vars = torch.stack(posteriors, dim=1)
    divergence = float(gaussian.kl(means, log_vars).sum(dim=1).mean())
    assert metrics["kl"] == pytest.approx(divergence, rel=1e-5)
    assert metrics["elbo"] == pytest.approx(-(metrics["reconstruction"] + metrics["kl"]))
    assert metrics["collapsed"] == (divergence < 0.1)
    assert metrics["active_units"] == gaussian.active_units(means)
    # of 5 posterior draws a sentence, so close to the mean of many, and not the loss at the posterior mean
    total, draws = 0.0, 997
    torch.manual_seed(5)
    for line, mean, log_var in zip(found.corpus.test, means, log_vars, strict=True):
        ids = torch.tensor([[*found.tokenizer.encode(line), EOS]]).expand(draws, -1)
        latents = mean + (log_var / 2).exp() * torch.randn(draws, 7)
        with torch.no_grad():
            total += float(vae_objective.reconstruction(found.algorithm.generator, ids, latents)) / draws
    assert metrics["reconstruction"] == pytest.approx(total / 12, rel=2e-2)
    at_mean = [pair.nll for pair in latent_space.reconstruct(found, list(found.corpus.test))]
    assert metrics["reconstruction"] != pytest.approx(sum(at_mean) / 12, rel=1e-3)
    assert 0 <= metrics["exact"] <= 1
    assert latent_metrics(found, tokenisation="treebank", seed=3) == metrics


def test_without_a_posterior_there_is_reconstruction_alone(
    small_runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = load.load(small_runs["autoencoder"], "cpu")
    metrics = latent_metrics(found, tokenisation="treebank")
    assert {key for key in KEYS if metrics[key] is None} == {
        "kl",
        "elbo",
        "mutual_information",
        "active_units",
        "collapsed",
    }
    # training sentences, which it has memorised, are reconstructed exactly
    monkeypatch.setattr(found, "corpus", type("Known", (), {"test": found.corpus.train}), raising=False)
    known = latent_metrics(found, tokenisation="treebank")
    assert known["exact"] > 0.9 > metrics["exact"]
    assert known["bleu"] > 90
    assert known["shuffled_bleu"] < 0.5 * known["bleu"]
    assert known["reconstruction"] < 1.0 < metrics["reconstruction"]


def test_a_collapse_is_stated(small_runs: dict[str, Path]) -> None:
    found = load.load(small_runs["sentence-vae"], "cpu")
    with torch.no_grad():  # every posterior is the prior
        for layer in (found.algorithm.encoder.mean, found.algorithm.encoder.log_var):
            layer.weight.zero_()
            layer.bias.zero_()
    metrics = latent_metrics(found, tokenisation="treebank")
    assert metrics["kl"] == pytest.approx(0.0, abs=1e-6)
    assert (metrics["collapsed"], metrics["active_units"]) == (True, 0)
    assert metrics["mutual_information"] == pytest.approx(0.0, abs=1e-4)
    results = evaluate_run(found, n=13, estimate=Estimate(sentences=3, samples=2))
    flat = " ".join(render(results, "vae").split())
    assert "COLLAPSED: the latent carries no information (KL 0.000 nats per sentence)" in flat
