"""What a run's weights say of themselves: the preprocessing contract and the model card."""

import math
from typing import Any

from radnet import store
from radnet.config import TrainConfig
from radnet.task import Task


def describe(task: Task, config: TrainConfig, metrics: dict[str, float]) -> tuple[dict[str, Any], str]:
    """config.json and README.md of a weights folder (see `export.export`).

    metrics: of the run's last evaluation and its `step`; what is not finite is left out, because JSON has no nan.
    """
    index = store.read_index(config.data.shards)
    low, high = config.data.intensity
    contract = {
        "architecture": task.architecture(),
        "input_shape": list(config.data.grid.shape),
        "spacing_mm": None,
        "intensity": {"percentiles": [low, high], "range": [0.0, 1.0], "pad_short": config.data.grid.pad_short},
        "taxonomy": config.data.taxonomy,
        "classes": {label: list(names) for label, names in task.names.items()},
        "corpus_fingerprint": index.fingerprints["inventory"],
        "metrics": {name: value for name, value in metrics.items() if math.isfinite(value)},
    }
    available = sum(shard.num_samples for shard in index.splits["train"])
    return contract, _card(task, contract, min(available, config.max_train_samples or available))


def _card(task: Task, contract: dict[str, Any], num_train: int) -> str:
    depth, height, width = contract["input_shape"]
    low, high = contract["intensity"]["percentiles"]
    scores = "\n".join(f"- {name}: {value:.4g}" for name, value in contract["metrics"].items())
    classes = "\n".join(f"- {label}: {', '.join(names)}" for label, names in contract["classes"].items())
    what = "predicts header labels of CT and MR volumes" if not task.masks else "segments the liver"
    return f"""# {contract["architecture"]["backbone"]} by radnet

A 3D network that {what}. Trained on {num_train} volumes of the corpus {contract["corpus_fingerprint"][:12]}.

## Input

float32 [N,1,{depth},{height},{width}]: slices in ascending position, rows, columns, never reoriented when labels are
predicted. The whole field of view is resized linearly to the grid (corner-fixed); fewer than {depth} slices are
{"centred and padded with zeros" if contract["intensity"]["pad_short"] else "stretched"}.
Percentiles {low} and {high} of the volume's voxels become 0 and 1, clamped.

## Output, classes in order

{classes}

## Load

    from radnet.export import load
    model, config = load("this/folder")

## Measured on the validation split

{scores or "nothing yet"}

Not a medical device. Use it to start training, not to decide on a patient.
"""
