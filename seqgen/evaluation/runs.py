"""The evaluation of trained runs: their samples, the likelihood of the test split, and temperature sweeps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seqgen.core.errors import UserError
from seqgen.corpora import load as load_grammar
from seqgen.data.token_ids import encode_lines
from seqgen.evaluation.latent import latent_figures
from seqgen.evaluation.quality_diversity import Point, measure
from seqgen.evaluation.references import Yardstick, real_sample, yardstick
from seqgen.evaluation.scores import Report
from seqgen.evaluation.text import Subject, compare
from seqgen.generation.likelihood import Likelihood, bounded_batches, generator_likelihood, of_sentences
from seqgen.inference.generate import generate
from seqgen.inference.latent_space import has_codes
from seqgen.inference.scoring import score
from seqgen.metrics.tokenization import AUTO
from seqgen.training.load import Trained, ids_of


@dataclass(frozen=True)
class Estimate:
    """How the likelihood of a model with codes is estimated; that of a whole split takes too long."""

    sentences: int = 1000
    """of the test split, drawn by the seed"""
    samples: int = 500
    """codes of each; fewer make a lower bound on the likelihood less tight (Burda et al. 2016)"""


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
    estimate: Estimate | None = None,
) -> Report:
    """Score n samples of each run against the test split of their corpus, beside its training sentences.

    The whole test split, uncut, gives `nll_test`; the samples' log-probabilities at temperature 1 give
    `nll_gen`. A model with codes has an `nll_test` that is estimated (`estimate`), no `nll_gen`, which would
    take as long for little, and `latent`. With `temperatures` the report holds `sweep`, the points of the
    quality–diversity curve of each run. UserError where a corpus has changed, is not the others', or holds no
    test sentence.
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
    subjects = [
        _subject(trained, n, temperature, seed, estimate or Estimate(), against.tokenisation)
        for trained in runs
    ]
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
        raise UserError(
            f"corpus '{first.corpus.name}' has no test sentence; train with --test FILE, or compare samples "
            "with a file of real sentences by 'seqgen evaluate --hyp FILE --ref FILE'"
        )
    return first.corpus


def _subject(
    trained: Trained, n: int, temperature: float, seed: int, estimate: Estimate, tokenisation: str
) -> Subject:
    exact = trained.algorithm.likelihood == "exact"
    sentences = list(generate(trained, n, seed=seed, temperature=temperature, with_log_prob=exact))
    nats = [-each.log_prob for each in sentences if each.log_prob is not None]
    return Subject(
        str(trained.run.path),
        [sentence.text for sentence in sentences],
        nll_test=likelihood_of_test(trained, seed=seed, estimate=estimate),
        nll_gen=of_sentences(nats, [each.tokens for each in sentences], seed=seed) if exact else None,
        latent=latent_figures(trained, tokenisation=tokenisation, seed=seed) if has_codes(trained) else None,
    )


def likelihood_of_test(
    trained: Trained, *, seed: int | None = None, estimate: Estimate | None = None
) -> Likelihood | None:
    """Measure the likelihood of a run's test split, sentences of any length; None where it has none.

    An exact one is that of the whole split, one that has to be estimated that of some of it (`Estimate`).
    """
    algorithm, lines = trained.algorithm, trained.corpus.test
    if algorithm.likelihood == "exact":
        batches = (
            tokens.to(trained.device) for tokens in bounded_batches(encode_lines(lines, trained.tokenizer))
        )
        return generator_likelihood(algorithm.generator, batches, seed=seed)
    if algorithm.likelihood is None:
        return None
    how = estimate or Estimate()
    some = real_sample(lines, how.sentences, seed or 0)
    scores = list(score(trained, some, samples=how.samples, seed=seed or 0))
    nats = [-(each.log_prob or 0.0) for each in scores]
    found = of_sentences(
        nats, [each.tokens for each in scores], unknown=ids_of(trained, some).unknown, seed=seed
    )
    return replace(found, samples=how.samples)


def sweep(
    trained: Trained, temperatures: Sequence[float], against: Yardstick, *, n: int = 10_000, seed: int = 0
) -> list[Point]:
    """Draw n sentences of a run at each temperature and measure quality and diversity."""
    points = []
    for temperature in temperatures:
        lines = [sentence.text for sentence in generate(trained, n, seed=seed, temperature=temperature)]
        points.append(measure(lines, against, name=str(trained.run.path), temperature=temperature))
    return points
