"""Training jobs as users start them, in processes of their own, on a toy shard set."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

BIN = Path(sys.executable).parent
TOY = [
    "pretrain_demo",
    # Large enough for BatchNorm to see several voxels at the coarsest stage: over one voxel of two samples its output
    # is a sign, and rounding decides it.
    "data.grid.shape=[16,32,32]",
    "model.options={width: 4, stem_stride: [1, 1, 1]}",
    "optimizer.learning_rate=1e-3",
    "engine.micro_batch=2",
    "engine.global_batch=4",
    "steps=6",
    "save_every=3",
    "evaluate_every=3",
    "optimizer.warmup_steps=1",
    "tracking.wandb=off",
]


def command(run: Path, shards: Path, *overrides: str, processes: int = 1) -> list[str]:
    """pretrain on the toy set: alone, or under DeepSpeed's launcher."""
    launcher = [str(BIN / "radnet"), "pretrain"]
    if processes > 1:
        launcher = [str(BIN / "deepspeed"), f"--num_accelerators={processes}", f"--master_port={free_port()}"]
        launcher += [str(ROOT / "launch" / "pretrain.py")]
    return [*launcher, *TOY, f"run={run}", f"data.shards={shards}", *overrides]


def free_port() -> int:
    """A TCP port that nobody listens on: two runs of the tests on one machine must not meet."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def environment() -> dict[str, str]:
    """One thread, so that sums are added in one order."""
    return os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}


def pretrain(run: Path, shards: Path, *overrides: str, processes: int = 1) -> subprocess.CompletedProcess:
    """Run a job to its end."""
    words = command(run, shards, *overrides, processes=processes)
    return subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=environment(), timeout=300, check=False)


def losses(run: Path) -> dict[int, float]:
    """Total training loss by step; fails if a step was logged twice."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    pairs = [(line["step"], line["train/loss/total"]) for line in lines if "train/loss/total" in line]
    assert len(pairs) == len(dict(pairs))
    return dict(pairs)
