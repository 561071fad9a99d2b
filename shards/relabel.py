"""Labels of a finished shard set read again from the full headers, or set by hand: a new table, the same tars."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from radnet import store
from radnet.errors import UsageError
from radnet.labels import RULES_VERSION, Taxonomy, read
from radnet.labels.finding import BY_HAND
from radnet.shards import begun, kept, ledger, tables
from radnet.shards.face import face
from radnet.shards.overrides import LABELS, Overrides
from radnet.shards.public import DERIVED_KEYS
from radnet.shards.stored import places, read_members
from radnet.shards.write import read_sidecar
from radnet.urls import shown

_FACTS = tuple(read({}).row())  # the columns that the rules write
_FINDINGS = tuple(name for name in _FACTS if f"{name}_evidence" in _FACTS)

Row = dict[str, Any]
Headers = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Change:
    """How many samples changed in one label: from one value to another, from unknown, and to unknown."""

    changed: int = 0
    gained: int = 0
    lost: int = 0


@dataclass(frozen=True)
class Relabelled:
    """The new table. before, after: its rows in the same order. is_new: False where nothing is to be written.
    reads_rules: False where the set has no full headers and only what was set by hand could change."""

    before: list[Row]
    after: list[Row]
    is_new: bool
    reads_rules: bool


def relabel(root: str, corrections: Overrides | None, private: str = "") -> Relabelled:
    """Make labels.parquet of a finished shard set (folder or URL) again; where it differs, write it, then index.json.

    corrections: what humans say, all of it; None keeps what the table holds of it. private: the folder of the owner's
    inventory, as privacy.folder of the config; "" = where `radnet shard` puts it. Raises UsageError in one line where
    a key of theirs is no series, where there is nothing to read the labels from, or where something is damaged.
    """
    store.read_index(root)  # or the lock would make a folder inside what is no shard set
    with begun.only_driver(begun.absolute(root)):
        return _relabel(root, corrections, private)


def _relabel(root: str, corrections: Overrides | None, private: str) -> Relabelled:
    index = store.read_index(root)
    path = store.join(root, "labels.parquet")
    is_whole = store.exists(path) and store.sha256(path) == index.tables.get("labels.parquet")
    if corrections is None and not is_whole:
        raise UsageError(
            f"{shown(path)} is not the table that index.json names (damage, or a relabelling that was interrupted); "
            "name what was set by hand with --overrides FILE, a file of one line where nothing was: it is made again"
        )
    written = [row for shards in index.splits.values() for info in shards for row in _written(root, info)]
    before = store.read_labels(root).to_pylist() if is_whole else written
    if corrections is not None:
        corrections.refuse_unknown(_every_key(root))
    headers = _inventory(begun.private_folder(begun.absolute(root), private) / kept.INVENTORY)
    reads_rules = headers is not None or _has_free_text(root, written)
    if not reads_rules and corrections is None:
        raise UsageError(
            f"{shown(root)} has neither the owner's {kept.INVENTORY} nor free text in its tars, so no rule can be read "
            "again: give --overrides, or say with --private where the inventory lies"
        )
    old = {row["key"]: row for row in before}
    if reads_rules:
        ruled = _ruled(root, written, headers)
    else:
        ruled = (_restored(row, old[row["key"]], corrections) for row in written)
    after = [_by_hand(row, old[row["key"]], corrections) for row in ruled]
    order = {row["key"]: place for place, row in enumerate(before)}
    after.sort(key=lambda row: order[row["key"]])
    is_new = after != before or not is_whole
    if is_new:
        if store.read_index(root) != index:  # a set that grew must not lose its new shards
            raise UsageError(f"{shown(root)} was changed by another program meanwhile; relabel it again")
        digest = tables.write_labels(path, after)
        store.write_index(root, replace(index, tables={**index.tables, "labels.parquet": digest}))
    return Relabelled(before, after, is_new, reads_rules)


def _written(root: str, info: store.ShardInfo) -> list[Row]:
    """The rows of a shard's samples as they were when it was written."""
    sidecar = read_sidecar(store.join(root, info.name))
    if sidecar is None or sidecar.info != info:
        raise UsageError(f"{info.name}.json is missing from {shown(root)}, or damaged; run radnet verify {shown(root)}")
    return sidecar.labels


def _every_key(root: str) -> list[str]:
    """The keys of all series of the archive; what is set by hand may be about one that was excluded."""
    try:
        return [row.series_key for row in ledger.read(store.join(root, "ledger.parquet"))]
    except (FileNotFoundError, ValueError):
        raise UsageError(
            f"ledger.parquet is missing from {shown(root)}, or damaged; run radnet verify {shown(root)}"
        ) from None


def _inventory(path: Path) -> Headers | None:
    """Key of a series → its full header, from the owner's own inventory; None where there is none."""
    if not path.exists():
        return None
    try:
        rows = store.read_table(str(path)).select(["series_key", "stack", "header"]).to_pylist()
        keys = (f"{row['series_key']}-{row['stack']}" if row["stack"] else row["series_key"] for row in rows)
        return {key: json.loads(row["header"]) for key, row in zip(keys, rows, strict=True)}
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{shown(path)} cannot be read ({' '.join(str(error).split())}); take it away, or mend it"
        ) from None


def _provenances(root: str, rows: Iterable[Row]) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Every row with what its KEY.json holds; rows of a shard follow each other."""
    shard, listed = "", []
    for row in rows:
        if row["shard"] != shard:
            shard, listed = row["shard"], places(root, row["shard"])
        content = read_members(root, row, listed, ("json",))["json"]
        yield row, json.loads(content)


def _has_free_text(root: str, rows: Sequence[Row]) -> bool:
    """One sample tells for all, for keep_free_text is a setting of the set."""
    return any(provenance["has_free_text"] for _, provenance in _provenances(root, rows[:1]))


def _ruled(root: str, rows: Iterable[Row], headers: Headers | None) -> Iterator[Row]:
    """The rows with what today's rules say. What reading the pixels added to a header is kept with the sample."""
    for row, provenance in _provenances(root, rows):
        header = provenance["header"]
        if headers is not None:
            if row["key"] not in headers:
                raise UsageError(f"the inventory of {shown(root)} has no series {row['key']}; it is another set's")
            header = {**headers[row["key"]], **{name: header[name] for name in DERIVED_KEYS if name in header}}
        found = read(header)
        yield row | {"face": face(found), **found.row(), "rules_version": RULES_VERSION}


def _restored(row: Row, old: Row, corrections: Overrides) -> Row:
    """What the rules said when the table was last made. Where a human's value goes without another in its place, theirs
    is known from the day of writing alone, so the rules must not have changed since."""
    now = corrections.apply(row["key"], dict.fromkeys(old))
    replaced = [name for name in _FINDINGS if _is_by_hand(old, name) and not _is_by_hand(now, name)]
    if replaced and row["rules_version"] != old["rules_version"]:
        raise UsageError(
            f"what rules {old['rules_version']} said of {', '.join(replaced)} of {row['key']} is not known any more; "
            "relabel where the full headers are"
        )
    kept = {name: value for name, value in old.items() if not any(name.startswith(one) for one in replaced)}
    return row | kept


def _is_by_hand(row: Row, name: str) -> bool:
    return (row[f"{name}_evidence"] or "").startswith(BY_HAND)


def _by_hand(row: Row, old: Row, corrections: Overrides | None) -> Row:
    if corrections is not None:
        return corrections.apply(row["key"], row)
    kept = [name for name in _FINDINGS if _is_by_hand(old, name)]
    return row | {column: old[column] for name in kept for column in (name, f"{name}_confidence", f"{name}_evidence")}


def changes(found: Relabelled, taxonomy: Taxonomy) -> dict[str, Change]:
    """How many samples changed, by label; sequence as the class of the taxonomy that family and technique make."""
    counts: dict[str, Counter] = {label: Counter() for label in LABELS}
    for before, after in zip(found.before, found.after, strict=True):
        for label in LABELS:
            old, new = (taxonomy.sequence_name(row) if label == "sequence" else row[label] for row in (before, after))
            if old != new:
                counts[label]["gained" if old is None else "lost" if new is None else "changed"] += 1
    return {label: Change(**count) for label, count in counts.items()}


def num_by_hand(rows: Iterable[Row]) -> int:
    """Samples of which a human set a label."""
    return sum(any(_is_by_hand(row, name) for name in _FINDINGS) for row in rows)
