"""The DICOM door: every fault of facts about real archives ends as a volume or as the right code."""

import pickle
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from radnet.shards import elements
from radnet.shards.dicom import Reading, read_header, read_volume
from radnet.shards.ledger import Code
from radnet.shards.plain import MAX_INFLATED_BYTES
from radnet.shards.public import public_header
from tests.series import AXIAL, code_of, image, stored_voxels, write, write_series


def test_a_series_is_sorted_rescaled_and_placed(tmp_path):
    reading = read_volume(write_series(tmp_path))
    assert isinstance(reading, Reading) and reading.notes == []
    assert reading.volume.voxels.dtype == np.int16
    np.testing.assert_array_equal(reading.volume.voxels, stored_voxels(20) - 1024)
    assert reading.volume.spacing_mm == (2.0, 0.5, 0.25)
    np.testing.assert_allclose(reading.volume.direction, [[0, 0, 1], [0, 1, 0], [1, 0, 0]], atol=1e-12)
    derived = {key: reading.header[key] for key in ("num_slices", "slice_spacing_mm", "extent_mm")}
    assert derived == {"num_slices": 20, "slice_spacing_mm": 2.0, "extent_mm": 40.0}


def test_a_descending_series_ascends_after_reading(tmp_path):
    reading = read_volume(write_series(tmp_path, step_mm=(0, 0, -2)))
    np.testing.assert_array_equal(reading.volume.voxels, stored_voxels(20)[::-1] - 1024)
    assert reading.volume.origin_mm == (0, 0, -38)


def test_the_header_holds_no_name_and_the_public_one_no_free_text(tmp_path):
    def edit(dataset: Dataset, number: int) -> None:
        dataset.SeriesDescription, dataset.ImageComments = "AX for Jane", "Jane"

    header = read_volume(write_series(tmp_path, edit=edit)).header
    assert header["SeriesDescription"] == "AX for Jane"
    text = str(public_header(header))
    assert not any(word in text for word in ("Jane", "PHANTOM", "20200101", "1.2.3.4"))


def test_rescale_is_applied_slice_by_slice(tmp_path):
    def edit(dataset: Dataset, number: int) -> None:
        dataset.RescaleSlope = 0.5 + number

    voxels = read_volume(write_series(tmp_path, edit=edit)).volume.voxels
    expected = stored_voxels(20) * (0.5 + np.arange(20))[:, None, None] - 1024
    assert voxels.dtype == np.float32
    np.testing.assert_allclose(voxels, expected, rtol=1e-6)


def test_whole_numbers_beyond_int16_become_float32(tmp_path):
    def edit(dataset: Dataset, number: int) -> None:
        dataset.RescaleSlope = 100

    voxels = read_volume(write_series(tmp_path, edit=edit)).volume.voxels
    assert voxels.dtype == np.float32
    np.testing.assert_array_equal(voxels, stored_voxels(20).astype(np.int64) * 100 - 1024)


def setting(**values):
    def edit(dataset: Dataset, number: int) -> None:
        for keyword, value in values.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)

    return edit


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"RescaleSlope": None}, Code.NO_RESCALE),
        ({"ImagePositionPatient": None}, Code.NO_GEOMETRY),
        ({"ImageOrientationPatient": [0.0] * 6}, Code.NO_GEOMETRY),
        ({"Modality": "US"}, Code.MODALITY),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, Code.LOCALIZER),
        ({"SeriesDescription": "Topogram 0.6"}, Code.LOCALIZER),
        ({"ImageType": ["DERIVED", "SECONDARY", "CSA MPR"]}, Code.DERIVED),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, Code.TIME_SERIES),
        ({"BurnedInAnnotation": "YES"}, Code.BURNED_IN),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, Code.COLOUR),
        ({"SamplesPerPixel": 3}, Code.COLOUR),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, Code.SECONDARY_CAPTURE),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11"}, Code.NOT_AN_IMAGE),
        ({"ImagePositionPatient": [0.0, 0.0, 1e308]}, Code.BAD_NUMBER),
        ({"ImagePositionPatient": [0.0, -2e6, 0.0]}, Code.BAD_NUMBER),
        ({"PixelSpacing": [2e4, 1.0]}, Code.BAD_NUMBER),
        ({"RescaleSlope": 1e13}, Code.BAD_NUMBER),
    ],
)
def test_headers_that_rule_a_volume_out(tmp_path, values, code):
    assert code_of(write_series(tmp_path, edit=setting(**values))) is code


def test_a_comma_in_a_number_is_a_bad_number(tmp_path):
    files = write_series(tmp_path)
    for file in files:
        content = Path(file).read_bytes()
        Path(file).write_bytes(content.replace(b"0.5\\0.25", b"0,5\\0,25"))
    assert code_of(files) is Code.BAD_NUMBER


def test_a_derived_series_on_its_own_grid_is_a_volume(tmp_path):
    assert read_volume(write_series(tmp_path, edit=setting(ImageType=["DERIVED", "PRIMARY", "AXIAL"])))


def test_padding_becomes_the_smallest_real_value(tmp_path):
    def edit(dataset: Dataset, number: int) -> None:
        pixels = stored_voxels(20)[number].copy()
        pixels[0] = -2000
        dataset.PixelData, dataset.PixelPaddingValue = pixels.tobytes(), -2000

    reading = read_volume(write_series(tmp_path, edit=edit))
    expected = stored_voxels(20) - 1024
    expected[:, 0] = expected[:, 1:].min()
    np.testing.assert_array_equal(reading.volume.voxels, expected)
    assert reading.notes == ["100 padding voxels set to the smallest value"]


def test_padding_outside_the_stored_bits_is_found_before_they_are_cut(tmp_path):
    def edit(dataset: Dataset, number: int) -> None:
        pixels = stored_voxels(20)[number].astype(np.uint16)
        pixels[1] |= 0xF000  # junk that old scanners leave above the stored bits
        pixels[0] = 63536
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 0
        dataset.PixelData, dataset.PixelPaddingValue = pixels.tobytes(), 63536

    voxels = read_volume(write_series(tmp_path, edit=edit)).volume.voxels
    expected = stored_voxels(20) - 1024
    expected[:, 0] = expected[:, 1:].min()
    np.testing.assert_array_equal(voxels, expected)


def test_monochrome1_is_turned_and_said(tmp_path):
    edit = setting(PhotometricInterpretation="MONOCHROME1")
    reading = read_volume(write_series(tmp_path, modality="MR", edit=edit))
    stored = stored_voxels(20)
    np.testing.assert_array_equal(reading.volume.voxels, stored.min() + stored.max() - stored)
    assert reading.notes == ["MONOCHROME1 inverted: high is bright"]


def test_monochrome1_leaves_hu_alone(tmp_path):
    reading = read_volume(write_series(tmp_path, edit=setting(PhotometricInterpretation="MONOCHROME1")))
    np.testing.assert_array_equal(reading.volume.voxels, stored_voxels(20) - 1024)
    assert reading.notes == ["MONOCHROME1 concerns the display only: HU kept"]


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, RLELossless, DeflatedExplicitVRLittleEndian])
def test_other_transfer_syntaxes_give_the_same_voxels(tmp_path, syntax):
    def edit(dataset: Dataset, number: int) -> None:
        if syntax == RLELossless:
            dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = syntax

    np.testing.assert_array_equal(
        read_volume(write_series(tmp_path, edit=edit)).volume.voxels, stored_voxels(20) - 1024
    )


def test_a_file_without_preamble_is_read(tmp_path):
    files = write_series(tmp_path)
    for file in files:
        Path(file).write_bytes(Path(file).read_bytes()[132:])
    np.testing.assert_array_equal(read_volume(files).volume.voxels, stored_voxels(20) - 1024)


@pytest.mark.parametrize("num_lost", [10, 60, 300])
def test_a_truncated_file_fails_its_series(tmp_path, num_lost):
    files = write_series(tmp_path)
    Path(files[3]).write_bytes(Path(files[3]).read_bytes()[:-num_lost])
    assert code_of(files) in (Code.TRUNCATED, Code.UNREADABLE)


def test_a_truncated_codestream_is_refused_not_filled_in():
    start = b"\xff\x4f\xff\x51\x00\x29\x00\x00" + b"".join(n.to_bytes(4, "big") for n in (5, 6, 0, 0)) + bytes(20)
    assert elements.codestream(start)[:2] == (6, 5)
    assert elements.is_cut(start) and not elements.is_cut(start + b"\xff\xd9\x00")


def test_a_deflate_bomb_is_refused_unread(tmp_path):
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(1 + (MAX_INFLATED_BYTES >> 20))) + squeeze.flush()
    dataset = image(stored_voxels(1)[0], [0, 0, 0])
    path = Path(write(tmp_path / "bomb.dcm", dataset))
    small = path.read_bytes()
    end = 144 + int.from_bytes(small[140:144], "little")
    meta = small[:end].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    meta = meta.replace(b"UI\x14\x00" + b"1.2.840.10008.1.2.1.99", b"UI\x16\x00" + b"1.2.840.10008.1.2.1.99")
    path.write_bytes(meta[:140] + (end - 144 + 2).to_bytes(4, "little") + meta[144:] + bomb)
    assert read_header(str(path)).code is Code.TOO_LARGE


def test_deep_nesting_and_impossible_sizes_are_codes(tmp_path):
    nested = Dataset()
    for _ in range(150):
        outer = Dataset()
        outer.ReferencedSeriesSequence = [nested]
        nested = outer
    dataset = image(stored_voxels(1)[0], [0, 0, 0])
    dataset.ReferencedSeriesSequence = [nested]
    assert read_header(write(tmp_path / "deep.dcm", dataset)).code in (Code.OK, Code.UNREADABLE)
    dataset = image(stored_voxels(1)[0], [0, 0, 0])
    dataset.NumberOfFrames = 1_000_000_000
    assert read_header(write(tmp_path / "frames.dcm", dataset)).code is not Code.OK
    files = write_series(tmp_path / "large", edit=setting(Rows=65535, Columns=65535))
    assert code_of(files) is Code.TRUNCATED
    assert code_of(write_series(tmp_path / "limit"), max_voxels=599) is Code.TOO_LARGE


def test_files_that_are_not_dicom(tmp_path):
    for name, content, code in [
        ("a.txt", b"hello" * 99, Code.NOT_DICOM),
        ("empty", b"", Code.UNREADABLE),
        ("magic", bytes(128) + b"DICM", Code.UNREADABLE),
        ("tag", b"\x08\x00\x05\x00" + bytes(200), Code.NOT_DICOM),
    ]:
        (tmp_path / name).write_bytes(content)
        assert read_header(str(tmp_path / name)).code is code, name
    assert read_header(str(tmp_path)).code is Code.UNREADABLE
    (tmp_path / "circle").symlink_to("circle")
    assert read_header(str(tmp_path / "circle")).code is Code.UNREADABLE


def enhanced(num_frames: int) -> Dataset:
    """An enhanced MR image whose frames lie in descending order, with shared and per-frame functional groups."""
    dataset = image(stored_voxels(num_frames).reshape(-1, 5), [0, 0, 0], "MR")
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = EnhancedMRImageStorage
    dataset.Rows, dataset.NumberOfFrames = 6, num_frames
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(dataset, keyword)
    shared, plane, measures, timing = Dataset(), Dataset(), Dataset(), Dataset()
    plane.ImageOrientationPatient, measures.PixelSpacing, timing.RepetitionTime = AXIAL, [0.5, 0.25], 500
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [plane], [measures]
    shared.MRTimingAndRelatedParametersSequence = [timing]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = []
    for number in range(num_frames):
        frame, position, values, echo = Dataset(), Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, -3.0 * number]
        values.RescaleSlope, values.RescaleIntercept, echo.EffectiveEchoTime = 1 + number, 0, 12.0
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [position], [values]
        frame.MREchoSequence = [echo]
        dataset.PerFrameFunctionalGroupsSequence.append(frame)
    return dataset


@pytest.mark.parametrize("compressed", [False, True])
def test_enhanced_multi_frame(tmp_path, compressed):
    dataset = enhanced(20)
    if compressed:
        dataset.compress(RLELossless, generate_instance_uid=False)
    reading = read_volume([write(tmp_path / "one.dcm", dataset)])
    expected = (stored_voxels(20).astype(int) * np.arange(1, 21)[:, None, None])[::-1]
    np.testing.assert_array_equal(reading.volume.voxels, expected)
    assert (reading.header["RepetitionTime"], reading.header["EchoTime"]) == (500, 12.0)
    assert reading.volume.spacing_mm == (3.0, 0.5, 0.25)


def test_records_travel_between_processes(tmp_path):
    record = read_header(write_series(tmp_path)[0])
    assert pickle.loads(pickle.dumps(record)) == record


def test_an_unknown_syntax_has_its_own_code(tmp_path):
    def edit(dataset: Dataset, number: int) -> None:
        dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"  # MPEG2

    assert code_of(write_series(tmp_path, edit=edit)) is Code.UNSUPPORTED_SYNTAX
