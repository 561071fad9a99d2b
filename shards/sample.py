"""What a worker does: one series into a sample, one job into a shard. Nothing here knows Ray."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from radnet import __version__
from radnet.kernels.grid import grid
from radnet.labels import RULES_VERSION, read
from radnet.shards.actors import Task
from radnet.shards.codec import SUFFIX, encode, percentiles, quantise
from radnet.shards.dicom import read_volume
from radnet.shards.face import face
from radnet.shards.fetch import Ahead, fetched
from radnet.shards.geometry import MEASURED
from radnet.shards.inventory import Entry, Row
from radnet.shards.ledger import Code, LedgerRow, SeriesError
from radnet.shards.nifti import read_case
from radnet.shards.public import modality, public_header
from radnet.shards.straighten import shear_deg, straighten
from radnet.shards.write import Outcome, Sample, write_shard
from radnet.volume import Volume


@dataclass(frozen=True)
class Recipe:
    """How series become samples: the values of ShardConfig that workers need."""

    codec: str
    min_slices: int
    max_voxels: int
    max_spacing_mm: float
    finest_mm: tuple[float, float, float] | None
    keep_free_text: bool
    straighten: bool = False


@dataclass(frozen=True)
class BuildTask(Task[Entry]):
    """One shard to write: items are its series in order. stem: path or URL without suffix. mark: the job's
    fingerprint."""

    split: str
    stem: str
    mark: str
    recipe: Recipe


@dataclass(frozen=True)
class Built:
    """A finished shard in numbers, for progress. codes: code of the ledger → series; num_slices: of its samples;
    num_bytes: of the tar."""

    name: str
    codes: dict[str, int]
    num_slices: int
    num_bytes: int


@dataclass(frozen=True)
class _Series:
    """A series in memory. mask: uint8 [D,H,W] or None. notes: what was left out or changed while reading."""

    volume: Volume
    mask: np.ndarray | None
    header: dict[str, Any]
    notes: Sequence[str]


def build_shard(task: BuildTask, killers: frozenset[int]) -> Built:
    """Write one shard; a series that fails becomes a ledger row. killers: positions not to be touched."""
    sidecar = write_shard(task.stem, _outcomes(task, killers), task.mark)
    codes = Counter(str(row.code) for row in sidecar.ledger)
    num_slices = sum(row["num_slices"] for row in sidecar.labels)
    return Built(task.name, dict(codes), num_slices, sidecar.info.num_bytes)


def probe(task: BuildTask, position: int) -> None:
    """Do what may kill a worker, and nothing else: decode and encode one series."""
    row = task.items[position].unpack()
    outcome(row, fetched(row.files, row.stamps), task.recipe, task.split)


def _outcomes(task: BuildTask, killers: frozenset[int]) -> Iterator[Outcome]:
    rows = [entry.unpack() for entry in task.items]
    spared = [row for position, row in enumerate(rows) if position not in killers]
    with Ahead([(row.files, row.stamps) for row in spared]) as ahead:
        number = 0
        for position, row in enumerate(rows):
            if position in killers:
                yield Outcome(ledger_row(task.items[position], Code.DECODER_CRASH), None)
            else:
                yield outcome(row, ahead.take(number), task.recipe, task.split)
                number += 1


def ledger_row(series: Entry | Row, code: Code, detail: str = "") -> LedgerRow:
    """The ledger's row of a series of the inventory."""
    name = series.modality if isinstance(series, Entry) else modality(series.header)
    return LedgerRow(series.key, series.patient_key, code, detail, series.num_files, name)


def outcome(row: Row, fetching: AbstractContextManager[Sequence[str]], recipe: Recipe, split: str) -> Outcome:
    """Read one series and make its sample; what cannot be read or used is an Outcome without one.

    fetching: gives its files, see `fetch.fetched`. Raises OSError or MemoryError where the machine is at fault: such a
    series must be tried again, not written off.
    """
    try:
        with fetching as files:
            series = _read(row, files, recipe)
        return Outcome(ledger_row(row, Code.OK, row.detail), _sample(row, series, recipe, split))
    except SeriesError as error:
        return Outcome(ledger_row(row, error.code, error.detail), None)


def _read(row: Row, files: Sequence[str], recipe: Recipe) -> _Series:
    limits = {name: getattr(recipe, name) for name in ("min_slices", "max_voxels", "max_spacing_mm")}
    if row.kind == "nifti":
        volume, mask = read_case(*files, **limits)
        header = row.header | {"num_slices": volume.voxels.shape[0], "slice_spacing_mm": volume.spacing_mm[0]}
        header["extent_mm"] = volume.voxels.shape[0] * volume.spacing_mm[0]
        return _coarsen(_Series(volume, mask, header, ()), recipe)
    reading = read_volume(files, stack=row.part, **limits)
    header = row.header | {name: reading.header[name] for name in MEASURED}
    notes = [row.detail, *reading.notes] if row.detail else reading.notes
    volume = straighten(reading.volume) if recipe.straighten else reading.volume
    if volume is not reading.volume:
        notes = [*notes, f"gantry tilt of {shear_deg(reading.volume):.1f} degrees resampled away"]
    return _coarsen(_Series(volume, None, header, notes), recipe)


def _coarsen(series: _Series, recipe: Recipe) -> _Series:
    """Average axes that are finer than finest_mm, over the whole field of view."""
    volume = series.volume
    if recipe.finest_mm is None:
        return series
    shape = tuple(
        max(1, math.floor(size * spacing / finest + 1e-6)) if spacing < finest else size
        for size, spacing, finest in zip(volume.voxels.shape, volume.spacing_mm, recipe.finest_mm, strict=True)
    )
    if shape == volume.voxels.shape:
        return series
    from radnet.kernels.resample import resample  # brings torch: a second and 200 MB that most workers never need

    out_to_in = grid(volume.voxels.shape, volume.spacing_mm, shape)
    voxels = resample(volume.voxels, out_to_in, shape, mode="area", out_dtype=volume.voxels.dtype)
    mask = None if series.mask is None else resample(series.mask, out_to_in, shape, mode="nearest", out_dtype=np.uint8)
    spacing_mm = tuple(
        size * spacing / new for size, spacing, new in zip(volume.voxels.shape, volume.spacing_mm, shape, strict=True)
    )
    # Corners stay, so the centre of voxel 0 moves.
    origin_mm = tuple((volume.affine @ np.append(out_to_in[:, 3], 1))[:3])
    coarse = Volume(voxels, spacing_mm, origin_mm, volume.direction)
    return _Series(coarse, mask, series.header, [*series.notes, f"averaged from {volume.voxels.shape} to {shape}"])


def _sample(row: Row, series: _Series, recipe: Recipe, split: str) -> Sample:
    volume = series.volume
    stored, scale, offset = quantise(volume)
    exact = volume.voxels.dtype == np.int16 or scale == 1
    geometry = np.concatenate(
        [
            volume.voxels.shape,
            volume.spacing_mm,
            volume.origin_mm,
            volume.direction.reshape(-1),
            [scale, offset],
            percentiles(stored) * scale + offset,
        ]
    ).astype(np.float64)
    provenance = {
        "key": row.key,
        "kind": row.kind,
        "collection": row.collection,
        "licence": row.licence,
        "doi": row.doi,
        "header": series.header if recipe.keep_free_text else public_header(series.header),
        "has_free_text": recipe.keep_free_text,
        "notes": list(series.notes),
        "largest_rounding_error": 0.0 if exact else scale / 2,
        "radnet": __version__,
    }
    members = {
        "geometry.npy": geometry,
        "json": json.dumps(provenance, sort_keys=True, default=float).encode(),
        SUFFIX[recipe.codec]: stored if recipe.codec == "npy" else encode(stored, recipe.codec),
    }
    if series.mask is not None:
        members["mask.npy"] = series.mask
    found = read(series.header)
    place = {"split": split, "patient_key": row.patient_key, "collection": row.collection}
    place |= {"pixel_hash": row.pixel_hash or None, "face": face(found)}
    facts = {"num_slices": volume.voxels.shape[0], **found.row(), "rules_version": str(RULES_VERSION)}
    return Sample(row.key, members, place | facts)
