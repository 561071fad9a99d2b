"""The header of a DICOM file, element by element, in plain Python: quick, and nothing in it can crash.

It knows the little endian encodings. At anything out of the ordinary it raises Unusual, and pydicom has the word.
"""

import struct
from collections.abc import Container, Hashable
from functools import lru_cache
from typing import NamedTuple

from radnet.shards.elements import BIG_ENDIAN, DEFLATED, IMPLICIT, numbers, text
from radnet.shards.ledger import Code, SeriesError

_PREAMBLE = 132
_UNDEFINED = 0xFFFFFFFF
_MAX_DEPTH = 16
_MAX_ELEMENTS = 1 << 18  # side by side
_MAX_ITEMS = 1 << 16  # frames of a multi-frame file, for one
_MAX_FINGERPRINT_BYTES = 16 << 10
_MAX_VALUE_BYTES = 64 << 10  # of an element that is no sequence; the labels need a hundred
# Bytes before the value, by value representation, in the explicit encodings.
_HEAD = dict.fromkeys(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split(), 8)
_HEAD |= dict.fromkeys(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split(), 12)
_explicit_head = struct.Struct("<HH2sH").unpack_from
_pair = struct.Struct("<II").unpack_from
_long = struct.Struct("<I").unpack_from
_ITEM, _SEQUENCE_END = 0xE000FFFE, 0xE0DDFFFE  # as little endian numbers: element, then group
_PIXELS = (0x7FE00001, 0x7FE00002, 0x7FE00008, 0x7FE00009, 0x7FE00010)  # offset tables, pixels
_ITEM_BYTES = b"\xfe\xff\x00\xe0"
_CLASS, _SYNTAX = 0x00020002, 0x00020010


class Unusual(Exception):
    """Something that a well-formed file does not hold."""


class Incomplete(Exception):
    """The elements reach beyond the bytes at hand."""


class DataSet:
    """Some elements of a data set or of a sequence's item, raw.

    elements: tag → (value representation, b"" where the encoding names none; bytes). The bytes of a sequence are parsed
    when it is asked for.
    """

    def __init__(self, elements: dict[int, tuple[bytes, bytes]], is_implicit: bool, depth: int = 0) -> None:
        self.elements, self._is_implicit, self._depth = elements, is_implicit, depth

    def text(self, tag: int) -> str:
        """The text of an element, backslash between values; "" where it is absent."""
        found = self.elements.get(tag)
        return "" if found is None else _text(found[1])

    def numbers(self, tag: int, vr: str) -> list[float | int]:
        """The numbers of an element, at most 16; [] where it is absent, [nan] where one cannot be read.

        vr: the value representation of the standard, for where the file names none.
        """
        found = self.elements.get(tag)
        if found is None:
            return []
        named = found[0].decode("latin-1")
        return list(_numbers(found[1], vr if named in ("", "UN") else named))

    def items(self, tag: int) -> list["DataSet"]:
        """The items of a sequence; [] where it is absent. Raises Unusual where its bytes make no sequence."""
        found = self.elements.get(tag)
        if found is None:
            return []
        if found[0] not in (b"", b"SQ") or self._depth >= _MAX_DEPTH:
            raise Unusual
        try:
            return _items(found[1], self._is_implicit, self._depth + 1)
        except Incomplete:
            raise Unusual from None

    def fingerprint(self, apart: int) -> Hashable | None:
        """Equal for data sets of equal elements, whatever the element `apart` is; None where it would be large."""
        if sum(len(value) for _, value in self.elements.values()) > _MAX_FINGERPRINT_BYTES:
            return None
        return self._is_implicit, tuple(one for one in self.elements.items() if one[0] != apart)


class Header(NamedTuple):
    """What `read` found. pixel_offset: where the pixel element starts, or the end of the file."""

    transfer_syntax: str
    sop_class: str
    data: DataSet
    pixel_offset: int


# Neighbouring slices share almost every value.
_text = lru_cache(4096)(text)


@lru_cache(4096)
def _numbers(value: bytes, vr: str) -> tuple[float | int, ...]:
    return tuple(numbers(value, vr, True))


def read(buffer: bytes, is_whole: bool, wanted: Container[int]) -> Header:
    """The wanted elements of the file that starts with `buffer`, up to its pixels.

    is_whole: the buffer holds the whole file. Raises Incomplete where more bytes are needed, Unusual where this is no
    little endian file in the usual form.
    """
    try:
        meta: dict[int, tuple[bytes, bytes]] = {}
        start = _walk_explicit(buffer, _PREAMBLE, None, (_CLASS, _SYNTAX), meta, 0, 0x0002)
        syntax, sop_class = (_text(meta[tag][1]) if tag in meta else "" for tag in (_SYNTAX, _CLASS))
        if syntax in ("", BIG_ENDIAN, DEFLATED):
            raise Unusual
        is_implicit = syntax == IMPLICIT
        # Writers name the wrong encoding; then a value representation stands where the length should be, or none does.
        if is_implicit and buffer[start + 4 : start + 6].isupper():
            raise Unusual
        found: dict[int, tuple[bytes, bytes]] = {}
        walk = _walk_implicit if is_implicit else _walk_explicit
        stop = len(buffer) if is_whole else None
        offset = walk(buffer, start, stop, wanted, found, 0)
    except struct.error:
        offset = -1
    if offset < 0 or offset > len(buffer):
        raise Unusual if is_whole else Incomplete
    return Header(syntax, sop_class, DataSet(found, is_implicit), offset)


def _walk_explicit(
    buffer: bytes,
    at: int,
    stop: int | None,
    wanted: Container[int],
    found: dict[int, tuple[bytes, bytes]],
    depth: int,
    only_group: int | None = None,
) -> int:
    """Collect elements up to `stop`, to the end of an item of undefined length, or to the pixels; returns where."""
    for _ in range(_MAX_ELEMENTS):
        if at == stop:
            return at
        group, element, vr, length = _explicit_head(buffer, at)
        tag = group << 16 | element
        if only_group is not None and group != only_group or tag in _PIXELS and not depth:
            return at
        if group == 0xFFFE:
            return _end_of_item(tag, stop, at)
        head = _HEAD.get(vr)
        if head is None:
            raise Unusual
        start = at + head
        if head == 12:
            (length,) = _long(buffer, at + 8)
            if length == _UNDEFINED:
                if vr != b"SQ":
                    raise Unusual
                end = _skip_items(buffer, start, False, depth + 1)
                if tag in wanted:
                    found[tag] = vr, buffer[start:end]
                at = end
                continue
        at = start + length
        if tag in wanted:
            if at > len(buffer):
                raise Incomplete
            found[tag] = vr, buffer[start : at if vr == b"SQ" else min(at, start + _MAX_VALUE_BYTES)]
        if stop is not None and at > stop:
            raise Unusual
    raise SeriesError(Code.TOO_LARGE, f"more than {_MAX_ELEMENTS} elements")


def _walk_implicit(
    buffer: bytes,
    at: int,
    stop: int | None,
    wanted: Container[int],
    found: dict[int, tuple[bytes, bytes]],
    depth: int,
) -> int:
    """`_walk_explicit` where no value representation is written."""
    for _ in range(_MAX_ELEMENTS):
        if at == stop:
            return at
        swapped, length = _pair(buffer, at)
        tag = (swapped & 0xFFFF) << 16 | swapped >> 16
        if tag in _PIXELS and not depth:
            return at
        if tag >> 16 == 0xFFFE:
            return _end_of_item(tag, stop, at)
        start = at + 8
        if length == _UNDEFINED:
            at = _skip_items(buffer, start, True, depth + 1)
        else:
            at = start + length
        if tag in wanted:
            if at > len(buffer):
                raise Incomplete
            is_sequence = length == _UNDEFINED or buffer[start : start + 4] == _ITEM_BYTES
            found[tag] = b"", buffer[start : at if is_sequence else min(at, start + _MAX_VALUE_BYTES)]
        if stop is not None and at > stop:
            raise Unusual
    raise SeriesError(Code.TOO_LARGE, f"more than {_MAX_ELEMENTS} elements")


def _end_of_item(tag: int, stop: int | None, at: int) -> int:
    if stop is not None or tag != 0xFFFEE00D:
        raise Unusual
    return at


def _skip_items(buffer: bytes, at: int, is_implicit: bool, depth: int) -> int:
    """Where the value of a sequence of undefined length, which starts at `at`, ends, its delimiter included."""
    if depth > _MAX_DEPTH:
        raise Unusual
    walk = _walk_implicit if is_implicit else _walk_explicit
    while True:
        tag, length = _pair(buffer, at)
        at += 8
        if tag == _SEQUENCE_END:
            return at
        if tag != _ITEM:
            raise Unusual
        at = at + length if length != _UNDEFINED else walk(buffer, at, None, (), {}, depth) + 8


class _All:
    """Holds every tag."""

    def __contains__(self, tag: object) -> bool:
        return True


def _items(buffer: bytes, is_implicit: bool, depth: int) -> list[DataSet]:
    """The items in the value of a sequence."""
    walk = _walk_implicit if is_implicit else _walk_explicit
    found, at = [], 0
    try:
        while at < len(buffer):
            tag, length = _pair(buffer, at)
            at += 8
            if tag == _SEQUENCE_END:
                break
            if tag != _ITEM or length != _UNDEFINED and at + length > len(buffer):
                raise Unusual
            elements: dict[int, tuple[bytes, bytes]] = {}
            if length == _UNDEFINED:
                at = walk(buffer, at, None, _All(), elements, depth) + 8
            else:
                at = walk(buffer, at, at + length, _All(), elements, depth)
            found.append(DataSet(elements, is_implicit, depth))
            if len(found) > _MAX_ITEMS:
                raise SeriesError(Code.TOO_LARGE, f"a sequence of more than {_MAX_ITEMS} items")
    except struct.error:
        raise Unusual from None
    return found
