"""Which slices of a series make one volume, in what order, and where it lies. Arithmetic on headers only.

Nothing is guessed: images that do not belong are left out with a note where what remains is clear, and the series is
refused where it is not. Tolerances: orientation 0.01, distances 1 %, in-plane 0.1 mm.
"""

import itertools
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from radnet.shards.ledger import STATUS, Code, SeriesError, Status
from radnet.shards.record import SPLITS, FileRecord, Frame, values

ORIENTATION_TOLERANCE = 0.01
SPACING_TOLERANCE = 0.01
IN_PLANE_TOLERANCE_MM = 0.1
PIXEL_SPACING_TOLERANCE = 1e-3
SAME_POSITION_MM = 0.01
# A series with more orientations or shapes than this is no stack with strays; it also bounds the work.
_MAX_STACKS = 32
# More phases than a contrast study has: a film of the heart, of perfusion or of brain activity.
_MAX_TIMES = 8


# What `header_of` adds to the header of a file.
MEASURED = ("num_slices", "slice_spacing_mm", "extent_mm")


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


@dataclass(frozen=True)
class Candidate:
    """A stack as the headers show it. name: what sets it apart from the others of its series, as numbers only.

    code: OK where it may become a volume; pixels and spacing are judged later.
    """

    slices: list[Slice]
    name: str = ""
    code: Code = Code.OK
    detail: str = ""


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
    if (slice_.record.rows, slice_.record.columns) != (other.record.rows, other.record.columns):
        return False
    if slice_.frame.orientation == other.frame.orientation and slice_.frame.pixel_spacing_mm == (
        other.frame.pixel_spacing_mm
    ):
        return True
    pairs = zip(slice_.frame.orientation, other.frame.orientation, strict=True)
    spacings = zip(slice_.frame.pixel_spacing_mm, other.frame.pixel_spacing_mm, strict=True)
    return all(abs(a - b) <= ORIENTATION_TOLERANCE for a, b in pairs) and all(
        abs(a - b) <= PIXEL_SPACING_TOLERANCE * b for a, b in spacings
    )


def split(slices: list[Slice]) -> list[Candidate]:
    """The stacks of a series, the largest first: what shares orientation, shape and pixel spacing, and, where images
    share positions, what the header tells apart. Every slice is in one of them.

    Images at one position that the header does not tell apart stay together: they may be copies. Code of a stack:
    MIXED_GEOMETRY where sign or photometric vary within it or there are more than 32 stacks, TIME_SERIES where there
    are more than 8 time points or acquisitions, NO_GEOMETRY where the orientation is none.
    """
    stacks: list[list[Slice]] = []
    for slice_ in slices:
        stack = next((stack for stack in stacks if _belongs(slice_, stack[0])), None)
        if stack is None:
            if len(stacks) == _MAX_STACKS:
                detail = f"more than {_MAX_STACKS} orientations, shapes or pixel spacings"
                return [Candidate(slices, code=Code.MIXED_GEOMETRY, detail=detail)]
            stacks.append(stack := [])
        stack.append(slice_)
    names = [f"orientation or shape {number} of {len(stacks)}" for number in range(1, len(stacks) + 1)]
    names = names if len(stacks) > 1 else [""]
    found = [_checked(part) for stack, name in zip(stacks, names, strict=True) for part in _separate(stack, name)]
    return sorted(found, key=lambda part: -len(part.slices))


def _checked(stack: Candidate) -> Candidate:
    """The stack; refused where its slices do not say the same of their pixels."""
    for what in ("is_signed", "photometric"):
        if stack.code is Code.OK and len({getattr(slice_.record, what) for slice_ in stack.slices}) > 1:
            return replace(stack, code=Code.MIXED_GEOMETRY, detail=f"{what.removeprefix('is_')} varies between slices")
    return stack


def _separate(stack: list[Slice], name: str) -> list[Candidate]:
    """The stacks among slices of one orientation and shape."""
    numbered = _parts(stack, (5,))
    if 1 < len(numbered) <= _MAX_STACKS:  # the writer of an enhanced object says what is a stack
        names = [_joined(name, f"stack number {number} of {len(numbered)}") for number in range(1, len(numbered) + 1)]
        return [one for part, part_name in zip(numbered, names, strict=True) for one in _separate(part, part_name)]
    try:
        groups = by_position(stack)
    except SeriesError as error:
        return [Candidate(stack, name, error.code, error.detail)]
    if len(groups) == 1:
        return [Candidate(stack, name)]
    if len(groups) == len(stack):
        return _ranges([group[0] for group in groups], name)
    position_of = {id(slice_): number for number, group in enumerate(groups) for slice_ in group}
    for key, numbers in _SEPARATORS.items():
        parts = _parts(stack, numbers)
        if len(parts) < 2 or any(len({position_of[id(one)] for one in part}) < len(part) for part in parts):
            continue
        if len(parts) > (_MAX_TIMES if {0, 2} & set(numbers) else _MAX_STACKS):
            return [Candidate(stack, name, Code.TIME_SERIES, f"{len(parts)} stacks at the same positions, by {key}")]
        return [
            candidate
            for number, part in enumerate(parts, 1)
            for candidate in _ranges(_ascending(part), _joined(name, f"{key} {number} of {len(parts)}"))
        ]
    return [Candidate(stack, name)]


# What tells images at one position apart, in order of trial: places in Frame.split. Time comes after what is physical,
# and the acquisition number, which means something else to every vendor, last.
_SEPARATORS = {SPLITS[number]: (number,) for number in (1, 3, 4, 2, 0)} | {"several numbers": (0, 1, 2, 3, 4)}


def _joined(name: str, more: str) -> str:
    return f"{name}, {more}" if name else more


def _parts(slices: list[Slice], numbers: tuple[int, ...]) -> list[list[Slice]]:
    parts: dict[tuple[str, ...], list[Slice]] = {}
    for slice_ in slices:
        parts.setdefault(tuple(slice_.frame.split[number] for number in numbers), []).append(slice_)
    return [parts[value] for value in sorted(parts)]


def _ascending(slices: list[Slice]) -> list[Slice]:
    return [slice_ for group in by_position(slices) for slice_ in group]


def _ranges(ordered: list[Slice], name: str) -> list[Candidate]:
    """One stack, or, where its slices are unevenly spaced because two acquisitions follow each other, each of them."""
    if not _is_even(ordered):
        parts = [_ascending(part) for part in _parts(ordered, (0,))]
        rank = {id(slice_): number for number, slice_ in enumerate(ordered)}
        follows = sorted((rank[id(part[0])], rank[id(part[-1])]) for part in parts)
        if 1 < len(parts) <= _MAX_TIMES and all(len(part) >= 3 and _is_even(part) for part in parts):
            if all(one[1] < other[0] for one, other in itertools.pairwise(follows)):
                names = [_joined(name, f"acquisition {number} of {len(parts)}") for number in range(1, len(parts) + 1)]
                return [Candidate(part, name) for part, name in zip(parts, names, strict=True)]
    return [Candidate(ordered, name)]


def _is_even(ordered: list[Slice]) -> bool:
    positions = np.array([slice_.frame.position_mm for slice_ in ordered]) @ normal_of(ordered[0].frame)
    gaps_mm = np.diff(positions)
    return bool((np.abs(gaps_mm - np.median(gaps_mm)) <= SPACING_TOLERANCE * np.median(gaps_mm)).all())


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


def header_of(slices: list[Slice], series: list[Slice], slice_spacing_mm: float | None) -> dict[str, Any]:
    """The header of the middle one of `slices` (one at each position, ascending), with num_slices and, where the
    spacing is known, slice_spacing_mm and extent_mm, both along the normal.

    series: every slice of the series. A diffusion series has images at b = 0 too, and its stacks are all diffusion.
    """
    middle = slices[len(slices) // 2]
    header = middle.record.header | middle.frame.own | {"num_slices": len(slices)}
    b_values = [b_value for one in series for b_value in _b_values(one)]
    header |= {"DiffusionBValue": max(b_values)} if b_values else {}
    if slice_spacing_mm is None:
        return header
    return header | {"slice_spacing_mm": slice_spacing_mm, "extent_mm": len(slices) * slice_spacing_mm}


def _b_values(slice_: Slice) -> list[float]:
    own = values(slice_.frame.own, "DiffusionBValue")
    return own or values(slice_.record.header, "DiffusionBValue")


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
