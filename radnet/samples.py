"""What shard sets hold, before a voxel is read: their samples with targets, and files that are what the index says."""

import hashlib
import json
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radnet import idx, store
from radnet.config import DataConfig
from radnet.errors import UsageError
from radnet.labels.taxonomy import taxonomy
from radnet.seal import unseal
from radnet.store import ShardInfo
from radnet.urls import is_local, shown

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class Shard:
    """One shard of one set. root: the set's folder or URL."""

    root: str
    info: ShardInfo

    def path(self, suffix: str) -> str:
        """Its file of this suffix (".tar", ".idx", ".json"), in the set."""
        return store.join(self.root, self.info.name + suffix)

    def broken(self, what: str) -> UsageError:
        """The error that says what is wrong with it and what to do."""
        return UsageError(f"shard {shown(self.path('.tar'))} {what}; run radnet verify {shown(self.root)}")


@dataclass(frozen=True, eq=False)
class Samples:
    """What the loader knows of each sample before it reads a voxel; row i of every array is sample i.

    keys, patients: str. shards: those that the samples lie in. shard: int64 [N], index into it; positions: int64 [N],
    of the sample in its tar. crc32: member suffix → checksum, as JSON. targets: float32 [N,13], -1 unknown.
    is_ct: bool [N]. weight: float64 [N], how often its set wants each sample in an epoch.
    """

    codec: str
    keys: list[str]
    patients: list[str]
    crc32: list[str]
    shards: list[Shard]
    shard: np.ndarray
    positions: np.ndarray
    targets: np.ndarray
    is_ct: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)


def read_samples(config: DataConfig, split: str, limit: int = 0, *, masks: bool = False) -> Samples:
    """The samples of one split of all sets of a config, sorted by key (a keyed hash, so any first N are a fair draw).

    limit: at most this many; 0 = all. masks: every sample must have one. Raises UsageError for an unfinished set, sets
    of unequal codecs, files that are not what the index says (see `check_shard`), an unknown taxonomy, a query that is
    none, no sample left, or a missing mask.
    """
    mapping = taxonomy(config.taxonomy)
    codecs, rows, shards = set(), [], {}
    if config.shards in config.more:
        raise UsageError(f"data.more names {shown(config.shards)}, which data.shards is already")
    for root, weight in {config.shards: 1.0, **config.more}.items():
        index, chosen = _read_set(root, split, config.where)
        codecs.add(index.codec)
        named = {info.name: Shard(root, info) for info in index.splits.get(split, [])}
        rows += [row | {"_shard": named[row["shard"]], "_weight": weight} for row in chosen]
    if len(codecs) > 1:
        raise UsageError(f"the sets to mix have codecs {', '.join(sorted(codecs))}; shard them with the same codec")
    rows = sorted(rows, key=lambda row: row["key"])[: limit or None]
    if not rows:
        raise UsageError(_nothing(config, split))
    unmasked = [row["key"] for row in rows if masks and "mask.npy" not in json.loads(row["crc32"])]
    if unmasked:
        named = shown(config.shards)
        raise UsageError(
            f"{len(unmasked)} samples of {named} have no mask, {unmasked[0]} first; shard cases with masks"
        )
    for row in rows:
        shards.setdefault(row["_shard"], len(shards))
    return Samples(
        codec=codecs.pop(),
        keys=[row["key"] for row in rows],
        patients=[row["patient_key"] for row in rows],
        crc32=[row["crc32"] for row in rows],
        shards=list(shards),
        shard=np.array([shards[row["_shard"]] for row in rows]),
        positions=np.array([row["position"] for row in rows]),
        targets=np.stack([mapping.targets(row) for row in rows]),
        is_ct=np.array([row.get("family") == "CT" for row in rows]),
        weight=np.array([row["_weight"] for row in rows]),
    )


def _read_set(root: str, split: str, where: str) -> tuple[store.Index, list[dict[str, Any]]]:
    """Index and rows of one set; its files of this split are checked, where they lie on a disk of this machine."""
    if is_local(root) and not Path(root.removeprefix("file://")).is_dir():
        raise UsageError(f"the shard set {root!r} is not a folder; give the folder or URL of a finished one")
    index = store.read_index(root)
    infos = index.splits.get(split, [])
    if is_local(root):
        for info in infos:
            check_shard(Shard(root, info))
    else:
        found = store.sizes(root)
        for info in infos:
            _check_size(Shard(root, info), found.get(f"{info.name}.tar"), f"{info.name}.idx" in found)
    table = store.read_labels(root, index.tables.get("labels.parquet", "none"))
    rows = (_filtered(table, where) if where else table).to_pylist()
    rows = [row for row in rows if row["split"] == split]
    if strange := {row["shard"] for row in rows} - {info.name for info in infos}:
        raise UsageError(
            f"labels.parquet of {shown(root)} names shard {min(strange)}, index.json does not; "
            f"run radnet verify {shown(root)}"
        )
    return index, rows


def _filtered(table: "pyarrow.Table", where: str) -> "pyarrow.Table":
    """The rows of which a pandas query holds."""
    import pyarrow

    frame = table.to_pandas()
    try:
        if "@" in where or "__" in where:  # names from outside the table: a query could run anything
            raise ValueError("@ and __ are not allowed")
        kept = frame.query(where, engine="python", local_dict={}, global_dict={}).index.to_numpy()
    except Exception as error:  # pandas raises whatever its parser and the operators do
        columns = ", ".join(sorted(frame.columns))
        raise UsageError(
            f"data.where={where!r} is no query ({' '.join(str(error).split())[:120]}); columns are {columns}"
        ) from None
    return table.take(pyarrow.array(kept, pyarrow.int64()))


def _nothing(config: DataConfig, split: str) -> str:
    named = ", ".join(shown(root) for root in (config.shards, *config.more))
    if config.where:
        return f"the {split} split of {named} has no samples of which data.where={config.where!r} holds; widen it"
    filled = ", ".join(name for name, shards in store.read_index(config.shards).splits.items() if shards)
    return f"the {split} split of {named} has no samples; {filled} have; shard more, or change the fractions"


def check_shard(shard: Shard) -> None:
    """A shard on a disk of this machine: sizes, sidecar and index agree, and the tar begins and ends with the samples
    that its .idx lists. Raises UsageError that names the shard and the remedy."""
    tar = Path(shard.path(".tar").removeprefix("file://"))
    size = tar.stat().st_size if tar.is_file() else None
    index = tar.with_suffix(".idx")
    _check_size(shard, size, index.is_file())
    content = index.read_bytes()
    if hashlib.sha256(content).hexdigest() != shard.info.sha256_idx:
        raise shard.broken("has another .idx than index.json says")
    try:
        told = ShardInfo(**unseal(tar.with_suffix(".json").read_bytes())["info"])
    except FileNotFoundError:
        raise shard.broken("has no .json beside it") from None
    except (KeyError, TypeError, ValueError):
        raise shard.broken("has a damaged .json beside it") from None
    if told != shard.info:
        raise shard.broken("is another one than index.json says")
    listed = idx.parse(content)
    with open(tar, "rb", buffering=0) as file:
        for member in (listed[0][0], listed[-1][-1]):
            header = os.pread(file.fileno(), tarfile.BLOCKSIZE, member.offset - tarfile.BLOCKSIZE)
            if header[:100].rstrip(b"\0").decode(errors="replace") != member.name:
                raise shard.broken(f"does not hold {member.name} where its .idx says")


def _check_size(shard: Shard, size: int | None, has_idx: bool) -> None:
    if size != shard.info.num_bytes or not has_idx:
        found = "missing" if size is None else "without its .idx" if not has_idx else f"{size} bytes"
        raise shard.broken(f"is {found}, expected {shard.info.num_bytes} bytes")


def read_lines(stem: Path, shard: Shard) -> list[str]:
    """The lines of the .idx at STEM, one per sample of the shard. Raises UsageError where it is not the shard's."""
    content = stem.with_name(stem.name + ".idx").read_bytes()
    if hashlib.sha256(content).hexdigest() != shard.info.sha256_idx:
        raise shard.broken("has another .idx than index.json says")
    return content.decode().splitlines()[1:]


def num_bytes(shards: Sequence[Shard]) -> np.ndarray:
    """int64 [S]: bytes of each tar."""
    return np.array([shard.info.num_bytes for shard in shards], np.int64)


def prints(config: DataConfig) -> dict[str, str]:
    """Fingerprints of all sets of a config: "corpus", what they were made of, and "labels", from which another list of
    samples may follow."""
    indices = [store.read_index(root) for root in (config.shards, *config.more)]
    corpora = [index.fingerprints["inventory"] for index in indices]
    corpus = corpora[0] if len(indices) == 1 else _hash(corpora)
    return {"corpus": corpus, "labels": _hash([index.tables["labels.parquet"] for index in indices])}


def _hash(prints: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(prints).encode()).hexdigest()
