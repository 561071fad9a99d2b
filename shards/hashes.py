"""Copies of a series under other names, found by what their pixels are."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from radnet.shards import actors
from radnet.shards.actors import Task
from radnet.shards.dicom import stored_slice
from radnet.shards.fetch import fetched
from radnet.shards.inventory import Entry, Row
from radnet.shards.ledger import Code, SeriesError
from radnet.shards.nifti import middle_case
from radnet.shards.progress import Pace

_SERIES_PER_TASK = 64


def with_hashes(entries: Sequence[Entry], num_workers: int, say: Callable[[str], None]) -> list[Entry]:
    """The entries, candidates with the hash of their middle slice."""
    hashed = list(entries)
    candidates = [number for number, entry in enumerate(entries) if entry.code == Code.OK]
    chunks = [candidates[at : at + _SERIES_PER_TASK] for at in range(0, len(candidates), _SERIES_PER_TASK)]
    tasks = (
        _HashTask(f"slices {number}", [replace(entries[one], private=()) for one in chunk], number)
        for number, chunk in enumerate(chunks)
    )
    done, pace = 0, Pace()
    for number, hashes in actors.run(tasks, _hash_all, _probe, num_workers):
        for one, found in zip(chunks[number], hashes, strict=True):
            hashed[one] = replace(hashed[one], pixel_hash=found)
        done += len(hashes)
        if pace.due(is_last=done == len(candidates)):
            say(f"slices compared {done}/{len(candidates)}")
    return hashed


@dataclass(frozen=True)
class _HashTask(Task[Entry]):
    """Series whose middle slices are hashed."""

    number: int


def _hash_all(task: _HashTask, killers: frozenset[int]) -> tuple[int, list[str]]:
    """The number of the task, and the hash of every series; "" where none can be taken."""
    return task.number, ["" if at in killers else _pixel_hash(entry.unpack()) for at, entry in enumerate(task.items)]


def _probe(task: _HashTask, position: int) -> None:
    """Do what may kill a worker: decode one slice."""
    _pixel_hash(task.items[position].unpack())


def _pixel_hash(row: Row) -> str:
    """Hash of the stored values of the slice in the middle, and of the shape of the series.

    Copies of a series under other names have the same one, whatever the transfer syntax. A slice of one value tells
    nothing: "".
    """
    try:
        which = [0] if row.kind == "nifti" else [row.middle[0]] if row.middle else []
        if not which:
            return ""
        with fetched([row.files[at] for at in which], [row.stamps[at] for at in which]) as (file,):
            if row.kind == "nifti":
                plane, num_slices = middle_case(file)
            else:
                plane, num_slices = stored_slice(file, row.middle[1]), len(row.slices)
    except SeriesError:
        return ""  # it will fail again when the series is read, and be recorded there
    if plane.min() == plane.max():
        return ""
    # One width for all: the same values may be signed in one copy and not in another.
    content = plane.astype("<f4" if plane.dtype.kind == "f" else "<i8").tobytes()
    return hashlib.sha256(f"{num_slices} {plane.shape} ".encode() + content).hexdigest()[:20]
