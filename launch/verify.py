"""Check a shard set: hashes of tar and idx, crc32 of members, and whether labels, sidecars, ledger and index agree.

    radnet verify SHARDS

Leaves with 0 when all is whole, else with 2 and one line per file that is not.
"""

import argparse
import json
import sys
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from radnet import store
from radnet.errors import OK, USAGE, UsageError
from radnet.launch.cli import existing_folder
from radnet.shards import ledger
from radnet.shards.write import Sidecar, read_sidecar


def main(argv: list[str]) -> int:
    """Run the program; returns its exit code. Raises UsageError where there is no finished shard set."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="radnet verify", description=__doc__, formatter_class=raw)
    parser.add_argument("shards", metavar="SHARDS", help="folder of a finished shard set")
    root = existing_folder(parser.parse_args(argv).shards, "a finished shard set")
    problems = list(check(root))
    for problem in problems:
        print(f"radnet: {problem}", file=sys.stderr)
    if problems:
        print("radnet: delete the shards and tables named, then run `radnet shard CONFIG` again", file=sys.stderr)
        return USAGE
    print(f"{root}: whole")
    return OK


def check(root: Path) -> Iterator[str]:
    """One line for everything that is not as index.json, the sidecars and the tables say."""
    index = store.read_index(str(root))
    labels = _labels(root)
    sidecars: list[Sidecar] = []
    for split, shards in index.splits.items():
        for info in shards:
            sidecar = read_sidecar(str(root / info.name))
            if sidecar is None or sidecar.info != info:
                yield f"{info.name}.json: missing, damaged or not the one index.json was made from"
            else:
                sidecars.append(sidecar)
                yield from _check_labels(split, sidecar, labels.get(info.name, []))
            yield from _check_files(root, info)
            yield from _check_members(root / f"{info.name}.tar", labels.pop(info.name, []))
    for name in labels:
        yield f"labels.parquet: shard {name} is not in index.json"
    yield from _check_ledger(root, index, sidecars)


def _labels(root: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of labels.parquet by shard, in order of position; "members" is crc32 parsed. Raises UsageError where
    damaged."""
    labels: dict[str, list[dict[str, Any]]] = {}
    try:
        for row in store.read_labels(str(root)).to_pylist():
            row["members"] = dict(json.loads(row["crc32"]))
            labels.setdefault(row["shard"], []).append(row)
        return {name: sorted(rows, key=lambda row: row["position"]) for name, rows in labels.items()}
    except UsageError:
        raise
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{root / 'labels.parquet'} is damaged ({error}); delete it and run `radnet shard CONFIG` again"
        ) from None


def _check_labels(split: str, sidecar: Sidecar, rows: list[dict[str, Any]]) -> Iterator[str]:
    """Compare what decides where a sample is and who it is with what the shard's writer noted."""
    name = sidecar.info.name
    found, noted = ([[row[name] for name in store.LABEL_COLUMNS] for row in table] for table in (rows, sidecar.labels))
    if found != noted:
        yield f"labels.parquet: rows of {name} are not those of {name}.json"
    if any(row["split"] != split for row in rows):
        yield f"labels.parquet: samples of {name} are not in split {split}"


def _check_files(root: Path, info: store.ShardInfo) -> Iterator[str]:
    for suffix, digest in (("tar", info.sha256_tar), ("idx", info.sha256_idx)):
        path = root / f"{info.name}.{suffix}"
        if not path.is_file():
            yield f"{path.name}: missing"
        elif store.sha256(str(path)) != digest:
            yield f"{path.name}: its content has changed since it was written"


def _check_members(path: Path, rows: list[dict[str, Any]]) -> Iterator[str]:
    expected = [(f"{row['key']}.{suffix}", crc) for row in rows for suffix, crc in sorted(row["members"].items())]
    found: list[tuple[str, int]] = []
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                found.append((member.name, zlib.crc32(tar.extractfile(member).read())))
    except (tarfile.TarError, OSError, EOFError, ValueError, AttributeError) as error:  # not a file: no content
        yield f"{path.name}: not a whole tar ({error})"
    if found != expected:
        wrong = next(
            (name for (name, crc), other in zip(expected, found, strict=False) if (name, crc) != other), "its end"
        )
        yield f"{path.name}: members differ from labels.parquet from {wrong} on"


def _check_ledger(root: Path, index: store.Index, sidecars: list[Sidecar]) -> Iterator[str]:
    try:
        rows = ledger.read(str(root / "ledger.parquet"))
    except (OSError, ValueError) as error:
        yield f"ledger.parquet: missing or damaged ({' '.join(str(error).split())})"
        return
    totals, splits = ledger.totals(rows), index.splits.values()
    if len({row.series_key for row in rows}) != len(rows):
        yield "ledger.parquet: a series has more than one row"
    if any(index.totals.get(status) != count for status, count in totals.items()):
        yield f"ledger.parquet: holds {totals}, index.json says {index.totals}"
    if totals["sharded"] != sum(shard.num_samples for shards in splits for shard in shards):
        yield f"ledger.parquet: {totals['sharded']} series are sharded, the shards hold another number of samples"
    by_key = {row.series_key: row for row in rows}
    for sidecar in sidecars:
        if any(by_key.get(row.series_key) != row for row in sidecar.ledger):
            yield f"ledger.parquet: rows of {sidecar.info.name} are not those of {sidecar.info.name}.json"


if __name__ == "__main__":
    from radnet.launch.cli import run

    run(main)
