"""The kinds of source an inventory is made of: the index of IDC, a manifest looked up in it, a folder, a URL."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radnet.config import load
from radnet.errors import UsageError
from radnet.shards.inventory import manifest, remote
from radnet.shards.inventory.corpus import Corpus, from_index
from radnet.shards.inventory.idc import open_index
from radnet.shards.inventory.options import InventoryConfig, ListedConfig
from radnet.shards.packed import how_to_unpack

Say = Callable[[str], None]
_SHOWN = 5


@dataclass(frozen=True)
class Made:
    """A corpus and what made it. title: one line for the manifest. problems: lines to print. extra: more of summary."""

    corpus: Corpus
    config: InventoryConfig
    title: str
    problems: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


def from_idc(config_path: str | None, overrides: Sequence[str], *, everything: bool) -> Made:
    """The corpus that a config draws from the whole index. Raises UsageError for a user's mistake."""
    config = load(InventoryConfig, config_path, overrides)
    index = open_index(config.index)
    corpus = from_index(index, config, everything=everything)
    return Made(corpus, config, f"radnet inventory --idc, index {index.version}", [], {"source": "idc"})


def from_source(
    source: str, config_path: str | None, overrides: Sequence[str], out: Path, say: Say, *, everything: bool
) -> Made:
    """The inventory of a folder, a URL or a manifest. Raises UsageError for a user's mistake."""
    config = load(ListedConfig, config_path, overrides)
    local = source.removeprefix("file://")
    if "://" in local:
        return _read(remote.from_url(source, config, say), config, "url")
    path = Path(local)
    if path.is_dir():
        return _read(remote.from_folder(path, config, out, say), config, "folder")
    _refuse(path, source)
    return _from_manifest(path, config, everything=everything)


def _read(corpus: Corpus, config: InventoryConfig, kind: str) -> Made:
    return Made(corpus, config, "", [], {"source": kind})


def _refuse(path: Path, source: str) -> None:
    if not path.exists():
        raise UsageError(f"source {source!r} does not exist; name a folder of DICOM, a URL or a manifest")
    with open(path, "rb") as file:
        how = how_to_unpack(path, file.read(512))
    if how:
        raise UsageError(f"source {source!r} is a packed file; unpack it and name the folder: {how}")
    if not manifest.is_manifest(path):
        raise UsageError(f"source {source!r} is no manifest; expected cp s3://… lines (s5cmd) or a .tcia file")


def _from_manifest(path: Path, config: InventoryConfig, *, everything: bool) -> Made:
    listed = manifest.parse(path)
    index = open_index(config.index)
    found = manifest.resolve(listed, index)
    if not len(found.rows):
        first = next(iter(listed.names))
        raise UsageError(f"{path} lists {len(listed.names)} series, none is in the index of IDC (first: {first})")
    problems = _problems(listed, found)
    extra = {
        "source": listed.kind,
        "manifest": {
            "series": len(listed.names),
            "lines": listed.num_lines,
            "bad_lines": [str(line) for line in listed.bad],
            "absent": found.absent,
            "revised": found.revised,
        },
    }
    title = f"radnet inventory of a {listed.kind} manifest, index {index.version}"
    return Made(from_index(index, config, everything=everything, rows=found.rows), config, title, problems, extra)


def _problems(listed: manifest.Listed, found: manifest.Resolved) -> list[str]:
    lines = [
        f"manifest ({listed.kind}): {listed.num_lines} lines, {len(listed.names)} series, {len(found.rows)} in IDC"
    ]
    if found.revised:
        lines.append(f"  {len(found.revised)} are of an earlier release of IDC; the series' present version is taken")
    lines += _some("not in the index of IDC", [f"line {line}: {name}" for name, line in found.absent.items()])
    return lines + _some("lines that name no series", [str(line) for line in listed.bad])


def _some(what: str, entries: Sequence[str]) -> list[str]:
    if not entries:
        return []
    more = [f"    … and {len(entries) - _SHOWN} more; summary.json lists all"] if len(entries) > _SHOWN else []
    return [f"  {what}, {len(entries)}:", *(f"    {entry}" for entry in entries[:_SHOWN]), *more]
