"""A case of the oracle benchmark: a true distribution, a regime and a seed; its trainings and samplers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqgen import algorithms, corpora
from seqgen.bench import controls
from seqgen.bench.controls import KneserNeySteps, MixtureSteps, NetworkSteps, Sampler
from seqgen.bench.controls import StepSampler as Steps
from seqgen.bench.jobs import Result
from seqgen.bench.truths import GrammarTruth, OracleTruth, Truth, measure
from seqgen.core import settings
from seqgen.core.atomic_files import write_text
from seqgen.data.batches import encode_lines
from seqgen.data.tokenizer import PAD
from seqgen.generation import oracles
from seqgen.training import load, setup
from seqgen.training.data_config import DataConfig
from seqgen.training.load import Trained

SMALL = {
    "generator.embedding": 32,
    "generator.hidden": 32,
    "generator.dropout": 0.0,
    "weight_decay": 0.0,
    "epochs": 1,
}
"""The generator that unlimited data are too much for: that of the SeqGAN paper."""


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
        counts = KneserNeySteps.of(train, trained.tokenizer.vocab_size, forbid=self.truth.forbid)
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
