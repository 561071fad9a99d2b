"""Where numbers go: metrics.jsonl always, Weights & Biases beside it, a line on rank 0. The only door to W&B."""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path

from radnet import store
from radnet.config import TrainConfig


class Tracker:
    """Rank 0's record of a run: log(step, metrics) appends one line to metrics.jsonl and tells W&B."""

    def __init__(self, config: TrainConfig, first_step: int) -> None:
        self._path = Path(config.run) / "metrics.jsonl"
        _cut(self._path, first_step)
        self._wandb = _start_wandb(config)
        self._total, self._begun, self._first = config.steps, time.monotonic(), first_step

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Append the metrics of a step."""
        with self._path.open("a") as stream:
            stream.write(json.dumps({"step": step, "time_s": round(time.time(), 3)} | metrics) + "\n")
        if self._wandb:
            self._wandb.log(metrics, step=step)

    def progress(self, step: int, text: str) -> None:
        """Print one line with the time left."""
        done = max(step - self._first, 1)
        left = (time.monotonic() - self._begun) / done * (self._total - step)
        print(f"step {step}/{self._total}  {text}  {left:.0f} s left", flush=True)

    def close(self) -> None:
        """Finish the W&B run."""
        if self._wandb:
            self._wandb.finish()


class Silent:
    """The tracker of every rank but 0."""

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Nothing."""

    def progress(self, step: int, text: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def _cut(path: Path, first_step: int) -> None:
    """Drop what an interrupted run logged after its last checkpoint, so that no step stands twice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= first_step:
                kept.append(line + "\n")
        except (ValueError, TypeError, KeyError):
            continue  # the line that was being written when the run died
    store.write_atomic(str(path), "".join(kept).encode())


def _shown(config: TrainConfig) -> dict:
    """The configuration without folders, URLs and queries: their names may say whose archive it is."""
    shown = asdict(config)
    del shown["run"], shown["model"]["init"]
    for name in ("shards", "more", "where", "cache"):
        del shown["data"][name]
    return shown


def _start_wandb(config: TrainConfig):
    """A W&B run, or None; a dead network or a missing key turns online into offline with one line."""
    if config.tracking.wandb == "off":
        return None
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    # Without these W&B records the command line, folders, host and user, and they may say whose archive it is.
    settings = wandb.Settings(
        init_timeout=config.tracking.timeout_s,
        console="off",
        host="-",
        program="radnet",
        disable_git=True,
        disable_code=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_save_requirements=False,
    )
    arguments = {
        "project": config.tracking.project,
        "dir": config.run,
        "config": _shown(config),
        "settings": settings,
    }
    if config.tracking.wandb == "online":
        try:
            return wandb.init(mode="online", **arguments)
        except wandb.errors.Error as error:
            print(f"radnet: W&B cannot be reached ({' '.join(str(error).split())}); writing offline", flush=True)
    return wandb.init(mode="offline", **arguments)
