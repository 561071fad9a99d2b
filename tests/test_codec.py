"""Codecs: bit-exact round trips, quantisation within half a step, percentiles as NumPy's."""

import numpy as np
import pytest

from radnet.shards.codec import SUFFIX, decode, encode, npy, percentiles, quantise
from radnet.shards.ledger import Code, SeriesError
from radnet.volume import Volume

SHAPES = [(1, 1, 1), (1, 7, 5), (3, 1, 9), (9, 4, 1), (17, 33, 31), (5, 64, 64)]


def _volume(voxels: np.ndarray) -> Volume:
    return Volume(voxels, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))


@pytest.mark.parametrize("codec", SUFFIX)
def test_every_int16_value_survives(codec):
    voxels = np.arange(-32768, 32768, dtype=np.int32).astype(np.int16).reshape(16, 64, 64)
    np.testing.assert_array_equal(decode(encode(voxels, codec), voxels.shape, codec), voxels)


@pytest.mark.parametrize("codec", SUFFIX)
@pytest.mark.parametrize("shape", SHAPES)
def test_odd_shapes_survive(codec, shape):
    voxels = np.random.default_rng(1).integers(-32768, 32768, shape).astype(np.int16)
    np.testing.assert_array_equal(decode(encode(voxels, codec), shape, codec), voxels)


@pytest.mark.parametrize("codec", SUFFIX)
def test_arrays_that_are_not_contiguous_survive(codec):
    voxels = np.random.default_rng(2).integers(-100, 100, (6, 8, 10)).astype(np.int16)[::2, ::-1, 1::3]
    np.testing.assert_array_equal(decode(encode(voxels, codec), voxels.shape, codec), voxels)


@pytest.mark.parametrize("codec", SUFFIX)
def test_other_dtypes_shapes_and_contents_are_refused(codec):
    voxels = np.zeros((2, 3, 4), np.int16)
    with pytest.raises(ValueError, match="int16"):
        encode(voxels.astype(np.float32), codec)
    with pytest.raises(ValueError):
        decode(encode(voxels, codec), (2, 4, 4), codec)
    with pytest.raises(ValueError):
        decode(b"not an image", (2, 3, 4), codec)


def test_a_pickle_is_refused():
    content = np.lib.format.magic(1, 0) + npy(np.zeros(3))[8:].replace(b"'<f8'", b"'|O8'")
    with pytest.raises(ValueError):
        decode(content, (3, 1, 1), "npy")


def test_npy_is_what_numpy_writes(tmp_path):
    array = np.arange(24, dtype=np.float64)
    np.save(tmp_path / "a.npy", array)
    assert (tmp_path / "a.npy").read_bytes() == npy(array)


def test_unknown_codecs_are_refused():
    with pytest.raises(ValueError, match="npy, htj2k"):
        encode(np.zeros((1, 1, 1), np.int16), "gzip")
    with pytest.raises(ValueError, match="npy, htj2k"):
        decode(b"", (1, 1, 1), "gzip")


def test_int16_is_stored_as_it_is():
    voxels = np.array([[[-32768, 32767]]], np.int16)
    stored, scale, offset = quantise(_volume(voxels))
    assert stored is voxels and (scale, offset) == (1.0, 0.0)


@pytest.mark.parametrize("low, high", [(-1e-3, 1e-3), (0, 1), (-1e6, 3.3e7), (0.1, 0.1)])
def test_float_voxels_are_stored_within_half_a_step(low, high):
    voxels = np.random.default_rng(3).uniform(low, high, (4, 9, 7)).astype(np.float32)
    stored, scale, offset = quantise(_volume(voxels))
    error = np.abs(stored.astype(np.float64) * scale + offset - voxels)
    assert stored.dtype == np.int16 and error.max() <= scale / 2 * (1 + 1e-9)


@pytest.mark.parametrize("low", [-32768, 0, 100_000])
def test_whole_numbers_are_stored_exactly(low):
    voxels = (low + np.array([0, 1, 40_000, 65_535], np.float32)).reshape(1, 2, 2)
    stored, scale, offset = quantise(_volume(voxels))
    assert scale == 1
    np.testing.assert_array_equal(stored * scale + offset, voxels)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_finite_are_refused(bad):
    voxels = np.zeros((2, 2, 2), np.float32)
    voxels[1, 0, 1] = bad
    with pytest.raises(SeriesError) as caught:
        quantise(_volume(voxels))
    assert caught.value.code == Code.BAD_NUMBER


@pytest.mark.parametrize("shape", [*SHAPES, (41, 40, 40)])  # Arrow counts from 65,536 values on, and sorts fewer
@pytest.mark.parametrize("points", [(0, 0.5, 99.5, 100), (1 / 3, 50, 97.1)])
def test_percentiles_equal_numpys(shape, points):
    stored = np.random.default_rng(4).integers(-32768, 32768, shape).astype(np.int16)
    for turned in (stored, stored[::-1, :, ::2], stored.transpose(2, 0, 1), np.minimum(stored, -9)):
        np.testing.assert_allclose(percentiles(turned, points), np.percentile(turned, points), atol=1e-6)


def test_percentiles_take_the_very_rank():
    stored = np.arange(-32768, 32768).astype(np.int16).reshape(16, 64, 64)
    points = tuple(np.arange(0, 65536, 5) / 65535 * 100)
    np.testing.assert_allclose(percentiles(stored, points), np.arange(-32768, 32768, 5), atol=1e-6)
