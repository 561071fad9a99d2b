"""inventory.parquet and the private map from keys to names."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from radnet.shards.inventory.entry import PRIVATE, Entry, pack
from radnet.shards.inventory.row import Row
from radnet.shards.ledger import Code

if TYPE_CHECKING:
    import pyarrow

_TEXT = (
    "series_key study_key patient_key kind collection licence doi release split detail pixel_hash stratum face".split()
)
_MADE_OF = b"radnet made of"
_ROWS_AT_ONCE = 2000  # unpacked in memory, whatever the size of the inventory


def write_table(path: str, entries: Iterable[Entry], made_of: Mapping[str, str] | None = None) -> None:
    """Write inventory.parquet: the rows without `private`, in the order given; header is JSON, paths are bytes, for not
    all are text. Whole or not at all, readable by its owner only. made_of: see `read_made_of`."""
    import pyarrow.parquet

    from radnet.store import writing

    with writing(path, 0o600) as file:
        # By name, for Parquet closes what it was handed, before the bytes have reached the disk.
        schema = to_table([]).schema.with_metadata({_MADE_OF: json.dumps(dict(made_of or {}), sort_keys=True)})
        with pyarrow.parquet.ParquetWriter(file.name, schema) as writer:
            for some in _batches(entries, _ROWS_AT_ONCE):
                writer.write_table(to_table([entry.unpack() for entry in some]).cast(schema))


def read_made_of(path: str) -> dict[str, str]:
    """What `write_table` was told that the entries follow from. Raises FileNotFoundError, ValueError where damaged."""
    import pyarrow
    import pyarrow.parquet

    try:
        metadata = pyarrow.parquet.read_schema(path).metadata or {}
        return dict(json.loads(metadata.get(_MADE_OF, b"{}")))
    except FileNotFoundError:
        raise
    except (pyarrow.ArrowException, OSError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({' '.join(str(error).split())[:200]})") from None


def read_entries(path: str) -> list[Entry]:
    """The entries of inventory.parquet, with an empty `private`.

    Raises FileNotFoundError, and ValueError, KeyError or TypeError where the file is damaged or another table.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            tables = (pyarrow.Table.from_batches([batch]) for batch in file.iter_batches(_ROWS_AT_ONCE))
            return [pack(row) for table in tables for row in from_table(table)]
    except FileNotFoundError:
        raise
    except (pyarrow.ArrowException, OSError) as error:  # of Arrow, for bytes that are no table
        raise ValueError(f"{path} is damaged ({' '.join(str(error).split())[:200]})") from None


def _batches(entries: Iterable[Entry], size: int) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    for entry in entries:
        batch.append(entry)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def to_table(rows: list[Row]) -> "pyarrow.Table":
    """The rows as a table, see `write_table`."""
    import pyarrow

    columns = {name: pyarrow.array([getattr(row, name) for row in rows], pyarrow.string()) for name in _TEXT}
    for name in ("stack", "part", "num_files"):
        columns[name] = pyarrow.array([getattr(row, name) for row in rows], pyarrow.int32())
    files = [[os.fsencode(file) for file in row.files] for row in rows]
    columns["files"] = pyarrow.array(files, pyarrow.list_(pyarrow.binary()))
    columns["stamps"] = pyarrow.array([row.stamps for row in rows], pyarrow.list_(pyarrow.list_(pyarrow.int64())))
    headers = [json.dumps(row.header, sort_keys=True, allow_nan=False) for row in rows]
    columns["header"] = pyarrow.array(headers, pyarrow.string())
    columns["slices"] = pyarrow.array([row.slices for row in rows], pyarrow.list_(pyarrow.list_(pyarrow.float64())))
    columns["middle"] = pyarrow.array([row.middle for row in rows], pyarrow.list_(pyarrow.int32()))
    columns["code"] = pyarrow.array([str(row.code) for row in rows], pyarrow.string())
    return pyarrow.table(columns)


def from_table(table: "pyarrow.Table") -> list[Row]:
    """The rows of `to_table`, with an empty `private`. Raises ValueError, KeyError or TypeError for another table."""
    rows = []
    for values in table.to_pylist():
        values |= {"files": [os.fsdecode(file) for file in values["files"]], "header": json.loads(values["header"])}
        values |= {"code": Code(values["code"]), "middle": values["middle"] and tuple(values["middle"])}
        rows.append(Row(**values))
    return rows


def private_map(entries: Iterable[Entry]) -> "pyarrow.Table":
    """Keys of series beside the names they stand for, in order. Whoever holds it can undo the hashing.

    Bytes of a folder's name that are no text are shown as escapes.
    """
    import pyarrow

    entries = sorted((entry for entry in entries if not entry.stack), key=lambda entry: entry.series_key)
    keys = ("series_key", "study_key", "patient_key")
    columns = {name: pyarrow.array([getattr(entry, name) for entry in entries], pyarrow.string()) for name in keys}
    for number, name in enumerate(PRIVATE):
        columns[name] = pyarrow.array([_printable(entry.private[number]) for entry in entries], pyarrow.string())
    return pyarrow.table(columns)


def _printable(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
