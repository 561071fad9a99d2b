"""Shard sets of phantom DICOM and one liver case, made by what workers run, in seconds and without Ray; their tables,
and what changes them."""

import os
from dataclasses import replace
from pathlib import Path

from radnet import labels, store
from radnet.labels.finding import Finding
from radnet.launch.bench.loader_sets import finish
from radnet.shards import relabel as relabelling
from radnet.shards.dicom import read_header
from radnet.shards.inventory import Row, list_files, pack, write_table
from radnet.shards.ledger import Code
from radnet.shards.nifti import list_cases
from radnet.shards.phantom import write_archive, write_cases
from radnet.shards.privacy import load_key
from radnet.shards.sample import BuildTask, Recipe, build_shard
from radnet.shards.write import read_sidecar
from tests.series import grouped

HEAD = "series_key,label,value,who,why\n"
KINDS = ("inventory", "free text", "neither")
RECIPE = Recipe("htj2k", 2, 10**9, 50.0, None, False)


def phantom_rows(folder: Path) -> list[Row]:
    """The volumes of two phantom patients, and a liver case of another."""
    write_archive(folder / "in", folder / "truth", num_patients=2, seed=1, write_masks=False)
    records = [read_header(file) for file in list_files(str(folder / "in"))]
    found = grouped(records, load_key("public"), collection="phantom", licence="CC0")
    write_cases(folder / "cases", num_cases=1, seed=1)
    case = list_cases(folder / "cases")[0]
    files = [str(case.image), str(case.mask)]
    stamps = [[os.stat(file).st_size, os.stat(file).st_mtime_ns] for file in files]
    header = {"collection": "liver"}
    return [
        *(row for row in found if row.code == Code.OK),
        Row("c" * 20, "t" * 20, "p" * 20, "nifti", "liver", "", files, stamps, header, num_files=2),
    ]


def write_phantom_set(root: Path, rows: list[Row], *, keep_free_text: bool, keep_inventory: bool) -> Path:
    """A finished set: DICOM in train, two series a shard, and the case in validation."""
    root.mkdir()
    recipe = replace(RECIPE, keep_free_text=keep_free_text)
    dicom, cases = ([row for row in rows if row.kind == kind] for kind in ("dicom", "nifti"))
    jobs = [("train", number, dicom[at : at + 2]) for number, at in enumerate(range(0, len(dicom), 2))]
    sidecars = {"train": [], "validation": []}
    for split, number, items in [*jobs, ("validation", 0, cases)]:
        stem = str(root / f"{split}-{number:06d}")
        entries = [pack(row) for row in items]
        build_shard(BuildTask(Path(stem).name, entries, split, stem, "mark", recipe), frozenset())
        sidecars[split].append(read_sidecar(stem))
    finish(root, recipe.codec, sidecars)
    if keep_inventory:
        (root / "private").mkdir()
        write_table(str(root / "private" / "inventory.parquet"), [pack(row) for row in rows])
    return root


def contents(root: Path) -> dict[str, bytes]:
    """The files of a set by name; folders below it are left out."""
    return {path.name: path.read_bytes() for path in sorted(root.iterdir()) if path.is_file()}


def rows_of(root: Path) -> dict[str, dict]:
    """The label table by key."""
    return {row["key"]: row for row in store.read_labels(str(root)).to_pylist()}


def by_hand(folder: Path, *lines: str) -> str:
    """The path of an overrides.csv with these lines."""
    path = folder / "overrides.csv"
    path.write_text(HEAD + "\n".join(lines) + "\n")
    return str(path)


def new_rules(monkeypatch) -> None:
    """Rules of tomorrow: contrast is always yes, and coverage never known."""

    def read(header):
        found = replace(labels.read(header), contrast=Finding("yes", 0.5, "tomorrow"))
        return replace(found, coverage=Finding(None, 0.0, "tomorrow"))

    monkeypatch.setattr(relabelling, "read", read)
    monkeypatch.setattr(relabelling, "RULES_VERSION", "99")
