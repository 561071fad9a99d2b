"""The sections of a report, from plain data: reading files is the caller's business, HTML is `radnet.page`'s.

Every function takes data and returns a section; None or nothing in it becomes one line that says what is missing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from radnet import figures
from radnet.page import Row, figure, is_number, legend, missing, section, table

SPLITS = ("train", "validation", "test")
LABELS = ("family", "technique", "view", "contrast", "coverage")
UNKNOWN = "unknown"
MAX_REFUSALS = 500  # rows printed; the ledger has them all


@dataclass(frozen=True)
class Tile:
    """One slice for the montage: plane [H,W], spacing_mm along H,W, window (low, high) in the unit of the plane."""

    caption: str
    plane: np.ndarray
    spacing_mm: tuple[float, float]
    window: tuple[float, float]


@dataclass(frozen=True)
class FinetuneRun:
    """One fine-tuning run.

    result: {"init", "dice_mean", "dice": [{"case", "dice"}], "curve": [{"step", "dice"}]}.
    overlay: arrays [K,H,W] by name (image, truth, prediction), or None.
    """

    name: str
    result: Mapping[str, Any]
    overlay: Mapping[str, np.ndarray] | None


def labels_section(rows: Sequence[Row]) -> str:
    """Counts per label, class and split. rows: as in labels.parquet."""
    if not rows:
        return missing("Labels", "The shard set holds no sample.")
    splits = [split for split in SPLITS if any(row["split"] == split for row in rows)]
    charts, lines = "", []
    for label in LABELS:
        counts = _counts(rows, label)
        charts += figure(figures.bars(counts, splits), label, f"Samples per {label} and split, as in the table below")
        for name, parts in counts.items():
            lines.append({"label": label, "class": name, **{s: parts[s] for s in splits}, "all": sum(parts.values())})
    note = "A series may show several regions, so coverage adds up to more. Unknown: the headers do not say."
    body = f'<p>{note}</p>{legend(figures.colours(splits))}<div class="grid">{charts}</div>{table(lines)}'
    return section("Labels", f"{len(rows):,} samples", body)


def montage_section(tiles: Sequence[Tile]) -> str:
    """Middle slices of some samples."""
    if not tiles:
        return missing("Volumes", "No sample could be shown.")
    body = "".join(
        figure(figures.tile(tile.plane, tile.spacing_mm, tile.window), tile.caption, f"Middle slice: {tile.caption}")
        for tile in tiles
    )
    return section("Volumes", "middle slices, 0.5th to 99.5th percentile", f'<div class="tiles">{body}</div>')


def curves_section(lines: Sequence[Row] | None) -> str:
    """Training curves, one panel per kind of number. lines: as in metrics.jsonl."""
    panels = _panels(lines or [])
    if not panels:
        return missing("Training", "The run has no metrics.jsonl, or nothing was logged to it.")
    body = ""
    for name, series in panels.items():
        only = next(iter(series))
        # A line alone has no legend, so the caption names it.
        caption = name if len(series) > 1 or name.endswith(only) else f"{name}: {only}"
        body += figure(figures.curves(series), caption, f"{caption} over steps")
    last = max(int(line["step"]) for line in lines)
    return section("Training", f"{last:,} steps", f'<div class="grid">{body}</div>')


def table1_section(evaluation: Mapping[str, Any] | None) -> str:
    """Table 1 against header labels and, where there is one, against the truth. evaluation: name → {"rows": […]}."""
    parts = (evaluation or {}).items()
    tables = {name: part["rows"] for name, part in parts if isinstance(part, dict) and part.get("rows")}
    if not tables:
        return missing("Table 1", "No evaluation was given; radnet evaluate writes one.")
    body = "<p>Shares run from 0 to 1; low and high bound the 95 % interval over patients; a dash: no such figure.</p>"
    for name, rows in tables.items():
        body += f"<h3>Against the {escape(str(name))} labels</h3>{table(rows)}"
    scope = [f"{evaluation['split']} split"] if "split" in evaluation else []
    scope += [f"{evaluation[key]:,} {key[4:]}" for key in ("num_samples", "num_patients") if key in evaluation]
    return section("Table 1", ", ".join(scope) or "how well each label is predicted", body)


def finetune_section(runs: Sequence[FinetuneRun]) -> str:
    """Dice per case, curves and outlines of fine-tuning runs side by side."""
    if not runs:
        return missing("Segmentation", "No fine-tuning run was given; radnet finetune makes one.")
    names = _distinct([f"{run.result['init']} weights" for run in runs])
    cases: dict[str, dict[str, Any]] = {}
    for name, run in zip(names, runs, strict=True):
        for entry in run.result["dice"]:
            cases.setdefault(entry["case"], {"case": entry["case"]})[name] = entry["dice"]
    mean = {"case": "mean"} | {name: run.result["dice_mean"] for name, run in zip(names, runs, strict=True)}
    body = legend({"truth": figures.TRUTH, "prediction": figures.PREDICTION}) + '<div class="grid">'
    for name, run in zip(names, runs, strict=True):
        caption = f"{name}: mean Dice {run.result['dice_mean']:.3f}"
        if run.overlay is None:
            body += f'<p class="missing">{escape(caption)}. The run has no overlay.npz.</p>'
        else:
            arrays = (run.overlay[array] for array in ("image", "truth", "prediction"))
            body += figure(figures.overlays(*arrays), caption, f"Outlines of truth and prediction, {caption}")
    curves = {name: _dice_curve(run.result["curve"]) for name, run in zip(names, runs, strict=True)}
    curves = {name: points for name, points in curves.items() if points[0]}
    if curves:
        body += figure(figures.curves(curves), "validation Dice", "Validation Dice of each run over steps")
    body += "</div>"
    body += table([*cases.values(), mean])
    return section("Segmentation", "Dice per case", body)


def ledger_section(rows: Sequence[Row] | None) -> str:
    """What became of every series. rows: as in ledger.parquet, plus "remedy"."""
    if not rows:
        return missing("Ledger", "The shard set has no ledger.parquet, or it is empty.")
    counts = Counter((row["status"], row["code"], row["remedy"]) for row in rows)
    order = {"sharded": 0, "excluded": 1, "failed": 2}
    ranked = sorted(counts.items(), key=lambda item: (order.get(item[0][0], 3), -item[1], item[0]))
    summary = [{"status": s, "code": c, "series": n, "remedy": remedy} for (s, c, remedy), n in ranked]
    refused = [row for row in rows if row["status"] != "sharded"]
    refused.sort(key=lambda row: (row["status"], row["code"], row["series_key"]))
    body = table(summary)
    if refused:
        columns = ("series_key", "status", "code", "detail")
        listed = [{key: row[key] for key in columns} for row in refused[:MAX_REFUSALS]]
        body += f"<h3>Refused series</h3>{table(listed)}"
    if len(refused) > MAX_REFUSALS:
        body += f"<p>{len(refused) - MAX_REFUSALS:,} more are in ledger.parquet.</p>"
    return section("Ledger", f"{len(rows):,} series, {len(refused):,} refused", body)


def _counts(rows: Sequence[Row], label: str) -> dict[str, Counter]:
    """class → Counter of splits, most frequent class first, unknown last."""
    counts: dict[str, Counter] = {}
    for row in rows:
        value = row.get(label)
        classes = [UNKNOWN] if value is None else [part or "none" for part in str(value).split(";")]
        for name in classes:
            counts.setdefault(name, Counter())[row["split"]] += 1
    return dict(sorted(counts.items(), key=lambda item: (item[0] == UNKNOWN, -item[1].total(), item[0])))


def _panels(lines: Sequence[Row]) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """Group metrics by their first two words: "train/loss/total" is the line "total" of the panel "train loss"."""
    keys = {key for line in lines for key, value in line.items() if is_number(value)} - {"step", "time_s"}
    panels: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for key in sorted(keys, key=_panel_order):
        points = [(line["step"], line[key]) for line in lines if is_number(line.get(key))]
        words = key.split("/", 2)
        panels.setdefault(" ".join(words[:2]), {})[words[-1]] = ([x for x, _ in points], [y for _, y in points])
    return panels


def _panel_order(key: str) -> tuple:
    """Losses and scores before speeds and rates; the total before its parts."""
    words = key.split("/")
    return words[0] not in ("train", "val"), words[:2], words[-1] != "total", key


def _dice_curve(curve: Sequence[Row]) -> tuple[list[float], list[float]]:
    return [point["step"] for point in curve], [point["dice"] for point in curve]


def _distinct(names: Sequence[str]) -> list[str]:
    """Number the names that occur more than once."""
    return [f"{name} ({names[: k + 1].count(name)})" if names.count(name) > 1 else name for k, name in enumerate(names)]
