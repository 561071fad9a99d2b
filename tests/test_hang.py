"""A worker that never comes back costs its item, not the run."""

import time

from radnet.shards import actors


def _sleep_at_seven(item: int) -> int:
    if item == 7:
        time.sleep(3600)
    return item * item


def test_an_item_that_hangs_is_recorded_and_the_others_are_done(monkeypatch):
    monkeypatch.setattr(actors, "_MORE_S", 0.0)
    with actors.session(2, ""):
        chunks = [range(0, 5), range(5, 10)]
        found = actors.run_tasks(_sleep_at_seven, chunks, -1, 2, lambda done: None, limit_s=3.0)
    assert found == [-1 if item == 7 else item * item for item in range(10)]
