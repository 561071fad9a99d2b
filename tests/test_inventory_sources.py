"""Sources of an inventory: manifests looked up in an index, folders and URLs whose headers are read; refusals."""

import functools
import http.server
import json
import threading
from pathlib import Path

import fsspec
import pyarrow.parquet
import pytest

from radnet.errors import UsageError
from radnet.launch.inventory import main
from radnet.shards import packed
from radnet.shards.config import SplitsConfig
from radnet.shards.inventory import remote
from radnet.shards.inventory.options import ListedConfig
from radnet.shards.ledger import Code
from radnet.shards.plan import split_of
from radnet.shards.privacy import load_key
from tests.idc import series, uuid_of, write_index
from tests.series import write_series


@pytest.fixture
def index(tmp_path) -> str:
    rows = [series(at, license_short_name="CC BY-NC 3.0" if at == 2 else "CC BY 4.0") for at in range(6)]
    prior = [{"crdc_series_uuid": uuid_of(91), "SeriesInstanceUID": "1.2.4"}]
    prior.append({"crdc_series_uuid": uuid_of(92), "SeriesInstanceUID": "9.9.9"})
    return write_index(tmp_path / "index", rows, prior)


def run(tmp_path, *words: str) -> dict:
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    return json.loads((tmp_path / "out" / "summary.json").read_text())


def uids(tmp_path) -> list[str]:
    table = pyarrow.parquet.read_table(tmp_path / "out" / "inventory.parquet")
    return table["SeriesInstanceUID"].to_pylist()


def test_an_s5cmd_manifest_is_looked_up(tmp_path, index, capsys):
    lines = ["cp_command", *(f"cp s3://idc-open-data/{uuid_of(at)}/* ." for at in (3, 1, 2, 91, 92, 500))]
    (tmp_path / "m.txt").write_text("\n".join(lines))
    found = run(tmp_path, str(tmp_path / "m.txt"), f"index={index}")
    assert uids(tmp_path) == ["1.2.1", "1.2.2", "1.2.3", "1.2.4"]  # of an earlier release, too; no licence left out
    assert found["manifest"]["absent"] == {uuid_of(92): 6, uuid_of(500): 7}
    assert found["manifest"]["revised"] == {uuid_of(91): "1.2.4"}
    assert found["manifest"]["bad_lines"] == ["line 1: not a cp line: cp_command"] and found["source"] == "s5cmd"
    printed = capsys.readouterr().out
    assert (
        f"line 7: {uuid_of(500)}" in printed and "1 are of an earlier release" in printed and "line 1: not a" in printed
    )
    again = (tmp_path / "out" / "manifest.s5cmd").read_text()
    assert f"cp s3://idc-open-data/{uuid_of(4)}/* ." in again and uuid_of(91) not in again
    run(tmp_path, str(tmp_path / "m.txt"), f"index={index}", "exclude_licences=['*-NC*']")
    assert uids(tmp_path) == ["1.2.1", "1.2.3", "1.2.4"]


def test_a_tcia_manifest_is_looked_up_and_its_splits_are_those_of_the_index(tmp_path, index):
    (tmp_path / "m.tcia").write_text("x=y\nListOfSeriesToDownload=\n1.2.5\n1.2.0\n2.7.7\n")
    found = run(tmp_path, str(tmp_path / "m.tcia"), f"index={index}", "--all")
    assert uids(tmp_path) == ["1.2.0", "1.2.5"] and found["manifest"]["absent"] == {"2.7.7": 5}
    part = pyarrow.parquet.read_table(tmp_path / "out" / "inventory.parquet").select(["SeriesInstanceUID", "split"])
    run(tmp_path, "--idc", f"index={index}")
    whole = pyarrow.parquet.read_table(tmp_path / "out" / "inventory.parquet").select(["SeriesInstanceUID", "split"])
    assert all(row in whole.to_pylist() for row in part.to_pylist())


def test_a_patient_shared_with_a_collection_outside_a_manifest_keeps_its_split(tmp_path):
    rows = [series(at, PatientID=f"P{at % 30}", collection_id="alpha" if at < 30 else "beta") for at in range(60)]
    folder = write_index(tmp_path / "index", rows)
    (tmp_path / "m.tcia").write_text("ListOfSeriesToDownload=\n" + "\n".join(f"1.2.{at}" for at in range(30, 60)))
    run(tmp_path, str(tmp_path / "m.tcia"), f"index={folder}")
    table = pyarrow.parquet.read_table(tmp_path / "out" / "inventory.parquet")
    key = load_key("public")
    expected = [split_of(key.hash("patient", f"alpha\0P{at}"), SplitsConfig()) for at in range(30)]
    assert table["split"].to_pylist() == expected and len(set(expected)) > 1


@pytest.mark.parametrize(
    "name", ["a.zip", "A.ZIP", "b.tar", "b.tar.gz", "c.tgz", "d.7z", "e.rar", "f.dcm.gz", "g.tar.zst"]
)
def test_packed_files_are_refused_with_a_hint(tmp_path, name):
    with pytest.raises(UsageError, match="unpack them") as caught:
        refuse_named("ok.dcm", name)
    said = str(caught.value)
    assert name in said and "\n" not in said and ("with: unzip" in said) == name.lower().endswith("zip")
    refuse_named("zip", "x.dcm", "zip.dcm", "1.2.3", "a", "gz")


def refuse_named(*names: str) -> None:
    packed.refuse({name: packed.how_to_unpack(name) for name in names})


@pytest.mark.parametrize(
    ("name", "start", "how"),
    [
        ("a.dcm.bz2", b"", "bunzip2 FILE"),
        ("a.TAR.XZ", b"", "tar xf FILE"),
        ("export", b"PK\x03\x04", "unzip FILE -d FOLDER"),
        ("export.dcm", b"\x1f\x8b\x08", "gunzip FILE"),
        ("export", bytes(257) + b"ustar\0", "tar xf FILE"),
        ("export.7z", b"7z\xbc\xaf", "7z x FILE"),
        ("1.dcm", bytes(128) + b"DICM", ""),
        ("notes.txt", b"packed", ""),
    ],
)
def test_packed_files_are_known_by_name_and_by_their_first_bytes(name, start, how):
    assert packed.how_to_unpack(name, start) == how
    assert packed.how_of(f"1 of 1 files; {packed.detail(name, start)}") == how


@pytest.fixture
def archive(tmp_path) -> Path:
    folder = tmp_path / "archive"
    write_series(folder / "one", 20)
    write_series(folder / "two", 18, modality="MR", edit=lambda d, _: _rename(d, "1.5", "Secret t2_tse_tra"))
    write_series(folder / "few", 3, edit=lambda d, _: _rename(d, "1.6", "Axial"))
    (folder / "cut.dcm").write_bytes(bytes(128) + b"DICM")
    (folder / "loop").symlink_to(folder)
    (folder / "linked").symlink_to(folder / "one")
    return folder


def _rename(dataset, uid: str, description: str) -> None:
    dataset.SeriesInstanceUID, dataset.SeriesDescription = uid, description


def _check(table, has_key: bool = True) -> None:
    by_size = {row["instanceCount"]: row for row in table.to_pylist()}
    assert sorted(by_size) == [1, 3, 18, 20] and len(table) == 4
    assert by_size[18]["sequence"] == "T2-SE" and by_size[20]["family"] == "CT"
    assert by_size[20]["view"] == "axial" and by_size[20]["num_slices"] == 20 and by_size[20]["selected"]
    assert by_size[1]["reason"] == Code.UNREADABLE and not by_size[1]["selected"]
    assert by_size[3]["reason"] == "too_few_slices" and by_size[20]["voxel_bytes"] == 20 * 6 * 5 * 2
    text = str(table.to_pylist())
    assert not any(name in text for name in ("Secret", "Doe", "PHANTOM-1", "20200101", "archive/", "1.2.3.4"))


@pytest.mark.slow
def test_a_folder_is_read_as_sharding_reads_it(tmp_path, archive):
    words = ["collection=toy", f"privacy.key={tmp_path / 'key'}", "min_slices=16", "num_workers=2"]
    found = run(tmp_path, str(archive), *words, "--all")
    table = pyarrow.parquet.read_table(tmp_path / "out" / "inventory.parquet")
    _check(table)
    key = load_key(str(tmp_path / "key"))
    patient = key.hash("patient", "toy\0PHANTOM-1")
    series_key = key.hash("series", "1.2.3.4")
    row = next(row for row in table.to_pylist() if row["series_key"] == series_key)
    assert row["patient_key"] == patient and row["split"] == split_of(patient, SplitsConfig())
    assert found["source"] == "folder" and not (tmp_path / "out" / "manifest.s5cmd").exists()
    assert "download" not in {figure["name"] for figure in found["budget"]}
    by_url = run(tmp_path, f"file://{archive}", *words, "--all")
    assert pyarrow.parquet.read_table(tmp_path / "out" / "inventory.parquet").equals(table)
    assert by_url["series"] == found["series"] == {"all": 4, "selected": 2}


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def served(archive):
    (archive / "loop").unlink()
    (archive / "linked").unlink()
    handler = functools.partial(_Quiet, directory=str(archive))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def test_a_url_is_read_as_a_folder_is(tmp_path, served):
    words = ["collection=toy", f"privacy.key={tmp_path / 'key'}", "min_slices=16", "num_workers=2"]
    found = run(tmp_path, served, *words, "--all")
    _check(pyarrow.parquet.read_table(tmp_path / "out" / "inventory.parquet"))
    assert found["source"] == "url" and found["series"]["selected"] == 2


def test_an_object_store_is_read_as_a_folder_is(tmp_path, s3, archive):
    bucket = s3.bucket("box")
    for path in sorted((archive / "one").iterdir()):
        fsspec.filesystem("s3").put_file(str(path), f"{bucket}/in/{path.name}")
    found = run(tmp_path, f"{bucket}/in", f"privacy.key={tmp_path / 'key'}", "min_slices=16", "num_workers=1")
    assert found["counts"]["family"] == {"CT": 1}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("memory://nowhere", "one process alone"),
        ("nosuch://host/path", "cannot be opened"),
        ("http://user:word@127.0.0.1:9/x", "holds no file|cannot be listed"),
    ],
)
def test_a_url_that_cannot_be_listed_is_refused(url, said):
    with pytest.raises(UsageError, match=said) as caught:
        remote.from_url(url, ListedConfig(), print)
    assert "\n" not in str(caught.value) and "word" not in str(caught.value)


def test_mistakes_are_told_in_one_line(tmp_path, index, archive):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04rest")
    (tmp_path / "m.tcia").write_text("ListOfSeriesToDownload=\n2.7.7\n")
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.doc").write_text("mine")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "summary.json").write_text('{"other": 1}')
    for name in ("packed/series.zip", "hidden/export"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"PK\x03\x04")
    write_series(tmp_path / "hidden", 20)
    (tmp_path / "empty").mkdir()
    idc, out, key = f"index={index}", str(tmp_path / "out"), f"privacy.key={tmp_path / 'key'}"
    for words, said in [
        (["--out", out], "no source was given"),
        (["--idc", "a", "b", "--out", out], "expected one CONFIG"),
        (["--idc", "nosuchconfig", "--out", out], "does not exist; give a YAML file or one of radnet's own"),
        (["--idc", idc, "collections=[nowhere]", "--out", out], "unknown collection"),
        (["--idc", idc, "modalities=[XX]", "--out", out], "no series is left of 6"),
        (["--idc", idc, "minslices=3", "--out", out], "unknown key 'minslices'; did you mean 'min_slices'"),
        (["--idc", idc, "--out", str(full)], "not an earlier inventory .*'thesis.doc'.*; name another folder"),
        (["--idc", idc, "--out", str(foreign)], "not an earlier inventory"),
        (["--idc", idc, "--out", str(tmp_path / "notes.txt")], "is a file; name a folder"),
        (["--idc", f"index={tmp_path / 'empty'}", "--out", out], "does not exist; expected a folder with the tables"),
        ([str(tmp_path / "gone"), "--out", out], "source .* does not exist"),
        ([str(tmp_path / "notes.txt"), "--out", out], "is no manifest"),
        ([str(tmp_path / "a.zip"), "--out", out], "is a packed file; unpack it"),
        ([str(tmp_path / "m.tcia"), idc, "--out", out], "none is in the index of IDC .first: 2.7.7"),
        ([str(tmp_path / "packed"), key, "--out", out], "a packed file, 'series.zip'; unpack"),
        ([str(tmp_path / "hidden"), key, "--out", out], "a packed file, 'export'; unpack .*: unzip FILE"),
        ([str(archive), key, "--out", str(archive / "out")], "lies inside the source"),
        ([str(archive), "num_workers=-1", "--out", out], "num_workers"),
    ]:
        with pytest.raises(UsageError, match=said) as caught:
            main(words)
        assert "\n" not in str(caught.value) and not Path(out).exists(), words
    assert sorted(path.name for path in full.iterdir()) == ["thesis.doc"]


def test_an_interrupted_inventory_is_not_taken_for_a_finished_one(tmp_path, index, monkeypatch):
    run(tmp_path, "--idc", f"index={index}")
    monkeypatch.setattr("radnet.shards.inventory.output.write_s5cmd", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, "--idc", f"index={index}")
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["finished"] is False
    monkeypatch.undo()
    found = run(tmp_path, "--idc", f"index={index}")
    assert found["finished"] is True and found["series"]["selected"] == 5
