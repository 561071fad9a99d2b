"""The audit: a folder of DICOM → one row per stack, labelled from its header, its volume read and checked.

Nothing that a person typed into a header, and no name of a patient, file or folder, is in what it returns, unless
names are asked for. Reading happens in worker processes, so that a file that kills a decoder costs its own row only.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from radnet.errors import UsageError
from radnet.labels import RULES_VERSION, Taxonomy
from radnet.labels import read as read_labels
from radnet.shards import actors, intake, packed
from radnet.shards.audit_table import Row as TableRow
from radnet.shards.config import ShardConfig
from radnet.shards.dicom import read_volume
from radnet.shards.geometry import MEASURED
from radnet.shards.inventory import Origin, Row, list_files
from radnet.shards.ledger import REMEDY, STATUS, Code, SeriesError, Status
from radnet.shards.listing import Listing, stamp
from radnet.shards.overrides import NONE, Overrides
from radnet.shards.privacy import PrivacyKey
from radnet.shards.public import modality
from radnet.shards.thumbnail import thumbnails

Say = Callable[[str], None]
OK = "ok"  # the status of a usable volume; nothing is sharded here
VOLUME_LIMIT_S = 600.0
SECONDS_BETWEEN_LINES = 1.0
_NO_SLICES = (Code.NOT_DICOM, Code.NOT_AN_IMAGE)


@dataclass(frozen=True)
class Settings:
    """What to audit. folder: searched recursively. min_slices as for `radnet shard`. num_workers: 0 = every core."""

    folder: str
    taxonomy: Taxonomy
    keep_uids: bool
    min_slices: int
    num_workers: int


@dataclass(frozen=True)
class Audit:
    """rows: as `audit_table.COLUMNS`, in order of series and stack. pictures: series key → (view, PNG)."""

    rows: list[TableRow]
    pictures: dict[str, list[tuple[str, bytes]]]
    num_files: int


@dataclass(frozen=True)
class _Stack:
    """What a worker needs to know of a stack. part: see `inventory.Row`."""

    files: list[str]
    part: int
    modality: str
    min_slices: int


@dataclass(frozen=True)
class _Checked:
    """What reading a stack showed. derived: num_slices, slice_spacing_mm and extent_mm of the volume."""

    code: Code
    detail: str
    notes: Sequence[str]
    derived: Mapping[str, float]


def audit(
    settings: Settings,
    key: PrivacyKey,
    overrides: Overrides,
    choose: Callable[[list[TableRow]], list[str]],
    say: Say,
) -> Audit:
    """Read every header, label every stack, read and check every candidate volume.

    choose: rows → the keys of those to be shown in pictures. say: takes lines of progress, without names. Raises
    UsageError in one line for a folder that is none, is empty or holds no DICOM, for overrides of a series that is not
    there, and for what the machine does: a disk that is away, no memory.
    """
    try:
        files = _list(settings.folder)
        with actors.session(settings.num_workers, "") as num_workers:
            listing = Listing(Origin(), settings.folder, files, [stamp(file) for file in files])
            rows = intake.read_rows([listing], key, num_workers, _paced(say))
            rows.sort(key=lambda row: (row.series_key, row.stack))
            if num_packed := sum(bool(packed.how_of(row.detail)) for row in rows):
                say(f"packed files are not looked into: {num_packed}; unpack them and run again to have their series")
            overrides.refuse_unknown(row.key for row in rows)
            checked = _check(rows, settings, num_workers, say)
            table = []
            for row, result in zip(rows, checked, strict=True):
                made = _table_row(row, result, settings)
                made = overrides.apply(row.key, made | _names(row, settings, key))
                # Empty means unknown in a table that people read.
                table.append(made | ({"coverage": NONE} if made["coverage"] == "" else {}))
            pictures = _draw(rows, set(choose(table)), settings, num_workers, say)
    except OSError as error:  # without the name of the file
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise UsageError(f"cannot read the archive {settings.folder!r}: {reason}; mend that and run again") from None
    except MemoryError:
        raise UsageError("a process ran out of memory; lower --workers and run again") from None
    return Audit(table, pictures, len(files))


def _list(folder: str) -> list[str]:
    files = list_files(folder)
    if not files:
        raise UsageError(f"no file in {folder!r}; expected a folder that holds DICOM files, in subfolders or not")
    return files


def _stack(row: Row, settings: Settings) -> _Stack:
    return _Stack(row.files, row.part, modality(row.header), settings.min_slices)


def _check(rows: Sequence[Row], settings: Settings, num_workers: int, say: Say) -> list[_Checked]:
    """What becomes of every row; only candidates are read."""
    candidates = [number for number, row in enumerate(rows) if row.code is Code.OK]
    stacks = [_stack(rows[number], settings) for number in candidates]
    results = [_Checked(row.code, row.detail, (), {}) for row in rows]
    size = max(1, min(16, len(stacks) // (8 * num_workers)))
    chunks = [stacks[at : at + size] for at in range(0, len(stacks), size)]
    crashed = _Checked(Code.DECODER_CRASH, "", (), {})
    progress = _progress("volumes", len(stacks), say)
    found = actors.run_tasks(_check_stack, chunks, crashed, num_workers, progress, limit_s=VOLUME_LIMIT_S)
    for number, result in zip(candidates, found, strict=True):
        results[number] = result
    return results


def _paced(say: Say) -> Say:
    """`say` that lets a line pass once in a while, and drops the rest."""
    last = -SECONDS_BETWEEN_LINES

    def pace(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            say(line)

    return pace


def _progress(what: str, total: int, say: Say) -> Callable[[int], None]:
    start = last = time.monotonic()
    done = 0

    def progress(num: int) -> None:
        nonlocal done, last
        done += num
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES or done == total:
            left_s = (now - start) * (total - done) / done
            say(f"{what} {done}/{total}  {done / max(now - start, 1e-9):.1f}/s  {left_s:.0f} s left")
            last = now

    return progress


def _check_stack(stack: _Stack) -> _Checked:
    try:
        reading = _read(stack)
    except SeriesError as error:
        return _Checked(error.code, error.detail, (), {})
    return _Checked(Code.OK, "", reading.notes, {name: reading.header[name] for name in MEASURED})


def _read(stack: _Stack) -> Any:
    limits = ShardConfig()
    return read_volume(
        stack.files,
        stack=stack.part,
        min_slices=stack.min_slices,
        max_voxels=limits.max_voxels,
        max_spacing_mm=limits.max_spacing_mm,
    )


def _table_row(row: Row, checked: _Checked, settings: Settings) -> TableRow:
    """One row without its names."""
    header = row.header | checked.derived
    labels = read_labels(header)
    facts = labels.row()
    sequence = settings.taxonomy.sequence_finding(labels)
    facts |= {"sequence": sequence.value, "sequence_confidence": sequence.confidence}
    facts |= {"sequence_evidence": sequence.evidence}
    status = STATUS[checked.code]
    remedy = REMEDY[checked.code]
    notes = [row.detail, *checked.notes] if checked.code is Code.OK else []
    made = {
        "series_key": row.key,
        "files": row.num_files,
        "slices": _num_slices(row, checked, header),
        "status": OK if status is Status.SHARDED else str(status),
        "code": str(checked.code),
        "reason": f"{remedy} ({checked.detail})" if remedy and checked.detail else remedy or None,
        "modality": modality(header) or None,
        "stack": row.stack,
        "notes": "; ".join(filter(None, notes)) or None,
        "rules_version": RULES_VERSION,
    }
    return {name: _rounded(value) for name, value in (facts | made).items()}


def _num_slices(row: Row, checked: _Checked, header: Mapping[str, Any]) -> int | None:
    """Slices of the stack; of images that are no stack, their number; None where nothing can be counted on."""
    if checked.code in _NO_SLICES:
        return 0
    if "num_slices" in header:
        return int(header["num_slices"])
    frames = header.get("NumberOfFrames", 1)
    is_open = "Rows" not in header or not isinstance(frames, int | float)
    # A damaged file may declare any number of frames.
    if is_open or (frames != 1 and STATUS[checked.code] is Status.FAILED):
        return None
    return len(row.files) * int(frames)


def _rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value


def _names(row: Row, settings: Settings, key: PrivacyKey) -> dict[str, str | None]:
    """folder as a keyed hash; or, where names are kept, as it is, with the series UID and the name of a lone file."""
    folder = os.path.relpath(row.private["folder"], os.path.abspath(settings.folder))
    if not settings.keep_uids:
        return {"folder": key.hash("folder", folder)}
    file = os.path.basename(row.files[0]) if len(row.files) == 1 else ""
    names = {"folder": folder, "series_uid": row.private["series_uid"], "file": file}
    # Bytes of a name that are no text are shown as escapes.
    shown = {
        name: text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        for name, text in names.items()
    }
    return {name: text or None for name, text in shown.items()}


def _draw(
    rows: Sequence[Row], chosen: set[str], settings: Settings, num_workers: int, say: Say
) -> dict[str, list[tuple[str, bytes]]]:
    picked = [row for row in rows if row.key in chosen]
    stacks = [_stack(row, settings) for row in picked]
    progress = _progress("pictures", len(stacks), say)
    chunks = [[stack] for stack in stacks]
    found = actors.run_tasks(_draw_stack, chunks, [], num_workers, progress, limit_s=VOLUME_LIMIT_S)
    return {row.key: pictures for row, pictures in zip(picked, found, strict=True) if pictures}


def _draw_stack(stack: _Stack) -> list[tuple[str, bytes]]:
    try:
        return thumbnails(_read(stack).volume, stack.modality)
    except SeriesError:  # replaced since it was checked; the page says that there is no picture
        return []
