"""The only door to Ray: a local one on this machine, or a cluster's.

Paths and counts travel between processes, never pixels. A worker that dies (a decoder that segfaults, the machine's
out-of-memory killer) costs one retry; then its items are tried one by one, and those that kill again are named.
"""

import math
import os
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from radnet.errors import UsageError
from radnet.shards.hands import Hand, Hands
from radnet.shards.sigterm import sigterm_means_again

Item = TypeVar("Item")
Result = TypeVar("Result")

OBJECT_STORE_BYTES = 128 * 2**20  # paths and counts only
PATIENCE_S = 30.0  # between two looks at whether Ray still lives; a task may take longer
LIMIT_S = 600.0  # for one item alone; whatever takes longer is taken for dead
_MORE_S = 30.0  # for each item of a task
# Of a worker. There is one for every core, so none may start a thread for every core; and what a volume took goes back
# to the system when it is freed, which the C library would rather keep for the next one. New memory is huge pages:
# small ones take an eighth of a worker's time.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": "1000000",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
LONGEST_FOLDER = 45  # Ray puts Unix sockets (at most 107 characters) below its folder


@contextmanager
def session(num_workers: int, address: str) -> Iterator[int]:
    """Ray, for as long as the block lasts; yields the number of workers. A Ray that runs already is used and left.

    num_workers: 0 = every core. address: a cluster's; empty = RAY_ADDRESS (set inside a submitted job), else a Ray of
    this machine's own, guarded by a token. Raises UsageError where the cluster cannot be reached.
    """
    import ray

    if ray.is_initialized():
        yield num_workers or int(ray.cluster_resources().get("CPU", 1))
        return
    address = address or os.environ.get("RAY_ADDRESS", "")
    cores = num_workers or len(os.sched_getaffinity(0))
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": "ERROR",
        "runtime_env": {"env_vars": ENVIRONMENT},
    }
    if address:
        try:
            _knock(address)
            ray.init(address=address, **options)
        except (OSError, RuntimeError, ray.exceptions.RayError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UsageError(f"no Ray cluster at {address!r}: {reason}") from None
        cores = num_workers or int(ray.cluster_resources().get("CPU", 1))
    else:
        _guard()
        ray.init(
            num_cpus=cores,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=_folder(),
            **options,
        )
    try:
        with sigterm_means_again():
            yield cores
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError soon where nobody listens; Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _guard() -> None:
    """Keep a local Ray to itself: a token of its own, for Ray would write one into the home folder, readable by all,
    and no report of its use to its makers."""
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def _folder() -> str | None:
    """A folder short enough for Ray's sockets; None = Ray's own choice."""
    chosen = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    return None if len(chosen) <= LONGEST_FOLDER else "/tmp/ray"


@dataclass(frozen=True)
class Task(Generic[Item]):
    """Some items that one worker handles together; name is for messages and Ray's dashboard."""

    name: str
    items: Sequence[Item]


@dataclass(frozen=True)
class _Running:
    """A task in a worker, or (None) a worker that is being started. deadline_s: of the monotonic clock."""

    hand: Hand
    task: Task | None = None
    killers: frozenset[int] = frozenset()
    deaths: int = 0
    deadline_s: float = math.inf


def run(
    tasks: Iterable[Task[Item]],
    handle: Callable[[Task[Item], frozenset[int]], Result],
    probe: Callable[[Task[Item], int], object],
    num_workers: int,
    limit_s: float = LIMIT_S,
) -> Iterator[Result]:
    """Handle tasks in `num_workers` processes, at most one task in flight for each; yields results as they come.

    handle(task, killers) → small picklable result; killers are positions of items that kill their worker and must not
    be touched. probe(task, position) does what is dangerous about one item and nothing else. Both are module-level
    functions. limit_s: a worker that takes longer for one item is killed, and so is one that takes 30 s more than that
    for every item of a task. An exception of handle is raised here. Raises UsageError for a task that kills its worker
    though none of its items does alone.
    """
    import ray

    hands, fresh = Hands(num_workers), iter(tasks)
    waiting: deque[_Running] = deque()
    running: dict[Any, _Running] = {hand.starting: _Running(hand) for hand in hands.coming}
    try:
        while True:
            while hands.num_missing:
                hands.num_missing -= 1
                hand = hands.new()
                running[hand.starting] = _Running(hand)
            while hands.idle:
                entry = waiting.popleft() if waiting else next((_Running(hands.idle[-1], task) for task in fresh), None)
                if entry is None:
                    break
                deadline_s = time.monotonic() + limit_s + _MORE_S * len(entry.task.items)
                entry = replace(entry, hand=hands.idle.pop(), deadline_s=deadline_s)
                running[entry.hand.start(entry.task.name, handle, entry.task, entry.killers)] = entry
            if not any(entry.task for entry in running.values()) and not waiting and (hands.idle or not running):
                return
            for reference in _wait(
                {one: (entry.hand.actor, entry.deadline_s) for one, entry in running.items()}, limit_s
            ):
                entry = running.pop(reference)
                try:
                    result = ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    hands.give_back(entry.hand)
                    raise error.cause from error  # the worker's own exception, with its errno
                except hands.dead:
                    ray.kill(entry.hand.actor)  # one that only could not be reached may live on
                    hands.num_missing += 1  # the dead worker's core is free for a new one
                    if entry.task is not None:
                        waiting.append(_after_death(entry, hands, probe, limit_s))
                else:
                    hands.give_back(entry.hand)
                    if entry.task is not None:
                        yield result
    finally:  # after an error nobody may go on writing, or keep the cores of another run
        for entry in running.values():
            if entry.task is not None:
                ray.kill(entry.hand.actor)
        hands.close(entry.hand for entry in running.values() if entry.task is None)


def _after_death(entry: _Running, hands: Hands, probe: Callable[[Task, int], object], limit_s: float) -> _Running:
    """What is to be tried next: the same task once more, then without the items that kill a worker alone."""
    if not entry.deaths:
        return replace(entry, deaths=1)
    hands.num_missing -= 1
    hand, killers = _find_killers(entry, hands, probe, limit_s)
    hands.idle.append(hand)
    return replace(entry, killers=killers, deaths=0)


def _wait(running: dict[Any, tuple[Any, float]], limit_s: float) -> list[Any]:
    """At least one reference that is done. running: reference → (actor, deadline in monotonic seconds).

    An actor beyond its deadline is killed, and its reference counts as done. Raises UsageError where nothing will come:
    Ray's own process on this machine died, or for `limit_s` no worker that is left could even start.
    """
    import ray

    home, start_s = ray.get_runtime_context().get_node_id(), time.monotonic()
    is_starting = all(deadline == math.inf for _, deadline in running.values())
    while True:
        now = time.monotonic()
        for actor, deadline in running.values():
            if deadline <= now:
                ray.kill(actor)
        patience_s = max(0.1, min([PATIENCE_S, *(deadline - now for _, deadline in running.values())]))
        if ready := ray.wait(list(running), timeout=patience_s)[0]:
            return ready
        if not any(node["Alive"] for node in ray.nodes() if node["NodeID"] == home):
            raise UsageError("Ray's node on this machine died, perhaps for want of memory; run again")
        if is_starting and now - start_s > limit_s:
            raise UsageError(
                f"no core of the cluster was free for {limit_s:.0f} s; run again, or with fewer num_workers"
            )


def _find_killers(
    entry: _Running, hands: Hands, probe: Callable[[Task, int], object], limit_s: float
) -> tuple[Hand, frozenset[int]]:
    """Try the items of a task one by one; returns a live worker and the positions that kill one."""
    import ray

    task, killers, hand = entry.task, set(entry.killers), _started(hands, limit_s)
    for position in sorted(set(range(len(task.items))) - entry.killers):
        for death in (1, 2):  # one may be the machine's
            try:
                reference = hand.start(f"{task.name}, item {position} alone", probe, task, position)
                ray.get(_wait({reference: (hand.actor, time.monotonic() + limit_s)}, limit_s))
                break
            except hands.dead:
                hand = _started(hands, limit_s)
                if death == 2:
                    killers.add(position)
    if killers == entry.killers:
        raise UsageError(
            f"{task.name} kills its worker though none of its series does alone; lower num_workers and run again"
        )
    return hand, frozenset(killers)


def _started(hands: Hands, limit_s: float) -> Hand:
    """A new worker that lives. Raises UsageError where none can be started."""
    import ray

    for _ in range(3):
        hand = hands.new()
        try:
            ray.get(_wait({hand.starting: (hand.actor, math.inf)}, limit_s))
            hand.starting = None
            return hand
        except hands.dead:
            continue
    raise UsageError("Ray's workers die before they have done anything, perhaps for want of memory; run again")


def run_tasks(
    function: Callable[[Item], Result],
    chunks: Iterable[Sequence[Item]],
    crashed: Result,
    num_workers: int,
    progress: Callable[[int], None],
    limit_s: float = LIMIT_S,
) -> list[Result]:
    """function(item) for every item of every chunk, in order; `crashed` for an item that kills its worker.

    function: module-level; its results are small and picklable. progress(number of items done) after each chunk.
    limit_s: see `run`.
    """
    tasks = [
        _Chunk(f"{function.__name__} {number}", chunk, number, function, crashed) for number, chunk in enumerate(chunks)
    ]
    done: dict[int, list[Result]] = {}
    for number, results in run(tasks, _handle_chunk, _probe_chunk, num_workers, limit_s):
        done[number] = results
        progress(len(results))
    return [result for number in sorted(done) for result in done[number]]


@dataclass(frozen=True)
class _Chunk(Task):
    number: int
    function: Callable[[Any], Any]
    crashed: Any


def _handle_chunk(chunk: _Chunk, killers: frozenset[int]) -> tuple[int, list[Any]]:
    results = [chunk.crashed if at in killers else chunk.function(item) for at, item in enumerate(chunk.items)]
    return chunk.number, results


def _probe_chunk(chunk: _Chunk, position: int) -> None:
    chunk.function(chunk.items[position])
