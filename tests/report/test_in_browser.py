"""Pages of every kind in a real browser, started once: at two widths, on light and on dark ground."""

import json
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, browser
from PIL import Image

import seqgen
from seqgen.image import report as image_report
from seqgen.image.runs import load as image_load
from seqgen.image.runs import setup as images
from seqgen.report import page as report
from seqgen.training.load import load

KINDS = ("one", "several", "residual", "labelled", "latent", "image", "images")
WIDTHS, HEIGHT = (400, 1200), 900
SMALL = {"generator.embedding": 5, "generator.hidden": 7, "batch_size": 8, "report_every": 2}
LONG = "a" * 70
"""A word that is wider than a narrow page."""
PAPER = {False: "rgb(255, 255, 255)", True: "rgb(20, 23, 27)"}
PROBE = """(() => {
const all = (query, of = document) => [...of.querySelectorAll(query)];
const style = (query, of) => all(query).slice(0, 1).map(e => getComputedStyle(e)[of])[0];
const box = e => e.getBoundingClientRect();
const drawn = e => getComputedStyle(e).display !== "none" && box(e).width + box(e).height > 0;
const table = box(document.querySelector("#summary table"));
return JSON.stringify({
  width: innerWidth, content: document.documentElement.scrollWidth,
  right: Math.max(...all("section, figure, h1, h2, h3, p, nav, .wide, .key, img")
    .filter(e => !e.parentElement.closest(".wide, nav")).map(e => box(e).right)),
  sections: Object.fromEntries(all("section").map(e => [e.id, box(e).height])),
  links: all("a").map(e => e.getAttribute("href")),
  unmarked: all("figure svg").filter(e => !all(".curve, .mark, .dots", e).some(drawn))
    .map(e => e.getAttribute("aria-label")),
  charts: all("figure svg").length,
  pictures: all("img").length, broken: all("img").filter(e => !e.naturalWidth).map(e => e.alt),
  outside: all("figure svg text").filter(e => {
    const b = box(e), of = box(e.ownerSVGElement);
    return b.width && (b.left < of.left - 1 || b.right > of.right + 1 || b.top < of.top - 1
      || b.bottom > of.bottom + 1);
  }).map(e => e.textContent),
  summary: {top: box(document.querySelector("#summary h2")).top, table: table.top, bottom: table.bottom,
    rows: all("#summary tbody tr").length},
  colours: [["body", "color", "body"], [".note", "color", "body"], ["figure svg text", "fill", "figure"],
    ["figcaption", "color", "figure"]].map(([e, of, on]) => [style(e, of), style(on, "backgroundColor")]),
  marked: [style("mark", "color"), style("mark", "backgroundColor")],
  paper: style("body", "backgroundColor"),
  hues: [...new Set(all("figure .curve, figure .dots").map(e => getComputedStyle(e).stroke))],
}); })()"""
"""What the browser made of a page; the page itself has no script."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, small_runs: dict[str, Path]) -> dict[str, Path]:
    """More runs: a residual one, one of labelled text with long words, and two on images."""
    folder = tmp_path_factory.mktemp("pages")
    options: dict[str, Any] = {"held_out_samples": 100, "candidates": 3, "report_every": 2}
    options |= {"energy.embedding": 5, "energy.hidden": 6, "energy.heads": 3, "batch_size": 8}
    seqgen.adversarial(small_runs["mle"], run=folder / "residual", steps=4, values=options)
    rows = [
        f"the {who} {does} <b> {LONG} {i}\t{'good' if does == 'sits' else 'bad'}"
        for who in ("cat", "dog", "hen", "cow")
        for does in ("sits", "runs")
        for i in range(17)
    ]
    (folder / "labelled.tsv").write_text("text\tlabel\n" + "\n".join(rows), encoding="utf-8")
    text = str(folder / "labelled.tsv")
    seqgen.pretrain(text, run=folder / "labelled", steps=6, label_column="label", values=SMALL)
    for name, model, values in (
        ("image", "vae", {"net.hidden": 17, "latent_dim": 3}),
        ("images", "gan", {"generator.hidden": 17, "critic.hidden": 17, "conditional": True}),
    ):
        images.train(model, "digits", run=folder / name, steps=20, values=values)
    return small_runs | {name: folder / name for name in ("residual", "labelled", "image", "images")}


@pytest.fixture(scope="module")
def pages(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of every kind."""
    folder, how = tmp_path_factory.mktemp("html"), {"n": 47, "seed": 3}
    text = {"one": ["mle"], "several": ["mle", "autoencoder"], "latent": ["sentence-vae"]}
    text |= {"residual": ["residual"], "labelled": ["labelled"]}
    made = {
        kind: report.page([load(runs[name], "cpu") for name in names], temperatures=(0.7, 1.0), **how)
        for kind, names in text.items()
    }
    for kind, pictured in {"image": ["image"], "images": ["image", "images"]}.items():
        made[kind] = image_report.page([image_load.load(runs[name], "cpu") for name in pictured], **how)
    for kind, content in made.items():
        (folder / f"{kind}.html").write_text(content, encoding="utf-8")
    return {kind: folder / f"{kind}.html" for kind in made}


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


def luminance(colour: str) -> float:
    """WCAG 2's relative luminance of a colour as CSS writes it."""
    values = [int(each) / 255 for each in re.findall(r"\d+", colour)[:3]]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio of two colours, 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("kind", "width", "dark"), list(product(KINDS, WIDTHS, (False, True))))
def test_a_page_is_laid_out(tab: Browser, pages: dict[str, Path], kind: str, width: int, dark: bool) -> None:
    tab.console.clear()
    tab.fetched.clear()
    tab.open(pages[kind], width=width, height=HEIGHT, dark=dark)
    facts = json.loads(tab.evaluate(PROBE))
    assert tab.console == []
    assert [each for each in tab.fetched if not each.startswith("data:")] == [pages[kind].as_uri()]
    assert facts["width"] == width
    assert facts["content"] <= width  # the page itself does not scroll sideways
    assert facts["right"] <= width
    assert min(facts["sections"].values()) > 60
    assert {f"#{anchor}" for anchor in facts["sections"]} == set(facts["links"])
    assert facts["charts"] > 6
    assert facts["unmarked"] == facts["outside"] == facts["broken"] == []
    assert (facts["pictures"] > 8) == (kind in ("image", "images"))
    check_the_first_screen(facts, kind, width)
    check_colours(facts, dark=dark)


def check_the_first_screen(facts: dict[str, Any], kind: str, width: int) -> None:
    """The summary begins the page, and its five numbers are on the first screen."""
    sections = list(facts["sections"])
    assert sections[0] == "summary"
    assert sections[-2:] == ["settings", "protocol"]
    assert facts["summary"]["rows"] == 5
    assert 0 < facts["summary"]["top"] < 100
    assert facts["summary"]["top"] < facts["summary"]["table"]
    assert facts["summary"]["bottom"] < HEIGHT


def check_colours(facts: dict[str, Any], *, dark: bool) -> None:
    """What is written can be read, and what is drawn can be seen (WCAG 2, AA)."""
    assert facts["paper"] == PAPER[dark]
    assert min(contrast(*pair) for pair in facts["colours"]) >= 4.5
    if facts["marked"][0]:
        assert contrast(*facts["marked"]) >= 4.5
    drawn = [each for each in facts["hues"] if each.startswith("rgb")]
    assert drawn
    assert min(contrast(each, facts["paper"]) for each in drawn) >= 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_browser_reads_what_was_written(tab: Browser, pages: dict[str, Path], kind: str) -> None:
    tab.open(pages[kind], width=1200)
    names = tab.evaluate("JSON.stringify([...document.querySelectorAll('*')].map(e => e.localName))")
    written = re.sub(
        r"<style>.*?</style>", "<style></style>", pages[kind].read_text(encoding="utf-8"), flags=re.S
    )
    assert json.loads(names) == re.findall(r"<([a-z][a-z0-9]*)", written)  # nothing had to be mended


def test_a_browser_draws_a_page(tab: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    for dark in (False, True):
        tab.open(pages["one"], width=1200, dark=dark)
        with Image.open(tab.picture(tmp_path / "page.png", whole=True)) as picture:
            assert picture.width == 1200
            assert picture.height > 4000
            shades = picture.convert("RGB").getcolors(1 << 20)
        most = max(shades)[1]
        assert f"rgb{most}" == PAPER[dark]
        assert len(shades) > 50


@pytest.mark.parametrize(
    "css",
    [
        ".wide { overflow-x: visible !important; }",
        "svg .curve, svg .mark, svg .dots { display: none; }",
        "main { padding-top: 700px; }",
        ":root { --ink: #aaa !important; }",
    ],
)
def test_what_is_wrong_is_seen(tab: Browser, pages: dict[str, Path], tmp_path: Path, css: str) -> None:
    broken = tmp_path / "one.html"
    content = pages["one"].read_text(encoding="utf-8").replace("</head>", f"<style>{css}</style></head>")
    broken.write_text(content, encoding="utf-8")
    with pytest.raises(AssertionError):
        test_a_page_is_laid_out(tab, {"one": broken}, "one", 400, False)
