"""The processes of Ray that work: started, reused from one run of tasks to the next, replaced."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

TASKS_PER_WORKER = 256  # a shard each, or some hundred headers


class _Worker:
    """The process that does the work; it outlives a task, so that libraries are imported once."""

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)


class Hands:
    """The workers of one call of `run`. Those without work at its end are left for the next call.

    idle: those that wait for work. coming: those that an earlier call began to start. num_missing: how many to start.
    """

    _spare: list["Hand"] = []

    def __init__(self, num: int) -> None:
        import ray

        self.dead = (ray.exceptions.WorkerCrashedError, ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError)
        self._class = ray.remote(_Worker).options(num_cpus=1, max_restarts=0, max_task_retries=0)
        context = ray.get_runtime_context()
        self._job = context.get_node_id() + context.get_job_id()  # jobs are numbered anew by every Ray
        spare = [hand for hand in self._spare if hand.job == self._job]
        self._spare.clear()  # those of a Ray that was shut down are gone
        spare.sort(key=lambda hand: hand.starting is not None)
        self.idle = [hand for hand in spare[:num] if hand.starting is None]
        self.coming = [hand for hand in spare[:num] if hand.starting is not None]
        for hand in spare[num:]:
            ray.kill(hand.actor)
        self.num_missing = max(num - len(spare), 0)

    def new(self) -> "Hand":
        """A new worker, which starts when the cluster has a core for it: a busy one may take hours, and that is no
        task's fault."""
        hand = Hand(self._class.remote(), self._job)
        hand.starting = hand.start("start", _nothing)
        return hand

    def give_back(self, hand: "Hand") -> None:
        """Take a worker whose task is done; one that did many is replaced, so that no leak of a library grows on."""
        import ray

        if hand.starting is None:
            hand.num_tasks += 1
        hand.starting = None
        if hand.num_tasks < TASKS_PER_WORKER:
            self.idle.append(hand)
        else:
            ray.kill(hand.actor)
            self.num_missing += 1

    def close(self, coming: Iterable["Hand"]) -> None:
        """Leave the idle ones, and those that are still being started, for the next call."""
        self._spare.extend([*self.idle, *coming])


@dataclass(eq=False)
class Hand:
    """A worker, and how many tasks it has done. job: names the Ray it belongs to. starting: the reference that is done
    when the worker has started, None from then on."""

    actor: Any
    job: str
    num_tasks: int = 0
    starting: Any = None

    def start(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Give the worker something to do; `name` is shown on Ray's dashboard. Returns Ray's reference."""
        return self.actor.call.options(name=name).remote(function, *arguments)


def _nothing() -> None:
    """What a worker does first: all its temporary files lie in a folder that goes with it."""
    from radnet.shards.fetch import scratch

    scratch()
