"""One self-contained HTML page about runs: settings, training, scores, trade-offs, samples, codes, n-grams.

The page needs no network, no JavaScript and no other file. The same runs and options give the same page.
"""

import random
from collections import Counter
from collections.abc import Sequence

from seqgen.core.errors import UserError
from seqgen.evaluation.quality_diversity import REAL
from seqgen.evaluation.references import Coder, real_sample
from seqgen.evaluation.runs import evaluate_runs
from seqgen.inference.generate import generate
from seqgen.inference.latent_space import has_codes
from seqgen.metrics.diversity import copied, unique
from seqgen.report import scores as sections
from seqgen.report.charts import hue
from seqgen.report.html import document, element
from seqgen.report.latent import codes, showing
from seqgen.report.samples import Gallery, grams, lengths, samples
from seqgen.report.scores import Facts
from seqgen.report.text_analysis import mark
from seqgen.report.training import training
from seqgen.training.load import Trained

TEMPERATURES = (0.7, 0.85, 1.0, 1.15)
SHOWN = 12
"""Sentences shown of each run at each temperature; its shares are of all that are drawn."""
COPIES = 3
"""Copies of training sentences shown beyond those."""
TEMPERATURE = 1.0
"""At which the table's, the lengths' and the n-grams' sentences are drawn: the model as it is."""


def page(
    runs: Sequence[Trained],
    *,
    n: int = 2000,
    temperatures: Sequence[float] = TEMPERATURES,
    seed: int = 0,
) -> str:
    """Write the page about one or more runs of one corpus.

    Args:
        n: sentences drawn of each run at each temperature, two at least.
        temperatures: of the curve and the samples; temperature 1 is always scored.

    Raises:
        UserError: a corpus has changed or holds no test sentence, or the runs are of different ones: their
            scores would be against different references.
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
    facts = Facts(
        names=[str(each.run.path) for each in runs],
        labels=_labels(runs),
        hues=[hue(i) for i in range(len(runs))],
        configs=[each.run.config for each in runs],
        metrics=[each.run.metrics() for each in runs],
        scores=scores,
    )
    coder = Coder(scores["protocol"]["tokenisation"])
    texts = {REAL: real_sample(train, n, seed)}
    texts |= dict(zip(facts.labels, (_draw(each, n, TEMPERATURE, seed) for each in runs), strict=True))
    latent = [pair for pair in zip(facts.labels, runs, strict=True) if has_codes(pair[1])]
    parts = [
        sections.heading(facts, n=n, seed=seed, has_codes=bool(latent)),
        sections.settings_table(facts),
        training(facts),
        sections.scores(facts),
        sections.tradeoff(facts),
        samples(_galleries(runs, facts.labels, coder, n, grid, seed)),
        *([codes([showing(label, found, seed=seed) for label, found in latent])] if latent else []),
        lengths(texts, facts, coder.tokenise),
        grams(texts, facts, coder.tokenise),
        sections.protocol(facts),
    ]
    return document(f"seqgen report: {', '.join(facts.labels)}", element("main", *parts))


def _labels(runs: Sequence[Trained]) -> list[str]:
    """Name each run by its folder; by its whole path where two folders bear one name."""
    counts = Counter(each.run.name for each in runs)
    return [each.run.name if counts[each.run.name] == 1 else str(each.run.path) for each in runs]


def _draw(trained: Trained, n: int, temperature: float, seed: int) -> list[str]:
    """Draw the sentences that `evaluate_runs` scores: the same seed, the same n."""
    return [sentence.text for sentence in generate(trained, n, seed=seed, temperature=temperature)]


def _galleries(
    runs: Sequence[Trained],
    labels: Sequence[str],
    coder: Coder,
    n: int,
    grid: Sequence[float],
    seed: int,
) -> list[tuple[str, list[Gallery]]]:
    """Lay out sentences of each run at each temperature, after some of the test split."""
    corpus = runs[0].corpus
    # Neighbours in a file of sentences may be alike.
    mixed = random.Random(seed).sample(real_sample(corpus.test, n, seed), k=min(n, len(corpus.test)))
    drawn = [(REAL, "test split", mixed)]
    for label, trained in zip(labels, runs, strict=True):
        drawn += [(label, f"temperature {t:g}", _draw(trained, n, t, seed)) for t in grid]
    flags = [copied(lines, corpus.train) for _, _, lines in drawn]
    shown = [lines[:SHOWN] for _, _, lines in drawn]
    further = [_further(lines, copies) for (_, _, lines), copies in zip(drawn, flags, strict=True)]
    wanted = list(dict.fromkeys(line for lines in [*shown, *further] for line in lines))
    marks = dict(zip(wanted, mark(wanted, corpus.train, coder, seed=seed), strict=True))
    galleries: dict[str, list[Gallery]] = {title: [] for title, _, _ in drawn}
    for (title, heading, lines), copies, first, more in zip(drawn, flags, shown, further, strict=True):
        gallery = Gallery(
            heading,
            sentences=[marks[line] for line in first],
            copies=[marks[line] for line in more],
            n=len(lines),
            copied=sum(copies) / len(lines),
            unique=unique(lines),
        )
        galleries[title].append(gallery)
    return list(galleries.items())


def _further(lines: Sequence[str], copies: Sequence[bool]) -> list[str]:
    """Pick a few different copies from behind the sentences that are shown anyway."""
    rest = zip(lines[SHOWN:], copies[SHOWN:], strict=True)
    found = dict.fromkeys(line for line, copy in rest if copy and line not in lines[:SHOWN])
    return list(found)[:COPIES]
