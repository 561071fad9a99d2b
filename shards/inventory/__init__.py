"""Archives as tables of series."""

from radnet.shards.inventory.entry import Entry, pack
from radnet.shards.inventory.folder import Archive, group_all, list_files
from radnet.shards.inventory.row import Origin, Row
from radnet.shards.inventory.table import from_table, private_map, read_entries, read_made_of, to_table, write_table

__all__ = [
    "Archive",
    "Entry",
    "Origin",
    "Row",
    "from_table",
    "group_all",
    "list_files",
    "pack",
    "private_map",
    "read_entries",
    "read_made_of",
    "to_table",
    "write_table",
]
