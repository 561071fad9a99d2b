"""Sources → what is to be read: files of folders and URLs, and of the series that a manifest or an inventory lists."""

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radnet.errors import UsageError
from radnet.shards.config import OF_ONE_PROCESS, ShardConfig, SourceConfig
from radnet.shards.guard import status_of
from radnet.shards.inventory import Origin, list_files, manifest
from radnet.shards.inventory.idc import lookup
from radnet.shards.ledger import SeriesError
from radnet.shards.nifti import Case, list_cases
from radnet.shards.privacy import PrivacyKey
from radnet.urls import PATIENCE_S, ask, is_local, is_public, shown

_LISTED_AT_ONCE = 32  # folders of a store
_FROM_INVENTORY = ["aws_bucket", "crdc_series_uuid", "collection_id", "license_short_name", "split", "selected"]


@dataclass(frozen=True)
class Listing:
    """Files of one origin. root: what names are relative to, of no meaning across machines. files: absolute paths or
    URLs, sorted. stamps: bytes and modification time in ns of each, -1 where not known. cases: of a NIfTI source."""

    origin: Origin
    root: str
    files: list[str]
    stamps: list[list[int]]
    kind: str = "dicom"
    cases: list[Case] = field(default_factory=list)


def list_sources(config: ShardConfig, key: PrivacyKey) -> list[Listing]:
    """Every file of every source, a file in two sources once.

    Raises UsageError for a source that is nothing to read, for one that holds `out` or lies in it, and for NIfTI cases
    that share a name or whose names the public key must not hash.
    """
    seen: set[str] = set()
    listings: list[Listing] = []
    for source in config.sources:
        for listing in _list(source, config.out):
            fresh = [number for number, file in enumerate(listing.files) if file not in seen]
            cases = [case for case in listing.cases if str(case.image) not in seen]
            files = [listing.files[number] for number in fresh]
            seen.update(files)
            stamps = [listing.stamps[number] for number in fresh]
            listings.append(Listing(listing.origin, listing.root, files, stamps, listing.kind, cases))
    if not seen:
        raise UsageError(f"no file in {', '.join(shown(one.path) for one in config.sources)}; nothing to read")
    _refuse_case_names(listings, key)
    return listings


def _list(source: SourceConfig, out: str) -> list[Listing]:
    origin = Origin(source.collection, source.licence, source.doi)
    path = source.path.removeprefix("file://")
    if not is_local(path):
        if source.kind != "dicom":
            raise UsageError(
                f"source {shown(path)} is of kind {source.kind}, which is read from local folders; copy it"
            )
        if not is_local(out) and (f"{out}/".startswith(f"{path.rstrip('/')}/") or f"{path}/".startswith(f"{out}/")):
            raise UsageError(f"source {shown(path)} and out {shown(out)} lie in each other; keep them apart")
        return [of_url(path, origin)]
    if os.path.isfile(path):
        return of_manifest(Path(path), origin)
    folder = os.path.realpath(path)
    if not os.path.isdir(folder):
        raise UsageError(f"source {source.path!r} is not a folder; expected an archive of DICOM or NIfTI files")
    if is_local(out):
        _keep_apart(Path(os.path.realpath(out.removeprefix("file://"))), Path(folder), source.path, out)
    if source.kind == "nifti":
        cases = list_cases(Path(folder))
        files = [str(file) for case in cases for file in (case.image, case.mask)]
        return [Listing(origin, folder, files, [stamp(file) for file in files], "nifti", cases)]
    return [of_folder(folder, origin)]


def _keep_apart(out: Path, folder: Path, named: str, out_named: str) -> None:
    if out.is_relative_to(folder) or folder.is_relative_to(out):
        inner, outer = ("out", "source") if out.is_relative_to(folder) else ("source", "out")
        raise UsageError(f"{inner} lies inside {outer} ({named!r}, out {out_named!r}); keep them apart")


def of_folder(folder: str, origin: Origin) -> Listing:
    """All files of a local folder."""
    files = list_files(folder)
    return Listing(origin, folder, files, [stamp(file) for file in files])


def stamp(file: str) -> list[int]:
    """Bytes and modification time in ns; -1 for a broken link, of which its own row in the ledger will tell."""
    try:
        status = status_of(file)
    except SeriesError:
        return [-1, -1]
    return [status.st_size, status.st_mtime_ns]


def of_url(url: str, origin: Origin) -> Listing:
    """All files below a URL; IDC's buckets are public archives. Raises UsageError where nothing can be listed."""
    found = _find(url)
    if not found:
        raise UsageError(f"source {shown(url)} holds no file; check the URL")
    origin = origin._replace(is_public=is_public(url))
    return Listing(origin, url, list(found), list(found.values()))


def _find(url: str, patience_s: float = 0.0) -> dict[str, list[int]]:
    if url.startswith(OF_ONE_PROCESS):
        raise UsageError(f"source {shown(url)} exists in one process alone; name a store that every worker reaches")
    if "::" in url:
        raise UsageError(f"source {shown(url)} is a chain of stores; unpack it and name one")
    try:
        found = ask(url, lambda system, inner: (inner, system.find(inner, detail=True)), patience_s)
    except (OSError, ValueError) as error:  # a refusal, a wrong name, a dead network
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"source {shown(url)} cannot be listed ({type(error).__name__}); check the URL") from None
    inner, infos = found
    # By what the user wrote, for a file system's own names lack host and user.
    base, skipped = url.rstrip("/"), len(inner.rstrip("/"))
    files = {base + name[skipped:]: info for name, info in infos.items() if info.get("type") != "directory"}
    return {name: stamp_of(info) for name, info in sorted(files.items())}


def stamp_of(info: dict[str, Any]) -> list[int]:
    """Bytes and modification time in ns as a store gives them, -1 where it does not."""
    size = info.get("size")
    time = next((info[name] for name in ("LastModified", "mtime", "updated", "last_modified") if info.get(name)), None)
    seconds = time.timestamp() if hasattr(time, "timestamp") else time
    # Whole seconds: stores that list milliseconds leave them out when they are asked for one file.
    return [-1 if size is None else int(size), int(seconds) * 10**9 if isinstance(seconds, int | float) else -1]


def of_manifest(path: Path, origin: Origin) -> list[Listing]:
    """The files of the series that an s5cmd or .tcia manifest, or inventory.parquet, lists.

    Collection, licence and DOI of a series come from the index of IDC where that is installed and has it, else from
    `origin`. Raises UsageError for a file that is none of these, and for a series that no place is known of.
    """
    places = _of_inventory(path, origin) if path.suffix == ".parquet" else _of_lines(path, origin)
    with ThreadPoolExecutor(_LISTED_AT_ONCE) as pool:
        found = list(pool.map(lambda url: _find(url, PATIENCE_S), places))
    by_origin: dict[Origin, dict[str, list[int]]] = {}
    for (url, of), files in zip(places.items(), found, strict=True):
        if not files:
            raise UsageError(f"{path} lists {shown(url)}, which holds no file; take it out of the manifest")
        by_origin.setdefault(of, {}).update(files)
    return [Listing(of, "", list(files), list(files.values())) for of, files in by_origin.items()]


def _of_lines(path: Path, origin: Origin) -> dict[str, Origin]:
    if not manifest.is_manifest(path):
        raise UsageError(
            f"source {str(path)!r} is no folder, and no manifest; expected cp s3://… lines (s5cmd), a .tcia file or "
            "inventory.parquet"
        )
    listed = manifest.parse(path)
    # Portals put lines of their own above the list; a line that should copy something and does not is another matter.
    if broken := [line for line in listed.bad if line.why != manifest.NO_COPY]:
        raise UsageError(f"{path}: {broken[0]}; mend or remove the line")
    known = lookup("crdc_series_uuid" if listed.kind == "s5cmd" else "SeriesInstanceUID", listed.names)
    urls = listed.urls | {
        name: f"s3://{row['aws_bucket']}/{row['crdc_series_uuid']}/"
        for name, row in known.items()
        if name not in listed.urls
    }
    if missing := [name for name in listed.names if name not in urls]:
        raise UsageError(
            f"{path} line {listed.names[missing[0]]}: {missing[0]} is not in the index of IDC, nor are "
            f"{len(missing) - 1} others; take them out (pip install idc-index-data if it is not installed)"
        )
    return {
        urls[name]: _origin(known.get(name), origin._replace(is_public=is_public(urls[name]))) for name in listed.names
    }


def _of_inventory(path: Path, origin: Origin) -> dict[str, Origin]:
    from radnet.store import read_table

    try:
        table = read_table(str(path))
        rows = table.select(_FROM_INVENTORY).to_pylist()
    except (ValueError, KeyError) as error:
        said = " ".join(str(error).split())[:200]
        raise UsageError(f"{path} is no inventory of IDC ({said}); make one with `radnet inventory --idc`") from None
    known = lookup("crdc_series_uuid", [row["crdc_series_uuid"] for row in rows if row["selected"]])
    places: dict[str, Origin] = {}
    for row in (row for row in rows if row["selected"]):
        url = f"s3://{row['aws_bucket']}/{row['crdc_series_uuid']}/"
        otherwise = origin._replace(is_public=is_public(url))
        places[url] = _origin(known.get(row["crdc_series_uuid"], row), otherwise)._replace(split=row["split"] or "")
    return places


def _origin(row: dict[str, Any] | None, otherwise: Origin) -> Origin:
    if row is None:
        return otherwise
    return Origin(
        collection=row["collection_id"],
        licence=row["license_short_name"] or "",
        doi=row.get("source_DOI") or "",
        release=row.get("release") or "",
        is_public=otherwise.is_public,
    )


def _refuse_case_names(listings: Sequence[Listing], key: PrivacyKey) -> None:
    named = [(listing.origin.collection, case) for listing in listings for case in listing.cases]
    if len({(collection, case.name) for collection, case in named}) < len(named):
        raise UsageError("two NIfTI sources of one collection hold a case of the same name; give each its collection")
    if key.is_public and not all(re.fullmatch(r"volume-\d{1,4}\.nii(\.gz)?", case.image.name) for _, case in named):
        raise UsageError(
            "the public privacy key is for public archives, and a NIfTI case is not named volume-N.nii with a short N; "
            "set privacy.key to a file"
        )
