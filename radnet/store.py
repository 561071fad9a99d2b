"""Files that are whole or absent, local or on any fsspec store, and the index that says a shard set is finished.

A shard set without index.json is not finished; `read_index` refuses it.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from radnet.errors import UsageError
from radnet.seal import seal, unseal
from radnet.urls import PATIENCE_S, ask, filesystem, is_local, make_folder, shown, telling

if TYPE_CHECKING:
    import pyarrow

SCHEMA = 2
READ_BYTES = 4 << 20  # a read of a file that is read throughout
_LARGE_BYTES = 1 << 20  # a block that goes to the disk at once
TEMPORARY = ".tmp-"  # prefix of files being written; one that is found later was left by a process that died
_LEFTOVER = re.compile(re.escape(TEMPORARY) + r"\w[\w.-]*-[a-z0-9_]{8}")  # as `_temporary` names them
TABLES = ("labels.parquet", "ledger.parquet", "ATTRIBUTION")  # whose hashes index.json holds
LABEL_COLUMNS = ("key", "split", "shard", "position", "patient_key", "crc32")  # that every labels.parquet has


@dataclass(frozen=True)
class ShardInfo:
    """One shard: its name without suffix, number of samples, bytes of the tar, and the hashes of tar and idx."""

    name: str
    num_samples: int
    num_bytes: int
    sha256_tar: str
    sha256_idx: str


@dataclass(frozen=True)
class Index:
    """What a finished shard set holds.

    splits: "train", "validation" or "test" → its shards, in order of name. fingerprints: of inventory, config and
    privacy key. totals: series sharded, excluded and failed, and bytes of all tars. tables: name → sha256 of each of
    `TABLES` as written.
    """

    codec: str
    splits: dict[str, list[ShardInfo]]
    fingerprints: dict[str, str] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)


def join(root: str, name: str) -> str:
    """`name` inside `root`, for folders and URLs alike."""
    return f"{str(root).rstrip('/')}/{name}"


def exists(path: str) -> bool:
    """True if the file, folder or object is there."""
    return ask(path, lambda system, inner: system.exists(inner))


def sizes(root: str) -> dict[str, int]:
    """Name → bytes of the files directly in a folder or below a URL; {} where there is none."""
    try:
        found = ask(root, lambda system, inner: system.ls(inner, detail=True))
    except FileNotFoundError:
        return {}
    return {entry["name"].rsplit("/", 1)[-1]: int(entry["size"] or 0) for entry in found if entry["type"] == "file"}


def remove(path: str) -> None:
    """Delete a file or object, if it is there."""
    with suppress(FileNotFoundError):
        ask(path, lambda system, inner: system.rm_file(inner))


def read_bytes(path: str) -> bytes:
    """The whole file. Raises FileNotFoundError."""
    return ask(path, lambda system, inner: system.cat_file(inner))


def read_range(path: str, start: int, end: int) -> bytes:
    """Bytes start to end (exclusive) of a file, fewer where it ends before. Raises FileNotFoundError."""
    return ask(path, lambda system, inner: system.cat_file(inner, start=start, end=end))


@contextmanager
def reading(path: str) -> Iterator[BinaryIO]:
    """A file to be read from its start to its end, a little at a time. Raises FileNotFoundError."""
    system, inner = filesystem(path)
    with telling(path), system.open(inner, "rb", cache_type="readahead", block_size=READ_BYTES) as file:
        yield file


def sha256(path: str) -> str:
    """Hex digest of a file, read in blocks."""
    digest = hashlib.sha256()
    with reading(path) as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def writing(path: str, mode: int = 0o644) -> Iterator[BinaryIO]:
    """A binary file that appears at `path` whole when the block ends, and not at all if the block raises.

    Local: temporary file in the same folder, fsync, rename, fsync of the folder. Remote: temporary file here, then one
    put (an object is invisible before the put completes). mode: permission bits of a local file.
    """
    if is_local(path):
        target = Path(str(path).removeprefix("file://"))
        with _temporary(target.parent, target.name) as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
            os.replace(file.name, target)
        sync(target.parent)
        return
    with _temporary(Path(tempfile.gettempdir()), Path(str(path)).name) as file:
        yield file
        file.flush()
        make_folder(str(path).rpartition("/")[0])
        ask(path, lambda system, inner: system.put_file(file.name, inner), PATIENCE_S)


@contextmanager
def _temporary(folder: Path, name: str) -> Iterator[BinaryIO]:
    handle, temporary = tempfile.mkstemp(prefix=f"{TEMPORARY}{name}-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            # os.fdopen names a file by its number; the path is what rename and put need.
            yield _Named(file, temporary)
    finally:
        with suppress(FileNotFoundError):  # renamed: nothing to clear away
            os.unlink(temporary)


def is_leftover_name(name: str) -> bool:
    """True for the name of a file that is being written, or was by a process that died."""
    return _LEFTOVER.fullmatch(name) is not None


def is_leftover(path: Path) -> bool:
    """True for a file that a process which died was writing."""
    return is_leftover_name(path.name) and path.is_file() and not path.is_symlink()


def clear_leftovers(folder: Path) -> None:
    """Delete what processes that died left in a folder, and nothing else; nobody may be writing there."""
    for path in filter(is_leftover, list(folder.iterdir())):
        path.unlink(missing_ok=True)


class _Named:
    """A binary file that knows its path, and does not leave everything to fsync."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name, self._file = name, file
        self.flush, self.fileno, self.tell = file.flush, file.fileno, file.tell

    def write(self, block: bytes | memoryview) -> int:
        """As of any file; the disk begins with a large block while the caller goes on."""
        num_bytes = self._file.write(block)
        if num_bytes >= _LARGE_BYTES and hasattr(os, "posix_fadvise"):
            with suppress(OSError):  # no more than advice: Linux begins to write what is dirty
                os.posix_fadvise(self.fileno(), self.tell() - num_bytes, num_bytes, os.POSIX_FADV_DONTNEED)
        return num_bytes


def sync(path: Path) -> None:
    """fsync a local file, or a folder: after a rename it is the folder that must reach the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: str, content: bytes, mode: int = 0o644) -> None:
    """Write a file whole or not at all (see `writing`)."""
    with writing(path, mode) as file:
        file.write(content)


def write_parquet(path: str, table: "pyarrow.Table", mode: int = 0o644) -> str:
    """Write a table whole or not at all (see `writing`); returns its sha256."""
    import pyarrow
    import pyarrow.parquet

    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink)
    content = sink.getvalue().to_pybytes()
    write_atomic(path, content, mode)
    return hashlib.sha256(content).hexdigest()


def write_index(root: str, index: Index) -> None:
    """Write index.json, the mark of a finished shard set: call it last."""
    from radnet import __version__

    splits = {
        split: {
            "num_samples": sum(shard.num_samples for shard in shards),
            "shards": [asdict(shard) for shard in shards],
        }
        for split, shards in index.splits.items()
    }
    content = {
        "schema": SCHEMA,
        "radnet": __version__,
        "codec": index.codec,
        "splits": splits,
        "fingerprints": index.fingerprints,
        "totals": index.totals,
        "tables": index.tables,
    }
    write_atomic(join(root, "index.json"), seal(content))


def read_index(root: str) -> Index:
    """Read index.json of a shard set (folder or URL).

    Raises UsageError in one line where there is none (the set is not finished), where it is damaged, or where its
    schema is another.
    """
    path = join(root, "index.json")
    root, named = shown(root), shown(path)
    damaged = f"{named} is damaged; delete it and run `radnet shard CONFIG` again"
    try:
        content = read_bytes(path)
        schema = json.loads(content)["schema"]
    except FileNotFoundError:
        raise UsageError(
            f"{root} has no index.json: it is not a finished shard set; run `radnet shard CONFIG` (again) to finish it"
        ) from None
    except (UsageError, OSError):  # a store that is away has lost nothing
        raise
    except (ValueError, KeyError, TypeError):
        raise UsageError(damaged) from None
    if schema != SCHEMA:
        _refuse_schema(named, schema)
    try:
        values = unseal(content)
        splits = {name: [ShardInfo(**shard) for shard in split["shards"]] for name, split in values["splits"].items()}
        return Index(values["codec"], splits, *(dict(values[name]) for name in ("fingerprints", "totals", "tables")))
    except (KeyError, TypeError, AttributeError, ValueError):
        raise UsageError(damaged) from None


def _refuse_schema(path: str, schema: object) -> None:
    older = isinstance(schema, int) and schema < SCHEMA
    remedy = "make the set again with `radnet shard CONFIG` into a new folder" if older else "update radnet"
    raise UsageError(f"{path} has schema {schema!r}, this radnet reads {SCHEMA}; {remedy}")


def read_table(path: str, sha256: str = "") -> "pyarrow.Table":
    """A Parquet file, checked throughout. sha256: which it must have; "" = any. Raises FileNotFoundError, or ValueError
    in one line where it is damaged or another one."""
    import pyarrow
    import pyarrow.parquet

    content = read_bytes(path)
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"{shown(path)} is not the one index.json names")
    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(content))
        table.validate(full=True)
    except (pyarrow.ArrowException, OSError, ValueError) as error:  # of Arrow, for bytes that are no table
        raise ValueError(f"{shown(path)} is damaged ({' '.join(str(error).split())[:200]})") from None
    return table


def read_labels(root: str, sha256: str = "") -> "pyarrow.Table":
    """labels.parquet of a shard set: one row per sample. Raises UsageError where it is missing, damaged or another."""
    path = join(root, "labels.parquet")
    try:
        table = read_table(path, sha256)
    except FileNotFoundError:
        raise UsageError(f"{shown(path)} does not exist; run `radnet shard CONFIG` to finish the shard set") from None
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(f"{error}; delete it and run `radnet shard CONFIG` again") from None
    if missing := [name for name in LABEL_COLUMNS if name not in table.column_names]:
        raise UsageError(
            f"{shown(path)} has no column {', '.join(missing)}; delete it and run `radnet shard CONFIG` again"
        )
    return table
