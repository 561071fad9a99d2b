"""Archives as tables of series: one file per kind of archive, one row per series."""

from radnet.shards.inventory.folder import Archive, group_all, list_files
from radnet.shards.inventory.row import Row, from_table, private_map, to_table

__all__ = ["Archive", "Row", "from_table", "group_all", "list_files", "private_map", "to_table"]
