"""Archive → shard set in a real Ray: every series accounted for, resumed runs identical, no names."""

import csv
import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from radnet import store
from radnet.errors import FINISHED_WITH_FAILURES, OK, UsageError
from radnet.launch import relabel, shard, verify
from radnet.shards import ledger
from radnet.shards.build import build
from radnet.shards.codec import SUFFIX, decode
from radnet.shards.config import PrivacyConfig, ShardConfig, SourceConfig
from radnet.shards.dicom import read_volume
from radnet.shards.inventory import Row, from_table
from radnet.shards.ledger import Status
from radnet.shards.nifti import read_case
from radnet.shards.phantom import write_archive, write_cases


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """Phantom DICOM in folder/in, its truth in folder/truth, two liver cases in folder/cases."""
    folder = tmp_path_factory.mktemp("archive")
    write_archive(folder / "in", folder / "truth", num_patients=4, seed=1, write_masks=False)
    (folder / "in" / "notes.txt").write_text("no image\n")
    write_cases(folder / "cases", num_cases=2, seed=1)
    return folder


def _config(archive: Path, out: Path, codec: str) -> ShardConfig:
    return ShardConfig(
        out=str(out),
        sources=[
            SourceConfig(str(archive / "in"), "dicom", "phantom", "CC0"),
            SourceConfig(str(archive / "cases"), "nifti", "liver", ""),
        ],
        codec=codec,
        shard_bytes=3_000_000,
        privacy=PrivacyConfig("public"),
        num_workers=2,
    )


@pytest.fixture(scope="module")
def built(archive, ray_session, tmp_path_factory) -> ShardConfig:
    config = _config(archive, tmp_path_factory.mktemp("npy") / "set", "npy")
    build(config, print)
    return config


@pytest.fixture(scope="module")
def built_htj2k(archive, ray_session, tmp_path_factory) -> ShardConfig:
    config = _config(archive, tmp_path_factory.mktemp("htj2k") / "set", "htj2k")
    build(config, print)
    return config


@pytest.fixture
def copied(built, tmp_path) -> ShardConfig:
    """A copy of the finished set, to be damaged."""
    shutil.copytree(built.out, tmp_path / "set")
    return replace(built, out=str(tmp_path / "set"))


def _names(config: ShardConfig) -> list[str]:
    index = store.read_index(config.out)
    return [info.name for shards in index.splits.values() for info in shards]


def _map(config: ShardConfig) -> dict[str, dict[str, str]]:
    rows = pyarrow.parquet.read_table(Path(config.out) / "private" / "map.parquet").to_pylist()
    return {row["series_key"]: row for row in rows}


def _inventory(config: ShardConfig) -> list[Row]:
    return from_table(pyarrow.parquet.read_table(Path(config.out) / "private" / "inventory.parquet"))


def _contents(config: ShardConfig) -> dict[str, bytes]:
    out = Path(config.out)
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def _members(config: ShardConfig, label: dict) -> dict[str, bytes]:
    with tarfile.open(Path(config.out) / f"{label['shard']}.tar") as tar:
        found = [member for member in tar if member.name.startswith(label["key"] + ".")]
        return {member.name.partition(".")[2]: tar.extractfile(member).read() for member in found}


def test_the_ledger_accounts_for_every_series_and_file(built, archive):
    rows = ledger.read(str(Path(built.out) / "ledger.parquet"))
    assert len({row.series_key for row in rows}) == len(rows) == len(_inventory(built))
    files = [path for folder in ("in", "cases") for path in (archive / folder).rglob("*") if path.is_file()]
    assert sum(row.num_files for row in rows) == len(files)
    code = {row.series_key: row.code for row in rows}
    found = {names["series_uid"]: code[key] for key, names in _map(built).items()}
    with open(archive / "truth" / "truth.csv", newline="") as file:
        expected = {row["series_uid"]: row["code"] for row in csv.DictReader(file) if row["series_uid"]}
    assert {uid: found[uid] for uid in expected} == expected
    assert {Status.SHARDED, Status.EXCLUDED, Status.FAILED} == {row.status for row in rows}


def test_tables_and_index_agree(built):
    index, labels = store.read_index(built.out), store.read_labels(built.out).to_pylist()
    assert index.totals["sharded"] == len(labels) == len({row["key"] for row in labels})
    assert index.totals["num_bytes"] == sum((Path(built.out) / f"{name}.tar").stat().st_size for name in _names(built))
    assert all(row["shard"].startswith(row["split"] + "-") for row in labels)
    splits: dict[str, set[str]] = {}
    for row in labels:
        splits.setdefault(row["patient_key"], set()).add(row["split"])
    assert {len(found) for found in splits.values()} == {1}
    assert "phantom: 11 series, CC0" in (Path(built.out) / "ATTRIBUTION").read_text()


def test_samples_hold_what_the_reader_reads(built, built_htj2k):
    files = {row.series_key: row for row in _inventory(built)}
    twins = {row["key"]: row for row in store.read_labels(built_htj2k.out).to_pylist()}
    for label in store.read_labels(built.out).to_pylist():
        row, members = files[label["key"]], _members(built, label)
        if row.kind == "dicom":
            volume, mask = read_volume(row.files).volume, None
        else:
            volume, mask = read_case(*row.files)
        geometry = np.frombuffer(members["geometry.npy"][-24 * 8 :])
        np.testing.assert_array_equal(geometry[:3], volume.voxels.shape)
        np.testing.assert_allclose(geometry[3:9], [*volume.spacing_mm, *volume.origin_mm])
        np.testing.assert_allclose(geometry[9:18].reshape(3, 3), volume.direction)
        stored = decode(members[SUFFIX["npy"]], volume.voxels.shape, "npy")
        np.testing.assert_array_equal(stored * geometry[18] + geometry[19], volume.voxels)
        np.testing.assert_allclose(geometry[20:], np.percentile(volume.voxels, [0, 0.5, 99.5, 100]), atol=1e-6)
        twin = _members(built_htj2k, twins[label["key"]])
        np.testing.assert_array_equal(decode(twin[SUFFIX["htj2k"]], volume.voxels.shape, "htj2k"), stored)
        assert ("mask.npy" in members) == (mask is not None)
        if mask is not None:
            assert members["mask.npy"].endswith(mask.tobytes()) and mask.max() > 0


def test_nothing_public_holds_a_name(built, archive):
    names = {value for row in _map(built).values() for value in row.values() if len(value) > 3} - _map(built).keys()
    names -= {row[key] for row in _map(built).values() for key in ("patient_key", "study_key")}
    names |= {str(archive), archive.name}
    assert any(name.startswith("PHANTOM-") for name in names)
    for path in Path(built.out).iterdir():
        if path.is_dir():
            continue
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content = json.dumps(pyarrow.parquet.read_table(path).to_pylist()).encode()
        assert not [name for name in names if name.encode() in content], path.name


def test_private_tables_are_their_owners(built):
    private = Path(built.out) / "private"
    assert private.stat().st_mode & 0o777 == 0o700
    for name in ("inventory.parquet", "map.parquet"):
        assert (private / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", ["sidecar", "tar", "cut tar", "tables", "no map", "cut inventory", "begun"])
def test_a_resumed_run_equals_one_straight_through(built, copied, damage):
    out = Path(copied.out)
    name = _names(copied)[0]
    if damage != "tar":  # a set whose tar vanished after it was finished repairs itself too
        (out / "index.json").unlink()
    if damage == "sidecar":  # killed between tar and sidecar
        (out / f"{name}.json").unlink()
    elif damage == "tar":
        (out / f"{name}.tar").unlink()
    elif damage == "cut tar":
        (out / f"{name}.tar").write_bytes(b"half")
        (out / f"{store.TEMPORARY}{name}.tar-abcd_123").write_bytes(b"left by a process that died")
        (out / "private" / f"{store.TEMPORARY}map.parquet-abcd_123").write_bytes(b"left by a process that died")
    elif damage == "tables":
        (out / "labels.parquet").unlink()
        (out / "ledger.parquet").unlink()
    elif damage == "cut inventory":
        inventory = out / "private" / "inventory.parquet"
        inventory.write_bytes(inventory.read_bytes()[:500])
    elif damage == "no map":
        (out / "private" / "map.parquet").unlink()
    else:  # killed before the inventory was complete
        shutil.rmtree(out)
        (out / "private").mkdir(parents=True)
        (out / "private" / "lock").touch()
        (out / "private" / f"{store.TEMPORARY}map.parquet-abcd_123").write_bytes(b"left by a process that died")
    build(copied, print)
    assert _contents(copied) == _contents(built)


def test_only_missing_shards_are_built(copied):
    out, names = Path(copied.out), _names(copied)
    (out / "index.json").unlink()
    (out / f"{names[0]}.json").unlink()
    before = {name: (out / f"{name}.tar").stat().st_mtime_ns for name in names}
    lines: list[str] = []
    build(copied, lines.append)
    after = {name: (out / f"{name}.tar").stat().st_mtime_ns for name in names}
    assert [name for name in names if before[name] != after[name]] == [names[0]]
    assert f"{len(names) - 1} of {len(names)} shards are there already" in lines


def test_a_finished_set_is_left_alone(built):
    before = {path: path.stat().st_mtime_ns for path in Path(built.out).glob("*.*")}
    lines: list[str] = []
    totals = build(built, lines.append)
    assert lines == [f"{built.out} is finished; nothing to do"] and totals.sharded == 13
    assert before == {path: path.stat().st_mtime_ns for path in Path(built.out).glob("*.*")}


def test_changed_inputs_are_refused_by_name(copied, archive, tmp_path):
    with pytest.raises(UsageError, match="codec was 'npy', is now 'htj2k'"):
        build(replace(copied, codec="htj2k"), print)
    with pytest.raises(UsageError, match=r"privacy\.key"):
        build(replace(copied, privacy=PrivacyConfig(str(tmp_path / "key"))), print)
    shutil.copytree(archive / "in", tmp_path / "in")
    sources = [replace(copied.sources[0], path=str(tmp_path / "in")), copied.sources[1]]
    build(replace(copied, sources=sources), print)  # moved, not changed
    (tmp_path / "in" / "more.txt").write_text("one more file")
    with pytest.raises(UsageError, match="added, removed or replaced"):
        build(replace(copied, sources=sources), print)


def test_sources_that_make_no_shard_set_are_refused(archive, ray_session, tmp_path):
    def refused(said: str, out: Path, source: Path) -> None:
        config = _config(archive, out, "npy")
        config.sources = [SourceConfig(str(source))]
        with pytest.raises(UsageError, match=said):
            build(config, print)

    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("no image")
    refused("not a folder", tmp_path / "out", tmp_path / "nowhere")
    refused("no file in", tmp_path / "out", tmp_path / "empty")
    refused("no DICOM file", tmp_path / "out", tmp_path / "texts")
    refused("out lies inside source", archive / "in" / "out", archive / "in")
    refused("source lies inside out", archive, archive / "in")
    refused("is a file or lies below one", tmp_path / "texts" / "a.txt" / "out", archive / "in")


def test_the_program_ends_with_the_code_that_says_so(built, tmp_path, capsys):
    config = tmp_path / "config.yaml"
    sources = [vars(source) for source in built.sources]
    config.write_text(json.dumps({"sources": sources, "shard_bytes": built.shard_bytes, "privacy": {"key": "public"}}))
    assert shard.main([str(config), f"out={built.out}", "codec=npy"]) == FINISHED_WITH_FAILURES
    assert "13 series sharded" in capsys.readouterr().out


def test_a_whole_set_is_verified(built, built_htj2k, capsys):
    assert verify.main([built.out]) == OK and verify.main([built_htj2k.out]) == OK
    assert "whole" in capsys.readouterr().out


def test_the_same_rules_make_the_same_table_again(built, copied, tmp_path):
    (tmp_path / "none.csv").write_text("series_key,label,value,who,why\n")
    (Path(copied.out) / "labels.parquet").write_bytes(b"lost")
    assert relabel.main([copied.out, "--overrides", str(tmp_path / "none.csv")]) == OK
    assert _contents(copied) == _contents(built)


def test_labels_set_by_hand_are_in_the_table_and_in_no_shard(built, copied, tmp_path):
    """They are no setting: a set that was begun without them is finished with them."""
    key = store.read_labels(built.out).to_pylist()[0]["key"]
    (tmp_path / "o.csv").write_text(f"series_key,label,value,who,why\n{key},sequence,DWI,me,\n")
    (Path(copied.out) / "index.json").unlink()
    build(replace(copied, overrides=str(tmp_path / "o.csv")), print)
    assert store.read_labels(copied.out).to_pylist()[0]["family"] == "DWI"
    same = [name for name in _contents(built) if name not in ("labels.parquet", "index.json")]
    assert all(_contents(copied)[name] == _contents(built)[name] for name in same)
    assert verify.main([copied.out]) == OK
    (Path(copied.out) / "index.json").unlink()
    (tmp_path / "o.csv").write_text("series_key,label,value,who,why\nzz,view,axial,me,\n")
    with pytest.raises(UsageError, match="line 2: no series has the key 'zz'"):
        build(replace(copied, overrides=str(tmp_path / "o.csv")), print)
