"""The benchmark of generators against a known distribution, with the controls that a claim has to beat.

A case is a true distribution (an oracle of `seqgen.generation.oracles` at a length, or a built-in grammar), a
regime and a seed. `limited` data are 10,000 sentences; `unlimited` ones are as many as a pass of training
reads, for a small generator. Every row draws N sentences and is measured by exact densities:

| key               | meaning                                                                            |
|-------------------|------------------------------------------------------------------------------------|
| `nll_test`        | -E_p log q of fresh sentences of the true distribution p                           |
| `nll_oracle`      | -E_q log p of what the model draws; below the entropy of p is no better than at it |
| `nll_own`         | -E_q log q of what it draws, an estimate of its entropy                            |
| `forward_kl`      | KL(p ‖ q); infinite (null) where q cannot draw a sentence of p                     |
| `reverse_kl`      | KL(q ‖ p); infinite (null) where it draws what p cannot                            |
| `jeffreys`        | their sum                                                                          |
| `jensen_shannon`  | nats a sentence, 0 to log 2 = .693                                                 |
| `valid`           | on a grammar, the fraction of what it draws that has a derivation                  |
| `missed`          | the fraction of sentences of p that q cannot draw                                  |

The first six are nats a token for an oracle, whose sentences have a fixed length, and nats a sentence for a
grammar. Each has a standard error over sentences; over several seeds, mean and standard error of the seeds.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from seqgen import algorithms, corpora
from seqgen.bench import controls
from seqgen.bench.controls import KneserNeySteps, MixtureSteps, NetworkSteps, Sampler
from seqgen.bench.controls import StepSampler as Steps
from seqgen.bench.jobs import Job, Result, result, run_jobs
from seqgen.core import settings
from seqgen.core.atomic_files import write_text
from seqgen.data.batches import encode_lines
from seqgen.data.tokenizer import EOS, PAD, UNK, Tokenizer
from seqgen.generation import oracles
from seqgen.metrics import divergences
from seqgen.metrics.divergences import Densities, Estimate
from seqgen.training import load, setup
from seqgen.training.data_config import DataConfig
from seqgen.training.load import Trained

REGIMES = ("limited", "unlimited")
LEARNED = ("nll_test", "nll_oracle", "nll_own", "forward_kl", "reverse_kl", "jeffreys")
"""Figures that are divided by the tokens of a sentence where that is fixed."""
FIGURES = (*LEARNED, "jensen_shannon")
PAPER_REWARD = {
    "policy.baseline": "none",
    "policy.normalise": False,
    "policy.target_entropy": 0.0,
    "policy.teacher_forcing": 0.0,
}
"""SeqGAN's policy gradient as published: without a baseline any positive reward sharpens the policy."""


@dataclass(frozen=True)
class Scale:
    """How much of everything a benchmark does."""

    n: int = 10_000
    """sentences drawn, and fresh sentences of the true distribution"""
    sentences: int = 10_000
    """of limited data"""
    unlimited: int = 600_000
    """of unlimited data"""
    temperatures: tuple[float, ...] = (1.2, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
    top_p: tuple[float, ...] = (0.98, 0.9, 0.8, 0.6)
    min_p: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3)
    adversarial: tuple[str, ...] = ("residual", "seqgan", "maligan", "rankgan", "relgan", "scratchgan")
    """those of them that this version has"""
    mle: Mapping[str, Any] | None = None
    """settings of every likelihood model"""
    gan: Mapping[str, Any] | None = None
    """settings of every adversarial algorithm that has them"""
    energy: Mapping[str, Any] | None = None
    """settings of a residual model, which shows nothing before some hundred steps"""


QUICK = Scale(
    n=2_000,
    temperatures=(0.8, 0.6, 0.4),
    top_p=(0.9, 0.7),
    min_p=(0.03, 0.1),
    adversarial=("residual", "seqgan"),
    mle={"generator.embedding": 32, "generator.hidden": 32, "generator.dropout": 0.2, "epochs": 5},
    gan={"steps": 20, "discriminator_pretraining_steps": 40, "policy.rollouts": 4, "report_every": 20},
    energy={"steps": 300, "report_every": 100, "held_out_samples": 2_000},
)
"""Small nets and short training: minutes on a CPU."""
SMALL = {
    "generator.embedding": 32,
    "generator.hidden": 32,
    "generator.dropout": 0.0,
    "weight_decay": 0.0,
    "epochs": 1,
}
"""The generator that unlimited data are too much for: that of the SeqGAN paper."""


class Truth(Protocol):
    """A true distribution, itself a sampler: draws, exact densities, and the unit of its figures."""

    length: int
    unit: float
    """what nats a sentence are divided by"""
    forbid: tuple[int, ...]
    """tokens that no sentence has"""

    def sample(self, n: int, *, seed: int) -> Tensor:
        """Draw n sentences; (n, T)."""

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        """Return log p of sentences; (N, T) → (N,), -inf where there is no derivation."""


class OracleTruth:
    """An oracle, in nats a token."""

    def __init__(self, spec: oracles.OracleSpec) -> None:
        self.oracle = oracles.load(spec)
        self.length, self.unit = spec.length, float(spec.length)
        self.forbid: tuple[int, ...] = (EOS, UNK)

    def sample(self, n: int, *, seed: int) -> Tensor:
        return self.oracle.sample(n, seed=seed)

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        return self.oracle.log_likelihood(tokens)


class GrammarTruth:
    """A built-in grammar through the tokenizer of a run, in nats a sentence."""

    def __init__(self, name: str, tokenizer: Tokenizer, length: int) -> None:
        self.grammar, self.tokenizer = corpora.load(name), tokenizer
        self.length, self.unit = length, 1.0
        self.forbid: tuple[int, ...] = (UNK,)

    def sample(self, n: int, *, seed: int) -> Tensor:
        rows = [[*ids, EOS] for ids in self.tokenizer.encode_batch(self.grammar.sample(n, seed))]
        width = max(self.length, *map(len, rows))
        return torch.tensor([row + [PAD] * (width - len(row)) for row in rows])

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        lines = load.decode(self.tokenizer, tokens)
        return torch.tensor(self.grammar.log_probs(lines), dtype=torch.float64)


def measure(truth: Truth, sampler: Sampler, test: Tensor, p_of_p: Tensor, *, n: int, seed: int) -> Result:
    """Measure a sampler by n draws and by fresh sentences of the truth (N, T); the module says the keys."""
    drawn = sampler.sample(n, seed=seed)
    d = Densities(
        p_of_p, sampler.log_likelihood(test), truth.log_likelihood(drawn), sampler.log_likelihood(drawn)
    )
    estimates: dict[str, Estimate] = {
        "nll_test": divergences.mean(-d.q_of_p),
        "nll_oracle": divergences.mean(-d.p_of_q),
        "nll_own": divergences.mean(-d.q_of_q),
        "forward_kl": divergences.forward_kl(d),
        "reverse_kl": divergences.reverse_kl(d),
        "jeffreys": divergences.jeffreys(d),
    }
    estimates = {name: each.over(truth.unit) for name, each in estimates.items()}
    estimates["jensen_shannon"] = divergences.jensen_shannon(d)
    if isinstance(truth, GrammarTruth):
        estimates["valid"] = divergences.mean(d.p_of_q.isfinite().double())
    estimates["missed"] = divergences.mean((~d.q_of_p.isfinite()).double())
    return {name: _finite(each) for name, each in estimates.items()}


def _finite(estimate: Estimate) -> dict[str, float | None]:
    """Return an estimate as JSON: null where it is infinite."""
    both = {"mean": estimate.mean, "error": estimate.error}
    return {key: value if math.isfinite(value) else None for key, value in both.items()}


@dataclass
class Case:
    """A true distribution, a regime and a seed: its trainings and its rows, each a job."""

    source: str
    """a grammar's name, or an oracle's corpus name"""
    regime: str
    seed: int
    folder: Path
    scale: Scale
    device: str

    @property
    def label(self) -> str:
        """What is shared by the seeds: distribution, length and regime."""
        if not oracles.is_oracle(self.source):
            return self.source
        spec = oracles.parse(self.source)
        return f"{setup.short_name(self.source)}, T {spec.length}, {self.regime}"

    @property
    def key(self) -> str:
        """The case in the names of files."""
        kept = self.label.replace(", T ", "-T").replace(", ", "-").replace(" ", "")
        return f"{kept}-seed{self.seed}"

    def data(self, *, fresh: bool = True) -> DataConfig:
        """Return the corpus; not `fresh`: for a training whose words are those of another run."""
        if oracles.is_oracle(self.source):
            sentences = self.scale.sentences if self.regime == "limited" else self.scale.unlimited
            spec = replace(oracles.parse(self.source), sentences=sentences, seed=self.seed)
            return DataConfig(corpus=str(spec))
        paths = {role: self.folder / "data" / f"{self.key}-{role}.txt" for role in ("train", "valid", "test")}
        grammar, sizes = corpora.load(self.source), {"train": 6 * self.scale.sentences}
        for number, (role, path) in enumerate(paths.items()):
            if not path.exists():
                size = sizes.get(role, max(self.scale.sentences // 10, 1))
                write_text(path, "\n".join(grammar.sample(size, 3 * self.seed + number + 1_000)) + "\n")
        return DataConfig(
            corpus=str(paths["train"]),
            valid=str(paths["valid"]),
            test=str(paths["test"]),
            min_count=1 if fresh else None,
        )

    def path(self, name: str) -> Path:
        """Return the folder of a training."""
        return self.folder / "runs" / self.key / name

    def trained(self, name: str) -> Trained:
        """Read a training back."""
        return load.load(self.path(name), self.device)

    @cached_property
    def truth(self) -> Truth:
        """The true distribution; a grammar's needs the tokenizer of the training `mle`."""
        if oracles.is_oracle(self.source):
            return OracleTruth(oracles.parse(self.source))
        first = self.trained("mle")
        return GrammarTruth(self.source, first.tokenizer, first.run.config["length"])

    @cached_property
    def test(self) -> tuple[Tensor, Tensor]:
        """Fresh sentences of the true distribution, the same for every row, and their log p."""
        tokens = self.truth.sample(self.scale.n, seed=self.seed + 1_000_003)
        return tokens, self.truth.log_likelihood(tokens)

    def pretrain(self, name: str, values: Mapping[str, Any], **options: Any) -> Result:
        """Train a likelihood model; → its parameters and steps."""
        given = dict(SMALL if self.regime == "unlimited" else {}) | dict(self.scale.mle or {}) | dict(values)
        seed = options.pop("seed", self.seed)
        data = self.data(fresh="init" not in options)
        job = setup.pretrain_job(
            data, "mle", path=self.path(name), values=given, seed=seed, device_name=self.device, **options
        )
        done = job.train()
        return {"parameters": parameters(job.algorithm), "steps": done.step}

    def adversarial(self, name: str, algorithm: str, values: Mapping[str, Any]) -> Result:
        """Train an adversarial algorithm, from the training `mle` where it starts from one."""
        entry = algorithms.get(algorithm, algorithms.ADVERSARIAL)
        known = {key for key, *_ in settings.describe(entry.cls.Config, entry.config())}
        scaled = self.scale.energy if entry.cls.takes_candidates else self.scale.gan
        given = {key: value for key, value in (scaled or {}).items() if key in known} | dict(values)
        options: dict[str, Any] = {"path": self.path(name), "values": given, "device_name": self.device}
        if entry.cls.needs_start:
            job = setup.adversarial_job(self.path("mle"), algorithm, **options)
        else:
            job = setup.adversarial_job(None, algorithm, data=self.data(), seed=self.seed, **options)
        done = job.train()
        return {"parameters": parameters(job.algorithm), "steps": done.step}

    def row(self, group: str, name: str, sampler: Sampler, **facts: Any) -> Result:
        """Measure a sampler as a row of the table."""
        test, p_of_p = self.test
        found = measure(self.truth, sampler, test, p_of_p, n=self.scale.n, seed=self.seed + 17)
        about = {"case": self.label, "seed": self.seed, "group": group, "name": name}
        return about | {"figures": found} | facts

    def steps(self, name: str, **how: Any) -> Steps:
        """Return the sampler of a training's generator after a temperature or a truncation."""
        model = NetworkSteps(self.trained(name).algorithm.generator, self.truth.forbid)
        return Steps(model, self.truth.length, **how)

    def of_run(self, name: str) -> Sampler:
        """Return the sampler of a training as `seqgen sample` draws from it."""
        trained = self.trained(name)
        return controls.sampler_of(trained.algorithm, self.truth.length, trained.device, self.truth.forbid)

    def ensemble(self) -> Sampler:
        """Return the mixture, token by token, of two generators that differ by their seeds."""
        parts = [
            NetworkSteps(self.trained(each).algorithm.generator, self.truth.forbid)
            for each in ("mle", "twin")
        ]
        return Steps(MixtureSteps(parts, (0.5, 0.5)), self.truth.length)

    def ngram_mixture(self) -> tuple[Sampler, float]:
        """Return the mixture of the generator and a Kneser–Ney 5-gram, and the fitted weight of the one."""
        trained = self.trained("mle")
        network = NetworkSteps(trained.algorithm.generator, self.truth.forbid)
        limit = trained.corpus.fixed_length
        train, valid = (
            encode_lines(lines, trained.tokenizer, max_length=limit)
            for lines in (trained.corpus.train, trained.corpus.valid)
        )
        rows = [train[i] for i in range(len(train))]
        counts = KneserNeySteps(rows, trained.tokenizer.vocab_size, forbid=self.truth.forbid)
        held_out = valid.batch(np.arange(min(len(valid), 1_000)))
        is_real = held_out != PAD
        one, other = (
            Steps(part, self.truth.length).token_log_probs(held_out)[is_real] for part in (network, counts)
        )
        weight = controls.fitted_weight(one, other)
        return Steps(MixtureSteps((network, counts), (weight, 1 - weight)), self.truth.length), weight


def parameters(algorithm: torch.nn.Module) -> int:
    """Count the parameters of an algorithm, without the moving average that some keep of their generator."""
    return sum(p.numel() for name, p in algorithm.named_parameters() if not name.startswith("average."))


CONTROLS: dict[str, dict[str, Any]] = {
    "constant": {"reward": "constant"},
    "noise": {"reward": "noise"},
    "shuffled-labels": {"reward": "shuffled_labels"},
    "constant-as-published": PAPER_REWARD | {"reward": "constant"},
    "noise-as-published": PAPER_REWARD | {"reward": "noise"},
}
"""SeqGAN's training with rewards that know nothing: what it gains by them is no merit of a discriminator."""


def run(
    sources: Sequence[str],
    out: Path,
    *,
    lengths: Sequence[int] = (20, 40),
    regimes: Sequence[str] = REGIMES,
    seeds: int = 1,
    scale: Scale | None = None,
    device: str = "auto",
    notify: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """Run the benchmark, or what is left of it, and return its results: `cases`, `rows` and `trainings`.

    Args:
        sources: oracles (as `lstm-0`, `seqgan` or a file of weights) and grammars by their names.
        out: the folder of trainings, results and the picture; the same arguments go on there.
        lengths, regimes: of the oracles; a grammar has its own.

    UserError for a name that is neither, and where the folder holds another benchmark.
    """
    scale = scale or Scale()
    cases = [
        Case(source, regime, seed, out, scale, device)
        for source, regime in _cases(sources, lengths, regimes)
        for seed in range(seeds)
    ]
    options = {"sources": list(sources), "lengths": list(lengths), "regimes": list(regimes), "seeds": seeds}
    jobs = [job for case in cases for job in jobs_of(case)]
    found = run_jobs(out, jobs, options | {"scale": asdict(scale)}, notify=notify)
    rows = [result for result in found.values() if "figures" in result]
    trainings = {name: result for name, result in found.items() if "figures" not in result}
    return options | {"rows": rows, "summary": summary(rows), "trainings": trainings}


def _cases(sources: Sequence[str], lengths: Sequence[int], regimes: Sequence[str]) -> list[tuple[str, str]]:
    """Return the corpus's name and the regime of every case."""
    found = []
    for source in sources:
        if source in corpora.names():
            found.append((source, "limited"))
            continue
        spec = oracles.parse(oracles.PREFIX + source.removeprefix(oracles.PREFIX))
        found += [(str(replace(spec, length=length)), regime) for length in lengths for regime in regimes]
    return found


def jobs_of(case: Case) -> list[Job]:
    """List the trainings and the rows of a case; a job may use the results of those before it."""
    scale = case.scale

    def job(name: str, make: Callable[[], Result]) -> Job:
        return Job(f"{case.key}.{name}", make)

    names = [name for name in scale.adversarial if name in algorithms.ADVERSARIAL]
    jobs = [
        job("train-mle", lambda: case.pretrain("mle", {})),
        job("train-twin", lambda: case.pretrain("twin", {}, seed=case.seed + 1_000)),
        *(job(f"train-{name}", lambda name=name: case.adversarial(name, name, {})) for name in names),  # type: ignore[misc]
        *(
            job(f"train-{name}", lambda name=name, values=values: case.adversarial(name, "seqgan", values))  # type: ignore[misc]
            for name, values in CONTROLS.items()
        ),
        job("train-longer", lambda: train_longer(case, names[0])),
        job("train-larger", lambda: train_larger(case, names[0])),
    ]
    return jobs + _rows(case, job, names)


def _rows(case: Case, job: Callable[[str, Callable[[], Result]], Job], names: Sequence[str]) -> list[Job]:
    scale = case.scale
    sweeps = (
        [("temperature", {"temperature": value}) for value in scale.temperatures]
        + [("top-p", {"top_p": value}) for value in scale.top_p]
        + [("min-p", {"min_p": value}) for value in scale.min_p]
    )
    jobs = [
        job("row-mle", lambda: case.row("mle", "mle", case.of_run("mle"))),
        job("row-truth", lambda: _truth(case)),
    ]
    for group, how in sweeps:
        name = f"{group} {next(iter(how.values())):g}"
        jobs.append(
            job(
                f"row-{name.replace(' ', '-')}",
                lambda group=group, name=name, how=how: case.row(group, name, case.steps("mle", **how)),  # type: ignore[misc]
            )
        )
    for name in [*names, *CONTROLS, "longer", "larger"]:
        group = "adversarial" if name in names else "control"
        jobs.append(
            job(f"row-{name}", lambda group=group, name=name: case.row(group, name, case.of_run(name)))  # type: ignore[misc]
        )
    jobs.append(job("row-ensemble", lambda: case.row("control", "ensemble of two", case.ensemble())))
    jobs.append(job("row-ngram", lambda: _ngram(case)))
    return jobs


def _ngram(case: Case) -> Result:
    sampler, weight = case.ngram_mixture()
    return case.row("control", "n-gram mixture", sampler, network_weight=weight)


def _truth(case: Case) -> Result:
    """Return the row of the true distribution itself: its entropy, and 0 for every divergence."""
    return case.row("truth", "true distribution", case.truth)


def train_longer(case: Case, adversarial: str) -> Result:
    """Train the generator on for as many CPU seconds as an adversarial algorithm took."""
    first, other = (result(case.folder, f"{case.key}.train-{name}") for name in ("mle", adversarial))
    steps = max(round(first["steps"] * other["cpu_seconds"] / max(first["cpu_seconds"], 0.01)), 1)
    return case.pretrain("longer", {"lr": 1e-3}, init=case.path("mle"), steps=steps) | {
        "as_long_as": adversarial
    }


def train_larger(case: Case, adversarial: str) -> Result:
    """Train a generator with as many parameters as an adversarial algorithm's networks together."""
    wanted = parameters(case.trained(adversarial).algorithm)
    trained = case.trained("mle")
    config, vocab = trained.algorithm.config.generator, trained.tokenizer.vocab_size

    def sizes(factor: float) -> dict[str, int]:
        return {key: 8 * max(round(getattr(config, key) * factor / 8), 1) for key in ("embedding", "hidden")}

    def count(factor: float) -> int:
        return parameters(replace(config, **sizes(factor)).build(vocab))

    chosen = sizes(controls.larger_by(wanted, count))
    return case.pretrain("larger", {f"generator.{key}": size for key, size in chosen.items()})


def summary(rows: Sequence[Result]) -> list[Result]:
    """Average the rows of several seeds: mean over seeds and its standard error; of one seed, over sentences.

    A figure that is infinite with any seed is null.
    """
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for row in rows:
        groups.setdefault((row["case"], row["group"], row["name"]), []).append(row)
    found = []
    for (case, group, name), same in groups.items():
        figures: dict[str, dict[str, float | None]] = {}
        for key in same[0]["figures"]:
            means = [row["figures"][key]["mean"] for row in same]
            if None in means:
                figures[key] = {"mean": None, "error": None}
            elif len(means) == 1:
                figures[key] = same[0]["figures"][key]
            else:
                error = statistics.stdev(means) / math.sqrt(len(means))
                figures[key] = {"mean": statistics.fmean(means), "error": error}
        found.append({"case": case, "group": group, "name": name, "seeds": len(same), "figures": figures})
    return found
