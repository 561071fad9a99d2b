"""radnet verify: every file of a set cut, flipped, swapped or away is found, in a folder and behind a URL."""

import importlib
import io
import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pyarrow
import pytest

from radnet import store
from radnet.errors import OK, USAGE, UsageError
from radnet.launch import verify
from radnet.launch.cli import run
from radnet.shards import ledger
from radnet.shards import verify as checks
from radnet.shards.tables import write_labels
from radnet.shards.write import read_sidecar
from tests.corpus import write_set
from tests.s3 import Faults

SHARD, OTHER = "train-000000", "train-000001"
FILES = [
    f"{SHARD}.tar",
    f"{SHARD}.json",
    f"{SHARD}.idx",
    "labels.parquet",
    "ledger.parquet",
    "index.json",
    "ATTRIBUTION",
]
SWAPPED = {"labels.parquet": "ledger.parquet", "ledger.parquet": "labels.parquet", "ATTRIBUTION": "index.json"}
SWAPPED |= {"index.json": f"{SHARD}.json"} | {
    f"{SHARD}.{suffix}": f"{OTHER}.{suffix}" for suffix in ("tar", "json", "idx")
}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return write_set(tmp_path_factory.mktemp("verify") / "set", {"train": 6, "validation": 4}, masks=True)


@pytest.fixture
def copied(made, tmp_path) -> Path:
    shutil.copytree(made, tmp_path / "set")
    return tmp_path / "set"


def problems(root: Path | str) -> list[str]:
    """What is wrong with a set; a set that cannot be opened has one problem, in one line."""
    try:
        found = list(checks.check(str(root), lambda line: None))
    except UsageError as error:
        found = [str(error)]
    assert not any("\n" in line for line in found)
    return found


def test_a_whole_set_is_whole(made, capsys):
    assert verify.main([str(made)]) == OK
    out, err = capsys.readouterr()
    assert out == f"{made}: whole\n" and err == ""


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["cut", "empty", "away", "swapped", "more"])
def test_a_file_that_is_another_is_found(copied, name, damage):
    path = copied / name
    content = path.read_bytes()
    if damage == "away":
        path.unlink()
    else:
        changed = {"cut": content[: len(content) // 2], "empty": b"", "more": content + bytes(512)}
        path.write_bytes(changed[damage] if damage in changed else (copied / SWAPPED[name]).read_bytes())
    found = problems(copied)
    assert any(name in line for line in found), found


@pytest.mark.parametrize("place", [0.0, 0.001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_found(copied, name, place):
    """Anywhere: in the magic, in padding that no reader looks at, and in the footer of a Parquet file."""
    path = copied / name
    content = bytearray(path.read_bytes())
    for bit in (0, 5, 7):
        at = round(place * (len(content) - 1))
        content[at] ^= 1 << bit
        path.write_bytes(content)
        assert any(name in line for line in problems(copied)), (at, bit)
        content[at] ^= 1 << bit


@pytest.mark.parametrize("name", ["index.json", f"{SHARD}.json"])
def test_no_bit_of_a_json_file_can_be_flipped(copied, name):
    path = copied / name
    whole, random = path.read_bytes(), np.random.default_rng(8)
    for at in random.choice(len(whole), 60, replace=False):
        content = bytearray(whole)
        content[at] ^= 1 << int(random.integers(8))
        path.write_bytes(content)
        assert problems(copied), at


@pytest.mark.parametrize("damage", ["cut", "flipped", "swapped"])
@pytest.mark.parametrize("name", FILES)
def test_behind_a_url(made, name, damage):
    root = f"memory://verify/{damage}/{name}"
    memory = fsspec.filesystem("memory")
    memory.put(str(made), root, recursive=True)
    assert problems(root) == []
    path = store.join(root, name)
    content = bytearray(store.read_bytes(path))
    content[len(content) // 3] ^= 4
    changed = {"cut": content[: len(content) // 2], "flipped": content}
    store.write_atomic(path, changed.get(damage) or store.read_bytes(store.join(root, SWAPPED[name])))
    assert any(name in line for line in problems(root))
    memory.rm(root, recursive=True)


@pytest.mark.parametrize(
    "kind", [pytest.param("500", marks=pytest.mark.slow), pytest.param("reset", marks=pytest.mark.slow), "cut"]
)
def test_behind_an_s3_that_fails_now_and_then(made, s3, kind):
    """Faults of the way are no damage of the set, and damage of the set is found through them."""
    root = f"{s3.bucket('bucket')}/set"
    fsspec.filesystem("s3").put(str(made), root, recursive=True)
    s3.faults = Faults(every=3, kind=kind)
    assert problems(root) == [] and checks.strays(root) == []
    content = bytearray((made / f"{SHARD}.tar").read_bytes())
    content[len(content) // 2] ^= 1
    s3.faults = Faults()
    fsspec.filesystem("s3").pipe_file(f"{root}/{SHARD}.tar", bytes(content))
    s3.faults = Faults(every=3, kind=kind)
    assert f"{SHARD}.tar: its content has changed since it was written" in problems(root)
    assert s3.failed[kind] > 3


@pytest.mark.parametrize("verb", ["verify", "show", "relabel"])
def test_a_store_that_is_not_there_is_one_line(s3, capsys, verb):
    program = importlib.import_module(f"radnet.launch.{verb}").main
    for url in ("foo://bucket/set", "s3://nowhere/set"):
        with pytest.raises(SystemExit) as left:
            run(program, [url, *(["key"] if verb == "show" else [])])
        err = capsys.readouterr().err
        assert left.value.code == USAGE and err.startswith("radnet: ") and err.count("\n") == 1 and "damaged" not in err


def resealed(root: Path, rows: list[dict]) -> None:
    """Write another labels.parquet with an index.json that names it, as whoever does not look would."""
    digest = write_labels(str(root / "labels.parquet"), rows)
    index = store.read_index(str(root))
    store.write_index(str(root), replace(index, tables=index.tables | {"labels.parquet": digest}))


def test_hashes_that_fit_do_not_hide_what_disagrees(copied):
    rows = store.read_labels(str(copied)).to_pylist()
    index = store.read_index(str(copied))
    crc32 = json.loads(rows[0]["crc32"]) | {"vol.npy": 1}
    resealed(copied, [rows[0] | {"crc32": json.dumps(crc32)}, *rows[1:]])
    assert any("members differ from labels.parquet from key0000.vol.npy" in line for line in problems(copied))
    resealed(copied, rows[1:])
    assert any(f"rows of {SHARD} are not those" in line for line in problems(copied))
    resealed(copied, rows)
    store.write_index(str(copied), replace(index, totals=index.totals | {"sharded": 9}))
    assert any(line.startswith("ledger.parquet: holds") for line in problems(copied))
    store.write_index(str(copied), replace(index, totals=index.totals | {"num_bytes": 9}))
    assert any("do not add up" in line for line in problems(copied))
    store.write_index(str(copied), replace(index, codec="jpeg"))
    assert any("codec is 'jpeg'" in line for line in problems(copied))
    sidecar = read_sidecar(str(copied / SHARD))
    digest = ledger.write(str(copied / "ledger.parquet"), sidecar.ledger)
    store.write_index(str(copied), replace(index, tables=index.tables | {"ledger.parquet": digest}))
    assert any(f"rows of {OTHER} are not those" in line for line in problems(copied))


def test_an_idx_of_another_tar_is_found_although_its_hash_fits(copied):
    """The .idx is made again from the tar: one that was wrong when its hash was taken points DALI at other bytes."""
    path = copied / f"{SHARD}.idx"
    path.write_text(path.read_text().replace("vol.npy 5", "vol.npy 6", 1).replace("json 5", "json 6", 1))
    index = store.read_index(str(copied))
    infos = [
        replace(info, sha256_idx=store.sha256(str(path))) if info.name == SHARD else info
        for info in index.splits["train"]
    ]
    store.write_index(str(copied), replace(index, splits=index.splits | {"train": infos}))
    assert f"{SHARD}.idx: not the index of {SHARD}.tar" in problems(copied)


@pytest.mark.parametrize("column", ["patient_key", "pixel_hash"])
def test_nobody_and_no_image_is_in_two_splits(copied, column):
    rows = [row | {"pixel_hash": row["key"]} for row in store.read_labels(str(copied)).to_pylist()]
    resealed(copied, rows)
    assert problems(copied) == []
    first = next(row for row in rows if row["split"] == "validation")
    resealed(copied, [row | ({column: rows[0][column]} if row is first else {}) for row in rows])
    assert any("in two splits" in line and rows[0][column] in line for line in problems(copied))


def test_a_tar_of_something_else_is_described_not_followed(copied):
    with tarfile.open(copied / f"{SHARD}.tar", "w") as tar:
        link = tarfile.TarInfo("key0000.vol.npy")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("key0001.json"), io.BytesIO())
    assert any("is not a file" in line for line in problems(copied))


def test_strays_are_named_and_are_no_damage(copied, capsys):
    (copied / "train-000009.tar").write_bytes(b"x")
    (copied / "notes.txt").write_text("x")
    (copied / "private").mkdir()
    assert verify.main([str(copied)]) == OK
    assert capsys.readouterr().err == "not of this set: notes.txt, train-000009.tar\n"


def test_memory_holds_no_tar(tmp_path):
    """A member of 64 MB is read in blocks."""
    import tracemalloc

    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        member = tarfile.TarInfo("a.vol.npy")
        member.size = 64 << 20
        with open("/dev/zero", "rb") as zeros:
            tar.addfile(member, zeros)
    tracemalloc.start()
    checks._scan(str(tmp_path / "a.tar"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_mistakes_are_one_line(tmp_path, copied):
    with pytest.raises(UsageError, match="not a folder"):
        verify.main([str(tmp_path / "nowhere")])
    (copied / "index.json").unlink()
    with pytest.raises(UsageError, match=r"no index\.json"):
        verify.main([str(copied)])
    with pytest.raises(UsageError, match=r"no index\.json"):
        verify.main(["memory://nowhere"])


def test_exit_code_of_damage(copied, capsys):
    (copied / f"{SHARD}.idx").unlink()
    assert verify.main([str(copied)]) == USAGE
    assert f"{SHARD}.idx: missing" in capsys.readouterr().err


def test_tables_of_other_types_are_damage(copied):
    table = store.read_labels(str(copied))
    strange = table.set_column(table.column_names.index("crc32"), "crc32", pyarrow.array([1] * len(table)))
    digest = store.write_parquet(str(copied / "labels.parquet"), strange)
    index = store.read_index(str(copied))
    store.write_index(str(copied), replace(index, tables=index.tables | {"labels.parquet": digest}))
    assert any("labels.parquet is damaged" in line for line in problems(copied))
