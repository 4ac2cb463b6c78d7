"""The evaluation of runs: likelihood of the test split and of their own samples, rows, sweeps."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seqgen.algorithms.mle import MLE, MLEConfig
from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.data import corpus as text
from seqgen.data.tokenizer import EOS
from seqgen.data.tokenizer_training import train_tokenizer
from seqgen.evaluation.quality_diversity import points
from seqgen.evaluation.references import random_subset
from seqgen.evaluation.runs import Estimate, evaluate_run, evaluate_runs
from seqgen.evaluation.table import render
from seqgen.generation.sample import log_prob
from seqgen.inference.generate import generate
from seqgen.inference.scoring import score
from seqgen.training.load import Trained, load
from seqgen.training.run_folder import Run

LINES = [
    f"the {a} {b}s on a {c}" for a in ("dog", "cat", "man") for b in ("sit", "run") for c in ("mat", "hill")
]


@pytest.fixture
def trained(tmp_path: Path) -> Trained:
    """An untrained generator over a small corpus, as a run would hold it."""
    (tmp_path / "train.txt").write_text("\n".join(LINES), encoding="utf-8")
    (tmp_path / "test.txt").write_text(
        "the dog runs\na cat sits on the very long green hill\n", encoding="utf-8"
    )
    corpus = text.open_corpus(str(tmp_path / "train.txt"), test=str(tmp_path / "test.txt"), seed=0)
    tokenizer = train_tokenizer(corpus.train, "word", min_count=1)
    torch.manual_seed(0)
    values = {"generator.embedding": 5, "generator.hidden": 7, "generator.dropout": 0.0}
    config = settings.override(MLEConfig(), values)
    algorithm = MLE(config, vocab_size=tokenizer.vocab_size, length=6).eval()
    run = Run(tmp_path / "run", {"length": 6})
    found = Trained(run, algorithm, tokenizer, torch.device("cpu"))
    found.corpus = corpus
    return found


def test_a_run_is_scored_on_its_samples_and_its_whole_test_split(trained: Trained) -> None:
    results = evaluate_run(trained, n=31, temperature=0.7, seed=5)
    # the test split by hand: each sentence uncut (the second is longer than the run's 6 tokens), with its EOS
    nats, tokens = 0.0, 0
    for line in trained.corpus.test:
        ids = torch.tensor([[*trained.tokenizer.encode(line), EOS]])
        nats -= float(log_prob(trained.algorithm.generator, ids).sum())
        tokens += ids.numel()
    assert results["likelihood"]["test"]["tokens"] == tokens == 3 + 1 + 9 + 1
    assert results["nll_test"] == pytest.approx(nats / tokens, rel=1e-5)
    assert results["likelihood"]["test"]["unknown"] == 3  # very, long, green
    # the samples are those that `generate` draws with this seed, scored at temperature 1
    drawn = list(generate(trained, 31, seed=5, temperature=0.7, with_log_prob=True))
    nats = -sum(sentence.log_prob or 0.0 for sentence in drawn)
    assert results["nll_gen"] == pytest.approx(nats / sum(s.tokens for s in drawn), rel=1e-9)
    for key in ("nll_test", "nll_gen"):
        low, high = results["intervals"][key]
        assert low < results[key] < high
    protocol = results["protocol"]
    assert (protocol["n"], protocol["references"], protocol["temperature"], protocol["seed"]) == (
        31,
        2,
        0.7,
        5,
    )
    assert protocol["corpus_hash"] == trained.corpus.hash
    assert results["real"]["bleu"]["2"] > results["bleu"]["2"]


def test_the_same_seed_gives_the_same_report(trained: Trained) -> None:
    assert evaluate_run(trained, n=13, seed=1) == evaluate_run(trained, n=13, seed=1)


def test_several_runs_stand_in_rows_at_the_same_n(trained: Trained, tmp_path: Path) -> None:
    torch.manual_seed(1)
    other = replace(
        trained, run=Run(tmp_path / "other", {"length": 6}), algorithm=copy.deepcopy(trained.algorithm)
    )
    other.corpus = trained.corpus
    with torch.no_grad():
        other.algorithm.generator.head.weight.normal_()
    results = evaluate_runs([trained, other], n=17, temperatures=[0.5, 1.0], seed=2)
    names = [str(each.run.path) for each in (trained, other)]
    assert [row["name"] for row in results["rows"]] == names
    assert results["protocol"]["hypotheses_from"] == names
    alone = evaluate_run(other, n=17, seed=2)
    for key in ("bleu", "self_bleu", "nll_test", "nll_gen", "lm", "frechet"):
        assert results["rows"][1][key] == alone[key]
        assert results[key] == results["rows"][0][key]
    assert results["real"] == alone["real"]
    assert results["baseline"] == alone["baseline"]
    assert "rows" not in alone
    # the sweep draws anew at each temperature; at 1 these are the samples of the rows
    swept = results["sweep"]
    assert [(p["name"], p["temperature"]) for p in swept] == [(n, t) for n in names for t in (0.5, 1.0)]
    assert swept[3]["bleu_5"] == pytest.approx(results["rows"][1]["bleu"]["5"])
    assert swept[2]["reverse_lm"] != pytest.approx(swept[3]["reverse_lm"])
    assert len(points(results, "")) == 2 + 4  # the rows are those of the sweep at 1


def test_runs_of_different_corpora_are_not_compared(trained: Trained) -> None:
    other = replace(trained)
    other.corpus = replace(trained.corpus, hash="another")
    with pytest.raises(UserError, match="are of different corpora or splits"):
        evaluate_runs([trained, other], n=5)


def test_a_corpus_without_test_sentences_is_refused(trained: Trained, tmp_path: Path) -> None:
    class Untested:
        name, test = "captions", ()

    trained.corpus = Untested()  # type: ignore[assignment]
    with pytest.raises(UserError, match="corpus 'captions' has no test sentence; train with --test FILE"):
        evaluate_run(trained, n=5)


def test_an_estimated_likelihood_is_that_of_a_subset_of_the_test_split(small_runs: dict[str, Path]) -> None:
    found = load(small_runs["sentence-vae"], "cpu")
    subset = Estimate(sentences=5, samples=7)
    results = evaluate_run(found, n=13, seed=3, estimate=subset)
    chosen = random_subset(found.corpus.test, 5, 3)
    scores = list(score(found, chosen, samples=7, seed=3))
    tokens = sum(each.tokens for each in scores)
    assert results["nll_test"] == pytest.approx(-sum(each.log_prob or 0.0 for each in scores) / tokens)
    test = results["likelihood"]["test"]
    assert (test["tokens"], test["sentences"], test["samples"]) == (tokens, 5, 7)
    low, high = results["intervals"]["nll_test"]
    assert low < results["nll_test"] < high
    assert results["nll_gen"] is None
    assert results["latent"]["latent_dim"] == 7
    assert evaluate_run(found, n=13, seed=3, estimate=subset) == results
    flat = " ".join(render(results, "vae").split())
    assert "likelihood: importance-weighted, 7 latents for each of 5 test sentences" in flat


def test_models_of_every_kind_of_likelihood_stand_in_one_table(small_runs: dict[str, Path]) -> None:
    runs = [load(path, "cpu") for path in small_runs.values()]
    results = evaluate_runs(runs, n=13, estimate=Estimate(sentences=3, samples=2))
    exact, estimated, none = results["rows"]
    assert (exact["latent"], exact["likelihood"]["test"]["samples"]) == (None, None)
    assert exact["likelihood"]["test"]["sentences"] == 12  # the whole split
    assert estimated["nll_test"] is not None
    assert (none["nll_test"], none["nll_gen"], none["likelihood"]["test"]) == (None, None, None)
    assert none["latent"]["kl"] is None
    assert none["latent"]["reconstruction"] > 0
    text = render(results, "")
    name = str(small_runs["sentence-vae"])
    assert f"likelihood of {name}: importance-weighted, 2 latents" in " ".join(text.split())
    block = text[text.index("latents of test sentences") :].split("\n\n")[0]
    assert str(small_runs["mle"]) not in block
    assert "-" in block.splitlines()[-1].split()


def test_scores_of_samples_do_not_change_what_is_drawn(
    small_runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqgen.training.load.SAMPLE_BATCH", 4)
    for name, has in (("mle", True), ("sentence-vae", True), ("autoencoder", False)):
        found = load(small_runs[name], "cpu")
        for options in ({}, {"temperature": 0.5, "prompt": "a cat"}, {"unique": True}):
            plain = list(generate(found, 11, seed=7, **options))
            scored = list(generate(found, 11, seed=7, with_log_prob=True, **options))
            assert [each.text for each in scored] == [each.text for each in plain]
            assert [each.log_prob is not None for each in scored] == [has] * len(scored)
            assert scored == list(generate(found, 11, seed=7, with_log_prob=True, **options))
            assert plain != list(generate(found, 11, seed=8, **options))
            assert all(each.text.startswith(options.get("prompt", "")) for each in plain)
            assert len({each.text for each in plain}) == 11 or not options.get("unique")
