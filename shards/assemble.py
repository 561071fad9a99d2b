"""Stored pixel values into the real values of one volume: unused bits, rescale, padding, MONOCHROME1."""

from collections.abc import Callable, Iterator

import numpy as np

from radnet.shards.geometry import Slice, Stack
from radnet.shards.record import FileRecord

# (file, frame numbers in ascending order) → their stored values, each [H,W].
Decode = Callable[[FileRecord, list[int]], Iterator[np.ndarray]]


def used_bits(stored: np.ndarray, record: FileRecord) -> np.ndarray:
    """`stored` without what old scanners keep in the bits that BitsStored leaves unused, sign extended."""
    bits = stored.dtype.itemsize * 8
    left, right = bits - 1 - record.high_bit, bits - record.bits_stored
    if stored.dtype.kind not in "iu" or not 0 <= left <= right < bits or right == 0:
        return stored
    fits = (0, (1 << record.bits_stored) - 1)
    if stored.dtype.kind == "i":
        fits = (-(1 << (record.bits_stored - 1)), (1 << (record.bits_stored - 1)) - 1)
    if left == right and fits[0] <= stored.min() and stored.max() <= fits[1]:
        return stored
    return (stored << left) >> right


def padding_mask(stored: np.ndarray, record: FileRecord) -> np.ndarray | None:
    """[H,W] bool: where `stored` holds no data; None where the header names no padding.

    The padding value is compared as bits, for writers mistake its sign.
    """
    if stored.dtype.kind == "f":
        return ~np.isfinite(stored)
    if record.padding is None:
        return None
    bits = stored.dtype.itemsize * 8
    low, high = (np.array([value % (1 << bits)], f"u{bits // 8}").view(stored.dtype)[0] for value in record.padding)
    return stored == low if low == high else (stored >= min(low, high)) & (stored <= max(low, high))


def real_values(stored: np.ndarray, slice_: Slice) -> np.ndarray:
    """[H,W] stored · slope + intercept: int64 where both are whole numbers, else float64."""
    slope = 1.0 if slice_.frame.slope is None else slice_.frame.slope
    intercept = 0.0 if slice_.frame.intercept is None else slice_.frame.intercept
    if stored.dtype.kind in "iu" and float(slope).is_integer() and float(intercept).is_integer():
        kind = (
            np.int32 if stored.dtype.itemsize <= 2 and abs(slope) < 1 << 14 and abs(intercept) < 1 << 30 else np.int64
        )
        return stored.astype(kind) * int(slope) + int(intercept)
    return stored.astype(np.float64) * slope + intercept


class _DoesNotFit(Exception):
    """A real value is no whole number of 16 bits."""


def assemble(stack: Stack, decode: Decode) -> tuple[np.ndarray, list[str]]:
    """The voxels of a stack and notes on what was changed.

    Returns [D,H,W] int16 where every real value is a whole number that fits, else float32. Padding becomes the smallest
    real value of the volume. MONOCHROME1 is turned so that high is bright, except in CT, whose values are HU already.
    """
    rescales = {value for one in stack.slices for value in (one.frame.slope, one.frame.intercept)} - {None}
    if all(float(value).is_integer() for value in rescales):
        try:
            return _fill(stack, decode, np.int16)
        except _DoesNotFit:  # rare, and reading again costs less memory than a second array
            pass
    return _fill(stack, decode, np.float32)


def _fill(stack: Stack, decode: Decode, dtype: type) -> tuple[np.ndarray, list[str]]:
    first = stack.slices[0].record
    voxels = np.empty((len(stack.slices), first.rows, first.columns), dtype)
    padded: dict[int, np.ndarray] = {}
    low, high = np.inf, -np.inf
    for number, slice_, stored in _in_file_order(stack.slices, decode):
        mask = padding_mask(stored, slice_.record)
        if mask is not None and mask.any():
            padded[number] = np.packbits(mask)  # a bit for each voxel, where there is padding at all
        else:
            mask = None
        stored = used_bits(stored, slice_.record)
        put = _put_whole if dtype is np.int16 else _put_real
        ends = put(voxels[number], stored, slice_, mask)
        low, high = min([low, *ends]), max([high, *ends])
    notes = []
    if first.photometric == "MONOCHROME1" and first.header["Modality"] == "CT":
        notes.append("MONOCHROME1 concerns the display only: HU kept")
    elif first.photometric == "MONOCHROME1" and np.isfinite(low):
        np.subtract(_wrapped(int(low + high)) if dtype is np.int16 else np.float32(low + high), voxels, out=voxels)
        notes.append("MONOCHROME1 inverted: high is bright")
    for number, bits in padded.items():
        mask = np.unpackbits(bits, count=voxels[number].size).view(bool).reshape(voxels[number].shape)
        voxels[number][mask] = low if np.isfinite(low) else 0
    if padded:
        count = sum(int(np.unpackbits(bits).sum()) for bits in padded.values())
        notes.append(f"{count} padding voxels set to the smallest value")
    return voxels, notes


def _ends(values: np.ndarray, mask: np.ndarray | None) -> list[float]:
    """Smallest and largest of the values that are no padding; [] where all are."""
    kept = values if mask is None else values[~mask]
    return [kept.min(), kept.max()] if kept.size else []


def _put_whole(out: np.ndarray, stored: np.ndarray, slice_: Slice, mask: np.ndarray | None) -> list[int]:
    """Write whole real values into `out` [H,W] int16; their smallest and largest. Raises _DoesNotFit."""
    if stored.dtype.kind not in "iu":
        raise _DoesNotFit
    slope, intercept = int(slice_.frame.slope or 1), int(slice_.frame.intercept or 0)
    ends = [int(value) * slope + intercept for value in _ends(stored, mask)]
    if ends and not -32768 <= min(ends) <= max(ends) <= 32767:
        raise _DoesNotFit
    # Modulo 2^16: every step may overflow, and what fits in the end is right. Padding is replaced later.
    values = stored.view(np.int16) if stored.dtype.itemsize == 2 else stored.astype(np.int16)
    if slope == 1:
        np.add(values, _wrapped(intercept), out=out)
    else:
        np.multiply(values, _wrapped(slope), out=out)
        out += _wrapped(intercept)
    return ends


def _wrapped(number: int) -> np.int16:
    return np.array(number & 0xFFFF, np.uint16).view(np.int16)[()]


def _put_real(out: np.ndarray, stored: np.ndarray, slice_: Slice, mask: np.ndarray | None) -> list[float]:
    """Write real values into `out` [H,W] float32; their smallest and largest."""
    with np.errstate(over="ignore", invalid="ignore"):  # only padding can leave the range, and it is replaced later
        real = real_values(stored, slice_)
        out[:] = real
    return [float(value) for value in _ends(real, mask)]


def _in_file_order(slices: list[Slice], decode: Decode) -> Iterator[tuple[int, Slice, np.ndarray]]:
    """(number in the stack, slice, stored values), file by file so that a multi-frame file is opened once."""
    files: dict[str, list[int]] = {}
    for number, slice_ in enumerate(slices):
        files.setdefault(slice_.record.path, []).append(number)
    for numbers in files.values():
        numbers.sort(key=lambda number: slices[number].frame.index)
        arrays = decode(slices[numbers[0]].record, [slices[number].frame.index for number in numbers])
        for number, stored in zip(numbers, arrays, strict=True):
            yield number, slices[number], stored
