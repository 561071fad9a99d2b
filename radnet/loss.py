"""Losses that count only what is known.

Shape letters: N sample, K class, T target columns (`radnet.target`), D,H,W slices, rows, columns, V voxels.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from radnet.target import LABELS, SINGLE_LABELS


def _known_weight(target_NT: Tensor, weight_N: Tensor) -> dict[str, Tensor]:
    """Per label the weight of each known entry, 0 where unknown: [N], for coverage [N,regions]."""
    target, weight = target_NT.float(), weight_N.float()
    known = {name: weight * (target[:, k] >= 0) for k, name in enumerate(SINGLE_LABELS)}
    known["coverage"] = weight[:, None] * (target[:, 3:-1] >= 0)
    known["spacing"] = weight * (target[:, -1] > 0)
    return known


def known_counts(target_NT: Tensor, weight_N: Tensor) -> Tensor:
    """Sum of the weights of what is known, per label of `LABELS` → float32 [5]; coverage counts its known entries.

    Add these up over all ranks and micro-batches of a step and give the sum to `label_loss`.
    """
    known = _known_weight(target_NT, weight_N)
    return torch.stack([known[name].sum() for name in LABELS])


def _class_sum(logits_NK: Tensor, target_N: Tensor, weight_N: Tensor) -> Tensor:
    # Logits of unknown samples are replaced, not multiplied by zero: 0 · inf is nan.
    use = weight_N > 0
    logits = torch.where(use[:, None], logits_NK.float(), 0.0)
    index = torch.where(use, target_N, 0.0).long()
    return (F.cross_entropy(logits, index, reduction="none") * weight_N).sum()


def _coverage_sum(logits_NK: Tensor, target_NK: Tensor, weight_NK: Tensor) -> Tensor:
    use = weight_NK > 0
    logits = torch.where(use, logits_NK.float(), 0.0)
    target = torch.where(use, target_NK.float(), 0.0)
    return (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * weight_NK).sum()


def _spacing_sum(log_mm_N: Tensor, target_mm_N: Tensor, weight_N: Tensor) -> Tensor:
    use = weight_N > 0
    predicted = torch.where(use, log_mm_N.float(), 0.0)
    target = torch.log(torch.where(use, target_mm_N.float(), 1.0))
    return (F.huber_loss(predicted, target, reduction="none") * weight_N).sum()


def label_loss(
    outputs: Mapping[str, Tensor],
    target_NT: Tensor,
    weight_N: Tensor,
    known: Tensor,
    label_weights: Mapping[str, float],
) -> tuple[Tensor, dict[str, Tensor]]:
    """This micro-batch's share of the step's loss.

    outputs: of `LabelHeads`. target_NT: float32. weight_N: 0 for padding. known: [5], `known_counts` added up over all
    ranks and micro-batches of the step. label_weights: one factor per label of `LABELS`.

    Sequence, view and contrast cost cross-entropy, coverage binary cross-entropy per region, spacing the Huber loss
    (delta 1) of the natural logarithm of mm. Each is summed over its known entries and divided by `known`, so shares
    add up to the mean over what is known: an engine that averages gradients over ranks or micro-batches has to undo
    that average. A label nobody knows costs exactly 0 and has zero gradient.

    Returns the total, a float32 scalar, and the detached unweighted part of each label.
    """
    weights = _known_weight(target_NT, weight_N)
    sums = {name: _class_sum(outputs[name], target_NT[:, k], weights[name]) for k, name in enumerate(SINGLE_LABELS)}
    sums["coverage"] = _coverage_sum(outputs["coverage"], target_NT[:, 3:-1], weights["coverage"])
    sums["spacing"] = _spacing_sum(outputs["spacing"], target_NT[:, -1], weights["spacing"])
    divisor = torch.where(known > 0, known, 1.0).float()
    parts = {name: sums[name] / divisor[k] for k, name in enumerate(LABELS)}
    total = torch.stack([parts[name] * label_weights[name] for name in LABELS]).sum()
    return total, {name: part.detach() for name, part in parts.items()}


def dice_loss(logits_NKDHW: Tensor, mask_NDHW: Tensor, weight_N: Tensor, known: Tensor) -> Tensor:
    """Soft Dice over the foreground classes plus cross-entropy over voxels, both per sample, weighted by weight_N.

    logits_NKDHW: K ≥ 2 classes, class 0 is background. mask_NDHW: integer class of every voxel. weight_N: 0 for
    padding. known: sum of weight_N over all ranks and micro-batches of the step.
    One voxel is added above and below the Dice fraction, so an absent class that is not predicted costs nothing.
    Returns a float32 scalar.
    """
    use = weight_N > 0
    logits, mask = torch.where(use[:, None, None, None, None], logits_NKDHW.float(), 0.0), mask_NDHW.long()
    cross_entropy_N = F.cross_entropy(logits, mask, reduction="none").mean(dim=(1, 2, 3))
    probability_NKV = torch.softmax(logits, dim=1).flatten(2)[:, 1:]
    truth_NKV = F.one_hot(mask.flatten(1), logits.shape[1]).movedim(2, 1)[:, 1:].float()
    overlap = (probability_NKV * truth_NKV).sum(dim=2)
    dice_NK = (2 * overlap + 1) / (probability_NKV.sum(dim=2) + truth_NKV.sum(dim=2) + 1)
    cost_N = (cross_entropy_N + 1 - dice_NK.mean(dim=1)) * weight_N
    return cost_N.sum() / torch.where(known > 0, known, 1.0)
