"""Samples of a finished shard set, each read by its own bytes alone: found through the .idx, checked by crc32."""

import io
import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from radnet import idx, store
from radnet.errors import UsageError
from radnet.shards.codec import SUFFIX, decode
from radnet.urls import shown
from radnet.volume import Volume

if TYPE_CHECKING:
    import pyarrow

_SHORTEST_HINT = 4  # characters that a key must share with the one asked for to be worth naming
_SHOWN_KEYS = 3


@dataclass(frozen=True, eq=False)
class Stored:
    """A sample. mask: uint8 [D,H,W] or None. percentiles: the 0th, 0.5th, 99.5th and 100th of the real values.
    provenance: what KEY.json holds."""

    volume: Volume
    mask: np.ndarray | None
    percentiles: tuple[float, float, float, float]
    provenance: dict[str, Any]


def find(labels: "pyarrow.Table", key: str) -> dict[str, Any]:
    """The row of the sample whose key is `key`, or the only one that begins with it.

    Raises UsageError in one line, with a near match where there is one.
    """
    keys = labels["key"].to_pylist()
    starting = [key] if key in keys else sorted(one for one in keys if one.startswith(key))
    if len(starting) > 1:
        shown = ", ".join(starting[:_SHOWN_KEYS]) + (", …" if len(starting) > _SHOWN_KEYS else "")
        raise UsageError(f"{len(starting)} samples have a key that begins with {key!r} ({shown}); give more of it")
    if not starting:
        shared = {one: len(os.path.commonprefix([one, key])) for one in keys}
        longest = max(shared.values(), default=0)
        near = [one for one in keys if shared[one] == longest]
        hint = f"the nearest is {near[0]}" if len(near) == 1 and longest >= _SHORTEST_HINT else "labels.parquet has all"
        raise UsageError(f"no sample has the key {key!r}; {hint}")
    return labels.slice(keys.index(starting[0]), 1).to_pylist()[0]


def places(root: str, shard: str) -> list[list[idx.Member]]:
    """Where the members of a shard's samples lie, by position. Raises UsageError where the .idx is away or damaged."""
    name = f"{shard}.idx"
    try:
        return idx.parse(store.read_bytes(store.join(root, name)))
    except FileNotFoundError:
        raise UsageError(f"{name} is missing from {shown(root)}; {_verify(root)}") from None
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(f"{name} is damaged ({error}); {_verify(root)}") from None


def read_members(
    root: str, row: Mapping[str, Any], listed: Sequence[Sequence[idx.Member]], suffixes: Iterable[str] = ()
) -> dict[str, bytes]:
    """Suffix → content of the members of one sample, all of them or those of `suffixes`.

    row: of labels.parquet. listed: the `places` of its shard. Raises UsageError where one is missing or its bytes are
    not those that were written.
    """
    crc32 = json.loads(row["crc32"])
    members = listed[row["position"]] if 0 <= row["position"] < len(listed) else []
    found = {one.suffix: one for one in members if one.name == f"{row['key']}.{one.suffix}"}
    if found.keys() != crc32.keys():
        raise UsageError(f"{row['shard']}.idx has other members for {row['key']} than labels.parquet; {_verify(root)}")
    contents = {}
    for suffix in suffixes or found:
        place = found[suffix]
        tar = store.join(root, f"{row['shard']}.tar")
        try:
            content = store.read_range(tar, place.offset, place.offset + place.num_bytes)
        except FileNotFoundError:
            raise UsageError(f"{row['shard']}.tar is missing from {shown(root)}; {_verify(root)}") from None
        if len(content) != place.num_bytes or zlib.crc32(content) != crc32[suffix]:
            raise UsageError(f"{place.name} in {row['shard']}.tar is damaged; {_verify(root)}")
        contents[suffix] = content
    return contents


def read_sample(root: str, codec: str, row: Mapping[str, Any]) -> Stored:
    """The sample of a row of labels.parquet.

    Voxels are int16 where they are stored as they were, else float32 (off by at most half the scale). Raises UsageError
    where something is missing or damaged.
    """
    contents = read_members(root, row, places(root, row["shard"]))
    try:
        geometry = _array(contents["geometry.npy"])
        shape = tuple(int(size) for size in geometry[:3])
        voxels = _real(decode(contents[SUFFIX[codec]], shape, codec), *geometry[18:20])
        direction = geometry[9:18].reshape(3, 3)
        volume = Volume(voxels, tuple(geometry[3:6]), tuple(geometry[6:9]), direction)
        mask = _array(contents["mask.npy"]) if "mask.npy" in contents else None
        return Stored(volume, mask, tuple(map(float, geometry[20:24])), json.loads(contents["json"]))
    except (KeyError, ValueError) as error:
        raise UsageError(f"{row['key']} in {row['shard']}.tar is no sample of radnet ({error})") from None


def _real(stored: np.ndarray, scale: float, offset: float) -> np.ndarray:
    """What `codec.quantise` stored, plane by plane: float64 of a whole volume is four times its size."""
    if (scale, offset) == (1, 0):
        return stored
    real = np.empty(stored.shape, np.float32)
    for plane, out in zip(stored, real, strict=True):
        out[:] = plane * scale + offset
    return real


def _array(content: bytes) -> np.ndarray:
    return np.load(io.BytesIO(content), allow_pickle=False)


def _verify(root: str) -> str:
    return f"run radnet verify {shown(root)}"
