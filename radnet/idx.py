"""The .idx beside a tar, as NVIDIA's wds2idx writes it (format v1.2): where the members of every sample lie.

A first line "v1.2 N", then one line per sample: suffix, offset of the content, bytes and name of each of its members.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

VERSION = "v1.2"


@dataclass(frozen=True)
class Member:
    """One file in a tar. offset: of its content from the start of the tar, in bytes, as num_bytes."""

    suffix: str
    offset: int
    num_bytes: int
    name: str


def line(members: Iterable[Member]) -> str:
    """The line of one sample."""
    return " ".join(f"{one.suffix} {one.offset} {one.num_bytes} {one.name}" for one in members) + "\n"


def whole(lines: Sequence[str]) -> bytes:
    """The file, from the lines of its samples."""
    return f"{VERSION} {len(lines)}\n{''.join(lines)}".encode()


def parse(content: bytes) -> list[list[Member]]:
    """The members of every sample, by position. Raises ValueError for what is no whole .idx of this version."""
    first, *lines = content.decode().splitlines()
    if first != f"{VERSION} {len(lines)}":
        raise ValueError(f"the first line is {first[:40]!r}, expected {VERSION} {len(lines)}")
    return [members(text) for text in lines]


def members(line: str) -> list[Member]:
    """The members of one sample, from its line. Raises ValueError for a line that is none."""
    words = line.rstrip("\n").split(" ")
    if len(words) % 4:
        raise ValueError(f"{len(words)} words in a line, expected four for each member")
    fours = [words[at : at + 4] for at in range(0, len(words), 4)]
    return [Member(suffix, int(offset), int(size), name) for suffix, offset, size, name in fours]
