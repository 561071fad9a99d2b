"""Which slices of a series make one volume, in what order, and where it lies. Arithmetic on headers only.

Nothing is guessed: images that do not belong are left out with a note where what remains is clear, and the series is
refused where it is not. Tolerances: orientation 0.01, distances 1 %, in-plane 0.1 mm.
"""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from radnet.shards.ledger import STATUS, Code, SeriesError, Status
from radnet.shards.record import SPLITS, FileRecord, Frame

ORIENTATION_TOLERANCE = 0.01
SPACING_TOLERANCE = 0.01
IN_PLANE_TOLERANCE_MM = 0.1
PIXEL_SPACING_TOLERANCE = 1e-3
SAME_POSITION_MM = 0.01
# A series with more orientations or shapes than this is no stack with strays; it also bounds the work.
_MAX_STACKS = 32


class Slice(NamedTuple):
    record: FileRecord
    frame: Frame


@dataclass(frozen=True)
class Stack:
    """Slices in ascending position along the normal, and their grid in LPS mm (see `radnet.volume.Volume`).

    slice_spacing_mm is perpendicular; spacing_mm[0] is the length of the step, longer under gantry tilt.
    """

    slices: list[Slice]
    origin_mm: tuple[float, float, float]
    spacing_mm: tuple[float, float, float]
    direction: np.ndarray
    slice_spacing_mm: float


def usable(records: list[FileRecord]) -> tuple[list[Slice], list[str]]:
    """The slices of the files that are images of a volume, and notes on what was left out.

    Raises SeriesError: with the code of a damaged file if there is one, because a volume without that slice would be
    wrong; else with the commonest code when no file is usable.
    """
    codes = Counter(record.code for record in records if record.code is not Code.OK)
    damaged = [record for record in records if record.code is not Code.OK and STATUS[record.code] is Status.FAILED]
    good = [record for record in records if record.code is Code.OK]
    if not records:
        raise SeriesError(Code.TOO_FEW_SLICES, "no files")
    if damaged or not good:
        code = damaged[0].code if damaged else codes.most_common(1)[0][0]
        detail = next(record.detail for record in records if record.code is code)
        raise SeriesError(code, f"{codes[code]} of {len(records)} files" + (f"; {detail}" if detail else ""))
    notes = [f"left out {count} of {len(records)} files: {code}" for code, count in sorted(codes.items())]
    return [Slice(record, frame) for record in good for frame in record.frames], notes


def normal_of(frame: Frame) -> np.ndarray:
    """[3] unit normal of a slice: row direction × column direction. Raises SeriesError unless orthonormal."""
    row, column = np.asarray(frame.orientation[:3], float), np.asarray(frame.orientation[3:], float)
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if abs(lengths[0] - 1) > 0.01 or abs(lengths[1] - 1) > 0.01 or abs(row @ column) > ORIENTATION_TOLERANCE:
        raise SeriesError(Code.NO_GEOMETRY, "ImageOrientationPatient is not two orthogonal unit vectors")
    normal = np.cross(row, column)
    return normal / np.linalg.norm(normal)


def _belongs(slice_: Slice, other: Slice) -> bool:
    same_shape = (slice_.record.rows, slice_.record.columns) == (other.record.rows, other.record.columns)
    pairs = zip(slice_.frame.orientation, other.frame.orientation, strict=True)
    spacings = zip(slice_.frame.pixel_spacing_mm, other.frame.pixel_spacing_mm, strict=True)
    return (
        same_shape
        and all(abs(a - b) <= ORIENTATION_TOLERANCE for a, b in pairs)
        and all(abs(a - b) <= PIXEL_SPACING_TOLERANCE * b for a, b in spacings)
    )


def largest_stack(slices: list[Slice], min_slices: int) -> tuple[list[Slice], list[str]]:
    """The largest set of slices with one orientation, shape and pixel spacing, and notes on the rest.

    Raises SeriesError: TOO_FEW_SLICES; MIXED_GEOMETRY when two sets are equally large, or sign or photometric vary.
    """
    stacks: list[list[Slice]] = []
    for slice_ in slices:
        stack = next((stack for stack in stacks if _belongs(slice_, stack[0])), None)
        if stack is None:
            if len(stacks) == _MAX_STACKS:
                raise SeriesError(
                    Code.MIXED_GEOMETRY, f"more than {_MAX_STACKS} orientations, shapes or pixel spacings"
                )
            stacks.append(stack := [])
        stack.append(slice_)
    stacks.sort(key=len, reverse=True)
    kept = stacks[0]
    if len(kept) < min_slices:
        raise SeriesError(Code.TOO_FEW_SLICES, f"{len(kept)} slices, min_slices is {min_slices}")
    if len(stacks) > 1 and len(stacks[1]) == len(kept):
        raise SeriesError(Code.MIXED_GEOMETRY, f"{len(stacks)} stacks, the largest two of {len(kept)} slices each")
    for what in ("is_signed", "photometric"):
        if len({getattr(slice_.record, what) for slice_ in kept}) > 1:
            raise SeriesError(Code.MIXED_GEOMETRY, f"{what.removeprefix('is_')} varies between slices")
    rest = [f"left out a stack of {len(stack)} slices of another orientation or shape" for stack in stacks[1:]]
    return kept, rest


def by_position(slices: list[Slice]) -> list[list[Slice]]:
    """The slices in ascending position along the normal, those that share a position together."""
    normal = normal_of(slices[0].frame)
    projections = np.array([slice_.frame.position_mm for slice_ in slices]) @ normal
    order = np.argsort(projections, kind="stable")
    groups: list[list[Slice]] = []
    previous = -np.inf
    for index in order:
        if projections[index] - previous > SAME_POSITION_MM:
            groups.append([])
            previous = projections[index]
        groups[-1].append(slices[index])
    return groups


def split_by_header(groups: list[list[Slice]]) -> tuple[list[Slice], list[str]]:
    """One stack out of different images that share positions, told apart by the header.

    The largest part is kept when every other is less than half of it. Raises SeriesError: TIME_SERIES when several
    parts are full stacks, DUPLICATE_POSITION when nothing in the header tells the images apart.
    """
    position_of = {id(slice_): number for number, group in enumerate(groups) for slice_ in group}
    slices = [slice_ for group in groups for slice_ in group]
    for number, name in [*enumerate(SPLITS), (slice(None), "acquisition, echo, time, b-value and image type")]:
        parts: dict[object, list[Slice]] = {}
        for slice_ in slices:
            parts.setdefault(slice_.frame.split[number], []).append(slice_)
        is_clean = all(len({position_of[id(one)] for one in part}) == len(part) for part in parts.values())
        if len(parts) < 2 or not is_clean:
            continue
        kept, *rest = sorted(parts.values(), key=len, reverse=True)
        if 2 * len(rest[0]) >= len(kept):
            raise SeriesError(Code.TIME_SERIES, f"{len(parts)} stacks at the same positions, by {name}")
        return kept, [f"left out {len(part)} slices of another {name}" for part in rest]
    counts = {len(group) for group in groups}
    if len(counts) == 1 and len(groups) > 1:
        raise SeriesError(Code.TIME_SERIES, f"{counts.pop()} different images at each of {len(groups)} positions")
    raise SeriesError(Code.DUPLICATE_POSITION, f"{len(slices)} different images at {len(groups)} positions")


def arrange(slices: list[Slice], max_spacing_mm: float) -> Stack:
    """The grid of at least two slices in ascending position.

    Raises SeriesError: SPACING_TOO_LARGE, MISSING_SLICE (a gap is a whole multiple of the others), UNEVEN_SPACING.
    """
    frame = slices[0].frame
    normal = normal_of(frame)
    positions = np.array([slice_.frame.position_mm for slice_ in slices], float)
    _check_gaps(np.diff(positions @ normal))
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    slice_spacing_mm = float(step @ normal)
    if slice_spacing_mm > max_spacing_mm:
        raise SeriesError(Code.SPACING_TOO_LARGE, f"{slice_spacing_mm:.2f} mm, max_spacing_mm is {max_spacing_mm:g}")
    strays = positions - positions[0] - np.arange(len(slices))[:, None] * step
    strays -= np.outer(strays @ normal, normal)
    shift_mm = float(np.linalg.norm(strays, axis=1).max())
    if shift_mm > IN_PLANE_TOLERANCE_MM:
        raise SeriesError(Code.UNEVEN_SPACING, f"slices lie up to {shift_mm:.2f} mm beside the line of the others")
    row, column = np.asarray(frame.orientation[:3], float), np.asarray(frame.orientation[3:], float)
    length = float(np.linalg.norm(step))
    axes = [step / length, column / np.linalg.norm(column), row / np.linalg.norm(row)]
    spacing_mm = (length, *(float(value) for value in frame.pixel_spacing_mm))
    return Stack(slices, tuple(map(float, positions[0])), spacing_mm, np.stack(axes, axis=1), slice_spacing_mm)


def _check_gaps(gaps_mm: np.ndarray) -> None:
    median = float(np.median(gaps_mm))
    odd = gaps_mm[np.abs(gaps_mm - median) > SPACING_TOLERANCE * median]
    if not odd.size:
        return
    multiples = np.rint(odd / median)
    if (multiples >= 2).all() and (np.abs(odd - multiples * median) <= 2 * SPACING_TOLERANCE * median).all():
        raise SeriesError(Code.MISSING_SLICE, f"{int((multiples - 1).sum())} missing between {gaps_mm.size + 1} slices")
    raise SeriesError(Code.UNEVEN_SPACING, f"distances from {gaps_mm.min():.3f} to {gaps_mm.max():.3f} mm")
