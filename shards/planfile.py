"""plan.parquet: which series is in which shard, as it was decided. A set that grows is planned from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from radnet import store
from radnet.errors import UsageError
from radnet.shards.begun import PLAN
from radnet.shards.config import ShardConfig, fingerprint, settings
from radnet.shards.inventory import Entry
from radnet.shards.ledger import Code
from radnet.shards.plan import Plan, job
from radnet.shards.privacy import PrivacyKey
from radnet.urls import shown


@dataclass(frozen=True)
class Planned:
    """A plan that was written. marks: key of a planned series → what its files were, hashed with the privacy key."""

    plan: Plan
    marks: Mapping[str, str] = field(default_factory=dict)


def mark(entry: Entry, key: PrivacyKey) -> str:
    """Another one where a file of the series was added, removed or replaced, or it comes from elsewhere; it tells
    nobody else anything."""
    return key.hash("mark", "\0".join((entry.mark, *entry.origin.identity)))


def write(root: str, plan: Plan, entries: Mapping[str, Entry], key: PrivacyKey) -> None:
    """Write plan.parquet: shards in order, series in the order of writing, then what is refused."""
    import pyarrow

    rows = [(name, one.name, one.split, "", "") for one in plan.jobs for name in one.series_keys]
    rows += [(name, None, None, str(code), detail) for name, (code, detail) in sorted(plan.refused.items())]
    names = ("key", "shard", "split", "code", "detail")
    columns = {name: pyarrow.array([row[at] for row in rows], pyarrow.string()) for at, name in enumerate(names)}
    columns["patient_key"] = pyarrow.array([entries[row[0]].patient_key for row in rows], pyarrow.string())
    columns["mark"] = pyarrow.array([mark(entries[row[0]], key) for row in rows], pyarrow.string())
    store.write_parquet(store.join(root, PLAN), pyarrow.table(columns))


def read(root: str, config: ShardConfig) -> Planned:
    """The plan of a set that was begun. Raises UsageError where it is missing or damaged."""
    path = store.join(root, PLAN)
    try:
        rows = store.read_table(path).to_pylist()
        members: dict[tuple[str, str], list[str]] = {}
        for row in rows:
            if row["shard"]:
                members.setdefault((row["shard"], row["split"]), []).append(row["key"])
        refused = {row["key"]: (Code(row["code"]), row["detail"]) for row in rows if not row["shard"]}
        places = {row["patient_key"]: row["split"] for row in rows if row["shard"]}
        marks = {row["key"]: row["mark"] for row in rows if row["shard"]}
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{shown(path)} is missing or damaged ({type(error).__name__}), and without it nobody knows which series "
            "belong where; put it back, or name a new folder as out"
        ) from None
    common = fingerprint(settings(config))
    jobs = tuple(job(name, split, keys, common) for (name, split), keys in members.items())
    return Planned(Plan(jobs, places, refused), marks)


def refuse_changes(before: Planned, entries: Sequence[Entry], key: PrivacyKey) -> None:
    """Raise UsageError where a planned series is gone or its files are others: a set can grow, not change."""
    found = {entry.key: mark(entry, key) for entry in entries if entry.key in before.marks}
    gone = len(before.marks) - len(found)
    changed = sum(before.marks[name] != one for name, one in found.items())
    if gone or changed:
        raise UsageError(
            f"of the series of this set {gone} are gone from the sources and {changed} have other files or another "
            "collection, licence or DOI; --extend adds series and changes none: name a new folder as out"
        )
