"""The usual post-activation 3D ResNet, with the state-dict keys of MedicalNet and MONAI.

Shape letters: N sample, C channel, D,H,W slices, rows, columns.
"""

import math
from collections.abc import Callable

from torch import Tensor, nn

from radnet.backbone import Backbone
from radnet.errors import UsageError


def _group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(math.gcd(8, channels), channels)


def _instance_norm(channels: int) -> nn.Module:
    return nn.InstanceNorm3d(channels, affine=True)


Norm = Callable[[int], nn.Module]
NORMS: dict[str, Norm] = {"batch": nn.BatchNorm3d, "group": _group_norm, "instance": _instance_norm}


class _Basic(nn.Module):
    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, downsample: nn.Module | None, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = norm(width)
        self.conv2 = nn.Conv3d(width, width, 3, padding=1, bias=False)
        self.bn2 = norm(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x_NCDHW: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x_NCDHW)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x_NCDHW if self.downsample is None else self.downsample(x_NCDHW)))


class _Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, downsample: nn.Module | None, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, width, 1, bias=False)
        self.bn1 = norm(width)
        self.conv2 = nn.Conv3d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = norm(width)
        self.conv3 = nn.Conv3d(width, self.expansion * width, 1, bias=False)
        self.bn3 = norm(self.expansion * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x_NCDHW: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x_NCDHW)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x_NCDHW if self.downsample is None else self.downsample(x_NCDHW)))


Block = type[_Basic] | type[_Bottleneck]
DEPTHS: dict[int, tuple[Block, tuple[int, int, int, int]]] = {
    10: (_Basic, (1, 1, 1, 1)),
    18: (_Basic, (2, 2, 2, 2)),
    34: (_Basic, (3, 4, 6, 3)),
    50: (_Bottleneck, (3, 4, 6, 3)),
    101: (_Bottleneck, (3, 4, 23, 3)),
}


def _layer(block: Block, in_channels: int, width: int, num_blocks: int, stride: int, norm: Norm) -> nn.Sequential:
    out_channels = block.expansion * width
    downsample = None
    if stride != 1 or in_channels != out_channels:
        downsample = nn.Sequential(
            nn.Conv3d(in_channels, out_channels, 1, stride=stride, bias=False), norm(out_channels)
        )
    first = block(in_channels, width, stride, downsample, norm)
    return nn.Sequential(first, *(block(out_channels, width, 1, None, norm) for _ in range(num_blocks - 1)))


class ResNet3d(Backbone):
    """Post-activation 3D ResNet: conv 7³, 3³ max-pool of stride 2, four layers of stride 1, 2, 2, 2.

    depth: 10, 18, 34 (basic blocks), 50, 101 (bottlenecks). width: channels of the stem and of layer 1 (before the
    bottleneck's factor 4). norm: "batch", "group" (gcd(8, channels) groups) or "instance" (affine).
    stem_stride: of conv1 along D,H,W. (1,2,2) keeps thick slices apart; MedicalNet has (2,2,2), and dilates its layers
    3 and 4 where these stride.

    Features: the stem after ReLU and before pooling, then layers 1–4. Odd sizes round up at every stride.
    Raises UsageError for an unknown depth or norm.
    """

    def __init__(
        self,
        depth: int,
        width: int = 64,
        in_channels: int = 1,
        norm: str = "batch",
        stem_stride: tuple[int, int, int] = (1, 2, 2),
    ) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise UsageError(f"depth is {depth!r}, expected one of {', '.join(map(str, DEPTHS))}")
        if norm not in NORMS:
            raise UsageError(f"norm is {norm!r}, expected one of {', '.join(NORMS)}")
        block, (n1, n2, n3, n4) = DEPTHS[depth]
        make_norm, e = NORMS[norm], block.expansion
        self.channels = (width, width * e, 2 * width * e, 4 * width * e, 8 * width * e)
        d, h, w = stem_stride
        self.strides = ((d, h, w), *((d * 2**k, h * 2**k, w * 2**k) for k in range(1, 5)))
        self.conv1 = nn.Conv3d(in_channels, width, 7, stride=(d, h, w), padding=3, bias=False)
        self.bn1 = make_norm(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool3d(3, stride=2, padding=1)
        self.layer1 = _layer(block, width, width, n1, 1, make_norm)
        self.layer2 = _layer(block, width * e, 2 * width, n2, 2, make_norm)
        self.layer3 = _layer(block, 2 * width * e, 4 * width, n3, 2, make_norm)
        self.layer4 = _layer(block, 4 * width * e, 8 * width, n4, 2, make_norm)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x_NCDHW: Tensor) -> list[Tensor]:
        """[N,C,D,H,W] float → stem and layer features, finest to coarsest."""
        stem = self.relu(self.bn1(self.conv1(x_NCDHW)))
        features = [stem, self.layer1(self.maxpool(stem))]
        for layer in (self.layer2, self.layer3, self.layer4):
            features.append(layer(features[-1]))
        return features

    def groups(self) -> list[tuple[str, list[nn.Module]]]:
        """stem, layer1 … layer4."""
        layers: list[tuple[str, list[nn.Module]]] = [(f"layer{k}", [getattr(self, f"layer{k}")]) for k in range(1, 5)]
        return [("stem", [self.conv1, self.bn1]), *layers]
