"""Is a shard set as it was written, and does all of it agree? One line for everything that is not so.

Memory holds one block of a tar at a time, and the tables.
"""

import hashlib
import json
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from radnet import idx, store
from radnet.errors import UsageError
from radnet.shards import ledger
from radnet.shards.codec import SUFFIX
from radnet.shards.ledger import Status
from radnet.shards.write import Sidecar, read_sidecar

_BLOCK_BYTES = 1 << 20
Show = Callable[[str], None]
_OWN = ("index.json", "run.json", "plan.parquet", *store.TABLES)
_DAMAGE = (tarfile.TarError, OSError, EOFError, ValueError)


@dataclass(frozen=True)
class _Tar:
    """What a tar holds: hash and bytes of all of it, its samples' lines of the .idx, and (name, crc32) of members."""

    sha256: str
    num_bytes: int
    lines: list[str]
    members: list[tuple[str, int]]
    problem: str = ""


def check(root: str, show: Show) -> Iterator[str]:
    """One line for everything in the shard set (folder or URL) that is not as index.json, the sidecars and the tables
    say. show: takes lines of progress. Raises UsageError where there is no index.json, or a damaged one."""
    index = store.read_index(root)
    infos = [(split, info) for split, shards in index.splits.items() for info in shards]
    yield from _check_index(index)
    yield from _check_tables(root, index)
    labels: dict[str, list[dict[str, Any]]] = {}
    try:
        labels = _labels(root)
    except UsageError as error:
        yield str(error)
    yield from _check_splits([row for rows in labels.values() for row in rows])
    sidecars: list[Sidecar] = []
    total = sum(info.num_bytes for _, info in infos)
    done = 0
    for number, (split, info) in enumerate(infos):
        show(f"{info.name}  shards {number}/{len(infos)}  {done / 1e6:.0f} of {total / 1e6:.0f} MB")
        rows = labels.pop(info.name, [])
        sidecar = read_sidecar(store.join(root, info.name))
        if sidecar is None or sidecar.info != info:
            yield f"{info.name}.json: missing, damaged or not the one index.json was made from"
        else:
            sidecars.append(sidecar)
            yield from _check_labels(split, sidecar, rows)
        yield from _check_shard(root, info, rows)
        done += info.num_bytes
    for name in labels:
        yield f"labels.parquet: shard {name} is not in index.json"
    yield from _check_ledger(root, index, [*sidecars, *_empty(root, index).values()])


def strays(root: str) -> list[str]:
    """Names of the files directly in a shard set that are not of it, sorted."""
    index = store.read_index(root)
    names = [info.name for shards in index.splits.values() for info in shards]
    own = {*_OWN, *(f"{name}.{suffix}" for name in names for suffix in ("tar", "idx", "json"))}
    own |= {f"{name}.json" for name in _empty(root, index)}
    return sorted(store.sizes(root).keys() - own)


def _empty(root: str, index: store.Index) -> dict[str, Sidecar]:
    """The sidecars of shards all of whose series failed: index.json does not name them."""
    known = {info.name for shards in index.splits.values() for info in shards}
    stems = [name.removesuffix(".json") for name in sorted(store.sizes(root)) if name.endswith(".json")]
    found = {stem: read_sidecar(store.join(root, stem)) for stem in stems if stem not in known and stem != "index"}
    return {stem: one for stem, one in found.items() if one and one.info.name == stem and one.info.num_samples == 0}


def _check_index(index: store.Index) -> Iterator[str]:
    infos = [info for shards in index.splits.values() for info in shards]
    if index.codec not in SUFFIX:
        yield f"index.json: codec is {index.codec!r}, expected one of {', '.join(SUFFIX)}"
    if len({info.name for info in infos}) != len(infos):
        yield "index.json: names a shard twice"
    if index.totals.get("num_bytes") != sum(info.num_bytes for info in infos):
        yield "index.json: the bytes of its shards do not add up to its total"


def _check_tables(root: str, index: store.Index) -> Iterator[str]:
    for name in dict.fromkeys((*store.TABLES, *index.tables)):
        yield from _check_hash(root, name, index.tables.get(name, ""))


def _check_hash(root: str, name: str, digest: str) -> Iterator[str]:
    try:
        found = store.sha256(store.join(root, name))
    except OSError as error:
        yield f"{name}: missing" if isinstance(error, FileNotFoundError) else f"{name}: cannot be read ({error})"
        return
    if found != digest:
        yield f"{name}: its content has changed since it was written"


def _labels(root: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of labels.parquet by shard, in order of position; "members" is crc32 parsed. Raises UsageError where
    damaged."""
    labels: dict[str, list[dict[str, Any]]] = {}
    try:
        for row in store.read_labels(root).to_pylist():
            row["members"] = dict(json.loads(row["crc32"]))
            labels.setdefault(row["shard"], []).append(row)
        return {name: sorted(rows, key=lambda row: row["position"]) for name, rows in labels.items()}
    except UsageError:
        raise
    except (TypeError, ValueError) as error:
        raise UsageError(f"{store.join(root, 'labels.parquet')} is damaged ({error})") from None


def _check_splits(rows: list[dict[str, Any]]) -> Iterator[str]:
    """No patient, and no image under two names, may be in two splits: what is learnt from one would be known in the
    other."""
    for column, what in (("patient_key", "patient"), ("pixel_hash", "image of the same pixels")):
        splits: dict[str, set[str]] = {}
        for row in rows:
            if value := row.get(column):
                splits.setdefault(value, set()).add(str(row["split"]))
        shared = sorted(value for value, found in splits.items() if len(found) > 1)
        if shared:
            where = " and ".join(sorted(splits[shared[0]]))
            yield f"labels.parquet: {len(shared)} times a {what} is in two splits, first {shared[0]} in {where}"


def _check_labels(split: str, sidecar: Sidecar, rows: list[dict[str, Any]]) -> Iterator[str]:
    """Compare what decides where a sample is and who it is with what the shard's writer noted."""
    name = sidecar.info.name
    found, noted = ([[row[name] for name in store.LABEL_COLUMNS] for row in table] for table in (rows, sidecar.labels))
    if found != noted:
        yield f"labels.parquet: rows of {name} are not those of {name}.json"
    if any(row["split"] != split for row in rows):
        yield f"labels.parquet: samples of {name} are not in split {split}"


def _check_shard(root: str, info: store.ShardInfo, rows: list[dict[str, Any]]) -> Iterator[str]:
    yield from _check_hash(root, f"{info.name}.idx", info.sha256_idx)
    name = f"{info.name}.tar"
    try:
        tar = _scan(store.join(root, name))
    except FileNotFoundError:
        yield f"{name}: missing"
        return
    except OSError as error:
        yield f"{name}: cannot be read ({error.strerror or type(error).__name__})"
        return
    if tar.sha256 != info.sha256_tar or tar.num_bytes != info.num_bytes:
        yield f"{name}: its content has changed since it was written"
    if tar.problem:
        yield f"{name}: not a whole tar ({tar.problem})"
    if len(tar.lines) != info.num_samples:
        yield f"{name}: holds {len(tar.lines)} samples, index.json says {info.num_samples}"
    expected = [(f"{row['key']}.{suffix}", crc) for row in rows for suffix, crc in sorted(row["members"].items())]
    if tar.members != expected:
        pairs = zip(expected, tar.members, strict=False)
        wrong = next((one[0] for one, other in pairs if one != other), "its end")
        yield f"{name}: members differ from labels.parquet from {wrong} on"
    yield from _check_idx(root, info.name, tar)


def _check_idx(root: str, shard: str, tar: _Tar) -> Iterator[str]:
    try:
        if store.read_bytes(store.join(root, f"{shard}.idx")) != idx.whole(tar.lines):
            yield f"{shard}.idx: not the index of {shard}.tar"
    except OSError:
        return  # its hash was missed already


class _Hashed:
    """A file that hashes and counts what is read of it."""

    def __init__(self, file: Any) -> None:
        self.file, self.digest, self.num_bytes = file, hashlib.sha256(), 0

    def read(self, size: int) -> bytes:
        block = self.file.read(size)
        self.digest.update(block)
        self.num_bytes += len(block)
        return block


def _scan(path: str) -> _Tar:
    """Read a tar once, from its start to its end, whatever is wrong with it. Raises FileNotFoundError."""
    samples: list[tuple[str, list[idx.Member]]] = []
    members: list[tuple[str, int]] = []
    problem = ""
    with store.reading(path) as file:
        hashed = _Hashed(file)
        try:
            for member, crc in _members(hashed):
                members.append((member.name, crc))
                key, _, suffix = member.name.partition(".")
                if not samples or samples[-1][0] != key:
                    samples.append((key, []))
                samples[-1][1].append(replace(member, suffix=suffix))
        except _DAMAGE as error:
            problem = " ".join(str(error).split()) or type(error).__name__
        while hashed.read(_BLOCK_BYTES):  # what lies behind the end of the tar, or behind the damage
            pass
    lines = [idx.line(parts) for _, parts in samples]
    return _Tar(hashed.digest.hexdigest(), hashed.num_bytes, lines, members, problem)


def _members(file: _Hashed) -> Iterator[tuple[idx.Member, int]]:
    """Every member of a tar with the crc32 of its content; suffix is empty. Raises what tarfile does for damage."""
    with tarfile.open(fileobj=file, mode="r|", bufsize=_BLOCK_BYTES) as tar:
        for member in tar:
            if not member.isreg():
                raise tarfile.TarError(f"{member.name!r} is not a file")
            content, crc, num_bytes = tar.extractfile(member), 0, 0
            while block := content.read(_BLOCK_BYTES):
                crc, num_bytes = zlib.crc32(block, crc), num_bytes + len(block)
            if num_bytes != member.size:
                raise tarfile.TarError(f"{member.name!r} ends before its content does")
            yield idx.Member("", member.offset_data, member.size, member.name), crc
            tar.members = []  # tarfile keeps every member it met


def _check_ledger(root: str, index: store.Index, sidecars: list[Sidecar]) -> Iterator[str]:
    try:
        rows = ledger.read(store.join(root, "ledger.parquet"))
    except (OSError, ValueError) as error:
        yield f"ledger.parquet: missing or damaged ({' '.join(str(error).split())})"
        return
    totals, splits = ledger.totals(rows), index.splits.values()
    if len({row.series_key for row in rows}) != len(rows):
        yield "ledger.parquet: a series has more than one row"
    if any(index.totals.get(status) != count for status, count in totals.items()):
        yield f"ledger.parquet: holds {totals}, index.json says {index.totals}"
    if totals["sharded"] != sum(shard.num_samples for shards in splits for shard in shards):
        yield f"ledger.parquet: {totals['sharded']} series are sharded, the shards hold another number of samples"
    by_key = {row.series_key: row for row in rows}
    for sidecar in sidecars:
        name = f"{sidecar.info.name}.json"
        if any(by_key.get(row.series_key) != row for row in sidecar.ledger):
            yield f"ledger.parquet: rows of {sidecar.info.name} are not those of {name}"
        sharded = {row.series_key for row in sidecar.ledger if row.status == Status.SHARDED}
        if sharded != {row["key"] for row in sidecar.labels}:
            yield f"{name}: its ledger and its samples are not the same series"
