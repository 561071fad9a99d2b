"""An epoch is a list: pure, seeded, balanced, and the same for any number of ranks."""

import numpy as np

PADDING = -1


def repeats(classes: np.ndarray, cap: int) -> np.ndarray:
    """How often each sample stands in an epoch: inverse class frequency, at most `cap` times.

    classes: int [N], -1 unknown (never repeated). Returns int64 [N], all ≥ 1.
    """
    counts = np.bincount(classes[classes >= 0]) if (classes >= 0).any() else np.zeros(1, np.int64)
    wanted = np.ones(len(classes), np.int64)
    known = classes >= 0
    wanted[known] = np.clip(np.rint(counts.max() / np.maximum(counts[classes[known]], 1)), 1, cap)
    return wanted


def order(repeat: np.ndarray, *, seed: int, epoch: int, multiple: int) -> np.ndarray:
    """The sample numbers of one epoch in global order, shuffled, padded with PADDING to a multiple of the global batch.

    repeat: int [N], how often each sample occurs. Pure: the same arguments give the same list everywhere.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    return pad(rng.permutation(np.repeat(np.arange(len(repeat)), repeat)), multiple)


def pad(samples: np.ndarray, multiple: int) -> np.ndarray:
    """The list with PADDING appended up to a whole multiple: nothing is dropped, all ranks get as many steps."""
    short = -len(samples) % multiple
    return np.concatenate([samples, np.full(short, PADDING, samples.dtype)])


def positions(length: int, *, micro_batch: int, rank: int, world: int, start: int = 0) -> np.ndarray:
    """The positions of the list that one rank reads, in order, from position `start` on.

    Micro-batch m (positions m·micro … (m+1)·micro − 1) goes to rank m mod world, so that W ranks read within one step
    what one rank reads in W accumulated micro-batches. length and start are multiples of micro_batch·world.
    """
    if length % (micro_batch * world) or start % (micro_batch * world):
        raise ValueError(f"length {length} and start {start} must be multiples of {micro_batch} x {world}")
    return np.arange(start, length).reshape(-1, world, micro_batch)[:, rank].ravel()


def flips(seed: int, epoch: int, position: int) -> np.ndarray:
    """Which of the axes D,H,W to flip at this position: int32 [3] of 0 and 1, a pure function of its arguments."""
    rng = np.random.Generator(np.random.Philox(key=[seed, epoch], counter=[position, 0, 0, 1]))
    return rng.integers(0, 2, 3, dtype=np.int32)
