"""What a run is made of: the settings that must not change between two jobs of one run."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from radnet.config import TrainConfig
from radnet.samples import prints
from radnet.task import Task

# May change between two jobs of one run: where things lie, how long and how often, and what no number depends on.
_FREE = ("run", "device", "steps", "log_every", "evaluate_every", "save_every", "keep_last", "tracking.")
_FREE += ("data.shards", "data.num_threads", "data.more", "data.check", "data.cache.", "model.init")


def settings(config: TrainConfig, task: Task) -> dict[str, Any]:
    """What must not change between two jobs of one run, flat. Where sets lie may, what they hold may not."""
    flat = dict(_flatten(asdict(config)))
    fixed = {name: value for name, value in flat.items() if not name.startswith(_FREE)}
    sets = prints(config.data) | {"weights": list(config.data.more.values())}
    return fixed | {"task": task.architecture()["kind"]} | sets


def _flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
