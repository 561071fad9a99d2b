"""Remote shards through a bounded cache: the same bits as from a folder, on a real S3 API, whatever the store does."""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch

from radnet import idx, mirror, store
from radnet.config import CacheConfig, DataConfig, GridConfig
from radnet.errors import UsageError
from radnet.loader import Loader
from radnet.samples import read_samples
from tests.corpus import write_set
from tests.s3 import Faults

NUM_SHARDS = 8


@pytest.fixture
def local(tmp_path) -> Path:
    return write_set(tmp_path / "set", {"train": 4 * NUM_SHARDS})


@pytest.fixture
def remote(s3, local) -> str:
    root = s3.bucket("bucket") + "/set"
    fsspec.filesystem("s3").put(f"{local}/", f"{root}/", recursive=True)
    return root


def _loader(root, folder: Path, num_bytes: float = 1e9, rank: int = 0, world: int = 1, **changes) -> Loader:
    cache = CacheConfig(str(folder), num_bytes / 1e9)
    config = DataConfig(shards=str(root), grid=GridConfig(shape=[6, 8, 8]), num_threads=1, cache=cache, **changes)
    samples = read_samples(config, "train")
    return Loader(samples, config, micro_batch=2, rank=rank, world=world, device="cpu", masks=False)


def _shard_bytes(local: Path) -> int:
    return max(path.stat().st_size for path in local.glob("*.tar"))


def _bits(loader: Loader, epoch: int = 0) -> list:
    batches = loader.train_epoch(seed=1, epoch=epoch, global_batch=4)
    return [(batch.keys, batch.volume, batch.target) for batch in batches]


def _equal(first: list, second: list) -> bool:
    return len(first) == len(second) and all(
        one[0] == other[0] and torch.equal(one[1], other[1]) and torch.equal(one[2], other[2])
        for one, other in zip(first, second, strict=True)
    )


def test_a_store_gives_the_same_bits_as_a_folder(local, remote, tmp_path, s3):
    expected = _bits(_loader(local, tmp_path / "none"))
    assert not (tmp_path / "none").exists()  # nothing is copied from a disk
    assert _equal(_bits(_loader(remote, tmp_path / "cache")), expected)
    before = s3.requests["GET"]
    assert _equal(_bits(_loader(remote, tmp_path / "cache"), epoch=0), expected)
    assert s3.requests["GET"] - before < NUM_SHARDS  # tables only: the copies are there


def test_a_small_cache_stays_small_and_loses_nothing(local, remote, tmp_path, monkeypatch):
    limit = 6.5 * _shard_bytes(local)
    folder, most = tmp_path / "cache", []
    fetch = mirror._download

    def watched(*given):
        arrived = fetch(*given)
        most.append(sum(path.stat().st_size for path in folder.glob("*.tar")))
        return arrived

    monkeypatch.setattr(mirror, "_download", watched)
    for world in (1, 2):
        for rank in range(world):
            plain = _bits(_loader(local, folder, rank=rank, world=world, window_shards=2))
            assert _equal(_bits(_loader(remote, folder, limit, rank, world, window_shards=2)), plain)
    assert max(most) <= limit and len(most) > 2 * 2 * NUM_SHARDS  # of tar and idx: fetched again and again


def test_evaluation_reads_shard_after_shard(local, remote, tmp_path):
    loader = _loader(remote, tmp_path / "cache", 6.5 * _shard_bytes(local), window_shards=2)
    plain = _loader(local, tmp_path / "none").evaluation()
    for here, there in zip(loader.evaluation(), plain, strict=True):
        assert here.keys == there.keys and torch.equal(here.volume, there.volume)


def test_a_cache_that_is_too_small_for_the_order_is_said_at_the_start(local, remote, tmp_path):
    limit = 4 * _shard_bytes(local)
    with pytest.raises(
        UsageError, match=r"data.cache.gigabytes=\S+ is too small for the whole set at a time: .* is needed"
    ):
        _loader(remote, tmp_path / "cache", limit)
    with pytest.raises(UsageError, match="2 shards at a time.*set data.window_shards lower"):
        _loader(remote, tmp_path / "cache", limit, window_shards=2)
    assert _loader(remote, tmp_path / "cache", limit, window_shards=1)


def test_resuming_fetches_only_what_is_still_to_be_read(local, remote, tmp_path):
    loader = _loader(remote, tmp_path / "cache", 6.5 * _shard_bytes(local), window_shards=2)
    length = loader.epoch_length(4)
    rest = list(loader.train_epoch(seed=1, epoch=0, global_batch=4, consumed=length - 4))
    assert len(rest) == 2 and len(list((tmp_path / "cache").glob("*.tar"))) <= 4


def test_a_damaged_arrival_is_fetched_again_and_then_refused(local, remote, tmp_path):
    with fsspec.open(f"{remote}/train-000003.tar", "wb") as file:
        content = bytearray((local / "train-000003.tar").read_bytes())
        content[5000] ^= 1
        file.write(content)
    with pytest.raises(UsageError, match="train-000003.tar arrived 2 times with another hash.*radnet verify s3://"):
        _bits(_loader(remote, tmp_path / "cache"))
    assert not list((tmp_path / "cache").glob("*.part"))
    names = {store.sha256(str(path)) == path.stem for path in (tmp_path / "cache").glob("*.tar")}
    assert names == {True}


@pytest.mark.parametrize("kind", ["error", "reset", "cut"])
def test_faults_of_the_store_are_outlived(local, remote, tmp_path, s3, kind):
    loader = _loader(remote, tmp_path / "cache")
    s3.faults = Faults(every=3, kind=kind)
    assert _equal(_bits(loader), _bits(_loader(local, tmp_path / "none")))
    assert s3.failed[kind] >= 2


def test_missing_and_short_remote_shards_are_refused_at_the_start(remote, tmp_path):
    system = fsspec.filesystem("s3")
    system.rm_file(f"{remote}/train-000002.idx")
    with pytest.raises(UsageError, match="train-000002.tar is without its .idx.*radnet verify"):
        _loader(remote, tmp_path / "cache")
    system.rm_file(f"{remote}/train-000001.tar")
    with pytest.raises(UsageError, match="train-000001.tar is missing"):
        _loader(remote, tmp_path / "cache")


def test_what_is_read_is_not_deleted_and_what_a_dead_process_held_is(local, tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    for number in range(3):
        shutil.copy(local / "train-000000.tar", folder / f"{number}.tar")
        os.utime(folder / f"{number}.tar", (number, number))
    with open(folder / "0.tar", "rb") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        assert mirror._drop(folder / "0.tar") == 0 and (folder / "0.tar").exists()
        assert mirror._drop(folder / "1.tar") > 0 and not (folder / "1.tar").exists()
    held = f"open({str(folder / '0.tar')!r}, 'rb')"
    script = f"import fcntl, os; file = {held}; fcntl.flock(file, fcntl.LOCK_SH); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", script], check=False)
    assert mirror._drop(folder / "0.tar") > 0


@pytest.mark.parametrize("global_batch", [2, 6, 24])
def test_batches_across_windows_find_room_or_are_refused(local, remote, tmp_path, global_batch):
    """8 positions a window: batches of 6 lie in two windows, of 24 in three or four."""
    config = {"window_shards": 2, "num_bytes": 6.5 * _shard_bytes(local)}
    epoch = {"seed": 1, "epoch": 0, "global_batch": global_batch}
    loader = _loader(remote, tmp_path / "cache", **config)
    if global_batch == 24:
        with pytest.raises(UsageError, match="too small for a global batch of 24"):
            loader.train_epoch(**epoch)
        return
    plain = list(_loader(local, tmp_path / "none", window_shards=2).train_epoch(**epoch))
    assert [batch.keys for batch in loader.train_epoch(**epoch)] == [batch.keys for batch in plain]


def test_what_a_killed_process_was_fetching_is_cleared(local, remote, tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    left = folder / f"{'0' * 64}.tar.part"
    left.write_bytes(b"")
    os.truncate(left, int(1e9))  # all of the cache
    (folder / f"{'0' * 64}.lock").touch()
    assert len(_bits(_loader(remote, folder))) == 2 * NUM_SHARDS and not left.exists()


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_copy_is_fetched_again(local, remote, tmp_path, damage):
    folder = tmp_path / "cache"
    expected = _bits(_loader(remote, folder))
    copy = sorted(folder.glob("*.tar"))[0]
    if damage == "cut":
        os.truncate(copy, 1000)
    else:
        voxel = idx.parse(copy.with_suffix(".idx").read_bytes())[0][-1]
        content = bytearray(copy.read_bytes())
        content[voxel.offset + voxel.num_bytes - 1] ^= 1
        copy.write_bytes(content)
        with pytest.raises(UsageError, match="shard s3://.* has a copy .* that holds a damaged sample.*fetched anew"):
            _bits(_loader(remote, folder, check="crc"))
    assert _equal(_bits(_loader(remote, folder, check="crc")), expected)


def test_nothing_is_fetched_that_nobody_waits_for(local, remote, tmp_path, s3):
    s3.faults = Faults(drip_bytes=4000, drip_s=0.2)  # seconds for each shard
    shards = [replace(shard, root=remote) for shard in _loader(local, tmp_path / "none").samples.shards]
    held = mirror.Mirror(CacheConfig(str(tmp_path / "cache"), 1.0)).fetch(shards)
    begun = time.monotonic()
    held.close()
    assert time.monotonic() - begun < 10 and not list((tmp_path / "cache").glob("*.part"))


def test_two_processes_share_one_cache(local, remote, tmp_path, s3):
    script = f"""
import numpy as np
from tests.test_mirror import _bits, _loader
loader = _loader({remote!r}, {str(tmp_path / "cache")!r}, {6.5 * _shard_bytes(local)}, window_shards=2)
print(sum(float(np.abs(bits[1]).sum()) for epoch in range(3) for bits in _bits(loader, epoch)))
"""
    script = script.replace(repr(str(tmp_path / "cache")), f"__import__('pathlib').Path({str(tmp_path / 'cache')!r})")
    environment = os.environ | s3.environment()
    both = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) for _ in range(2)]
    found = [float(one.communicate(timeout=120)[0]) for one in both]
    plain = _loader(local, tmp_path / "none", window_shards=2)
    expected = sum(float(np.abs(bits[1]).sum()) for epoch in range(3) for bits in _bits(plain, epoch))
    assert found == pytest.approx([expected, expected]) and not any(one.returncode for one in both)
