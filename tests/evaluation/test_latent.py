"""What codes are worth: the figures against their definitions, on runs whose codes say much and little."""

from pathlib import Path

import pytest
import torch

from seqgen.data.tokenizer import EOS
from seqgen.evaluation.latent import latent_figures
from seqgen.evaluation.runs import Estimate, evaluate_run
from seqgen.evaluation.table import render
from seqgen.functional import gaussian
from seqgen.inference import latent_space
from seqgen.training import load

KEYS = {"reconstruction", "kl", "elbo", "mutual_information", "active_units", "units", "bleu", "exact"}
KEYS |= {"collapsed"}


def test_a_posterior_by_its_definitions(small_runs: dict[str, Path]) -> None:
    found = load.load(small_runs["sentence-vae"], "cpu")
    figures = latent_figures(found, tokenisation="treebank", seed=3)
    assert figures.keys() == KEYS | {"sentences"}
    assert (figures["units"], figures["sentences"]) == (7, 12)
    posteriors = []
    with torch.no_grad():
        for line in found.corpus.test:
            ids = torch.tensor([[*found.tokenizer.encode(line), EOS]])
            posteriors.append(torch.cat(found.algorithm.encoder(ids)))
    means, log_vars = torch.stack(posteriors, dim=1)
    divergence = float(gaussian.kl(means, log_vars).sum(dim=1).mean())
    assert figures["kl"] == pytest.approx(divergence, rel=1e-5)
    assert figures["elbo"] == pytest.approx(-(figures["reconstruction"] + figures["kl"]))
    assert figures["collapsed"] == (divergence < 0.1)
    assert figures["active_units"] == gaussian.active_units(means)
    # by draws of the posterior, so near the cost of its mean and not the same
    costs = [pair.cost for pair in latent_space.reconstruct(found, list(found.corpus.test))]
    assert figures["reconstruction"] == pytest.approx(sum(costs) / 12, rel=1e-2)
    assert figures["reconstruction"] != pytest.approx(sum(costs) / 12, rel=1e-6)
    assert 0 <= figures["exact"] <= 1
    assert latent_figures(found, tokenisation="treebank", seed=3) == figures


def test_without_a_posterior_there_is_reconstruction_alone(
    small_runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = load.load(small_runs["autoencoder"], "cpu")
    figures = latent_figures(found, tokenisation="treebank")
    assert {key for key in KEYS if figures[key] is None} == {
        "kl",
        "elbo",
        "mutual_information",
        "active_units",
        "collapsed",
    }
    # what it has learned by heart it writes again word for word
    monkeypatch.setattr(found, "corpus", type("Known", (), {"test": found.corpus.train}), raising=False)
    known = latent_figures(found, tokenisation="treebank")
    assert known["exact"] > 0.9 > figures["exact"]
    assert known["bleu"] > 90
    assert known["reconstruction"] < 1.0 < figures["reconstruction"]


def test_a_collapse_is_named(small_runs: dict[str, Path]) -> None:
    found = load.load(small_runs["sentence-vae"], "cpu")
    with torch.no_grad():  # every posterior is the prior
        for layer in (found.algorithm.encoder.mean, found.algorithm.encoder.log_var):
            layer.weight.zero_()
            layer.bias.zero_()
    figures = latent_figures(found, tokenisation="treebank")
    assert figures["kl"] == pytest.approx(0.0, abs=1e-6)
    assert (figures["collapsed"], figures["active_units"]) == (True, 0)
    assert figures["mutual_information"] == pytest.approx(0.0, abs=1e-4)
    report = evaluate_run(found, n=13, estimate=Estimate(sentences=3, samples=2))
    flat = " ".join(render(report, "vae").split())
    assert "COLLAPSED: the code tells nothing (KL 0.000 nats a sentence)" in flat
