"""The door to Ray, in a real Ray: order, dying workers, errors, nothing left in the home folder."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from radnet.errors import USAGE, UsageError
from radnet.shards import actors

CRASHED = "crashed"


@pytest.fixture(scope="module")
def workers():
    token = Path.home() / ".ray" / "auth_token"
    before = token.stat().st_mtime_ns if token.exists() else None
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not see the folder of the tests
    with actors.session(2, "") as num_workers:
        yield num_workers
    assert (token.stat().st_mtime_ns if token.exists() else None) == before


def square(item: int) -> int | str:
    """Negative items kill the process that looks at them."""
    if item < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return item * item


def at_least_one(num: int) -> None:
    assert num > 0


def threads(item: int) -> str:
    return os.environ["OMP_NUM_THREADS"]


def breaks(item: int) -> int:
    raise ValueError(f"item {item}")


def full_disk(item: int) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def total(task: actors.Task, killers: frozenset[int]) -> tuple[str, int]:
    return task.name, sum(square(item) for at, item in enumerate(task.items) if at not in killers)


def probe(task: actors.Task, position: int) -> None:
    square(task.items[position])


def dies_once(task: actors.Task, killers: frozenset[int]) -> str:
    mark = Path(task.items[0])
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return task.name


def always_dies(task: actors.Task, killers: frozenset[int]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_cluster_that_is_not_there_is_said_at_once():
    with pytest.raises(UsageError, match=r"no Ray cluster at '127\.0\.0\.1:1'"), actors.session(1, "127.0.0.1:1"):
        raise AssertionError("no session was expected")


def test_results_come_in_order_of_the_items(workers):
    done: list[int] = []
    results = actors.run_tasks(square, [[1, 2], [3], [], [4, 5, 6]], CRASHED, workers, done.append)
    assert results == [1, 4, 9, 16, 25, 36] and sum(done) == 6


def test_an_item_that_kills_its_worker_is_named_and_the_rest_survives(workers):
    assert actors.run_tasks(square, [[1, -2, 3], [4, 5]], CRASHED, workers, at_least_one) == [1, CRASHED, 9, 16, 25]


def test_a_task_goes_on_without_its_killers(workers):
    tasks = [actors.Task("a", [1, 2]), actors.Task("b", [3, -1, 4, -1])]
    assert sorted(actors.run(tasks, total, probe, workers)) == [("a", 5), ("b", 25)]


def test_a_worker_that_dies_once_costs_one_retry(workers, tmp_path):
    assert list(actors.run([actors.Task("a", [str(tmp_path / "mark")])], dies_once, probe, 1)) == ["a"]


def test_a_task_that_dies_for_no_single_item_is_reported(workers):
    with pytest.raises(UsageError, match="lower num_workers"):
        list(actors.run([actors.Task("a", [1])], always_dies, probe, 1))


def test_an_error_in_a_worker_reaches_the_driver(workers):
    with pytest.raises(ValueError, match="item 7"):
        actors.run_tasks(breaks, [[7]], CRASHED, 1, at_least_one)


def test_a_full_disk_keeps_its_number(workers):
    with pytest.raises(OSError) as caught:
        actors.run_tasks(full_disk, [[1]], CRASHED, 1, at_least_one)
    assert caught.value.errno == errno.ENOSPC


def test_a_worker_uses_one_thread(workers):
    assert actors.run_tasks(threads, [[1]], CRASHED, 1, at_least_one) == ["1"]


DRIVER = """
import os, subprocess, sys, threading, time
from radnet.launch.cli import run
from radnet.shards import actors

def kill_raylet():
    time.sleep(4)
    listed = subprocess.run(["ps", "-eo", "pid,ppid,comm"], capture_output=True, text=True).stdout.splitlines()[1:]
    for pid, parent, name in (line.split(None, 2) for line in listed):
        if int(parent) == os.getpid() and "raylet" in name:
            os.kill(int(pid), 9)

def main(argv):
    actors.PATIENCE_S = 2.0
    with actors.session(1, ""):
        threading.Thread(target=kill_raylet).start()
        actors.run_tasks(time.sleep, [[300]], None, 1, print)

run(main)
"""


@pytest.mark.slow
def test_a_node_that_dies_is_said_and_not_waited_for():
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    words = [sys.executable, "-c", DRIVER]
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == USAGE and "node on this machine died" in ended.stderr


def test_ray_reports_nothing_to_its_makers(workers):
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert actors.run_tasks(abs, [[-1]], CRASHED, 1, at_least_one) == [1]


def test_an_error_frees_the_cores_for_the_next_run(workers):
    with pytest.raises(ValueError, match="item") as caught:
        actors.run_tasks(breaks, [[7], [8]], CRASHED, workers, at_least_one)
    assert caught and actors.run_tasks(square, [[1], [2]], CRASHED, workers, at_least_one) == [1, 4]
