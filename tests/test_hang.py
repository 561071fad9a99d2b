"""A worker that never comes back costs its item, not the run; a driver that is told to end leaves in order."""

import os
import subprocess
import sys
import time

import pytest

from radnet.errors import SAVED_ON_SIGNAL
from radnet.shards import actors
from tests.conftest import ROOT


def _sleep_at_seven(item: int) -> int:
    if item == 7:
        time.sleep(3600)
    return item * item


@pytest.mark.slow
def test_an_item_that_hangs_is_recorded_and_the_others_are_done(monkeypatch):
    monkeypatch.setattr(actors, "_MORE_S", 0.0)
    with actors.session(2, ""):
        chunks = [range(0, 5), range(5, 10)]
        found = actors.run_tasks(_sleep_at_seven, chunks, -1, 2, lambda done: None, limit_s=3.0)
    assert found == [-1 if item == 7 else item * item for item in range(10)]


def test_a_driver_that_is_told_to_end_may_be_run_again():
    """A scheduler's SIGTERM is no bug of ours; Ray's own handler would leave with 1."""
    script = """
import os, signal, threading, time
from radnet.shards import actors
with actors.session(1, ""):
    threading.Timer(2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    actors.run_tasks(time.sleep, [[60]], None, 1, print)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=False)
    assert ended.returncode == SAVED_ON_SIGNAL, ended.stderr.decode()
