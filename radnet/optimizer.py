"""The optimizer and its schedule."""

import math
from collections.abc import Iterable

import torch

from radnet.config import TrainConfig


def make_optimizer(parameters: Iterable[torch.nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW over these parameters."""
    chosen = config.optimizer
    return torch.optim.AdamW(parameters, lr=chosen.learning_rate, weight_decay=chosen.weight_decay)


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then cosine to zero at config.steps; a pure function of the step."""
    peak, warmup = config.optimizer.learning_rate, config.optimizer.warmup_steps
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(config.steps - warmup, 1)
    return peak * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
