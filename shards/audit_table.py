"""labels.parquet and labels.csv of an audit: one row per stack, types in the one, RFC 4180 in the other."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radnet import __version__
from radnet.errors import UsageError
from radnet.labels import RULES_VERSION
from radnet.shards.overrides import LABELS
from radnet.store import read_table, write_atomic

if TYPE_CHECKING:
    import pyarrow

_FIRST = """
series_key folder files slices status code reason modality sequence view obliquity_deg contrast coverage spacing_mm
""".split()
_EVIDENCE = [f"{label}_{part}" for label in LABELS for part in ("confidence", "evidence")]
_LAST = "stack family family_confidence technique technique_confidence notes rules_version".split()
COLUMNS = (*_FIRST, *_EVIDENCE, *_LAST)
NAMED = ("series_uid", "file")  # behind the others, where names are kept
_INTEGERS = ("files", "slices", "stack")
_NUMBERS = ("_confidence", "_mm", "_deg")
_MARK = b"radnet_audit"  # of the Parquet file: what made it
# What a spreadsheet would run as a formula, full-width forms included.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

Row = dict[str, Any]


def mark(taxonomy: str, key_fingerprint: str) -> dict[str, str]:
    """What must be equal for two audits to be compared, and which rules made this one."""
    return {
        "rules_version": RULES_VERSION,
        "taxonomy": taxonomy,
        "privacy_key": key_fingerprint,
        "radnet": __version__,
    }


def to_table(rows: Sequence[Row], columns: Sequence[str], marked: Mapping[str, str]) -> "pyarrow.Table":
    """The rows as a table: int64, float64 and string by the names of columns, null for unknown."""
    import pyarrow

    arrays = {name: pyarrow.array([row[name] for row in rows], _type(name)) for name in columns}
    return pyarrow.table(arrays).replace_schema_metadata({_MARK: json.dumps(dict(marked)).encode()})


def _type(name: str) -> Any:
    import pyarrow

    if name in _INTEGERS:
        return pyarrow.int64()
    return pyarrow.float64() if name.endswith(_NUMBERS) else pyarrow.string()


def to_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    """The rows as CSV: UTF-8, quotes and line ends of RFC 4180, empty for unknown.

    Text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[name]) for name in columns] for row in rows)
    return buffer.getvalue().encode("utf-8")


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def write(out: Path, rows: Sequence[Row], marked: Mapping[str, str], mode: int) -> None:
    """Write labels.parquet and labels.csv into `out`; mode: permission bits. Rows are in the order given."""
    import pyarrow
    import pyarrow.parquet

    columns = [*COLUMNS, *(name for name in NAMED if rows and name in rows[0])]
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(to_table(rows, columns, marked), sink)
    # First, for it marks the folder as an audit, which another run may replace.
    write_atomic(str(out / "labels.parquet"), sink.getvalue().to_pybytes(), mode)
    write_atomic(str(out / "labels.csv"), to_csv(rows, columns), mode)


def read(path: str) -> tuple[list[Row], dict[str, str]]:
    """Rows and mark of an earlier audit: its folder, or its labels.parquet.

    Raises UsageError in one line where there is none, or where it is damaged or another table.
    """
    file = Path(path) / "labels.parquet" if Path(path).is_dir() else Path(path)
    try:
        table = read_table(str(file))
        marked = dict(json.loads((table.schema.metadata or {})[_MARK]))
        missing = [name for name in COLUMNS if name not in table.column_names]
        if missing or not {"rules_version", "taxonomy", "privacy_key"} <= marked.keys():
            raise KeyError(*missing)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{file} does not exist; expected the folder or labels.parquet of an earlier audit") from None
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{file} is damaged or not the labels.parquet of a radnet label; name another") from None
    return table.to_pylist(), marked
