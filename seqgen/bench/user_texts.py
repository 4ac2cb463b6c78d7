"""The default generator on the texts that users bring, beside plain PyTorch and other settings.

Each text is a row: `seqgen pretrain` with its defaults, then networks of `seqgen.bench.plain_models` for as
many CPU seconds, and, if asked for, the same training at every dropout of `SEARCHED`, weight decay with it.
`nll` is the negative log-likelihood of the test sentences in nats a token, ends included; `valid_nll` is that
of the validation sentences, by which the search chooses. Every training is a job whose result is kept.
"""

import shlex
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seqgen.algorithms.mle import MLEConfig
from seqgen.algorithms.regularisation import decay_for
from seqgen.bench import plain_models, trainings
from seqgen.bench.case import Text
from seqgen.bench.jobs import Job, Result, result, run_jobs
from seqgen.core import cache
from seqgen.core import device as devices
from seqgen.core.random_state import own_randomness
from seqgen.corpora.recipes import Recipe, get_recipe
from seqgen.data.batches import encode_lines
from seqgen.evaluation.runs import likelihood_of_test
from seqgen.inference.generate import generate
from seqgen.training import load, setup
from seqgen.training.data_config import DataConfig, length_limit, short_name

PUBLIC = ("names", "molecules", "logs", "tweets", "poems", "coco", "news")
"""Recipes of the texts of the benchmark."""
SEARCHED = (0.1, 0.25, 0.4, 0.55)
"""Dropouts beside which a default stands."""
SAMPLES = 5
OURS = "seqgen"


def is_fetched(name: str) -> bool:
    """Say whether `seqgen corpora fetch` has put a public text where it does without --out."""
    return all((_folder(name) / file.name).is_file() for file in get_recipe(name).files)


def public_text(name: str) -> Text:
    """Return a public text that has been fetched, read as its recipe says."""
    return Text(name, DataConfig(**_pretraining_options(get_recipe(name), _folder(name))))


def _folder(name: str) -> Path:
    return cache.folder() / "data" / name


def _pretraining_options(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Return the options of `seqgen pretrain` in the command that a recipe says to run next."""
    command = shlex.split(recipe.next_command.format(folder=shlex.quote(str(folder))))
    pairs = zip(command[2::2], command[3::2], strict=True)
    return {option.removeprefix("--").replace("-", "_"): value for option, value in pairs}


def own_text(corpus: str) -> Text:
    """Return a text of the user's, whose test sentences are split off."""
    return Text(short_name(corpus), DataConfig(corpus=corpus))


def run(
    texts: Sequence[Text],
    folder: Path,
    *,
    seeds: int = 1,
    minutes: float | None = None,
    search: bool = False,
    device: str = "auto",
    notify: Callable[[str], None] = lambda message: None,
) -> list[Result]:
    """Run the benchmark, or what is left of it, and return a row for each text and seed.

    Args:
        folder: of trainings and results; the same arguments go on there.
        minutes: length of our trainings; their default length if not given.
        search: also train at the dropouts of `SEARCHED`.

    UserError for a text that cannot be read, and where the folder holds another benchmark.
    """
    cases = [_Case(text, seed, folder, minutes, search, device) for text in texts for seed in range(seeds)]
    options = {
        "texts": [asdict(text) for text in texts],
        "seeds": seeds,
        "minutes": minutes,
        "search": search,
    }
    jobs = [job for case in cases for job in case.jobs()]
    run_jobs(folder, jobs, options, notify=notify)
    return [case.row() for case in cases]


@dataclass(frozen=True)
class _Case:
    """A text and a seed."""

    text: Text
    seed: int
    folder: Path
    minutes: float | None
    search: bool
    device: str

    def jobs(self) -> list[Job]:
        """List the trainings; those of plain PyTorch take the time of ours, which goes before."""
        trainings: dict[str, Callable[[], Result]] = {OURS: self._ours}
        for name in plain_models.MODELS:
            trainings[name] = lambda name=name: self._plain(name)  # type: ignore[misc]
        for dropout in SEARCHED if self.search else ():
            trainings[_searched(dropout)] = lambda dropout=dropout: self._at(dropout)  # type: ignore[misc]
        return [Job(self._job(name), run) for name, run in trainings.items()]

    def row(self) -> Result:
        """Return the results of all trainings beside what the text is."""
        names = [OURS, *plain_models.MODELS, *(map(_searched, SEARCHED) if self.search else ())]
        found = {name: result(self.folder, self._job(name)) for name in names}
        return {"text": self.text.name, "seed": self.seed} | {"trainings": found}

    def _job(self, name: str) -> str:
        return f"{self.text.name}-seed{self.seed}.{name.replace(' ', '-')}"

    def _ours(self) -> Result:
        done = self._trained(OURS, {}, minutes=self.minutes)
        drawn = generate(load.load(self._path(OURS), self.device), SAMPLES, seed=self.seed)
        return done | {"samples": [sentence.text for sentence in drawn]}

    def _at(self, dropout: float) -> Result:
        """Train as ours, but for dropout and weight decay; as many steps."""
        steps = result(self.folder, self._job(OURS))["steps"]
        return self._trained(
            _searched(dropout),
            {"generator.dropout": dropout, "weight_decay": decay_for(dropout, MLEConfig.most_decay)},
            steps=steps,
        )

    def _path(self, name: str) -> Path:
        return self.folder / "runs" / self._job(name)

    def _trained(self, name: str, values: Mapping[str, Any], **length: Any) -> Result:
        job = setup.pretrain_job(
            self.text.data,
            "mle",
            path=self._path(name),
            values=values,
            seed=self.seed,
            device_name=self.device,
            **length,
        )
        done, seconds = trainings.train(job)
        trained = load.load(job.run, self.device)
        likelihood = likelihood_of_test(trained)
        assert likelihood is not None
        return {
            "nll": likelihood.nats_per_token,
            "valid_nll": min(row["valid_nll"] for row in job.run.metrics() if "valid_nll" in row),
            "seconds": seconds,
            "steps": done.step,
            "epochs": done.step / len(job.batches),
            "dropout": job.algorithm.config.generator.dropout,
            "sentences": len(trained.corpus.train),
            "tokenizer": trained.tokenizer.kind,
            "vocabulary": trained.tokenizer.vocab_size,
        }

    def _plain(self, name: str) -> Result:
        """Train a plain network on the same tokens for as many seconds as ours took."""
        ours = load.load(self._path(OURS), "cpu")
        limit = length_limit(ours.data, ours.tokenizer)
        corpus = ours.corpus
        train, valid, test = (
            encode_lines(lines, ours.tokenizer, max_length=each)
            for lines, each in ((corpus.train, limit), (corpus.valid, limit), (corpus.test, None))
        )
        device = devices.pick(self.device)
        longest = max(int(ids.lengths().max(initial=1)) for ids in (train, valid, test))
        seconds = result(self.folder, self._job(OURS))["seconds"]
        with own_randomness(self.seed):
            model = plain_models.MODELS[name](ours.tokenizer.vocab_size, longest).to(device)
            steps = plain_models.train(
                model,
                train,
                valid,
                seconds=seconds,
                seed=self.seed,
                device=device,
                clock=trainings.clock(device),
            )
        return {
            "nll": plain_models.mean_nll(model, test, device),
            "valid_nll": plain_models.mean_nll(model, valid, device),
            "seconds": seconds,
            "steps": steps,
        }


def _searched(dropout: float) -> str:
    return f"dropout {dropout:g}"


def table(rows: Sequence[Result]) -> str:
    """Lay out the rows, a text a line, as means over the seeds: nats a token of test sentences.

    The last columns are, of validation sentences, how far the default is behind the best dropout of the
    search, and that dropout.
    """
    names = list(rows[0]["trainings"])
    others = [name for name in names if name in plain_models.MODELS]
    head = ["text", "tokenizer", "sentences", "seconds", "dropout", OURS, *others]
    head += ["behind the best", "at dropout"] if len(names) > 1 + len(others) else []
    lines = [head]
    for text in dict.fromkeys(row["text"] for row in rows):
        of_text = [row["trainings"] for row in rows if row["text"] == text]
        ours = of_text[0][OURS]
        cells = [text, f"{ours['tokenizer']}, {ours['vocabulary']:,}", f"{ours['sentences']:,}"]
        cells += [f"{_mean(of_text, OURS, 'seconds'):.0f}", f"{ours['dropout']:g}"]
        cells += [f"{_mean(of_text, name, 'nll'):.3f}" for name in (OURS, *others)]
        searched = {name: _mean(of_text, name, "valid_nll") for name in names if name not in (OURS, *others)}
        if searched:
            best = min(searched, key=lambda name: searched[name])
            behind = _mean(of_text, OURS, "valid_nll") - searched[best]
            cells += [f"{behind:+.3f}", best.removeprefix("dropout ")]
        lines.append(cells)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _mean(rows: Sequence[Mapping[str, Any]], name: str, key: str) -> float:
    return statistics.fmean(row[name][key] for row in rows)
