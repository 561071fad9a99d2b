"""Labels from headers: against the digital phantom's exact truth, and (labels_real.py) beside dcm-classifier.

The phantom's headers lie about as often as real ones do; no voxel is drawn. `undecidable` are series whose header holds
no evidence, or only a wrong one: to abstain there is no fault, to be wrong is. Coverage is geometric: where a scan is
cut, or holds more than its name says (`extent`), no reader of headers can know, so its errors are counted apart.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radnet import labels
from radnet.labels import TAXONOMIES, Finding
from radnet.launch.bench import Record, record
from radnet.launch.bench.labels_real import beside, real_folder

NUM_SERIES, SEED = 10_000, 0
CONFIDENT = 0.9
CLASSES = {
    "paper": TAXONOMIES["paper"].sequence,
    "extended": TAXONOMIES["extended"].sequence,
    "view": TAXONOMIES["paper"].view,
    "contrast": TAXONOMIES["paper"].contrast,
    "coverage": TAXONOMIES["paper"].coverage,
}
_SHOWN = ("SeriesDescription", "ProtocolName", "StudyDescription", "BodyPartExamined", "ContrastBolusAgent",
          "ScanningSequence", "RepetitionTime", "EchoTime", "InversionTime")  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What the rules said of one label of one series. truth: a class, None for none of them, or a tuple of regions.

    is_decidable: whether the header settles it; is_hidden: whether no header could (coverage of a cut scan).
    """

    truth: Any
    finding: Finding
    is_decidable: bool
    is_hidden: bool
    header: dict[str, Any]

    @property
    def is_decided(self) -> bool:
        return self.finding.value is not None

    @property
    def is_right(self) -> bool:
        return self.finding.value == self.truth


def measure(repeats: int) -> list[Record]:
    """Read NUM_SERIES phantom headers `repeats` times, then the real series once."""
    return [*phantom(NUM_SERIES, SEED, repeats), *beside(real_folder())]


def phantom(num_series: int, seed: int, repeats: int) -> list[Record]:
    """Records of `num_series` planned series; errors at high confidence are printed one by one."""
    from radnet.shards.phantom import label_headers

    start = time.perf_counter()
    series = list(label_headers(num_series, seed))
    found = [record("labels/phantom_headers", [num_series / (time.perf_counter() - start)], "series/s")]
    speeds = []
    for _ in range(repeats):
        start = time.perf_counter()
        read = [labels.read(header) for header, _ in series]
        speeds.append(num_series / (time.perf_counter() - start))
    found.append(record("labels/read", speeds, "series/s"))
    answers = _answers(series, read)
    for label, given in answers.items():
        found += _by_class(label, given)
    errors_mm = [
        abs(one.spacing_mm.value - plan.grid.spacing_mm[0])
        for one, (_, plan) in zip(read, series, strict=True)
        if one.spacing_mm.value is not None
    ]
    found.append(record("labels/spacing_mm/largest_error", [max(errors_mm)], f"mm of {len(errors_mm)}"))
    for label, given in answers.items():
        found += _by_confidence(label, given)
    return found


def _answers(series: Sequence[tuple[dict, Any]], read: Sequence[labels.Labels]) -> dict[str, list[Answer]]:
    """Label → an answer per series; scouts have a sequence only."""
    found: dict[str, list[Answer]] = {label: [] for label in CLASSES}
    for (header, plan), one in zip(series, read, strict=True):
        truths = {"paper": (plan.sequence or None, TAXONOMIES["paper"].sequence_finding(one))}
        truths["extended"] = (plan.family, TAXONOMIES["extended"].sequence_finding(one))
        if plan.family != "LOCALIZER":
            truths["view"] = (plan.view, one.view)
            truths["contrast"] = ("yes" if plan.contrast else "no", one.contrast)
            truths["coverage"] = (plan.coverage, one.coverage)
        for label, (truth, finding) in truths.items():
            doubt = "sequence" if label in ("paper", "extended") else label
            is_hidden = label == "coverage" and "extent" in plan.undecidable
            is_decidable = doubt not in plan.undecidable and not is_hidden
            found[label].append(Answer(truth, finding, is_decidable, is_hidden, header))
    return found


def _is(value: Any, name: str) -> bool:
    return name in value if isinstance(value, tuple) else value == name


def _by_class(label: str, answers: list[Answer]) -> list[Record]:
    """Precision over all decisions, recall and abstention over the series whose header settles the class."""
    found = []
    for name in CLASSES[label]:
        said = [one for one in answers if _is(one.finding.value, name) and not one.is_hidden]
        series = [one for one in answers if _is(one.truth, name) and one.is_decidable]
        right = sum(_is(one.truth, name) for one in said)
        recalled, silent = (
            sum(_is(one.finding.value, name) for one in series),
            sum(not one.is_decided for one in series),
        )
        for measured, count, total in (
            ("precision", right, len(said)),
            ("recall", recalled, len(series)),
            ("abstained", silent, len(series)),
        ):
            if total:
                found.append(record(f"labels/{label}/{name}/{measured}", [100 * count / total], f"% of {total}"))
    return found


def _by_confidence(label: str, answers: list[Answer]) -> list[Record]:
    """Totals against their targets, errors at high confidence, and per bin of confidence the share that is right."""
    decided = [one for one in answers if one.is_decided and not one.is_hidden]
    right = 100 * sum(one.is_right for one in decided) / len(decided)
    asked = [one for one in answers if one.is_decidable and one.truth is not None]
    silent = 100 * sum(not one.is_decided for one in asked) / len(asked)
    sure = [one for one in answers if one.is_decided and not one.is_right and one.finding.confidence >= CONFIDENT]
    for one in sure:
        print(_explained(label, one))
    num_sure = sum(not one.is_hidden for one in sure)
    name = f"labels/{label}"
    found = [
        record(f"{name}/right", [right], f"% of {len(decided)}", target=">= 99", met=lambda value, _: value >= 99),
        record(f"{name}/abstained", [silent], f"% of {len(asked)}", target="<= 5", met=lambda value, _: value <= 5),
        record(f"{name}/confident_errors", [num_sure], "series", target="0", met=lambda value, _: value == 0),
        record(f"{name}/confident_errors_hidden", [len(sure) - num_sure], "series"),
    ]
    answered = [one for one in answers if one.is_decided]
    confidences, rights = (np.array(column, float) for column in zip(
        *((one.finding.confidence, one.is_right) for one in answered), strict=True))  # fmt: skip
    bins = np.minimum(np.floor(10 * confidences + 1e-9), 9).astype(int)  # 0.7 belongs to 0.7-0.8, 1 to 0.9-1.0
    gap = 0.0
    for number in np.unique(bins):
        inside = bins == number
        share, stated = 100 * rights[inside].mean(), 100 * confidences[inside].mean()
        gap += inside.mean() * abs(share - stated)
        metric = f"{name}/reliability/{number / 10:.1f}-{(number + 1) / 10:.1f}"
        found.append(record(metric, [share], f"% of {inside.sum()}", rival="stated", rival_values=[stated]))
    return [*found, record(f"{name}/calibration_error", [gap], "%")]


def _explained(label: str, one: Answer) -> str:
    shown = {keyword: one.header[keyword] for keyword in _SHOWN if keyword in one.header}
    why = " (a cut or fuller scan: no header could say)" if one.is_hidden else ""
    return (
        f"error: {label} said {one.finding.value} at {one.finding.confidence:.2f}, truth {one.truth}{why}\n"
        f"       {shown}\n       {one.finding.evidence}"
    )


def picture(records: Sequence[Record], path: Path) -> None:
    """Write the reliability diagram of `measure` as PNG: how often what was said with a confidence is right."""
    from matplotlib.figure import Figure

    from radnet.figures import INK, MUTED, RULE, SERIES

    titles = {"paper": "Sequence (paper)", "extended": "Sequence (extended)", "view": "View",
              "contrast": "Contrast", "coverage": "Coverage (exact match)"}  # fmt: skip
    by_metric = {one.metric: one for one in records}
    figure = Figure(figsize=(15, 4.6), dpi=130, layout="constrained")
    figure.suptitle("How far confidence is to be believed: phantom headers that lie as real ones do", color=INK)
    grid = figure.subplots(2, len(titles), sharex=True, sharey="row", height_ratios=(3, 1))
    for (label, title), (upper, lower) in zip(titles.items(), grid.T, strict=True):
        prefix = f"labels/{label}/reliability/"
        bins = [one for metric, one in by_metric.items() if metric.startswith(prefix)]
        middles = [float(one.metric.removeprefix(prefix)[:3]) + 0.05 for one in bins]
        counts = [int(one.unit.split()[-1]) for one in bins]
        upper.plot((0, 1), (0, 1), color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        upper.bar(middles, [one.value / 100 for one in bins], width=0.09, color=SERIES[0], alpha=0.3, zorder=2)
        stated = [one.rival_value / 100 for one in bins]
        upper.plot(stated, [one.value / 100 for one in bins], "o-", color=SERIES[0], markersize=5, zorder=3)
        error = by_metric[f"labels/{label}/calibration_error"].value
        sure = by_metric[f"labels/{label}/confident_errors"].value
        upper.set_title(f"{title}\ncalibration error {error:.1f} %, {sure:.0f} errors at ≥ 0.9", fontsize=9, color=INK)
        lower.bar(middles, counts, width=0.09, color=SERIES[1])
        for middle, count in zip(middles, counts, strict=True):
            lower.annotate(f"{count:,}", (middle, count), (0, 2), textcoords="offset points", ha="center",
                           va="bottom", fontsize=7, color=MUTED)  # fmt: skip
        lower.set_yscale("log")
        lower.set_xlabel("confidence", fontsize=9, color=MUTED)
        for axes in (upper, lower):
            axes.set_xlim(0, 1.03)
            axes.grid(axis="y", color=RULE, linewidth=0.6)
            axes.set_axisbelow(True)
            axes.tick_params(colors=MUTED, labelsize=8, length=0)
            axes.spines[["top", "right", "left"]].set_visible(False)
    grid[0, 0].annotate("as stated", (0.3, 0.3), (2, -4), textcoords="offset points", va="top", fontsize=8, color=MUTED)
    grid[0, 0].set_ylim(0, 1.05)
    grid[1, 0].set_ylim(1, 10 * max(1, *(int(one.unit.split()[-1]) for one in records if "reliability" in one.metric)))
    grid[0, 0].set_ylabel("share that is right", fontsize=9, color=MUTED)
    grid[1, 0].set_ylabel("series", fontsize=9, color=MUTED)
    figure.savefig(path)
