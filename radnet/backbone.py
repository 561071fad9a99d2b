"""What every backbone declares: features, strides, channels, and an ordered partition into groups."""

from abc import ABC, abstractmethod
from typing import Self

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """A 3D encoder.

    channels: feature channels, finest to coarsest. strides: input voxels per feature voxel along D,H,W, same order.
    frozen: names of the groups held fixed; `radnet.freeze.freeze` sets it.
    """

    channels: tuple[int, ...]
    strides: tuple[tuple[int, int, int], ...]

    def __init__(self) -> None:
        super().__init__()
        self.frozen: frozenset[str] = frozenset()

    @abstractmethod
    def forward(self, x_NCDHW: Tensor) -> list[Tensor]:
        """[N,C,D,H,W] float → features [N,channels[k],~D/stride,~H/stride,~W/stride], finest to coarsest."""

    @abstractmethod
    def groups(self) -> list[tuple[str, list[nn.Module]]]:
        """Named groups, input to output; each parameter lies in exactly one."""

    def train(self, mode: bool = True) -> Self:
        """As nn.Module.train, but frozen groups stay in eval mode.

        Every `model.train()` of a net that contains this backbone comes through here, so the running statistics of a
        frozen BatchNorm neither move nor give way to batch statistics.
        """
        super().train(mode)
        for name, modules in self.groups():
            if name in self.frozen:
                for module in modules:
                    module.eval()
        return self
