"""One writer for each output on an object store: over moto's S3, with drivers as threads and as processes."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from radnet.errors import UsageError
from radnet.shards.lease import holding
from tests.conftest import ROOT
from tests.s3 import Faults

BEAT_S, STALE_S = 0.2, 3.0  # S3 tells the time in whole seconds
HOLD = """
import sys, time
from radnet.shards.lease import holding
with holding(sys.argv[1], {beat}, {stale}):
    print("held", flush=True)
    time.sleep({seconds})
"""
CREATE = """
import sys, time, fsspec
root, start = sys.argv[1], float(sys.argv[2])
filesystem = fsspec.filesystem("s3")
filesystem.ls("bucket")  # connects before the race
for attempt in range(20):
    time.sleep(max(0, start + 0.1 * attempt - time.time()))
    try:
        with filesystem.open(f"{root}/{attempt}", "xb") as file:
            file.write(b"mine")
        print(attempt)
    except FileExistsError:
        pass
"""


@pytest.fixture
def root(s3) -> str:
    """Where the drivers of a test want to write."""
    return s3.bucket("bucket") + "/set"


def _files(root: str) -> dict[str, dict]:
    filesystem = fsspec.filesystem("s3")
    filesystem.invalidate_cache()
    return {name.split("/lease/")[1]: json.loads(filesystem.cat_file(name)) for name in filesystem.find(root)}


def _silenced(root: str) -> ExitStack:
    """A driver that holds the lease and gives no further sign of life."""
    stack = ExitStack()
    stack.enter_context(holding(root, beat_s=3600, stale_s=3600))
    return stack


def _until(is_so, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def _is_lost(lease) -> bool:
    try:
        lease.check()
    except UsageError:
        return True
    return False


def test_a_second_driver_is_refused_and_a_released_lease_is_free(root):
    with holding(root) as lease:
        expected = (
            r"another `radnet shard` is writing to s3://bucket/set \(last sign of life \d s ago\); .* in 1\d\d s$"
        )
        with pytest.raises(UsageError, match=expected), holding(root):
            pass
        lease.check()
        assert list(_files(root)) == ["000001.json"]
    assert _files(root)["000001.json"]["released"]
    with holding(root) as lease:
        lease.check()
    files = _files(root)
    assert list(files) == ["000002.json"] and files["000002.json"]["released"]


def test_a_driver_that_gives_signs_of_life_is_never_stale(root):
    with holding(root, BEAT_S, STALE_S) as lease:
        time.sleep(STALE_S + 1.5)
        with pytest.raises(UsageError, match="is writing to"), holding(root, BEAT_S, STALE_S):
            pass
        lease.check()


def test_after_silence_another_takes_over_and_the_old_driver_notices(root):
    with ExitStack() as stack:
        old = stack.enter_context(holding(root, beat_s=4.0, stale_s=3600))
        with pytest.raises(UsageError, match=r"or if its machine is gone run again in [1-3] s"):
            with holding(root, BEAT_S, 2.0):
                pass
        time.sleep(3.2)
        with holding(root, BEAT_S, 2.0) as new:
            _until(lambda: _is_lost(old))
            with pytest.raises(UsageError, match="has taken over s3://bucket/set"):
                old.check()
            stack.close()  # the old driver ends and touches nothing
            assert sorted(_files(root)) == ["000001.json", "000002.json"]
            new.check()
    assert list(_files(root)) == ["000002.json"]


def test_two_who_create_the_same_generation_cannot_both_go_on(root):
    """A store without exclusive creation: the second overwrote the first."""
    with holding(root, BEAT_S, STALE_S) as lease:
        content = _files(root)["000001.json"] | {"token": "of another"}
        fsspec.filesystem("s3").pipe_file(f"{root}/lease/000001.json", json.dumps(content).encode())
        _until(lambda: _is_lost(lease))


def _created(root: str, name: str, barrier: Barrier) -> bool:
    barrier.wait()
    try:
        with fsspec.filesystem("s3").open(f"{root}/{name}", "xb") as file:
            file.write(b"mine")
    except FileExistsError:
        return False
    return True


def test_exclusive_creation_by_threads_has_one_winner(root):
    barrier = Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        for attempt in range(20):
            wins = list(pool.map(lambda _, name=str(attempt): _created(root, name, barrier), range(4)))
            assert sum(wins) == 1


@pytest.mark.slow
def test_exclusive_creation_by_processes_has_one_winner(root):
    words = [sys.executable, "-c", CREATE, root, str(time.time() + 5)]
    racers = [subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    wins = [name for racer in racers for name in racer.communicate(timeout=60)[0].split()]
    assert all(racer.returncode == 0 for racer in racers)
    assert sorted(wins, key=int) == [str(attempt) for attempt in range(20)]


def _entered(root: str, stack: ExitStack, barrier: Barrier) -> bool:
    barrier.wait()
    try:
        stack.enter_context(holding(root))
    except UsageError as error:
        assert "is writing to" in str(error)
        return False
    return True


def test_a_race_for_the_lease_has_one_winner(root):
    barrier = Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        for _ in range(20):
            with ExitStack() as stack:
                wins = list(pool.map(lambda _: _entered(root, stack, barrier), range(2)))  # noqa: B023
                assert sum(wins) == 1
    assert list(_files(root)) == ["000020.json"]


def _start(root: str, seconds: float) -> subprocess.Popen:
    code = HOLD.format(beat=BEAT_S, stale=STALE_S, seconds=seconds)
    words = [sys.executable, "-c", code, root]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_of_processes_one_holds_it_and_once_killed_it_is_free_when_stale(root):
    drivers = [_start(root, seconds=60) for _ in range(3)]
    losers = []
    while len(losers) < 2:
        losers = [driver for driver in drivers if driver.poll() is not None]
        time.sleep(0.1)
    assert all(b"UsageError: another `radnet shard` is writing to" in driver.communicate()[1] for driver in losers)
    (winner,) = set(drivers) - set(losers)
    assert winner.stdout.readline() == b"held\n"
    os.kill(winner.pid, signal.SIGKILL)
    winner.communicate()
    with pytest.raises(UsageError, match="run again in"), holding(root, BEAT_S, STALE_S):
        pass
    time.sleep(STALE_S + 1.5)
    with holding(root, BEAT_S, STALE_S) as lease:
        lease.check()
        assert sorted(_files(root)) == ["000001.json", "000002.json"]


@pytest.mark.slow
def test_a_short_outage_passes_and_a_long_one_loses_the_lease(root, s3, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with holding(root, BEAT_S, stale_s=6.0) as lease:
        s3.faults = Faults(every=1, kind="500")
        time.sleep(2)
        s3.faults = Faults()
        seen = s3.requests["PUT"]
        _until(lambda: s3.requests["PUT"] > seen + 1)
        lease.check()
        s3.faults = Faults(every=1, kind="500")
        _until(lambda: _is_lost(lease))
        s3.faults = Faults()
        time.sleep(4 * BEAT_S)
        with pytest.raises(UsageError, match="could not be written to for more than 6 s"):
            lease.check()
        with holding(root, BEAT_S, stale_s=4.0) as other:
            other.check()


@pytest.mark.slow
def test_a_store_that_is_away_or_refuses_is_said_in_one_line(s3, root, monkeypatch):
    with pytest.raises(UsageError, match=r"^s3://nowhere/set cannot be locked \(FileNotFoundError\); check the URL"):
        with holding("s3://nowhere/set"):
            pass
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    s3.faults = Faults(every=1, kind="500")
    with pytest.raises(UsageError, match="s3://bucket/set cannot be locked"), holding(root):
        pass


@pytest.mark.parametrize("kind", ["500", "cut"])
def test_the_lease_is_taken_through_faults(root, s3, kind):
    """Also where the answer to the exclusive creation is lost, and its repetition says that the file exists."""
    s3.faults = Faults(every=2, kind=kind, methods=("PUT",))
    for _ in range(3):
        with holding(root) as lease:
            lease.check()
    assert s3.failed[kind] >= 3


class _Timeless(MemoryFileSystem):
    """A store that tells no times."""

    protocol = "timeless"
    store, pseudo_dirs = {}, [""]

    def modified(self, path: str) -> None:
        raise NotImplementedError


def test_a_store_without_times_is_judged_by_the_time_written(monkeypatch):
    fsspec.register_implementation("timeless", _Timeless, clobber=True)
    root = "timeless://set"
    with _silenced(root):
        with pytest.raises(UsageError, match="is writing to timeless://set"), holding(root, BEAT_S, stale_s=30):
            pass
        time.sleep(0.6)
        with holding(root, BEAT_S, stale_s=0.5) as lease:
            lease.check()
