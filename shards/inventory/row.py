"""One row per stack of a series."""

import hashlib
import os
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from radnet.shards.ledger import Code


class Origin(NamedTuple):
    """Where series come from: what ATTRIBUTION says, and the split that an inventory gave them ("" = by patient).

    release: of the index that lists the collection. is_public: an archive that everybody has, such as IDC.
    """

    collection: str = ""
    licence: str = ""
    doi: str = ""
    release: str = ""
    split: str = ""
    is_public: bool = False

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What makes it another one: not the release of an index that lists the same."""
        return self.collection, self.licence, self.doi, self.split


@dataclass
class Row:
    """One stack of a series, or one file that belongs to none.

    series_key, study_key, patient_key: 20 hex characters each, "" before the names were hashed. kind: "dicom" or
    "nifti". files: absolute paths or URLs of what is read for this stack: its own files, or the whole series where
    files hold slices of several stacks; for nifti image and mask. stack: number among the stacks of the series, 0 is
    the largest (see `geometry.split`); part: number among the stacks that `files` hold. num_files: those counted here;
    over the rows of a series they add up to its files. stamps: bytes and modification time in ns of each of `files`.
    header: see `radnet.labels.read`. slices: x,y,z in mm (LPS) of every slice in ascending position, or []. middle:
    number of the file, and of the frame in it, of the slice in the middle; None where there is none. pixel_hash: of
    that slice's stored values, "" where not taken; equal for copies of a series under other names. stratum: the class
    that shards mix. face: "yes", "no" or "unknown". code: OK for a candidate, else why it cannot become a sample.
    private: names, for the private map only.
    """

    series_key: str = ""
    study_key: str = ""
    patient_key: str = ""
    kind: str = "dicom"
    collection: str = ""
    licence: str = ""
    files: list[str] = field(default_factory=list)
    stamps: list[list[int]] = field(default_factory=list)
    header: dict[str, Any] = field(default_factory=dict)
    slices: list[list[float]] = field(default_factory=list)
    code: Code = Code.OK
    detail: str = ""
    private: dict[str, str] = field(default_factory=dict)
    stack: int = 0
    part: int = 0
    num_files: int = 0
    doi: str = ""
    release: str = ""
    split: str = ""
    is_public: bool = False
    middle: tuple[int, int] | None = None
    pixel_hash: str = ""
    stratum: str = ""
    face: str = "unknown"

    @property
    def key(self) -> str:
        """The name of this stack everywhere: series_key, with -N behind it for the Nth further stack."""
        return f"{self.series_key}-{self.stack}" if self.stack else self.series_key

    @property
    def num_bytes(self) -> int:
        """Bytes of all files."""
        return sum(size for size, _ in self.stamps)

    @property
    def num_voxel_bytes(self) -> int:
        """Uncompressed bytes as int16, from the header; those of the files where the header does not say."""
        size = [self.header.get(name) for name in ("Rows", "Columns", "num_slices")]
        if all(isinstance(value, int | float) and value > 0 for value in size):
            return 2 * int(size[0]) * int(size[1]) * int(size[2])
        return self.num_bytes

    @property
    def mark(self) -> str:
        """Another one where a file was added, removed or replaced; holds no name."""
        names = [os.path.basename(file) for file in self.files]
        text = "\0".join(f"{name}\0{size}\0{mtime}" for name, (size, mtime) in zip(names, self.stamps, strict=True))
        return hashlib.sha256(os.fsencode(text)).hexdigest()[:20]
