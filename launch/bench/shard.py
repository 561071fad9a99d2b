"""DICOM to shards: what a core makes of a folder beside dcm2niix, what a second actor adds, what the driver costs.

One core: radnet reads the headers of a CT series, groups them, reads and checks the volume, encodes it and leaves a
finished shard (tar, idx, sidecar, all synced to disk), in one process pinned to one core; dcm2niix, pinned to the same,
leaves a NIfTI file, uncompressed (-z n) or gzipped (-z y). In turn within every repeat, files in the page cache.

Two actors: the same series as shards of their own in a real Ray with one worker and with two; efficiency is the
slices a second of two over twice those of one.

Driver: a whole `radnet shard` of N series of two tiny files each, in a process of its own, whose processor time and
largest resident memory are those of the driver alone; workers make the volumes up (driver.py).

Extrapolated to N series of 140 slices on C cores: hours = N · 140 / (slices/s of a core · efficiency · C) / 3600, and
the driver's N · ms, which runs beside it; the larger of the two.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from radnet.launch.bench import Record, record
from radnet.launch.bench.ct import NUM_SLICES, SIZE, write_series

SLICE_MB = SIZE * SIZE * 2 / 1e6
NUM_SHARDS = 8  # of one series each, for the actors
DRIVER_SERIES = (1_000, 10_000, 60_000, 100_000)
CLUSTERS = ((60_000, 64), (400_000, 1_024))  # series, cores


def measure(repeats: int) -> list[Record]:
    """Records of one core, of two actors, of the driver, and what follows for clusters."""
    with tempfile.TemporaryDirectory(prefix="radnet-bench-") as name:
        folder = Path(name)
        write_series(folder / "in")
        found = _one_core(folder, repeats)
        efficiency = _actors(folder, repeats)
        found.append(efficiency)
        driver = _driver(folder, DRIVER_SERIES)
    per_core = {one.metric: one.value for one in found}["shard/htj2k/slices"]
    ms = next(one.value for one in driver if one.metric.endswith("60000 series/time"))
    return found + driver + [_extrapolated(num, cores, per_core, efficiency.value, ms) for num, cores in CLUSTERS]


def _extrapolated(num: int, cores: int, per_core: float, efficiency: float, driver_ms: float) -> Record:
    hours = max(num * NUM_SLICES / (per_core * min(efficiency, 1.0) * cores), num * driver_ms / 1e3) / 3600
    return record(f"shard/extrapolated/{num} series on {cores} cores", [hours], "h")


def _one_core(folder: Path, repeats: int) -> list[Record]:
    cores = os.sched_getaffinity(0)
    contenders = {
        "npy": lambda out: shard_folder(folder / "in", out, "npy"),
        "htj2k": lambda out: shard_folder(folder / "in", out, "htj2k"),
        "dcm2niix -z n": lambda out: _dcm2niix(folder / "in", out, "n"),
        "dcm2niix -z y": lambda out: _dcm2niix(folder / "in", out, "y"),
    }
    try:
        os.sched_setaffinity(0, {min(cores)})
        print(f"one thread, pinned to core {min(cores)} of {len(cores)}; {repeats} repeats after a warm-up")
        rates = _in_turn(contenders, folder / "out", repeats)
    finally:
        os.sched_setaffinity(0, cores)
    found = []
    for codec, rival, least in (("npy", "dcm2niix -z n", 1.5), ("htj2k", "dcm2niix -z y", 2.0)):
        values = {"rival": rival, "target": f">= {least:g}x", "met": lambda _, ratio, least=least: ratio >= least}
        found.append(record(f"shard/{codec}/slices", rates[codec], "slices/s", rival_values=rates[rival], **values))
        found.append(record(f"shard/{codec}/voxels", [rate * SLICE_MB for rate in rates[codec]], "MB/s"))
    return found


def _in_turn(contenders: dict[str, Callable[[Path], None]], out: Path, repeats: int) -> dict[str, list[float]]:
    """Slices a second of each in each repeat; the first turn warms up and is not counted."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats + 1):
        for name, work in contenders.items():
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            start = time.perf_counter()
            work(out)
            if turn:
                rates[name].append(NUM_SLICES / (time.perf_counter() - start))
    return rates


def shard_folder(folder: Path, out: Path, codec: str) -> None:
    """What a worker does with a folder: headers, series, one finished shard."""
    from radnet.shards.sample import build_shard

    build_shard(_task(folder, out, codec, "train-000000"), frozenset())


def _task(folder: Path, out: Path, codec: str, name: str):
    from radnet.shards.fetch import read_headers
    from radnet.shards.inventory import list_files, pack
    from radnet.shards.inventory.folder import by_series, rows_of
    from radnet.shards.listing import stamp
    from radnet.shards.sample import BuildTask, Recipe

    files = list_files(str(folder))
    records = read_headers(files, [stamp(file) for file in files])
    entries = [pack(row) for members in by_series(records).values() for row in rows_of(members)]
    recipe = Recipe(codec, 16, 1 << 30, 15.0, None, False)
    return BuildTask(name, entries, "train", str(out / name), "bench", recipe)


def _dcm2niix(folder: Path, out: Path, gzip: str) -> None:
    import dcm2niix

    words = [dcm2niix.bin, "-z", gzip, "-b", "n", "-w", "1", "-f", "volume", "-o", str(out), str(folder)]
    subprocess.run(words, check=True, capture_output=True)


def _actors(folder: Path, repeats: int) -> Record:
    """Slices a second of two workers over twice those of one."""
    from radnet.shards import actors
    from radnet.shards.sample import build_shard, probe

    out = folder / "out"
    values = []
    with actors.session(2, ""):
        for turn in range(repeats + 1):
            seconds = {}
            for num_workers in (2, 1):
                shutil.rmtree(out, ignore_errors=True)
                out.mkdir()
                tasks = [_task(folder / "in", out, "htj2k", f"train-{number:06d}") for number in range(NUM_SHARDS)]
                # As many again, so that a second worker has started and read its libraries before time is taken.
                warm = [_task(folder / "in", out, "htj2k", f"warm-{number:06d}") for number in range(NUM_SHARDS)]
                list(actors.run(warm, build_shard, probe, num_workers))
                start = time.perf_counter()
                list(actors.run(tasks, build_shard, probe, num_workers))
                seconds[num_workers] = time.perf_counter() - start
            if turn:
                values.append(seconds[1] / (2 * seconds[2]))
    return record(
        "shard/actors/efficiency of 2", values, "fraction", target=">= 0.9", met=lambda value, _: value >= 0.9
    )


def _driver(folder: Path, sizes: Sequence[int]) -> list[Record]:
    found = []
    for num in sizes:
        out = folder / f"driver-{num}"
        words = [sys.executable, "-m", "radnet.launch.bench.driver", str(num), str(out)]
        said = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
        ms, megabytes = float(said[-2]) / num * 1e3, float(said[-1])
        for name, value, unit, most in (("time", ms, "ms/series", 1.0), ("memory", megabytes, "MB", 1000.0)):
            judge = (lambda value, _, most=most: value <= most) if num == 60_000 else None
            metric = f"shard/driver/{num} series/{name}"
            found.append(record(metric, [value], unit, target=f"<= {most:g} {unit}", met=judge))
        shutil.rmtree(out, ignore_errors=True)
    return found
