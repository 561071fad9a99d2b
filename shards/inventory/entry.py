"""What the driver keeps of a row: an archive has millions of files, and their names, stamps and headers stay packed."""

import pickle
import zlib
from dataclasses import dataclass, fields

from radnet.shards.inventory.row import Origin, Row
from radnet.shards.ledger import Code
from radnet.shards.public import modality

# "file" names a file that belongs to no series.
PRIVATE = ("series_uid", "study_uid", "patient_id", "folder", "file")
_BULKY = ("files", "stamps", "header", "slices", "part", "middle")


@dataclass(frozen=True, slots=True)
class Entry:
    """What the driver keeps of a row: what the plan and the ledger need, and the rest in a few bytes a file.

    num_bytes: uncompressed, estimated. modality: for the ledger. mark: see `Row`. private: series_uid, study_uid,
    patient_id and folder; () where they are not to travel.
    """

    series_key: str
    study_key: str
    patient_key: str
    kind: str
    origin: Origin
    stack: int
    num_files: int
    num_bytes: int
    modality: str
    code: Code
    detail: str
    pixel_hash: str
    stratum: str
    face: str
    mark: str
    private: tuple[str, ...]
    packed: bytes

    @property
    def key(self) -> str:
        """As `Row.key`."""
        return f"{self.series_key}-{self.stack}" if self.stack else self.series_key

    def unpack(self) -> Row:
        """The row again."""
        row = Row(
            **{name: getattr(self, name) for name in _SHARED},
            **self.origin._asdict(),
            **dict(zip(_BULKY, pickle.loads(zlib.decompress(self.packed)), strict=True)),
            private=dict(zip(PRIVATE, self.private, strict=False)),
        )
        row.header = row.header | {"collection": self.origin.collection}
        return row


_SHARED = tuple(f.name for f in fields(Entry) if f.name in {f.name for f in fields(Row)} - {"private"})


def pack(row: Row) -> Entry:
    """What the driver keeps of a row."""
    bulky = pickle.dumps(tuple(getattr(row, name) for name in _BULKY), protocol=5)
    return Entry(
        **{name: getattr(row, name) for name in _SHARED},
        origin=Origin(*(getattr(row, name) for name in Origin._fields)),
        num_bytes=row.num_voxel_bytes,
        modality=modality(row.header),
        mark=row.mark,
        private=tuple(row.private.get(name, "") for name in PRIVATE),
        packed=zlib.compress(bulky, 1),
    )
