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
    return (stored << left) >> right


def padding_mask(stored: np.ndarray, record: FileRecord) -> np.ndarray:
    """[H,W] bool: where `stored` holds no data. The padding value is compared as bits, for writers mistake its sign."""
    if stored.dtype.kind == "f":
        return ~np.isfinite(stored)
    if record.padding is None:
        return np.zeros(stored.shape, bool)
    bits = stored.dtype.itemsize * 8
    low, high = (np.array([value % (1 << bits)], f"u{bits // 8}").view(stored.dtype)[0] for value in record.padding)
    return (stored >= min(low, high)) & (stored <= max(low, high))


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


def assemble(stack: Stack, decode: Decode) -> tuple[np.ndarray, list[str]]:
    """The voxels of a stack and notes on what was changed.

    Returns [D,H,W] int16 where every real value is a whole number that fits, else float32. Padding becomes the smallest
    real value of the volume. MONOCHROME1 is turned so that high is bright, except in CT, whose values are HU already.
    """
    first = stack.slices[0].record
    voxels = np.empty((len(stack.slices), first.rows, first.columns), np.int16)
    padded = np.zeros(voxels.shape, bool)
    low, high = np.inf, -np.inf
    for number, slice_, stored in _in_file_order(stack.slices, decode):
        padded[number] = mask = padding_mask(stored, slice_.record)
        real = real_values(used_bits(stored, slice_.record), slice_)
        kept = real[~mask] if mask.any() else real
        if kept.size:
            low, high = min(low, kept.min()), max(high, kept.max())
        if voxels.dtype == np.int16 and (real.dtype.kind == "f" or (kept.size and not -32768 <= low <= high <= 32767)):
            voxels = voxels.astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # only padding can leave the range, and it is replaced below
            voxels[number] = real.astype(voxels.dtype)
    notes = []
    if first.photometric == "MONOCHROME1" and first.header["Modality"] == "CT":
        notes.append("MONOCHROME1 concerns the display only: HU kept")
    elif first.photometric == "MONOCHROME1":
        wide = np.float32 if voxels.dtype == np.float32 else np.int32
        voxels = (wide(low + high) - voxels.astype(wide)).astype(voxels.dtype)
        notes.append("MONOCHROME1 inverted: high is bright")
    if padded.any():
        voxels[padded] = low if np.isfinite(low) else 0
        notes.append(f"{int(padded.sum())} padding voxels set to the smallest value")
    return voxels, notes


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
