"""Figures of merit and the table of them, NumPy only.

The table is the paper's Table 1 with what it left out: patient intervals, majority rates, sensitivity, specificity.
Shape letters: N sample, K class, T target columns (`radnet.target`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from radnet.target import SINGLE_LABELS

Row = dict[str, Any]
# field of a row → heading, format; a share is printed in percent
_COLUMNS = {
    "label": ("label", "text"),
    "name": ("class", "text"),
    "n": ("n", "count"),
    "accuracy": ("accuracy %", "share"),
    "low": ("95 % low", "share"),
    "high": ("95 % high", "share"),
    "majority": ("majority %", "share"),
    "auc": ("AUC %", "share"),
    "sensitivity": ("sens. %", "share"),
    "specificity": ("spec. %", "share"),
    "mae_mm": ("MAE mm", "mm"),
    "rmse_mm": ("RMSE mm", "mm"),
}


def accuracy(predicted: np.ndarray, target: np.ndarray) -> float:
    """Share of equal entries of two [N] arrays; nan when empty."""
    return float(np.mean(predicted == target)) if len(target) else float("nan")


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve of scores [N] for positive [N] bool, by ranks, ties averaged; nan for a single class."""
    positive = np.asarray(positive, dtype=bool)
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    if num_positive == 0 or num_negative == 0:
        return float("nan")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = mean_rank[inverse][positive].sum()
    return float((rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))


def sensitivity(predicted: np.ndarray, positive: np.ndarray) -> float:
    """Share of the positives that are predicted; [N] bool both; nan without positives."""
    positive = np.asarray(positive, dtype=bool)
    return accuracy(np.asarray(predicted, dtype=bool)[positive], positive[positive])


def specificity(predicted: np.ndarray, positive: np.ndarray) -> float:
    """Share of the negatives that are not predicted; [N] bool both; nan without negatives."""
    return sensitivity(~np.asarray(predicted, dtype=bool), ~np.asarray(positive, dtype=bool))


def majority_rate(target: np.ndarray) -> float:
    """Accuracy of always answering the most frequent entry of [N], or row of [N,K]; nan when empty."""
    if len(target) == 0:
        return float("nan")
    return float(np.unique(target, axis=0, return_counts=True)[1].max() / len(target))


def mae(predicted: np.ndarray, target: np.ndarray) -> float:
    """Mean absolute error, in the unit of both [N]; nan when empty."""
    return float(np.mean(np.abs(predicted - target))) if len(target) else float("nan")


def rmse(predicted: np.ndarray, target: np.ndarray) -> float:
    """Root of the mean squared error, in the unit of both [N]; nan when empty."""
    return float(np.sqrt(np.mean((predicted - target) ** 2))) if len(target) else float("nan")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice overlap of two boolean arrays of one shape; 1 when both are empty."""
    a, b = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    size = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / size if size else 1.0


def bootstrap_interval(
    statistic: Callable[..., float],
    arrays: Sequence[np.ndarray],
    groups: np.ndarray,
    *,
    num_resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % percentile interval of statistic(*arrays) when whole groups (patients) are drawn with replacement.

    arrays: each [N,…]. groups: [N] keys; series of one patient are not independent, so they are drawn together.
    Resamples on which the statistic is nan are left out; (nan, nan) when none is left or N is 0.
    """
    _, group_of, counts = np.unique(groups, return_inverse=True, return_counts=True)
    if len(group_of) == 0:
        return float("nan"), float("nan")
    members, starts = np.argsort(group_of, kind="stable"), np.cumsum(counts) - counts
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(num_resamples):
        drawn = rng.integers(len(counts), size=len(counts))
        sizes = counts[drawn]
        # Position within the drawn group plus where that group starts among the members.
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rows = members[np.repeat(starts[drawn], sizes) + within]
        values.append(statistic(*(array[rows] for array in arrays)))
    kept = np.asarray(values, dtype=np.float64)
    kept = kept[~np.isnan(kept)]
    if len(kept) == 0:
        return float("nan"), float("nan")
    low, high = np.percentile(kept, (2.5, 97.5))
    return float(low), float(high)


def _row(label: str, name: str, n: int, **values: float) -> Row:
    finite = {key: None if math.isnan(value) else value for key, value in values.items()}
    return {**dict.fromkeys(_COLUMNS), "label": label, "name": name, "n": n, **finite}


def _class_row(label: str, name: str, predicted: np.ndarray, positive: np.ndarray, score: np.ndarray) -> Row:
    """predicted, positive [N] bool, score [N]; a class without positives has no figures."""
    n = int(positive.sum())
    if n == 0:
        return _row(label, name, 0)
    return _row(
        label,
        name,
        n,
        accuracy=accuracy(predicted, positive),
        auc=auc(score, positive),
        sensitivity=sensitivity(predicted, positive),
        specificity=specificity(predicted, positive),
    )


def _overall_row(label: str, name: str, right: np.ndarray, target: np.ndarray, patients: np.ndarray) -> Row:
    low, high = bootstrap_interval(lambda hit: float(np.mean(hit)), [right], patients)
    share = float(np.mean(right)) if len(right) else math.nan
    return _row(label, name, len(right), accuracy=share, low=low, high=high, majority=majority_rate(target))


def _single_rows(
    label: str, score_NK: np.ndarray, target_N: np.ndarray, patients: np.ndarray, names: Sequence[str]
) -> list[Row]:
    known = target_N >= 0
    score, target, predicted = score_NK[known], target_N[known].astype(np.int64), score_NK[known].argmax(axis=1)
    rows = [_class_row(label, name, predicted == k, target == k, score[:, k]) for k, name in enumerate(names)]
    return [*rows, _overall_row(label, "overall", predicted == target, target, patients[known])]


def _coverage_rows(
    score_NK: np.ndarray, target_NK: np.ndarray, patients: np.ndarray, names: Sequence[str]
) -> list[Row]:
    predicted, rows, region_accuracy = score_NK >= 0.5, [], []
    for k, name in enumerate(names):
        known = target_NK[:, k] >= 0
        positive = target_NK[known, k] == 1
        rows.append(_class_row("coverage", name, predicted[known, k], positive, score_NK[known, k]))
        region_accuracy.append(accuracy(predicted[known, k], positive))
    judged = [value for value in region_accuracy if not math.isnan(value)]
    mean_accuracy = float(np.mean(judged)) if judged else math.nan
    whole = (target_NK >= 0).all(axis=1)
    exact = (predicted[whole] == (target_NK[whole] == 1)).all(axis=1)
    rows.append(_overall_row("coverage", "exact match", exact, target_NK[whole], patients[whole]))
    rows.append(_row("coverage", "mean per region", int((target_NK >= 0).any(axis=1).sum()), accuracy=mean_accuracy))
    return rows


def table1(
    scores: Mapping[str, np.ndarray],
    target_NT: np.ndarray,
    patient_keys: Sequence[str] | np.ndarray,
    names: Mapping[str, Sequence[str]],
) -> list[Row]:
    """Table 1 of the 3D-RADNet paper: rows per class, per label and for spacing; each leaves out what is unknown.

    scores: probabilities [N,K] for sequence, view, contrast, coverage, and spacing [N] in mm (`heads.to_scores`).
    target_NT: see `radnet.target`. patient_keys: [N], whole patients are resampled for the intervals. names: class
    names of the four classified labels, in the order of the scores.

    Every row has the same fields, None where a figure does not exist: label, name, n (positives of a class, samples of
    an overall row), accuracy (one-vs-rest for a class), low, high (95 % by patient bootstrap), majority (rate of the
    most frequent class or combination of regions), auc, sensitivity, specificity as shares, mae_mm, rmse_mm. A region
    counts as predicted from 0.5; exact match takes the samples whose regions are all known.

    Raises ValueError for scores that are not finite.
    """
    broken = [name for name, score in scores.items() if not np.isfinite(score).all()]
    if broken:
        raise ValueError(f"scores of {', '.join(broken)} are not finite")
    target, patients = np.asarray(target_NT), np.asarray(patient_keys)
    rows = []
    for k, label in enumerate(SINGLE_LABELS):
        rows += _single_rows(label, scores[label], target[:, k], patients, names[label])
    rows += _coverage_rows(scores["coverage"], target[:, 3:-1], patients, names["coverage"])
    known = target[:, -1] > 0
    spacing_mm, truth_mm = scores["spacing"][known].astype(np.float64), target[known, -1].astype(np.float64)
    mae_mm, rmse_mm = mae(spacing_mm, truth_mm), rmse(spacing_mm, truth_mm)
    return [*rows, _row("spacing", "overall", len(truth_mm), mae_mm=mae_mm, rmse_mm=rmse_mm)]


def _cell(value: Any, kind: str) -> str:
    if value is None:
        return "-"
    return {"text": "{}", "count": "{}", "share": "{:.1f}", "mm": "{:.2f}"}[kind].format(
        100 * value if kind == "share" else value
    )


def format_table1(rows: Sequence[Row]) -> str:
    """Rows of `table1` → lines of fixed width, percent with one decimal, "-" where there is no figure."""
    lines = [[heading for heading, _ in _COLUMNS.values()]]
    lines += [[_cell(row[field], kind) for field, (_, kind) in _COLUMNS.items()] for row in rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(_COLUMNS))]
    num_text = sum(kind == "text" for _, kind in _COLUMNS.values())
    return "\n".join(
        "  ".join(
            c.ljust(w) if k < num_text else c.rjust(w) for k, (c, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
