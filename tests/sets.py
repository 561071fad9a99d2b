"""Shard sets of phantom DICOM and one liver case, made by what workers run, in seconds and without Ray."""

import os
from dataclasses import replace
from pathlib import Path

from radnet.shards.dicom import read_header
from radnet.shards.inventory import Row, list_files, pack, write_table
from radnet.shards.ledger import Code
from radnet.shards.nifti import list_cases
from radnet.shards.phantom import write_archive, write_cases
from radnet.shards.privacy import load_key
from radnet.shards.sample import BuildTask, Recipe, build_shard
from radnet.shards.write import read_sidecar
from tests.corpus import finish
from tests.series import grouped

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
