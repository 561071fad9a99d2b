"""The inventory that a run leaves in the private folder, so that the next one reads no header again."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from radnet import __version__, store
from radnet.errors import UsageError
from radnet.labels import RULES_VERSION
from radnet.shards.inventory import Entry, private_map, read_entries, read_made_of, write_table
from radnet.shards.listing import Listing

INVENTORY, MAP = "inventory.parquet", "map.parquet"


def made_of(out: str, private: Path, prints: Mapping[str, str], listings: Sequence[Listing]) -> dict[str, str]:
    """What an inventory follows from: the files and where they lie, the privacy key, and who read them; and whose it
    is, unless it moves with the set `out`. prints: see `begun.fingerprints`."""
    roots = hashlib.sha256("\0".join(listing.root for listing in listings).encode("utf-8", "surrogateescape"))
    names = ("inventory", "times", "privacy_key")
    reader = {"radnet": __version__, "rules": RULES_VERSION, "roots": roots.hexdigest()}
    return {name: prints[name] for name in names} | reader | {"out": "" if private.parent == Path(out) else out}


def save(private: Path, entries: Sequence[Entry], made_of: Mapping[str, str]) -> None:
    """Keep the inventory, and the map from keys to names last; both readable by their owner only.

    Raises UsageError where the folder holds those of another set.
    """
    before = _made_of(private)
    if before and before["out"] != made_of["out"]:
        raise UsageError(f"{private} holds the names of another shard set; name another folder as privacy.folder")
    drop(private)
    write_table(str(private / INVENTORY), entries, made_of)
    store.write_parquet(str(private / MAP), private_map(entries), 0o600)


def drop(private: Path) -> None:
    """Have the next run read everything anew."""
    (private / MAP).unlink(missing_ok=True)


def load(private: Path, made_of: Mapping[str, str]) -> list[Entry] | None:
    """The inventory an earlier run left; None where there is none that follows from the same, or a damaged one."""
    if not (private / MAP).is_file() or _made_of(private) != dict(made_of):
        return None
    try:
        return read_entries(str(private / INVENTORY))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _made_of(private: Path) -> dict[str, str]:
    try:
        return {"out": "", **read_made_of(str(private / INVENTORY))}
    except (FileNotFoundError, ValueError):
        return {}
