"""The page of an audit, from plain rows: counts, the least certain series with pictures, conflicts between tags.

One HTML file that needs nothing else; it follows the reader's choice of light or dark.
"""

import base64
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from radnet.labels.finding import BY_HAND
from radnet.labels.taxonomy import Taxonomy
from radnet.page import Row, figure, missing, page, section, table

LABELS = ("sequence", "view", "contrast", "coverage", "spacing_mm")
MODALITIES = ("CT", "MR")
UNKNOWN, OUTSIDE = "unknown", "outside the taxonomy"
MAX_ROWS = 200  # of a table; labels.csv has them all
MAX_SHOWN = 24
SPACING_BINS_MM = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0)
_CONFLICT = re.compile(
    r"disagree|conflict|contradict|(?:does|do|is|are)(?: not|n't) fit|\bbut\b|\b(?:says|said)\b(?! nothing| neither)",
    re.IGNORECASE,
)
_NOTES = {
    "sequence": "Outside: a sequence that is known and none of these classes.",
    "coverage": "A scan may hold several regions; none: a part of the body that holds none of them.",
    "spacing_mm": "Distance between slices along their normal, from their positions.",
}


def is_conflict(evidence: str | None) -> bool:
    """True where the evidence of a label tells of tags that contradict each other."""
    return _CONFLICT.search(evidence or "") is not None


def certainty(row: Row) -> float:
    """Mean confidence of a series' labels, 0 to 1; a sequence outside the taxonomy counts with its family's."""
    sure = [row[f"{label}_confidence"] for label in LABELS]
    if row["sequence"] is None and row["family"] is not None:
        sure[0] = row["family_confidence"]
    return sum(sure) / len(sure)


def least_certain(rows: Sequence[Row], count: int) -> list[str]:
    """Keys of the `count` usable volumes whose labels are the least certain, the least first."""
    usable = [row for row in rows if row["status"] == "ok"]
    return [row["series_key"] for row in sorted(usable, key=lambda row: (certainty(row), row["series_key"]))[:count]]


def audit_page(
    rows: Sequence[Row],
    facts: Sequence[tuple[str, str]],
    taxonomy: Taxonomy,
    remedies: Mapping[str, str],
    pictures: Mapping[str, Sequence[tuple[str, bytes]]],
    changes: Sequence[str] | None,
) -> str:
    """The whole page. rows: as in labels.parquet. remedies: code → what to do. pictures: series key → (view, PNG),
    in the order to be shown. changes: lines on what changed since an earlier audit; None where there was none."""
    sections = [
        _outcome_section(rows, remedies),
        _labels_section(rows, taxonomy),
        _uncertain_section(rows, pictures),
        _conflicts_section(rows),
        _overrides_section(rows),
        *([] if changes is None else [_changes_section(changes)]),
        _reading_section(taxonomy),
    ]
    return page("DICOM audit", facts, sections, _CSS)


def _outcome_section(rows: Sequence[Row], remedies: Mapping[str, str]) -> str:
    counts = Counter(row["status"] for row in rows)
    named = (("ok", "usable volumes"), ("excluded", "excluded by rule"), ("failed", "damaged or unreadable"))
    tiles = "".join(f"<li><b>{counts[status]:,}</b> {text}</li>" for status, text in named)
    order = {status: number for number, (status, _) in enumerate(named)}
    codes = Counter((row["status"], row["code"]) for row in rows)
    ranked = sorted(codes.items(), key=lambda item: (order[item[0][0]], -item[1], item[0]))
    lines = [
        {"status": status, "code": code, "count": count, "what it means, and what to do": remedies[code]}
        for (status, code), count in ranked
    ]
    note = f"{len(rows):,} stacks of {len({row['series_key'].split('-')[0] for row in rows}):,} series and stray files"
    return section("What is in the archive", note, f'<ul class="totals">{tiles}</ul>{table(lines)}')


def _labels_section(rows: Sequence[Row], taxonomy: Taxonomy) -> str:
    ways: list[tuple[str, Sequence[str], Callable[[Row], Sequence[str]]]] = [
        ("sequence", (*taxonomy.sequence, OUTSIDE), _sequence_of),
        ("view", taxonomy.view, lambda row: [row["view"] or UNKNOWN]),
        ("contrast", taxonomy.contrast[::-1], lambda row: [row["contrast"] or UNKNOWN]),
        ("coverage", (*taxonomy.coverage, "none"), lambda row: (row["coverage"] or UNKNOWN).split(";")),
        ("spacing_mm", [name for name, _ in _bins()], _bin_of),
    ]
    rows = [row for row in rows if row["modality"] in MODALITIES]
    if not rows:
        return missing("Labels from headers", "There is no series of CT or MR.")
    cards = "".join(_bars(label, classes, rows, classify) for label, classes, classify in ways)
    text = (
        "Solid bars are usable volumes; pale bars add what is excluded or failed, as far as its header could be read."
    )
    outside = Counter(row["family"] for row in rows if row["sequence"] is None and row["family"] is not None)
    listed = ", ".join(f"{family} {count:,}" for family, count in sorted(outside.items(), key=lambda item: -item[1]))
    listed = f"<p>Outside the taxonomy {escape(taxonomy.name)}: {escape(listed)}.</p>" if listed else ""
    note = f"{len(rows):,} stacks of CT and MR, taxonomy {taxonomy.name}"
    return section("Labels from headers", note, f'<p>{text}</p><div class="cards">{cards}</div>{listed}')


def _sequence_of(row: Row) -> list[str]:
    return [row["sequence"] or (OUTSIDE if row["family"] else UNKNOWN)]


def _bins() -> list[tuple[str, float]]:
    """Names of the bins of slice spacing, and the spacing in mm up to which each goes."""
    pairs = zip((0.0, *SPACING_BINS_MM), (*SPACING_BINS_MM, float("inf")), strict=True)
    return [(f"{low:g} – {high:g}" if high < float("inf") else f"over {low:g}", high) for low, high in pairs]


def _bin_of(row: Row) -> list[str]:
    spacing_mm = row["spacing_mm"]
    if spacing_mm is None:
        return [UNKNOWN]
    return [next(name for name, high in _bins() if spacing_mm <= high + 1e-6)]


def _bars(label: str, classes: Sequence[str], rows: Sequence[Row], classify: Callable[[Row], Sequence[str]]) -> str:
    """A table of counts with a bar in each line, every class in it, also those that do not occur."""
    usable, every = Counter(), Counter()
    for row in rows:
        names = classify(row)
        every.update(names)
        usable.update(names if row["status"] == "ok" else ())
    widest = max(every.values(), default=1)
    body = ""
    for name in (*classes, UNKNOWN):
        solid, pale = (f"{100 * count / widest:.1f}%" for count in (usable[name], every[name] - usable[name]))
        bar = f'<i style="width:{solid}"></i><i class="pale" style="width:{pale}"></i>'
        body += (
            f'<tr><th scope="row">{escape(name)}</th><td class="number">{usable[name]:,}</td>'
            f'<td class="number all">{every[name]:,}</td><td class="bar" aria-hidden="true">{bar}</td></tr>'
        )
    head = '<tr><th></th><th class="number">usable</th><th class="number">all</th><th aria-hidden="true"></th></tr>'
    note = f"<p>{_NOTES[label]}</p>" if label in _NOTES else ""
    title = label.replace("_mm", ", mm")
    bars = f'<table class="bars"><thead>{head}</thead><tbody>{body}</tbody></table>'
    return f'<div class="card"><h3>{title}</h3>{bars}{note}</div>'


def _name(row: Row) -> str:
    """What a series is called on the page: its folder where names are kept, else its key."""
    return f"{row['folder']} · {row['series_key']}" if row.get("series_uid") else row["series_key"]


def _uncertain_section(rows: Sequence[Row], pictures: Mapping[str, Sequence[tuple[str, bytes]]]) -> str:
    by_key = {row["series_key"]: row for row in rows}
    shown = [key for key in least_certain(rows, MAX_SHOWN) if key in pictures]
    if not shown:
        return missing("Least certain series", "No picture: there is no usable volume, or pictures were not asked for.")
    cards = ""
    for key in shown:
        row = by_key[key]
        planes = "".join(
            figure(
                f"data:image/png;base64,{base64.b64encode(content).decode()}",
                view,
                f"Middle {view} slice of series {key}",
            )
            for view, content in pictures[key]
        )
        lines = [
            {
                "label": label.replace("_mm", ", mm"),
                "value": _shown(row[label]).replace(";", "; "),
                "confidence": f"{row[f'{label}_confidence']:.2f}",
                "evidence": row[f"{label}_evidence"],
            }
            for label in LABELS
        ]
        title = f"{escape(_name(row))} <small>{escape(row['modality'] or '')}, {row['slices']} slices</small>"
        cards += f'<article><h3>{title}</h3><div class="planes">{planes}</div>{table(lines)}</article>'
    note = f"{len(shown)} usable volumes, by the mean confidence of their labels"
    text = (
        "Middle slices, as radiologists hang them. Pictures show the patient’s anatomy and whatever is burned into the "
        "pixels: treat this page as you treat the images."
    )
    return section("Least certain series", note, f'<p>{text}</p><div class="series">{cards}</div>')


def _shown(value: Any) -> str:
    return UNKNOWN if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def _conflicts_section(rows: Sequence[Row]) -> str:
    found = [
        {
            "series": _name(row),
            "status": row["status"],
            "label": label,
            "value": _shown(row[label]),
            "evidence": evidence,
        }
        for row in rows
        for label in LABELS
        if is_conflict(evidence := row[f"{label}_evidence"]) and not evidence.startswith(BY_HAND)
    ]
    if not found:
        return missing("Conflicts between tags", "No label rests on tags that contradict each other.")
    return section("Conflicts between tags", f"{len(found):,} labels", _cut(found))


def _overrides_section(rows: Sequence[Row]) -> str:
    found = [
        {"series": _name(row), "label": label, "value": _shown(row[label]), "evidence": row[f"{label}_evidence"]}
        for row in rows
        for label in LABELS
        if (row[f"{label}_evidence"] or "").startswith(BY_HAND)
    ]
    return section("Set by hand", f"{len(found):,} labels", _cut(found)) if found else ""


def _cut(rows: Sequence[Row]) -> str:
    more = f"<p>{len(rows) - MAX_ROWS:,} more are in labels.csv.</p>" if len(rows) > MAX_ROWS else ""
    return table(rows[:MAX_ROWS]) + more


def _changes_section(lines: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return section("Since the earlier audit", "every change is in diff.csv", f"<ul>{items}</ul>")


def _reading_section(taxonomy: Taxonomy) -> str:
    body = f"""<p><b>labels.csv</b> and <b>labels.parquet</b> beside this page hold a row for every stack. Every
label comes with a confidence from 0 to 1 and its evidence: the tags and the rule. Empty means unknown, or outside the
taxonomy {escape(taxonomy.name)}; a rule that cannot tell says so instead of guessing.</p>
<p>A label is wrong? Write a line into a file overrides.csv, with the columns
<code>series_key,label,value,who,why</code>, and run <code>radnet label</code> again with
<code>--overrides overrides.csv</code>: your word wins, and is recorded as yours.</p>
<p>A series counts as a usable volume only after its pixels were decoded and its geometry was checked.</p>"""
    return section("How to read this", "", body)


_CSS = """
:root { color-scheme: light dark; --paper: #fff; --bar: #1f5fa8; --barpale: #a9c4e4 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e9ee; --muted: #9aa8b5; --rule: #36424e; --pale: #1b242d; --paper: #11171d }
  :root { --bar: #6ea6e6; --barpale: #34506f }
}
body { background: var(--paper) }
code { font-size: .88em; background: var(--pale); padding: .1em .3em; border-radius: 3px; overflow-wrap: anywhere }
.totals { display: flex; flex-wrap: wrap; gap: .5rem 2.5rem; list-style: none; margin: 1rem 0; padding: 0 }
.totals li { color: var(--muted); font-size: .92rem }
.totals b { display: block; color: var(--ink); font-size: 2.1rem; line-height: 1.15 }
.totals b { font-weight: 650; font-variant-numeric: tabular-nums }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 310px), 1fr)); gap: 1rem 3rem }
.card p { font-size: .85rem; color: var(--muted) }
.bars { width: 100%; min-width: 0 }
.bars th, .bars td { padding: .16rem .6rem .16rem 0; border: 0 }
.bars thead th { color: var(--muted); font-weight: 400; font-size: .8rem }
.bars tbody th { font-weight: 400; white-space: normal }
.bars .all { color: var(--muted) }
.bars .bar { width: 46%; padding-right: 0; vertical-align: middle; font-size: 0 }
.bar i { display: inline-block; height: .8rem; background: var(--bar) }
.bar i.pale { background: var(--barpale) }
.bar i { print-color-adjust: exact; -webkit-print-color-adjust: exact }
.series { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 480px), 1fr)); gap: 1rem 2.5rem }
article { min-width: 0; break-inside: avoid }
article h3 { overflow-wrap: anywhere; font-variant-numeric: tabular-nums }
article h3 small { font-weight: 400; color: var(--muted) }
article .scroll { margin: .5rem 0 1rem }
article table { font-size: .8rem; min-width: 0; width: 100% }
article td, article td.wide { white-space: normal; min-width: 0; padding-right: .6rem }
td.wide { min-width: 11rem }
@media (max-width: 560px) { th, td { padding-right: .55rem } }
.planes { display: grid; grid-template-columns: repeat(3, 1fr); gap: .4rem }
.planes img { aspect-ratio: 1; object-fit: contain; background: #000 }
"""
