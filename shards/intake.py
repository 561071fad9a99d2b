"""Sources → rows of the inventory: which files there are, what their headers say, and where that is kept in private."""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radnet import store
from radnet.errors import UsageError
from radnet.shards import actors
from radnet.shards.config import ShardConfig, SourceConfig, fingerprint, settings
from radnet.shards.dicom import read_header
from radnet.shards.inventory import from_table, group, list_files, private_map, to_table
from radnet.shards.inventory.row import Row
from radnet.shards.ledger import Code
from radnet.shards.nifti import list_cases
from radnet.shards.privacy import PrivacyKey
from radnet.shards.record import FileRecord

Say = Callable[[str], None]
HEADERS_PER_CHUNK = 256
PRIVATE = "private"


@dataclass(frozen=True)
class Listing:
    """One source and its files, absolute and sorted."""

    source: SourceConfig
    files: list[str]


def list_sources(config: ShardConfig) -> list[Listing]:
    """Every file of every source, a file in two sources once. Raises UsageError for a source that is no folder."""
    seen: set[str] = set()
    listings: list[Listing] = []
    for source in config.sources:
        folder = Path(source.path)
        if not folder.is_dir():
            raise UsageError(f"source {source.path!r} is not a folder; expected an archive of DICOM or NIfTI files")
        if Path(config.out).resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"out {config.out!r} lies inside source {source.path!r}; name a folder outside of it")
        files = [file for file in _files_of(source) if file not in seen]
        seen.update(files)
        listings.append(Listing(source, files))
    if not seen:
        raise UsageError(f"no file in {', '.join(source.path for source in config.sources)}; nothing to shard")
    return listings


def _files_of(source: SourceConfig) -> list[str]:
    folder = Path(source.path).resolve()
    if source.kind == "nifti":
        return [str(file) for case in list_cases(folder) for file in (case.image, case.mask)]
    return list_files(str(folder))


def fingerprints(listings: Sequence[Listing], config: ShardConfig, key: PrivacyKey) -> dict[str, str]:
    """What a shard set depends on: names and sizes of the files, the settings, and the privacy key."""
    entries = []
    for listing in listings:
        folder = Path(listing.source.path).resolve()
        entries.append([[os.path.relpath(file, folder), _size(file)] for file in listing.files])
    return {
        "inventory": fingerprint(entries),
        "config": fingerprint(settings(config)),
        "privacy_key": key.fingerprint,
    }


def _size(file: str) -> int:
    try:
        return os.stat(file).st_size
    except OSError:  # a broken link; its own row in the ledger will say so
        return -1


def refuse_changes(out: Path, prints: dict[str, str], config: ShardConfig) -> None:
    """Raise UsageError that says what changed since `out` was begun."""
    try:
        before = json.loads((out / PRIVATE / "run.json").read_text())
    except FileNotFoundError:
        return
    except ValueError:
        raise UsageError(
            f"{out / PRIVATE / 'run.json'} is damaged; delete {out} or name another folder as out"
        ) from None
    old, new = before["settings"], settings(config)
    changed = [f"{name} was {old.get(name)!r}, is now {new[name]!r}" for name in new if old.get(name) != new[name]]
    if before["fingerprints"]["inventory"] != prints["inventory"]:
        changed.append("files of the sources were added, removed or replaced")
    if before["fingerprints"]["privacy_key"] != prints["privacy_key"]:
        changed.append("privacy.key is another key")
    if changed:
        raise UsageError(
            f"{out} was begun with other inputs: {'; '.join(changed)}; change it back or name a new folder as out"
        )


def saved_rows(out: Path) -> list[Row] | None:
    """The inventory an earlier run of the same inputs left, or None."""
    import pyarrow.parquet

    if not (out / PRIVATE / "run.json").is_file():
        return None
    return from_table(pyarrow.parquet.read_table(out / PRIVATE / "inventory.parquet"))


def save(out: Path, rows: Sequence[Row], prints: dict[str, str], config: ShardConfig) -> None:
    """Keep the inventory and the map from keys to names, readable by their owner only; run.json last."""
    import pyarrow
    import pyarrow.parquet

    for name, table in (("inventory", to_table(rows)), ("map", private_map(rows))):
        sink = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(table, sink)
        store.write_atomic(str(out / PRIVATE / f"{name}.parquet"), sink.getvalue().to_pybytes(), 0o600)
    content: dict[str, Any] = {"fingerprints": prints, "settings": settings(config)}
    store.write_atomic(str(out / PRIVATE / "run.json"), json.dumps(content, indent=1).encode(), 0o600)


def read_rows(listings: Sequence[Listing], key: PrivacyKey, num_workers: int, say: Say) -> list[Row]:
    """Read every header and group files to series. Raises UsageError where no source holds an image.

    A series that lies in several sources belongs to the first.
    """
    rows: dict[str, Row] = {}
    for listing in listings:
        if listing.source.kind == "nifti":
            found = list(_case_rows(listing, key))
        else:
            records = _read_headers(listing.files, num_workers, say)
            source = listing.source
            found = group(records, key, collection=source.collection, licence=source.licence)
        for row in found:
            rows.setdefault(row.series_key, row)
    if all(row.code == Code.NOT_DICOM for row in rows.values()):
        sources = ", ".join(listing.source.path for listing in listings)
        raise UsageError(f"no DICOM file in {sources}; nothing to shard")
    return sorted(rows.values(), key=lambda row: row.series_key)


def _read_headers(files: Sequence[str], num_workers: int, say: Say) -> list[FileRecord]:
    start, done = time.monotonic(), 0

    def progress(num: int) -> None:
        nonlocal done
        done += num
        say(f"headers {done}/{len(files)}  {done / (time.monotonic() - start):.0f}/s")

    size = min(HEADERS_PER_CHUNK, -(-len(files) // (4 * num_workers)) or 1)
    chunks = [files[at : at + size] for at in range(0, len(files), size)]
    crashed = FileRecord(path="", code=Code.DECODER_CRASH)
    records = actors.run_tasks(read_header, chunks, crashed, num_workers, progress)
    return [
        record if record.path else FileRecord(path=file, code=record.code, detail=record.detail)
        for file, record in zip(files, records, strict=True)
    ]


def _case_rows(listing: Listing, key: PrivacyKey) -> Iterator[Row]:
    source = listing.source
    for case in list_cases(source.path):
        name = f"{source.collection}/{case.name}"
        files = [str(Path(file).resolve()) for file in (case.image, case.mask)]
        yield Row(
            series_key=key.hash("series", name),
            study_key=key.hash("study", name),
            patient_key=key.hash("patient", name),
            kind="nifti",
            collection=source.collection,
            licence=source.licence,
            files=files,
            num_bytes=sum(map(_size, files)),
            header={"collection": source.collection},
            slices=[],
            code=Code.OK,
            detail="",
            private={"series_uid": case.name, "study_uid": "", "patient_id": "", "folder": str(Path(files[0]).parent)},
        )
