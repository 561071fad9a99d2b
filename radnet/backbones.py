"""Backbones by name, for configs and exported weights; a new one is one file and one entry here."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from radnet.backbone import Backbone
from radnet.errors import UsageError
from radnet.preact import PreActResNet3d
from radnet.resnet import ResNet3d

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "preact": PreActResNet3d,
    "resnet10": partial(ResNet3d, 10),
    "resnet18": partial(ResNet3d, 18),
    "resnet34": partial(ResNet3d, 34),
    "resnet50": partial(ResNet3d, 50),
    "resnet101": partial(ResNet3d, 101),
}


def build_backbone(name: str, **options: Any) -> Backbone:
    """The backbone of that name; options are its constructor's keyword arguments.

    Raises UsageError, listing what there is, for an unknown name or option.
    """
    if name not in BACKBONES:
        raise UsageError(f"backbone {name!r} is unknown, expected one of {', '.join(BACKBONES)}")
    known = [p for p in inspect.signature(BACKBONES[name]).parameters if p != "depth"]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UsageError(f"backbone {name} has no option {', '.join(unknown)}; it has {', '.join(known)}")
    try:
        return BACKBONES[name](**options)
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise UsageError(f"backbone {name} cannot be built with {options}: {' '.join(str(error).split())}") from None
