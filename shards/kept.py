"""The inventory that a run leaves in the private folder, so that the next one reads no header again."""

from collections.abc import Sequence
from pathlib import Path

from radnet import store
from radnet.shards.inventory import Entry, private_map, read_entries, write_table
from radnet.shards.listing import Listing

INVENTORY, MAP = "inventory.parquet", "map.parquet"


def save(private: Path, entries: Sequence[Entry]) -> None:
    """Keep the inventory, and the map from keys to names last; both readable by their owner only."""
    write_table(str(private / INVENTORY), entries)
    store.write_parquet(str(private / MAP), private_map(entries), 0o600)


def load(private: Path, listings: Sequence[Listing]) -> list[Entry] | None:
    """The inventory an earlier run left; None where there is none of these very files, or a damaged one."""
    if not (private / MAP).is_file():
        return None
    try:
        entries = read_entries(str(private / INVENTORY))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    listed = {file: stamp for listing in listings for file, stamp in zip(listing.files, listing.stamps, strict=True)}
    seen: set[str] = set()
    for row in (entry.unpack() for entry in entries):
        if any(listed.get(file) != stamp for file, stamp in zip(row.files, row.stamps, strict=True)):
            return None
        seen.update(row.files)
    return entries if len(seen) == len(listed) else None
