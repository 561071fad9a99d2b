"""Lists of series to fetch: s5cmd manifests of IDC and `.tcia` manifests, read and resolved; the former written too."""

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radnet.errors import UsageError
from radnet.shards.inventory.idc import IdcIndex, current_uuids

if TYPE_CHECKING:
    import pyarrow

TCIA_LIST = "ListOfSeriesToDownload"
NO_COPY = "not a cp line"
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_SOURCE = re.compile(r"(?:s3|gs)://[^/\s]+/(.*)", re.IGNORECASE)
_UID = re.compile(r"[0-2](?:\.\d{1,62})+")
_MAX_UID = 64
_MAX_BYTES = 500_000_000


@dataclass(frozen=True)
class BadLine:
    """A line that names no series. number: from 1."""

    number: int
    text: str
    why: str

    def __str__(self) -> str:
        return f"line {self.number}: {self.why}: {self.text}"


@dataclass(frozen=True)
class Listed:
    """What a manifest lists. kind: "s5cmd" or "tcia". names: the series' UUIDs (s5cmd) or SeriesInstanceUIDs (tcia),
    once each, in order, with the number of the first line that names each. num_lines: that name a series. urls: of
    s5cmd series, the folders that their lines copy."""

    kind: str
    names: dict[str, int]
    num_lines: int
    bad: list[BadLine] = field(default_factory=list)
    urls: dict[str, str] = field(default_factory=dict)


def is_manifest(path: Path) -> bool:
    """True where a file is a manifest by its name, or by the first lines of its content."""
    if path.suffix.lower() in (".s5cmd", ".tcia"):
        return True
    with open(path, "rb") as file:
        start = _decode(file.read(1 << 16))
    return TCIA_LIST in start or bool(_SOURCE.search(start)) and "\0" not in start


def parse(path: Path) -> Listed:
    """Read a manifest. Raises UsageError where no line of it names a series."""
    if path.stat().st_size > _MAX_BYTES:
        raise UsageError(f"{path} is larger than {_MAX_BYTES // 10**6} MB, no manifest is; name a manifest")
    text = _decode(path.read_bytes())
    listed = _parse_tcia(text) if TCIA_LIST in text or path.suffix.lower() == ".tcia" else _parse_s5cmd(text)
    if not listed.names:
        expected = f"UIDs below {TCIA_LIST}=" if listed.kind == "tcia" else "lines like cp s3://BUCKET/UUID/* ."
        first = f"; {listed.bad[0]}" if listed.bad else ""
        raise UsageError(f"{path} lists no series; expected {expected}{first}")
    return listed


def _decode(content: bytes) -> str:
    """Text of a manifest, whatever a portal or an editor made of it."""
    is_wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    return content.decode("utf-16" if is_wide else "utf-8-sig", "replace")


def _parse_s5cmd(text: str) -> Listed:
    names: dict[str, int] = {}
    urls: dict[str, str] = {}
    bad, num_lines = [], 0
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip().lstrip("\ufeff")
        if not line or line.startswith("#"):
            continue
        uuid, told = _s5cmd_series(line)
        if uuid is None:
            bad.append(BadLine(number, line[:80], told))
            continue
        num_lines += 1
        names.setdefault(uuid, number)
        urls.setdefault(uuid, told)
    return Listed("s5cmd", names, num_lines, bad, urls)


def _s5cmd_series(line: str) -> tuple[str | None, str]:
    """The UUID of the series that one line copies and the URL of its folder, or None and why there is none."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        words = line.replace('"', " ").replace("'", " ").split()
    if not any(word in ("cp", "sync") for word in words) and not _SOURCE.match(words[0] if words else ""):
        return None, NO_COPY
    found = [match for match in map(_SOURCE.fullmatch, words) if match]
    if not found:
        return None, "no s3:// source"
    # BUCKET/UUID/* and BUCKET/UUID/INSTANCE.dcm: the folder is the series, the file is one of its instances.
    folders = found[0][1].rstrip("*").split("/")
    uuids = [part for part in folders if _UUID.fullmatch(part)]
    if not uuids:
        return None, "no UUID of a series in its source"
    return uuids[0].lower(), found[0][0].partition(uuids[0])[0] + uuids[0] + "/"


def _parse_tcia(text: str) -> Listed:
    names: dict[str, int] = {}
    bad, num_lines, in_list = [], 0, False
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip().lstrip("\ufeff")
        if line.replace(" ", "").startswith(f"{TCIA_LIST}="):
            in_list, line = True, line.partition("=")[2].strip()
        if not line or line.startswith("#") or (not in_list and "=" in line):
            continue
        if not in_list:
            bad.append(BadLine(number, line[:80], f"before {TCIA_LIST}= and not KEY=VALUE"))
        elif not _UID.fullmatch(line) or len(line) > _MAX_UID:
            bad.append(BadLine(number, line[:80], "not a UID"))
        else:
            num_lines += 1
            names.setdefault(line, number)
    return Listed("tcia", names, num_lines, bad)


@dataclass(frozen=True)
class Resolved:
    """The rows of the index that a manifest lists, in the order of the index. absent: names that no row has, with
    their lines. revised: UUIDs of earlier releases, whose series have a newer version."""

    rows: np.ndarray
    absent: dict[str, int]
    revised: dict[str, str]


def resolve(listed: Listed, index: IdcIndex) -> Resolved:
    """Look a manifest's series up in the index of IDC."""
    column = "crdc_series_uuid" if listed.kind == "s5cmd" else "SeriesInstanceUID"
    found = _rows(index, column, listed.names)
    missing = {name: line for name, line in listed.names.items() if name not in found}
    revised: dict[str, str] = {}
    if missing and listed.kind == "s5cmd":
        series_of = current_uuids(index, list(missing))
        now = _rows(index, "SeriesInstanceUID", series_of.values())
        revised = {uuid: uid for uuid, uid in series_of.items() if uid in now}
        found |= {uuid: now[uid] for uuid, uid in revised.items()}
        missing = {name: line for name, line in missing.items() if name not in revised}
    return Resolved(np.unique(np.array(sorted(found.values()), np.int64)), missing, revised)


def _rows(index: IdcIndex, column: str, names: Iterable[str]) -> dict[str, int]:
    import pyarrow
    import pyarrow.compute

    values = index.series[column]
    wanted = pyarrow.array(list(names), values.type)
    at = pyarrow.compute.indices_nonzero(pyarrow.compute.is_in(values, wanted)).to_numpy()
    return dict(zip(values.take(pyarrow.array(at)).to_pylist(), at.tolist(), strict=True))


def write_s5cmd(series: "pyarrow.Table", title: str) -> bytes:
    """A manifest that fetches `series` (columns aws_bucket and crdc_series_uuid) into the current folder with
    `s5cmd --no-sign-request --endpoint-url https://s3.amazonaws.com run FILE`."""
    lines = [f"# {title}", "# s5cmd --no-sign-request --endpoint-url https://s3.amazonaws.com run manifest.s5cmd"]
    pairs = zip(series["aws_bucket"].to_pylist(), series["crdc_series_uuid"].to_pylist(), strict=True)
    return "\n".join([*lines, *(f"cp s3://{bucket}/{uuid}/* ." for bucket, uuid in pairs), ""]).encode()
