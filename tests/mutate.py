"""Damage to DICOM files, byte by byte and element by element; a mutation is plain data, which a tool can shrink."""

import random
import struct
from collections.abc import Iterable
from typing import NamedTuple

_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
VRS = sorted(
    _LONG | {b"CS", b"DS", b"FD", b"FL", b"IS", b"LO", b"PN", b"SH", b"SS", b"UI", b"UL", b"US", b"AT", b"XX", b"\0\0"}
)
LENGTHS = (0, 1, 2, 7, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
# Tags that a reader acts on: syntax, class, geometry, shape, rescale, functional groups, pixels, delimiters.
TAGS = [
    *[0x00020010, 0x00080008, 0x00080016, 0x00080060, 0x0020000D, 0x0020000E, 0x00200032, 0x00200037, 0x00280002],
    *[0x00280004, 0x00280008, 0x00280010, 0x00280011, 0x00280030, 0x00280100, 0x00280101, 0x00280102, 0x00280103],
    *[0x00280120, 0x00281052, 0x00281053, 0x52009229, 0x52009230, 0x00209113, 0x00209116, 0x7FE00010, 0x7FE00008],
    *[0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0x0019100C, 0x00180081, 0x00189087],
]
TEXTS = [
    *[b"", b"1", b"-1", b"nan", b"inf", b"-inf", b"1e400", b"1e300", b"0,7", b"0x10", b"1_000", b"\xd9\xa3", b"\\" * 7],
    *[b"99999999999999999999", b"1\\2", b"1\\2\\3\\4\\5\\6\\7", b"\\".join([b"1"] * 40), b"\0" * 9, b"\xff\xfe\0\x80"],
    *[b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.4.90"],
    *[b"1.2.840.10008.1.2.5", b"1.2.840.10008.1.2.1.99", b"MR", b"CT", b"MONOCHROME1", b"\x1b$B", b"0" * 70000],
]


class Element(NamedTuple):
    """Where an element of a file lies. vr: b"" in implicit encoding. size: bytes of its length field."""

    start: int
    vr: bytes
    length_at: int
    size: int
    value: int
    length: int


class Mutation(NamedTuple):
    """kind: one of KINDS. at: which byte or element, modulo how many there are; odd: a byte near the start of an
    element, 3 modulo 4: of one of the last, which are pixels and frames. number, data: what with."""

    kind: str
    at: int
    number: int
    data: bytes


KINDS = "flip put insert remove cut length swap vr tag value repeat drop move zero".split()


def random_mutations(rng: random.Random) -> list[Mutation]:
    """One to six mutations."""
    kinds = rng.choices(KINDS, k=rng.choice((1, 1, 2, 3, 6)))
    return [
        Mutation(kind, rng.getrandbits(31), rng.getrandbits(32), rng.randbytes(rng.randrange(1, 9))) for kind in kinds
    ]


def mutated(content: bytes, mutations: Iterable[Mutation]) -> bytes:
    """`content` after every mutation in turn. Elements are looked for anew each time, as far as they still parse."""
    changed = bytearray(content)
    for mutation in mutations:
        if changed:
            _apply(changed, mutation)
    return bytes(changed)


def elements_of(content: bytes | bytearray) -> list[Element]:
    """The elements of a file, those inside sequences and encapsulated frames included, as far as it parses."""
    has_preamble = content[128:132] == b"DICM"
    at, found, is_meta = (132 if has_preamble else 0), [], has_preamble
    is_explicit = content[at + 4 : at + 6].isupper()
    while at + 8 <= len(content) and len(found) < 5000:
        group = int.from_bytes(content[at : at + 2], "little")
        if is_meta and group != 2:
            is_meta, is_explicit = False, content[at + 4 : at + 6].isupper()
        vr = bytes(content[at + 4 : at + 6]) if is_explicit and group != 0xFFFE else b""
        if vr in _LONG:
            length_at, size = at + 8, 4
        else:
            length_at, size = (at + 6, 2) if vr else (at + 4, 4)
        value = length_at + size
        length = int.from_bytes(content[length_at:value], "little")
        found.append(Element(at, vr, length_at, size, value, length))
        # Into sequences, items and frames, over everything else.
        is_container = group == 0xFFFE or vr == b"SQ" or length == 0xFFFFFFFF
        at = value if is_container else value + length
    return found


def _apply(content: bytearray, mutation: Mutation) -> None:
    kind, at, number, data = mutation
    place = at % len(content)
    if at % 2 and (elements := elements_of(content)):
        near = elements[-3:] if at % 4 == 3 else elements
        place = min(near[at // 4 % len(near)].start + number % 96, len(content) - 1)
    if kind == "flip":
        content[place] ^= 1 << number % 8
    elif kind == "put":
        content[place : place + len(data)] = data
    elif kind == "insert":
        content[place:place] = data
    elif kind == "remove":
        del content[place : place + 1 + number % 16]
    elif kind == "zero":
        content[place : place + number % 64] = bytes(number % 64)
    elif kind == "cut":
        del content[place:]
    elif elements := elements_of(content):
        _apply_to_element(content, mutation, elements[at % len(elements)], elements[number % len(elements)])


def _apply_to_element(content: bytearray, mutation: Mutation, one: Element, other: Element) -> None:
    kind, _, number, data = mutation
    if kind == "length":
        wanted = [*LENGTHS, one.length + 1, max(one.length - 1, 0), number]
        _set_length(content, one, wanted[number % len(wanted)])
    elif kind == "swap":
        _set_length(content, one, other.length)
        _set_length(content, other, one.length)
    elif kind == "vr" and one.vr:
        content[one.start + 4 : one.start + 6] = VRS[number % len(VRS)]
    elif kind == "tag":
        tag = TAGS[number % len(TAGS)]
        content[one.start : one.start + 4] = struct.pack("<2H", tag >> 16, tag & 0xFFFF)
    elif kind == "value":
        _set_value(content, one, [*TEXTS, data][number % (len(TEXTS) + 1)])
    elif kind == "repeat":
        _set_value(
            content, one, b"\\".join([bytes(content[one.value : one.value + min(one.length, 64)])] * (number % 40))
        )
    elif kind == "drop":
        del content[one.start : one.value + min(one.length, len(content))]
    elif kind == "move":
        piece = content[one.start : one.value + min(one.length, len(content))]
        content[other.start : other.start] = piece


def _set_length(content: bytearray, element: Element, length: int) -> None:
    length %= 1 << 8 * element.size
    content[element.length_at : element.value] = length.to_bytes(element.size, "little")


def _set_value(content: bytearray, element: Element, value: bytes) -> None:
    """A value of another length, with the length field right, so that what follows still parses."""
    value = (value + b" " * (len(value) % 2))[: (1 << 8 * element.size) - 2]
    content[element.value : element.value + min(element.length, len(content))] = value
    _set_length(content, element, len(value))
