"""Listed files → entries of the inventory: headers read and grouped to series in workers, names hashed here.

A worker reads the files of some folders and returns series, not headers: an archive has millions of files. A series
whose files were read in several pieces, or lie in several sources, is read again as a whole.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from radnet.errors import UsageError
from radnet.shards import actors, packed
from radnet.shards.actors import Task
from radnet.shards.fetch import read_headers
from radnet.shards.inventory import Entry, Row, pack
from radnet.shards.inventory.folder import by_series, named, rows_of
from radnet.shards.ledger import Code
from radnet.shards.listing import Listing
from radnet.shards.privacy import PrivacyKey
from radnet.shards.progress import Pace
from radnet.shards.record import FileRecord
from radnet.urls import shown

Say = Callable[[str], None]
FILES_PER_TASK = 512  # a folder stays whole up to _MOST_PER_TASK
_MOST_PER_TASK = 4096


def read_entries(listings: Sequence[Listing], key: PrivacyKey, num_workers: int, say: Say) -> list[Entry]:
    """Read every header and group files to stacks of series, in order of their keys.

    Raises UsageError where no source holds an image, or the public key would hash a patient's name.
    """
    entries = [named(pack(row), key, listing.origin) for listing in listings for row in _case_rows(listing)]
    found: dict[str, _Found] = {}
    for number, pieces in _read_pieces(listings, num_workers, say):
        for piece in pieces:
            if piece.series_uid:
                found.setdefault(piece.series_uid, _Found()).add(number, piece)
            else:
                entries += [named(entry, key, listings[number].origin) for entry in piece.entries]
    entries += _named_series(found, listings, key, num_workers, say)
    _refuse_imageless(entries, listings)
    return sorted(entries, key=lambda entry: entry.key)


def read_rows(listings: Sequence[Listing], key: PrivacyKey, num_workers: int, say: Say) -> list[Row]:
    """`read_entries`, unpacked."""
    return [entry.unpack() for entry in read_entries(listings, key, num_workers, say)]


@dataclass(frozen=True)
class _Piece:
    """What one task read of one series, or of a file that belongs to none ("" for its UID)."""

    series_uid: str
    entries: list[Entry]


class _Found:
    """The pieces of one series, and in which listings they lie."""

    __slots__ = ("entries", "files", "numbers")

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.entries: list[Entry] = []
        self.files: dict[str, list[int]] = {}  # of a series in several pieces alone

    def add(self, number: int, piece: _Piece) -> None:
        if self.numbers:
            for entry in (*self.entries, *piece.entries):
                row = entry.unpack()
                self.files |= dict(zip(row.files, row.stamps, strict=True))
        self.numbers.append(number)
        self.entries = self.entries or piece.entries


@dataclass(frozen=True)
class _HeaderTask(Task[str]):
    """Files of one listing, by its number."""

    stamps: Sequence[Sequence[int]]
    number: int


def _read_pieces(listings: Sequence[Listing], num_workers: int, say: Say) -> Iterator[tuple[int, list[_Piece]]]:
    dicom = [listing for listing in listings if listing.kind == "dicom"]
    num_files = sum(len(listing.files) for listing in dicom)
    # Small archives are shared out evenly, down to single folders.
    per_task = max(1, min(FILES_PER_TASK, num_files // (4 * num_workers)))
    start, done, pace = time.monotonic(), 0, Pace()
    tasks = (
        task
        for number, listing in enumerate(listings)
        if listing.kind == "dicom"
        for task in _header_tasks(listing, number, per_task)
    )
    for number, num, pieces in actors.run(tasks, _read_piece, _probe_header, num_workers):
        done += num
        if pace.due(is_last=done == num_files):
            say(f"headers {done}/{num_files}  {done / (time.monotonic() - start):.0f}/s")
        yield number, pieces


def _header_tasks(listing: Listing, number: int, per_task: int) -> Iterator[_HeaderTask]:
    files, first = listing.files, 0
    while first < len(files):
        last = min(first + per_task, len(files))
        while last < len(files) and last - first < _MOST_PER_TASK and _folder(files[last]) == _folder(files[last - 1]):
            last += 1
        yield _HeaderTask(f"headers {first}", files[first:last], listing.stamps[first:last], number)
        first = last


def _folder(file: str) -> str:
    return file.rpartition("/")[0]


def _read_piece(task: _HeaderTask, killers: frozenset[int]) -> tuple[int, int, list[_Piece]]:
    records = _records(task.items, task.stamps, killers)
    pieces = [
        _Piece(members[0].series_uid, [pack(row) for row in rows_of(members)])
        for members in by_series(records).values()
    ]
    return task.number, len(task.items), pieces


def _records(files: Sequence[str], stamps: Sequence[Sequence[int]], killers: frozenset[int]) -> list[FileRecord]:
    spared = [number for number in range(len(files)) if number not in killers]
    read = iter(read_headers([files[number] for number in spared], [stamps[number] for number in spared]))
    return [
        FileRecord(files[number], max(stamps[number][0], 0), stamps[number][1], Code.DECODER_CRASH)
        if number in killers
        else next(read)
        for number in range(len(files))
    ]


def _probe_header(task: _HeaderTask, position: int) -> None:
    read_headers([task.items[position]], [task.stamps[position]])


@dataclass(frozen=True)
class _SeriesTask(Task[tuple[str, dict[str, list[int]]]]):
    """Series to be read as a whole: their UIDs, and their files with stamps."""


def _named_series(
    found: dict[str, _Found], listings: Sequence[Listing], key: PrivacyKey, num_workers: int, say: Say
) -> Iterator[Entry]:
    scattered = [(uid, series.files) for uid, series in found.items() if len(series.numbers) > 1]
    if scattered:
        say(f"series in several folders or sources, read again: {len(scattered)}")
    tasks = [_SeriesTask(uid, [(uid, files)]) for uid, files in scattered]
    whole = dict(pair for pairs in actors.run(tasks, _read_series, _probe_series, num_workers) for pair in pairs)
    for uid, series in found.items():
        numbers = set(series.numbers)
        for entry in whole.get(uid, series.entries):
            yield named(entry, key, listings[min(numbers)].origin, len(numbers))


def _read_series(task: _SeriesTask, killers: frozenset[int]) -> list[tuple[str, list[Entry]]]:
    made = []
    for number, (uid, files) in enumerate(task.items):
        all_die = frozenset(range(len(files))) if number in killers else frozenset()
        records = _records(list(files), list(files.values()), all_die)
        # A crash names no series; the pieces did.
        records = [replace(record, series_uid=uid) for record in records] if all_die else records
        made.append((uid, [pack(row) for row in rows_of(records)]))
    return made


def _probe_series(task: _SeriesTask, position: int) -> None:
    files = task.items[position][1]
    read_headers(list(files), list(files.values()))


def _refuse_imageless(entries: Sequence[Entry], listings: Sequence[Listing]) -> None:
    if all(entry.code == Code.NOT_DICOM for entry in entries):
        sources = ", ".join(dict.fromkeys(shown(listing.root) for listing in listings))
        num_packed = sum(bool(packed.how_of(entry.detail)) for entry in entries)
        hint = f"{num_packed} packed files: unpack them first" if num_packed else "name a folder of DICOM files"
        raise UsageError(f"no DICOM file in {sources}; {hint}")


def _case_rows(listing: Listing) -> Iterator[Row]:
    stamps = dict(zip(listing.files, listing.stamps, strict=True))
    for case in listing.cases:
        files = [str(case.image), str(case.mask)]
        yield Row(
            kind="nifti",
            files=files,
            num_files=len(files),
            stamps=[stamps[file] for file in files],
            private={"file": f"{listing.origin.collection}/{case.name}", "folder": str(case.image.parent)},
            stratum="nifti",
        )
