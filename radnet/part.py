"""A part of an epoch's list, planned to the last number before DALI reads a byte of it."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from radnet import augment, idx
from radnet.augment import Views
from radnet.config import DataConfig
from radnet.errors import UsageError
from radnet.idx import Member
from radnet.mirror import Held, forget
from radnet.samples import Samples, Shard, read_lines
from radnet.urls import is_local

NUM_GEOMETRY = 24  # float64 in KEY.geometry.npy
HTJ2K_BIAS = 32768.0  # that the codec adds to voxels


@dataclass(frozen=True, eq=False)
class Part:
    """n positions of a list, in order of reading, repeats included.

    number: int64 [n], row in Samples. keys: of each. tars, indices: files that DALI opens for each. suffixes: of the
    members it reads: geometry, voxels, mask where there is one. members: sample number → where its files lie.
    geometry: float64 [n,24]. views: what is seen of each. matrices: out_to_in float64 [n,3,4], or None where no field
    is turned or larger than its volume. numbers: float32 [n,3] for stored voxels v: v·numbers[0] + numbers[1] lies in
    0…1, numbers[2] is the exponent after that. target: float32 [n,13], true of what is seen.
    """

    number: np.ndarray
    keys: list[str]
    tars: list[str]
    indices: list[str]
    suffixes: list[str]
    members: dict[int, list[Member]]
    geometry: np.ndarray
    views: Views
    matrices: np.ndarray | None
    numbers: np.ndarray
    target: np.ndarray

    @property
    def is_htj2k(self) -> bool:
        """True where voxels are compressed."""
        return self.suffixes[1] == "vol.jhc"

    @property
    def is_at_grid(self) -> bool:
        """True where every field is its whole volume, voxel for voxel, perhaps flipped."""
        whole = (self.views.start_mm == 0) & (self.views.size == self.views.shape)
        return self.matrices is None and bool((whole & (self.views.extent_mm == self.views.whole_mm)).all())

    @classmethod
    def of(
        cls,
        samples: Samples,
        config: DataConfig,
        held: Held,
        number: np.ndarray,
        draws: np.ndarray | None,
        folder: str,
        masks: bool,
    ) -> "Part":
        """Plan the reading of samples `number` with the random numbers `draws` (None for evaluation).

        folder: for index files. Raises UsageError where a shard does not hold the samples it should.
        """
        unique, inverse = np.unique(number, return_inverse=True)
        lines, members = _places(samples, held, unique)
        known = _read_geometry(samples, held, unique, members)
        indices = _write_indices(lines, unique, folder)
        geometry = known[inverse]
        views = augment.views(geometry, samples.is_ct[number], config, draws)
        is_moved = draws is not None and (any(config.augment.rotation_deg) or config.augment.scale[1] > 1)
        suffixes = ["geometry.npy", "vol.jhc" if samples.codec == "htj2k" else "vol.npy"] + ["mask.npy"] * masks
        return cls(
            number=number,
            keys=[samples.keys[i] for i in number],
            tars=[f"{held.stems[samples.shards[samples.shard[i]]]}.tar" for i in number],
            indices=[indices[i] for i in inverse],
            suffixes=suffixes,
            members=dict(zip(unique.tolist(), members, strict=True)),
            geometry=geometry,
            views=views,
            matrices=views.matrices() if is_moved else None,
            numbers=_numbers(geometry, views, HTJ2K_BIAS if samples.codec == "htj2k" else 0.0),
            target=augment.adapt(samples.targets[number], views, geometry),
        )

    def slices(self, row: int, depth: int) -> slice:
        """Where the volume lies among `depth` slices: a short one in the middle, zeros on both sides."""
        size = int(self.views.size[row, 0])
        first = (depth - size) // 2
        return slice(first, first + size)

    def inside(self, row: int, device: torch.device) -> torch.Tensor:
        """bool [D,H,W] of the field's own size: where it looks into the volume."""
        size = tuple(int(n) for n in self.views.size[row])
        return augment.inside(self.matrices[row], self.views.shape[row], size, device)

    def dali_matrices(self) -> np.ndarray:
        """The maps as DALI's warp_affine takes them: axes W,H,D, voxel centres at + 0.5. float32 [n,3,4]."""
        linear, shift = self.matrices[:, :, :3], self.matrices[:, :, 3]
        shift = shift - linear @ np.full(3, 0.5) + 0.5
        return np.concatenate([linear[:, ::-1, ::-1], shift[:, ::-1, None]], axis=2).astype(np.float32)


def read_geometry(samples: Samples, held: Held, number: np.ndarray) -> np.ndarray:
    """float64 [n,24] of samples `number`, whose shards are held. Raises UsageError for what is not what was written."""
    unique, inverse = np.unique(number, return_inverse=True)
    _, members = _places(samples, held, unique)
    return _read_geometry(samples, held, unique, members)[inverse]


def _places(samples: Samples, held: Held, unique: np.ndarray) -> tuple[list[str], list[list[Member]]]:
    """The line of each sample in the .idx of its shard, and what it says."""
    by_shard: dict[Shard, list[str]] = {}
    lines = []
    for i in unique.tolist():
        shard, position = samples.shards[samples.shard[i]], samples.positions[i]
        if shard not in by_shard:
            by_shard[shard] = read_lines(held.stems[shard], shard)
        line = by_shard[shard][position] if position < len(by_shard[shard]) else ""
        if f" {samples.keys[i]}.vol." not in line:
            raise shard.broken(f"does not list {samples.keys[i]} at {position}")
        lines.append(line)
    return lines, [idx.members(line) for line in lines]


def _read_geometry(samples: Samples, held: Held, unique: np.ndarray, members: list[list[Member]]) -> np.ndarray:
    """float64 [len(unique),24], read from the tars, shard by shard."""
    geometry = np.empty((len(unique), NUM_GEOMETRY))
    by_shard = np.argsort(samples.shard[unique], kind="stable")
    for rows in np.split(by_shard, np.flatnonzero(np.diff(samples.shard[unique][by_shard])) + 1):
        shard = samples.shard[unique[rows[0]]]
        with open(f"{held.stems[samples.shards[shard]]}.tar", "rb", buffering=0) as file:
            for row in rows.tolist():
                place = next(member for member in members[row] if member.suffix == "geometry.npy")
                content = os.pread(file.fileno(), 8 * NUM_GEOMETRY, place.offset + place.num_bytes - 8 * NUM_GEOMETRY)
                if len(content) == 8 * NUM_GEOMETRY:
                    geometry[row] = np.frombuffer(content, "<f8")
                whole = len(content) == 8 * NUM_GEOMETRY and np.isfinite(geometry[row]).all()
                if not whole or (geometry[row, :6] <= 0).any():
                    raise damaged(samples, int(unique[row]), file.name)
    return geometry


def _write_indices(lines: list[str], unique: np.ndarray, folder: str) -> list[str]:
    """One DALI index file (v1.2) of one line for each sample; returns their paths."""
    paths = [f"{folder}/{i:07d}.idx" for i in unique.tolist()]
    for path, line in zip(paths, lines, strict=True):
        Path(path).write_text(f"{idx.VERSION} 1\n{line}\n")
    return paths


def _numbers(geometry: np.ndarray, views: Views, bias: float) -> np.ndarray:
    scale, offset = geometry[:, 18], geometry[:, 19]
    wide = views.high - views.low
    has_range = wide > 1e-6 * scale  # a constant volume has none, and becomes zeros
    factor = np.where(has_range, scale / np.where(has_range, wide, 1), 0)
    shift = np.where(has_range, (offset - bias * scale - views.low) / np.where(has_range, wide, 1), 0)
    return np.column_stack([factor, shift, views.gamma]).astype(np.float32)


def damaged(samples: Samples, number: int, tar: str) -> UsageError:
    """The error for a sample whose bytes are not those that were written. The copy of a remote shard is deleted."""
    shard, what = samples.shards[samples.shard[number]], f"holds a damaged sample, {samples.keys[number]}"
    if is_local(shard.root):
        return shard.broken(what)
    forget(tar.removesuffix(".tar"))
    return shard.broken(f"has a copy {tar} that {what} (deleted; run again, it is fetched anew); if that ends here too")
