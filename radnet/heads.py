"""What is put on a backbone: label heads for pretraining, a light decoder for segmentation.

Shape letters: N sample, C channel, K class, D,H,W slices, rows, columns.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radnet.errors import UsageError
from radnet.target import LABELS, SINGLE_LABELS


class LabelHeads(nn.Module):
    """Global average of the coarsest feature, an optional dense layer with ReLU, one linear head per label.

    in_channels: channels of the coarsest feature. classes: outputs per label, for exactly the labels in `LABELS`;
    spacing has 1. hidden: width of the dense layer (the paper has 1000), None for none. Weights start
    from Glorot uniform.

    forward: features, or the coarsest [N,C,D,H,W] as their last → {"sequence": [N,K] logits, "view": [N,K] logits,
    "contrast": [N,K] logits, "coverage": [N,K] logits, one sigmoid each, "spacing": [N] natural logarithm of mm}.
    The logarithm needs no softplus: every real number is a valid spacing.

    Raises UsageError when classes name other labels.
    """

    def __init__(self, in_channels: int, classes: Mapping[str, int], hidden: int | None) -> None:
        super().__init__()
        if set(classes) != set(LABELS) or classes["spacing"] != 1:
            raise UsageError(f"heads need classes for {', '.join(LABELS)} (spacing: 1), got {dict(classes)}")
        self.dense = None if hidden is None else nn.Linear(in_channels, hidden)
        width = in_channels if hidden is None else hidden
        self.heads = nn.ModuleDict({name: nn.Linear(width, classes[name]) for name in LABELS})
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """See the class."""
        pooled_NC = features[-1].mean(dim=(2, 3, 4))
        if self.dense is not None:
            pooled_NC = F.relu(self.dense(pooled_NC))
        outputs = {name: head(pooled_NC) for name, head in self.heads.items()}
        outputs["spacing"] = outputs["spacing"].squeeze(1)
        return outputs


def to_scores(outputs: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Outputs of `LabelHeads` → what `metrics.table1` reads: probabilities [N,K] float32, and spacing [N] in mm."""
    scores = {name: torch.softmax(outputs[name].detach().float(), dim=1) for name in SINGLE_LABELS}
    scores["coverage"] = torch.sigmoid(outputs["coverage"].detach().float())
    scores["spacing"] = torch.exp(outputs["spacing"].detach().float())
    return {name: score.cpu().numpy() for name, score in scores.items()}


def _conv_norm_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    # GroupNorm, because segmentation runs with batches of one or two, where BatchNorm statistics are useless.
    return nn.Sequential(
        nn.Conv3d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.GroupNorm(math.gcd(8, out_channels), out_channels),
        nn.ReLU(inplace=True),
    )


def _enlarge(x_NCDHW: Tensor, size: Sequence[int]) -> Tensor:
    # Repeating voxels, as the paper does, and unlike trilinear its backward pass is deterministic on CUDA.
    return F.interpolate(x_NCDHW, size=tuple(size), mode="nearest-exact")


class VNetDecoder(nn.Module):
    """A light decoder for any backbone: enlarge to the next finer feature, concatenate it, one 3³ convolution.

    channels, strides: as the backbone declares them, finest to coarsest. out_channels: K logits per voxel. width:
    channels at the finest feature, doubling with each coarser one up to that feature's own channels. Where the finest
    stride is not 1 another convolution of width/2 channels follows at input resolution.

    forward(features, size): features finest to coarsest, size the input's (D,H,W) → logits [N,K,D,H,W]. Sizes come from
    the features themselves, so odd ones need no padding.

    Raises UsageError when channels and strides do not match or strides do not grow.
    """

    def __init__(
        self, channels: Sequence[int], strides: Sequence[tuple[int, int, int]], out_channels: int, width: int
    ) -> None:
        super().__init__()
        grows = all(a <= b for s, t in pairwise(strides) for a, b in zip(s, t, strict=True))
        if len(channels) != len(strides) or not grows:
            raise UsageError(f"a decoder needs one growing stride per feature, got {channels=} and {strides=}")
        widths = [min(width * 2**k, c) for k, c in enumerate(channels)]
        self.bottom = nn.Conv3d(channels[-1], widths[-1], 1)
        self.steps = nn.ModuleList(
            _conv_norm_relu(widths[k + 1] + channels[k], widths[k]) for k in range(len(channels) - 2, -1, -1)
        )
        at_input = tuple(strides[0]) == (1, 1, 1)
        last = widths[0] if at_input else max(width // 2, 1)
        self.finish = nn.Identity() if at_input else _conv_norm_relu(widths[0], last)
        self.logits = nn.Conv3d(last, out_channels, 1)

    def forward(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """See the class."""
        x = self.bottom(features[-1])
        for step, skip in zip(self.steps, reversed(features[:-1]), strict=True):
            x = step(torch.cat([_enlarge(x, skip.shape[2:]), skip], dim=1))
        return self.logits(self.finish(_enlarge(x, size)))
