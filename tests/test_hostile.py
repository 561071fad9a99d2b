"""Hostile files: each ends with a code, in bounded memory and time, and the process that read it lives."""

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.uid import ImplicitVRLittleEndian

from radnet.shards.dicom import read_header, read_volume
from radnet.shards.inventory import list_files
from radnet.shards.ledger import Code, SeriesError
from radnet.shards.privacy import PrivacyKey
from tests import hostile
from tests.measure import Outcome, measure
from tests.series import grouped, write_series

MB = 1 << 20
LIMIT_S = 20.0
ALLOWED_MB = 200  # beside twice the pixels
ANY = frozenset(code for code in Code if code is not Code.OK)
BROKEN = {Code.UNREADABLE, Code.TRUNCATED, Code.DECODE, Code.BAD_NUMBER, Code.NO_GEOMETRY, Code.TOO_LARGE}
Case = tuple[Callable[[Path], list[str]], set[Code] | frozenset[Code], int]
# name → how to make it, codes it may end with, bytes of pixels its headers honestly declare.
CASES: dict[str, Case] = {
    "deflate bomb": (hostile.deflate_bomb, {Code.TOO_LARGE, Code.UNREADABLE}, 0),
    "deflated, 150 MB of nothing": (lambda f: hostile.deflated(f, 150 * MB), {Code.OK, Code.TOO_LARGE}, 0),
    "JPEG 2000, 41,000 to 1, as declared": (lambda f: hostile.jpeg2000(f, 4096, 4096), {Code.OK}, 64 * MB),
    "JPEG 2000 larger than declared": (lambda f: hostile.jpeg2000(f, 8192, 64), {Code.DECODE}, 0),
    "JPEG 2000 smaller than declared": (lambda f: hostile.jpeg2000(f, 64, 8192), {Code.DECODE}, 0),
    "JPEG 2000 that only claims 65,535": (hostile.jpeg2000_claim, {Code.TOO_LARGE, Code.DECODE}, 0),
    "JPEG 2000 of 257 components": (lambda f: hostile.jpeg2000_head(f, 257, 15), {Code.DECODE}, 0),
    "JPEG 2000 of no components": (lambda f: hostile.jpeg2000_head(f, 0, 15), {Code.DECODE}, 0),
    "JPEG 2000 of 128 bits": (lambda f: hostile.jpeg2000_head(f, 1, 255), {Code.DECODE}, 0),
    "JPEG-LS, as declared": (lambda f: hostile.jpegls(f, 4096, 4096), {Code.OK}, 64 * MB),
    "JPEG-LS larger than declared": (lambda f: hostile.jpegls(f, 8192, 64), {Code.DECODE}, 0),
    "JPEG-LS of 255 bits": (hostile.jpegls_precision, {Code.DECODE}, 0),
    "RLE of 4 billion segments": (lambda f: hostile.rle(f, 0xFFFFFFFF, 64), BROKEN, 0),
    "RLE segments out of range": (lambda f: hostile.rle(f, 2, 64, 0xFFFFFFF0), BROKEN, 0),
    "RLE segments backwards": (lambda f: hostile.rle(f, 2, 0xFFFFFFFF, 0), BROKEN, 0),
    "RLE of no segments": (lambda f: hostile.rle(f, 0), BROKEN, 0),
    "RLE bomb": (hostile.rle_bomb, {*BROKEN, Code.OK}, 0),
    "100,000 frames in one fragment": (hostile.few_fragments, BROKEN, 0),
    "nested 200 deep": (lambda f: hostile.nested(f, 200, False), {*BROKEN, Code.OK}, 0),
    "nested 200 deep, no lengths": (lambda f: hostile.nested(f, 200, True), {*BROKEN, Code.OK}, 0),
    "nested 20,000 deep": (lambda f: hostile.nested(f, 20_000, False), {*BROKEN, Code.OK}, 0),
    "nested 20,000 deep, no lengths": (lambda f: hostile.nested(f, 20_000, True), BROKEN, 0),
    "nested, implicit": (lambda f: hostile.nested(f, 5_000, True, ImplicitVRLittleEndian), BROKEN, 0),
    "10⁹ frames": (lambda f: hostile.many_frames(f, 1_000_000_000), BROKEN, 0),
    "-1 frames": (lambda f: hostile.many_frames(f, -1), BROKEN, 0),
    "300,000 empty items, uncounted": (lambda f: hostile.many_items(f, 300_000, False), BROKEN, 0),
    "300,000 empty items": (lambda f: hostile.many_items(f, 300_000, True), BROKEN, 0),
    "65,535² rows and columns": (lambda f: hostile.odd_numbers(f, Rows=65535, Columns=65535), BROKEN, 0),
    "no rows": (lambda f: hostile.odd_numbers(f, Rows=0), BROKEN, 0),
    "bits allocated 0": (lambda f: hostile.odd_numbers(f, BitsAllocated=0), ANY, 0),
    "bits allocated 65535": (lambda f: hostile.odd_numbers(f, BitsAllocated=65535), ANY, 0),
    "bits allocated 64": (lambda f: hostile.odd_numbers(f, BitsAllocated=64), ANY, 0),
    "bits stored 40": (lambda f: hostile.odd_numbers(f, BitsStored=40, HighBit=65535), {Code.OK, *ANY}, 0),
    "no samples": (lambda f: hostile.odd_numbers(f, SamplesPerPixel=0), ANY, 0),
    "spacing nan": (lambda f: hostile.odd_numbers(f, PixelSpacing=b"nan\\nan "), {Code.BAD_NUMBER}, 0),
    "spacing inf": (lambda f: hostile.odd_numbers(f, PixelSpacing=b"inf\\1e9 "), {Code.BAD_NUMBER}, 0),
    "slope 1e300": (lambda f: hostile.odd_numbers(f, RescaleSlope=b"1e300 "), {Code.BAD_NUMBER}, 0),
    "position 1e400": (lambda f: hostile.odd_numbers(f, ImagePositionPatient=b"0\\0\\1e400"), {Code.BAD_NUMBER}, 0),
    "digits for a megabyte": (lambda f: hostile.odd_numbers(f, RescaleSlope=b"1" * 65534), BROKEN, 0),
    "flat orientation": (hostile.flat_orientation, {Code.NO_GEOMETRY}, 0),
    "element of 4 GB": (lambda f: hostile.long_element(f, b"OB", 0xFFFFFFFE), BROKEN, 0),
    "element of 2 GB, 5 MB there": (lambda f: hostile.long_element(f, b"UT", 1 << 31, 5 * MB), BROKEN, 0),
    "unknown element without length": (lambda f: hostile.long_element(f, b"UN", 0xFFFFFFFF), {*BROKEN, Code.OK}, 0),
    "sequence that never ends": (lambda f: hostile.long_element(f, b"SQ", 0xFFFFFFFF, 100), BROKEN, 0),
    "text of 100 MB": (lambda f: hostile.long_text(f, 100 * MB), {*BROKEN, Code.OK}, 0),
    "undefined lengths": (hostile.undefined_lengths, {*BROKEN, Code.MODALITY}, 0),
    "100 MB of CT": (lambda f: hostile.large(f, lambda number: 1), {Code.OK}, 100 * MB),
    "100 MB of CT, slope 0.5": (lambda f: hostile.large(f, lambda number: 0.5), {Code.OK}, 100 * MB),
    "100 MB, last slope 0.5": (lambda f: hostile.large(f, lambda n: 0.5 if n == 49 else 1), {Code.OK}, 100 * MB),
    "100 MB in one file": (lambda f: hostile.large(f, lambda number: 1, True), {Code.OK}, 100 * MB),
    "100 MB in one file, slope 0.5": (lambda f: hostile.large(f, lambda number: 0.5, True), {Code.OK}, 100 * MB),
    "5,000 empty files": (lambda f: hostile.empty_files(f, 5000), {Code.UNREADABLE}, 0),
}  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, Outcome]:
    folder = tmp_path_factory.mktemp("hostile")
    files = {name: make(folder / str(number)) for number, (name, (make, _, _)) in enumerate(CASES.items())}
    return measure(files, LIMIT_S, min_slices=2)


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_file_ends_with_a_code_in_bounded_memory(outcomes, name):
    _, codes, num_pixel_bytes = CASES[name]
    found = outcomes[name]
    assert found.code in set(codes), f"{found.code}: {found.detail}"
    assert "/" not in found.detail
    assert found.peak_bytes <= 2 * num_pixel_bytes + ALLOWED_MB * MB, f"{found.peak_bytes / MB:.0f} MB"


def test_every_truncation_of_a_header_ends_with_a_code(tmp_path):
    """Two slices, the second cut at every byte before its pixels."""
    first, second = write_series(tmp_path, 2)
    content = Path(second).read_bytes()
    assert read_volume([first, second], min_slices=2)
    for length in range(len(content) - 60):
        Path(second).write_bytes(content[:length])
        with pytest.raises(SeriesError):
            read_volume([first, second], min_slices=2)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        (tmp_path / "device").symlink_to("/dev/zero")
        (tmp_path / "tty").symlink_to("/dev/null")
        files = list_files(str(tmp_path))
        found = measure({file: [file] for file in files}, 5.0)
    assert len(found) == 4
    assert {(outcome.code, *outcome.codes) for outcome in found.values()} == {("unreadable", "unreadable")}


@pytest.mark.slow
def test_a_series_of_92_thousand_files_is_grouped_in_seconds(tmp_path):
    """The largest series of the IDC has 91,980 instances; here every record is its own place in a stack or in time."""
    record = read_header(write_series(tmp_path, 1)[0])
    (frame,) = record.frames

    def place(number: int, position_mm: float, time: int):
        split = (*frame.split[:2], str([time]), *frame.split[3:])
        frames = [frame._replace(position_mm=(0.0, 0.0, position_mm), split=split)]
        return replace(record, path=f"/{number:06d}", frames=frames)

    key = PrivacyKey(bytes(32), is_public=False)
    stack = [place(number, 0.5 * number, 1) for number in range(91_980)]
    times = [place(number, 2.0 * (number % 30), number // 30) for number in range(91_980)]
    for records in (stack, times):
        rows = grouped(records, key)
        assert sum(len(row.files) for row in rows[:1]) == 91_980
