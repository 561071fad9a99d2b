"""What is learnt: header labels or masks. A task describes its network, loss and scores; one loop serves both."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from radnet import checkpoint, export, loss, metrics
from radnet.config import TrainConfig
from radnet.freeze import freeze
from radnet.heads import to_scores
from radnet.labels.taxonomy import taxonomy
from radnet.loader import Batch
from radnet.nets import build_net
from radnet.target import LABELS, SINGLE_LABELS

NEW_KEYS = ("heads\\..*", "decoder\\..*")  # what sits on a backbone is new in another task


class LabelTask:
    """Sequence, view, contrast, coverage and slice spacing from a volume."""

    masks = False

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        chosen = taxonomy(config.data.taxonomy)
        self.names = {label: tuple(getattr(chosen, label)) for label in LABELS[:-1]}
        self.weights = dict.fromkeys(LABELS, 1.0) | config.label_weights

    def architecture(self) -> dict[str, Any]:
        """The network in plain values, as `nets.build_net` reads it."""
        classes = {label: len(names) for label, names in self.names.items()} | {"spacing": 1}
        model = self.config.model
        return {
            "kind": "label",
            "backbone": model.backbone,
            "options": model.options,
            "classes": classes,
            "hidden": model.hidden or None,
        }

    def known(self, batch: Batch) -> torch.Tensor:
        """[5]: how much of each label is known in this micro-batch."""
        return loss.known_counts(batch.target, batch.weight)

    def loss(self, outputs: Any, batch: Batch, known: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """This micro-batch's share of the loss of the global batch, whose known counts are given; and its parts."""
        return loss.label_loss(outputs, batch.target, batch.weight, known, self.weights)

    def score(self, outputs: Any, batch: Batch) -> dict[str, np.ndarray]:
        """Probabilities per class, spacing in mm, and the targets: one row per sample."""
        return to_scores(outputs) | {"target": batch.target.numpy()}

    def summary(self, scores: dict[str, np.ndarray]) -> dict[str, float]:
        """Validation metrics for the log; a label nobody knows is left out."""
        target = scores["target"]
        result = {}
        for column, label in enumerate(SINGLE_LABELS):
            known = target[:, column] >= 0
            if known.any():
                right = metrics.accuracy(scores[label][known].argmax(1), target[known, column])
                result[f"val/accuracy/{label}"] = right
        known = (target[:, 3:-1] >= 0).all(1)
        if known.any():
            exact = ((scores["coverage"] >= 0.5) == (target[:, 3:-1] == 1)).all(1)
            result["val/accuracy/coverage"] = float(exact[known].mean())
        known = target[:, -1] > 0
        if known.any():
            result["val/mae_mm/spacing"] = metrics.mae(scores["spacing"][known], target[known, -1])
        return result


class SegmentationTask:
    """The liver (lesions included) from a volume and its mask."""

    masks = True
    names = {"segmentation": ("background", "liver")}

    def __init__(self, config: TrainConfig) -> None:
        self.config = config

    def architecture(self) -> dict[str, Any]:
        """The network in plain values, as `nets.build_net` reads it."""
        model = self.config.model
        return {
            "kind": "segmentation",
            "backbone": model.backbone,
            "options": model.options,
            "out_channels": 2,
            "width": model.decoder_width,
        }

    def known(self, batch: Batch) -> torch.Tensor:
        """[1]: the number of cases in this micro-batch."""
        return batch.weight.sum()[None]

    def loss(self, outputs: Any, batch: Batch, known: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """This micro-batch's share of soft Dice + cross-entropy over the global batch."""
        share = loss.dice_loss(outputs, liver(batch), batch.weight, known[0])
        return share, {"dice": share.detach()}

    def score(self, outputs: Any, batch: Batch) -> dict[str, np.ndarray]:
        """Dice of each case on the network's grid."""
        pairs = zip(outputs.argmax(1).cpu().numpy() > 0, liver(batch).cpu().numpy() > 0, strict=True)
        return {"dice": np.array([metrics.dice(predicted, truth) for predicted, truth in pairs])}

    def summary(self, scores: dict[str, np.ndarray]) -> dict[str, float]:
        """Validation metrics for the log."""
        return {"val/dice/liver": float(scores["dice"].mean())}


Task = LabelTask | SegmentationTask


def liver(batch: Batch) -> torch.Tensor:
    """[N,D,H,W] of 0 and 1: lesions lie in the liver and count as liver (LiTS: label ≥ 1)."""
    return (batch.mask >= 1).long()


@torch.no_grad()
def predict(task: Task, model: torch.nn.Module, batches: Iterable[Batch]) -> dict[str, np.ndarray]:
    """Scores of every real sample, one row each, with `sample` (its row in Samples). Leaves the model in eval mode."""
    model.eval()
    device = next(model.parameters()).device
    rows: list[dict[str, np.ndarray]] = []
    for batch in batches:
        scores = task.score(model(batch.volume.to(device)), batch) | {"sample": batch.sample}
        real = batch.weight.numpy() > 0
        rows.append({name: np.asarray(value)[real] for name, value in scores.items()})
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def initial_model(task: Task, resumed: str | None) -> tuple[torch.nn.Module, str]:
    """The task's network with initial weights, frozen as configured, and a phrase that says where they come from.

    resumed: the phrase for a checkpoint of the run itself, whose weights replace these later; model.init is not read.
    """
    config = task.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = build_net(task.architecture())
    origin = resumed or f"random weights (seed {config.seed})"
    if config.model.init and not resumed:
        source = checkpoint.weights(config.model.init)
        new = export.load_weights(model, export.read_weights(source), allow_missing=NEW_KEYS, allow_unused=NEW_KEYS)
        origin = f"weights of {source} ({len(new)} of {len(model.state_dict())} tensors are new)"
    frozen = freeze(model.backbone, config.model.freeze)
    return model, origin + (f"; frozen: {', '.join(frozen)}" if frozen else "")
