"""A folder of DICOM as an inventory: every file belongs to exactly one row."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from radnet.errors import UsageError
from radnet.shards import geometry
from radnet.shards.guard import is_of_the_machine
from radnet.shards.inventory.row import Row
from radnet.shards.ledger import STATUS, Code, SeriesError, Status
from radnet.shards.privacy import PrivacyKey
from radnet.shards.record import FileRecord

PHANTOM_PREFIX = "PHANTOM-"


@dataclass(frozen=True)
class Archive:
    """The files of one source, and what its owner calls it. is_public: they come from a public archive such as IDC."""

    records: list[FileRecord]
    collection: str
    licence: str
    is_public: bool = False


def list_files(folder: str) -> list[str]:
    """Absolute paths of all files below `folder`, sorted. Links are followed, each folder is visited once.

    A subfolder that may not be listed is itself in the list, as is a link in a circle: read as a file it fails, so that
    it gets a row. Raises UsageError where `folder` itself is missing or cannot be listed, OSError where a disk fails.
    """
    if not os.path.isdir(folder):
        raise UsageError(f"archive folder {folder} does not exist; name a folder of DICOM files")
    found: list[str] = []
    waiting, visited = [os.path.abspath(folder)], set()
    while waiting:
        here = waiting.pop()
        try:
            status = os.stat(here)
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            if here == os.path.abspath(folder):
                raise UsageError(f"archive folder {folder} cannot be listed ({type(error).__name__})") from error
            if is_of_the_machine(error):
                raise
            found.append(here)
            continue
        if (status.st_dev, status.st_ino) in visited:
            continue
        visited.add((status.st_dev, status.st_ino))
        for entry in entries:
            (waiting if _is_folder(entry) else found).append(entry.path)
    return sorted(found)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if is_of_the_machine(error):
            raise
        return False  # a link in a circle, or into a forbidden folder


def group_all(archives: Sequence[Archive], key: PrivacyKey) -> list[Row]:
    """One row per stack of a series, and one per file that belongs to none (damaged, not DICOM, without UID).

    A series that lies in several archives is one series, of the collection of the first that holds it; its detail says
    so. With the public key only public archives and phantom input are taken: raises UsageError where another PatientID
    appears.
    """
    private = [record for archive in archives if not archive.is_public for record in archive.records]
    if key.is_public and any(record.series_uid and not _is_phantom(record) for record in private):
        raise UsageError(
            f"the public privacy key is for public archives, and a PatientID does not start with {PHANTOM_PREFIX}; "
            "set privacy.key to a file"
        )
    series: dict[str, dict[int, list[FileRecord]]] = {}
    for number, archive in enumerate(archives):
        for record in archive.records:
            name = record.series_uid or f"file:{record.path}"
            series.setdefault(name, {}).setdefault(number, []).append(record)
    return [
        row
        for _, parts in sorted(series.items())
        for row in _rows([record for part in parts.values() for record in part], key, archives[min(parts)], len(parts))
    ]


def _is_phantom(record: FileRecord) -> bool:
    return record.patient_id.startswith(PHANTOM_PREFIX)


def _rows(members: list[FileRecord], key: PrivacyKey, archive: Archive, num_archives: int) -> list[Row]:
    """One row per stack of a series, the largest first; one row where the series as a whole is refused."""
    members = sorted(members, key=lambda member: member.path)
    first = members[0]
    code, detail = _verdict(members)
    series = ("series", first.series_uid) if first.series_uid else ("file", first.path)
    # Without a PatientID the study is the best guess at a patient; one common key would bind strangers together.
    patient = first.patient_id or f"study {first.study_uid}" if first.series_uid else f"file {first.path}"
    shared = {
        "series_key": key.hash(*series),
        "study_key": key.hash("study", first.study_uid) if first.study_uid else key.hash(*series),
        "patient_key": key.hash("patient", f"{archive.collection}\0{patient}"),
        "kind": "dicom",
        "collection": archive.collection,
        "licence": archive.licence,
        "private": {
            "series_uid": first.series_uid,
            "study_uid": first.study_uid,
            "patient_id": first.patient_id,
            "folder": os.path.dirname(first.path),
        },
    }
    sources = f"its files lie in {num_archives} sources" if num_archives > 1 else ""
    stacks = _stacks(members, code, detail)
    owners = _owners(members, [stack.slices for stack in stacks])
    series_slices = [slice_ for stack in stacks for slice_ in stack.slices]
    rows = []
    for number, stack in enumerate(stacks):
        header, positions = _geometry(stack.slices, series_slices, members)
        own = [member for member in members if owners[member.path] == number]
        is_apart = len(stacks) == 1 or _holds_only(own, stack)
        files = own if is_apart else members
        name = f"stack {number} of {len(stacks)}: {stack.name}" if len(stacks) > 1 else ""
        rows.append(
            Row(
                **shared,
                files=[member.path for member in files],
                stamps=[[member.num_bytes, member.mtime_ns] for member in files],
                header=header | {"collection": archive.collection},
                slices=positions,
                code=stack.code,
                detail="; ".join(filter(None, [stack.detail, sources, name])),
                stack=number,
                part=0 if is_apart else number,
                num_files=len(own),
            )
        )
    return rows


def _stacks(members: list[FileRecord], code: Code, detail: str) -> list[geometry.Candidate]:
    """The stacks of a series; one, with the code and detail given, where the series as a whole is refused."""
    slices = _slices(members)
    if code is not Code.OK:
        return [geometry.Candidate(slices, code=code, detail=detail)]
    return geometry.split(slices)


def _slices(members: list[FileRecord]) -> list[geometry.Slice]:
    return [geometry.Slice(member, frame) for member in members if member.code is Code.OK for frame in member.frames]


def _holds_only(files: list[FileRecord], stack: geometry.Candidate) -> bool:
    """True where reading these files alone gives this very stack, so that nobody need read the whole series for it."""
    slices = _slices(files)
    if len(slices) != len(stack.slices):
        return False
    candidates = geometry.split(slices)
    wanted = [(slice_.record.path, slice_.frame.index) for slice_ in stack.slices]
    return len(candidates) == 1 and wanted == [(one.record.path, one.frame.index) for one in candidates[0].slices]


def _owners(members: list[FileRecord], stacks: list[list[geometry.Slice]]) -> dict[str, int]:
    """Path → number of the stack that a file is counted with: the first that holds a slice of it, else 0."""
    owners: dict[str, int] = {}
    for number, slices in enumerate(stacks):
        for slice_ in slices:
            owners.setdefault(slice_.record.path, number)
    return {member.path: owners.get(member.path, 0) for member in members}


def _verdict(members: list[FileRecord]) -> tuple[Code, str]:
    """What the headers alone decide: a damaged file decides for its series, other refusals only if no image remains.

    One series of two patients is a mistake of whoever made it; no split could keep its patients apart.
    """
    if (num_patients := len({member.patient_id for member in members})) > 1:
        return Code.MIXED_GEOMETRY, f"more than one patient: {num_patients} PatientIDs"
    codes = Counter(member.code for member in members)
    damaged = [member for member in members if member.code is not Code.OK and STATUS[member.code] is Status.FAILED]
    if not damaged and codes[Code.OK]:
        return Code.OK, ""
    chosen = damaged[0] if damaged else next(m for m in members if m.code is codes.most_common(1)[0][0])
    return chosen.code, f"{codes[chosen.code]} of {len(members)} files" + (
        f"; {chosen.detail}" if chosen.detail else ""
    )


def _geometry(
    slices: list[geometry.Slice], series: list[geometry.Slice], members: list[FileRecord]
) -> tuple[dict[str, Any], list[list[float]]]:
    """The header of a stack and the positions of its slices.

    slice_spacing_mm and extent_mm are absent where the positions give no even spacing.
    """
    if not slices:
        return members[len(members) // 2].header, []
    try:
        groups = geometry.by_position(geometry.split(slices)[0].slices)
    except SeriesError:
        return geometry.header_of(slices, series, None), [list(one.frame.position_mm) for one in slices]
    kept = [group[0] for group in groups]
    positions = [list(one.frame.position_mm) for one in kept]
    try:
        spacing_mm = geometry.arrange(kept, float("inf")).slice_spacing_mm if len(kept) > 1 else None
    except SeriesError:
        spacing_mm = None
    return geometry.header_of(kept, series, spacing_mm), positions
