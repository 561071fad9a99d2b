"""The DICOM door on real archives, with SimpleITK and published NIfTI masks as oracles."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from radnet.shards.dicom import read_header, read_volume
from radnet.shards.ledger import Code, SeriesError
from tests.series import code_of


def _series_of(folder: Path) -> dict[str, list]:
    series: dict[str, list] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        record = read_header(str(path))
        series.setdefault(record.series_uid or record.path, []).append(record)
    return series


def test_every_real_file_ends_as_a_volume_or_a_code(real_data):
    """2,187 files, among them malformed ones: no exception but SeriesError, and these counts of series per code."""
    codes: dict[str, int] = {}
    for records in _series_of(real_data).values():
        try:
            reading = read_volume([record.path for record in records], min_slices=3)
            assert np.isfinite(reading.volume.voxels).all()
            code = Code.OK
        except SeriesError as error:
            code = error.code
        codes[code] = codes.get(code, 0) + 1
    assert codes[Code.OK] >= 30
    assert sum(codes.values()) >= 150


@pytest.mark.parametrize("case", ["STS_001", "STS_009"])
@pytest.mark.parametrize("name", ["CT", "MR_T1"])
def test_geometry_and_voxels_agree_with_other_readers(real_data, case, name):
    """The published NIfTI mask lies on the grid (nibabel: RAS, x,y,z), and SimpleITK reads the same values."""
    folder = real_data / "ibsi" / "ibsi_validation"
    files = sorted(map(str, (folder / "dicom" / case / name / "image").iterdir()))
    volume = read_volume(files).volume
    mask = nibabel.load(folder / "nifti" / case / f"{name}_mask.nii.gz")
    assert mask.shape == volume.voxels.shape[::-1]
    corner = volume.affine @ [3, 5, 7, 1]
    np.testing.assert_allclose(mask.affine @ [7, 5, 3, 1], corner * [-1, -1, 1, 1], atol=1e-2)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(Path(files[0]).parent)))
    np.testing.assert_allclose(SimpleITK.GetArrayFromImage(reader.Execute()), volume.voxels, rtol=1e-5, atol=1e-3)


def test_one_series_in_four_codecs_gives_the_same_voxels(real_data):
    folders = sorted((real_data / "dicom2nifti/tests/data/generic").glob("compressed_*/001"))
    volumes = [read_volume([str(file) for file in folder.iterdir()], min_slices=4).volume for folder in folders]
    assert len(volumes) >= 4
    assert all(np.array_equal(volume.voxels, volumes[0].voxels) for volume in volumes[1:])


def test_known_real_faults_get_their_codes(real_data):
    def files(pattern: str) -> list[str]:
        return sorted(str(path) for path in real_data.glob(pattern))

    assert code_of(files("dcm_qa_ct/In/GE/*")) is Code.UNEVEN_SPACING
    assert code_of(files("dcm_qa_ct/DICOMDIR")) is Code.NOT_AN_IMAGE
    assert code_of(files("dcm_qa_uih/In/DTI_132225/*134057/*")) is Code.TIME_SERIES
    assert code_of(files("dcm_qa_nih/In/20180918GE/mr_0004/*"), min_slices=2) is Code.TIME_SERIES
    tilted = read_volume(files("dcm_qa_ct/In/Philips/S21610/S3010/*"))
    tilt_deg = np.degrees(np.arccos(tilted.header["slice_spacing_mm"] / tilted.volume.spacing_mm[0]))
    assert tilt_deg == pytest.approx(16.5, abs=0.1)
