"""Series → shards: pure and deterministic. Patients never straddle splits, and adding patients never moves others."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from radnet.shards.config import ShardConfig, SplitsConfig, fingerprint, settings
from radnet.shards.inventory.row import Row
from radnet.shards.ledger import Code

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class ShardJob:
    """One shard to build: its series in order of writing, and the fingerprint its sidecar must quote to be kept."""

    name: str
    split: str
    series_keys: tuple[str, ...]
    num_bytes: int
    fingerprint: str


@dataclass(frozen=True)
class Plan:
    jobs: tuple[ShardJob, ...]

    @property
    def num_series(self) -> int:
        return sum(len(job.series_keys) for job in self.jobs)


def split_of(patient_key: str, fractions: SplitsConfig) -> str:
    """train, validation or test, from nothing but the patient's key and the fractions."""
    position = uniform("split", patient_key)
    if position < fractions.test:
        return "test"
    return "validation" if position < fractions.test + fractions.validation else "train"


def uniform(purpose: str, key: str) -> float:
    """A number in [0, 1) that is the same everywhere for the same purpose and key."""
    digest = hashlib.sha256(f"radnet {purpose} {key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def estimate_bytes(row: Row) -> int:
    """Uncompressed bytes of a series as int16, from its header; those of its files where the header does not say."""
    size = [row.header.get(name) for name in ("Rows", "Columns", "num_slices")]
    if all(isinstance(value, int | float) and value > 0 for value in size):
        return 2 * int(size[0]) * int(size[1]) * int(size[2])
    return row.num_bytes


def plan(rows: Iterable[Row], config: ShardConfig) -> Plan:
    """Cut the candidates (Code.OK) into shards of at most `shard_bytes` estimated bytes, one series at least.

    Within a split series follow each other in order of a hash, so that any shard is a fair mixture of the whole.
    """
    ordered: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for row in rows:
        if row.code == Code.OK:
            ordered[split_of(row.patient_key, config.splits)].append(row)
    jobs: list[ShardJob] = []
    for split in SPLITS:
        ordered[split].sort(key=lambda row: (uniform("order", row.key), row.key))
        jobs += _cut(split, ordered[split], config)
    return Plan(tuple(jobs))


def _cut(split: str, rows: Sequence[Row], config: ShardConfig) -> list[ShardJob]:
    groups: list[list[Row]] = []
    filled = 0
    for row in rows:
        num_bytes = estimate_bytes(row)
        if not groups or filled + num_bytes > config.shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(row)
        filled += num_bytes
    return [_job(f"{split}-{number:06d}", split, members, config) for number, members in enumerate(groups)]


def _job(name: str, split: str, rows: Sequence[Row], config: ShardConfig) -> ShardJob:
    keys = tuple(row.key for row in rows)
    mark = fingerprint({"name": name, "series": keys, "settings": settings(config)})
    return ShardJob(name, split, keys, sum(map(estimate_bytes, rows)), mark)
