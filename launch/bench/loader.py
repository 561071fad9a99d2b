"""The loader: volumes a second from 512 x 512 x 140 CT to 48 x 192 x 192, beside MONAI and TorchIO on the same voxels.

All read int16 .npy of the same volumes from the page cache and end with float32 in 0…1. radnet reads a shard set
through its loader; MONAI is LoadImage, Resize and ScaleIntensityRange in a DataLoader, at its best number of workers;
TorchIO is Resize and RescaleIntensity. Beside it: where the time of a volume goes for each codec, reader threads, what
a start costs, and the share of a step that waits for the loader (the demo's network, fed by a phantom as the demo's is,
and by CT at 48 x 192 x 192).
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from radnet.launch.bench import Record, record
from radnet.launch.bench.loader_sets import (
    GRID,
    at_grid,
    multiply,
    radnet,
    volume,
    write_files,
    write_phantom,
    write_set,
)

if TYPE_CHECKING:
    from radnet.loader import Loader

NUM_VOLUMES = 12  # 0.9 GB, which stays in the page cache
ROUNDS = 4  # of all volumes in an epoch: a start counts little, as in a run
LOW, HIGH = -1000.0, 1000.0
STALL_STEPS, WARM_STEPS = 40, 8


def measure(repeats: int) -> list[Record]:
    """Records of everybody in turn, then of what radnet's rate consists of."""
    with tempfile.TemporaryDirectory(prefix="radnet-bench-") as folder:
        root = Path(folder)
        volumes = [volume(number) for number in range(NUM_VOLUMES)]
        files = write_files(root / "files", volumes)
        sets = {codec: write_set(root / codec, volumes, codec, 3) for codec in ("npy", "htj2k")}
        sets["at_the_grid"] = write_set(root / "grid", [at_grid(one) for one in volumes], "npy", 3)
        del volumes
        rates = _in_turn(files, sets, repeats)
        found = _compare(rates)
        for codec in ("npy", "htj2k"):
            found += _shares(codec, sets[codec])
        found += [*_threads(sets["npy"]), _start(sets["at_the_grid"])]
        return [*found, _stall("demo", write_phantom(root / "phantom"), root), _stall("ct", sets["at_the_grid"], root)]


def _compare(rates: dict[str, list[float]]) -> list[Record]:
    best = max((name for name in rates if name.startswith("MONAI")), key=lambda name: median(rates[name]))
    wanted = [("npy", best, 4.0), ("npy", "TorchIO", 10.0), ("htj2k", best, None), ("at_the_grid", best, 20.0)]
    found = []
    for ours, rival, least in wanted:
        judge = (lambda _, ratio, least=least: ratio >= least) if least else None
        told = dict(rival=rival, rival_values=rates[rival], target=f">= {least}x" if least else None, met=judge)
        metric = f"loader/{ours}/{rival.split()[0]}"
        found.append(record(metric, rates[ours], "volumes/s", **told))
    return found


def _loader(root: Path, *, num_threads: int, micro_batch: int = 2, shape: tuple[int, int, int] = GRID) -> "Loader":
    from radnet.config import DataConfig, GridConfig
    from radnet.loader import Loader
    from radnet.samples import read_samples

    config = DataConfig(shards=str(root), grid=GridConfig(shape=list(shape)), num_threads=num_threads)
    samples = read_samples(config, "train")
    samples = replace(samples, weight=samples.weight * ROUNDS)
    return Loader(samples, config, micro_batch=micro_batch, rank=0, world=1, device="cpu", masks=False)


def _read_all(loader: "Loader") -> int:
    """Read an epoch of every volume ROUNDS times; the number read."""
    return sum(len(batch.keys) for batch in loader.train_epoch(seed=0, epoch=0, global_batch=loader.micro_batch))


def _in_turn(files: list[str], sets: dict[str, Path], repeats: int) -> dict[str, list[float]]:
    """Volumes a second of each contender in each repeat; the first turn warms up and is not counted."""
    cores = len(os.sched_getaffinity(0))
    contenders: dict[str, Callable[[], int]] = {
        name: (lambda root=root: _read_all(_loader(root, num_threads=cores))) for name, root in sets.items()
    }
    for count in sorted({0, 1, cores, 2 * cores}):
        contenders[f"MONAI ({count} workers)"] = lambda count=count: sum(map(len, _monai(files * 2, count)))
    contenders["TorchIO"] = lambda: sum(1 for _ in _torchio(files[:4]))
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats + 1):
        for name, read in contenders.items():
            begun = time.perf_counter()
            count = read()
            if turn:
                rates[name].append(count / (time.perf_counter() - begun))
    for name, rate in rates.items():
        print(f"  {name:<20} {median(rate):8.2f} volumes/s", flush=True)
    return rates


def _monai(files: list[str], num_workers: int) -> Iterator:
    from monai.data import DataLoader, Dataset
    from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Resize, ScaleIntensityRange

    steps = Compose(
        [
            LoadImage(reader="NumpyReader", image_only=True),
            EnsureChannelFirst(channel_dim="no_channel"),
            Resize(GRID, mode="trilinear"),
            ScaleIntensityRange(LOW, HIGH, 0.0, 1.0, clip=True),
        ]
    )
    yield from DataLoader(Dataset(files, steps), batch_size=2, num_workers=num_workers)


def _torchio(files: list[str]) -> Iterator:
    import torch
    import torchio

    steps = torchio.Compose([torchio.Resize(GRID), torchio.RescaleIntensity((0, 1), in_min_max=(LOW, HIGH))])
    for file in files:
        yield steps(torchio.ScalarImage(tensor=torch.from_numpy(np.load(file))[None])).data


def _shares(codec: str, root: Path) -> list[Record]:
    """Milliseconds of one thread for a volume: its bytes read; read and decoded; and resampled; and copied to torch."""
    tars = sorted(root.glob("train-*.tar"))
    rows = [
        ("read", lambda: len([path.read_bytes() for path in tars for _ in range(ROUNDS)]) * NUM_VOLUMES // len(tars))
    ]
    for name, shape in (("read_decode", (1, 1, 1)), ("read_decode_resample", GRID)):
        loader = _loader(root, num_threads=1, micro_batch=1, shape=shape)
        rows.append((name, lambda loader=loader: _read_all(loader)))
    found = []
    for name, work in rows:
        work()
        begun = time.perf_counter()
        took_ms = 1000 / work() * (time.perf_counter() - begun)
        found.append(record(f"loader/{codec}/{name}", [took_ms], "ms/volume"))
    return found


def _threads(root: Path) -> list[Record]:
    found = []
    for count in (1, 2, 4, 8):
        loader = _loader(root, num_threads=count)
        _read_all(loader)
        begun = time.perf_counter()
        num = _read_all(loader)
        found.append(record(f"loader/npy/{count}_threads", [num / (time.perf_counter() - begun)], "volumes/s"))
    return found


def _start(root: Path) -> Record:
    """From the folder to the first batch, for a thousand shards: one sample in each, all of them the same bytes."""
    many = multiply(root, root.parent / "many", 1000)
    begun = time.perf_counter()
    next(_loader(many, num_threads=2).train_epoch(seed=0, epoch=0, global_batch=2))
    took_s = time.perf_counter() - begun
    return record("loader/start/1000_shards", [took_s], "s", target="<= 1", met=lambda value, _: value <= 1)


def _stall(name: str, shards: Path, root: Path) -> Record:
    """Median share of a step of the demo's network that waits for the loader, after the first steps. ct: volumes much
    larger than the demo's grid, whose resampling is more work than the step."""
    run = root / f"run-{name}"
    words = ["pretrain", "pretrain_demo", "tracking.wandb=off", f"run={run}", f"data.shards={shards}"]
    radnet(*words, *(f"{key}={STALL_STEPS}" for key in ("steps", "evaluate_every", "save_every")))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    shares = [line["perf/loader_stall"] for line in lines if "perf/loader_stall" in line][WARM_STEPS:]
    told = dict(target="<= 0.02", met=lambda value, _: value <= 0.02) if name == "demo" else {}
    return record(f"loader/stall/{name}", [median(shares)], "of a step", **told)
