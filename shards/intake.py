"""Sources → rows of the inventory: which files there are, what their headers say, and where that is kept in private."""

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radnet import store
from radnet.errors import UsageError
from radnet.shards import actors, packed
from radnet.shards.config import ShardConfig, SourceConfig, fingerprint, settings
from radnet.shards.dicom import read_header
from radnet.shards.guard import status_of
from radnet.shards.inventory import Archive, from_table, group_all, list_files, private_map, to_table
from radnet.shards.inventory.row import Row
from radnet.shards.ledger import Code, SeriesError
from radnet.shards.nifti import Case, list_cases
from radnet.shards.privacy import PrivacyKey
from radnet.shards.record import FileRecord

Say = Callable[[str], None]
HEADERS_PER_CHUNK = 256
PRIVATE = "private"
PUBLIC_PRINTS = ("inventory", "config", "privacy_key")  # the fingerprints that index.json quotes
_OWN = ("lock", "inventory.parquet", "map.parquet", "run.json")  # what radnet keeps in private/


@dataclass(frozen=True)
class Listing:
    """One source and its files, absolute and sorted. cases: the pairs that the files of a NIfTI source make."""

    source: SourceConfig
    files: list[str]
    cases: list[Case]


def list_sources(config: ShardConfig, key: PrivacyKey) -> list[Listing]:
    """Every file of every source, a file in two sources once.

    Raises UsageError for a source that is no folder, for one that holds `out` or lies in it, and for NIfTI cases that
    share a name or whose names the public key must not hash.
    """
    seen: set[str] = set()
    listings: list[Listing] = []
    out = Path(os.path.realpath(config.out))
    for source in config.sources:
        folder = Path(os.path.realpath(source.path))
        if not folder.is_dir():
            raise UsageError(f"source {source.path!r} is not a folder; expected an archive of DICOM or NIfTI files")
        if out.is_relative_to(folder) or folder.is_relative_to(out):
            inner, outer = ("out", "source") if out.is_relative_to(folder) else ("source", "out")
            raise UsageError(f"{inner} lies inside {outer} ({source.path!r}, out {config.out!r}); keep them apart")
        cases = list_cases(folder) if source.kind == "nifti" else []
        cases = [case for case in cases if str(case.image) not in seen]
        files = [str(file) for case in cases for file in (case.image, case.mask)]
        if source.kind != "nifti":
            files = [file for file in list_files(str(folder)) if file not in seen]
        seen.update(files)
        listings.append(Listing(source, files, cases))
    if not seen:
        raise UsageError(f"no file in {', '.join(source.path for source in config.sources)}; nothing to read")
    _refuse_case_names(listings, key)
    return listings


def _refuse_case_names(listings: Sequence[Listing], key: PrivacyKey) -> None:
    named = [(listing.source.collection, case) for listing in listings for case in listing.cases]
    if len({(collection, case.name) for collection, case in named}) < len(named):
        raise UsageError("two NIfTI sources of one collection hold a case of the same name; give each its collection")
    if key.is_public and not all(re.fullmatch(r"volume-\d{1,4}\.nii(\.gz)?", case.image.name) for _, case in named):
        raise UsageError(
            "the public privacy key is for public archives, and a NIfTI case is not named volume-N.nii with a short N; "
            "set privacy.key to a file"
        )


def fingerprints(listings: Sequence[Listing], config: ShardConfig, key: PrivacyKey) -> dict[str, str]:
    """What a shard set depends on: names and sizes of the files, the settings, and the privacy key; under "times" when
    the files were modified, which is nobody else's business."""
    entries, times = [], []
    for listing in listings:
        folder = os.path.realpath(listing.source.path)
        stamps = [_stamp(file) for file in listing.files]
        names = [os.path.relpath(file, folder) for file in listing.files]
        entries.append([[name, size] for name, (size, _) in zip(names, stamps, strict=True)])
        times.append([mtime_ns for _, mtime_ns in stamps])
    return {
        "inventory": fingerprint(entries),
        "config": fingerprint(settings(config)),
        "privacy_key": key.fingerprint,
        "times": fingerprint(times),
    }


def _stamp(file: str) -> list[int]:
    """Bytes and modification time in ns; -1 for a broken link, of which its own row in the ledger will tell."""
    try:
        status = status_of(file)
    except SeriesError:
        return [-1, -1]
    return [status.st_size, status.st_mtime_ns]


def refuse_foreign(out: Path) -> None:
    """Raise UsageError for a folder that holds anything but a shard set begun by radnet, before it is written to."""
    if not out.exists() or (out / PRIVATE / "run.json").is_file():
        return
    others = [path for path in out.iterdir() if path.name != PRIVATE]
    if (out / PRIVATE).is_dir():
        others += [path for path in (out / PRIVATE).iterdir() if path.name not in _OWN and not store.is_leftover(path)]
    if others:
        raise UsageError(f"{out} is not empty and not a shard set begun by radnet; name another folder as out")


def refuse_changes(out: Path, prints: dict[str, str], config: ShardConfig) -> None:
    """Raise UsageError that says what changed since `out` was begun."""
    new = settings(config)
    try:
        before = json.loads((out / PRIVATE / "run.json").read_text("utf-8"))
        old = dict(before["settings"])
        old_prints = {name: before["fingerprints"][name] for name in prints}
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError):
        raise UsageError(
            f"{out / PRIVATE / 'run.json'} is damaged; delete {out} or name another folder as out"
        ) from None
    changed = [f"{name} was {old.get(name)!r}, is now {new[name]!r}" for name in new if old.get(name) != new[name]]
    if any(old_prints[name] != prints[name] for name in ("inventory", "times")):
        changed.append("files of the sources were added, removed or replaced")
    if old_prints["privacy_key"] != prints["privacy_key"]:
        changed.append("privacy.key is another key")
    if changed:
        raise UsageError(
            f"{out} was begun with other inputs: {'; '.join(changed)}; change it back or name a new folder as out"
        )


def saved_rows(out: Path, listings: Sequence[Listing]) -> list[Row] | None:
    """The inventory an earlier run of the same inputs left; None where there is none of these very files, or a damaged
    one."""
    if not all((out / PRIVATE / name).is_file() for name in ("run.json", "map.parquet")):
        return None
    try:
        rows = from_table(store.read_table(str(out / PRIVATE / "inventory.parquet")))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    listed = {file for listing in listings for file in listing.files}
    return rows if listed == {file for row in rows for file in row.files} else None


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
    """Read every header and group files to series. Raises UsageError where no source holds an image."""
    rows = [row for listing in listings for row in _case_rows(listing, key)]
    archives = []
    for listing in listings:
        if listing.source.kind == "dicom":
            records = _read_headers(listing.files, num_workers, say)
            archives.append(Archive(records, listing.source.collection, listing.source.licence))
    rows += group_all(archives, key)
    if all(row.code == Code.NOT_DICOM for row in rows):
        sources = ", ".join(listing.source.path for listing in listings)
        num_packed = sum(bool(packed.how_of(row.detail)) for row in rows)
        hint = f"{num_packed} packed files: unpack them first" if num_packed else "name a folder of DICOM files"
        raise UsageError(f"no DICOM file in {sources}; {hint}")
    return sorted(rows, key=lambda row: row.key)


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
    for case in listing.cases:
        name = f"{source.collection}/{case.name}"
        files = [str(case.image), str(case.mask)]
        yield Row(
            series_key=key.hash("series", name),
            study_key=key.hash("study", name),
            patient_key=key.hash("patient", name),
            kind="nifti",
            collection=source.collection,
            licence=source.licence,
            files=files,
            num_files=len(files),
            stamps=[_stamp(file) for file in files],
            header={"collection": source.collection},
            slices=[],
            code=Code.OK,
            detail="",
            private={"series_uid": case.name, "study_uid": "", "patient_id": "", "folder": str(case.image.parent)},
        )
