"""Archives and shard sets on a real S3 API: in and out, with faults, by manifest, and no secret or name anywhere."""

import os
import subprocess
import sys
import tempfile
import uuid
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

from radnet import store
from radnet.errors import UsageError
from radnet.launch import verify
from radnet.shards import actors, ledger
from radnet.shards.build import build
from radnet.shards.config import PrivacyConfig, ShardConfig, SourceConfig, SplitsConfig
from radnet.shards.ledger import Code
from radnet.shards.phantom import write_archive
from tests.s3 import Faults


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    write_archive(folder / "in", folder / "truth", num_patients=2, seed=1, write_masks=False)
    return folder


@pytest.fixture
def home(monkeypatch, tmp_path) -> Path:
    """Where private tables of sets on a store lie."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "radnet"


def _config(source: str, out: str, **values) -> ShardConfig:
    return ShardConfig(
        out,
        [SourceConfig(source, "dicom", "phantom", "CC0")],
        "npy",
        SplitsConfig(0.6, 0.2, 0.2),
        shard_bytes=1_000_000,
        num_workers=1,
        privacy=PrivacyConfig("public"),
        **values,
    )


def _upload(archive: Path, bucket: str) -> None:
    fsspec.filesystem("s3").put(f"{archive / 'in'}/", f"{bucket}/in/", recursive=True)


def _public(root: str) -> dict[str, bytes]:
    """Name → content of what a shard set holds for everybody, run.json apart: it says when files were modified."""
    return {name: store.read_bytes(store.join(root, name)) for name in store.sizes(root) if name != "run.json"}


def _codes(root: str) -> dict[str, str]:
    return {row.series_key: row.code for row in ledger.read(store.join(root, "ledger.parquet"))}


@pytest.mark.slow
def test_a_set_from_store_to_store_equals_one_from_disk_to_disk(archive, s3, home, tmp_path, capfd):
    bucket = s3.bucket("radnet")
    _upload(archive, bucket)
    lines: list[str] = []
    with actors.session(1, ""):
        local = build(_config(str(archive / "in"), str(tmp_path / "out")), print)
        # Requests fail, answers trickle, connections break: some retries later everything is the same.
        s3.faults = Faults(every=3, kind="500")
        remote = build(_config(f"{bucket}/in", f"{bucket}/out"), lines.append)
        assert s3.failed["500"] > 20
        s3.faults = Faults()
        assert (remote.sharded, remote.excluded, remote.failed) == (local.sharded, local.excluded, local.failed)
        # Times of modification are in plan.parquet's marks, and a file of no series is named by where it lies.
        shards = {
            name: content for name, content in _public(str(tmp_path / "out")).items() if name.endswith(("tar", "idx"))
        }
        assert shards and shards.items() <= _public(f"{bucket}/out").items()
        assert verify.main([f"{bucket}/out"]) == 0
        assert build(_config(f"{bucket}/in", f"{bucket}/out"), lines.append) == replace(remote, failures=())
        assert lines[-1] == f"{bucket}/out is finished; nothing to do"
    (private,) = home.iterdir()
    assert private.stat().st_mode & 0o777 == 0o700 and (private / "map.parquet").is_file()
    assert not any("private" in name for name in fsspec.filesystem("s3").find(f"{bucket}/out"))
    said = "".join(lines) + "".join(capfd.readouterr())
    assert "testing" not in said and not any("testing" in text for text in map(str, _public(f"{bucket}/out").values()))


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.slow) for kind in ("reset", "cut", "503")])
def test_faults_of_the_network_lose_nothing(archive, s3, home, kind):
    bucket = s3.bucket("radnet")
    _upload(archive, bucket)
    s3.faults = Faults(every=7, kind=kind, drip_bytes=0)
    with actors.session(1, ""):
        totals = build(_config(f"{bucket}/in", f"{bucket}/out"), print)
        s3.faults = Faults()
        assert s3.failed[kind] > 5 and verify.main([f"{bucket}/out"]) == 0
    assert (totals.sharded, totals.failed) == (5, 1)  # the phantom has one truncated series


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_from_another_machine(archive, s3, home, tmp_path, monkeypatch):
    bucket = s3.bucket("radnet")
    _upload(archive, bucket)
    config = _config(f"{bucket}/in", f"{bucket}/out")
    with actors.session(1, ""):
        build(config, print)
        straight = _public(config.out)
        names = sorted(
            name.removesuffix(".json") for name in straight if name.startswith("t") and name.endswith(".json")
        )
        for name in ("index.json", "labels.parquet", f"{names[0]}.json", f"{names[-1]}.idx"):
            store.remove(f"{config.out}/{name}")
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))  # nothing of the first machine is here
        lines: list[str] = []
        build(config, lines.append)
        assert _public(config.out) == straight
        assert f"{len(names) - 2} of {len(names)} shards are there already" in lines
        with pytest.raises(UsageError, match="codec was 'npy'"):
            build(replace(config, codec="htj2k"), print)


def test_idcs_layout_by_its_own_manifest(archive, s3, home, tmp_path):
    """s5cmd's lines unchanged: s3://idc-open-data/UUID/* each; what the index does not know is called as configured."""
    bucket = s3.bucket("idc-open-data")
    folders: dict[str, str] = {}
    for path in sorted((archive / "in").rglob("*")):
        if path.is_file():
            folder = folders.setdefault(str(path.parent), str(uuid.uuid5(uuid.NAMESPACE_OID, str(path.parent))))
            fsspec.filesystem("s3").put_file(str(path), f"{bucket}/{folder}/{path.name}")
    lines = ["# made by a portal", "Manifest of a cohort", *(f"cp {bucket}/{one}/* ." for one in folders.values())]
    (tmp_path / "manifest.s5cmd").write_text("\n".join(lines) + "\n")
    config = _config(str(tmp_path / "manifest.s5cmd"), str(tmp_path / "out"))
    config.sources[0].doi = "10.1/x"
    with actors.session(1, ""):
        totals = build(config, print)
        local = build(_config(str(archive / "in"), str(tmp_path / "local")), print)
    assert (totals.sharded, totals.excluded, totals.failed) == (local.sharded, local.excluded, local.failed)
    assert (
        f"phantom: {totals.sharded} series, CC0, https://doi.org/10.1/x" in (tmp_path / "out/ATTRIBUTION").read_text()
    )
    (tmp_path / "manifest.s5cmd").write_text(f"cp {bucket}/{uuid.uuid4()}/* .\n")
    with pytest.raises(UsageError, match="holds no file; take it out of the manifest"):
        build(replace(config, out=str(tmp_path / "none")), print)


@pytest.mark.slow
def test_an_object_that_changes_or_vanishes_fails_its_series_alone(archive, s3, home, monkeypatch):
    from radnet.shards import kept

    bucket = s3.bucket("radnet")
    _upload(archive, bucket)
    system = fsspec.filesystem("s3")
    save = kept.save

    def save_and_damage(private, entries, made_of):
        save(private, entries, made_of)
        one, other = [entry.unpack() for entry in entries if entry.code is Code.OK][:2]
        system.rm_file(one.files[0])
        system.pipe_file(other.files[0], b"another")

    monkeypatch.setattr(kept, "save", save_and_damage)
    with actors.session(1, ""):
        build(_config(f"{bucket}/in", f"{bucket}/out"), print)
    found = list(_codes(f"{bucket}/out").values())
    assert found.count(Code.CHANGED) == 1 and found.count(Code.UNREADABLE) >= 1


def test_nothing_is_left_on_disk_of_a_worker_that_is_killed(tmp_path):
    """Its folder goes when the next process starts, and only then: a living one keeps its own."""
    code = "from radnet.shards.fetch import scratch; import os, sys; print(scratch(), flush=True); sys.stdin.read()"
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        for _ in range(2)
    ]
    folders = [Path(one.stdout.readline().decode().strip()) for one in started]
    assert all(folder.is_dir() and folder.parent == tmp_path for folder in folders)
    started[0].kill()
    started[0].wait()
    third = subprocess.run([sys.executable, "-c", code], input=b"", stdout=subprocess.PIPE, env=environment, check=True)
    assert third.stdout and not folders[0].exists() and folders[1].exists()
    started[1].communicate()


def test_a_store_that_stays_away_is_said_in_one_line(s3, home, monkeypatch, tmp_path):
    with pytest.raises(UsageError, match="cannot be listed|holds no file"):
        build(_config("s3://nowhere/in", str(tmp_path / "out")), print)
    assert not (tmp_path / "out").exists()


def test_only_the_start_of_a_large_file_is_fetched_for_its_header(s3, tmp_path):
    """And a header longer than that start is fetched whole."""
    import numpy as np

    from radnet.shards.dicom import read_header
    from radnet.shards.fetch import read_headers
    from tests.series import image, write

    bucket = s3.bucket("radnet")
    large = image(np.zeros((400, 400), np.int16), [0, 0, 0])
    long = image(np.zeros((400, 400), np.int16), [0, 0, 0])
    long.add_new(0x00091010, "OB", bytes(100_000))
    paths = [write(tmp_path / "large.dcm", large), write(tmp_path / "long.dcm", long)]
    system = fsspec.filesystem("s3")
    for path in paths:
        system.put_file(path, f"{bucket}/{Path(path).name}")
    urls = [f"{bucket}/{Path(path).name}" for path in paths]
    records = read_headers(urls, [[os.path.getsize(path), 5] for path in paths])
    for url, path, record in zip(urls, paths, records, strict=True):
        expected = replace(read_header(path), path=url, mtime_ns=5)
        assert record == expected
    assert not any(Path(tempfile.gettempdir()).glob("tmp*"))
