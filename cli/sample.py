"""`seqgen sample`: sample sentences from a trained run."""

from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from seqgen.cli import common
from seqgen.core.atomic_files import is_written_in_place

if TYPE_CHECKING:
    from collections.abc import Callable

    from seqgen.inference.sample_file import Draw, Layout
    from seqgen.training.load import Trained

NOT_OF_THE_FILE = ("run", "out", "device", "threads", "trust", "quiet")
"""Options that say nothing of what is sampled; of the run its files do."""


def sample(
    run: Annotated[Path | None, typer.Option(help="The run; the latest under runs/ if not given.")] = None,
    n: Annotated[
        int | None, typer.Option("--n", min=0, help="Number of sentences; 20, or 1 for each source.")
    ] = None,
    temperature: Annotated[
        float,
        typer.Option(
            min=0.0, help="Sampling temperature: 1 is the model, lower is less diverse, 0 is greedy."
        ),
    ] = 1.0,
    top_k: Annotated[
        int | None,
        typer.Option(min=1, help="Sample from the k most likely tokens; a search has 8 candidates."),
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Nucleus sampling: probability mass to sample from, in (0, 1].")
    ] = None,
    min_p: Annotated[
        float | None,
        typer.Option(help="Least share of the likeliest token's probability that a token needs, in (0, 1]."),
    ] = None,
    search: Annotated[
        str | None, typer.Option(help="contrastive: contrastive search instead of sampling.")
    ] = None,
    penalty: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="Weight of the degeneration penalty of a search; 0.6 if not given."
        ),
    ] = None,
    sampled: Annotated[
        int | None, typer.Option(min=0, help="First tokens sampled before a search; 5 if not given.")
    ] = None,
    infill: Annotated[
        str | None,
        typer.Option(help="A text whose blanks, _, are filled, a token each; of a run of maskgan."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=WEIGHT]",
            help="The label to give, repeatable, with weights; as in the corpus if not given.",
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Texts to go on from, one per line; - is stdin."),
    ] = None,
    prompt: Annotated[str, typer.Option(help="Text that every sentence begins with.")] = "",
    min_length: Annotated[int, typer.Option(min=0, help="Minimum number of tokens.")] = 0,
    max_length: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum number of tokens; that of the training data if not given."),
    ] = None,
    candidates: Annotated[
        int | None,
        typer.Option(
            min=1, help="Of a residual model or with --reward: candidates of which each sentence is chosen."
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.py:FUNCTION", help="Keep what your function of a list of sentences finds true."
        ),
    ] = None,
    reward: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.py:FUNCTION",
            help="Choose among candidates by your function of a list of sentences, higher is better.",
        ),
    ] = None,
    reward_weight: Annotated[
        float | None, typer.Option(min=0.0, help="Nats that a reward of 1 is worth; 1 if not given.")
    ] = None,
    unique: Annotated[bool, typer.Option("--unique", help="Leave duplicates out.")] = False,
    unknown: Annotated[bool, typer.Option("--unknown", help="Allow the unknown-word token.")] = False,
    format: Annotated[str, typer.Option("--format", help="text or jsonl (with log-probabilities).")] = "text",
    out: Annotated[
        Path | None,
        typer.Option(help="A file to write, where an interrupted command goes on; stdout if not given."),
    ] = None,
    seed: Annotated[int, common.seed_option("Random seed.")] = 0,
    device: common.Device = "auto",
    threads: common.Threads = None,
    trust: common.Trust = False,
    quiet: common.Quiet = False,
) -> None:
    """Sample sentences from a trained run, in constant memory.

    With --out, what an interrupted command has sampled stays in FILE.part, and the same command goes on.
    """
    given = dict(locals())
    from seqgen.core.errors import UserError, did_you_mean

    common.check_file(out)
    if format not in ("text", "jsonl"):
        raise UserError(f"no format '{format}'" + did_you_mean(format, ("text", "jsonl")))
    for name, value in (("--top-p", top_p), ("--min-p", min_p)):
        if value is not None and not 0 < value <= 1:
            raise UserError(f"{name} {value}: it must be above 0 and at most 1")
    options: dict[str, Any] = {"temperature": temperature, "top_p": top_p, "min_p": min_p}
    options |= {"min_length": min_length, "max_length": max_length}
    options |= _decoding(search, top_k, penalty, sampled) | _functions(where, reward, reward_weight)
    labels = common.label_weights(label)
    if source is not None:
        others = (prompt, unique, infill, where, reward, labels)
        names = ("--prompt", "--unique", "--infill", "--where", "--reward", "--label")
        if unfit := [name for name, value in zip(names, others, strict=True) if value]:
            raise UserError(f"--source gives texts to go on from; leave {' and '.join(unfit)} out")
    from seqgen.core import device as devices
    from seqgen.data.reading import Reading
    from seqgen.inference.sample_file import Layout

    devices.prepare(threads)
    notify = (lambda message: None) if quiet else (lambda message: typer.echo(message, err=True))
    trained = common.load_run(run, device, trust=trust)
    trained_on = f"{trained.run.config['algorithm']} on {trained.data.corpus}"
    notify(f"run: {trained.run.path} ({trained_on}), temperature {temperature:g}, seed {seed}")
    options |= {"seed": seed, "unknown": unknown, "with_log_prob": format == "jsonl"}
    settings = _settings(given, options)
    if source is not None:
        lines = _sources(source, trained, notify)
        if candidates is not None:
            options["candidates"] = candidates
        settings["texts of --source"] = sha256("\n".join(lines).encode()).hexdigest()
        total = len(lines) * (1 if n is None else n)
        draw = _answers(trained, lines, 1 if n is None else n, options)
    else:
        more = {"prompt": prompt, "candidates": candidates, "infill": infill, "labels": labels}
        total = 20 if n is None else n
        draw = _samples(trained, total, options | more | {"unique": unique, "notify": notify})
    end = Reading(separator=trained.run.config["data"].get("separator")).item_end
    _write(trained, out, draw, Layout(format == "jsonl", end), settings, total, unique, notify)


def _samples(trained: "Trained", n: int, options: dict[str, Any]) -> "Draw":
    """Return what samples from a run."""
    from seqgen.inference.generate import generate

    return lambda position, before: generate(trained, n, position=position, before=before, **options)


def _answers(trained: "Trained", sources: list[str], n: int, options: dict[str, Any]) -> "Draw":
    """Return what samples what goes on from each of some texts."""
    from seqgen.inference.conditional import go_on_from

    return lambda position, before: go_on_from(trained, sources, n, position=position, **options)


def _settings(given: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return all options that a file of samples depends on, of functions their source as well."""
    asked = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in given.items()
        if name not in NOT_OF_THE_FILE
    }
    if "where" in options:
        asked["source of --where"] = options["where"].source_hash
    if "steering" in options:
        asked["source of --reward"] = options["steering"].reward.source_hash
    return asked


def _write(
    trained: "Trained",
    out: Path | None,
    draw: "Draw",
    layout: "Layout",
    settings: dict[str, Any],
    total: int,
    unique: bool,
    notify: "Callable[[str], None]",
) -> None:
    """Write samples to stdout or a pipe as a stream, or to a file, which the same command goes on with."""
    from seqgen.inference import sample_file
    from seqgen.inference.sentence import SamplingPosition

    if out is not None and not is_written_in_place(out):
        complete = sample_file.settings_of(trained, settings)
        sample_file.write_samples(out, draw, layout, complete, total=total, unique=unique, notify=notify)
        return

    def write(file: IO[str]) -> None:
        for sentence in draw(SamplingPosition(), ()):
            file.write(layout.write(sentence))

    common.write_to(out, write)


def _decoding(
    search: str | None, top_k: int | None, penalty: float | None, sampled: int | None
) -> dict[str, object]:
    """Return the options of `seqgen.generation.sample.sample` for sampling or for a search."""
    from seqgen.core.errors import UserError, did_you_mean

    if search is None:
        for name, value in (("--penalty", penalty), ("--sampled", sampled)):
            if value is not None:
                raise UserError(f"{name} {value:g} is for a search; add --search contrastive")
        return {"top_k": top_k}
    if search != "contrastive":
        raise UserError(f"no search '{search}'" + did_you_mean(search, ("contrastive",)))
    from seqgen.generation.contrastive_search import ContrastiveSearch

    given = {"candidates": top_k, "penalty": penalty, "sampled": sampled}
    return {"search": ContrastiveSearch(**{k: v for k, v in given.items() if v is not None})}  # type: ignore[arg-type]


def _sources(path: Path, trained: "Trained", notify: "Callable[[str], None]") -> list[str]:
    """Read texts to go on from: the lines of a file, or of a table the column that the run learned from."""
    from seqgen.data.reading import Reading
    from seqgen.data.tables import TABLES
    from seqgen.evaluation.sentence_files import read_sentences

    suffix = Path(path.name.removesuffix(".gz")).suffix
    how = Reading(trained.data.source_column if suffix in TABLES else None)
    return read_sentences(path, "--source", how, notify=notify)


def _functions(where: str | None, reward: str | None, weight: float | None) -> dict[str, object]:
    """Return the options of `seqgen.inference.generate.generate` by functions of the user's."""
    from seqgen.core import user_functions
    from seqgen.core.errors import UserError

    if reward is None and weight is not None:
        raise UserError(f"--reward-weight {weight:g} has no reward to weight; add --reward FILE.py:FUNCTION")
    found: dict[str, object] = {} if where is None else {"where": user_functions.load(where)}
    if reward is not None:
        from seqgen.inference.steering import Steering

        found["steering"] = Steering(user_functions.load(reward), 1.0 if weight is None else weight)
    return found
