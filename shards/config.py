"""What `radnet shard` is told: which archives, where to, how cut and how stored."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from radnet.config import group, option
from radnet.errors import UsageError
from radnet.shards.codec import SUFFIX
from radnet.urls import shown

OF_ONE_PROCESS = ("memory://", "pipe:")
KINDS = ("dicom", "nifti")
TILTS = ("keep", "resample")
FACES = ("keep", "exclude")


@dataclass
class SourceConfig:
    path: str = option(
        "",
        "folder or fsspec URL, searched recursively; s5cmd or .tcia manifest; inventory.parquet of `radnet inventory`",
    )
    kind: str = option("dicom", "dicom, or nifti (image and mask pairs in LiTS, MSD or nnU-Net layout, local)")
    collection: str = option("", "name of the collection, kept in every table; a manifest's come from the index of IDC")
    licence: str = option("", "licence of the collection, written to ATTRIBUTION")
    doi: str = option("", "DOI of the collection, written to ATTRIBUTION")


@dataclass
class SplitsConfig:
    train: float = option(0.8, "fraction of patients")
    validation: float = option(0.1, "fraction of patients")
    test: float = option(0.1, "fraction of patients")


@dataclass
class PrivacyConfig:
    key: str = option(
        "~/.config/radnet/privacy.key",
        "file of the key that hashes names, created on first use; public = a published key, for phantom archives only",
    )
    folder: str = option("", "where private tables lie; empty = OUT/private, for a URL ~/.local/state/radnet/NAME")


@dataclass
class ShardConfig:
    """One shard set."""

    out: str = option("", "folder or fsspec URL of the shard set; run again to resume")
    sources: list[SourceConfig] = option([], "list of {path, kind, collection, licence}")
    codec: str = option("npy", "npy (read fastest) or htj2k (a quarter of the bytes; a CPU reads it a tenth as fast)")
    splits: SplitsConfig = group(SplitsConfig)
    shard_bytes: int = option(512_000_000, "a shard is full at this many bytes of uncompressed voxels")
    min_slices: int = option(16, "series with fewer slices are excluded")
    max_voxels: int = option(1_000_000_000, "series that declare more voxels fail")
    max_spacing_mm: float = option(15.0, "series whose slices lie further apart are excluded")
    finest_mm: list[float] | None = option(
        None, "finest spacing kept along D,H,W; finer axes are averaged; null = native"
    )
    exclude_licences: list[str] = option([], "series under these licences never enter; names may hold * and ?")
    faces: str = option("keep", "head scans, of which a face can be rebuilt: keep (flagged) or exclude, the unsure too")
    tilt: str = option("keep", "gantry tilt: keep (the affine is sheared) or resample (onto an orthogonal grid)")
    keep_free_text: bool = option(False, "keep SeriesDescription and the like in the tables")
    overrides: str = option("", "CSV of labels set by hand (see radnet label --help); later: radnet relabel")
    privacy: PrivacyConfig = group(PrivacyConfig)
    num_workers: int = option(0, "processes that read and write at once; 0 = all cores")
    address: str = option("", "Ray cluster to use (auto, or host:port); empty = RAY_ADDRESS, else this machine")


def check(config: ShardConfig) -> None:
    """Raise UsageError in one line for values that make no shard set."""
    if not config.out:
        raise UsageError("out is empty; say where the shard set goes, for example out=data/shards")
    for path in (config.out, *(source.path for source in config.sources)):
        if path.startswith(OF_ONE_PROCESS):
            raise UsageError(
                f"{shown(path)} exists in one process alone; name a folder or a store that every worker reaches"
            )
    if not config.sources:
        raise UsageError("sources is empty; give at least one {path: FOLDER} in the config")
    for source in config.sources:
        if source.kind not in KINDS:
            raise UsageError(f"source {source.path!r} has kind {source.kind!r}, expected one of {', '.join(KINDS)}")
    if config.codec not in SUFFIX:
        raise UsageError(f"codec is {config.codec!r}, expected one of {', '.join(SUFFIX)}")
    for name, value, known in (("tilt", config.tilt, TILTS), ("faces", config.faces, FACES)):
        if value not in known:
            raise UsageError(f"{name} is {value!r}, expected one of {', '.join(known)}")
    fractions = list(asdict(config.splits).values())
    # 0.7 + 0.2 + 0.1 is not 1 in floating point, hence the tolerance.
    # A comparison with nan is false, hence the "not".
    if not all(fraction >= 0 for fraction in fractions) or not abs(sum(fractions) - 1) <= 1e-6:
        raise UsageError(f"splits are {fractions}, expected three fractions that add up to 1")
    if min(config.shard_bytes, config.min_slices, config.max_voxels) < 1 or not config.max_spacing_mm > 0:
        raise UsageError("shard_bytes, min_slices, max_voxels and max_spacing_mm must be positive")
    if config.num_workers < 0:
        raise UsageError(f"num_workers is {config.num_workers}, expected 0 (all cores) or more")
    if config.finest_mm is not None and (
        len(config.finest_mm) != 3 or not all(0 <= finest < math.inf for finest in config.finest_mm)
    ):
        raise UsageError(f"finest_mm is {config.finest_mm}, expected three distances D,H,W in mm, or null")


def settings(config: ShardConfig) -> dict[str, Any]:
    """The values that decide how series become shards: a change of one of them makes another shard set."""
    values = asdict(config)
    for elsewhere in ("out", "sources", "num_workers", "address", "privacy", "overrides"):
        del values[elsewhere]
    return values


def fingerprint(value: Any) -> str:
    """Hex digest of anything JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
