"""Packed files inside an archive folder: nothing reads them, so nobody may believe that their series were read."""

import os
import re
from collections.abc import Iterable

from radnet.errors import UsageError

_PACKED = re.compile(r"\.(zip|tar|tgz|tbz2?|txz|7z|rar|(tar|dcm|ima|nii)\.(gz|bz2|xz|zst))$", re.IGNORECASE)
_UNPACK = {"zip": "unzip FILE -d FOLDER", "7z": "7z x FILE", "rar": "unrar x FILE"}


def refuse_archives(files: Iterable[str | os.PathLike[str]]) -> None:
    """Raise UsageError in one line, with the command that unpacks, where a file is a zip, tar or the like.

    Goes by the name, for opening every file of an archive to look would cost as much as reading its headers. A NIfTI
    file may be compressed: hand over only files that should be DICOM.
    """
    packed = [os.fspath(file) for file in files if _PACKED.search(os.fspath(file))]
    if packed:
        first = os.path.basename(packed[0]).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        kind = _PACKED.search(packed[0])[1].lower()
        how = _UNPACK.get(kind, "gunzip FILE" if kind[:3] in ("dcm", "ima", "nii") else "tar xf FILE")
        count = f"{len(packed)} packed files, the first {first!r}" if len(packed) > 1 else f"a packed file, {first!r}"
        raise UsageError(f"the folder holds {count}; unpack them and move them away, for example with: {how}")
