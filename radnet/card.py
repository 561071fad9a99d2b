"""What a run's weights say of themselves: the preprocessing contract and the model card."""

from typing import Any

from radnet import store
from radnet.config import TrainConfig
from radnet.task import Task


def describe(task: Task, config: TrainConfig, step: int, metrics: dict[str, float]) -> tuple[dict[str, Any], str]:
    """config.json and README.md of a weights folder (see `export.export`), for weights after `step` steps."""
    index = store.read_index(config.data.shards)
    low, high = config.data.intensity
    contract = {
        "architecture": task.architecture(),
        "input_shape": list(config.data.grid.shape),
        "spacing_mm": None,
        "intensity": {"percentiles": [low, high], "range": [0.0, 1.0], "pad_short": config.data.grid.pad_short},
        "taxonomy": config.data.taxonomy,
        "corpus_fingerprint": index.fingerprints["inventory"],
        "metrics": {"step": step} | metrics,
    }
    return contract, _card(task, contract, index)


def _card(task: Task, contract: dict[str, Any], index: store.Index) -> str:
    depth, height, width = contract["input_shape"]
    low, high = contract["intensity"]["percentiles"]
    counts = ", ".join(
        f"{sum(s.num_samples for s in shards)} {split}" for split, shards in sorted(index.splits.items())
    )
    scores = "\n".join(f"- {name}: {value:.4g}" for name, value in contract["metrics"].items())
    what = "predicts header labels of CT and MR volumes" if not task.masks else "segments the liver"
    return f"""# {contract["architecture"]["backbone"]} by radnet

A 3D network that {what}. Trained on a corpus of {counts} volumes (fingerprint {contract["corpus_fingerprint"][:12]}).

## Input

float32 [N,1,{depth},{height},{width}]: slices in ascending position, rows, columns, never reoriented when labels are
predicted. The whole field of view is resized linearly to the grid (corner-fixed); fewer than {depth} slices are
{"centred and padded with zeros" if contract["intensity"]["pad_short"] else "stretched"}.
Percentiles {low} and {high} of the volume's voxels become 0 and 1, clamped.

## Load

    from radnet.export import load
    model, config = load("this/folder")

## Measured

{scores}

Not a medical device. Use it to start training, not to decide on a patient.
"""
