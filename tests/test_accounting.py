"""Every file and series of a folder of real DICOM ends in the ledger once, by an independent count."""

from pathlib import Path

import pyarrow.parquet
import pydicom
import pytest
from pydicom.errors import InvalidDicomError

from radnet.launch import shard, verify
from radnet.shards.ledger import REMEDY, STATUS, Code


def _series_uids(folder: Path) -> set[str]:
    """Series Instance UIDs as pydicom alone finds them in well-formed files."""
    found = set()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            try:
                header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
                found.add(str(header.get("SeriesInstanceUID", "")))
            except (InvalidDicomError, OSError, ValueError, KeyError, AttributeError, TypeError, NotImplementedError):
                continue  # such a file has a row of its own, counted below
    return found - {""}


@pytest.fixture(scope="module")
def sharded(real_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    key, config = folder / "privacy.key", folder / "shard.yaml"
    config.write_text(f"out: {folder / 'set'}\nsources: [{{path: {real_data}}}]\nprivacy: {{key: {key}}}\n")
    assert shard.main([str(config)]) == 8
    return folder / "set"


def _rows(path: Path) -> list[dict]:
    return pyarrow.parquet.read_table(path).to_pylist()


def test_every_series_and_file_is_accounted_for(real_data, sharded):
    ledger, names = _rows(sharded / "ledger.parquet"), _rows(sharded / "private" / "map.parquet")
    keys = [row["series_key"] for row in ledger]
    assert len(set(keys)) == len(keys)
    listed = {row["series_uid"] for row in names if row["series_key"] in set(keys)}
    assert _series_uids(real_data) <= listed
    assert sum(row["num_files"] for row in ledger) == sum(path.is_file() for path in real_data.rglob("*"))


def test_every_row_has_a_status_a_code_and_a_remedy(sharded):
    for row in _rows(sharded / "ledger.parquet"):
        code = Code(row["code"])
        assert row["status"] == STATUS[code] and (REMEDY[code] or code == Code.OK)


def test_the_set_is_whole(sharded, capsys):
    assert verify.main([str(sharded)]) == 0
