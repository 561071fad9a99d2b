"""What a run's weights say of themselves: the preprocessing contract and the model card."""

import math
from typing import Any

from radnet import store
from radnet.config import TrainConfig
from radnet.samples import prints
from radnet.task import Task


def describe(task: Task, config: TrainConfig, metrics: dict[str, float]) -> tuple[dict[str, Any], str]:
    """config.json and README.md of a weights folder (see `export.export`).

    metrics: of the run's last evaluation and its `step`; what is not finite is left out, because JSON has no nan.
    """
    data = config.data
    contract = {
        "architecture": task.architecture(),
        "input_shape": list(data.grid.shape),
        "spacing_mm": None,
        "crop_mm": list(data.crop_mm),
        "intensity": {
            "percentiles": list(data.intensity),
            "ct_window_hu": list(data.ct_window_hu),
            "grey_levels": data.grey_levels,
            "range": [0.0, 1.0],
            "pad_short": data.grid.pad_short,
        },
        "taxonomy": data.taxonomy,
        "classes": {label: list(names) for label, names in task.names.items()},
        "corpus_fingerprint": prints(data)["corpus"],
        "metrics": {name: value for name, value in metrics.items() if math.isfinite(value)},
    }
    indices = [store.read_index(root) for root in (data.shards, *data.more)]
    available = sum(shard.num_samples for index in indices for shard in index.splits["train"])
    num_train = min(available, config.max_train_samples or available)
    trained_on = f"those volumes of which {data.where!r} holds" if data.where else f"{num_train} volumes"
    return contract, _card(task, contract, trained_on)


def _card(task: Task, contract: dict[str, Any], trained_on: str) -> str:
    depth, height, width = contract["input_shape"]
    intensity = contract["intensity"]
    scores = "\n".join(f"- {name}: {value:.4g}" for name, value in contract["metrics"].items())
    classes = "\n".join(f"- {label}: {', '.join(names)}" for label, names in contract["classes"].items())
    what = "predicts header labels of CT and MR volumes" if not task.masks else "segments the liver"
    return f"""# {contract["architecture"]["backbone"]} by radnet

A 3D network that {what}. Trained on {trained_on} of the corpus {contract["corpus_fingerprint"][:12]}.

## Input

float32 [N,1,{depth},{height},{width}]: slices in ascending position, rows, columns, never reoriented when labels are
predicted. {_field(contract["crop_mm"])} is resized linearly to the grid (corner-fixed); fewer than {depth} slices are
{"centred and padded with zeros" if intensity["pad_short"] else "stretched"}.
{_brightness(intensity)}

## Output, classes in order

{classes}

## Load

    from radnet.export import load
    model, config = load("this/folder")

## Measured on the validation split

{scores or "nothing yet"}

Not a medical device. Use it to start training, not to decide on a patient.
"""


def _field(crop_mm: list[float]) -> str:
    if not crop_mm:
        return "The whole field of view"
    sides = " x ".join(f"{side:g}" if side else "all" for side in crop_mm)
    return f"The middle of the field of view, at most {sides} mm (D x H x W),"


def _brightness(intensity: dict[str, Any]) -> str:
    low, high = intensity["percentiles"]
    parts = [f"Percentiles {low} and {high} of the volume's voxels become 0 and 1, clamped"]
    if intensity["ct_window_hu"]:
        parts.append("of CT {} and {} HU instead".format(*intensity["ct_window_hu"]))
    if intensity["grey_levels"]:
        parts.append(f"rounded to {intensity['grey_levels']} levels")
    return "; ".join(parts) + "."
