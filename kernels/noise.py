"""Normal noise that is a pure function of (seed, epoch, position, voxel): any machine, in any order, the same values.

Philox4x32-10 (Salmon et al. 2011, Random123) turns a counter into four random words, Box-Muller these into four normal
numbers. One counter serves a column of four slices, so that a thread of the fused kernel, which samples such a column,
uses all four. This is the CPU path, and what the device code is held to.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from radnet.kernels.grid import Shape

COLUMN = 4  # slices that share a counter, which is as many as Philox gives words
ROUNDS = 10
MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL = 0x9E3779B9, 0xBB67AE85  # what each round adds to the key
CHUNK = 1 << 14  # counters at once, so that the words in flight stay in the second-level cache


@dataclass(frozen=True)
class Noise:
    """Noise of standard deviation `std` for the volume at one position of an epoch's list; see `normal`."""

    std: float
    seed: int
    epoch: int
    position: int


def normal(seed: int, epoch: int, position: int, shape: Shape) -> np.ndarray:
    """Standard normal noise for the volume at one position of an epoch's list: float32 of shape D,H,W.

    seed: below 2^64, the key. epoch, position: below 2^32; they and a voxel's place in the volume are the counter.
    Raises ValueError outside these ranges, and for a shape that is not three positive sizes or needs more counters.
    """
    key = words(seed, epoch, position, shape)[:2]
    depth, height, width = shape
    out = np.empty((-(-depth // COLUMN), COLUMN, height * width), np.float32)
    for columns, first, count in _runs(out.shape[0], height * width):
        counter = np.zeros((4, columns.stop - columns.start, count), np.uint32)
        counter[0] = np.arange(columns.start, columns.stop, dtype=np.uint32)[:, None] * np.uint32(height * width)
        counter[0] += np.arange(first, first + count, dtype=np.uint32)
        counter[1], counter[2] = position, epoch
        random = philox(counter, key)
        for pair in (0, 2):
            _box_muller(random[pair], random[pair + 1], out[columns, pair : pair + 2, first : first + count])
    return out.reshape(-1, height, width)[:depth]


def words(seed: int, epoch: int, position: int, shape: Shape) -> tuple[int, int, int, int]:
    """The 32-bit words of a volume's noise: two of the key, then epoch and position. Raises as `normal` does."""
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"shape is {shape}, expected three positive sizes D,H,W")
    if -(-shape[0] // COLUMN) * shape[1] * shape[2] > 1 << 32:
        raise ValueError(f"a volume of {shape} voxels needs more than 2^32 counters")
    for name, value, bits in (("seed", seed, 64), ("epoch", epoch, 32), ("position", position, 32)):
        if not 0 <= value < 1 << bits:
            raise ValueError(f"{name} is {value}, expected 0 to 2^{bits} - 1")
    return seed & 0xFFFFFFFF, seed >> 32, epoch, position


def philox(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Philox4x32-10 of each counter: uint32 [4,...] → uint32 [4,...]; key: two 32-bit words."""
    word = [counter[i].astype(np.uint64) for i in range(4)]
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    for number in range(ROUNDS):
        first, second = word[0] * MULTIPLIERS[0], word[2] * MULTIPLIERS[1]
        keys = [np.uint64((key[i] + number * WEYL[i]) & 0xFFFFFFFF) for i in range(2)]
        word = [
            (second >> shift) ^ word[1] ^ keys[0],
            second & low,
            (first >> shift) ^ word[3] ^ keys[1],
            first & low,
        ]
    return np.stack(word).astype(np.uint32)


def _runs(columns: int, plane: int) -> Iterator[tuple[slice, int, int]]:
    """Cut [columns, plane] into (columns, first, count) of about CHUNK places: whole planes, or runs within one."""
    step, run = max(1, CHUNK // plane), min(plane, CHUNK)
    for start in range(0, columns, step):
        for first in range(0, plane, run):
            yield slice(start, min(start + step, columns)), first, min(run, plane - first)


def _box_muller(radius: np.ndarray, angle: np.ndarray, out: np.ndarray) -> None:
    """Two normal numbers of two words each: uint32 [C,N] twice → out float32 [C,2,N]."""
    radius, angle = (word.astype(np.float32) * np.float32(2**-32) + np.float32(2**-33) for word in (radius, angle))
    radius = np.sqrt(np.float32(-2) * np.log(radius))  # of (0, 1]: never of 0
    angle *= np.float32(2 * np.pi)
    np.multiply(radius, np.cos(angle), out=out[:, 0])
    np.multiply(radius, np.sin(angle), out=out[:, 1])
