"""Two audits of the same series: what a change of the rules, or of the archive, altered."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from radnet.errors import UsageError
from radnet.shards.overrides import LABELS

COLUMNS = (
    "series_key",
    "label",
    "change",
    "old",
    "new",
    "old_confidence",
    "new_confidence",
    "old_evidence",
    "new_evidence",
)
COMPARED = ("status", "code", *LABELS)
SPACING_TOLERANCE_MM = 1e-4

Row = Mapping[str, Any]


def refuse_other_kind(old: Mapping[str, str], new: Mapping[str, str]) -> None:
    """Raise UsageError where two audits cannot be compared: other keys, or classes of another taxonomy."""
    if old["privacy_key"] != new["privacy_key"]:
        raise UsageError("the two audits were made with different privacy keys; name the same key file with --key")
    if old["taxonomy"] != new["taxonomy"]:
        raise UsageError(
            f"the old audit has the taxonomy {old['taxonomy']}, the new one {new['taxonomy']}; use --taxonomy "
            f"{old['taxonomy']}"
        )


def compare(old: Sequence[Row], new: Sequence[Row]) -> list[dict[str, Any]]:
    """One row of `COLUMNS` per label that changed, per new and per missing series, in order of series key and label.

    change: "changed", "new" or "missing". Values as in the audits, None for unknown. A label whose confidence or
    evidence alone changed is not in it.
    """
    before, after = ({row["series_key"]: row for row in rows} for rows in (old, new))
    changes = []
    for key in sorted(before.keys() | after.keys()):
        if key not in before or key not in after:
            change = "new" if key in after else "missing"
            changes.append(_change(key, "status", change, before.get(key, {}), after.get(key, {})))
            continue
        for label in COMPARED:
            if not _same(before[key][label], after[key][label]):
                changes.append(_change(key, label, "changed", before[key], after[key]))
    return changes


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, float) and isinstance(new, float):
        return math.isclose(old, new, abs_tol=SPACING_TOLERANCE_MM)
    return old == new


def _change(key: str, label: str, change: str, old: Row, new: Row) -> dict[str, Any]:
    made = {"series_key": key, "label": label, "change": change, "old": old.get(label), "new": new.get(label)}
    evidence = "reason" if label in ("status", "code") else f"{label}_evidence"
    for name, row in (("old", old), ("new", new)):
        made |= {f"{name}_confidence": row.get(f"{label}_confidence"), f"{name}_evidence": row.get(evidence)}
    return made


def summary(changes: Sequence[Row], old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """A line on the rules, one per label with its most frequent changes, and one on new and missing series."""
    lines = [f"rules {old['rules_version']} → {new['rules_version']}"]
    for label in COMPARED:
        counts = Counter(
            (shown(change["old"]), shown(change["new"]))
            for change in changes
            if change["label"] == label and change["change"] == "changed"
        )
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        kinds = [f"{before} → {after} {count}" for (before, after), count in ranked[:5]]
        kinds += [f"{len(ranked) - 5} other kinds"] if len(ranked) > 5 else []
        lines.append(f"{label}: {counts.total()} changed" + (f" ({', '.join(kinds)})" if kinds else ""))
    kinds = Counter(change["change"] for change in changes)
    return [*lines, f"series: {kinds['new']} new, {kinds['missing']} missing"]


def shown(value: Any) -> str:
    """A value for people: "unknown" for None."""
    return "unknown" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
