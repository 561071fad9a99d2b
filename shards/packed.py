"""Packed files: nothing looks into them, so nobody may believe that their series were read."""

import os
import re
from collections.abc import Mapping

from radnet.errors import UsageError

HINT = "a packed file; unpack it and run again if it holds DICOM, for example with: "
_NAME = re.compile(r"\.(?:(tar|tgz|tbz2?|txz)|zip|7z|rar|(tar|dcm|ima|nii)\.(?:gz|bz2|xz|zst))$", re.IGNORECASE)
_STARTS = {
    b"PK": "zip",
    b"\x1f\x8b": "gz",
    b"BZh": "bz2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zst",
    b"7z\xbc\xaf": "7z",
    b"Rar!": "rar",
}
_COMMANDS = {
    "zip": "unzip FILE -d FOLDER",
    "7z": "7z x FILE",
    "rar": "unrar x FILE",
    "gz": "gunzip FILE",
    "bz2": "bunzip2 FILE",
    "xz": "unxz FILE",
    "zst": "unzstd FILE",
}


def how_to_unpack(name: str | os.PathLike[str], start: bytes = b"") -> str:
    """The command that unpacks a zip, tar or the like; "" for a file that is none.

    start: its first 512 bytes, where it is open anyway; without them the name decides. A NIfTI file may be compressed:
    ask only about files that should be DICOM.
    """
    found = _NAME.search(os.fspath(name))
    if found and (found[1] or (found[2] or "").lower() == "tar") or start[257:262] == b"ustar":
        return "tar xf FILE"
    kind = found[0].lower().rpartition(".")[2] if found else ""
    return _COMMANDS.get(kind or next((kind for magic, kind in _STARTS.items() if start.startswith(magic)), ""), "")


def detail(name: str, start: bytes) -> str:
    """What the row of a file that is no DICOM says of it: a hint where it is packed, else ""."""
    how = how_to_unpack(name, start)
    return HINT + how if how else ""


def how_of(text: str) -> str:
    """The command in the `detail` of a row; "" where it speaks of no packed file."""
    return text.partition(HINT)[2]


def refuse(found: Mapping[str, str]) -> None:
    """Raise UsageError in one line where a file is packed. found: name → `how_to_unpack`."""
    packed = {name: how for name, how in found.items() if how}
    if packed:
        name, how = next(iter(packed.items()))
        first = os.path.basename(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        count = f"{len(packed)} packed files, the first {first!r}" if len(packed) > 1 else f"a packed file, {first!r}"
        raise UsageError(f"the folder holds {count}; unpack them and move them away, for example with: {how}")
