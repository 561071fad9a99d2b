"""Shards on disk: the same bytes every time, readable by DALI, webdataset and tar, never half there."""

import hashlib
import json
import os
import subprocess
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from radnet import store
from radnet.errors import UsageError
from radnet.shards.codec import SUFFIX, encode, npy
from radnet.shards.ledger import Code, LedgerRow
from radnet.shards.write import Outcome, Sample, Sidecar, finished, read_sidecar, write_shard

NUM_SAMPLES = 6


def _volumes() -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.integers(-32768, 32768, (3 + n, 17, 11 + n)).astype(np.int16) for n in range(NUM_SAMPLES)]


def _outcomes(codec: str, broken: frozenset[int] = frozenset()):
    for number, voxels in enumerate(_volumes()):
        key = hashlib.sha256(str(number).encode()).hexdigest()[:20]
        failed = number in broken
        code = Code.TRUNCATED if failed else Code.OK
        members = {SUFFIX[codec]: encode(voxels, codec), "geometry.npy": npy(np.arange(24.0)), "json": b"{}"}
        if number % 2:
            members["mask.npy"] = npy((voxels > 0).astype(np.uint8))
        sample = None if failed else Sample(key, members, {"split": "train", "patient_key": "p", "family": "CT"})
        yield Outcome(LedgerRow(key, "p", code, "", 3, "CT"), sample)


def _read_with_dali(folder: Path, names: list[str], codec: str, num: int) -> list[list[np.ndarray]]:
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def(batch_size=1, num_threads=1, device_id=None)
    def pipe():
        content, geometry = fn.readers.webdataset(
            paths=[str(folder / f"{name}.tar") for name in names],
            index_paths=[str(folder / f"{name}.idx") for name in names],
            ext=[SUFFIX[codec], "geometry.npy"],
            missing_component_behavior="error",
        )
        if codec == "htj2k":
            content = fn.decoders.image(content, output_type=types.ANY_DATA, dtype=types.UINT16)
        return content, geometry

    pipeline = pipe()
    pipeline.build()
    return [[output.at(0) for output in pipeline.run()] for _ in range(num)]


@pytest.mark.parametrize("codec", SUFFIX)
def test_dali_reads_what_was_written(tmp_path, codec):
    write_shard(str(tmp_path / "train-000000"), _outcomes(codec), "job")
    read = _read_with_dali(tmp_path, ["train-000000"], codec, NUM_SAMPLES)
    for (content, geometry), voxels in zip(read, _volumes(), strict=True):
        if codec == "npy":
            assert content.tobytes() == encode(voxels, "npy")
        else:
            image = content.reshape(voxels.shape)
            np.testing.assert_array_equal((image ^ np.uint16(0x8000)).view(np.int16), voxels)
        assert geometry.tobytes() == npy(np.arange(24.0))


@pytest.mark.parametrize("codec", SUFFIX)
def test_the_tar_is_webdatasets(tmp_path, codec):
    import webdataset

    write_shard(str(tmp_path / "train-000000"), _outcomes(codec), "job")
    fixed = {"mtime": 0, "user": "radnet", "group": "radnet", "mode": 0o444}
    with webdataset.TarWriter(str(tmp_path / "theirs.tar"), encoder=False, **fixed) as writer:
        for outcome in _outcomes(codec):
            writer.write({"__key__": outcome.sample.key, **outcome.sample.members})
    assert (tmp_path / "theirs.tar").read_bytes() == (tmp_path / "train-000000.tar").read_bytes()


@pytest.mark.parametrize("order", ["C", "F", "strided"])
def test_an_array_is_written_as_its_npy_file(tmp_path, order):
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    array = array[::-1, :, ::2] if order == "strided" else np.asarray(array, order=order)
    written = []
    for name, content in (("array", array), ("bytes", npy(array))):
        sample = Sample("key", {"vol.npy": content}, {})
        ledger = LedgerRow("key", "p", Code.OK, "", 3, "CT")
        written.append(write_shard(str(tmp_path / name), [Outcome(ledger, sample)], "job"))
    assert (tmp_path / "array.tar").read_bytes() == (tmp_path / "bytes.tar").read_bytes()
    crc32 = {json.loads(one.labels[0]["crc32"])["vol.npy"] for one in written}
    assert crc32 == {zlib.crc32(npy(array))}


def _finished(stem: str, job: str) -> Sidecar | None:
    root, name = stem.rsplit("/", 1)
    return finished(root, name, job, store.sizes(root))


def test_the_index_is_nvidias(tmp_path):
    from wds2idx import IndexCreator

    write_shard(str(tmp_path / "train-000000"), _outcomes("npy"), "job")
    creator = IndexCreator(str(tmp_path / "train-000000.tar"), str(tmp_path / "nvidia.idx"), verbose=False)
    creator.create_index()
    creator.close()
    assert (tmp_path / "nvidia.idx").read_bytes() == (tmp_path / "train-000000.idx").read_bytes()


def test_webdataset_and_tar_read_what_was_written(tmp_path):
    import webdataset

    write_shard(str(tmp_path / "train-000000"), _outcomes("npy"), "job")
    tar = tmp_path / "train-000000.tar"
    samples = list(webdataset.WebDataset(str(tar), shardshuffle=False))
    assert [sample["vol.npy"] for sample in samples] == [encode(voxels, "npy") for voxels in _volumes()]
    listed = subprocess.run(["tar", "tf", tar], check=True, capture_output=True, text=True).stdout.split()
    assert len(listed) == 3 * NUM_SAMPLES + NUM_SAMPLES // 2


@pytest.mark.parametrize("codec", SUFFIX)
def test_same_input_same_bytes(tmp_path, codec):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_shard(str(tmp_path / folder / "train-000000"), _outcomes(codec), "job")
    for suffix in ("tar", "idx", "json"):
        name = f"train-000000.{suffix}"
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_sidecar_says_what_is_there(tmp_path):
    stem = str(tmp_path / "train-000000")
    written = write_shard(stem, _outcomes("npy", frozenset({2})), "job")
    read = read_sidecar(stem)
    assert read == written == _finished(stem, "job")
    assert read.info.num_samples == NUM_SAMPLES - 1 == len(read.labels)
    assert [row.code for row in read.ledger].count(Code.TRUNCATED) == 1 and len(read.ledger) == NUM_SAMPLES
    assert (
        read.info.sha256_tar == store.sha256(stem + ".tar")
        and read.info.num_bytes == Path(stem + ".tar").stat().st_size
    )
    assert read.info.sha256_idx == store.sha256(stem + ".idx")
    assert [row["position"] for row in read.labels] == list(range(NUM_SAMPLES - 1))
    assert set(json.loads(read.labels[1]["crc32"])) == {"vol.npy", "geometry.npy", "json", "mask.npy"}


def test_a_shard_whose_series_all_failed_has_no_tar(tmp_path):
    stem = str(tmp_path / "test-000000")
    write_shard(stem, _outcomes("npy", frozenset(range(NUM_SAMPLES))), "job")
    assert [path.name for path in tmp_path.iterdir()] == ["test-000000.json"]
    assert len(_finished(stem, "job").ledger) == NUM_SAMPLES


def test_nothing_is_left_of_a_writer_that_fails(tmp_path):
    def failing():
        yield next(_outcomes("npy"))
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_shard(str(tmp_path / "train-000000"), failing(), "job")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["no sidecar", "other job", "cut tar", "no idx", "cut sidecar"])
def test_only_whole_shards_of_this_job_are_kept(tmp_path, damage):
    stem = str(tmp_path / "train-000000")
    write_shard(stem, _outcomes("npy"), "job")
    if damage == "no sidecar":
        Path(stem + ".json").unlink()
    elif damage == "cut tar":
        Path(stem + ".tar").write_bytes(Path(stem + ".tar").read_bytes()[:-512])
    elif damage == "no idx":
        Path(stem + ".idx").unlink()
    elif damage == "cut sidecar":
        Path(stem + ".json").write_bytes(Path(stem + ".json").read_bytes()[:-100])
    assert _finished(stem, "another" if damage == "other job" else "job") is None


def test_members_have_fixed_owner_mode_and_time(tmp_path):
    write_shard(str(tmp_path / "train-000000"), _outcomes("npy"), "job")
    with tarfile.open(tmp_path / "train-000000.tar") as tar:
        marks = {(member.mtime, member.uid, member.gid, member.uname, member.mode) for member in tar}
    assert marks == {(0, 0, 0, "radnet", 0o444)}


def test_files_on_another_store_are_whole_or_absent():
    store.write_atomic("memory://radnet-test/a.bin", b"abc")
    assert store.read_bytes("memory://radnet-test/a.bin") == b"abc"
    assert store.sha256("memory://radnet-test/a.bin") == hashlib.sha256(b"abc").hexdigest()
    assert store.exists("memory://radnet-test/a.bin") and not store.exists("memory://radnet-test/b.bin")
    with pytest.raises(RuntimeError), store.writing("memory://radnet-test/b.bin") as file:
        file.write(b"half")
        raise RuntimeError
    assert not store.exists("memory://radnet-test/b.bin")


@pytest.mark.parametrize("advice", ["taken", "refused", "unknown"])
def test_large_blocks_begin_early_and_the_file_is_the_same(tmp_path, monkeypatch, advice):
    asked = []

    def advise(descriptor, offset, num_bytes, _):
        asked.append((offset, num_bytes))
        if advice == "refused":
            raise OSError("no such advice")

    if advice == "unknown":
        monkeypatch.delattr(os, "posix_fadvise")
    else:
        monkeypatch.setattr(os, "posix_fadvise", advise)
    blocks = [b"small", bytes(range(256)) * (3 << 12), b"end"]
    with store.writing(str(tmp_path / "a.bin")) as file:
        for block in blocks:
            file.write(block)
    assert (tmp_path / "a.bin").read_bytes() == b"".join(blocks)
    assert asked == ([] if advice == "unknown" else [(5, 3 << 20)])


def test_an_index_survives_and_others_are_refused(tmp_path):
    info = store.ShardInfo("train-000000", 3, 10240, "a", "b")
    index = store.Index("npy", {"train": [info], "test": []}, {"config": "c"}, {"sharded": 3}, {"ATTRIBUTION": "d"})
    with pytest.raises(UsageError, match="radnet shard"):
        store.read_index(str(tmp_path))
    store.write_index(str(tmp_path), index)
    assert store.read_index(str(tmp_path)) == index
    content = json.loads((tmp_path / "index.json").read_text())
    assert content["splits"]["train"]["num_samples"] == 3
    wrong = {json.dumps(content | change): "is damaged" for change in ({"splits": 3}, {"totals": {"sharded": 4}})}
    wrong |= {"{": "is damaged", "[]": "is damaged"}
    wrong |= {
        json.dumps(content | {"schema": 1}): "schema 1, this radnet reads 2; make the set again with `radnet shard"
    }
    wrong |= {json.dumps(content | {"schema": 3}): "schema 3, this radnet reads 2; update radnet"}
    for text, said in wrong.items():
        (tmp_path / "index.json").write_text(text)
        with pytest.raises(UsageError, match=said) as caught:
            store.read_index(str(tmp_path))
        assert "\n" not in str(caught.value)
