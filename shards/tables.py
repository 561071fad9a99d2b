"""labels.parquet and ATTRIBUTION: what a shard set says about its samples and their sources."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from radnet import store
from radnet.shards.inventory import Entry
from radnet.shards.ledger import LedgerRow, Status
from radnet.store import write_atomic, write_parquet

_FIXED = (*store.LABEL_COLUMNS, "collection", "num_slices", "pixel_hash")  # of a sample, whatever the rules say
COUNTS = ("position", "num_slices")
NUMBERS = ("_confidence", "_mm", "_deg")  # endings of columns that hold numbers; the rest is text


def write_labels(path: str, rows: Sequence[dict[str, Any]]) -> str:
    """Write labels.parquet, one row per sample, in order of shard and position; unknown is null. Returns its sha256.

    Types follow from the names of columns, so that a column that happens to be unknown throughout keeps its type.
    """
    import pyarrow

    ordered = sorted(rows, key=lambda row: (row["shard"], row["position"]))
    names = ["key", "split", "shard", "position", "patient_key", "collection", "num_slices", "rules_version", "crc32"]
    names += [name for name in (ordered[0] if ordered else ()) if name not in names]
    columns = {name: pyarrow.array([row[name] for row in ordered], _type(name)) for name in names}
    return write_parquet(path, pyarrow.table(columns))


def labels_before(root: str) -> dict[str, dict[str, Any]]:
    """Key → labels, face and rules_version of a finished set that grows or is mended: what was relabelled since its
    shards were written stays. Where samples lie and who they are is not among them.

    {} where there is no finished set, or the table is not the one that its index names.
    """
    if not store.exists(store.join(root, "index.json")):
        return {}
    path = store.join(root, "labels.parquet")
    is_whole = store.exists(path) and store.sha256(path) == store.read_index(root).tables.get("labels.parquet")
    rows = store.read_labels(root).to_pylist() if is_whole else []
    return {row["key"]: {name: row[name] for name in row if name not in _FIXED} for row in rows}


def _type(name: str) -> Any:
    import pyarrow

    if name in COUNTS:
        return pyarrow.int32()
    return pyarrow.float64() if name.endswith(NUMBERS) else pyarrow.string()


def write_attribution(path: str, ledger: Iterable[LedgerRow], entries: Iterable[Entry]) -> str:
    """Write ATTRIBUTION: each collection whose series were sharded, its licence, DOI, index, and number of series.
    Returns its sha256."""
    origins = {entry.key: entry.origin._replace(split="", is_public=False) for entry in entries}
    counts = Counter(origins[row.series_key] for row in ledger if row.status == Status.SHARDED)
    lines = ["This shard set holds image series from:", ""]
    for origin in sorted(counts):
        said = [
            f"{origin.collection or '(no name)'}: {counts[origin]} series",
            origin.licence or "(licence not stated)",
            f"https://doi.org/{origin.doi}" if origin.doi else "",
            f"listed in {origin.release}" if origin.release else "",
        ]
        lines.append(", ".join(filter(None, said)))
    content = ("\n".join(lines) + "\n").encode()
    write_atomic(path, content)
    return hashlib.sha256(content).hexdigest()
