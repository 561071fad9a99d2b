"""Segment the liver from a set of cases, starting from pretrained weights (model.init=…) or from random ones.

    radnet finetune CONFIG key=value …
    deepspeed --num_accelerators 2 launch/finetune.py CONFIG key=value …

Writes, besides the run's checkpoints, result.json (Dice of each test case) and overlay.npz (a slice of each).
"""

import json
import os
from pathlib import Path

import numpy as np
import torch

from radnet import checkpoint, export
from radnet.config import TrainConfig, load
from radnet.errors import OK
from radnet.launch.cli import config_parser
from radnet.launch.training import run_training
from radnet.loader import Loader
from radnet.metrics import dice
from radnet.samples import Samples, read_samples
from radnet.task import SegmentationTask, liver

MAX_OVERLAYS = 6


def main(argv: list[str]) -> int:
    """Parse, train, test; returns the exit code."""
    parser = config_parser("finetune", __doc__, TrainConfig)
    parser.add_argument("--local_rank", help="set by DeepSpeed's launcher")
    arguments = parser.parse_intermixed_args(argv)
    config = load(TrainConfig, arguments.config, arguments.overrides)
    test_cases = read_samples(config.data, "test", masks=True)
    code = run_training(config, SegmentationTask(config))
    if code == OK and os.environ.get("RANK", "0") == "0":
        result, overlay = test(config, test_cases)
        Path(config.run, "result.json").write_text(json.dumps(result, indent=1))
        np.savez_compressed(Path(config.run, "overlay.npz"), **overlay)
        where = f"over {len(result['dice'])} cases on the network's grid"
        print(f"test Dice {result['dice_mean']:.3f} {where} ({result['init']} weights)")
    return code


@torch.no_grad()
def test(config: TrainConfig, samples: Samples) -> tuple[dict, dict[str, np.ndarray]]:
    """Dice of every test case on the network's grid, and for the first cases the slice with most liver.

    Returns (result: JSON values, overlay: image float32, truth and prediction uint8, each [K,H,W]).
    """
    model, _ = export.load(checkpoint.weights(config.run))
    model.to(config.device)
    loader = Loader(samples, config.data, micro_batch=1, rank=0, world=1, device=config.device, masks=True)
    rows, slices = [], []
    for batch in loader.evaluation():
        image, truth = batch.volume[0, 0].cpu().numpy(), liver(batch)[0].cpu().numpy().astype(np.uint8)
        predicted = model(batch.volume).argmax(1)[0].cpu().numpy().astype(np.uint8)
        rows.append({"case": batch.keys[0], "dice": float(dice(predicted > 0, truth > 0))})
        middle = int(truth.sum((1, 2)).argmax())
        slices.append((image[middle], truth[middle], predicted[middle]))
    result = {
        "init": "pretrained" if config.model.init else "random",
        "dice_mean": float(np.mean([row["dice"] for row in rows])),
        "dice": rows,
        "curve": _curve(Path(config.run)),
    }
    stacks = (np.stack(parts) for parts in zip(*slices[:MAX_OVERLAYS], strict=True))
    return result, dict(zip(("image", "truth", "prediction"), stacks, strict=True))


def _curve(run: Path) -> list[dict[str, float]]:
    """Validation Dice by step."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{"step": line["step"], "dice": line["val/dice/liver"]} for line in lines if "val/dice/liver" in line]


if __name__ == "__main__":
    from radnet.launch.cli import run

    run(main)
