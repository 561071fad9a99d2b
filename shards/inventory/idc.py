"""The index of the Imaging Data Commons, as the PyPI package idc-index-data carries it: a table of every series."""

import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radnet.errors import UsageError

if TYPE_CHECKING:
    import pyarrow

PACKAGE = "idc-index-data"
# What radnet reads of the index. Other columns are carried through.
TEXT_COLUMNS = """
collection_id analysis_result_id PatientID SeriesInstanceUID StudyInstanceUID StudyDescription BodyPartExamined Modality
SOPClassUID TransferSyntaxUID PhotometricInterpretation Manufacturer SeriesDescription license_short_name aws_bucket
crdc_series_uuid
""".split()
_LOOKED_UP = "collection_id license_short_name source_DOI aws_bucket crdc_series_uuid PatientID".split()
NUMBER_COLUMNS = ("instanceCount", "series_init_idc_version", "series_size_MB")


@dataclass(frozen=True)
class IdcIndex:
    """series: one row per series, in the order of the index. sites, species: of each collection, by collection_id, as
    its owner words them. version: of the data release."""

    series: "pyarrow.Table"
    sites: dict[str, str]
    species: dict[str, str]
    version: str
    folder: Path


def open_index(folder: str = "") -> IdcIndex:
    """Read the index from `folder`, or from the installed package where that is empty.

    Raises UsageError where the package is not installed, a file is missing or damaged, or a column is missing.
    """
    here = Path(folder) if folder else _package_folder()
    series = _read(here / "idc_index.parquet", [*TEXT_COLUMNS, *NUMBER_COLUMNS])
    about = _read(here / "collections_index.parquet", ["collection_id", "tumor_locations", "species"])
    names = about["collection_id"].to_pylist()
    version = (series.schema.metadata or {}).get(b"idc_index_data_version", b"unknown").decode("utf-8", "replace")
    return IdcIndex(
        series=_typed(series),
        sites=dict(zip(names, about["tumor_locations"].to_pylist(), strict=True)),
        species=dict(zip(names, about["species"].to_pylist(), strict=True)),
        version=version,
        folder=here,
    )


def lookup(column: str, names: Iterable[str], folder: str = "") -> dict[str, dict[str, Any]]:
    """Name → its row of the index: collection_id, license_short_name, source_DOI, aws_bucket, crdc_series_uuid,
    PatientID and release. column: what the names are of.

    {} where the index is not installed. The whole index is never in memory.
    """
    import pyarrow
    import pyarrow.compute
    import pyarrow.parquet

    if not folder and importlib.util.find_spec("idc_index_data") is None:
        return {}
    path = (Path(folder) if folder else _package_folder()) / "idc_index.parquet"
    wanted = set(names)
    found: dict[str, dict[str, Any]] = {}
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            release = _version(file.schema_arrow)
            columns = list(dict.fromkeys([column, *_LOOKED_UP]))
            for batch in file.iter_batches(1 << 16, columns=columns):
                is_wanted = pyarrow.compute.is_in(batch[column], pyarrow.array(list(wanted), batch[column].type))
                found |= {row[column]: row | {"release": release} for row in batch.filter(is_wanted).to_pylist()}
    except (pyarrow.ArrowException, OSError, KeyError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise UsageError(f"{path} cannot be read ({said}); pip install --force-reinstall {PACKAGE}") from None
    return found


def _version(schema: "pyarrow.Schema") -> str:
    number = (schema.metadata or {}).get(b"idc_index_data_version", b"unknown").decode("utf-8", "replace")
    return f"idc-index-data {number}"


def current_uuids(index: IdcIndex, uuids: Sequence[str]) -> dict[str, str]:
    """SeriesInstanceUID of those `uuids` that an earlier release of the index used for a series.

    Empty where the index carries no table of earlier releases.
    """
    import pyarrow
    import pyarrow.compute

    path = index.folder / "prior_versions_index.parquet"
    if not uuids or not path.is_file():
        return {}
    prior = _read(path, ["crdc_series_uuid", "SeriesInstanceUID"])
    wanted = pyarrow.array(uuids, prior["crdc_series_uuid"].type)
    prior = prior.filter(pyarrow.compute.is_in(prior["crdc_series_uuid"], wanted))
    return dict(zip(prior["crdc_series_uuid"].to_pylist(), prior["SeriesInstanceUID"].to_pylist(), strict=True))


def _package_folder() -> Path:
    spec = importlib.util.find_spec("idc_index_data")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(f"{PACKAGE} is not installed, and it holds the index of IDC; pip install {PACKAGE} (78 MB)")
    return Path(next(iter(spec.submodule_search_locations)))


def _read(path: Path, needed: Sequence[str]) -> "pyarrow.Table":
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist; expected a folder with the tables of {PACKAGE}") from None
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise UsageError(f"{path} cannot be read ({said}); pip install --force-reinstall {PACKAGE}") from None
    if missing := [name for name in needed if name not in table.column_names]:
        raise UsageError(f"{path} has no column {', '.join(missing)}; radnet reads the tables of {PACKAGE} 25 or newer")
    return table


def _typed(series: "pyarrow.Table") -> "pyarrow.Table":
    """The table with text as large_string, counts as int64 and megabytes as float64, in one chunk each."""
    import pyarrow

    wanted = dict.fromkeys(TEXT_COLUMNS, pyarrow.large_string())
    wanted |= dict.fromkeys(NUMBER_COLUMNS, pyarrow.int64()) | {"series_size_MB": pyarrow.float64()}
    fields = [pyarrow.field(field.name, wanted.get(field.name, field.type)) for field in series.schema]
    try:
        return series.cast(pyarrow.schema(fields)).combine_chunks()
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError) as error:
        raise UsageError(f"a column of the index has another type ({' '.join(str(error).split())[:200]})") from None
