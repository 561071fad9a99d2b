"""JPEG lossless: exact in every form, and no damaged frame kills the process that reads it."""

import multiprocessing
import os
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.pixels import iter_pixels
from pydicom.uid import JPEGLossless, JPEGLosslessSV1

from radnet.shards.dicom import read_header
from radnet.shards.ledger import Code, SeriesError
from radnet.shards.pixels import decode
from tests.jpeg_lossless import encode
from tests.mutate import Mutation, mutated
from tests.series import image, write

BYTEWISE = ("flip", "put", "insert", "remove", "cut", "zero")


def write_one(path: Path, frame: bytes, stored: np.ndarray, bits: int, syntax: str = JPEGLossless) -> str:
    """A file of one compressed frame of `stored` [H,W], whose dtype says how many bits are allocated, and the sign."""
    dataset = image(stored, [0, 0, 0], "MR")
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = stored.dtype.itemsize * 8, bits, bits - 1
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    return write(path, dataset)


def pixels_of(path: str) -> np.ndarray:
    return next(decode(read_header(path), [0]))


def patterns(bits: int, seed: int) -> list[np.ndarray]:
    """Smooth, noisy and extreme pixels of `bits` bits, in odd shapes."""
    rng, high = np.random.default_rng(seed), 1 << bits
    smooth = np.clip(high // 2 + rng.integers(-2, 3, (7, 9)).cumsum(1), 0, high - 1)
    return [smooth, rng.integers(0, high, (5, 11)), rng.integers(0, 2, (9, 4)) * (high - 1)]


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("bits", [2, 8, 10, 12, 16])
def test_every_predictor_and_depth_is_exact(tmp_path, bits, predictor):
    for rows, shift in ((0, 0), (2, 0), (0, 1), (3, 1)):
        for number, pixels in enumerate(patterns(bits, predictor)):
            stored = ((pixels >> shift) << shift).astype(np.uint8 if bits <= 8 else np.uint16)
            if shift and bits == 2:
                continue
            frame = encode(pixels, bits, predictor, rows_between_restarts=rows, point_transform=shift)
            path = write_one(tmp_path / f"{rows}{shift}{number}.dcm", frame, stored, bits)
            np.testing.assert_array_equal(pixels_of(path), stored)
            if bits in (8, 12, 16):  # GDCM dies of 2
                np.testing.assert_array_equal(next(iter_pixels(path, raw=True)), stored)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_signed_pixels_are_those_of_pydicom(tmp_path, bits):
    for number, pixels in enumerate(patterns(bits, bits)):
        signed = (pixels - (1 << (bits - 1))).astype(np.int8 if bits == 8 else np.int16)
        coded = signed.view(f"u{signed.itemsize}") & ((1 << bits) - 1)
        path = write_one(tmp_path / f"{number}.dcm", encode(coded, bits), signed, bits, JPEGLosslessSV1)
        found, expected = pixels_of(path), next(iter_pixels(path, raw=True, correct_unused_bits=False))
        assert found.dtype == expected.dtype == signed.dtype
        unused = 8 * signed.itemsize - bits
        for stored in (found, expected):
            np.testing.assert_array_equal((stored << unused) >> unused, signed)


def test_a_frame_with_damaged_codes_is_refused_and_not_filled(tmp_path):
    """libjpeg alone would return pixels for each of these and say nothing."""
    (pixels, _, _), codes = patterns(12, 0), set()
    stored = pixels.astype(np.uint16)
    whole = encode(pixels, 12)
    start = whole.index(b"\xff\xda") + 10
    for at in range(start + 4, len(whole) - 20, 7):
        damaged = whole[:at] + b"\xff\xd9"
        with pytest.raises(SeriesError) as caught:
            pixels_of(write_one(tmp_path / "a.dcm", damaged, stored, 12))
        codes.add(caught.value.code)
    assert codes <= {Code.DECODE, Code.TRUNCATED}


def _read_mutated(frames: list[tuple[bytes, np.ndarray, int]], path: Path, count: int, sender) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    rng, seen = random.Random(0), Counter()
    for _ in range(count):
        frame, stored, bits = rng.choice(frames)
        damage = [
            Mutation(rng.choice(BYTEWISE), 2 * rng.getrandbits(30), rng.getrandbits(32), rng.randbytes(4))
            for _ in range(rng.choice((1, 1, 2, 4)))
        ]
        damaged = mutated(frame, damage)
        if rng.random() < 0.3:  # mostly in what the decoders act on
            head = bytearray(frame)
            head[rng.randrange(2, 80)] = rng.randrange(256)
            damaged = bytes(head)
        try:
            pixels_of(write_one(path, damaged, stored, bits))
            seen["ok"] += 1
        except SeriesError as error:
            seen[str(error.code)] += 1
        except Exception as error:  # counted as what it is; decode is called without its guard
            seen[f"{type(error).__module__}"] += 1
    sender.send(seen)


def test_no_damaged_frame_kills_its_process(tmp_path):
    """2,500 frames in a child. GDCM, which pydicom would take, aborts at about one in a hundred of these."""
    frames = []
    for bits, predictor, rows in ((8, 1, 0), (12, 4, 2), (16, 7, 0), (12, 1, 0)):
        for pixels in patterns(bits, predictor):
            stored = pixels.astype(np.uint8 if bits <= 8 else np.uint16)
            frames.append((encode(pixels, bits, predictor, rows_between_restarts=rows), stored, bits))
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe()
    child = context.Process(target=_read_mutated, args=(frames, tmp_path / "a.dcm", 2500, sender))
    child.start()
    child.join(120)
    assert child.exitcode == 0
    seen = receiver.recv()
    assert seen.total() == 2500 and seen["ok"] > 100 and seen["decode"] > 100, seen


def test_a_lossless_frame_of_another_size_or_of_none_never_reaches_a_decoder(tmp_path):
    pixels = patterns(12, 0)[0].astype(np.uint16)
    with pytest.raises(SeriesError, match="decode: codestream of 7 by 9"):
        pixels_of(write_one(tmp_path / "a.dcm", encode(pixels, 12), np.zeros((7, 8), np.uint16), 12))
    with pytest.raises(SeriesError, match="declares no image"):
        pixels_of(write_one(tmp_path / "b.dcm", b"\xff\xd8\xff\xd9" + bytes(20), pixels, 12))
