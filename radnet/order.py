"""An epoch is a list: pure, seeded, balanced, and the same for any number of ranks."""

import numpy as np

PADDING = -1
NUM_DRAWS = 12  # random numbers of one position, in whole Philox blocks of four
_LIST, _DRAWS, _COUNTS = 0, 1, 2  # streams of one (seed, epoch): the last word of the counter


def repeats(classes: np.ndarray, cap: int) -> np.ndarray:
    """How often each sample stands in an epoch: inverse class frequency, at most `cap` times.

    classes: int [N], -1 unknown (never repeated). Returns int64 [N], all ≥ 1.
    """
    counts = np.bincount(classes[classes >= 0]) if (classes >= 0).any() else np.zeros(1, np.int64)
    wanted = np.ones(len(classes), np.int64)
    known = classes >= 0
    wanted[known] = np.clip(np.rint(counts.max() / np.maximum(counts[classes[known]], 1)), 1, cap)
    return wanted


def order(
    repeat: np.ndarray, shard: np.ndarray, *, seed: int, epoch: int, multiple: int, window: int = 0
) -> np.ndarray:
    """The sample numbers of one epoch in global order, shuffled, padded with PADDING to a multiple of the global batch.

    repeat: [N], how often each sample occurs; a fraction is how likely it is to occur once more. shard: int [N], where
    each sample lies. window: shuffle over this many shards at a time, themselves in random order; 0 = over the whole
    set. Pure: the same arguments give the same list everywhere, of the same length in every epoch.
    """
    rng = _stream(seed, epoch, _LIST)
    listed = np.repeat(np.arange(len(repeat)), _counts(repeat, _stream(seed, epoch, _COUNTS)))
    if not window:
        return pad(rng.permutation(listed), multiple)
    turn = rng.permutation(int(shard.max()) + 1) // window  # by shard: the window that reads it
    return pad(listed[np.lexsort((rng.random(len(listed)), turn[shard[listed]]))], multiple)


def length(repeat: np.ndarray, multiple: int) -> int:
    """Positions of every epoch's list, padding included."""
    return -(-round(float(repeat.sum())) // multiple) * multiple


def _counts(repeat: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Whole numbers that average to `repeat` and always have the same sum: systematic sampling of the fractions."""
    if (repeat == np.rint(repeat)).all():
        return repeat.astype(np.int64)
    whole = np.floor(repeat).astype(np.int64)
    shuffled = rng.permutation(len(repeat))
    wanted = round(float(repeat.sum())) - int(whole.sum())
    rising = np.cumsum((repeat - whole)[shuffled])
    marks = np.floor(rising * (wanted / rising[-1]) + rng.random() + 1e-9)
    whole[shuffled] += np.diff(marks, prepend=0).astype(np.int64)
    return whole


def pad(samples: np.ndarray, multiple: int) -> np.ndarray:
    """The list with PADDING appended up to a whole multiple: nothing is dropped, all ranks get as many steps."""
    short = -len(samples) % multiple
    return np.concatenate([samples, np.full(short, PADDING, samples.dtype)])


def positions(stop: int, *, micro_batch: int, rank: int, world: int, start: int = 0) -> np.ndarray:
    """The positions from `start` to `stop` of the list that one rank reads, in order.

    Micro-batch m (positions m·micro … (m+1)·micro − 1) goes to rank m mod world, so that W ranks read within one step
    what one rank reads in W accumulated micro-batches. start and stop are multiples of micro_batch·world.
    """
    if stop % (micro_batch * world) or start % (micro_batch * world):
        raise ValueError(f"start {start} and stop {stop} must be multiples of {micro_batch} x {world}")
    return np.arange(start, stop).reshape(-1, world, micro_batch)[:, rank].ravel()


def draws(seed: int, epoch: int, where: np.ndarray) -> np.ndarray:
    """Uniform random numbers in [0, 1) of these positions: float64 [len(where), NUM_DRAWS].

    A pure function of seed, epoch and position, whatever the other positions are (counter-based: Philox).
    where: ascending int.
    """
    if not len(where):
        return np.empty((0, NUM_DRAWS))
    first, last = int(where[0]), int(where[-1])
    rng = _stream(seed, epoch, _DRAWS, block=first * NUM_DRAWS // 4)
    return rng.random((last + 1 - first, NUM_DRAWS))[where - first]


def cut(
    listed: np.ndarray, shard: np.ndarray, num_bytes: np.ndarray, *, multiple: int, limit: int, most: int
) -> list[range]:
    """The list in consecutive parts of whole global batches, each of at most `most` positions and reading shards of at
    most `limit` bytes; a global batch that alone needs more bytes is a part of its own.

    listed: sample numbers, no padding. shard: int [N], where each sample lies. num_bytes: int [S], of each shard.
    """
    most = max(most // multiple, 1) * multiple
    if num_bytes.sum() <= limit:
        return [range(start, min(start + most, len(listed))) for start in range(0, len(listed), most)]
    parts, held, total, start = [], set(), 0, 0
    for at in range(0, len(listed), multiple):
        needed = set(shard[listed[at : at + multiple]].tolist())
        more = sum(int(num_bytes[one]) for one in needed - held)
        if at > start and (total + more > limit or at - start >= most):
            parts.append(range(start, at))
            held, total, start = set(), 0, at
            more = sum(int(num_bytes[one]) for one in needed)
        held |= needed
        total += more
    return [*parts, range(start, len(listed))]


def _stream(seed: int, epoch: int, kind: int, block: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, epoch], counter=[block, 0, 0, kind]))
