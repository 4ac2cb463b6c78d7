"""One self-contained HTML page about runs on text: a summary, samples, scores, training, latents, settings.

The page needs no network, no JavaScript and no other file. The same runs and options give the same page.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from seqgen.core.errors import UserError
from seqgen.data.conditions import parted
from seqgen.evaluation.conditional import answers_of_test
from seqgen.evaluation.quality_diversity import BASELINE, REAL
from seqgen.evaluation.references import Vocabulary, random_subset
from seqgen.evaluation.runs import evaluate_runs
from seqgen.inference.generate import generate
from seqgen.inference.latent_space import has_latents
from seqgen.metrics.diversity import copied, unique_fraction
from seqgen.report import scores as sections
from seqgen.report.charts import hue, key
from seqgen.report.latent import latent_examples
from seqgen.report.rendering import render
from seqgen.report.samples import SampleColumn, lengths, ngrams
from seqgen.report.scores import ReportData
from seqgen.report.summary import summary
from seqgen.report.text_analysis import mark_copies
from seqgen.report.training import training
from seqgen.training.load import Trained

SECTIONS = {
    "summary": "Summary",
    "samples": "Samples",
    "scores": "Scores",
    "tradeoff": "Quality and diversity",
    "training": "Training",
    "latents": "Latent space",
    "lengths": "Lengths",
    "ngrams": "Most frequent n-grams",
    "settings": "Settings",
    "protocol": "Protocol",
}
"""Anchors and headings of the sections, in order; `latents` only if a run has them."""
TEMPERATURES = (0.7, 0.85, 1.0, 1.15)
SHOWN = 12
"""Sentences shown of each run at each temperature; fractions are of all sentences sampled."""
MORE_COPIES = 3
"""Copies of training sentences shown in addition."""
OF_LABEL, MOST_LABELS = 60, 8
"""Samples of each label, and the most labels that are shown, the most frequent ones."""
TEMPERATURE = 1.0
"""Of the samples for the tables, the lengths and the n-grams: the unchanged model."""


def page(
    runs: Sequence[Trained],
    *,
    n: int = 2000,
    temperatures: Sequence[float] = TEMPERATURES,
    seed: int = 0,
) -> str:
    """Return the page about one or more runs of one corpus.

    Args:
        n: samples of each run at each temperature, at least two.
        temperatures: of the curve and the samples; temperature 1 is always scored.

    Raises:
        UserError: a corpus has changed or has no test sentence, or the runs have different corpora, so that
            their scores would have different references.
    """
    if n < 2:
        raise UserError(f"{n} sentence to score: self-BLEU compares sentences, give at least 2")
    grid = sorted(set(temperatures))
    scores = evaluate_runs(
        runs,
        n=n,
        temperature=TEMPERATURE,
        temperatures=[each for each in grid if each != TEMPERATURE],
        seed=seed,
    )
    train = runs[0].corpus.train
    data = ReportData(
        names=[str(each.run.path) for each in runs],
        labels=_labels(runs),
        hues=[hue(i) for i in range(len(runs))],
        configs=[each.run.config | {"data": asdict(each.data)} for each in runs],
        metrics=[each.run.metrics() for each in runs],
        scores=scores,
    )
    vocabulary = Vocabulary(scores["protocol"]["tokenisation"])
    texts = {REAL: random_subset(train, n, seed)}
    texts |= dict(zip(data.labels, (_sample(each, n, TEMPERATURE, seed) for each in runs), strict=True))
    with_latents = [pair for pair in zip(data.labels, runs, strict=True) if has_latents(pair[1])]
    examples = [latent_examples(label, run, seed=seed) for label, run in with_latents]
    shown = {anchor: title for anchor, title in SECTIONS.items() if anchor != "latents" or examples}
    return render(
        "text.html",
        title=", ".join(data.labels),
        sections=shown,
        summary=summary(data),
        samples=_sample_columns(runs, data.labels, vocabulary, n, grid, seed),
        scores=sections.score_tables(data),
        tradeoff=sections.tradeoff(data),
        training=training(data.labels, data.hues, data.metrics),
        latents=examples,
        lengths=lengths(texts, data, vocabulary.tokenise),
        ngrams=ngrams(texts, data, vocabulary.tokenise),
        settings=sections.settings_table(data.names, data.labels, data.configs),
        protocol=[f"{n:,} samples of each run at each temperature, seed {seed}", *sections.protocol(data)],
        run_keys=data.keys(),
        text_keys=[key(REAL, "real"), *data.keys()],
        all_keys=[*data.keys(), key(REAL, "real"), key(BASELINE, "baseline")],
    )


def _labels(runs: Sequence[Trained]) -> list[str]:
    """Name each run by its folder, or by its path if two folders have the same name."""
    counts = Counter(each.run.name for each in runs)
    return [each.run.name if counts[each.run.name] == 1 else str(each.run.path) for each in runs]


def _sample(trained: Trained, n: int, temperature: float, seed: int) -> list[str]:
    """Draw the same samples as `evaluate_runs` scores: the same seed and n."""
    if trained.tokenizer.then is not None:
        answers = answers_of_test(trained, n, temperature=temperature, seed=seed, score=False)
        return [sentence.text for sentence in answers]
    return [sentence.text for sentence in generate(trained, n, seed=seed, temperature=temperature)]


def _by_label(trained: Trained, seed: int) -> list[tuple[str, list[str], list[str]]]:
    """Return the most frequent labels of a run, each with some test sentences and samples of it."""
    counts = Counter(trained.run.config.get("labels") or {})
    test = [parted(line) for line in trained.corpus.test.whole] if counts else []
    return [
        (
            label,
            [sentence for given, sentence in test if given == label][:OF_LABEL],
            [each.text for each in generate(trained, OF_LABEL, seed=seed, labels={label: 1.0})],
        )
        for label, _ in counts.most_common(MOST_LABELS)
    ]


def _sample_columns(
    runs: Sequence[Trained],
    labels: Sequence[str],
    vocabulary: Vocabulary,
    n: int,
    grid: Sequence[float],
    seed: int,
) -> list[tuple[str, list[SampleColumn]]]:
    """Collect test sentences, then samples of each run at each temperature, with their copies marked."""
    corpus = runs[0].corpus
    # Shuffled, because adjacent sentences of a file may be similar.
    shuffled = random.Random(seed).sample(random_subset(corpus.test, n, seed), k=min(n, len(corpus.test)))
    drawn = [(REAL, "test split", shuffled)]
    for label, trained in zip(labels, runs, strict=True):
        drawn += [(label, f"temperature {t:g}", _sample(trained, n, t, seed)) for t in grid]
        for given, real, sampled in _by_label(trained, seed):
            if label == labels[0] and real:
                drawn.append((REAL, f"label {given}", real))
            drawn.append((label, f"label {given}", sampled))
    flags = [copied(lines, corpus.train) for _, _, lines in drawn]
    shown = [lines[:SHOWN] for _, _, lines in drawn]
    more_copies = [_more_copies(lines, copies) for (_, _, lines), copies in zip(drawn, flags, strict=True)]
    displayed = list(dict.fromkeys(line for lines in [*shown, *more_copies] for line in lines))
    marks = dict(zip(displayed, mark_copies(displayed, corpus.train, vocabulary, seed=seed), strict=True))
    columns: dict[str, list[SampleColumn]] = {title: [] for title, _, _ in drawn}
    for (title, heading, lines), copies, first, more in zip(drawn, flags, shown, more_copies, strict=True):
        column = SampleColumn(
            heading,
            sentences=[marks[line] for line in first],
            copies=[marks[line] for line in more],
            n=len(lines),
            copied_fraction=sum(copies) / len(lines),
            unique_fraction=unique_fraction(lines),
        )
        columns[title].append(column)
    return list(columns.items())


def _more_copies(lines: Sequence[str], copies: Sequence[bool]) -> list[str]:
    """Pick a few distinct copies from the sentences that are not shown otherwise."""
    rest = zip(lines[SHOWN:], copies[SHOWN:], strict=True)
    found = dict.fromkeys(line for line, copy in rest if copy and line not in lines[:SHOWN])
    return list(found)[:MORE_COPIES]
