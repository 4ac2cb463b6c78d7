"""A case of the benchmark of generators: a corpus, a regime and a seed; its trainings and samplers."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqgen import algorithms, corpora
from seqgen.algorithms import mle
from seqgen.algorithms.base import TextAlgorithm
from seqgen.bench import controls, trainings
from seqgen.bench.controls import MixtureSteps, NetworkSteps, Sampler
from seqgen.bench.controls import StepSampler as Steps
from seqgen.bench.held_out_text import HeldOutText
from seqgen.bench.jobs import Result
from seqgen.bench.truths import GrammarTruth, KnownDistribution, OracleTruth
from seqgen.core import settings
from seqgen.core.atomic_files import write_text
from seqgen.data.tokenizer import UNK
from seqgen.generation import oracles
from seqgen.models.ngram_mixture import NGramMixture
from seqgen.ngrams import count_tables
from seqgen.training import load, setup
from seqgen.training.data_config import DataConfig, open_with_tokenizer
from seqgen.training.job import Job
from seqgen.training.load import Trained, ids_of

SMALL = {
    "generator.embedding": 32,
    "generator.hidden": 32,
    "generator.dropout": 0.0,
    "weight_decay": 0.0,
    "epochs": 1,
}
"""The generator that unlimited data are too much for: that of the SeqGAN paper."""


NGRAMS = {"ngram.order": 5}
"""The n-grams that the likelihood model `ngram` is mixed with."""


@dataclass(frozen=True)
class Text:
    """A corpus whose true distribution is not known."""

    name: str
    data: DataConfig
    is_resplit: bool = False
    """Whether the seed divides training and test sentences anew: published splits differ in their topics."""


def comparable() -> tuple[str, ...]:
    """Name the adversarial algorithms that can be trained on any text: from its likelihood model or nothing.

    Others learn from labels, or start from an autoencoder.
    """
    found = {name: entry.cls for name, entry in algorithms.ADVERSARIAL.items()}
    return tuple(name for name, cls in found.items() if not cls.needs_labels and not cls.latent)


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
    adversarial: tuple[str, ...] = field(default_factory=comparable)
    """adversarial algorithms, by their names; two controls are sized by the first"""
    mle: Mapping[str, Any] | None = None
    """settings of every likelihood model"""
    gan: Mapping[str, Any] | None = None
    """settings of every adversarial algorithm that has them"""
    from_nothing: Mapping[str, Any] | None = None
    """settings of one that starts from random weights, which shows nothing before some thousand steps"""
    energy: Mapping[str, Any] | None = None
    """settings of a residual model, which shows nothing before some hundred steps"""
    rewards: tuple[str, ...] = tuple(controls.REWARDS)
    """the rewards that know nothing, with which SeqGAN is trained as a control"""


@dataclass
class Case:
    """A corpus, a regime and a seed: its trainings and its rows, each a job."""

    source: str | Text
    """a grammar's name, an oracle's corpus name, or a text"""
    regime: str
    seed: int
    folder: Path
    scale: Scale
    device: str

    @property
    def label(self) -> str:
        """What is shared by the seeds: distribution, length and regime."""
        if isinstance(self.source, Text):
            return self.source.name + ", re-split" * self.source.is_resplit
        if not oracles.is_oracle(self.source):
            return self.source
        spec = oracles.parse(self.source)
        default = oracles.OracleSpec(spec.name)
        sizes = {key: getattr(spec, key) for key in ("vocab", "hidden")}
        own = [f"{key} {size}" for key, size in sizes.items() if size != getattr(default, key)]
        return ", ".join([setup.short_name(self.source), *own, f"T {spec.length}", self.regime])

    @property
    def key(self) -> str:
        """The case in the names of files."""
        kept = self.label.replace(", T ", "-T").replace(", ", "-").replace(" ", "")
        return f"{kept}-seed{self.seed}"

    def data(self, *, fresh: bool = True) -> DataConfig:
        """Return the corpus; not `fresh`: for a training whose words are those of another run."""
        if isinstance(self.source, Text):
            return self._text(self.source, fresh)
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

    def _text(self, text: Text, fresh: bool) -> DataConfig:
        """Return a text as it is, or with its training and test sentences divided anew, in files."""
        data = text.data
        if text.is_resplit:
            train, test = (self.folder / "data" / f"{self.key}-{role}.jsonl" for role in ("train", "test"))
            if not (train.exists() and test.exists()):
                corpus, _ = open_with_tokenizer(data, None, seed=self.seed)
                lines = [*corpus.train, *corpus.valid, *corpus.test]
                order = np.random.default_rng(self.seed).permutation(len(lines)).tolist()
                size = len(corpus.test)
                for path, rows in ((test, order[:size]), (train, order[size:])):
                    write_text(path, "".join(json.dumps({"text": lines[i]}) + "\n" for i in rows))
            data = replace(data, corpus=str(train), valid=None, test=str(test))
            data = replace(data, column=None, encoding=None, separator=None)
        if fresh:
            return data
        default = DataConfig()  # the tokenizer and what belongs to it are those of another run
        own = ("tokenizer", "lowercase", "max_vocab", "min_count", "max_length")
        return replace(data, **{name: getattr(default, name) for name in own})

    def path(self, name: str) -> Path:
        """Return the folder of a training."""
        return self.folder / "runs" / self.key / name

    def trained(self, name: str) -> Trained:
        """Read a training back."""
        return load.load(self.path(name), self.device)

    @cached_property
    def judge(self) -> KnownDistribution | HeldOutText:
        """What the rows are measured by; a grammar's and a text's need the training `mle`."""
        how: dict[str, Any] = {"n": self.scale.n, "seed": self.seed}
        if isinstance(self.source, str) and oracles.is_oracle(self.source):
            return KnownDistribution(OracleTruth(oracles.parse(self.source)), **how)
        first = self.trained("mle")
        length = first.run.config["length"]
        if isinstance(self.source, str):
            return KnownDistribution(GrammarTruth(self.source, first.tokenizer, length), **how)
        base = controls.sampler_of(first.algorithm, length, first.device, (UNK,))
        return HeldOutText(first, base, **how)

    def pretrain(self, name: str, values: Mapping[str, Any], **options: Any) -> Result:
        """Train a likelihood model; → its parameters, steps and seconds."""
        given = self._of_mle() | dict(values)
        seed = options.pop("seed", self.seed)
        data = self.data(fresh="init" not in options)
        job = setup.pretrain_job(
            data, "mle", path=self.path(name), values=given, seed=seed, device_name=self.device, **options
        )
        return self._train(job)

    def gains_by_ngrams(self) -> bool:
        """Whether validation sentences are likelier under the training `mle` mixed with n-grams."""
        first = self.trained("mle")
        generator = first.algorithm.generator
        mixture = NGramMixture(generator.head.weight.shape[1], NGRAMS["ngram.order"]).to(first.device)
        mixture.rule_out(generator.head.ruled_out.nonzero()[:, 0].tolist())
        mixture.count(
            count_tables.stream(ids_of(first, first.corpus.train)), vocab_size=first.tokenizer.vocab_size
        )
        valid = ids_of(first, first.corpus.valid)
        parts = np.array_split(np.arange(len(valid)), math.ceil(len(valid) / controls.ROWS))
        batches = [valid.batch(rows).to(first.device) for rows in parts]
        return mle.fit_mixture(generator, mixture, batches)["ngram_weight"] > 0

    def _of_mle(self) -> dict[str, Any]:
        """Return the settings of the case's likelihood models."""
        return dict(SMALL if self.regime == "unlimited" else {}) | dict(self.scale.mle or {})

    def _of_adversary(self, cls: type[TextAlgorithm]) -> dict[str, Any]:
        """Return settings of an adversarial algorithm; from nothing, its generator is as large as mle's."""
        if cls.takes_candidates:
            return dict(self.scale.energy or {})
        if cls.needs_start:
            return dict(self.scale.gan or {})
        own = {key: value for key, value in self._of_mle().items() if key.startswith("generator.")}
        return own | dict(self.scale.from_nothing or {})

    def adversarial(
        self, name: str, algorithm: str, values: Mapping[str, Any], *, start: str = "mle"
    ) -> Result:
        """Train an adversarial algorithm, from the training `start` where it starts from one."""
        entry = algorithms.get(algorithm, algorithms.ADVERSARIAL)
        known = {key for key, *_ in settings.describe(entry.cls.Config, entry.config())}
        scaled = self._of_adversary(entry.cls)
        given = {key: value for key, value in scaled.items() if key in known} | dict(values)
        options: dict[str, Any] = {"path": self.path(name), "values": given, "device_name": self.device}
        if entry.cls.needs_start:
            job = setup.adversarial_job(self.path(start), algorithm, **options)
        else:
            job = setup.adversarial_job(None, algorithm, data=self.data(), seed=self.seed, **options)
        return self._train(job)

    def _train(self, job: Job) -> Result:
        done, seconds = trainings.train(job)
        found = {"parameters": parameters(job.algorithm), "steps": done.step}
        return found | {"cpu_seconds": round(seconds, 2)}

    def row(self, group: str, name: str, sampler: Sampler, **facts: Any) -> Result:
        """Measure a sampler as a row of the table."""
        return self.about(group, name) | {"figures": self.judge.measure(sampler)} | facts

    def reference(self) -> Result:
        """Measure the true distribution, or real text, as a row of the table."""
        return self.about("truth", self.judge.reference) | {"figures": self.judge.of_reference()}

    def about(self, group: str, name: str) -> Result:
        """Return what says which row of the table a result is."""
        return {"case": self.label, "seed": self.seed, "group": group, "name": name}

    def steps(self, name: str, **how: Any) -> Steps:
        """Return the sampler of a training's generator after a temperature or a truncation."""
        model = NetworkSteps(self.trained(name).algorithm.generator, self.judge.forbid)
        return Steps(model, self.judge.length, **how)

    def of_run(self, name: str) -> Sampler:
        """Return the sampler of a training as `seqgen sample` draws from it."""
        trained = self.trained(name)
        return controls.sampler_of(trained.algorithm, self.judge.length, trained.device, self.judge.forbid)

    def ensemble(self) -> Sampler:
        """Return the mixture, token by token, of two generators that differ by their seeds."""
        parts = [
            NetworkSteps(self.trained(each).algorithm.generator, self.judge.forbid)
            for each in ("mle", "twin")
        ]
        return Steps(MixtureSteps(parts, (0.5, 0.5)), self.judge.length)


def parameters(algorithm: torch.nn.Module) -> int:
    """Count the parameters of an algorithm, without the moving average that some keep of their generator."""
    return sum(p.numel() for name, p in algorithm.named_parameters() if not name.startswith("average."))
