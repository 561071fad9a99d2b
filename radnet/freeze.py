"""Holding the first groups of a backbone fixed."""

from radnet.backbone import Backbone
from radnet.errors import UsageError


def _num_frozen(level: str, names: list[str]) -> int:
    by_name = {"none": 0, "all": len(names)} | {name: k for k, name in enumerate(names, start=1)}
    if level not in by_name:
        raise UsageError(f"freeze level is {level!r}, expected none, all or {', '.join(names)}")
    return by_name[level]


def freeze(backbone: Backbone, level: str) -> list[str]:
    """Hold the first groups fixed and release the rest; returns the names of the frozen ones.

    level: "none", "all", or the name of the last group to freeze, counted from the input ("block3").

    Every group is set, so a second call undoes the first. Frozen parameters have requires_grad off and no gradient;
    frozen modules stay in eval mode through any later `train()` (see `Backbone.train`), so that a frozen BatchNorm
    normalises by its running statistics and never updates them. Build the optimizer after this call.

    Raises UsageError for an unknown level, ValueError when the groups do not hold each parameter exactly once.
    """
    groups = backbone.groups()
    names = [name for name, _ in groups]
    frozen = names[: _num_frozen(level, names)]
    grouped = [parameter for _, modules in groups for module in modules for parameter in module.parameters()]
    if sorted(map(id, grouped)) != sorted(map(id, backbone.parameters())):
        raise ValueError(f"the groups of {type(backbone).__name__} do not hold each parameter exactly once")
    for name, modules in groups:
        for module in modules:
            module.requires_grad_(name not in frozen)
            if name in frozen:
                module.zero_grad(set_to_none=True)
    backbone.frozen = frozenset(frozen)
    backbone.train(backbone.training)
    return frozen
