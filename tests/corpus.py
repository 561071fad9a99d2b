"""A shard set of random volumes whose labels are known, written through the real writer in a second."""

from pathlib import Path

import numpy as np

from radnet.launch.bench.loader_sets import finish
from radnet.shards.codec import SUFFIX, encode, npy
from radnet.shards.ledger import Code, LedgerRow
from radnet.shards.write import Outcome, Sample, write_shard

FAMILIES = (("CT", None), ("T1", "SE"), ("T2", "SE"), ("T1-FLAIR", "SE"), ("T2-FLAIR", "SE"))
VIEWS = ("axial", "coronal", "sagittal")


def volume(number: int) -> np.ndarray:
    """int16 [D,H,W] of a shape of its own; its brightness follows its class, so that a network can learn it."""
    rng = np.random.default_rng(number)
    voxels = rng.integers(0, 300, (9 + number % 7, 20 + number % 5, 24)).astype(np.int16)
    voxels[:, : 4 * (number % 5) + 2] += 400
    return voxels


def facts(number: int) -> dict:
    """What labels.parquet says of volume `number`."""
    family, technique = FAMILIES[number % 5]
    return {
        "patient_key": f"patient{number // 2}",
        "collection": "toy",
        "num_slices": len(volume(number)),
        "family": family,
        "technique": technique,
        "view": VIEWS[number % 3],
        "contrast": ("yes", "no", None)[number % 3],
        "coverage": ("brain", "liver;kidney", None)[number % 3],
        "spacing_mm": 2.0 + number % 4,
        "rules_version": "toy",
    }


def write_set(
    root: Path, counts: dict[str, int], codec: str = "npy", masks: bool = False, inventory: str = "0" * 64
) -> Path:
    """A finished shard set: split → number of samples, cut into shards of at most four."""
    root.mkdir(parents=True)
    sidecars, number = {}, 0
    for split, count in counts.items():
        sidecars[split] = []
        for shard, first in enumerate(range(0, count, 4)):
            numbers = range(number + first, number + min(first + 4, count))
            stem = str(root / f"{split}-{shard:06d}")
            sidecars[split].append(write_shard(stem, _outcomes(numbers, split, codec, masks), "toy"))
        number += count
    finish(root, codec, sidecars, inventory)
    return root


def _outcomes(numbers: range, split: str, codec: str, masks: bool):
    for number in numbers:
        voxels, key = volume(number), f"key{number:04d}"
        geometry = [*voxels.shape, facts(number)["spacing_mm"], 1, 1, *np.zeros(3), *np.eye(3).ravel(), 1, 0]
        geometry += list(np.percentile(voxels, [0, 0.5, 99.5, 100]))
        members = {f"{SUFFIX[codec]}": encode(voxels, codec), "geometry.npy": npy(np.array(geometry, np.float64))}
        members |= {"json": b"{}"} | ({"mask.npy": npy((voxels > 500).astype(np.uint8))} if masks else {})
        yield Outcome(LedgerRow(key, "p", Code.OK, "", 3, "CT"), Sample(key, members, {"split": split} | facts(number)))
