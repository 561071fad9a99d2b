"""Print Table 1 of the 3D-RADNet paper for a shard set: how well each label is predicted.

Against the header labels, and against exact truth where the archive has one (the digital phantom).
"""

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from radnet import checkpoint, export, store
from radnet.config import DataConfig, GridConfig, TrainConfig
from radnet.engine import check_device
from radnet.errors import OK, UsageError
from radnet.labels.taxonomy import taxonomy
from radnet.launch.cli import existing_folder
from radnet.loader import Loader
from radnet.metrics import format_table1, table1
from radnet.samples import Samples, read_samples
from radnet.task import LabelTask, predict

FACTS = ("family", "technique", "view", "contrast")


def main(argv: list[str]) -> int:
    """Parse, predict, print; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="radnet evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", metavar="WEIGHTS", help="a run folder, or exported weights")
    parser.add_argument("--shards", required=True, metavar="DIR", help="a finished shard set")
    parser.add_argument("--split", default="test", help="which split to predict (default: test)")
    parser.add_argument("--truth", metavar="FILE", help="truth.csv of the phantom, beside its archive")
    parser.add_argument("--out", metavar="FILE", help="write the table as JSON too")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    arguments = parser.parse_args(argv)
    existing_folder(arguments.shards, "a shard set")
    check_device(arguments.device)
    if arguments.out:
        existing_folder(str(Path(arguments.out).parent), "the folder to write --out in")
    result = evaluate(arguments.weights, arguments.shards, arguments.split, arguments.truth, arguments.device)
    for name in ("header", "truth"):
        if name in result:
            print(f"\nTable 1 against {name} labels, {arguments.split} split, {result['num_patients']} patients")
            print(result[name]["text"])
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(result, indent=1))
    return OK


def evaluate(weights: str, shards: str, split: str, truth: str | None, device: str) -> dict:
    """Predict every sample of a split once; returns {"header": {rows, text}, "truth": …, num_patients, …}."""
    folder = checkpoint.weights(weights)
    model, contract = export.load(folder)
    if contract["architecture"]["kind"] != "label":
        raise UsageError(
            f"{folder} holds a {contract['architecture']['kind']} network; Table 1 needs one with label heads"
        )
    config = _config(contract, shards, device)
    task = LabelTask(config)
    samples = read_samples(config.data, split)
    loader = Loader(samples, config.data, micro_batch=8, rank=0, world=1, device=device, masks=False)
    scores = predict(task, model.to(device), loader.evaluation())
    target = scores.pop("target")
    rows = scores.pop("sample")
    patients = np.array(samples.patients)[rows]
    result = {
        "weights_sha256": contract["weights_sha256"],
        "corpus_fingerprint": store.read_index(shards).fingerprints["inventory"],
        "split": split,
        "num_samples": len(samples),
        "num_patients": len(set(samples.patients)),
        "header": _table(scores, target, patients, task.names),
    }
    if truth:
        exact = loader.evaluated(_truth_targets(truth, shards, samples, config))[rows]
        result["truth"] = _table(scores, exact, patients, task.names)
    return result


def _config(contract: dict, shards: str, device: str) -> TrainConfig:
    """The preprocessing of the weights, as the loader reads it."""
    intensity = contract["intensity"]
    grid = GridConfig(shape=contract["input_shape"], pad_short=intensity["pad_short"])
    data = DataConfig(
        shards=shards,
        taxonomy=contract["taxonomy"],
        grid=grid,
        crop_mm=contract.get("crop_mm", []),
        intensity=intensity["percentiles"],
        ct_window_hu=intensity.get("ct_window_hu", []),
        grey_levels=intensity.get("grey_levels", 0),
    )
    return replace(TrainConfig(), data=data, device=device)


def _table(scores: dict, target: np.ndarray, patients: np.ndarray, names: dict) -> dict:
    rows = table1(scores, target, patients, names)
    return {"rows": rows, "text": format_table1(rows)}


def _truth_targets(truth: str, shards: str, samples: Samples, config: TrainConfig) -> np.ndarray:
    """float32 [N,13] of whole volumes from the truth table, -1 for a sample that is not in it."""
    import pyarrow.parquet

    names = Path(shards) / "private" / "map.parquet"
    for path in (Path(truth), names):
        if not path.is_file():
            raise UsageError(f"{path} does not exist; truth is joined by series UID through private/map.parquet")
    uids = {row["series_key"]: row["series_uid"] for row in pyarrow.parquet.read_table(names).to_pylist()}
    with open(truth, newline="") as stream:
        table = csv.DictReader(stream)
        missing = {"series_uid", *FACTS, "coverage", "spacing_mm"} - set(table.fieldnames or ())
        if missing:
            raise UsageError(f"{truth} has no column {', '.join(sorted(missing))}; give the phantom's truth.csv")
        known = {row["series_uid"]: _truth_row(row) for row in table}
    mapping = taxonomy(config.data.taxonomy)
    targets = np.full_like(samples.targets, -1)
    for number, key in enumerate(samples.keys):
        if uids.get(key) in known:
            targets[number] = mapping.targets(known[uids[key]])
    return targets


def _truth_row(row: dict[str, str]) -> dict:
    """A row of truth.csv as the taxonomy reads facts: empty is unknown, but for coverage, where it is no region."""
    facts: dict = {name: row[name] or None for name in FACTS}
    spacing_mm = float(row["spacing_mm"]) if row["spacing_mm"] else None
    return facts | {"coverage": row["coverage"], "spacing_mm": spacing_mm}


if __name__ == "__main__":
    from radnet.launch.cli import run

    run(main)
