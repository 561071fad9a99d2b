"""What became of every series: sharded, excluded by rule, or failed, each with a code and a remedy."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from radnet.store import read_table, write_parquet


class Status(StrEnum):
    SHARDED = "sharded"
    EXCLUDED = "excluded"  # not a usable volume by rule
    FAILED = "failed"  # damaged or unreadable


class Code(StrEnum):
    """Why a series is where it is. `STATUS` and `REMEDY` say what a code means for the batch and for its owner."""

    OK = "ok"
    NOT_DICOM = "not_dicom"
    NOT_AN_IMAGE = "not_an_image"
    MODALITY = "modality"
    LOCALIZER = "localizer"
    SECONDARY_CAPTURE = "secondary_capture"
    COLOUR = "colour"
    DERIVED = "derived"
    BURNED_IN = "burned_in"
    TOO_FEW_SLICES = "too_few_slices"
    TIME_SERIES = "time_series"
    SPACING_TOO_LARGE = "spacing_too_large"
    UNEVEN_SPACING = "uneven_spacing"
    LICENCE = "licence"
    FACE = "face"
    DUPLICATE = "duplicate"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    DECODE = "decode"
    DECODER_CRASH = "decoder_crash"
    UNSUPPORTED_SYNTAX = "unsupported_syntax"
    TOO_LARGE = "too_large"
    NO_GEOMETRY = "no_geometry"
    MIXED_GEOMETRY = "mixed_geometry"
    MISSING_SLICE = "missing_slice"
    DUPLICATE_POSITION = "duplicate_position"
    NO_RESCALE = "no_rescale"
    BAD_NUMBER = "bad_number"
    CHANGED = "changed"


_EXCLUDED = {
    Code.NOT_DICOM: "the file is not DICOM; unpack it if it is an archive, else nothing to do",
    Code.NOT_AN_IMAGE: "the object holds no image (report, segmentation, plan, raw data); nothing to do",
    Code.MODALITY: "only CT and MR are read; nothing to do",
    Code.LOCALIZER: "a scout is not a volume; nothing to do",
    Code.SECONDARY_CAPTURE: "a screen capture is not a volume; nothing to do",
    Code.COLOUR: "colour images are not volumes; nothing to do",
    Code.DERIVED: "a projection or reformat; shard the original series instead",
    Code.BURNED_IN: "text is burned into the pixels; shard the original series instead",
    Code.TOO_FEW_SLICES: "fewer slices than min_slices; lower min_slices to keep it",
    Code.TIME_SERIES: "several time points, diffusion weights or echoes share positions; export each as its own series",
    Code.SPACING_TOO_LARGE: "slices lie further apart than max_spacing_mm; raise it to keep the series",
    Code.UNEVEN_SPACING: "distances between slices differ; export the evenly spaced part as its own series",
    Code.LICENCE: "its licence is one of exclude_licences; nothing to do",
    Code.FACE: "may show a face, and faces=exclude; nothing to do",
    Code.DUPLICATE: "a copy of a series in another split, added later; nothing to do",
}
_FAILED = {
    Code.UNREADABLE: "the file cannot be parsed; fetch it from the archive again",
    Code.TRUNCATED: "the file ends before its pixels do; fetch it from the archive again",
    Code.DECODE: "the pixel data cannot be decoded; fetch it again or export it uncompressed",
    Code.DECODER_CRASH: "the decoder died on this file; export it uncompressed",
    Code.UNSUPPORTED_SYNTAX: "no decoder for this transfer syntax; export it uncompressed",
    Code.TOO_LARGE: "declares more voxels than max_voxels; raise max_voxels if it is real",
    Code.NO_GEOMETRY: "no position or orientation; export it with ImagePositionPatient and ImageOrientationPatient",
    Code.MIXED_GEOMETRY: "patient, shape, pixel spacing, sign or photometric vary; export the parts as own series",
    Code.MISSING_SLICE: "a slice is missing; fetch the series from the archive again",
    Code.DUPLICATE_POSITION: "two different images share a position; export them as their own series",
    Code.NO_RESCALE: "CT without rescale has no HU; export it with RescaleSlope and RescaleIntercept",
    Code.BAD_NUMBER: "a header number cannot be read; export the series again",
    Code.CHANGED: "its files were replaced while the shard set was being built; shard into a new folder",
}

STATUS: dict[Code, Status] = (
    {Code.OK: Status.SHARDED} | dict.fromkeys(_EXCLUDED, Status.EXCLUDED) | dict.fromkeys(_FAILED, Status.FAILED)
)
REMEDY: dict[Code, str] = {Code.OK: ""} | _EXCLUDED | _FAILED


@dataclass
class SeriesError(Exception):
    """A series that cannot become a volume.

    code: why. detail: the numbers behind it; never a name or a path, because it is written to the public ledger.
    """

    code: Code
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}" if self.detail else str(self.code)

    def __reduce__(self):
        return (SeriesError, (self.code, self.detail))


@dataclass(frozen=True)
class LedgerRow:
    """One stack of a series and what became of it; series_key is `Row.key`. No names: this row is public."""

    series_key: str
    patient_key: str
    code: Code
    detail: str
    num_files: int
    modality: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", Code(self.code))  # a row read back from JSON or Parquet holds a plain string

    @property
    def status(self) -> Status:
        return STATUS[self.code]


def write(path: str, rows: Iterable[LedgerRow]) -> str:
    """Write ledger.parquet, in order of series_key. Returns its sha256."""
    import pyarrow

    ordered = sorted(rows, key=lambda row: row.series_key)
    columns = {name: pyarrow.array([str(getattr(row, name)) for row in ordered], pyarrow.string()) for name in _TEXT}
    columns["num_files"] = pyarrow.array([row.num_files for row in ordered], pyarrow.int32())
    return write_parquet(path, pyarrow.table(columns))


_TEXT = ("series_key", "patient_key", "status", "code", "detail", "modality")


def read(path: str) -> list[LedgerRow]:
    """Read ledger.parquet; raises FileNotFoundError, or ValueError where it is damaged."""
    try:
        rows = read_table(path).to_pylist()
        return [LedgerRow(**{key: row[key] for key in row if key != "status"}) for row in rows]
    except TypeError as error:  # other columns
        raise ValueError(f"{path} is not a ledger: {error}") from None


def totals(rows: Iterable[LedgerRow]) -> dict[str, int]:
    """Number of series by status; every status is a key."""
    counts = Counter(row.status for row in rows)
    return {str(status): counts[status] for status in Status}


def summary(rows: Iterable[LedgerRow]) -> list[str]:
    """One line per code that occurs, most frequent first, with its remedy."""
    counts = Counter(row.code for row in rows)
    ordered = sorted(counts, key=lambda code: (list(Status).index(STATUS[code]), -counts[code], code))
    return [f"{STATUS[code]:<9}{counts[code]:>8}  {code:<20}{REMEDY[code]}".rstrip() for code in ordered]
