"""The parts an HTML page is made of: text from data is escaped here, pictures are data URIs, styles are inline."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

Row = Mapping[str, Any]


def page(title: str, facts: Sequence[tuple[str, str]], sections: Sequence[str], style: str = "") -> str:
    """The whole page: title, what was run as (name, value) pairs, then the sections. style: CSS of its own."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_CSS}{style}</style></head><body><main>"
        f"<header><h1>{escape(title)}</h1><dl>{rows}</dl></header>\n" + "\n".join(sections) + "</main></body></html>\n"
    )


def section(title: str, note: str, body: str) -> str:
    """A section under its own heading, with a note beside it; body is HTML."""
    return f"<section><h2>{escape(title)} <small>{escape(note)}</small></h2>{body}</section>"


def missing(title: str, sentence: str) -> str:
    """A section that says what is not there."""
    return f'<section><h2>{escape(title)}</h2><p class="missing">{escape(sentence)}</p></section>'


def figure(uri: str, caption: str, alternative: str) -> str:
    """A picture from a data URI, with a caption and a text for those who do not see it."""
    return f'<figure><img src="{uri}" alt="{escape(alternative)}"><figcaption>{escape(caption)}</figcaption></figure>'


def legend(parts: Mapping[str, str]) -> str:
    """What each colour stands for: name → CSS colour."""
    keys = "".join(f'<span><i style="background:{colour}"></i>{escape(name)}</span>' for name, colour in parts.items())
    return f'<p class="legend">{keys}</p>'


def table(rows: Sequence[Row]) -> str:
    """A table whose columns are the union of the rows' keys, in order, that hold anything; numbers to the right."""
    keys = dict.fromkeys(key for row in rows for key in row)
    columns = [key for key in keys if any(_text(row.get(key)) for row in rows)]
    kinds = {key: _kind([row.get(key) for row in rows]) for key in columns}
    head = "".join(f"<th{kinds[key]}>{escape(_heading(key))}</th>" for key in columns)
    body = ""
    for row in rows:
        cells = (f"<td{kinds[key]}>{escape(_text(row.get(key))) or '–'}</td>" for key in columns)
        body += f"<tr>{''.join(cells)}</tr>"
    # Wide tables scroll inside their own frame; tabindex lets the keyboard scroll it.
    frame = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll" tabindex="0">{frame}</div>'


def _kind(values: Sequence[Any]) -> str:
    """The class attribute of a column: numbers, long text that may wrap, or neither."""
    if all(value is None or is_number(value) for value in values):
        return ' class="number"'
    return ' class="wide"' if max(len(_text(value)) for value in values) > 40 else ""


def _heading(key: str) -> str:
    name, unit = (key[:-3], " (mm)") if key.endswith("_mm") else (key, "")
    return name.replace("_", " ") + unit


def _text(value: Any) -> str:
    """A value as text; nothing for None and for numbers that are not finite."""
    if isinstance(value, float):
        return f"{value:.3f}" if math.isfinite(value) else ""
    if value is None:
        return ""
    return f"{value:,}" if is_number(value) else str(value)


def is_number(value: Any) -> bool:
    """True for int and float, not for bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


_CSS = """
:root { color-scheme: light; --ink: #1d2733; --muted: #5b6875; --rule: #d5dbe1; --pale: #f5f7f9 }
* { box-sizing: border-box }
body { margin: 0; background: #fff; color: var(--ink) }
body { font: 16px/1.55 system-ui, "Segoe UI", Helvetica, Arial, sans-serif }
main { max-width: 1080px; margin: 0 auto; padding: 2rem 1.25rem 4rem }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1rem; letter-spacing: -.01em }
h2 { font-size: 1.3rem; margin: 3rem 0 1rem; padding-top: .9rem; border-top: 2px solid var(--ink) }
h2 small { font-size: .9rem; font-weight: 400; color: var(--muted); margin-left: .5rem }
h3 { font-size: 1rem; margin: 1.75rem 0 .5rem }
p { margin: .5rem 0 1rem; max-width: 70ch }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.25rem; margin: 0; font-size: .92rem }
dt { color: var(--muted) }
dd { margin: 0; overflow-wrap: anywhere }
figure { margin: 0; break-inside: avoid }
img { display: block; width: 100%; height: auto }
figcaption { font-size: .85rem; color: var(--muted); margin-top: .3rem; overflow-wrap: anywhere }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)) }
.grid { gap: 1.75rem 2.5rem; margin: 1rem 0 }
.grid figure { display: flex; flex-direction: column }
.grid figcaption { order: -1; margin: 0 0 .4rem; color: var(--ink); font-weight: 600 }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 1rem }
.tiles img { aspect-ratio: 1; object-fit: contain; background: #000 }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; font-size: .88rem }
.legend i { display: inline-block; width: .8em; height: .8em; margin-right: .45em; border-radius: 2px }
.legend i { print-color-adjust: exact; -webkit-print-color-adjust: exact }
.missing { color: var(--muted); font-style: italic }
.scroll { overflow-x: auto; margin: 1rem 0 }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; min-width: min(100%, 480px) }
th { text-align: left; font-weight: 600; border-bottom: 1.5px solid var(--ink); vertical-align: bottom }
th, td { padding: .3rem .9rem .3rem 0; white-space: nowrap }
td { border-bottom: 1px solid var(--rule); vertical-align: top }
td.wide { white-space: normal; min-width: 16rem }
.number { text-align: right }
tbody tr:hover { background: var(--pale) }
@media print {
  body { font-size: 10.5pt }
  main { max-width: none; padding: 0 }
  h2, h3, .legend { break-after: avoid }
  thead { display: table-header-group }
  tr { break-inside: avoid }
  .scroll { overflow: visible }
  th, td { padding-right: .5rem }
  td { white-space: normal }
  .grid { grid-template-columns: 1fr 1fr; gap: 1rem }
  .tiles { grid-template-columns: repeat(6, 1fr) }
}
"""
