"""The benchmark of generators, with the controls that a claim has to beat.

A case is a corpus, a regime and a seed. Where the true distribution is known, of an oracle of
`seqgen.generation.oracles` at a length or of a built-in grammar, every row is measured by exact densities
(`seqgen.bench.truths` has the keys); of any other text by its test split (`seqgen.bench.held_out_text`).
`limited` data are 10,000 sentences; `unlimited` ones are as many as a pass of training reads, for a small
generator.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from seqgen import algorithms, corpora
from seqgen.bench import controls
from seqgen.bench.case import NGRAMS, Case, Scale, Text, parameters
from seqgen.bench.comparisons import comparisons, summary
from seqgen.bench.jobs import Job, Result, result, run_jobs
from seqgen.core.errors import UserError
from seqgen.generation import oracles

REGIMES = ("limited", "unlimited")
QUICK = Scale(
    n=2_000,
    temperatures=(0.8, 0.6, 0.4),
    top_p=(0.9, 0.7),
    min_p=(0.03, 0.1),
    adversarial=("residual",),
    mle={
        "generator.embedding": 32,
        "generator.hidden": 32,
        "generator.dropout": 0.2,
        "lr": 3e-3,
        "weight_decay": 0.0189,
        "epochs": 5,
    },
    gan={"steps": 20, "discriminator_pretraining_steps": 40, "policy.rollouts": 4, "report_every": 20},
    from_nothing={"steps": 300, "report_every": 100},
    energy={"steps": 300, "report_every": 100, "held_out_samples": 2_000},
)
"""Small nets and short training, of the algorithm that gains by it: minutes on a CPU.

Learning rate and decay are those that the tables in this folder's README were measured with.
"""


def run(
    sources: Sequence[str | Text],
    out: Path,
    *,
    lengths: Sequence[int] = (20, 40),
    regimes: Sequence[str] = REGIMES,
    seeds: int = 1,
    scale: Scale | None = None,
    device: str = "auto",
    notify: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """Run the benchmark, or what is left of it, and return its results: `rows`, over seeds `summary` and
    `comparisons` (`seqgen.bench.comparisons`), and `trainings`.

    Args:
        sources: oracles (as `lstm-0`, `seqgan` or a file of weights) and grammars by their names, and texts.
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
    named = [source if isinstance(source, str) else asdict(source) for source in sources]
    options = {"sources": named, "lengths": list(lengths), "regimes": list(regimes), "seeds": seeds}
    jobs = [job for case in cases for job in jobs_of(case)]
    found = run_jobs(out, jobs, options | {"scale": asdict(scale)}, notify=notify)
    rows = [result for result in found.values() if "figures" in result]
    trainings = {name: result for name, result in found.items() if "figures" not in result}
    averages = {"summary": summary(rows), "comparisons": comparisons(rows)}
    return options | {"rows": rows, **averages, "trainings": trainings}


def _cases(
    sources: Sequence[str | Text], lengths: Sequence[int], regimes: Sequence[str]
) -> list[tuple[str | Text, str]]:
    """Return the corpus, by its name, and the regime of every case."""
    found: list[tuple[str | Text, str]] = []
    default = oracles.OracleSpec("")
    for source in sources:
        if isinstance(source, Text) or source in corpora.names():
            found.append((source, "limited"))
            continue
        spec = oracles.parse(oracles.PREFIX + source.removeprefix(oracles.PREFIX))
        chosen = replace(spec, length=default.length, sentences=default.sentences, seed=default.seed)
        if spec != chosen:
            raise UserError(
                f"the oracle '{source}' says a length, a number of sentences or a seed, which the benchmark "
                "chooses: leave these options out, and give --length, --regime and --seeds"
            )
        found += [(str(replace(spec, length=length)), regime) for length in lengths for regime in regimes]
    return found


def jobs_of(case: Case) -> list[Job]:
    """List the trainings and the rows of a case; a job may use the results of those before it."""
    scale = case.scale

    def job(name: str, make: Callable[[], Result]) -> Job:
        return Job(f"{case.key}.{name}", make)

    names = scale.adversarial
    jobs = [
        job("train-mle", lambda: case.pretrain("mle", {})),
        job("train-twin", lambda: case.pretrain("twin", {}, seed=case.seed + 1_000)),
        job("train-ngram", lambda: train_ngram(case)),
        *(job(f"train-{name}", lambda name=name: case.adversarial(name, name, {})) for name in names),  # type: ignore[misc]
        *(
            job(
                f"train-{name}",
                lambda name=name: case.adversarial(name, "seqgan", controls.REWARDS[name]),  # type: ignore[misc]
            )
            for name in scale.rewards
        ),
        *(
            job(
                f"train-{name}-ngram",
                lambda name=name: train_on_ngrams(case, name),  # type: ignore[misc]
            )
            for name in on_ngrams(names)
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
        job("row-truth", case.reference),
    ]
    for group, how in sweeps:
        name = f"{group} {next(iter(how.values())):g}"
        jobs.append(
            job(
                f"row-{name.replace(' ', '-')}",
                lambda group=group, name=name, how=how: case.row(group, name, case.steps("mle", **how)),  # type: ignore[misc]
            )
        )
    mixed = [f"{name}-ngram" for name in on_ngrams(names)]
    for name in [*names, *mixed, "ngram", *scale.rewards, "longer", "larger"]:
        group = "adversarial" if name in (*names, *mixed) else "control"
        jobs.append(
            job(f"row-{name}", lambda group=group, name=name: _row_of_run(case, group, name))  # type: ignore[misc]
        )
    jobs.append(job("row-ensemble", lambda: case.row("control", "ensemble of two", case.ensemble())))
    return jobs


def _row_of_run(case: Case, group: str, name: str) -> Result:
    """Measure a training; one that is the same as another has its figures."""
    same = result(case.folder, f"{case.key}.train-{name}").get("same_as")
    if same is None:
        return case.row(group, name, case.of_run(name))
    figures = result(case.folder, f"{case.key}.row-{same}")["figures"]
    return case.about(group, name) | {"figures": figures, "same_as": same}


def on_ngrams(names: Sequence[str]) -> list[str]:
    """Return the algorithms that are also trained over the mixture with n-grams, as they keep it."""
    return [name for name in names if algorithms.get(name, algorithms.ADVERSARIAL).cls.keeps_ngrams]


def train_ngram(case: Case) -> Result:
    """Train the likelihood model mixed with n-grams; where validation has no use for them, that is `mle`."""
    return case.pretrain("ngram", NGRAMS) if case.gains_by_ngrams() else {"same_as": "mle"}


def train_on_ngrams(case: Case, name: str) -> Result:
    """Train an adversarial algorithm over that mixture, where there is one."""
    if "same_as" in result(case.folder, f"{case.key}.train-ngram"):
        return {"same_as": name}
    return case.adversarial(f"{name}-ngram", name, {}, start="ngram")


def train_longer(case: Case, adversarial: str) -> Result:
    """Train the generator on for as many CPU seconds as an adversarial algorithm took, to the best report."""
    first, other = (result(case.folder, f"{case.key}.train-{name}") for name in ("mle", adversarial))
    steps = max(round(first["steps"] * other["cpu_seconds"] / max(first["cpu_seconds"], 0.01)), 1)
    # At first the learning rate is higher than at the end of the first training: that is no reason to stop.
    values = {"lr": 1e-3, "patience": None}
    return case.pretrain("longer", values, init=case.path("mle"), steps=steps) | {"as_long_as": adversarial}


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
