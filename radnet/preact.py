"""The pre-activation encoder of 3D-RADNet (Du & Vardhanabhuti, MIDL 2020), as in the authors' released code.

Shape letters: N sample, C channel, D,H,W slices, rows, columns.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from radnet.backbone import Backbone

EXPANSION = 4
STEM_KERNEL, STEM_STRIDE = 7, 2  # along H and W


def _norm_relu(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm3d(channels, eps=1e-3, momentum=0.01), nn.ReLU(inplace=True))


def _pad_like_tensorflow(x_NCDHW: Tensor) -> Tensor:
    """Zero-pad H and W as TensorFlow's "same" does for the stem: the odd voxel goes after, not before.

    For even sizes 2 before and 3 after; a symmetric 3 would shift the grid by one voxel.
    """
    pads: list[int] = []
    for size in (x_NCDHW.shape[4], x_NCDHW.shape[3]):
        total = max((-(-size // STEM_STRIDE) - 1) * STEM_STRIDE + STEM_KERNEL - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x_NCDHW, pads)


class _Unit(nn.Module):
    """Three pre-activated convolutions beside a pre-activated 1³ shortcut, never the identity; a bare sum."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        out_channels = EXPANSION * width
        self.main = nn.Sequential(
            _norm_relu(in_channels),
            nn.Conv3d(in_channels, width, 1),
            _norm_relu(width),
            nn.Conv3d(width, width, 3, padding=1),
            _norm_relu(width),
            nn.Conv3d(width, out_channels, 1),
        )
        self.shortcut = nn.Sequential(_norm_relu(in_channels), nn.Conv3d(in_channels, out_channels, 1))

    def forward(self, x_NCDHW: Tensor) -> Tensor:
        return self.main(x_NCDHW) + self.shortcut(x_NCDHW)


class PreActResNet3d(Backbone):
    """The paper's encoder: stem, four blocks of pre-activation units with max-pooling between, a last BN and ReLU.

    layers: units per block. width: channels of the stem and inner channels of block 1; block k gives 4·width·2^(k-1).
    in_channels: channels of the input [N,C,D,H,W], float in [0,1] with zero as padding; D ≥ 16, H and W ≥ 32.
    The defaults are the paper's 60,748,032 trainable parameters. Every convolution has a bias and starts from Glorot
    uniform; BatchNorm has eps 1e-3 and momentum 0.01. Pooling drops an odd last voxel.

    Features: the stem after ReLU, then the blocks, all before pooling; the last BN and ReLU are applied to block 4.
    """

    def __init__(self, layers: Sequence[int] = (3, 4, 6, 3), width: int = 64, in_channels: int = 1) -> None:
        super().__init__()
        widths = [width * 2**k for k in range(len(layers))]
        self.channels = (width, *(EXPANSION * w for w in widths))
        self.strides = ((1, 2, 2), *((2**k, 2 ** (k + 1), 2 ** (k + 1)) for k in range(1, len(layers) + 1)))
        self.stem_conv = nn.Conv3d(
            in_channels, width, (3, STEM_KERNEL, STEM_KERNEL), stride=(1, STEM_STRIDE, STEM_STRIDE), padding=(1, 0, 0)
        )
        self.stem_norm = _norm_relu(width)
        self.blocks = nn.ModuleList(
            nn.Sequential(*(_Unit(c_in if unit == 0 else c_out, w) for unit in range(num_units)))
            for num_units, w, (c_in, c_out) in zip(layers, widths, pairwise(self.channels), strict=True)
        )
        self.tail = _norm_relu(self.channels[-1])
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, x_NCDHW: Tensor) -> list[Tensor]:
        """[N,C,D,H,W] float → stem and block features, finest to coarsest."""
        features = [self.stem_norm(self.stem_conv(_pad_like_tensorflow(x_NCDHW)))]
        for block in self.blocks:
            features.append(block(F.max_pool3d(features[-1], 2)))
        features[-1] = self.tail(features[-1])
        return features

    def groups(self) -> list[tuple[str, list[nn.Module]]]:
        """stem, block1 …, tail: "frozen to block k" of the paper is the group block k; "all" takes the last BN too."""
        blocks: list[tuple[str, list[nn.Module]]] = [(f"block{k}", [b]) for k, b in enumerate(self.blocks, start=1)]
        return [("stem", [self.stem_conv, self.stem_norm]), *blocks, ("tail", [self.tail])]
