"""The only door to DALI: shards + labels + order → Batch.

One graph serves CPU and GPU: read through the index, decode, resize the whole field of view to the network's grid,
scale intensities by the percentiles stored with each sample, pad, flip. The same geometry goes to a mask, with nearest
neighbour. DALI follows the epoch's list because each sample has an index file of its own, listed in the list's order.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from radnet import order, store
from radnet.config import DataConfig
from radnet.errors import UsageError
from radnet.labels.taxonomy import taxonomy

SPACING = 12  # index of the slice spacing in a target row


@dataclass(frozen=True, eq=False)
class Samples:
    """What the loader knows of each sample before it reads a voxel; row i of every array is sample i.

    keys, patients: str. shards: name; positions: index of the sample in its tar. targets: float32 [N,13],
    -1 unknown. num_slices: int64 [N].
    """

    root: str
    codec: str
    keys: list[str]
    patients: list[str]
    shards: list[str]
    positions: np.ndarray
    num_slices: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, eq=False)
class Batch:
    """One micro-batch.

    volume: float32 [N,1,D,H,W] in 0…1. target: float32 [N,13], -1 unknown. mask: int64 [N,D,H,W], or None where the set
    has none. weight: float32 [N], 0 at padding. sample: int64 [N], row in Samples (-1 at padding). keys: str per row.
    """

    volume: torch.Tensor
    target: torch.Tensor
    mask: torch.Tensor | None
    weight: torch.Tensor
    sample: np.ndarray
    keys: list[str]


def read_samples(root: str, split: str, taxonomy_name: str, limit: int = 0, *, masks: bool = False) -> Samples:
    """The samples of one split of a finished shard set, sorted by key (a keyed hash, so any first N are a fair draw).

    limit: at most this many; 0 = all. masks: every sample must have one. Raises UsageError for an unfinished set, a tar
    that is missing or has another size than the index says, an unknown taxonomy, an empty split or a missing mask.
    """
    if not Path(root).is_dir():
        raise UsageError(f"data.shards={root!r} is not a folder; give the folder of a finished shard set")
    index = store.read_index(root)
    mapping = taxonomy(taxonomy_name)
    for shard in index.splits.get(split, []):
        _check_shard(Path(root), shard)
    rows = [row for row in store.read_labels(root).to_pylist() if row["split"] == split]
    rows = sorted(rows, key=lambda row: row["key"])[: limit or None]
    if not rows:
        filled = ", ".join(name for name, shards in index.splits.items() if shards)
        raise UsageError(
            f"the {split} split of {root} has no samples; {filled} have; shard more, or change the fractions"
        )
    unmasked = [row["key"] for row in rows if masks and "mask.npy" not in json.loads(row["crc32"])]
    if unmasked:
        raise UsageError(f"{len(unmasked)} samples of {root} have no mask, {unmasked[0]} first; shard cases with masks")
    return Samples(
        root=root,
        codec=index.codec,
        keys=[row["key"] for row in rows],
        patients=[row["patient_key"] for row in rows],
        shards=[row["shard"] for row in rows],
        positions=np.array([row["position"] for row in rows]),
        num_slices=np.array([row["num_slices"] for row in rows]),
        targets=np.stack([mapping.targets(row) for row in rows]),
    )


def _check_shard(root: Path, shard: store.ShardInfo) -> None:
    tar, idx = root / f"{shard.name}.tar", root / f"{shard.name}.idx"
    size = tar.stat().st_size if tar.is_file() else None
    if size != shard.num_bytes or not idx.is_file():
        found = "missing" if size is None or not idx.is_file() else f"{size} bytes"
        raise UsageError(f"shard {tar} is {found}, expected {shard.num_bytes} bytes; run radnet verify {root}")


class Loader:
    """Micro-batches of one rank, epoch after epoch, in the order radnet.order gives.

    samples: what to read. config: grid, intensity, flips. device: "cpu" or "cuda". masks: also read KEY.mask.npy.
    """

    def __init__(
        self, samples: Samples, config: DataConfig, *, micro_batch: int, rank: int, world: int, device: str, masks: bool
    ) -> None:
        self.samples, self.config, self.device, self.masks = samples, config, device, masks
        self.micro_batch, self.rank, self.world = micro_batch, rank, world
        self._folder = tempfile.TemporaryDirectory(prefix="radnet-index-")
        self._index_paths = _write_indices(samples, Path(self._folder.name))
        self._repeats = order.repeats(samples.targets[:, 0].astype(int), config.balance_cap)

    def epoch_length(self, global_batch: int) -> int:
        """Positions of an epoch's list over all ranks, padding included."""
        return -(-int(self._repeats.sum()) // global_batch) * global_batch

    def train_epoch(self, *, seed: int, epoch: int, global_batch: int, consumed: int = 0) -> Iterator[Batch]:
        """Micro-batches of this rank from position `consumed` of the epoch's list on, shuffled and augmented."""
        listed = order.order(self._repeats, seed=seed, epoch=epoch, multiple=global_batch)
        where = self._positions(len(listed), consumed)
        flips = np.stack([order.flips(seed, epoch, int(place)) for place in where])
        return self._batches(listed, where, flips if self.config.flip else np.zeros_like(flips))

    def evaluation(self) -> Iterator[Batch]:
        """Every sample once over all ranks, in order, unaugmented; padding has weight 0."""
        listed = order.pad(np.arange(len(self.samples)), self.micro_batch * self.world)
        where = self._positions(len(listed), 0)
        return self._batches(listed, where, np.zeros((len(where), 3), np.int32))

    def _positions(self, length: int, start: int) -> np.ndarray:
        return order.positions(length, micro_batch=self.micro_batch, rank=self.rank, world=self.world, start=start)

    def _batches(self, listed: np.ndarray, where: np.ndarray, flips: np.ndarray) -> Iterator[Batch]:
        # Padding reads the list again from its start, so that what BatchNorm sees of it is a fair draw too.
        numbers, read = listed[where], listed[where % (listed != order.PADDING).sum()]
        pipeline = _pipeline(self, read, flips)
        for start in range(0, len(numbers), self.micro_batch):
            outputs = pipeline.run()
            yield self._batch(
                numbers[start : start + self.micro_batch], read[start : start + self.micro_batch], outputs
            )

    def _batch(self, numbers: np.ndarray, read: np.ndarray, outputs: tuple) -> Batch:
        depth = np.array([int(np.asarray(row)[0]) for row in outputs[-1]])
        if not np.array_equal(depth, self.samples.num_slices[read]):
            raise RuntimeError(
                f"the loader read other samples than the list says: {[self.samples.keys[i] for i in read]}"
            )
        real = torch.from_numpy(numbers != order.PADDING)
        target = self.samples.targets[read].copy()
        target[:, SPACING] = effective_spacing(target[:, SPACING], depth, self.config)
        target = torch.where(real[:, None], torch.from_numpy(target), -1.0)
        volume = _to_torch(outputs[0]).permute(0, 4, 1, 2, 3).contiguous()
        mask = _to_torch(outputs[1])[..., 0].long() if self.masks else None
        return Batch(volume, target, mask, real.float(), numbers, [self.samples.keys[i] for i in read])


def effective_spacing(spacing_mm: np.ndarray, num_slices: np.ndarray, config: DataConfig) -> np.ndarray:
    """Slice spacing after the resize, as the network sees it: float32 [N] mm; unknown (-1) stays -1."""
    depth = config.grid.shape[0]
    resized = np.minimum(num_slices, depth) if config.grid.pad_short else depth
    return np.where(spacing_mm < 0, -1, spacing_mm * num_slices / resized).astype(np.float32)


def _write_indices(samples: Samples, folder: Path) -> list[str]:
    """One DALI index file (v1.2) of one line for each sample; returns their paths in sample order."""
    lines = {}
    for shard in sorted(set(samples.shards)):
        lines[shard] = (Path(samples.root) / f"{shard}.idx").read_text().splitlines()[1:]
    paths = []
    for number, (shard, position) in enumerate(zip(samples.shards, samples.positions, strict=True)):
        path = folder / f"{number:06d}.idx"
        line = lines[shard][position] if position < len(lines[shard]) else ""
        if f" {samples.keys[number]}.vol." not in line:
            raise UsageError(
                f"{shard}.idx does not list {samples.keys[number]} at {position}; run radnet verify {samples.root}"
            )
        path.write_text(f"v1.2 1\n{line}\n")
        paths.append(str(path))
    return paths


def _to_torch(output) -> torch.Tensor:
    """A DALI output of one shape as a tensor of our own: DALI reuses the memory at the next run."""
    return torch.from_dlpack(output.as_tensor()).clone()


def _pipeline(loader: Loader, numbers: np.ndarray, flips: np.ndarray):
    """A built DALI pipeline over a list of sample numbers, with flips int32 [len(numbers),3] beside it."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # its HTJ2K reader warns for each image otherwise
    from nvidia.dali import fn, pipeline_def, types

    samples, config, micro = loader.samples, loader.config, loader.micro_batch
    htj2k = samples.codec == "htj2k"
    members = ["geometry.npy", "vol.jhc" if htj2k else "vol.npy"] + ["mask.npy"] * loader.masks

    @pipeline_def(
        batch_size=micro,
        num_threads=config.num_threads,
        device_id=None if loader.device == "cpu" else torch.cuda.current_device(),
    )
    def graph():
        """Readers, decoders and arithmetic of one micro-batch; its outputs come in the order that the loader pops."""
        read = fn.readers.webdataset(
            paths=[f"{samples.root}/{samples.shards[i]}.tar" for i in numbers],
            index_paths=[loader._index_paths[i] for i in numbers],
            ext=members,
            missing_component_behavior="error",
        )
        geometry = fn.decoders.numpy(read[0])
        flip = fn.external_source(source=lambda i: flips[i * micro : (i + 1) * micro], batch=True, dtype=types.INT32)
        if htj2k:
            decoder = "cpu" if loader.device == "cpu" else "mixed"
            voxels = fn.decoders.image(read[1], device=decoder, output_type=types.ANY_DATA, dtype=types.UINT16)
        else:
            voxels = fn.decoders.numpy(read[1])
        resized = _resize(voxels, geometry, config, loader.device, types.INTERP_LINEAR, types.FLOAT)
        outputs = [_place(_intensity(resized, geometry, config, 32768.0 if htj2k else 0.0), flip, config)]
        if loader.masks:
            mask = fn.decoders.numpy(read[2])
            nearest = _resize(mask, geometry, config, loader.device, types.INTERP_NN, types.UINT8)
            outputs.append(_place(nearest, flip, config))
        return (*outputs, geometry)

    pipeline = graph()
    pipeline.build()
    return pipeline


def _resize(voxels, geometry, config: DataConfig, device: str, interpolation, dtype):
    """[D,H,W] or [D·H,W] → [D',H',W',1] on the network's grid, before short volumes are padded."""
    from nvidia.dali import fn, math, types

    sizes = fn.cast(geometry[0:3], dtype=types.INT32)
    shaped = fn.reshape(voxels, shape=fn.cat(sizes, np.ones(1, np.int32)), layout="DHWC")
    if device != "cpu":
        shaped = shaped.gpu()
    size = fn.cast(np.array(config.grid.shape), dtype=types.FLOAT)
    if config.grid.pad_short:
        short = fn.cast(math.min(geometry[0], config.grid.shape[0]), dtype=types.FLOAT)
        size = fn.cat(fn.reshape(short, shape=[1]), size[1:3])
    return fn.resize(shaped, size=size, interp_type=interpolation, antialias=False, dtype=dtype)


def _intensity(voxels, geometry, config: DataConfig, bias: float):
    """Stored integers → the two configured percentiles at 0 and 1, clamped. bias: what the codec added to voxels."""
    from nvidia.dali import fn, math, types

    stored = [0, 0.5, 99.5, 100]
    numbers = fn.cast(geometry, dtype=types.FLOAT)
    low, high = (numbers[20 + stored.index(wanted)] for wanted in config.intensity)
    values = (voxels - bias) * numbers[18] + numbers[19]
    # A constant volume has no range; the floor turns it into zeros instead of nan.
    return math.clamp((values - low) / math.max(high - low, 1e-6), 0.0, 1.0)


def _place(voxels, flip, config: DataConfig):
    """Zero slices on both sides up to the grid's depth, so that a short volume lies in the middle; then the flips."""
    from nvidia.dali import fn, types

    depth = config.grid.shape[0]
    start = fn.cast((voxels.shape(dtype=types.INT32)[0] - depth) // 2, dtype=types.INT32)
    padded = fn.slice(voxels, start, depth, axes=[0], out_of_bounds_policy="pad", fill_values=0)
    return fn.flip(padded, depthwise=flip[0], vertical=flip[1], horizontal=flip[2])
