"""CT volumes for the loader's bench, as .npy files for its rivals and as finished shard sets for radnet; a phantom."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from radnet import store
from radnet.errors import FINISHED_WITH_FAILURES, OK
from radnet.kernels.grid import grid
from radnet.kernels.resample import resample
from radnet.seal import seal
from radnet.shards import ledger
from radnet.shards.codec import SUFFIX, encode, npy, percentiles
from radnet.shards.ledger import Code, LedgerRow
from radnet.shards.tables import write_labels
from radnet.shards.write import Outcome, Sample, Sidecar, read_sidecar, write_shard

SHAPE, GRID = (140, 512, 512), (48, 192, 192)
SPACING_MM = (2.5, 0.8, 0.8)
_FACTS = {"family": "CT", "technique": None, "contrast": "no", "coverage": "lung;liver", "rules_version": "bench"}


def volume(number: int) -> np.ndarray:
    """int16 [140,512,512] HU: a body in air with the noise of a scan."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[-1 : 1 : SHAPE[1] * 1j, -1 : 1 : SHAPE[2] * 1j]
    body = np.where((rows / 0.7) ** 2 + (columns / 0.9) ** 2 < 1, 40, -1000).astype(np.float32)
    return (body + rng.standard_normal(SHAPE, np.float32) * 15).astype(np.int16)


def at_grid(voxels: np.ndarray) -> np.ndarray:
    """The same at the training grid, int16."""
    return resample(voxels, grid(voxels.shape, SPACING_MM, GRID), GRID, out_dtype=np.int16)


def write_files(folder: Path, volumes: list[np.ndarray]) -> list[str]:
    """One .npy file for each volume; their paths."""
    folder.mkdir()
    for number, voxels in enumerate(volumes):
        np.save(folder / f"{number:03d}.npy", voxels)
    return sorted(map(str, folder.iterdir()))


def write_set(root: Path, volumes: list[np.ndarray], codec: str, num_shards: int) -> Path:
    """A finished shard set of these volumes, the first of them in its validation split too."""
    root.mkdir()
    numbers = np.array_split(np.arange(len(volumes)), num_shards)
    sidecars = {"train": [], "validation": []}
    for name, split, chosen in [
        *((f"train-{i:06d}", "train", part) for i, part in enumerate(numbers)),
        ("validation-000000", "validation", [0]),
    ]:
        outcomes = (_outcome(int(number), volumes[number], split, codec) for number in chosen)
        sidecars[split].append(write_shard(str(root / name), outcomes, "bench"))
    return finish(root, codec, sidecars)


def finish(root: Path, codec: str, sidecars: dict[str, list[Sidecar]], inventory: str = "0" * 64) -> Path:
    """Write the tables and index.json of shards that are there. sidecars: by split. inventory: its fingerprint."""
    every = [one for parts in sidecars.values() for one in parts]
    rows = [row for one in every for row in one.ledger]
    store.write_atomic(str(root / "ATTRIBUTION"), b"made up\n")
    tables = {
        "labels.parquet": write_labels(str(root / "labels.parquet"), [row for one in every for row in one.labels]),
        "ledger.parquet": ledger.write(str(root / "ledger.parquet"), rows),
        "ATTRIBUTION": store.sha256(str(root / "ATTRIBUTION")),
    }
    totals = ledger.totals(rows) | {"num_bytes": sum(one.info.num_bytes for one in every)}
    splits = {split: [one.info for one in parts] for split, parts in sidecars.items()}
    store.write_index(str(root), store.Index(codec, splits, {"inventory": inventory}, totals, tables))
    return root


def _outcome(number: int, voxels: np.ndarray, split: str, codec: str) -> Outcome:
    key = f"{split}{number:04d}"
    spacing = np.array(SPACING_MM) * SHAPE / voxels.shape
    numbers = [*voxels.shape, *spacing, 0, 0, 0, *np.eye(3).ravel(), 1, 0, *percentiles(voxels)]
    members = {SUFFIX[codec]: encode(voxels, codec), "geometry.npy": npy(np.array(numbers, np.float64)), "json": b"{}"}
    facts = {"split": split, "patient_key": key, "collection": "bench", "num_slices": len(voxels)} | _FACTS
    facts |= {"view": ("axial", "coronal")[number % 2], "spacing_mm": float(spacing[0])}
    return Outcome(LedgerRow(key, "p", Code.OK, "", len(voxels), "CT"), Sample(key, members, facts))


def multiply(root: Path, target: Path, num_shards: int) -> Path:
    """A finished set of `num_shards` shards, each of them the first shard of `root` under another name."""
    target.mkdir()
    first = read_sidecar(str(root / "train-000000"))
    sidecars = []
    for number in range(num_shards):
        name = f"train-{number:06d}"
        for suffix in (".tar", ".idx"):
            os.link(root / f"train-000000{suffix}", target / f"{name}{suffix}")
        labels = [row | {"shard": name} for row in first.labels]
        sidecars.append(replace(first, info=replace(first.info, name=name), labels=labels))
        store.write_atomic(str(target / f"{name}.json"), seal(asdict(sidecars[-1])))
    return finish(target, "npy", {"train": sidecars, "validation": []})


def radnet(*words: str) -> None:
    """Run the command on the CPU. Raises RuntimeError with the end of what it said where it fails."""
    command, environment = [sys.executable, "-m", "radnet.launch.cli", *words], os.environ | {"DS_ACCELERATOR": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode not in (OK, FINISHED_WITH_FAILURES):
        raise RuntimeError(f"radnet {' '.join(words)} failed: {done.stderr.strip()[-300:]}")


def write_phantom(root: Path) -> Path:
    """A finished set of the demo's phantom, a quarter of its patients."""
    radnet("phantom", str(root / "archive"), "--patients=27", "--cases=0")
    source = {"path": str(root / "archive" / "dicom"), "kind": "dicom", "collection": "phantom", "licence": "CC0-1.0"}
    config = {"out": str(root / "shards"), "sources": [source], "privacy": {"key": "public"}}
    (root / "shard.yaml").write_text(json.dumps(config))  # JSON is YAML
    radnet("shard", str(root / "shard.yaml"))
    return root / "shards"
