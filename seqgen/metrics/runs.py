"""The evaluation of trained runs: their samples, the likelihood of the test split, and temperature sweeps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqgen.corpora import load as load_grammar
from seqgen.errors import UserError
from seqgen.ids import encode_lines
from seqgen.metrics.curve import Point, measure
from seqgen.metrics.evaluation import Subject, compare
from seqgen.metrics.likelihood import Likelihood, bounded_batches, generator_likelihood, of_sentences
from seqgen.metrics.rows import Report
from seqgen.metrics.tokenise import AUTO
from seqgen.metrics.yardstick import Yardstick, yardstick
from seqgen.trained import Trained, generate


def evaluate_run(trained: Trained, **options: Any) -> Report:
    """Score n samples of a run against its corpus' test split; the options are those of `evaluate_runs`."""
    return evaluate_runs([trained], **options)


def evaluate_runs(
    runs: Sequence[Trained],
    *,
    n: int = 10_000,
    temperature: float = 1.0,
    temperatures: Sequence[float] = (),
    seed: int = 0,
    protocol: str = "seqgen",
    tokenisation: str = AUTO,
    embeddings: Path | None = None,
    encoder: str | None = None,
) -> Report:
    """Score n samples of each run against the test split of their corpus, beside its training sentences.

    The whole test split, uncut, gives `nll_test`; the samples' log-probabilities at temperature 1 give
    `nll_gen`. With `temperatures` the report holds `sweep`, the points of the quality–diversity curve of
    each run. UserError where a corpus has changed, is not the others', or holds no test sentence.
    """
    corpus = _same_corpus(runs)
    against = yardstick(
        corpus.test,
        corpus.train,
        protocol=protocol,
        tokenisation=tokenisation,
        seed=seed,
        embeddings=embeddings,
        encoder=encoder,
    )
    subjects = [_subject(trained, n, temperature, seed) for trained in runs]
    names = [subject.name for subject in subjects]
    report = compare(
        subjects,
        against,
        stated={
            "hypotheses_from": names[0] if len(names) == 1 else names,
            "references_from": f"test split of {corpus.name}",
            "train_from": corpus.name,
            "corpus_hash": corpus.hash,
            "temperature": temperature,
        },
        grammar=load_grammar(corpus.grammar) if corpus.grammar else None,
    )
    if temperatures:
        swept = [sweep(trained, temperatures, against, n=n, seed=seed) for trained in runs]
        report["sweep"] = [point for points in swept for point in points]
    return report


def _same_corpus(runs: Sequence[Trained]) -> Any:
    first = runs[0]
    for other in runs[1:]:
        if other.corpus.hash != first.corpus.hash:
            raise UserError(
                f"runs '{first.run.path}' and '{other.run.path}' are of different corpora or splits, "
                f"{first.corpus.name} and {other.corpus.name}; evaluate them one by one"
            )
    if not len(first.corpus.test):
        raise UserError(f"corpus '{first.corpus.name}' has no test sentence; name a file of them with --test")
    return first.corpus


def _subject(trained: Trained, n: int, temperature: float, seed: int) -> Subject:
    sentences = list(generate(trained, n, seed=seed, temperature=temperature, with_log_prob=True))
    return Subject(
        str(trained.run.path),
        [sentence.text for sentence in sentences],
        nll_test=likelihood_of_test(trained, seed=seed),
        nll_gen=of_sentences(
            [-(sentence.log_prob or 0.0) for sentence in sentences],
            [sentence.tokens for sentence in sentences],
            seed=seed,
        ),
    )


def likelihood_of_test(trained: Trained, *, seed: int | None = None) -> Likelihood:
    """Measure the likelihood of a run's whole test split, sentences of any length."""
    ids = encode_lines(trained.corpus.test, trained.tokenizer)
    batches = (tokens.to(trained.device) for tokens in bounded_batches(ids))
    return generator_likelihood(trained.algorithm.generator, batches, seed=seed)


def sweep(
    trained: Trained, temperatures: Sequence[float], against: Yardstick, *, n: int = 10_000, seed: int = 0
) -> list[Point]:
    """Draw n sentences of a run at each temperature and measure quality and diversity."""
    points = []
    for temperature in temperatures:
        lines = [sentence.text for sentence in generate(trained, n, seed=seed, temperature=temperature)]
        points.append(measure(lines, against, name=str(trained.run.path), temperature=temperature))
    return points
