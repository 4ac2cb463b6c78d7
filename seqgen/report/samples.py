"""The sections of the report about sentences: samples, their lengths, their most frequent n-grams."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seqgen.evaluation.quality_diversity import REAL
from seqgen.metrics.tokenization import Tokenise
from seqgen.report.charts import Series, chart, legend
from seqgen.report.html import Html, element, join, scroll, section, table
from seqgen.report.scores import SECTIONS, ReportData
from seqgen.report.text_analysis import MarkedSentence, histogram, marked_html, top_ngrams

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


def samples(sources: Sequence[tuple[str, Sequence[SampleColumn]]]) -> Html:
    """Lay out the sentences of each source, a column for each temperature, with marked copies."""
    explanation = element(
        "p",
        element("mark", "Marked"),
        element("span", "copy", class_="badge"),
        ": is in the training set, ignoring case and white space. ",
        element("span", "Underlined", class_="shared"),
        ": the longest substring, in tokens, that is also in a training sentence. "
        "Fractions are of all sentences sampled.",
        class_="note",
    )
    parts = []
    for title, columns in sources:
        grid = element("div", *(_column(each) for each in columns), class_="columns")
        parts += [element("h3", title), scroll(grid)]
    return section("samples", SECTIONS["samples"], explanation, *parts)


def _column(column: SampleColumn) -> Html:
    summary = (
        f"{column.n:,} sampled: {column.copied_fraction:.1%} copies, {column.unique_fraction:.1%} unique"
    )
    shown = element("ol", *(element("li", marked_html(sentence)) for sentence in column.sentences))
    copies = [element("li", marked_html(sentence)) for sentence in column.copies]
    more = [element("p", "Further copies:", class_="note"), element("ul", *copies)] if copies else []
    return element("div", element("h4", column.heading, element("small", summary)), shown, *more)


def lengths(texts: Mapping[str, Sequence[str]], data: ReportData, tokenise: Tokenise) -> Html:
    """Draw the distribution of sentence lengths of real text and of each run."""
    counted = {label: [len(tokenise(line)) for line in lines] for label, lines in texts.items()}
    longest = max(max(each) for each in counted.values())
    entries = _legend_entries(data)
    drawn = chart(
        [Series(label, histogram(counted[label], longest), hue) for label, hue in entries],
        title="Sentence length",
        x_label=f"{data.scores['protocol']['tokenisation']} tokens per sentence",
        y_label="% of sentences",
        steps=True,
    )
    charts = element("div", drawn, class_="charts pair")
    return section("lengths", SECTIONS["lengths"], legend(entries), charts)


def ngrams(texts: Mapping[str, Sequence[str]], data: ReportData, tokenise: Tokenise) -> Html:
    """List the most frequent n-grams of real text and of each run side by side."""
    separator = "" if data.scores["protocol"]["tokenisation"] == "character" else " "
    parts = []
    for n, title in ORDERS.items():
        columns = [top_ngrams(lines, tokenise, n, separator=separator) for lines in texts.values()]
        common = {gram for gram, _ in columns[0]}
        rows = [
            [f"{i + 1}", *(_gram(column, i, common) for column in columns)]
            for i in range(max(map(len, columns)))
        ]
        if rows:
            parts.append(element("div", table(["", *texts], rows, title=title, class_="grams")))
    note = "Percentage of all n-grams. Bold: not among the most frequent n-grams of real text."
    return section(
        "ngrams",
        SECTIONS["ngrams"],
        element("p", note, class_="note"),
        element("div", *parts, class_="groups"),
    )


def _gram(column: Sequence[tuple[str, float]], i: int, common: set[str]) -> str:
    if i >= len(column):
        return ""
    gram, frequency = column[i]
    text = gram if gram in common else element("b", gram)
    return join(text, element("span", f"{100 * frequency:.2f}"))


def _legend_entries(data: ReportData) -> list[tuple[str, str]]:
    return [(REAL, "real"), *data.legend()]
