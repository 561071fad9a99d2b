"""Lines of progress: few, honest, the last always."""

import pytest

from radnet.shards import progress
from radnet.shards.sample import Built


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves, in seconds."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_every_two_seconds_and_the_last_one(clock):
    lines: list[str] = []
    found = progress.Progress(1000, 3000, lines.append)
    for number in range(1000):
        clock[0] += 0.01
        found.add(Built(f"train-{number:06}", {"ok": 2, "truncated": 1}, 40, 2_000_000))
    assert len(lines) == 1 + 4 + 1  # the first at once, then at 2, 4, 6 and 8 seconds, and the last
    assert lines[0].startswith("train-000000  shards 1/1000  series 3/3000")
    assert lines[-1] == (
        "train-000999  shards 1000/1000  series 3000/3000  300.0 series/s  4000 slices/s  200.0 MB/s  "
        "1000 failed (truncated 1000)  0 s left"
    )


def test_what_is_excluded_did_not_fail_and_time_left_follows_the_series(clock):
    lines: list[str] = []
    found = progress.Progress(2, 40, lines.append)
    clock[0] += 5
    found.add(Built("train-000000", {"ok": 7, "localizer": 1, "decode": 2}, 0, 0))
    assert "2 failed (decode 2)  15 s left" in lines[0]
