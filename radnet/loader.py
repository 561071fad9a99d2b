"""The only door to DALI: shards + labels + order → Batch.

One graph serves CPU and GPU: read through the index, decode, bring the field that radnet.augment chose to the network's
grid; the same geometry goes to a mask, with nearest neighbour. Brightness and padding follow in place, in torch, which
is a third of what the same costs as operators of the graph on a CPU. DALI follows the list because each sample has an
index file of its own, listed in the list's order; what changes from position to position is computed ahead and fed
beside it.
"""

import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from radnet import augment, order
from radnet.check import Checksums, diagnose
from radnet.config import DataConfig
from radnet.errors import UsageError
from radnet.kernels.noise import normal
from radnet.mirror import PARTS, Held, Mirror
from radnet.part import Part, read_geometry
from radnet.samples import Samples, num_bytes
from radnet.urls import is_local

# Of one rank in one pipeline. DALI maps a file for each, and the kernel grants 65,530 maps to a process by default.
PART_POSITIONS = 8192
DALI_FLIPS = ("depthwise", "vertical", "horizontal")  # its words for flips along D, H, W


@dataclass(frozen=True, eq=False)
class Batch:
    """One micro-batch.

    volume: float32 or bfloat16 [N,1,D,H,W] in 0…1. target: float32 [N,13], -1 unknown, true of the field that is seen.
    mask: int64 [N,D,H,W], or None where the set has none. weight: float32 [N], 0 at padding. spacing_mm: float32 [N,3],
    of the volume's voxels. sample: int64 [N], row in Samples (-1 at padding). keys: str per row.
    """

    volume: torch.Tensor
    target: torch.Tensor
    mask: torch.Tensor | None
    weight: torch.Tensor
    spacing_mm: torch.Tensor
    sample: np.ndarray
    keys: list[str]


class Loader:
    """Micro-batches of one rank, epoch after epoch, in the order radnet.order gives.

    samples: what to read. config: grid, intensity, augmentation. device: "cpu" or "cuda". masks: also read
    KEY.mask.npy. Raises UsageError where the cache of remote shards is too small for the order.
    """

    def __init__(
        self, samples: Samples, config: DataConfig, *, micro_batch: int, rank: int, world: int, device: str, masks: bool
    ) -> None:
        self.samples, self.config, self.device, self.masks = samples, config, device, masks
        self.micro_batch, self.rank, self.world = micro_batch, rank, world
        self._mirror = Mirror(config.cache)
        self._repeats = order.repeats(samples.targets[:, 0].astype(int), config.balance_cap) * samples.weight
        self._remote_bytes = num_bytes(samples.shards) * [not is_local(shard.root) for shard in samples.shards]
        self._check_cache()

    def _check_cache(self) -> None:
        sizes, window = self._remote_bytes, self.config.window_shards
        at_once = int(np.sort(sizes)[-window:].sum())  # a window of 0 is the whole set
        if at_once > self._mirror.part_bytes:
            what = f"{window} shards at a time" if window else "the whole set at a time"
            raise UsageError(
                f"data.cache.gigabytes={self.config.cache.gigabytes:g} is too small for {what}: "
                f"{math.ceil(PARTS * at_once / 1e6) / 1e3:g} is needed, in three parts, so that one is read while the "
                "next one comes; raise it, or set data.window_shards lower"
            )

    def epoch_length(self, global_batch: int) -> int:
        """Positions of an epoch's list over all ranks, padding included."""
        return order.length(self._repeats, global_batch)

    def train_epoch(self, *, seed: int, epoch: int, global_batch: int, consumed: int = 0) -> Iterator[Batch]:
        """Micro-batches of this rank from position `consumed` of the epoch's list on, shuffled and augmented."""
        listed = order.order(
            self._repeats,
            self.samples.shard,
            seed=seed,
            epoch=epoch,
            multiple=global_batch,
            window=self.config.window_shards,
        )
        return self._batches(listed, consumed, global_batch, (seed, epoch))

    def evaluation(self) -> Iterator[Batch]:
        """Every sample once over all ranks, shard after shard, unaugmented; padding has weight 0."""
        by_place = np.lexsort((self.samples.positions, self.samples.shard))
        multiple = self.micro_batch * self.world
        return self._batches(order.pad(by_place, multiple), 0, multiple, None)

    def evaluated(self, targets: np.ndarray) -> np.ndarray:
        """Targets [N,13] of the whole volumes of all samples as they are true of the fields that `evaluation` sees."""
        held = self._mirror.fetch(self.samples.shards).wait()
        try:
            geometry = read_geometry(self.samples, held, np.arange(len(self.samples)))
            return augment.adapt(targets, augment.views(geometry, self.samples.is_ct, self.config, None), geometry)
        finally:
            held.close()

    def _batches(self, listed: np.ndarray, start: int, multiple: int, epoch: tuple[int, int] | None) -> Iterator[Batch]:
        # Padding reads the list again from its start, so that what BatchNorm sees of it is a fair draw too.
        read = listed[np.arange(len(listed)) % (listed != order.PADDING).sum()]
        shards = self.samples.shard
        parts = order.cut(
            read[start:],
            shards,
            self._remote_bytes,
            multiple=multiple,
            limit=self._mirror.part_bytes,
            most=PART_POSITIONS * self.world,
        )
        ranges = [range(start + part.start, start + part.stop) for part in parts]
        wanted = [np.unique(shards[read[part]]) for part in ranges]
        if max(int(self._remote_bytes[one].sum()) for one in wanted) > 2 * self._mirror.part_bytes:
            raise UsageError(
                f"data.cache.gigabytes={self.config.cache.gigabytes:g} is too small for a global batch of {multiple}, "
                "whose samples lie in too many shards; raise it, or data.window_shards, or lower the global batch"
            )
        return self._follow(ranges, wanted, listed, read, epoch)

    def _follow(
        self,
        ranges: list[range],
        wanted: list[np.ndarray],
        listed: np.ndarray,
        read: np.ndarray,
        epoch: tuple[int, int] | None,
    ) -> Iterator[Batch]:
        """The batches of one part of the list after another; while one is read, the shards of the next one come."""
        coming = self._mirror.fetch([self.samples.shards[i] for i in wanted[0]])
        try:
            for number, part in enumerate(ranges):
                held = coming.wait()
                try:
                    if number + 1 < len(ranges):
                        coming = self._mirror.fetch([self.samples.shards[i] for i in wanted[number + 1]])
                    yield from self._read(held, part, listed, read, epoch)
                finally:
                    held.close()
        finally:
            coming.close()

    def _read(
        self, held: Held, part: range, listed: np.ndarray, read: np.ndarray, epoch: tuple[int, int] | None
    ) -> Iterator[Batch]:
        """This rank's micro-batches of one part of the list, whose shards are held."""
        where = order.positions(
            part.stop, micro_batch=self.micro_batch, rank=self.rank, world=self.world, start=part.start
        )
        draws = None if epoch is None else order.draws(*epoch, where)
        with tempfile.TemporaryDirectory(prefix="radnet-index-") as folder:
            planned = Part.of(self.samples, self.config, held, read[where], draws, folder, self.masks)
            pipeline = _pipeline(self, planned)
        checksums = Checksums(planned, self.samples) if self.config.check == "crc" else None
        for start in range(0, len(where), self.micro_batch):
            rows = slice(start, start + self.micro_batch)
            try:
                if checksums:
                    checksums.wait(rows)
                outputs = pipeline.run()
            except RuntimeError as error:  # DALI's; the pipeline is dead after it
                raise diagnose(planned, self.samples, rows, error) from error
            yield self._batch(planned, rows, listed[where[rows]], where[rows], outputs, epoch)

    def _batch(
        self, part: Part, rows: slice, numbers: np.ndarray, where: np.ndarray, outputs: tuple, epoch: tuple | None
    ) -> Batch:
        found = np.stack([np.asarray(row) for row in outputs[-1]])
        if not np.array_equal(found, part.geometry[rows]):
            raise RuntimeError(f"the loader read other samples than the list says: {part.keys[rows]}")
        real = torch.from_numpy(numbers != order.PADDING)
        target = torch.where(real[:, None], torch.from_numpy(part.target[rows]), -1.0)
        shape = (len(numbers), *self.config.grid.shape)
        volume = torch.zeros(shape, device=self.device)
        mask = torch.zeros(shape, dtype=torch.uint8, device=self.device) if self.masks else None
        for row, at in enumerate(where.tolist()):
            drawn = None if epoch is None else (*epoch, at)
            slices = part.slices(rows.start + row, shape[1])
            _brighten(_to_torch(outputs[0][row]), volume[row, slices], part, rows.start + row, drawn, self.config)
            if mask is not None:
                mask[row, slices] = _to_torch(outputs[1][row])
            if part.matrices is not None:  # DALI repeats the edge outside the field of view
                outside = ~part.inside(rows.start + row, volume.device)
                for seen in (volume, mask) if self.masks else (volume,):
                    seen[row, slices].masked_fill_(outside, 0)
        if volume.is_cuda:  # the next run of the pipeline writes where these kernels read
            torch.cuda.current_stream().synchronize()
        spacing = torch.from_numpy(part.views.out_spacing_mm[rows].astype(np.float32))
        volume = volume[:, None] if self.config.dtype == "fp32" else volume[:, None].to(torch.bfloat16)
        mask = mask if mask is None else mask.long()
        return Batch(volume, target, mask, real.float(), spacing, numbers, part.keys[rows])


def _brighten(
    raw: torch.Tensor, out: torch.Tensor, part: Part, row: int, drawn: tuple[int, int, int] | None, config: DataConfig
) -> None:
    """Stored voxels on the grid → `out` in 0…1. drawn: seed, epoch and position, None for evaluation."""
    factor, shift, gamma = part.numbers[row].tolist()
    torch.mul(raw, factor, out=out).add_(shift).clamp_(0, 1)
    if gamma != 1:
        out.pow_(gamma)
    if drawn and config.augment.noise:
        noise = torch.from_numpy(normal(*drawn, tuple(out.shape))).to(out.device)
        out.add_(noise, alpha=float(part.views.noise[row])).clamp_(0, 1)
    if config.grey_levels:
        out.mul_(config.grey_levels - 1).round_().div_(config.grey_levels - 1)


def _to_torch(output) -> torch.Tensor:
    """One sample of a DALI output, [D,H,W]; DALI reuses the memory at the next run."""
    return torch.from_dlpack(output)[..., 0]


def _pipeline(loader: Loader, part: Part):
    """A built DALI pipeline over one part of a list."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # its HTJ2K reader warns for each image otherwise
    from nvidia.dali import fn, pipeline_def, types

    config, micro, on_cpu = loader.config, loader.micro_batch, loader.device == "cpu"

    def fed(values: np.ndarray):
        dtype = types.FLOAT if values.dtype == np.float32 else types.INT32
        return fn.external_source(source=lambda i: values[i * micro : (i + 1) * micro], batch=True, dtype=dtype)

    @pipeline_def(
        batch_size=micro,
        num_threads=config.num_threads,
        device_id=None if on_cpu else torch.cuda.current_device(),
    )
    def graph():
        """Readers, decoders and arithmetic of one micro-batch; its outputs come in the order that the loader pops."""
        read = fn.readers.webdataset(
            paths=part.tars, index_paths=part.indices, ext=part.suffixes, missing_component_behavior="error"
        )
        if part.is_htj2k:
            decoder = "cpu" if on_cpu else "mixed"
            voxels = fn.decoders.image(read[1], device=decoder, output_type=types.ANY_DATA, dtype=types.UINT16)
            if part.matrices is not None:
                voxels = fn.cast(voxels, dtype=types.INT32)  # warp_affine takes no uint16
        else:
            voxels = fn.decoders.numpy(read[1])
        shape = fed(part.views.shape.astype(np.int32))
        move = _moved(part, fed, on_cpu)
        outputs = [move(voxels, shape, types.INTERP_LINEAR, types.FLOAT)]
        if loader.masks:
            outputs.append(move(fn.decoders.numpy(read[2]), shape, types.INTERP_NN, types.UINT8))
        return (*outputs, fn.decoders.numpy(read[0]))

    pipeline = graph()
    pipeline.build()
    return pipeline


def _moved(part: Part, fed, on_cpu: bool):
    """A function (voxels, shape [3], interpolation, dtype) → [D',H',W',1] on the network's grid, before padding.

    An upright field is resized, which is four times as fast as the general affine map that a turned one needs; one that
    is the volume itself is only flipped, which takes an eighth of that.
    """
    from nvidia.dali import fn

    size = fed(part.views.size.astype(np.float32))
    if part.is_at_grid:
        flips = {name: fed(part.views.flip[:, axis].astype(np.int32)) for axis, name in enumerate(DALI_FLIPS)}
    elif part.matrices is None:
        start, end = (fed(corner) for corner in part.views.box())
    else:
        matrix = fed(part.dali_matrices())

    def move(voxels, shape, interpolation, dtype):
        shaped = fn.reshape(voxels, shape=fn.cat(shape, np.ones(1, np.int32)), layout="DHWC")
        shaped = shaped if on_cpu else shaped.gpu()
        if part.is_at_grid:
            return fn.cast(fn.flip(shaped, **flips), dtype=dtype)
        if part.matrices is not None:
            return fn.warp_affine(shaped, matrix=matrix, size=size, interp_type=interpolation, dtype=dtype)
        return fn.resize(
            shaped, size=size, roi_start=start, roi_end=end, interp_type=interpolation, antialias=False, dtype=dtype
        )

    return move
