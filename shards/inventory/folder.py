"""A folder of DICOM as an inventory: every file belongs to exactly one row."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from radnet import labels
from radnet.errors import UsageError
from radnet.shards import geometry
from radnet.shards.face import face
from radnet.shards.guard import is_of_the_machine
from radnet.shards.inventory.entry import Entry, pack
from radnet.shards.inventory.row import Origin, Row
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

    @property
    def origin(self) -> Origin:
        """As a row says it."""
        return Origin(self.collection, self.licence, is_public=self.is_public)


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

    A series that lies in several archives is one series, of the first that holds it; its detail says so. With the
    public key only public archives and phantom input are taken: raises UsageError where another PatientID appears.
    """
    series: dict[str, dict[int, list[FileRecord]]] = {}
    for number, archive in enumerate(archives):
        for name, members in by_series(archive.records).items():
            series.setdefault(name, {})[number] = members
    return [
        named(pack(row), key, archives[min(parts)].origin, len(parts)).unpack()
        for _, parts in sorted(series.items())
        for row in rows_of([record for part in parts.values() for record in part])
    ]


def by_series(records: Iterable[FileRecord]) -> dict[str, list[FileRecord]]:
    """Series UID → its files; a file without one is a series of its own."""
    series: dict[str, list[FileRecord]] = {}
    for record in records:
        series.setdefault(record.series_uid or f"file:{record.path}", []).append(record)
    return series


def named(entry: Entry, key: PrivacyKey, origin: Origin, num_sources: int = 1) -> Entry:
    """The entry of a series with the keyed hashes of its names, and where it comes from.

    With the public key raises UsageError where neither the archive is public nor the patient one of the phantom's.
    """
    series_uid, study_uid, patient_id, _, file = entry.private
    is_public = origin.is_public or patient_id.startswith(PHANTOM_PREFIX)
    if key.is_public and series_uid and not is_public:
        raise UsageError(
            f"the public privacy key is for public archives, and a PatientID does not start with {PHANTOM_PREFIX}; "
            "set privacy.key to a file"
        )
    series_key = key.hash("series", series_uid) if series_uid else key.hash("file", file)
    # Without a PatientID the study is the best guess at a patient; one common key would bind strangers together.
    patient = patient_id or f"study {study_uid}" if series_uid else f"file {file}"
    sources = f"its files lie in {num_sources} sources" if num_sources > 1 else ""
    return replace(
        entry,
        series_key=series_key,
        study_key=key.hash("study", study_uid) if study_uid else series_key,
        patient_key=key.hash("patient", f"{origin.collection}\0{patient}"),
        origin=origin,
        detail="; ".join(filter(None, [entry.detail, sources])),
    )


def rows_of(members: Sequence[FileRecord]) -> list[Row]:
    """One row per stack of a series, the largest first; one row where the series as a whole is refused.

    Keys and origin are not known here: see `named`.
    """
    members = sorted(members, key=lambda member: member.path)
    first = members[0]
    code, detail = _verdict(members)
    names = {"series_uid": first.series_uid, "study_uid": first.study_uid, "patient_id": first.patient_id}
    names |= {"folder": os.path.dirname(first.path), "file": "" if first.series_uid else first.path}
    stacks = _stacks(members, code, detail)
    owners = _owners(members, [stack.slices for stack in stacks])
    series_slices = [slice_ for stack in stacks for slice_ in stack.slices]
    rows = []
    for number, stack in enumerate(stacks):
        header, kept = _geometry(stack.slices, series_slices, members)
        own = [member for member in members if owners[member.path] == number]
        is_apart = len(stacks) == 1 or _holds_only(own, stack)
        files = own if is_apart else members
        name = f"stack {number} of {len(stacks)}: {stack.name}" if len(stacks) > 1 else ""
        middle = kept[len(kept) // 2] if kept else None
        found = labels.read(header) if stack.code is Code.OK else None
        rows.append(
            Row(
                kind="dicom",
                files=[member.path for member in files],
                stamps=[[member.num_bytes, member.mtime_ns] for member in files],
                header=header,
                slices=[list(one.frame.position_mm) for one in kept],
                code=stack.code,
                detail="; ".join(filter(None, [stack.detail, name])),
                private=names,
                stack=number,
                part=0 if is_apart else number,
                num_files=len(own),
                middle=(files.index(middle.record), middle.frame.index) if middle else None,
                stratum=f"{found.family.value or ''} {found.view.value or ''}" if found else "",
                face=face(found) if found else "unknown",
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
) -> tuple[dict[str, Any], list[geometry.Slice]]:
    """The header of a stack, and one slice at each position in ascending order.

    slice_spacing_mm and extent_mm are absent where the positions give no even spacing.
    """
    if not slices:
        return members[len(members) // 2].header, []
    try:
        groups = geometry.by_position(geometry.split(slices)[0].slices)
    except SeriesError:
        return geometry.header_of(slices, series, None), slices
    kept = [group[0] for group in groups]
    try:
        spacing_mm = geometry.arrange(kept, float("inf")).slice_spacing_mm if len(kept) > 1 else None
    except SeriesError:
        spacing_mm = None
    return geometry.header_of(kept, series, spacing_mm), kept
