"""Series → shards: pure and deterministic. Patients never straddle splits, and adding patients never moves others."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch

from radnet.shards.config import ShardConfig, SplitsConfig, fingerprint, settings
from radnet.shards.inventory import Entry
from radnet.shards.ledger import Code

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class ShardJob:
    """One shard to build: its series in order of writing, and the fingerprint its sidecar must quote to be kept."""

    name: str
    split: str
    series_keys: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True)
class Plan:
    """jobs: in order of split and number. places: patient → split. refused: key of a series that is a candidate
    by its headers and yet in no shard → (code, detail)."""

    jobs: tuple[ShardJob, ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, tuple[Code, str]] = field(default_factory=dict)

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


def plan(entries: Iterable[Entry], config: ShardConfig, before: Plan | None = None) -> Plan:
    """Cut the candidates (Code.OK) into shards of at most `shard_bytes` estimated bytes, one series at least.

    Patients who share pixels are one person under two names and share a split; an inventory's own split goes before
    the hash of the patient. Within a split series are mixed so that every shard holds each class of each collection
    about as often as the whole. before: what stays as it is; only series that are in none of its shards are planned,
    into shards of higher numbers.
    """
    before = before or Plan()
    planned = {key for one in before.jobs for key in one.series_keys}
    candidates = sorted((entry for entry in entries if entry.code == Code.OK), key=lambda entry: entry.key)
    old = [entry for entry in candidates if entry.key in planned]
    new = [entry for entry in candidates if entry.key not in planned]
    refused = {entry.key: refusal for entry in new if (refusal := _refusal(entry, config))}
    new = [entry for entry in new if entry.key not in refused]
    places, owners = _places(old + new, config, before.places)
    for entry in new:
        if (split := places[owners[_content(entry)]]) != places[entry.patient_key]:
            refused[entry.key] = Code.DUPLICATE, f"its pixels are in {split} under another name"
    jobs = list(before.jobs)
    for split in SPLITS:
        members = [one for one in new if one.key not in refused and places[one.patient_key] == split]
        first = sum(one.split == split for one in before.jobs)
        jobs += _cut(split, mixed(members), first, config)
    jobs.sort(key=lambda one: (SPLITS.index(one.split), one.name))
    return Plan(tuple(jobs), {**before.places, **places}, refused)


def _refusal(entry: Entry, config: ShardConfig) -> tuple[Code, str] | None:
    licence = entry.origin.licence
    for pattern in config.exclude_licences:
        if fnmatch(_plain(licence), _plain(pattern)):
            return Code.LICENCE, f"{licence or 'no licence'}, as exclude_licences says"
    if config.faces == "exclude" and entry.face != "no":
        return Code.FACE, "its parts are not known" if entry.face == "unknown" else ""
    return None


def _plain(text: str) -> str:
    return re.sub(r"[\s_-]+", "-", text.strip().lower())


def _content(entry: Entry) -> str:
    return entry.pixel_hash or entry.key


def _places(
    entries: Sequence[Entry], config: ShardConfig, before: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Patient → split, and content → the first patient who has it. before: places that nothing moves."""
    people = _People()
    owners: dict[str, str] = {}
    given: dict[str, str] = {}
    for entry in entries:
        people.join(entry.patient_key, owners.setdefault(_content(entry), entry.patient_key))
        if entry.origin.split:
            given.setdefault(entry.patient_key, entry.origin.split)
    groups: dict[str, list[str]] = {}
    for patient in sorted({entry.patient_key for entry in entries}):
        groups.setdefault(people.first(patient), []).append(patient)
    places: dict[str, str] = {}
    for first, patients in groups.items():
        # What is in test stays in test: whoever is in it under one name must not be in training under another.
        wanted = {given[patient] for patient in patients if patient in given}
        chosen = next((split for split in reversed(SPLITS) if split in wanted), split_of(first, config.splits))
        chosen = next((before[patient] for patient in patients if patient in before), chosen)
        places |= {patient: before.get(patient, chosen) for patient in patients}
    return places, owners


class _People:
    """Patients joined to groups (union-find); the first of a group in alphabetical order stands for it."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def first(self, patient: str) -> str:
        while (parent := self._parents.get(patient, patient)) != patient:
            self._parents[patient] = self._parents.get(parent, parent)
            patient = parent
        return patient

    def join(self, one: str, other: str) -> None:
        low, high = sorted((self.first(one), self.first(other)))
        if low != high:
            self._parents[high] = low


def mixed(entries: Sequence[Entry]) -> list[Entry]:
    """In an order in which every stretch holds each class of each collection about as often as the whole does.

    A class of n series has one in every nth part of the whole, at a place that a hash decides; classes start at places
    of their own.
    """
    strata: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        strata.setdefault((entry.origin.collection, entry.stratum), []).append(entry)
    placed: list[tuple[float, str, Entry]] = []
    for members in strata.values():
        members.sort(key=lambda entry: (uniform("order", entry.key), entry.key))
        for number, entry in enumerate(members):
            placed.append(((number + uniform("place", entry.key)) / len(members), entry.key, entry))
    return [entry for *_, entry in sorted(placed, key=lambda one: one[:2])]


def _cut(split: str, entries: Sequence[Entry], first: int, config: ShardConfig) -> list[ShardJob]:
    groups: list[list[str]] = []
    filled = 0
    for entry in entries:
        if not groups or filled + entry.num_bytes > config.shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(entry.key)
        filled += entry.num_bytes
    mark = fingerprint(settings(config))
    return [job(f"{split}-{number:06d}", split, keys, mark) for number, keys in enumerate(groups, first)]


def job(name: str, split: str, keys: Sequence[str], mark: str) -> ShardJob:
    """The job of a shard. mark: fingerprint of the settings."""
    return ShardJob(name, split, tuple(keys), fingerprint({"name": name, "series": list(keys), "settings": mark}))
