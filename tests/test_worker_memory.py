"""What one worker needs beyond its libraries: at most three times its largest volume, whatever the number of series; on
disk, of a store, two series."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import pytest

from radnet.launch.bench.ct import NUM_SLICES, SIZE, write_series
from radnet.shards import actors
from radnet.shards.fetch import Ahead, scratch
from tests.conftest import ROOT

VOLUME_BYTES = NUM_SLICES * SIZE * SIZE * 2

_WORK = """
import json, sys
from pathlib import Path
from radnet.launch.bench.shard import _task
from radnet.shards.sample import build_shard
from dataclasses import replace

folder, codec = Path(sys.argv[1]), sys.argv[2]


def megabytes(name):
    line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(name))
    return int(line.split()[1]) / 1e3


task = _task(folder / "in", folder, codec, "train-000000")
small = _task(folder / "small", folder, codec, "warm")  # brings the libraries
build_shard(small, frozenset())
before = megabytes("VmRSS")
build_shard(replace(task, items=task.items * int(sys.argv[3])), frozenset())
print(json.dumps([before, megabytes("VmHWM")]))
"""


@pytest.fixture(scope="module")
def series(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    write_series(folder / "in")
    (folder / "small").mkdir()
    for path in sorted((folder / "in").iterdir())[:16]:
        (folder / "small" / path.name).symlink_to(path)
    return folder


@pytest.mark.parametrize("codec", ["npy", "htj2k"])
def test_a_worker_needs_no_more_than_three_volumes(series, codec):
    words = [sys.executable, "-c", _WORK, str(series), codec, "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | actors.ENVIRONMENT
    said = subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout
    before, peak = json.loads(said)
    assert (peak - before) * 1e6 <= 3 * VOLUME_BYTES, f"{peak - before:.0f} MB for volumes of {VOLUME_BYTES / 1e6:.0f}"


def test_of_a_store_two_series_are_on_disk_at_most(s3):
    bucket, system = s3.bucket("box"), fsspec.filesystem("s3")
    series = []
    for number in range(4):
        files = [f"{bucket}/{number}/{at}" for at in range(3)]
        for file in files:
            system.pipe_file(file, file.encode())
        stamps = [[len(file), int(system.info(file)["LastModified"].timestamp() * 1e9)] for file in files]
        series.append((files, stamps))

    def on_disk() -> int:
        return sum(path.is_dir() for path in scratch().iterdir())

    most = 0
    with Ahead(series) as ahead:
        for number, (files, _) in enumerate(series):
            with ahead.take(number) as here:
                assert [Path(file).read_bytes() for file in here] == [file.encode() for file in files]
                time.sleep(0.3)  # the next one comes meanwhile
                most = max(most, on_disk())
        most = max(most, on_disk())
    assert most == 2 and on_disk() == 0
