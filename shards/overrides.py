"""What a human says a series is: overrides.csv, whose labels win over the rules and are recorded as a human's."""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from radnet.errors import UsageError
from radnet.labels import TAXONOMIES, Taxonomy
from radnet.labels.finding import BY_HAND

COLUMNS = ("series_key", "label", "value", "who", "why")
LABELS = ("sequence", "view", "contrast", "coverage", "spacing_mm")
NONE, UNKNOWN = "none", "unknown"  # coverage: none of the regions; any label: it cannot be told
# Classes of the paper that are a family and a technique; every other class is a family.
_FACTS = {f"{family}-SE": {"family": family, "technique": "SE"} for family in ("T1", "T2")}
# A shard set holds facts, which any taxonomy reads: the classes of all of them may be named.
EVERY_CLASS = replace(
    TAXONOMIES["extended"],
    name="paper or extended",
    sequence=tuple(dict.fromkeys([*TAXONOMIES["extended"].sequence, *TAXONOMIES["paper"].sequence])),
)


@dataclass(frozen=True)
class Override:
    """One label of one series, or of one of its stacks, set by hand. value: None = cannot be told; coverage as in
    `Labels.row`; spacing_mm a float. line: of the file, for messages."""

    label: str
    value: str | float | None
    who: str
    why: str
    line: int

    @property
    def evidence(self) -> str:
        """Who said so, and why."""
        return f"{BY_HAND}{self.who}: {self.why}" if self.why else f"{BY_HAND}{self.who}"


@dataclass(frozen=True)
class Overrides:
    """All that one file says: series key → label → override. path: for messages."""

    path: str = ""
    by_key: Mapping[str, Mapping[str, Override]] = field(default_factory=dict)

    def refuse_unknown(self, keys: Iterable[str]) -> None:
        """Raise UsageError, naming the line, where a key is none of `keys`."""
        known = set(keys)
        for key, labels in self.by_key.items():
            if key not in known:
                line = min(override.line for override in labels.values())
                raise UsageError(
                    f"{self.path} line {line}: no series has the key {key!r}; copy it from the series_key column of "
                    "labels.csv (another privacy key makes other keys)"
                )

    def apply(self, key: str, row: Mapping[str, Any]) -> dict[str, Any]:
        """`row` with what a human says of the series `key`: value, confidence 1 (0 for "unknown") and evidence.

        row: as `Labels.row`, or with a column sequence. A sequence sets the facts it is made of, family and technique,
        where the row has them.
        """
        changed = dict(row)
        for label, override in self.by_key.get(key, {}).items():
            named = {label: override.value}
            if label == "sequence":
                named |= _FACTS.get(override.value, {"family": override.value})
            confidence = 0.0 if override.value is None else 1.0
            for name, value in named.items():
                found = {name: value, f"{name}_confidence": confidence, f"{name}_evidence": override.evidence}
                # Labels.row has the facts alone; a table made for people has the class beside them.
                changed |= {column: entry for column, entry in found.items() if column in row}
        return changed


def read(path: str, taxonomy: Taxonomy) -> Overrides:
    """The overrides of a CSV file with the columns series_key, label, value, who, why.

    value: a class of the taxonomy's sequence, a view, yes or no, regions joined by ";" or none, a spacing in mm; or
    unknown. Raises UsageError in one line that names the line of the file and says what was expected there.
    """
    try:
        text = Path(path).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"overrides {path} cannot be read ({type(error).__name__}); expected a CSV file") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    by_key: dict[str, dict[str, Override]] = {}
    try:
        header = [name.strip() for name in next(reader, [])]
        if header != list(COLUMNS):
            raise UsageError(f"{path} line 1: the columns are {header}, expected {','.join(COLUMNS)}")
        for cells in reader:
            if any(cell.strip() for cell in cells):
                _add(
                    by_key,
                    [" ".join(cell.split()) for cell in cells],
                    f"{path} line {reader.line_num}",
                    taxonomy,
                    reader.line_num,
                )
    except csv.Error as error:
        raise UsageError(f"{path} line {reader.line_num}: not CSV ({error})") from None
    return Overrides(path, by_key)


def _add(by_key: dict[str, dict[str, Override]], cells: list[str], where: str, taxonomy: Taxonomy, line: int) -> None:
    if len(cells) != len(COLUMNS):
        raise UsageError(f"{where}: {len(cells)} cells, expected {len(COLUMNS)}; put quotes around text with a comma")
    key, label, value, who, why = cells
    if not key:
        raise UsageError(f"{where}: series_key is empty; copy it from the series_key column of labels.csv")
    if label not in LABELS:
        raise UsageError(f"{where}: label is {label!r}, expected one of {', '.join(LABELS)}")
    if not who:
        raise UsageError(f"{where}: who is empty; expected the name of whoever says so")
    if label in by_key.setdefault(key, {}):
        raise UsageError(f"{where}: {label} of {key} is set in line {by_key[key][label].line} too; keep one of them")
    by_key[key][label] = Override(label, _value(label, value, where, taxonomy), who, why, line)


def _value(label: str, value: str, where: str, taxonomy: Taxonomy) -> str | float | None:
    if value == UNKNOWN:
        return None
    if label == "spacing_mm":
        return _spacing(value, where)
    classes = getattr(taxonomy, label)
    if label == "coverage":
        regions = [] if value == NONE else [part.strip() for part in value.split(";")]
        if not set(regions) <= set(classes):
            expected = f"{NONE}, {UNKNOWN}, or some of {';'.join(classes)}"
            raise UsageError(f"{where}: coverage is {value!r}, expected {expected}")
        return ";".join(region for region in classes if region in regions)
    if value not in classes:
        expected = f"one of {', '.join(classes)}, {UNKNOWN}"
        raise UsageError(f"{where}: {label} is {value!r}, expected {expected} (taxonomy {taxonomy.name})")
    return value


def _spacing(value: str, where: str) -> float:
    try:
        spacing_mm = float(value)
    except ValueError:
        spacing_mm = math.nan
    if not 0 < spacing_mm < math.inf:
        raise UsageError(f"{where}: spacing_mm is {value!r}, expected a positive number, or {UNKNOWN}")
    return spacing_mm
