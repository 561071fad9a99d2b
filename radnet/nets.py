"""Whole networks: a backbone with what sits on it, built from a plain description that fits in config.json."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from radnet.backbone import Backbone
from radnet.backbones import build_backbone
from radnet.errors import UsageError
from radnet.heads import LabelHeads, VNetDecoder


class LabelNet(nn.Module):
    """Backbone and label heads. forward: [N,C,D,H,W] float → dict of outputs, see `LabelHeads`."""

    def __init__(self, backbone: Backbone, heads: LabelHeads) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = heads

    def forward(self, x_NCDHW: Tensor) -> dict[str, Tensor]:
        """See the class."""
        return self.heads(self.backbone(x_NCDHW))


class SegmentationNet(nn.Module):
    """Backbone and decoder. forward: [N,C,D,H,W] float → logits [N,K,D,H,W]."""

    def __init__(self, backbone: Backbone, decoder: VNetDecoder) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder

    def forward(self, x_NCDHW: Tensor) -> Tensor:
        """See the class."""
        return self.decoder(self.backbone(x_NCDHW), x_NCDHW.shape[2:])


def _label_net(backbone: Backbone, classes: Mapping[str, int], hidden: int | None) -> LabelNet:
    return LabelNet(backbone, LabelHeads(backbone.channels[-1], classes, hidden))


def _segmentation_net(backbone: Backbone, out_channels: int, width: int) -> SegmentationNet:
    return SegmentationNet(backbone, VNetDecoder(backbone.channels, backbone.strides, out_channels, width))


# kind → (how to build it on a backbone, the fields of the description it needs)
NETS: dict[str, tuple[Callable[..., nn.Module], tuple[str, ...]]] = {
    "label": (_label_net, ("classes", "hidden")),
    "segmentation": (_segmentation_net, ("out_channels", "width")),
}


def build_net(architecture: Mapping[str, Any]) -> LabelNet | SegmentationNet:
    """Build a network from its description, plain values only.

    {"kind": "label", "backbone": name, "options": {…}, "classes": {label: outputs}, "hidden": int or None} or
    {"kind": "segmentation", "backbone": name, "options": {…}, "out_channels": int, "width": int}.
    Raises UsageError when the kind, the backbone or a field is unknown or missing.
    """
    kind = architecture.get("kind")
    if kind not in NETS:
        raise UsageError(f"architecture kind is {kind!r}, expected one of {', '.join(NETS)}")
    build, fields = NETS[kind]
    expected = {"kind", "backbone", "options", *fields}
    if set(architecture) != expected:
        raise UsageError(f"a {kind} architecture has the fields {sorted(expected)}, got {sorted(architecture)}")
    backbone = build_backbone(architecture["backbone"], **architecture["options"])
    return build(backbone, **{field: architecture[field] for field in fields})
