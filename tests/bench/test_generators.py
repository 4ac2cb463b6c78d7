"""The benchmark of generators: figures against enumeration; tiny runs, killed and gone on with."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import generator, write_lines
from typer.testing import CliRunner

from seqgen import algorithms
from seqgen.bench import controls
from seqgen.bench import generators as bench
from seqgen.bench.case import Case, Scale, Text, comparable
from seqgen.bench.controls import NetworkSteps, StepSampler
from seqgen.bench.frontier import COLUMNS, table
from seqgen.bench.generators import jobs_of, train_ngram
from seqgen.bench.jobs import run_jobs
from seqgen.bench.truths import KnownDistribution, OracleTruth, figures_of
from seqgen.cli.bench import app
from seqgen.core.errors import UserError
from seqgen.data.tokenizer import EOS, UNK
from seqgen.generation.oracles import FIRST, OracleSpec
from seqgen.training.data_config import DataConfig

V, T = 5, 3
TINY = Scale(
    n=59,
    sentences=61,
    unlimited=67,
    temperatures=(0.5,),
    top_p=(0.8,),
    min_p=(0.2,),
    adversarial=("residual", "seqgan"),
    mle={"generator.embedding": 8, "generator.hidden": 8, "generator.dropout": 0.0, "epochs": 1},
    gan={"steps": 2, "discriminator_pretraining_steps": 1, "policy.rollouts": 2, "batch_size": 4},
    energy={"steps": 2, "report_every": 2, "held_out_samples": 100, "batch_size": 4},
)
NAME = "lstm-1,vocab=11,hidden=5"


class Listed:
    """A sampler whose draws are given, as many of each as its probability says."""

    def __init__(self, sampler, drawn):
        self.sampler, self.drawn = sampler, drawn

    def sample(self, n, *, seed):
        return self.drawn

    def log_likelihood(self, tokens):
        return self.sampler.log_likelihood(tokens)


def test_the_figures_are_those_of_enumeration():
    truth = OracleTruth(OracleSpec("lstm-2", length=T, vocab=V, hidden=7))
    model = NetworkSteps(generator(vocab_size=V + FIRST, seed=3), (EOS, UNK))
    sampler = StepSampler(model, T)
    every = torch.tensor(list(itertools.product(range(V), repeat=T))) + FIRST
    log_p, log_q = truth.log_likelihood(every), sampler.log_likelihood(every)
    p, q = log_p.exp(), log_q.exp()
    copies = 20_000
    of_p, of_q = (every.repeat_interleave((copies * x).round().long(), dim=0) for x in (p, q))
    found = figures_of(truth, Listed(sampler, of_q), of_p, truth.log_likelihood(of_p), n=1, seed=0)
    m = (p + q) / 2
    js = float((p * (p / m).log()).sum() + (q * (q / m).log()).sum()) / 2
    expected = {
        "nll_test": -(p * log_q).sum() / T,
        "nll_oracle": -(q * log_p).sum() / T,
        "nll_own": -(q * log_q).sum() / T,
        "forward_kl": (p * (log_p - log_q)).sum() / T,
        "reverse_kl": (q * (log_q - log_p)).sum() / T,
        "jeffreys": ((p - q) * (log_p - log_q)).sum() / T,
        "jensen_shannon": js,
        "missed": 0.0,
    }
    assert {key: each["mean"] for key, each in found.items()} == pytest.approx(
        {key: float(value) for key, value in expected.items()}, abs=2e-3
    )
    error = float((-log_q / T).var(correction=0).sqrt())  # of the order of the spread over √N
    assert 0 < found["nll_test"]["error"] < 3 * error / math.sqrt(len(of_p))


def test_the_true_distribution_has_no_divergence():
    truth = OracleTruth(OracleSpec("gru-2", length=T, vocab=V, hidden=7))
    found = KnownDistribution(truth, n=31, seed=2).of_reference()
    for key in ("forward_kl", "reverse_kl", "jeffreys", "jensen_shannon"):
        assert found[key]["mean"] == pytest.approx(0, abs=1e-9)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory):
    """A benchmark killed in its seventh job that has gone on: folder, results, jobs run, options."""
    out, ran = tmp_path_factory.mktemp("bench"), []

    class Killed(BaseException):
        pass

    def notify(line):
        if len(ran) == 6 and not killed:
            killed.append(line)
            raise Killed
        ran.append(line.split()[1])

    killed: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQGEN_CACHE", str(out / "cache"))
        how = {"lengths": [T], "regimes": ["limited"], "scale": TINY, "device": "cpu", "notify": notify}
        with pytest.raises(Killed):
            bench.run([NAME], out, **how)
        results = bench.run([NAME], out, **how)
        yield out, results, ran, how


def test_a_killed_benchmark_goes_on_and_no_job_runs_twice(done):
    out, results, ran, how = done
    assert len(ran) == len(set(ran)) == len(results["rows"]) + len(results["trainings"])
    before = list(ran)
    assert bench.run([NAME], out, **how) == results
    assert ran == before
    with pytest.raises(UserError, match="holds a benchmark with seeds=1, not 2"):
        bench.run([NAME], out, **how, seeds=2)


def test_every_control_has_a_row(done):
    _, results, *_ = done
    names = {row["name"]: row["group"] for row in results["rows"]}
    assert (
        names.items()
        >= {
            "true distribution": "truth",
            "mle": "mle",
            "temperature 0.5": "temperature",
            "top-p 0.8": "top-p",
            "min-p 0.2": "min-p",
            "seqgan": "adversarial",
            "residual-ngram": "adversarial",
            **dict.fromkeys([*controls.REWARDS, "longer", "larger", "ensemble of two", "ngram"], "control"),
        }.items()
    )
    for row in results["rows"]:
        figures = row["figures"]
        assert figures.keys() >= {key for _, key in COLUMNS[:7]} | {"missed"}
        if figures["nll_test"]["mean"] is not None:
            forward = figures["nll_test"]["mean"] - names_entropy(results)
            assert figures["forward_kl"]["mean"] == pytest.approx(forward, abs=1e-6)
        reverse = figures["nll_oracle"]["mean"] - figures["nll_own"]["mean"]
        assert figures["reverse_kl"]["mean"] == pytest.approx(reverse, abs=1e-6)
        assert 0 <= figures["jensen_shannon"]["mean"] <= math.log(2)


def names_entropy(results):
    """The entropy of the true distribution on the fresh sentences of every row."""
    (row,) = (row for row in results["rows"] if row["group"] == "truth")
    return row["figures"]["nll_test"]["mean"]


def test_controls_of_training_have_the_sizes_that_they_are_to_match(done):
    _, results, *_ = done
    counts = {name.split(".train-")[1]: each for name, each in results["trainings"].items()}
    reference = "residual" if "residual" in counts else "seqgan"
    assert (
        counts["larger"]["parameters"] >= 0.8 * counts[reference]["parameters"] > counts["mle"]["parameters"]
    )
    assert counts["longer"]["as_long_as"] == reference
    seconds = counts[reference]["cpu_seconds"] / counts["mle"]["cpu_seconds"]
    assert counts["longer"]["steps"] == max(round(counts["mle"]["steps"] * seconds), 1)  # and none fewer


def test_a_grammar_has_valid_samples(tmp_path):
    scale = Scale(**{**vars(TINY), "sentences": 40, "n": 23, "adversarial": ("seqgan",)})
    results = bench.run(["expressions"], tmp_path, scale=scale, device="cpu")
    figures = {row["name"]: row["figures"] for row in results["rows"]}
    assert figures["true distribution"]["valid"]["mean"] == 1
    assert 0 <= figures["mle"]["valid"]["mean"] <= 1
    assert figures["true distribution"]["nll_test"]["mean"] == pytest.approx(19.78, abs=3)  # nats a sentence
    assert "valid" in table(results["summary"])


def train(folder, words, passes, scale=TINY):
    """A case with an `mle` trained on 397 sentences of nine tokens, which `words` makes of numbers."""
    numbers = np.random.default_rng(5).integers(0, 7, (397, 9))
    path = write_lines(folder / "text.txt", [" ".join(words(row)) for row in numbers.tolist()])
    data = DataConfig(str(path), tokenizer="word")
    scale = replace(scale, mle={**scale.mle, "epochs": passes})
    case = Case(Text("t", data), "limited", 0, folder, scale, "cpu")
    run_jobs(folder, jobs_of(case)[:1], {})
    return case


def noise(row):
    return [f"w{number}" for number in row]


def walk(row):
    """Steps of one or two around a circle of 23 words: what the last word says, 8 units have not learnt."""
    return [f"w{place % 23}" for place in itertools.accumulate(1 + number % 2 for number in row)]


@pytest.mark.parametrize(("words", "passes", "gains"), [(noise, 40, False), (walk, 1, True)])
def test_n_grams_are_mixed_in_where_validation_gains_by_them(tmp_path, words, passes, gains):
    case = train(tmp_path, words, passes)
    assert case.gains_by_ngrams() == gains
    assert ("same_as" in train_ngram(case)) == (not gains)
    if gains:
        *_, last = (json.loads(line) for line in (case.path("ngram") / "metrics.jsonl").open())
        assert last["ngram_weight"] > 0.1


def test_rows_over_n_grams_that_are_left_out_are_those_without_them(tmp_path):
    scale = replace(TINY, temperatures=(), top_p=(), min_p=(), adversarial=("residual",), rewards=())
    case = train(tmp_path, noise, 40, scale)
    found = run_jobs(tmp_path, jobs_of(case), {})
    for name, same in (("ngram", "mle"), ("residual-ngram", "residual")):
        assert {k: v for k, v in found[f"{case.key}.train-{name}"].items() if k != "cpu_seconds"} == {
            "same_as": same
        }
        assert not case.path(name).exists()
        row, other = (found[f"{case.key}.row-{each}"] for each in (name, same))
        assert (row["name"], row["figures"]) == (name, other["figures"])


@pytest.fixture(scope="module")
def of_text(tmp_path_factory: pytest.TempPathFactory):
    """The benchmark of a text that each of two seeds divides anew: folder and results."""
    folder = tmp_path_factory.mktemp("text")
    things = ("cat", "dog", "old man", "bird", "child", "girl", "boy")
    lines = [f"a {a} {b} the {c} ." for a in things for b in ("sees", "hears", "likes") for c in things]
    write_lines(folder / "train.txt", lines[:101])
    write_lines(folder / "test.txt", lines[101:])
    source = Text("pets", DataConfig(str(folder / "train.txt"), test=str(folder / "test.txt")), True)
    scale = replace(TINY, rewards=("noise",), n=53)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQGEN_CACHE", str(folder / "cache"))
        yield folder, bench.run([source], folder / "out", seeds=2, scale=scale, device="cpu")


def test_a_text_is_divided_anew_by_each_seed(of_text):
    folder, _ = of_text
    parts = [
        {role: (folder / f"out/data/pets-re-split-seed{seed}-{role}.jsonl").read_text().splitlines()
         for role in ("train", "test")}
        for seed in range(2)
    ]  # fmt: skip
    for part in parts:
        assert (len(part["train"]), len(part["test"])) == (101, 46)
        assert not set(part["train"]) & set(part["test"])
    assert set(parts[0]["test"]) != set(parts[1]["test"])


def test_the_rows_of_a_text_are_measured_by_its_test_split(of_text):
    _, results = of_text
    assert {row["case"] for row in results["rows"]} == {"pets, re-split"}
    by_name = {row["name"]: row["figures"] for row in results["rows"] if row["seed"] == 1}
    assert by_name["mle"]["gain"]["mean"] == 0
    for name, figures in by_name.items():
        assert 0 <= figures["bleu_5"]["mean"] <= 1
        assert figures["frechet"]["error"] > 0
        if name != "real text" and figures["nll_test"]["mean"] is not None:
            lower = by_name["mle"]["nll_test"]["mean"] - figures["nll_test"]["mean"]
            assert figures["gain"]["mean"] == pytest.approx(lower)
    assert "nll_test" not in by_name["real text"]
    assert by_name.keys() >= {"residual", "residual-ngram", "ngram", "noise", "larger", "temperature 0.5"}
    laid_out = table(results["summary"])
    assert "MS-Jaccard-4" in laid_out
    assert "KL(p|q)" not in laid_out


def test_the_command_for_a_text(of_text, monkeypatch):
    folder, _ = of_text
    monkeypatch.setattr(bench, "QUICK", TINY)
    arguments = ["text", "--quick", "--corpus", str(folder / "train.txt"), "--test", str(folder / "test.txt")]
    arguments += [
        "--algorithms",
        "seqgan",
        "--rewards",
        "none",
        "--out",
        str(folder / "b"),
        "--device",
        "cpu",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    stored = json.loads((folder / "b/results.json").read_text())
    assert {row["name"] for row in stored["rows"] if row["group"] == "adversarial"} == {"seqgan"}
    assert (folder / "b/frontier.png").read_bytes().startswith(b"\x89PNG")


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "QUICK", TINY)
    arguments = ["oracle", "--quick", "--oracle", NAME, "--out", str(tmp_path / "b"), "--device", "cpu"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "residual-ngram" in result.stdout
    stored = json.loads((tmp_path / "b/results.json").read_text())
    assert stored["seeds"] == 1
    assert (tmp_path / "b/frontier.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "b/table.txt").read_text() == result.stdout
    again = CliRunner().invoke(app, [*arguments, "--json"])
    assert json.loads(again.stdout) == stored


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--length", "20,x"], "--length '20,x': give whole numbers"),
        (["--regime", "limitd"], "no regime 'limitd'; did you mean 'limited'"),
        (["--oracle", "scene"], "no oracle 'scene'"),
        (["--algorithms", "residul"], "no algorithm 'residul'; did you mean 'residual'"),
        (
            ["--algorithms", "residual,sentigan"],
            "'sentigan' learns from labels, which this benchmark has none of",
        ),
        (
            ["--algorithms", "aegan"],
            "'aegan' starts from an autoencoder, which this benchmark has none of; leave",
        ),
        (["--rewards", "noise,nois"], "no reward 'nois'; did you mean 'noise'"),
    ],
)
def test_wrong_options(arguments, message, tmp_path):
    result = CliRunner().invoke(app, ["oracle", "--out", str(tmp_path), *arguments])
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)


def test_oracles_of_other_sizes_are_other_cases(tmp_path):
    def keys(*names):
        cases = bench._cases(names, (T,), ("limited",))
        return [Case(source, regime, 0, tmp_path, TINY, "cpu").key for source, regime in cases]

    assert keys("lstm-1", "lstm-1,vocab=11", "lstm-1,vocab=11,hidden=5") == [
        "lstm-1-T3-limited-seed0",
        "lstm-1-vocab11-T3-limited-seed0",
        "lstm-1-vocab11-hidden5-T3-limited-seed0",
    ]
    with pytest.raises(UserError, match="two of the corpora have the same name in the results"):
        bench.run(("/one/weights.npz", "/other/weights.npz"), tmp_path, lengths=(T,), scale=TINY)
    for option in ("length=5", "sentences=70", "seed=3"):
        with pytest.raises(UserError, match=f"'lstm-1,{option}' says a length, a number of sentences or"):
            keys(f"lstm-1,{option}")


def test_all_are_the_algorithms_but_those_of_labels_and_autoencoders(monkeypatch):
    assert set(algorithms.ADVERSARIAL) - set(comparable()) == {"sentigan", "aegan"}
    assert Scale().adversarial == comparable()
    assert bench.QUICK.adversarial == comparable()[:1] == ("residual",)
    chosen = []
    monkeypatch.setattr(bench, "run", lambda *given, scale, **options: chosen.append(scale.adversarial))
    for quick in ([], ["--quick"]):
        CliRunner().invoke(app, ["oracle", *quick, "--algorithms", "all"])
    assert chosen == [comparable(), comparable()]


def test_one_from_nothing_has_a_length_of_its_own_and_a_generator_as_large_as_the_others(tmp_path):
    scale = replace(TINY, n=31, temperatures=(), top_p=(), min_p=(), rewards=())
    scale = replace(scale, adversarial=("seqgan", "scratchgan"), from_nothing={"steps": 3, "batch_size": 5})
    results = bench.run([NAME], tmp_path, lengths=[T], regimes=["limited"], scale=scale, device="cpu")
    trained = {name.split(".train-")[1]: each for name, each in results["trainings"].items()}
    assert trained["scratchgan"]["steps"] == 3  # and no step of the discriminator alone
    assert trained["seqgan"]["steps"] == 3  # two after one of the discriminator alone
    settings = {path.parent.name: json.loads(path.read_text())["settings"] for path in
                tmp_path.glob("runs/*/*/config.json")}  # fmt: skip
    assert settings["scratchgan"]["generator"] == settings["mle"]["generator"]
    assert settings["scratchgan"]["batch_size"] == 5
