"""Shard sets that are not what they say are refused before the first step; sets are mixed and rows chosen."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from radnet import idx, seal
from radnet.config import DataConfig, GridConfig
from radnet.errors import UsageError
from radnet.launch.bench.loader_sets import finish
from radnet.loader import Loader
from radnet.samples import Samples, prints, read_samples
from radnet.shards.write import read_sidecar
from tests.conftest import ROOT
from tests.corpus import write_set


@pytest.fixture
def root(tmp_path):
    return write_set(tmp_path / "set", {"train": 10, "validation": 3})


def _read(root, split="train", **changes) -> Samples:
    return read_samples(DataConfig(shards=str(root), **changes), split)


def _loader(root, split="train", **changes) -> Loader:
    config = DataConfig(shards=str(root), grid=GridConfig(shape=[6, 8, 8]), num_threads=1, **changes)
    samples = read_samples(config, split)
    return Loader(samples, config, micro_batch=2, rank=0, world=1, device="cpu", masks=False)


def _short(root: Path) -> None:
    os.truncate(root / "train-000001.tar", (root / "train-000001.tar").stat().st_size - 512)


def _swapped(root: Path) -> None:
    """Two shards of one size change places, all three files of each."""
    for suffix in (".tar", ".idx", ".json"):
        first, second = root / f"train-000000{suffix}", root / f"train-000001{suffix}"
        content = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(content)


def _foreign_tar(root: Path) -> None:
    """Another tar of the same size, as a copy that went wrong would leave."""
    tar = root / "train-000001.tar"
    tar.write_bytes(bytes(tar.stat().st_size))


def _headers_moved(root: Path) -> None:
    tar = root / "train-000001.tar"
    content = bytearray(tar.read_bytes())
    last = idx.parse((root / "train-000001.idx").read_bytes())[-1][-1].offset - 512
    content[last : last + 3] = b"abc"
    tar.write_bytes(content)


def _foreign_idx(root: Path) -> None:
    path = root / "train-000001.idx"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")


def _foreign_sidecar(root: Path) -> None:
    path = root / "train-000001.json"
    content = seal.unseal(path.read_bytes())
    content["info"]["sha256_tar"] = "0" * 64
    path.write_bytes(seal.seal(content))


DAMAGE = {
    "missing tar": (lambda root: (root / "train-000001.tar").unlink(), "is missing, expected"),
    "missing idx": (lambda root: (root / "train-000001.idx").unlink(), "without its .idx"),
    "missing sidecar": (lambda root: (root / "train-000001.json").unlink(), "has no .json"),
    "torn sidecar": (lambda root: os.truncate(root / "train-000001.json", 100), "damaged .json"),
    "short": (_short, "bytes, expected"),
    "swapped": (_swapped, "another .idx|bytes, expected"),
    "foreign tar": (_foreign_tar, "does not hold key0004"),
    "last header": (_headers_moved, "does not hold key0007"),
    "foreign idx": (_foreign_idx, "another .idx"),
    "foreign sidecar": (_foreign_sidecar, "another one than index.json says"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_shard_that_is_not_what_the_index_says_is_refused_by_name(root, name):
    damage, expected = DAMAGE[name]
    damage(root)
    with pytest.raises(UsageError, match=f"shard .*train-00000.*({expected}).*; run radnet verify") as caught:
        _read(root)
    assert "radnet verify" in str(caught.value) and str(root) in str(caught.value)
    assert len(_read(root, "validation")) == 3  # what is not read is not looked at


def test_unfinished_and_empty_sets_are_refused(root):
    with pytest.raises(UsageError, match="the test split of .* has no samples; train, validation have"):
        _read(root, "test")
    with pytest.raises(UsageError, match="taxonomy"):
        _read(root, taxonomy="latin")
    with pytest.raises(UsageError, match="is not a folder"):
        _read(root / "nowhere")
    (root / "index.json").unlink()
    with pytest.raises(UsageError, match="index.json"):
        _read(root)


def test_a_table_of_other_shards_is_refused(root, tmp_path):
    other = write_set(tmp_path / "other", {"train": 30})
    shutil.copy(other / "labels.parquet", root / "labels.parquet")
    with pytest.raises(
        UsageError, match="labels.parquet is not the one index.json names; delete it and run `radnet shard"
    ):
        _read(root)


def _flip_a_voxel(root: Path, key: str) -> None:
    for path in sorted(root.glob("*.idx")):
        for members in idx.parse(path.read_bytes()):
            for member in members:
                if member.name.startswith(f"{key}.vol."):
                    with open(path.with_suffix(".tar"), "r+b") as file:
                        file.seek(member.offset + member.num_bytes - 1)
                        byte = file.read(1)
                        file.seek(-1, os.SEEK_CUR)
                        file.write(bytes([byte[0] ^ 1]))


def test_with_crc_a_flipped_voxel_stops_the_run_with_its_key(root):
    _flip_a_voxel(root, "key0005")
    assert len(list(_loader(root).evaluation())) == 5  # read silently without
    with pytest.raises(UsageError, match="shard .*train-000001.tar holds a damaged sample, key0005; run radnet verify"):
        list(_loader(root, check="crc").evaluation())
    _flip_a_voxel(root, "key0005")
    assert len(list(_loader(root, check="crc").evaluation())) == 5


@pytest.mark.parametrize("codec", ["npy", "htj2k"])
def test_a_sample_that_cannot_be_decoded_stops_the_run_with_its_key(tmp_path, codec):
    root = write_set(tmp_path / "set", {"train": 10}, codec)
    member = next(one for one in idx.parse((root / "train-000001.idx").read_bytes())[2] if ".vol." in one.name)
    with open(root / "train-000001.tar", "r+b") as file:
        file.seek(member.offset)
        file.write(bytes(40))
    with pytest.raises(UsageError, match="train-000001.tar holds a damaged sample, key0006; run radnet verify"):
        list(_loader(root).evaluation())


def test_rows_are_chosen_by_a_query(root):
    assert [key[-1] for key in _read(root, where="family == 'CT'").keys] == ["0", "5"]
    assert len(_read(root, where="spacing_mm <= 3 and contrast.notna()")) == 4
    with pytest.raises(UsageError, match="data.where='family ==' is no query .*; columns are .*spacing_mm"):
        _read(root, where="family ==")
    with pytest.raises(UsageError, match="no samples of which data.where=\"family == 'PT'\" holds"):
        _read(root, where="family == 'PT'")
    with pytest.raises(UsageError, match="nowhere"):
        _read(root, where="nowhere > 3")
    for code in (
        f"@os.mkdir({str(root / 'made')!r}) == 0",
        f"key.__class__ == 0 or __import__('os').mkdir({str(root)!r})",
    ):
        with pytest.raises(UsageError, match="is no query"):
            _read(root, where=code)
    assert not (root / "made").exists()


def test_sets_are_mixed_by_weight(root, tmp_path):
    other = write_set(tmp_path / "other", {"train": 10}, inventory="1" * 64)
    config = {"more": {str(other): 0.5}, "balance_cap": 1}
    mixed = _read(root, **config)
    assert len(mixed) == 20 and len({shard.root for shard in mixed.shards}) == 2
    loader = _loader(root, **config)
    assert loader.epoch_length(1) == 15
    counts = np.zeros(2)
    for epoch in range(4):
        for batch in loader.train_epoch(seed=0, epoch=epoch, global_batch=2):
            for number in batch.sample[batch.sample >= 0]:
                counts[int(mixed.shards[mixed.shard[number]].root == str(other))] += 1
    assert counts.tolist() == [40, 20]
    alone, both = (prints(DataConfig(shards=str(root), **change))["corpus"] for change in ({}, config))
    assert alone == "0" * 64 and both != alone
    with pytest.raises(UsageError, match="which data.shards is already"):
        _read(root, more={str(root): 2.0})
    squeezed = write_set(tmp_path / "squeezed", {"train": 4}, "htj2k")
    with pytest.raises(UsageError, match="codecs htj2k, npy; shard them with the same codec"):
        _read(root, more={str(squeezed): 1.0})


def test_a_thousand_shards_start_in_a_second(tmp_path):
    """One sample in each; what a start reads grows with shards, not with bytes."""
    root = write_set(tmp_path / "many", {"train": 1})
    sidecars = [read_sidecar(str(root / "train-000000"))]
    for number in range(1, 1000):
        stem = root / f"train-{number:06d}"
        text = (root / "train-000000.json").read_text().replace("train-000000", stem.name)
        content = json.loads(text)
        content.pop("sha256")
        stem.with_suffix(".json").write_bytes(seal.seal(content))
        for suffix in (".tar", ".idx"):
            os.link(root / f"train-000000{suffix}", stem.with_suffix(suffix))
        sidecars.append(read_sidecar(str(stem)))
    finish(root, "npy", {"train": sidecars})
    begun = time.monotonic()
    loader = _loader(root)
    next(loader.train_epoch(seed=0, epoch=0, global_batch=2))
    took_s = time.monotonic() - begun
    assert len(loader.samples) == 1000 and took_s < 3, took_s  # a quiet machine takes 0.6 s


def test_more_positions_than_a_process_has_files_and_maps(root):
    """DALI opens or maps a file for every position of a pipeline: 70,000 of them in one would end a process."""
    script = f"""
import resource
from dataclasses import replace
from tests.test_samples import _loader
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
loader = _loader({str(root)!r}, balance_cap=1)
loader._repeats = loader._repeats * 7000
batches = loader.train_epoch(seed=0, epoch=0, global_batch=2, consumed=69_000 // 4 * 4)
assert loader.epoch_length(2) == 70_000
print(sum(len(batch.keys) for batch in batches), len(next(loader.train_epoch(seed=0, epoch=0, global_batch=2)).keys))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.split() == ["1000", "2"], done.stderr
