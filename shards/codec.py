"""Voxels ↔ bytes, without loss: npy (uncompressed) and HTJ2K (ISO 15444-15, which DALI decodes natively)."""

import io

import numpy as np

from radnet.shards.ledger import Code, SeriesError
from radnet.volume import Volume

SUFFIX = {"npy": "vol.npy", "htj2k": "vol.jhc"}  # codec → suffix of the member
LEVELS = 65536  # values an int16 can hold


def encode(voxels: np.ndarray, codec: str) -> bytes:
    """Encode int16 [D,H,W] voxels; `decode` returns them bit for bit.

    codec: "npy", or "htj2k": one [D·H,W] uint16 image of voxel + 32768. That is made in place, where the voxels may be
    written to, and undone: nobody else may look at them meanwhile.
    """
    if voxels.dtype != np.int16 or voxels.ndim != 3:
        raise ValueError(f"voxels are {voxels.dtype} {voxels.shape}, expected int16 [D,H,W]")
    if codec == "npy":
        return npy(voxels)
    if codec != "htj2k":
        raise ValueError(f"codec {codec!r}, expected one of {', '.join(SUFFIX)}")
    import imagecodecs

    depth, height, width = voxels.shape
    image = np.require(voxels, requirements=["C", "W"]).reshape(depth * height, width).view(np.uint16)
    image ^= np.uint16(0x8000)
    try:
        return bytes(imagecodecs.htj2k_encode(image, reversible=True))
    finally:
        image ^= np.uint16(0x8000)


def decode(content: bytes, shape: tuple[int, int, int], codec: str) -> np.ndarray:
    """Decode bytes of `encode` to int16 [D,H,W]; raises ValueError when they do not hold a volume of that shape."""
    if codec == "npy":
        voxels = np.load(io.BytesIO(content), allow_pickle=False)
    elif codec == "htj2k":
        import imagecodecs

        try:
            image = imagecodecs.htj2k_decode(content)
        except RuntimeError as error:  # imagecodecs' own errors
            raise ValueError(f"not an HTJ2K codestream: {error}") from None
        if image.dtype != np.uint16 or image.size != np.prod(shape):
            raise ValueError(f"the image is {image.dtype} {image.shape}, expected uint16 of {shape} voxels")
        voxels = (image ^ np.uint16(0x8000)).view(np.int16).reshape(shape)
    else:
        raise ValueError(f"codec {codec!r}, expected one of {', '.join(SUFFIX)}")
    if voxels.dtype != np.int16 or voxels.shape != tuple(shape):
        raise ValueError(f"voxels are {voxels.dtype} {voxels.shape}, expected int16 {tuple(shape)}")
    return voxels


def npy(array: np.ndarray) -> bytes:
    """An array as a .npy file, without pickle."""
    return b"".join(npy_parts(array))


def npy_parts(array: np.ndarray) -> tuple[bytes, memoryview]:
    """The header of `npy`, and the array's own memory, which follows it; a copy where that is not in C order."""
    header = io.BytesIO()
    contiguous = np.ascontiguousarray(array)
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(contiguous))
    return header.getvalue(), memoryview(contiguous.reshape(-1).view(np.uint8))


def quantise(volume: Volume) -> tuple[np.ndarray, float, float]:
    """Store a volume as int16: (stored [D,H,W], scale, offset) with real value = stored · scale + offset.

    int16 voxels stay as they are (1, 0). float32 whole numbers that span at most 65,535 are stored exactly, scale 1;
    the rest with a rounding error of at most scale / 2. Raises SeriesError(BAD_NUMBER) for voxels that are not finite.
    """
    if volume.voxels.dtype == np.int16:
        return volume.voxels, 1.0, 0.0
    low, high = float(volume.voxels.min()), float(volume.voxels.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise SeriesError(Code.BAD_NUMBER, "voxels that are not finite numbers")
    scale, offset = (high - low) / (LEVELS - 1), (high + low + (high - low) / (LEVELS - 1)) / 2
    if high - low <= LEVELS - 1 and all(np.array_equal(plane, np.rint(plane)) for plane in volume.voxels):
        fits = low >= -LEVELS // 2 and high < LEVELS // 2
        scale, offset = 1.0, 0.0 if fits else low + LEVELS // 2
    elif scale == 0:
        scale, offset = 1.0, low
    stored = np.empty(volume.voxels.shape, np.int16)
    for plane, out in zip(
        volume.voxels, stored, strict=True
    ):  # plane by plane: float64 of a whole volume is four times its size
        out[:] = np.clip(np.rint((plane.astype(np.float64) - offset) / scale), -LEVELS // 2, LEVELS // 2 - 1)
    return stored, scale, offset


def percentiles(stored: np.ndarray, points: tuple[float, ...] = (0, 0.5, 99.5, 100)) -> np.ndarray:
    """Exact percentiles of int16 [D,H,W], linear between ranks as np.percentile; float64."""
    import pyarrow
    import pyarrow.compute

    memory = pyarrow.py_buffer(stored.ravel(order="K"))
    values = pyarrow.Array.from_buffers(pyarrow.int16(), stored.size, [None, memory])
    last = stored.size - 1
    ranks = np.asarray(points) / 100 * last
    wanted = np.concatenate([np.floor(ranks), np.ceil(ranks)])
    # Arrow is asked for half a rank more, of which "lower" takes the wanted one, however the fraction was rounded.
    fractions = np.minimum((wanted + 0.5) / max(last, 1), 1)
    found = pyarrow.compute.quantile(values, q=fractions.tolist(), interpolation="lower").to_pylist()
    # Counted from the smallest int16, so that fractions of a value are rounded as in the shards of before.
    below, above = np.array(found, np.float64).reshape(2, -1) + LEVELS // 2
    return below + (above - below) * (ranks - np.floor(ranks)) - LEVELS // 2
