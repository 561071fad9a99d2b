"""The folder an inventory leaves: inventory.parquet, manifest.s5cmd, and summary.json that says it is finished."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radnet import store
from radnet.errors import UsageError
from radnet.shards.inventory.corpus import Corpus, by_split
from radnet.shards.inventory.manifest import write_s5cmd
from radnet.shards.inventory.options import InventoryConfig

if TYPE_CHECKING:
    import pyarrow

SUMMARY, TABLE, MANIFEST = "summary.json", "inventory.parquet", "manifest.s5cmd"
SCHEMA = 1
COUNTED = ("Modality", "license_short_name", "family", "sequence", "view", "contrast", "split", "collection_id")


def refuse_foreign(out: Path) -> None:
    """Raise UsageError for an `out` that is a file, or a folder of anything but an earlier inventory."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; name a folder")
    if not out.exists():
        return
    others = [p.name for p in out.iterdir() if p.name not in (SUMMARY, TABLE, MANIFEST) and not store.is_leftover(p)]
    is_ours = _is_inventory(out / SUMMARY) or not any((out / name).exists() for name in (SUMMARY, TABLE, MANIFEST))
    if others or not is_ours:
        what = f"holds {sorted(others)[0]!r}" if others else "holds files of another program"
        raise UsageError(f"--out {out} is not empty and not an earlier inventory ({what}); name another folder")


def _is_inventory(path: Path) -> bool:
    try:
        return json.loads(path.read_text("utf-8"))["inventory"] == SCHEMA
    except (OSError, ValueError, KeyError, TypeError):
        return False


def summary(corpus: Corpus, config: InventoryConfig, extra: dict[str, Any]) -> dict[str, Any]:
    """Everything the printed table says, as plain values."""
    return {
        "inventory": SCHEMA,
        "finished": True,
        "notes": corpus.notes,
        "series": {"all": corpus.num_all, "selected": len(corpus.selected)},
        "excluded": {
            reason: {"series": number, "rule": corpus.rules[reason]} for reason, number in corpus.excluded.items()
        },
        "counts": {column: corpus.counts(column) for column in COUNTED if column in corpus.table.column_names},
        "collections_by_split": by_split(corpus, "collection_id"),
        "draw": [asdict(one) for one in corpus.draws],
        "leakage": asdict(corpus.leakage),
        "budget": [asdict(figure) for figure in corpus.budget],
        "config": asdict(config),
        **extra,
    }


def write(out: Path, corpus: Corpus, content: dict[str, Any], title: str, *, everything: bool) -> list[str]:
    """Write the files of an inventory, summary.json last; returns their names. The same corpus gives the same bytes.

    everything: all rows, not the selected ones alone. A manifest is written where the table says where series lie.
    """
    out.mkdir(parents=True, exist_ok=True)
    store.clear_leftovers(out)
    # What an interrupted run leaves must not look finished, and must be taken for an inventory by the next run.
    store.write_atomic(str(out / SUMMARY), json.dumps({"inventory": SCHEMA, "finished": False}).encode())
    (out / MANIFEST).unlink(missing_ok=True)
    written = [TABLE]
    selected = corpus.selected
    store.write_atomic(str(out / TABLE), to_parquet(corpus.table if everything else selected))
    if {"aws_bucket", "crdc_series_uuid"} <= set(selected.column_names):
        store.write_atomic(str(out / MANIFEST), write_s5cmd(selected, title))
        written.append(MANIFEST)
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    store.write_atomic(str(out / SUMMARY), (text + "\n").encode())
    return [*written, SUMMARY]


def to_parquet(table: "pyarrow.Table") -> bytes:
    """The table as Parquet whose readers see plain text and numbers, whatever was kept once for each distinct value."""
    import pyarrow
    import pyarrow.parquet

    sink = pyarrow.BufferOutputStream()
    # Arrow's own schema would bring the dictionaries back; without it columns are what their names promise.
    plain = table.replace_schema_metadata(None).unify_dictionaries()
    pyarrow.parquet.write_table(plain, sink, compression="zstd", store_schema=False)
    return sink.getvalue().to_pybytes()
