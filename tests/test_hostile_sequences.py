"""Millions of items and elements, in every reader's path: each ends with a code, in bounded memory and time."""

import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, RLELossless

from radnet.shards.ledger import Code
from tests import hostile_sequences as hostile
from tests.hostile_sequences import DEFLATED
from tests.measure import Outcome, measure

MB = 1 << 20
LIMIT_S = 40.0  # of which one reading is a third at most on a busy machine
ALLOWED_MB = 200
BIG, LITTLE = ExplicitVRBigEndian, ExplicitVRLittleEndian
Case = tuple[Callable[[Path], list[str]], Code]
CASES: dict[str, Case] = {
    "2 million private items, big endian": (lambda f: hostile.private_items(f, 2_000_000, BIG), Code.TOO_LARGE),
    "the same, of known length": (lambda f: hostile.private_items(f, 2_000_000, BIG, True), Code.OK),
    "5 million private items, deflated": (lambda f: hostile.private_items(f, 5_000_000, DEFLATED), Code.TOO_LARGE),
    "a million private items before compressed pixels": (
        lambda f: hostile.private_items(f, 1_000_000, RLELossless),
        Code.OK,
    ),
    "60,000 frames, big endian": (lambda f: hostile.frame_items(f, 60_000, BIG), Code.TOO_LARGE),
    "2 million frames, big endian": (lambda f: hostile.frame_items(f, 2_000_000, BIG), Code.TOO_LARGE),
    "a million items in items, big endian": (lambda f: hostile.nested_items(f, 200, 5000, BIG), Code.TOO_LARGE),
    "a million items in items": (lambda f: hostile.nested_items(f, 200, 5000), Code.NO_GEOMETRY),
    "60,000 items that 20,000 frames share": (lambda f: hostile.shared_items(f, 20_000, 60_000), Code.NO_GEOMETRY),
    "the same, big endian": (lambda f: hostile.shared_items(f, 20_000, 60_000, BIG), Code.TOO_LARGE),
    "5 million elements": (lambda f: hostile.elements(f, 5_000_000, LITTLE), Code.TOO_LARGE),
    "5 million elements, big endian": (lambda f: hostile.elements(f, 5_000_000, BIG), Code.TOO_LARGE),
    "7 million elements, deflated": (lambda f: hostile.elements(f, 7_000_000, DEFLATED), Code.TOO_LARGE),
}


QUICK = [
    name for name in CASES if not name.startswith(("5 million", "7 million", "2 million frames", "a million private"))
]
SLOW = [name for name in CASES if name not in QUICK]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, request) -> dict[str, Outcome]:
    """Of the quick cases or of the slow ones, whichever the test is of."""
    folder = tmp_path_factory.mktemp("hostile")
    files = {name: CASES[name][0](folder / str(number)) for number, name in enumerate(request.param)}
    return measure(files, LIMIT_S, min_slices=2)


def _check(outcomes: dict[str, Outcome], name: str) -> None:
    found = outcomes[name]
    assert found.code == CASES[name][1], f"{found.code}: {found.detail}"
    assert found.peak_bytes <= ALLOWED_MB * MB, f"{found.peak_bytes / MB:.0f} MB"


@pytest.mark.parametrize("outcomes", [QUICK], indirect=True, ids=["quick"])
@pytest.mark.parametrize("name", QUICK)
def test_more_items_than_a_header_has_end_with_a_code(outcomes, name):
    _check(outcomes, name)


@pytest.mark.slow
@pytest.mark.parametrize("outcomes", [SLOW], indirect=True, ids=["slow"])
@pytest.mark.parametrize("name", SLOW)
def test_many_more_items_than_a_header_has_end_with_a_code(outcomes, name):
    _check(outcomes, name)


def test_a_deflated_file_whose_syntax_stands_far_behind_is_not_inflated(tmp_path):
    """64 KB of private information before the transfer syntax; what follows would inflate to 200 MB."""
    file = Path(hostile.elements(tmp_path, 1, DEFLATED)[0])
    content = file.read_bytes()
    at = 144 + int.from_bytes(content[140:144], "little")
    filler = hostile.element(0x00020001, b"OB", bytes(60_000), "<")
    meta = filler + content[144:at]
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = squeeze.compress(bytes(200 * MB)) + squeeze.flush()
    file.write_bytes(content[:140] + len(meta).to_bytes(4, "little") + meta + body)
    found = measure({"one": [str(file)]}, LIMIT_S, min_slices=2)["one"]
    assert found.code == Code.UNREADABLE and "deflated" in found.detail
    assert found.peak_bytes <= ALLOWED_MB * MB
