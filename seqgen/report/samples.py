"""The parts of a report's page that show sentences: samples side by side, their lengths, their n-grams."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seqgen.evaluation.quality_diversity import REAL
from seqgen.metrics.tokenization import Tokenise
from seqgen.report.charts import Series, chart, key
from seqgen.report.html import Html, element, join, scroll, section, table
from seqgen.report.scores import PARTS, Facts
from seqgen.report.text_analysis import Marked, histogram, top_grams, written

ORDERS = {1: "Single tokens", 2: "Two in a row", 3: "Three in a row", 4: "Four in a row"}


@dataclass(frozen=True)
class Gallery:
    """Some sentences of a source at one temperature, and shares of all `n` that were drawn."""

    heading: str
    sentences: Sequence[Marked]
    copies: Sequence[Marked]
    """of training sentences, further ones"""
    n: int
    copied: float
    unique: float


def samples(galleries: Sequence[tuple[str, Sequence[Gallery]]]) -> Html:
    """Lay out the sentences of each source, a column for each temperature, and mark what they copy."""
    legend = element(
        "p",
        element("mark", "Marked"),
        element("span", "copy", class_="badge"),
        ": stands in the training set, case and spacing aside. ",
        element("span", "Underlined", class_="shared"),
        ": the longest run of tokens that stands in one training sentence. "
        "Shares are of all sentences drawn.",
        class_="note",
    )
    parts = []
    for title, columns in galleries:
        grid = element("div", *(_column(each) for each in columns), class_="columns")
        parts += [element("h3", title), scroll(grid)]
    return section("samples", PARTS["samples"], legend, *parts)


def _column(gallery: Gallery) -> Html:
    said = f"{gallery.n:,} drawn: {gallery.copied:.1%} copies, {gallery.unique:.1%} different"
    shown = element("ol", *(element("li", written(sentence)) for sentence in gallery.sentences))
    copies = [element("li", written(sentence)) for sentence in gallery.copies]
    more = [element("p", "Further copies:", class_="note"), element("ul", *copies)] if copies else []
    return element("div", element("h4", gallery.heading, element("small", said)), shown, *more)


def lengths(texts: Mapping[str, Sequence[str]], facts: Facts, tokenise: Tokenise) -> Html:
    """Draw how long the sentences of real text and of each run are."""
    counted = {label: [len(tokenise(line)) for line in lines] for label, lines in texts.items()}
    longest = max(max(each) for each in counted.values())
    entries = _entries(facts)
    drawn = chart(
        [Series(label, histogram(counted[label], longest), hue) for label, hue in entries],
        title="Length of sentences",
        across=f"{facts.scores['protocol']['tokenisation']} tokens a sentence",
        up="% of sentences",
        steps=True,
    )
    charts = element("div", drawn, class_="charts pair")
    return section("lengths", PARTS["lengths"], key(entries), charts)


def grams(texts: Mapping[str, Sequence[str]], facts: Facts, tokenise: Tokenise) -> Html:
    """List the most frequent n-grams of real text and of each run beside each other."""
    between = "" if facts.scores["protocol"]["tokenisation"] == "character" else " "
    parts = []
    for n, title in ORDERS.items():
        columns = [top_grams(lines, tokenise, n, between=between) for lines in texts.values()]
        common = {gram for gram, _ in columns[0]}
        rows = [
            [f"{i + 1}", *(_gram(column, i, common) for column in columns)]
            for i in range(max(map(len, columns)))
        ]
        if rows:
            parts.append(element("div", table(["", *texts], rows, title=title, class_="grams")))
    note = "Per cent of all n-grams. Bold: not among the most frequent of real text."
    return section(
        "ngrams", PARTS["ngrams"], element("p", note, class_="note"), element("div", *parts, class_="groups")
    )


def _gram(column: Sequence[tuple[str, float]], i: int, common: set[str]) -> str:
    if i >= len(column):
        return ""
    gram, share = column[i]
    text = gram if gram in common else element("b", gram)
    return join(text, element("span", f"{100 * share:.2f}"))


def _entries(facts: Facts) -> list[tuple[str, str]]:
    return [(REAL, "real"), *facts.key()]
