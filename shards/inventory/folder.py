"""A folder of DICOM as an inventory: every file belongs to exactly one row."""

import os
from collections import Counter

from radnet.errors import UsageError
from radnet.shards import geometry
from radnet.shards.inventory.row import Row
from radnet.shards.ledger import STATUS, Code, SeriesError, Status
from radnet.shards.privacy import PrivacyKey
from radnet.shards.record import FileRecord, values

PHANTOM_PREFIX = "PHANTOM-"


def list_files(folder: str) -> list[str]:
    """Absolute paths of all files below `folder`, sorted. Links are followed, each folder is visited once.

    A subfolder that cannot be listed is itself in the list: read as a file it fails, so that it gets a row. Raises
    UsageError where `folder` itself is missing or cannot be listed.
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
            found.append(here)
            continue
        if (status.st_dev, status.st_ino) in visited:
            continue
        visited.add((status.st_dev, status.st_ino))
        for entry in entries:
            (waiting if entry.is_dir() else found).append(entry.path)
    return sorted(found)


def group(records: list[FileRecord], key: PrivacyKey, *, collection: str, licence: str = "") -> list[Row]:
    """One row per series, and one per file that belongs to none (damaged, not DICOM, without UID).

    With the public key only phantom input is taken: raises UsageError where another PatientID appears.
    """
    if key.is_public and any(record.series_uid and not _is_phantom(record) for record in records):
        raise UsageError(
            f"the public privacy key is for public archives, and a PatientID does not start with {PHANTOM_PREFIX}; "
            "set privacy.key to a file"
        )
    series: dict[str, list[FileRecord]] = {}
    for record in sorted(records, key=lambda record: record.path):
        series.setdefault(record.series_uid or f"file:{record.path}", []).append(record)
    return [_row(members, key, collection, licence) for members in series.values()]


def _is_phantom(record: FileRecord) -> bool:
    return record.patient_id.startswith(PHANTOM_PREFIX)


def _row(members: list[FileRecord], key: PrivacyKey, collection: str, licence: str) -> Row:
    first = members[0]
    code, detail = _verdict(members)
    stack, slices, derived = _geometry(members)
    series = ("series", first.series_uid) if first.series_uid else ("file", first.path)
    # Without a PatientID the study is the best guess at a patient; one common key would bind strangers together.
    patient = first.patient_id or f"study {first.study_uid}" if first.series_uid else f"file {first.path}"
    return Row(
        series_key=key.hash(*series),
        study_key=key.hash("study", first.study_uid) if first.study_uid else key.hash(*series),
        patient_key=key.hash("patient", f"{collection}\0{patient}"),
        kind="dicom",
        collection=collection,
        licence=licence,
        files=[member.path for member in members],
        num_bytes=sum(member.num_bytes for member in members),
        header=stack.header | derived | {"collection": collection},
        slices=slices,
        code=code,
        detail=detail,
        private={
            "series_uid": first.series_uid,
            "study_uid": first.study_uid,
            "patient_id": first.patient_id,
            "folder": os.path.dirname(first.path),
        },
    )


def _verdict(members: list[FileRecord]) -> tuple[Code, str]:
    """What the headers alone decide: a damaged file decides for its series, other refusals only if no image remains."""
    codes = Counter(member.code for member in members)
    damaged = [member for member in members if member.code is not Code.OK and STATUS[member.code] is Status.FAILED]
    if not damaged and codes[Code.OK]:
        return Code.OK, ""
    chosen = damaged[0] if damaged else next(m for m in members if m.code is codes.most_common(1)[0][0])
    return chosen.code, f"{codes[chosen.code]} of {len(members)} files" + (
        f"; {chosen.detail}" if chosen.detail else ""
    )


def _geometry(members: list[FileRecord]) -> tuple[FileRecord, list[list[float]], dict[str, float]]:
    """The file of the middle slice, the slice positions, and the derived keys of the header.

    slice_spacing_mm and extent_mm are absent where the positions give no even spacing.
    """
    good = [member for member in members if member.code is Code.OK]
    slices = [geometry.Slice(member, frame) for member in good for frame in member.frames]
    if not slices:
        return members[len(members) // 2], [], {}
    try:
        slices, _ = geometry.largest_stack(slices, 1)
        groups = geometry.by_position(slices)
    except SeriesError:
        return good[len(good) // 2], [list(one.frame.position_mm) for one in slices], {"num_slices": len(slices)}
    middle = groups[len(groups) // 2][0].record
    positions = [list(group[0].frame.position_mm) for group in groups]
    # A diffusion series holds images at b = 0 too; whichever is in the middle, the series is diffusion.
    b_values = [b_value for member in good for b_value in values(member.header, "DiffusionBValue")]
    derived: dict[str, float] = {"num_slices": len(groups)}
    derived |= {"DiffusionBValue": max(b_values)} if b_values else {}
    if len(groups) > 1:
        try:
            spacing_mm = geometry.arrange([group[0] for group in groups], float("inf")).slice_spacing_mm
        except SeriesError:
            return middle, positions, derived
        derived |= {"slice_spacing_mm": spacing_mm, "extent_mm": len(groups) * spacing_mm}
    return middle, positions, derived
