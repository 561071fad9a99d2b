"""Pixels that pydicom's decoders leave to us: HTJ2K, and JPEG of 12 bits."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import HTJ2KLossless, HTJ2KLosslessRPCL, JPEGExtended12Bit

from radnet.shards.dicom import read_volume
from radnet.shards.ledger import Code
from tests.series import code_of, stored_voxels, write_series

imagecodecs = pytest.importorskip("imagecodecs")
SHAPE = (6, 5)


def _compress(syntax: str, encode):
    def edit(dataset: Dataset, number: int) -> None:
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([encode(dataset, number)])
        dataset["PixelData"].VR = "OB"

    return edit


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL])
@pytest.mark.parametrize("dtype", [np.int16, np.uint16])
def test_htj2k_is_read_exactly(tmp_path, syntax, dtype):
    offset = -300 if dtype is np.int16 else 0

    def encode(dataset: Dataset, number: int) -> bytes:
        dataset.PixelRepresentation = int(dtype is np.int16)
        return imagecodecs.htj2k_encode((stored_voxels(20)[number] + offset).astype(dtype))

    voxels = read_volume(write_series(tmp_path, edit=_compress(syntax, encode))).volume.voxels
    np.testing.assert_array_equal(voxels, stored_voxels(20) + offset - 1024)


def test_jpeg_of_12_bits_is_read_closely(tmp_path):
    def encode(dataset: Dataset, number: int) -> bytes:
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 0
        pixels = stored_voxels(20)[number].astype(np.uint16)
        return imagecodecs.jpeg8_encode(pixels, level=100, bitspersample=12)

    voxels = read_volume(write_series(tmp_path, edit=_compress(JPEGExtended12Bit, encode))).volume.voxels
    assert np.abs(voxels - (stored_voxels(20) - 1024)).max() <= 4


def test_a_codestream_of_another_depth_or_of_colour_never_reaches_a_decoder(tmp_path):
    def colour(dataset: Dataset, number: int) -> bytes:
        return imagecodecs.jpeg2k_encode(np.zeros((*SHAPE, 3), np.uint8), level=0)

    def too_deep(dataset: Dataset, number: int) -> bytes:
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit = 7
        return imagecodecs.htj2k_encode(stored_voxels(20)[number].astype(np.uint16))

    for name, encode in (("colour", colour), ("deep", too_deep)):
        assert code_of(write_series(tmp_path / name, edit=_compress(HTJ2KLossless, encode))) is Code.DECODE
