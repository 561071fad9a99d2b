"""A small index in the form of idc-index-data, for tests of its logic; and the real one, where it is installed."""

import importlib.util
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from radnet.shards.inventory import corpus, idc, options

CT, MR, CAPTURE = (f"1.2.840.10008.5.1.4.1.1.{tail}" for tail in ("2", "4", "7"))
LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
SITES = {
    "alpha": ("Lung", "Human"),
    "beta": ("Brain", "Human"),
    "gamma": ("Breast", "Mouse"),
    "delta": ("Head", "Human"),
}


def uuid_of(number: int) -> str:
    """The UUID of the series of that number."""
    return str(uuid.UUID(int=number + (1 << 100)))


def series(number: int, **values: Any) -> dict[str, Any]:
    """One row of the index: a CT of the chest of 100 slices and 50 MB, unless `values` say otherwise."""
    row = {
        "collection_id": "alpha",
        "analysis_result_id": None,
        "PatientID": f"P{number}",
        "SeriesInstanceUID": f"1.2.{number}",
        "StudyInstanceUID": f"1.3.{number}",
        "StudyDescription": "CT CHEST",
        "BodyPartExamined": "CHEST",
        "Modality": "CT",
        "SOPClassUID": CT,
        "TransferSyntaxUID": LITTLE_ENDIAN,
        "PhotometricInterpretation": "MONOCHROME2",
        "Manufacturer": "SIEMENS",
        "SeriesDescription": "Axial lung",
        "instanceCount": 100,
        "license_short_name": "CC BY 4.0",
        "series_init_idc_version": 5,
        "aws_bucket": "idc-open-data",
        "crdc_series_uuid": uuid_of(number),
        "series_size_MB": 50.0,
    }
    return row | values


def write_index(folder: Path, rows: Sequence[dict[str, Any]], prior: Sequence[dict[str, str]] = ()) -> str:
    """Write the tables of an index; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), folder / "idc_index.parquet")
    about = [{"collection_id": k, "tumor_locations": site, "species": kind} for k, (site, kind) in SITES.items()]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(about), folder / "collections_index.parquet")
    if prior:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(prior)), folder / "prior_versions_index.parquet")
    return str(folder)


def made(tmp_path: Path, rows: Sequence[dict[str, Any]], *, everything: bool = True, **keys: Any) -> corpus.Corpus:
    """The corpus that the config `keys` makes of an index of `rows`."""
    index = idc.open_index(write_index(tmp_path / "index", rows))
    return corpus.from_index(index, options.InventoryConfig(**keys), everything=everything)


def mr(number: int, description: str, **values: Any) -> dict[str, Any]:
    """One row of the index: an MR of that SeriesDescription."""
    return series(number, Modality="MR", SOPClassUID=MR, SeriesDescription=description, **values)


def patients_rows(num: int, each: int = 3) -> list[dict[str, Any]]:
    """Rows of patients of several series each, in three collections."""
    return [
        series(at, PatientID=f"P{at // each}", collection_id=["alpha", "beta", "delta"][at // each % 3])
        for at in range(num)
    ]


needs_real_index = pytest.mark.skipif(
    importlib.util.find_spec("idc_index_data") is None, reason="idc-index-data is not installed (the index of IDC)"
)
