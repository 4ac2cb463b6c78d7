"""The sections of the report about sentences: samples, their lengths, their most frequent n-grams."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seqgen.evaluation.quality_diversity import REAL
from seqgen.metrics.tokenization import Tokenise
from seqgen.report.charts import Chart, Series, chart
from seqgen.report.scores import ReportData
from seqgen.report.tables import Cell, Table
from seqgen.report.text_analysis import MarkedSentence, histogram, top_ngrams

ORDERS = {1: "Unigrams", 2: "Bigrams", 3: "Trigrams", 4: "4-grams"}


@dataclass(frozen=True)
class SampleColumn:
    """Some sentences of a source at one temperature, and fractions of all `n` that were sampled."""

    heading: str
    sentences: Sequence[MarkedSentence]
    copies: Sequence[MarkedSentence]
    """further copies of training sentences"""
    n: int
    copied_fraction: float
    unique_fraction: float

    @property
    def summary(self) -> str:
        """The fractions in a line."""
        return f"{self.n:,} sampled: {self.copied_fraction:.1%} copies, {self.unique_fraction:.1%} unique"


def lengths(texts: Mapping[str, Sequence[str]], data: ReportData, tokenise: Tokenise) -> Chart:
    """Draw the distribution of sentence lengths of real text and of each run."""
    counted = {label: [len(tokenise(line)) for line in lines] for label, lines in texts.items()}
    longest = max(max(each) for each in counted.values())
    hues = {REAL: "real"} | dict(zip(data.labels, data.hues, strict=True))
    return chart(
        [Series(label, histogram(counted[label], longest), hue) for label, hue in hues.items()],
        title="Sentence length",
        x_label=f"{data.scores['protocol']['tokenisation']} tokens per sentence",
        y_label="% of sentences",
        steps=True,
    )


def ngrams(texts: Mapping[str, Sequence[str]], data: ReportData, tokenise: Tokenise) -> list[Table]:
    """List the most frequent n-grams of real text and of each run side by side."""
    separator = "" if data.scores["protocol"]["tokenisation"] == "character" else " "
    tables = []
    for n, title in ORDERS.items():
        columns = [top_ngrams(lines, tokenise, n, separator=separator) for lines in texts.values()]
        common = {gram for gram, _ in columns[0]}
        rows = [
            [Cell(f"{i + 1}"), *(_gram(column, i, common) for column in columns)]
            for i in range(max(map(len, columns)))
        ]
        if rows:
            tables.append(Table(["rank", *texts], rows, title=title, kind="grams"))
    return tables


def _gram(column: Sequence[tuple[str, float]], i: int, common: set[str]) -> Cell:
    if i >= len(column):
        return Cell("")
    gram, frequency = column[i]
    return Cell(gram, beside=f"{100 * frequency:.2f}", bold=gram not in common)
