"""The page of `seqgen report` about runs on text: its contents, escaping, marks."""

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import seqgen
from seqgen.cli.report import report as command
from seqgen.core.errors import UserError
from seqgen.inference.generate import generate
from seqgen.report import charts, latent, rendering, tables, training
from seqgen.report import page as report
from seqgen.training.load import load

SMALL = {"generator.embedding": 5, "generator.hidden": 7, "batch_size": 8}
EVIL = "<script>alert(1)</script>"
WHO, VERBS = ("cat", "dog", "man"), ("runs", "sits", "eats", "waits", "rests")
HELD_OUT = {
    "valid.txt": ['the cat runs "now".', "the dog rests there ."],
    "test.txt": ["the man sits there ."],
}
HELD_OUT["test.txt"] += ['the dog eats "now".', f"{EVIL} & the hen .", "床前明月光 hen 疑是地上霜"]
TEXT = [
    *(f'the {who} {verb} "now".' for who in WHO for verb in VERBS),
    *(f"the {who} {verb} there ." for who in WHO for verb in VERBS),
    *(f"{EVIL} & the {who} ." for who in (*WHO, "hen")),
    *(f"床前明月光 {who} 疑是地上霜" for who in (*WHO, "hen")),
]
N = 23
SECTIONS = [anchor for anchor in report.SECTIONS if anchor != "latents"]
"""Of a page about runs without latents."""
VOID = frozenset({"meta", "br", "img"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one corpus: one that has memorised its sentences, one that has learned nothing."""
    folder = tmp_path_factory.mktemp("report")
    corpus = folder / "corpus.txt"
    corpus.write_text("".join(f"{line}\n" for line in TEXT), encoding="utf-8")
    for name, lines in HELD_OUT.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    options: dict[str, Any] = {"min_count": 1, "tokenizer": "word"}
    options |= {"valid": str(folder / "valid.txt"), "test": str(folder / "test.txt")}
    learned = SMALL | {"generator.hidden": 31, "lr": 0.03, "generator.dropout": 0.0, "report_every": 20}
    learned |= {"patience": 100}
    seqgen.pretrain(str(corpus), run=folder / "memorised", steps=200, values=learned, **options)
    seqgen.pretrain(str(corpus), run=folder / "empty", steps=3, values=SMALL, **options)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return report.page(_runs(folder), n=N, temperatures=(0.5, 1.0), seed=3)


def _runs(folder: Path) -> list:
    return [load(folder / name, "cpu") for name in ("memorised", "empty")]


class Outline(HTMLParser):
    """Reads a page strictly: every element closed in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: Counter[str] = Counter()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.marked: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.count[tag] += 1
        found = dict(attrs)
        self.links += [value for key, value in attrs if key in ("href", "src", "xlink:href")]
        self.anchors |= {found["id"]} if "id" in found else set()
        assert not [key for key in found if key.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self.open and self.open[-1] == "mark":
            self.marked.append(data)


def _read(page: str) -> Outline:
    outline = Outline()
    outline.feed(page)
    outline.close()
    assert outline.open == []
    return outline


def test_the_page_is_whole_and_needs_nothing_else(page: str) -> None:
    outline = _read(page)
    assert page.startswith("<!DOCTYPE html>")
    assert re.findall(r'<section id="(\w+)"', page) == SECTIONS
    assert {f"#{anchor}" for anchor in outline.anchors} == set(outline.links)
    assert "http" not in page.replace("https", "http")
    assert not re.search(r"url\(|@import|<(link|script|img|iframe)", page)
    assert "/corpus.txt" in page[: page.index('id="samples"')]
    assert outline.count["section"] == len(SECTIONS) == outline.count["h2"]


def test_every_section_has_its_contents(folder: Path, page: str) -> None:
    run = load(folder / "memorised", "cpu").run
    text = " ".join(_read(page).text)
    run_settings = page[page.index('id="settings"') :]
    for value in (run.config["corpus_hash"], run.config["seqgen"], run.config["torch"], str(run.path)):
        assert f"<td>{value}</td>" in run_settings
        assert f"<td>{value}</td>" not in page[: -len(run_settings)]
    for row in ("real text", "n-gram baseline", "memorised", "empty", "memorised at 0.5"):
        assert f'<th scope="row">{row}</th>' in page
    for heading in ("BLEU-5", "self-BLEU-2", "JSD-3", "test nats/token", "reverse LM"):
        assert f'<th scope="col">{heading}</th>' in page
    for title in (
        "Negative log-likelihood",
        "Learning rate",
        "BLEU",
        "Language models",
        "Sentence length",
    ):
        assert f"<figcaption>{title}" in page
    for part in ("temperature 0.5", "temperature 1", "test split", "4-grams", "protocol seqgen: N 23"):
        assert part in text


def test_scores_stand_with_their_intervals(folder: Path, page: str) -> None:
    scores = seqgen.evaluate(load(folder / "memorised", "cpu").run, n=N, seed=3)
    low, high = scores["intervals"]["bleu"]["5"]
    assert f"<td>{scores['bleu']['5']:.4f}<small>{low:.4f} – {high:.4f}</small></td>" in page


def test_the_sentences_shown_are_those_scored(folder: Path, page: str) -> None:
    text = "".join(_read(page).text)
    drawn = list(generate(load(folder / "empty", "cpu"), N, seed=3, temperature=0.5))
    assert all(sentence.text in text for sentence in drawn[: report.SHOWN])
    assert drawn[-1].text not in text  # it is scored, but not among the first


def test_ngrams_frequent_only_in_a_run_are_bold(page: str) -> None:
    columns = re.findall(r"<tr><th scope=\"row\">\d+</th>((?:<td>.*?</td>)+)</tr>", page)
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in columns]
    assert {len(row) for row in cells} == {3}  # real text and two runs
    real = {re.sub("<span>.*", "", row[0]) for row in cells}
    for gram in (re.sub("<span>.*", "", cell) for row in cells for cell in row[1:] if cell):
        bare = gram.removeprefix("<b>").removesuffix("</b>")
        assert gram.startswith("<b>") == (bare not in real)


def test_text_is_escaped_and_shown(page: str) -> None:
    assert "<script" not in page.lower()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "床前明月光" in page


def test_copies_are_marked_and_nothing_else(page: str) -> None:
    outline = _read(page)
    marked = [text for text in outline.marked if text != "Marked"]
    keys = {"".join(line.split()) for line in TEXT}
    assert len(marked) > 5
    assert all("".join(text.split()) in keys for text in marked)
    percentages = re.findall(rf"{N} sampled: ([\d.]+)% copies", " ".join(outline.text))
    assert len(percentages) == 4  # two runs at two temperatures
    assert float(percentages[0]) > 50 > float(percentages[-1])


def test_the_same_seed_gives_the_same_page(folder: Path, page: str) -> None:
    assert report.page(_runs(folder), n=N, temperatures=(1.0, 0.5), seed=3) == page
    assert report.page(_runs(folder)[:1], n=N, temperatures=(0.5,), seed=4) != page


def test_what_cannot_be_reported_is_refused(folder: Path, tmp_path: Path) -> None:
    # the same file with its held-out sets exchanged is another corpus
    held_out: dict[str, Any] = {
        "valid": str(folder / "test.txt"),
        "test": str(folder / "valid.txt"),
        "min_count": 1,
    }
    seqgen.pretrain(str(folder / "corpus.txt"), run=tmp_path / "other", steps=1, values=SMALL, **held_out)
    foreign = load(tmp_path / "other", "cpu")
    with pytest.raises(UserError, match="are of different corpora"):
        report.page([*_runs(folder)[:1], foreign], n=N)
    with pytest.raises(UserError, match="1 sentence to score"):
        report.page([foreign], n=1)


@pytest.fixture(scope="module")
def latent_page(small_runs: dict[str, Path]) -> str:
    """A page about a run of each kind of likelihood, of which two have latents."""
    return report.page([load(path, "cpu") for path in small_runs.values()], n=7, temperatures=(1.0,), seed=3)


def test_latents_are_shown_of_the_runs_that_have_them(latent_page: str, small_runs: dict[str, Path]) -> None:
    outline = _read(latent_page)
    assert list(report.SECTIONS) == re.findall(r'<section id="(\w+)"', latent_page)
    assert {f"#{anchor}" for anchor in outline.anchors} == set(outline.links)
    part = latent_page[
        latent_page.index('<section id="latents"') : latent_page.index('<section id="lengths"')
    ]
    part = re.sub(r"\n\s*", "", part)
    assert re.findall("<h3>(.*?)</h3>", part) == ["sentence-vae", "autoencoder"]
    found = load(small_runs["autoencoder"], "cpu")
    shown = latent.latent_examples("autoencoder", found, seed=3)
    assert len(shown.reconstructions) == 12
    for pair in shown.reconstructions:
        cells = "".join(f"<td>{each}</td>" for each in (pair.reconstruction, f"{pair.nll:.1f}"))
        assert f'<th scope="row">{pair.text}</th>{cells}' in part
    first, decoded, last = shown.interpolations[0]
    assert [first, last] == [pair.text for pair in shown.reconstructions[:2]]
    assert decoded == seqgen.interpolate(found, first, last)
    assert len(decoded) == 7
    assert f"<h4>from: {first}</h4><ol>" + "".join(f"<li>{line}</li>" for line in decoded) in part
    assert f"to: {last}" in part


def test_every_training_metric_has_a_title_and_the_kl_a_collapse_line(latent_page: str) -> None:
    charts = re.findall(r"<figure>.*?</figure>", latent_page, flags=re.S)
    titles = [re.findall("<figcaption>(.*?)<small>", each)[0] for each in charts]
    for title in ("Reconstruction: -log p(x | z)", "Evidence lower bound", "Active latent units"):
        assert title in titles
    assert not [title for title in titles if re.fullmatch("[a-z_]+", title)]
    (kl,) = [each for each in charts if "KL of posterior and prior<" in each]
    assert kl.count('<g class="baseline">') == 1
    assert ">collapse<" in kl
    assert "validation split solid" in kl
    assert "collapsed" not in titles


def test_a_run_whose_posterior_collapsed_is_named() -> None:
    rows = [{"step": 0, "kl": 3.0, "valid_kl": 2.0}, {"step": 9, "kl": 0.2, "valid_kl": 0.04}]
    well = [{"step": 0, "valid_kl": 2.0}, {"step": 9, "valid_kl": 5.0}]
    drawn = training.training(["bad", "good"], ["run0", "run1"], [rows, well])
    (kl,) = [each for each in drawn.charts if each.y_label == "nats per sentence"]
    assert "collapsed: bad" in kl.note
    assert "good" not in kl.note


def test_a_metric_of_one_report_is_no_chart() -> None:
    rows = [[{"step": 7, "valid_nll": 2.5, "unique": 0.25}], [{"step": 7, "nll": 3.5, "unique": 0.5}]]
    drawn = training.training(["a", "b"], ["run0", "run1"], rows)
    assert drawn.charts == []
    assert drawn.single is not None
    assert [[cell.text for cell in row] for row in drawn.single.rows] == [
        ["Negative log-likelihood", "2.5", "3.5"],
        ["Unique sentences among samples", "0.25", "0.5"],
    ]
    longer = training.training(["a"], ["run0"], [[*rows[0], {"step": 9, "unique": 0.3}]])
    assert [each.title for each in longer.charts] == ["Unique sentences among samples"]


def test_no_table_has_two_columns_of_one_name(page: str, latent_page: str) -> None:
    for each in (page, latent_page):
        tables = re.findall(r"<thead><tr>(.*?)</tr></thead>", each)
        assert len(tables) > 15
        for heads in tables:
            names = re.findall(r'<th scope="col">(.*?)</th>', heads)
            assert all(names)
            assert len(set(names)) == len(names), names


def test_the_intervals_of_rates_are_within_their_range(page: str) -> None:
    part = page[page.index('<section id="scores"') : page.index('<section id="tradeoff"')]
    found = 0
    for heads, body in re.findall(r"<thead><tr>(.*?)</tr></thead>\s*<tbody>(.*?)</tbody>", part, flags=re.S):
        names = re.findall(r">([^<]+)</th>", heads)
        for row in re.findall(r"<tr>(.*?)</tr>", body, flags=re.S):
            cells = re.findall(r"<t[hd].*?</t[hd]>", row, flags=re.S)
            for name, cell in zip(names, cells, strict=True):
                of_rate = re.match(
                    "(self-)?BLEU-|distinct|unique|of refs|novel|overlap|accuracy|MAUVE|MS-Jac", name
                )
                if of_rate and (bounds := re.search(r"<small>(-?[\d.]+) – (-?[\d.]+)</small>", cell)):
                    assert 0 <= float(bounds[1]) <= float(bounds[2]) <= 1, (name, cell)
                    found += 1
    assert found > 20


app = typer.Typer(pretty_exceptions_enable=False)
app.command()(command)


def _invoke(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_writes_the_page_and_prints_its_path(folder: Path, tmp_path: Path) -> None:
    run = folder / "memorised"
    assert _invoke("--run", run, "--n", N, "--temperatures", "1", "--quiet").splitlines() == [
        str(run / "report.html")
    ]
    out = tmp_path / "new" / "page.html"
    printed = _invoke("--run", run, "--n", N, "--temperatures", "1", "--out", out, "--quiet", "--seed", 0)
    assert printed.strip() == str(out)
    assert out.read_text(encoding="utf-8") == (run / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run", "absent"], "no run at 'absent'"),
        (["--run", "{folder}"], "is not a run folder"),
        (["--run", "{folder}/memorised", "--run", "{folder}/memorised"], "given twice"),
        (["--run", "{folder}/memorised", "--temperatures", "1,x"], "comma-separated numbers"),
        (["--run", "{folder}/memorised", "--temperatures", "-1"], "comma-separated numbers"),
        (["--run", "{folder}/memorised", "--out", "{folder}"], "is a folder"),
        (["--run", "{folder}/memorised", "--out", "page.pdf"], "does not end in .html"),
        (["--run", "{folder}/memorised", "--out", "{folder}/corpus.txt/a.html"], "cannot be written"),
    ],
)
def test_mistakes_are_one_line(folder: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        _invoke(*(each.format(folder=folder) for each in arguments))
    assert "\n" not in str(caught.value)


def test_control_characters_are_written_out_in_text_and_in_attributes() -> None:
    evil = "a\x1b[2J<b>\u202e"
    cells = [tables.Cell(evil, [evil], badge=evil, beside=evil), tables.Cell(evil, bold=True)]
    line = charts.Series(evil, [(0, 1.0), (1, 2.0)], "run0", names=[evil, evil])
    drawn = charts.chart([line], title=evil, x_label=evil, y_label=evil, note=evil)
    template = """{% import "macros.html" as m with context %}{{ m.table(table) }}{{ m.chart(chart) }}
{{ m.legend(keys) }}<i title="{{ evil }}">{{ evil }}</i>"""
    made = (
        rendering._environment()
        .from_string(template)
        .render(
            table=tables.Table([evil], [cells], title=evil),
            chart=drawn,
            keys=[charts.key(evil, "run1")],
            evil=evil,
        )
    )
    assert made.count("a\\x1b[2J&lt;b&gt;\\u202e") == 21
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", made)
