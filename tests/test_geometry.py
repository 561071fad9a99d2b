"""Which slices make a volume: order, gaps, tilt, strays, copies and time points."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from radnet.shards.dicom import read_volume
from radnet.shards.ledger import Code
from tests.series import code_of, stored_voxels, write_series


def test_gantry_tilt_is_kept_as_shear(tmp_path):
    volume = read_volume(write_series(tmp_path, step_mm=(0, 1.5, 2))).volume
    assert volume.spacing_mm[0] == pytest.approx(2.5)
    np.testing.assert_allclose(volume.direction[:, 0], [0, 0.6, 0.8])
    np.testing.assert_allclose(volume.affine @ [3, 0, 0, 1], [0, 4.5, 6, 1])


def test_slice_spacing_under_tilt_is_perpendicular(tmp_path):
    header = read_volume(write_series(tmp_path, step_mm=(0, 1.5, 2))).header
    assert header["slice_spacing_mm"] == pytest.approx(2.0)
    assert header["extent_mm"] == pytest.approx(40.0)


def move(slices: dict[int, tuple[float, float, float]]):
    def edit(dataset: Dataset, number: int) -> None:
        position = [*map(float, dataset.ImagePositionPatient)]
        offset = slices.get(number, (0, 0, 0))
        dataset.ImagePositionPatient = [a + b for a, b in zip(position, offset, strict=True)]

    return edit


@pytest.mark.parametrize(
    ("keywords", "code"),
    [
        ({"skip": [7]}, Code.MISSING_SLICE),
        ({"skip": [7, 8, 12]}, Code.MISSING_SLICE),
        ({"edit": move({7: (0, 0, 0.1)})}, Code.UNEVEN_SPACING),
        ({"edit": move({7: (0.3, 0, 0)})}, Code.UNEVEN_SPACING),
        ({"num_slices": 15}, Code.TOO_FEW_SLICES),
        ({"step_mm": (0, 0, 16)}, Code.SPACING_TOO_LARGE),
    ],
)
def test_positions_that_make_no_grid_are_refused(tmp_path, keywords, code):
    assert code_of(write_series(tmp_path, **keywords)) is code


def test_jitter_below_one_percent_is_accepted(tmp_path):
    reading = read_volume(write_series(tmp_path, edit=move({7: (0.05, 0, 0.015)})))
    assert reading.header["slice_spacing_mm"] == 2.0


def test_strays_of_another_orientation_are_left_out_with_a_note(tmp_path):
    def edit(dataset: Dataset, number: int) -> None:
        if number >= 20:
            dataset.ImageOrientationPatient = [0.0, 1.0, 0.0, 0.0, 0.0, -1.0]

    reading = read_volume(write_series(tmp_path, 22, edit=edit))
    assert len(reading.volume.voxels) == 20
    assert reading.notes == ["stack 0 of 2: orientation or shape 1 of 2"]
    assert code_of(list(map(str, tmp_path.iterdir())), stack=1) is Code.TOO_FEW_SLICES


def test_a_scout_in_the_series_is_left_out_with_a_note(tmp_path):
    def edit(dataset: Dataset, number: int) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER" if number == 20 else "AXIAL"]

    reading = read_volume(write_series(tmp_path, 21, edit=edit))
    assert (len(reading.volume.voxels), reading.notes) == (20, ["left out 1 of 21 files: localizer"])


def test_two_stacks_of_one_size_are_both_kept(tmp_path):
    def edit(dataset: Dataset, number: int) -> None:
        dataset.PixelSpacing = [0.5, 0.25 if number % 2 else 0.5]

    files = write_series(tmp_path, 40, edit=edit)
    spacings = {read_volume(files, stack=stack).volume.spacing_mm for stack in (0, 1)}
    assert spacings == {(4.0, 0.5, 0.25), (4.0, 0.5, 0.5)}


def test_varying_sign_is_refused(tmp_path):
    def edit(dataset: Dataset, number: int) -> None:
        dataset.PixelRepresentation = number % 2

    assert code_of(write_series(tmp_path, edit=edit)) is Code.MIXED_GEOMETRY


def test_copies_are_dropped_with_a_note(tmp_path):
    reading = read_volume(write_series(tmp_path / "a") + write_series(tmp_path / "b")[:5])
    np.testing.assert_array_equal(reading.volume.voxels, stored_voxels(20) - 1024)
    assert reading.notes == ["left out 5 copies of slices"]


def again(keyword: str, first: object, second: object, number_of_second: int):
    """Slices from `number_of_second` on lie at the places of the first ones, told apart by `keyword`."""

    def edit(dataset: Dataset, number: int) -> None:
        is_second = number >= number_of_second
        dataset.ImagePositionPatient = [0.0, 0.0, 2.0 * (number - number_of_second if is_second else number)]
        if keyword:
            setattr(dataset, keyword, second if is_second else first)

    return edit


@pytest.mark.parametrize(
    ("keyword", "first", "second"),
    [
        ("AcquisitionNumber", 1, 2),
        ("EchoTime", 4.6, 80.0),
        ("TemporalPositionIdentifier", 1, 2),
        ("DiffusionBValue", 0.0, 1000.0),
        ("ImageType", ["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]),
    ],
)
def test_two_full_stacks_at_the_same_positions_are_both_kept(tmp_path, keyword, first, second):
    files = write_series(tmp_path, 40, modality="MR", edit=again(keyword, first, second, 20))
    for stack in (0, 1):
        voxels = read_volume(files, stack=stack).volume.voxels
        np.testing.assert_array_equal(voxels, stored_voxels(40)[20 * stack : 20 * stack + 20])


def test_two_full_stacks_that_nothing_tells_apart_are_a_time_series(tmp_path):
    assert code_of(write_series(tmp_path, 40, modality="MR", edit=again("", None, None, 20))) is Code.TIME_SERIES


def test_a_few_slices_of_another_echo_are_a_stack_of_their_own(tmp_path):
    files = write_series(tmp_path, 25, modality="MR", edit=again("EchoTime", 10.0, 90.0, 20))
    reading = read_volume(files)
    np.testing.assert_array_equal(reading.volume.voxels, stored_voxels(25)[:20])
    assert reading.notes == ["stack 0 of 2: echo 1 of 2"]
    assert code_of(files, stack=1) is Code.TOO_FEW_SLICES


def test_different_images_at_one_position_that_nothing_tells_apart_are_refused(tmp_path):
    assert code_of(write_series(tmp_path, 25, edit=again("", None, None, 20))) is Code.DUPLICATE_POSITION
