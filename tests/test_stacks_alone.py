"""A stack is read from its own files, and is what its whole series would make of it."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from radnet.shards.dicom import read_volume
from radnet.shards.geometry import MEASURED
from radnet.shards.inventory import Row
from radnet.shards.ledger import SeriesError
from tests.series import grouped, write_series
from tests.test_stacks import KEY, assert_accounted, read, rows_of


def assert_read_as_in_its_series(row: Row, files: list[str]) -> None:
    """Voxels, grid and labels of a stack are those that the whole series gives."""
    alone, whole = read(row, min_slices=2), read_volume(files, stack=row.stack, min_slices=2)
    np.testing.assert_array_equal(alone.volume.voxels, whole.volume.voxels)
    np.testing.assert_array_equal(alone.volume.affine, whole.volume.affine)
    header = row.header | {name: alone.header[name] for name in MEASURED}
    assert header == whole.header | {"collection": row.collection}


def test_a_stack_reads_its_own_files_and_is_what_the_series_makes_of_it(tmp_path):
    """Eight phases: 160 headers are read for all of them, not 1,280."""

    def edit(dataset: Dataset, number: int) -> None:
        dataset.ImagePositionPatient = [0.0, 0.0, 2.0 * (number % 20)]
        dataset.TemporalPositionIdentifier, dataset.DiffusionBValue = number // 20 + 1, 100.0 * (number // 20)

    files = write_series(tmp_path, 160, modality="MR", edit=edit)
    rows = rows_of(tmp_path)
    assert_accounted(rows, 160)
    assert [len(row.files) for row in rows] == [20] * 8
    for row in rows:
        assert_read_as_in_its_series(row, files)
        assert row.header["DiffusionBValue"] == 700.0


def test_stacks_of_real_series_are_what_their_series_make_of_them(real_records):
    rows = grouped(real_records, KEY)
    by_series: dict[str, list[Row]] = {}
    for row in rows:
        by_series.setdefault(row.series_key, []).append(row)
    num_read = 0
    for parts in by_series.values():
        files = sorted({file for part in parts for file in part.files})
        for row in parts if len(parts) > 1 else []:
            try:
                read(row, min_slices=2)
            except SeriesError as error:
                with pytest.raises(SeriesError) as caught:
                    read_volume(files, stack=row.stack, min_slices=2)
                assert caught.value.code is error.code
                continue
            assert_read_as_in_its_series(row, files)
            num_read += 1
    assert num_read >= 4
