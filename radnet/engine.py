"""The only door to DeepSpeed: one model, its optimizer, and the processes that train it together.

Also runs alone: without a launcher the process is a world of one.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from radnet.config import TrainConfig
from radnet.errors import UsageError
from radnet.optimizer import make_optimizer

T = TypeVar("T")
TAG = "state"  # DeepSpeed's own name for what lies in a checkpoint's engine folder


def check_device(device: str) -> None:
    """Raise UsageError unless device is "cpu", or "cuda" and torch sees one."""
    if device not in ("cpu", "cuda"):
        raise UsageError(f"device={device!r} was given, expected cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device=cuda was asked for, but torch sees no CUDA device; use device=cpu or mend the driver")


def start(device: str) -> tuple[int, int]:
    """Join the job's processes (or form a world of one); returns (rank, world). Raises UsageError as check_device."""
    check_device(device)
    if device == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"  # read by DeepSpeed at import
    if "RANK" not in os.environ:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        alone = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in alone.items()})
    import deepspeed

    # Its shared-memory all-reduce is compiled at first use (a minute, and a compiler); gloo needs neither.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    _quiet()
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    deepspeed.init_distributed(dist_backend="gloo" if device == "cpu" else "nccl", verbose=False)
    return deepspeed.comm.get_rank(), deepspeed.comm.get_world_size()


def stop() -> None:
    """Leave the job's processes."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


def share(value: T) -> T:
    """Rank 0's value, on every rank; what the others pass is ignored."""
    box = [value]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


@contextmanager
def together() -> Iterator[None]:
    """Work that each rank does on its own: a UsageError of any rank is raised on all, so that none waits for it."""
    raised = None
    try:
        yield
    except UsageError as error:
        raised = str(error)
    everyone: list[str | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everyone, raised)
    first = next((text for text in everyone if text), None)
    if first:
        raise UsageError(first)


def _quiet() -> None:
    """DeepSpeed logs tens of lines at INFO; warnings and errors stay."""
    import logging

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)


def accumulate_steps(config: TrainConfig, world: int) -> int:
    """Micro-batches of one step on one rank; UsageError unless global = micro × accumulate × world."""
    micro, wanted = config.engine.micro_batch, config.engine.global_batch
    if wanted % (micro * world):
        raise UsageError(
            f"engine.global_batch={wanted} is not a multiple of engine.micro_batch={micro} x {world} processes; "
            f"choose for example engine.global_batch={micro * world}"
        )
    return wanted // (micro * world)


class Engine:
    """A model under DeepSpeed.

    module: the bare model. rank, world, accumulate: this process, all processes, micro-batches of a step.
    """

    def __init__(self, model: torch.nn.Module, config: TrainConfig, world: int) -> None:
        import deepspeed

        self.accumulate = accumulate_steps(config, world)
        device = torch.device("cpu" if config.device == "cpu" else f"cuda:{torch.cuda.current_device()}")
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._bad = torch.zeros((), device=device)
        for parameter in trained:
            parameter.register_hook(self._watch)
        self._engine, *_ = deepspeed.initialize(
            model=model.to(device),
            optimizer=make_optimizer(trained, config),
            config=_settings(config),
            dist_init_required=False,
        )
        self.module, self.device = self._engine.module, device
        self.rank, self.world = deepspeed.comm.get_rank(), world

    def backward(self, loss: torch.Tensor) -> None:
        """Gradients of a loss that is already normalised over the whole global batch.

        DeepSpeed divides by the accumulate steps and averages over ranks; multiplying by both first leaves the sum.
        """
        self._engine.backward(loss * (self.accumulate * self.world))

    def _watch(self, gradient: torch.Tensor) -> None:
        """Runs on every gradient as backward makes it, before DeepSpeed reduces it; no host synchronisation."""
        self._bad += ~torch.isfinite(gradient).all()

    def gradients_finite(self) -> bool:
        """Whether every gradient since the last call was finite on every rank; the same answer on all."""
        bad = self.all_sum(self._bad)
        self._bad.zero_()
        return bad.item() == 0

    def step(self, learning_rate: float) -> None:
        """Close one micro-batch; at the last of a step the optimizer moves with this learning rate."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.step()

    def forward(self, volume: torch.Tensor) -> Any:
        """The model's outputs under the engine's precision."""
        return self._engine(volume)

    def all_sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over ranks, in a new tensor on the engine's device."""
        total = tensor.detach().clone().to(self.device)
        torch.distributed.all_reduce(total)
        return total

    def gather(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Arrays of all ranks concatenated along axis 0, in rank order, on every rank."""
        everyone: list[dict[str, np.ndarray]] = [{} for _ in range(self.world)]
        torch.distributed.all_gather_object(everyone, arrays)
        return {name: np.concatenate([part[name] for part in everyone]) for name in arrays}

    def barrier(self) -> None:
        """Wait for all ranks."""
        torch.distributed.barrier()

    def average_norm_statistics(self) -> None:
        """Set floating-point buffers (running means and variances) to their mean over ranks."""
        for buffer in self.module.buffers():
            if buffer.is_floating_point():
                torch.distributed.all_reduce(buffer)
                buffer /= self.world

    def save(self, folder: Path) -> None:
        """Write model, optimizer and engine state below folder; called by all ranks."""
        self._engine.save_checkpoint(str(folder), tag=TAG, save_latest=False)

    def load(self, folder: Path) -> None:
        """Restore what save wrote; called by all ranks. Raises UsageError when DeepSpeed finds nothing there."""
        loaded, _ = self._engine.load_checkpoint(str(folder), tag=TAG)
        if loaded is None:
            raise UsageError(
                f"{folder} holds no checkpoint of DeepSpeed; delete {folder.parent} to go on from the one before"
            )


def _settings(config: TrainConfig) -> dict[str, Any]:
    """DeepSpeed's own configuration, every value explicit."""
    return {
        "train_batch_size": config.engine.global_batch,
        "train_micro_batch_size_per_gpu": config.engine.micro_batch,
        "gradient_clipping": config.optimizer.clip,
        "zero_optimization": {"stage": config.engine.zero_stage},
        "torch_autocast": {"enabled": config.engine.precision == "bf16", "dtype": "bfloat16"},
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }
