"""HTML elements that escape their text, and a page with an inline style sheet."""

import html
from collections.abc import Sequence

from seqgen.core.printable import printable

VOID = frozenset({"meta", "br"})


class Html(str):
    """Markup, which is not escaped; any other string is text, and is escaped in an element."""

    __slots__ = ()


def element(name: str, /, *children: str, **attributes: str | int) -> Html:
    """Build an element; `class_` is the attribute class, and `_` in a name is `-`."""
    attribute_text = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escape(str(value))}"' for key, value in attributes.items()
    )
    if name in VOID:
        return Html(f"<{name}{attribute_text}>")
    return Html(f"<{name}{attribute_text}>{join(*children)}</{name}>")


def join(*children: str) -> Html:
    """Concatenate markup and text; text is escaped."""
    return Html("".join(child if isinstance(child, Html) else _escape(child) for child in children))


def _escape(text: str) -> str:
    """Escape text for a page, control characters too: some change what stands beside them."""
    return html.escape(printable(text))


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "", class_: str = "metrics"
) -> Html:
    """Build a table whose first column holds the row headings; it scrolls sideways on a narrow page."""
    parts = []
    if heads:
        cells = [element("th", head, scope="col") for head in heads]
        parts.append(element("thead", element("tr", *cells)))
    body = [
        element("tr", element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:]))
        for row in rows
    ]
    # The title is outside of the scrolling element, so that it is always fully visible.
    heading = element("h3", title) if title else Html()
    return join(heading, scroll(element("table", *parts, element("tbody", *body), class_=class_)))


def scroll(content: Html) -> Html:
    """Let wide content scroll sideways, by keyboard too."""
    return element("div", content, class_="wide", tabindex=0)


def section(anchor: str, title: str, *content: str) -> Html:
    """Build a section of the page with its heading."""
    return element("section", element("h2", title), *content, id=anchor)


def document(title: str, body: Html) -> str:
    """Build the whole page around its body."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Html(STYLE)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, element('body', body), lang='en')}\n"


STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --faint: #59626d; --line: #d5dae0;
  --panel: #f5f7f9; --copy: #ffe08a; --copy-ink: #3a2c00; --real: #1b1f24; --baseline: #767f8a;
  --run0: #0b63b5; --run1: #c2480a; --run2: #1b7f4b; --run3: #8a3ab0; --run4: #a3172f; --run5: #6a5a00; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --ink: #e6e9ed; --faint: #a0a9b4;
  --line: #3a424c; --panel: #1d2127; --copy: #6b5200; --copy-ink: #fff3cf; --real: #e6e9ed;
  --baseline: #98a2ae; --run0: #6db3f5; --run1: #ff9a62; --run2: #63d197; --run3: #d09af0; --run4: #ff8b9a;
  --run5: #d8c45a; } }
.real { --hue: var(--real); } .baseline { --hue: var(--baseline); }
.run0 { --hue: var(--run0); } .run1 { --hue: var(--run1); } .run2 { --hue: var(--run2); }
.run3 { --hue: var(--run3); } .run4 { --hue: var(--run4); } .run5 { --hue: var(--run5); }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem; max-width: 78rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC", "PingFang SC",
  "Microsoft YaHei", "WenQuanYi Zen Hei", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p, ul { margin: .4rem 0; } p { max-width: 46rem; }
.note, nav { color: var(--faint); font-size: .875rem; }
a { color: inherit; } nav a { margin-right: 1rem; white-space: nowrap; }
.wide { overflow-x: auto; margin: .5rem 0 1rem; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
  overflow-wrap: normal; }
thead th { white-space: nowrap; color: var(--faint); font-weight: 600; }
tbody th { font-weight: 600; min-width: 7rem; }
.metrics td, .metrics thead th:not(:first-child) { text-align: right; white-space: nowrap; }
.groups { display: flex; flex-wrap: wrap; gap: 0 2.5rem; } .groups > div { max-width: 100%; }
.settings th { font-weight: 400; }
.settings td { min-width: 7rem; max-width: 19rem; overflow-wrap: anywhere; }
small { display: block; color: var(--faint); font-size: .75rem; font-weight: 400; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); gap: 1rem; }
.pair { grid-template-columns: repeat(auto-fill, minmax(min(100%, 28rem), 1fr)); }
figure { margin: 0; padding: .6rem; background: var(--panel); border-radius: .4rem; break-inside: avoid; }
figcaption { font-size: .875rem; font-weight: 600; } figcaption small { min-height: 1.2em; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--faint); }
svg .grid { stroke: var(--line); stroke-width: 1; fill: none; }
svg .curve { stroke: var(--hue); stroke-width: 1.8; fill: none; stroke-linejoin: round; }
svg .dashed { stroke-dasharray: 5 4; } svg .mark { fill: var(--hue); stroke: var(--paper); stroke-width: .6; }
svg .named { fill: var(--ink); font-size: 10px; }
.key { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; font-size: .875rem; }
.key svg { display: inline-block; width: 2.4rem; height: .9rem; vertical-align: -.1rem; margin-right: .3rem; }
.columns { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(15rem, 1fr); gap: .8rem; }
.columns > div { background: var(--panel); border-radius: .4rem; padding: .6rem .8rem; }
.columns h4 { margin: 0; font-size: .9rem; } .columns :is(ol, ul) { padding-left: 1.5rem; margin: .5rem 0 0; }
.columns li { margin-bottom: .45rem; font-size: .9rem; line-height: 1.4; }
.shared { text-decoration: underline; text-decoration-color: var(--hue); text-decoration-thickness: 2px;
  text-underline-offset: 3px; --hue: var(--baseline); }
mark { background: var(--copy); color: var(--copy-ink); padding: 0 .15em; border-radius: .2em; }
.badge { font-size: .7rem; font-weight: 700; border: 1px solid; border-radius: .2rem; padding: 0 .25rem;
  margin-left: .3rem; white-space: nowrap; }
.grams td { white-space: nowrap; } .grams td span { color: var(--faint); margin-left: .5rem; }
.grams tbody th { min-width: 0; color: var(--faint); } 
.protocol { font: .8125rem/1.5 ui-monospace, Consolas, monospace; padding-left: 1rem; }
@media (max-width: 30rem) { body { padding: .7rem; } svg text { font-size: 12px; } }
@media print { body { max-width: none; padding: 0; font-size: 9pt; } nav { display: none; }
  section, tr, li { break-inside: avoid-page; } section { break-inside: auto; } .wide { overflow: visible; }
  .columns { grid-auto-flow: row; grid-template-columns: repeat(3, 1fr); } h2, h3 { break-after: avoid; }
  mark { outline: 1px solid; } * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
