"""The page of `seqgen report`: its contents, escaping, marks, and its rendering in a browser."""

import html
import json
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import seqgen
from seqgen.cli.report import report as command
from seqgen.core.errors import UserError
from seqgen.inference.generate import generate
from seqgen.report import html as report_page
from seqgen.report import latent, scores, training
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
SECTIONS = [anchor for anchor in scores.SECTIONS if anchor != "latents"]
"""Of a page about runs without latents."""
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


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
        if tag not in report_page.VOID:
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
    assert outline.count["section"] == len(SECTIONS) == outline.count["h2"]


def test_every_section_has_its_contents(folder: Path, page: str) -> None:
    run = load(folder / "memorised", "cpu").run
    text = " ".join(_read(page).text)
    for value in (run.config["corpus_hash"], run.config["seqgen"], run.config["torch"], str(run.path)):
        assert f"<td>{value}</td>" in page
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
    assert list(scores.SECTIONS) == re.findall(r'<section id="(\w+)"', latent_page)
    assert {f"#{anchor}" for anchor in outline.anchors} == set(outline.links)
    part = latent_page[
        latent_page.index('<section id="latents"') : latent_page.index('<section id="lengths"')
    ]
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
    charts = re.findall(r"<figure>.*?</figure>", latent_page)
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
    data = scores.ReportData(
        ["a", "b"], ["bad", "good"], ["run0", "run1"], configs=[{}, {}], metrics=[rows, well], scores={}
    )
    drawn = training.training(data)
    assert "collapsed: bad<" in drawn
    assert "good" not in re.findall("<small>(.*?)</small>", drawn)[0]


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


def _browse(path: Path, work: Path, *options: str) -> subprocess.CompletedProcess:
    if BROWSER is None:
        pytest.skip("no chromium or google-chrome to look at the page with")
    quiet = "disable-gpu disable-quic no-first-run disable-background-networking disable-component-update"
    return subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            *(f"--{each}" for each in quiet.split()),
            "--disable-sync",
            "--hide-scrollbars",
            "--enable-logging=stderr",
            f"--user-data-dir={work / 'profile'}",
            *options,
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


PROBE = """<script>
const style = (query, of) => getComputedStyle(document.querySelector(query))[of];
const boxes = [...document.querySelectorAll("section")].map(s => [s.id, s.getBoundingClientRect()]);
const facts = {
  width: innerWidth, content: document.documentElement.scrollWidth,
  heights: Object.fromEntries(boxes.map(([id, box]) => [id, box.height])),
  right: Math.max(...boxes.map(([id, box]) => box.right)),
  fetched: performance.getEntriesByType("resource").map(e => e.name),
  curves: [...document.querySelectorAll("figure .curve")].filter(e => e.getTotalLength() > 5).length,
  outside: [...document.querySelectorAll("figure svg text")].filter(e => {
    const box = e.getBoundingClientRect(), of = e.ownerSVGElement.getBoundingClientRect();
    const across = box.left < of.left - 1 || box.right > of.right + 1;
    return across || box.top < of.top - 1 || box.bottom > of.bottom + 1;
  }).map(e => e.textContent),
  colours: [
    [style("body", "color"), style("body", "backgroundColor")],
    [style(".note", "color"), style("body", "backgroundColor")],
    [style("figure svg text", "fill"), style("figure", "backgroundColor")],
    [style("mark", "color"), style("mark", "backgroundColor")],
  ],
  hues: [...new Set([...document.querySelectorAll("figure .curve")].map(e => getComputedStyle(e).stroke))],
};
parent.postMessage(JSON.stringify(facts), "*");
</script>"""
"""Reports how the browser rendered the page; the page itself has no script."""
FRAME = """<!DOCTYPE html><meta name="color-scheme" content="light dark">
<iframe src="page.html" width="{width}" height="900" style="border: 0"></iframe><pre></pre>
<script>onmessage = e => document.querySelector("pre").textContent = e.data;</script>"""
"""Shows a page narrower than a window can be."""
DARK = "--blink-settings=preferredColorScheme=0"


def _contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio of two colours as CSS writes them, 1 to 21."""

    def luminance(colour: str) -> float:
        values = [int(each) / 255 for each in re.findall(r"\d+", colour)[:3]]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("width", "options"), [(1200, []), (420, []), (1200, [DARK])])
def test_a_browser_lays_the_page_out(page: str, tmp_path: Path, width: int, options: list[str]) -> None:
    path = tmp_path / "frame.html"
    path.write_text(FRAME.format(width=width), encoding="utf-8")
    (tmp_path / "page.html").write_text(page.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    seen = _browse(
        path, tmp_path, "--window-size=1300,900", "--dump-dom", "--virtual-time-budget=5000", *options
    )
    assert "CONSOLE" not in seen.stderr
    report_json = seen.stdout.partition("<pre>")[2].partition("</pre>")[0]
    facts = json.loads(html.unescape(report_json))
    assert facts["width"] == width
    assert facts["content"] <= width  # the page itself does not scroll sideways
    assert facts["right"] <= width
    assert list(facts["heights"]) == SECTIONS
    assert min(facts["heights"].values()) > 80
    assert facts["fetched"] == []
    assert facts["curves"] > 15
    assert facts["outside"] == []
    ground = facts["colours"][0][1]
    assert ground == ("rgb(20, 23, 27)" if options else "rgb(255, 255, 255)")
    assert min(_contrast(*pair) for pair in facts["colours"]) >= 4.5
    assert len(facts["hues"]) == 4  # two runs, real text's outline, the baseline's cross
    assert min(_contrast(colour, ground) for colour in facts["hues"]) >= 3


def test_a_browser_reads_what_was_written(page: str, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(page, encoding="utf-8")
    seen = _browse(path, tmp_path, "--dump-dom")
    assert "CONSOLE" not in seen.stderr
    assert _shape(seen.stdout) == _shape(page)  # nothing had to be mended


def _shape(page: str) -> tuple[Counter[str], str]:
    outline = _read(page)
    return outline.count, "".join("".join(outline.text).split())


def test_a_browser_draws_the_page(page: str, tmp_path: Path) -> None:
    from matplotlib.image import imread

    path, picture = tmp_path / "page.html", tmp_path / "page.png"
    path.write_text(page, encoding="utf-8")
    _browse(path, tmp_path, "--window-size=1200,4000", f"--screenshot={picture}")
    pixels = imread(picture)[..., :3]
    assert pixels.shape == (4000, 1200, 3)
    bands = [band[:, :600].std() for band in np.split(pixels, 10)]
    assert min(bands) > 0.02  # something is written in every part
    shades = {
        tuple(colour) for colour in (pixels[::3, ::3].reshape(-1, 3) * 255).round().astype(int).tolist()
    }
    assert {(255, 255, 255), (245, 247, 249)} <= shades


def test_control_characters_are_escaped_in_text_and_in_attributes() -> None:
    made = report_page.element("p", "a\x1b[2J<b>\u202e", title="\x07\n")
    assert made == '<p title="\\x07\n">a\\x1b[2J&lt;b&gt;\\u202e</p>'
