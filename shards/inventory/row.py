"""One row per series of an archive, and the table of them."""

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from radnet.shards.ledger import Code

if TYPE_CHECKING:
    import pyarrow


@dataclass
class Row:
    """One stack of a series, or one file that belongs to none.

    series_key, study_key, patient_key: 20 hex characters each. kind: "dicom" or "nifti". files: absolute paths of what
    is read for this stack: its own files, or the whole series where files hold slices of several stacks; for nifti
    image and mask. stack: number among the series' stacks, 0 is the largest (see `geometry.split`); part: number among
    the stacks that `files` hold. num_files: those counted here; over the rows of a series they add up to its files.
    stamps: bytes and modification time in ns of each of `files`. header: see `radnet.labels.read`. slices: x,y,z in mm
    (LPS) of every slice in ascending position, or []. code: OK for a candidate, else why it cannot become a sample.
    private: series_uid, study_uid, patient_id and folder, for the private map only.
    """

    series_key: str
    study_key: str
    patient_key: str
    kind: str
    collection: str
    licence: str
    files: list[str]
    stamps: list[list[int]]
    header: dict[str, Any] = field(default_factory=dict)
    slices: list[list[float]] = field(default_factory=list)
    code: Code = Code.OK
    detail: str = ""
    private: dict[str, str] = field(default_factory=dict)
    stack: int = 0
    part: int = 0
    num_files: int = 0

    @property
    def key(self) -> str:
        """The name of this stack everywhere: series_key, with -N behind it for the Nth further stack."""
        return f"{self.series_key}-{self.stack}" if self.stack else self.series_key

    @property
    def num_bytes(self) -> int:
        """Bytes of all files."""
        return sum(size for size, _ in self.stamps)


_TEXT = ("series_key", "study_key", "patient_key", "kind", "collection", "licence", "detail")
_PRIVATE = ("series_uid", "study_uid", "patient_id", "folder")


def to_table(rows: list[Row]) -> "pyarrow.Table":
    """The rows without `private`, in order of their keys; header is JSON, paths are bytes, for not all are text."""
    import pyarrow

    rows = sorted(rows, key=lambda row: row.key)
    columns = {name: pyarrow.array([getattr(row, name) for row in rows], pyarrow.string()) for name in _TEXT}
    for name in ("stack", "part", "num_files"):
        columns[name] = pyarrow.array([getattr(row, name) for row in rows], pyarrow.int32())
    files = [[os.fsencode(file) for file in row.files] for row in rows]
    columns["files"] = pyarrow.array(files, pyarrow.list_(pyarrow.binary()))
    columns["stamps"] = pyarrow.array([row.stamps for row in rows], pyarrow.list_(pyarrow.list_(pyarrow.int64())))
    headers = [json.dumps(row.header, sort_keys=True, allow_nan=False) for row in rows]
    columns["header"] = pyarrow.array(headers, pyarrow.string())
    columns["slices"] = pyarrow.array([row.slices for row in rows], pyarrow.list_(pyarrow.list_(pyarrow.float64())))
    columns["code"] = pyarrow.array([str(row.code) for row in rows], pyarrow.string())
    return pyarrow.table(columns)


def from_table(table: "pyarrow.Table") -> list[Row]:
    """The rows of `to_table`, with an empty `private`. Raises ValueError, KeyError or TypeError for another table."""
    rows = []
    for values in table.to_pylist():
        files, header = [os.fsdecode(file) for file in values["files"]], json.loads(values["header"])
        rows.append(Row(**{**values, "files": files, "header": header, "code": Code(values["code"])}))
    return rows


def private_map(rows: list[Row]) -> "pyarrow.Table":
    """Keys of series beside the names they stand for, in order. Whoever holds it can undo the hashing.

    Bytes of a folder's name that are no text are shown as escapes.
    """
    import pyarrow

    rows = sorted((row for row in rows if not row.stack), key=lambda row: row.series_key)
    keys = ("series_key", "study_key", "patient_key")
    columns = {name: pyarrow.array([getattr(row, name) for row in rows], pyarrow.string()) for name in keys}
    for name in _PRIVATE:
        columns[name] = pyarrow.array([_printable(row.private.get(name, "")) for row in rows], pyarrow.string())
    return pyarrow.table(columns)


def _printable(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
