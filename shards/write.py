"""One shard on disk: NAME.tar, NAME.idx (DALI v1.2), and NAME.json last, which is what makes the shard exist.

Same input → same bytes: times, owners and modes are fixed and members sorted.
"""

import hashlib
import itertools
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from radnet import idx, store
from radnet.idx import Member
from radnet.seal import seal, unseal
from radnet.shards.codec import npy_parts
from radnet.shards.ledger import LedgerRow
from radnet.store import ShardInfo

_WRITE_BYTES = 1 << 20  # of more at once, the page cache of a virtual machine can take ten times as long


@dataclass(frozen=True)
class Sample:
    """What goes into a tar for one series. members: suffix → content, an array for a .npy file; label: its row of
    labels.parquet, without shard, position and crc32, which the writer knows."""

    key: str
    members: dict[str, bytes | np.ndarray]
    label: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What became of one series: its ledger row, and a sample if it was sharded."""

    ledger: LedgerRow
    sample: Sample | None


@dataclass(frozen=True)
class Sidecar:
    """NAME.json: everything the tables need to know about a shard, so that a resumed run reads no tar.

    job: fingerprint of the job that built it. A shard all of whose series failed has no tar and num_samples 0.
    """

    job: str
    info: ShardInfo
    labels: list[dict[str, Any]]
    ledger: list[LedgerRow]


class _Hashing:
    """A file that counts and hashes what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest, self.num_bytes = file, hashlib.sha256(), 0

    def write(self, block: bytes | memoryview) -> None:
        for start in range(0, len(block), _WRITE_BYTES):
            piece = memoryview(block)[start : start + _WRITE_BYTES]
            self.file.write(piece)  # first, so that the disk works while the piece is hashed
            self.digest.update(piece)
        self.num_bytes += len(block)


def write_shard(stem: str, outcomes: Iterable[Outcome], job: str) -> Sidecar:
    """Write STEM.tar, STEM.idx and STEM.json, each whole or not at all, the sidecar last.

    stem: path without suffix. outcomes are consumed one at a time, so one sample is in memory. Raises OSError when the
    disk is full or gone; nothing half-written is left under a final name.
    """
    name = Path(stem).name
    ledger: list[LedgerRow] = []
    labels: list[dict[str, Any]] = []
    samples = _samples(outcomes, ledger)
    first = next(samples, None)
    info = ShardInfo(name, 0, 0, "", "")
    if first is not None:
        samples = itertools.chain([first], samples)
        del first  # or it would stay in memory to the end
        with store.writing(stem + ".tar") as file:
            hashing = _Hashing(file)
            lines = _write_tar(hashing, samples, labels, name)
        index = idx.whole(lines)
        store.write_atomic(stem + ".idx", index)
        info = ShardInfo(
            name, len(lines), hashing.num_bytes, hashing.digest.hexdigest(), hashlib.sha256(index).hexdigest()
        )
    sidecar = Sidecar(job, info, labels, ledger)
    store.write_atomic(stem + ".json", seal(asdict(sidecar)))
    return sidecar


def _samples(outcomes: Iterable[Outcome], ledger: list[LedgerRow]) -> Iterator[Sample]:
    """Note every outcome in the ledger and pass the samples on."""
    for outcome in outcomes:
        ledger.append(outcome.ledger)
        if outcome.sample is not None:
            yield outcome.sample
        del outcome  # its voxels, before the next series is read


def _write_tar(file: _Hashing, samples: Iterable[Sample], labels: list[dict[str, Any]], shard: str) -> list[str]:
    """Write the tar, append to labels, and return the lines of the .idx after its first."""
    lines: list[str] = []
    for sample in samples:
        members, crc32 = _write_sample(file, sample)
        place = {"shard": shard, "position": len(lines), "crc32": json.dumps(crc32)}
        labels.append({"key": sample.key} | sample.label | place)
        lines.append(idx.line(members))
        del sample  # the next one is made before this name is bound again
    file.write(bytes(2 * tarfile.BLOCKSIZE))
    file.write(bytes(-file.num_bytes % tarfile.RECORDSIZE))
    return lines


def _write_sample(file: _Hashing, sample: Sample) -> tuple[list[Member], dict[str, int]]:
    """Write the members of a sample, sorted; where they lie, and suffix → crc32."""
    members, crc32 = [], {}
    for suffix, content in sorted(sample.members.items()):
        name, offset = f"{sample.key}.{suffix}", file.num_bytes + tarfile.BLOCKSIZE
        num_bytes, crc32[suffix] = _write_member(file, name, content)
        members.append(Member(suffix, offset, num_bytes, name))
    return members, crc32


def _write_member(file: _Hashing, name: str, content: bytes | np.ndarray) -> tuple[int, int]:
    """Write one file of the tar, an array from where it lies; its bytes and their crc32."""
    from imagecodecs import deflate_crc32  # six times as fast as zlib's

    parts = npy_parts(content) if isinstance(content, np.ndarray) else (content,)
    header = tarfile.TarInfo(name)
    header.size, header.mode, header.uname, header.gname = sum(map(len, parts)), 0o444, "radnet", "radnet"
    file.write(header.tobuf(tarfile.USTAR_FORMAT))
    crc32 = 0
    for part in parts:
        crc32 = deflate_crc32(part, crc32)
        file.write(part)
    file.write(bytes(-header.size % tarfile.BLOCKSIZE))
    return header.size, crc32


def read_sidecar(stem: str) -> Sidecar | None:
    """The sidecar of a shard, or None where it is missing or cannot be read."""
    try:
        content = unseal(store.read_bytes(stem + ".json"))
        ledger = [LedgerRow(**row) for row in content["ledger"]]
        labels = [row | {name: row[name] for name in store.LABEL_COLUMNS} for row in content["labels"]]
        return Sidecar(content["job"], ShardInfo(**content["info"]), labels, ledger)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def finished(root: str, name: str, job: str, sizes: Mapping[str, int]) -> Sidecar | None:
    """The sidecar, if the shard is this job's and tar and idx are there in full size; None where it must be built.

    sizes: name → bytes of the files in `root`, see `store.sizes`.
    """
    if f"{name}.json" not in sizes:
        return None
    sidecar = read_sidecar(store.join(root, name))
    if sidecar is None or sidecar.job != job:
        return None
    whole = sizes.get(f"{name}.tar") == sidecar.info.num_bytes and f"{name}.idx" in sizes
    return sidecar if whole or sidecar.info.num_samples == 0 else None
