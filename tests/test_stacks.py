"""One series, several stacks: split by what tells them apart, each a row and a volume, every file in one of them."""

import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from radnet.shards.dicom import Reading, read_header, read_volume
from radnet.shards.inventory import Row, list_files
from radnet.shards.ledger import Code, SeriesError
from radnet.shards.privacy import PrivacyKey
from tests.series import AXIAL, SHAPE, code_of, grouped, stored_voxels, write_series

KEY = PrivacyKey(bytes(32), is_public=False)
SAGITTAL = [0.0, 1.0, 0.0, 0.0, 0.0, -1.0]
Edit = Callable[[Dataset, int], None]


def rows_of(folder: Path) -> list[Row]:
    """The rows of all files below a folder, the largest stack of each series first."""
    records = [read_header(path) for path in list_files(str(folder))]
    return sorted(grouped(records, KEY), key=lambda row: (row.series_key, row.stack))


def assert_accounted(rows: list[Row], num_files: int) -> None:
    """Every file is in one stack; the keys are those that tables and overrides use."""
    assert sum(row.num_files for row in rows) == num_files
    assert [row.stack for row in rows] == list(range(len(rows)))
    assert len({row.series_key for row in rows}) == 1
    first = rows[0].series_key
    assert [row.key for row in rows] == [first, *(f"{first}-{number}" for number in range(1, len(rows)))]
    assert len({file for row in rows for file in row.files}) == num_files
    assert all(row.part == 0 and row.num_files == len(row.files) for row in rows)  # of classic files


def read(row: Row, **limits) -> Reading:
    return read_volume(row.files, stack=row.part, **limits)


def two_sets(first: int, edit_second: Edit, edit_first: Edit = lambda dataset, number: None) -> Edit:
    """Slices from `first` on lie at the places of the first ones, and are changed by `edit_second`."""

    def edit(dataset: Dataset, number: int) -> None:
        is_second = number >= first
        dataset.ImagePositionPatient = [0.0, 0.0, 2.0 * (number - first if is_second else number)]
        (edit_second if is_second else edit_first)(dataset, number)

    return edit


def put(**values: object) -> Edit:
    def edit(dataset: Dataset, number: int) -> None:
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    return edit


def test_a_stack_is_asked_for_by_number_and_the_first_is_the_default():
    assert inspect.signature(read_volume).parameters["stack"].default == 0


def test_two_orientations_are_two_stacks(tmp_path):
    def edit(dataset: Dataset, number: int) -> None:
        if number >= 20:
            dataset.ImageOrientationPatient = SAGITTAL
            dataset.ImagePositionPatient = [3.0 * (number - 20), 0.0, 0.0]

    files = write_series(tmp_path, 38, edit=edit)
    rows = rows_of(tmp_path)
    assert_accounted(rows, 38)
    assert [(row.num_files, row.code) for row in rows] == [(20, Code.OK), (18, Code.OK)]
    axial, sagittal = (read(row).volume for row in rows)
    np.testing.assert_array_equal(axial.voxels, stored_voxels(38)[:20] - 1024)
    np.testing.assert_array_equal(np.sort(sagittal.voxels, axis=0), stored_voxels(38)[20:] - 1024)
    assert (axial.spacing_mm[0], sagittal.spacing_mm[0]) == (2.0, 3.0)
    assert [row.header["ImageOrientationPatient"][0] for row in rows] == [1.0, 0.0]
    assert read_volume(files).volume.voxels.shape[0] == 20


def test_three_orthogonal_stacks_of_one_size_are_three_stacks(tmp_path):
    planes = [(AXIAL, (0, 0, 2.0)), (SAGITTAL, (2.0, 0, 0)), ([1.0, 0, 0, 0, 0, -1.0], (0, 2.0, 0))]

    def edit(dataset: Dataset, number: int) -> None:
        orientation, step_mm = planes[number // 16]
        dataset.ImageOrientationPatient = orientation
        dataset.ImagePositionPatient = [(number % 16) * value for value in step_mm]

    write_series(tmp_path, 48, edit=edit)
    rows = rows_of(tmp_path)
    assert_accounted(rows, 48)
    assert [row.num_files for row in rows] == [16, 16, 16]
    normals = {int(np.abs(read(row).volume.direction[:, 0]).argmax()) for row in rows}
    assert normals == {0, 1, 2}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (put(EchoTime=10.0, EchoNumbers=1), put(EchoTime=90.0, EchoNumbers=2)),
        (put(EchoTime=2.3), put(EchoTime=4.6)),
        (put(DiffusionBValue=0.0), put(DiffusionBValue=1000.0)),
        (put(AcquisitionNumber=1), put(AcquisitionNumber=2)),
        (put(ImageType=["ORIGINAL", "PRIMARY", "M", "FFE"]), put(ImageType=["ORIGINAL", "PRIMARY", "P", "FFE"])),
        (put(ImageType=["DERIVED", "PRIMARY", "DIXON", "W"]), put(ImageType=["DERIVED", "PRIMARY", "DIXON", "F"])),
    ],
    ids=["dual-echo", "echo-time-alone", "b-values", "acquisitions", "phase", "dixon"],
)
def test_two_sets_over_the_same_range_are_two_stacks(tmp_path, first, second):
    write_series(tmp_path, 40, modality="MR", edit=two_sets(20, second, first))
    rows = rows_of(tmp_path)
    assert_accounted(rows, 40)
    assert [(row.num_files, row.code) for row in rows] == [(20, Code.OK)] * 2
    volumes = [read(row).volume for row in rows]
    found = sorted((volume.voxels for volume in volumes), key=np.min)
    np.testing.assert_array_equal(np.concatenate(found), stored_voxels(40))
    assert volumes[0].affine.tolist() == volumes[1].affine.tolist()


@pytest.mark.parametrize(
    ("keyword", "values"), [("EchoTime", (10.0, 90.0)), ("EchoNumbers", (1, 2)), ("InversionTime", (400.0, 2500.0))]
)
def test_each_stack_reports_its_own_header(tmp_path, keyword, values):
    both = [put(AcquisitionNumber=number, **{keyword: value}) for number, value in enumerate(values, 1)]
    edit = two_sets(20, both[1], both[0])
    write_series(tmp_path, 40, modality="MR", edit=edit)
    rows = rows_of(tmp_path)
    assert sorted(row.header[keyword] for row in rows) == list(values)
    for row in rows:
        reading = read(row)
        assert reading.header[keyword] == row.header[keyword]
        assert (reading.volume.voxels.min() == stored_voxels(40).min()) == (row.header[keyword] == values[0])


def test_two_acquisitions_one_below_the_other_are_two_stacks_or_one_volume_never_a_gap(tmp_path):
    """Table moved between: 20 slices, a hole of 7.3 mm, 20 slices."""

    def edit(dataset: Dataset, number: int) -> None:
        dataset.AcquisitionNumber = 1 + number // 20
        dataset.ImagePositionPatient = [0.0, 0.0, 2.0 * number + (5.3 if number >= 20 else 0)]

    write_series(tmp_path, 40, edit=edit)
    rows = rows_of(tmp_path)
    assert sum(row.num_files for row in rows) == 40
    for row in rows:
        try:
            assert len(read(row).volume.voxels) == 20
        except SeriesError as error:
            assert error.code in (Code.UNEVEN_SPACING, Code.MISSING_SLICE)


def over_time(num_slices: int) -> Edit:
    """Each next `num_slices` slices are the next time point of the same places."""

    def edit(dataset: Dataset, number: int) -> None:
        dataset.TemporalPositionIdentifier = 1 + number // num_slices
        dataset.ImagePositionPatient = [0.0, 0.0, 2.0 * (number % num_slices)]

    return edit


def test_time_points_stay_one_row_that_is_a_time_series(tmp_path):
    files = write_series(tmp_path, 320, modality="MR", edit=over_time(16))
    (row,) = rows_of(tmp_path)
    assert (row.num_files, row.stack) == (320, 0)
    assert code_of(files) is Code.TIME_SERIES


def test_a_large_and_a_small_stack_keep_their_order_and_the_small_one_its_code(tmp_path):
    write_series(tmp_path, 25, modality="MR", edit=two_sets(20, put(EchoTime=90.0), put(EchoTime=10.0)))
    rows = rows_of(tmp_path)
    assert_accounted(rows, 25)
    assert [row.num_files for row in rows] == [20, 5]
    np.testing.assert_array_equal(read(rows[0]).volume.voxels, stored_voxels(25)[:20])
    with pytest.raises(SeriesError) as caught:
        read(rows[1])
    assert caught.value.code is Code.TOO_FEW_SLICES
    np.testing.assert_array_equal(read(rows[1], min_slices=5).volume.voxels, stored_voxels(25)[20:])


def test_copies_are_dropped_with_a_note_and_counted(tmp_path):
    write_series(tmp_path / "a")
    write_series(tmp_path / "b")
    rows = rows_of(tmp_path)
    assert sum(row.num_files for row in rows) == 40
    reading = read_volume(rows[0].files)
    np.testing.assert_array_equal(reading.volume.voxels, stored_voxels(20) - 1024)
    assert any("20 copies" in note for note in reading.notes)


def test_other_shapes_are_another_stack(tmp_path):
    def edit(dataset: Dataset, number: int) -> None:
        if number >= 20:
            dataset.Rows, dataset.Columns = SHAPE[1], SHAPE[0]
            dataset.ImagePositionPatient = [0.0, 0.0, 100.0 + 2 * number]

    write_series(tmp_path, 38, edit=edit)
    rows = rows_of(tmp_path)
    assert_accounted(rows, 38)
    assert [read(row).volume.voxels.shape for row in rows] == [(20, 6, 5), (18, 5, 6)]


def test_a_scout_inside_a_series_is_in_one_row_and_no_volume(tmp_path):
    def edit(dataset: Dataset, number: int) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER" if number == 20 else "AXIAL"]

    write_series(tmp_path, 21, edit=edit)
    rows = rows_of(tmp_path)
    assert sum(row.num_files for row in rows) == 21
    assert len(read(rows[0]).volume.voxels) == 20


def test_a_stack_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SeriesError):
        read_volume(write_series(tmp_path), stack=1)


def test_a_whole_archive_is_accounted_for(tmp_path):
    """A plain series, one of two stacks, one of time points, a broken file, a text: each file in one row."""
    write_series(tmp_path / "plain")
    second = put(SeriesInstanceUID="1.2.3.5", EchoTime=90.0)
    write_series(tmp_path / "echoes", 40, modality="MR", edit=two_sets(20, second, put(SeriesInstanceUID="1.2.3.5")))

    def times(dataset: Dataset, number: int) -> None:
        dataset.SeriesInstanceUID = "1.2.3.6"
        over_time(2)(dataset, number)

    write_series(tmp_path / "times", 40, modality="MR", edit=times)
    (tmp_path / "note.txt").write_text("hello")
    (tmp_path / "broken.dcm").write_bytes(bytes(128) + b"DICM")
    rows = rows_of(tmp_path)
    assert sum(row.num_files for row in rows) == 102
    assert len({row.key for row in rows}) == len(rows) == 6


def test_real_files_are_each_in_one_stack(real_records):
    rows = grouped(real_records, KEY)
    assert sum(row.num_files for row in rows) == len(real_records)
    assert len({row.key for row in rows}) == len(rows)
    by_series: dict[str, list[Row]] = {}
    for row in rows:
        by_series.setdefault(row.series_key, []).append(row)
    for parts in by_series.values():
        assert sorted(part.stack for part in parts) == list(range(len(parts)))
    assert {file for row in rows for file in row.files} == {record.path for record in real_records}
