"""The inventory: every file in one row, names only where they belong, keys that never change."""

import json
import os
import stat
from dataclasses import replace

import pytest

from radnet.errors import UsageError
from radnet.shards.dicom import read_header
from radnet.shards.inventory import Archive, from_table, group_all, list_files, pack, private_map, to_table
from radnet.shards.ledger import Code
from radnet.shards.privacy import PrivacyKey, load_key
from tests.series import grouped, image, stored_voxels, write, write_series

SECRET = PrivacyKey(bytes(range(32)), is_public=False)


def rows_of(folder, key=SECRET):
    return grouped([read_header(path) for path in list_files(str(folder))], key)


def test_files_are_listed_once_through_links_and_loops(tmp_path):
    (tmp_path / "b" / "c").mkdir(parents=True)
    for name in ("z", "b/y", "b/c/x"):
        (tmp_path / name).write_bytes(b"1")
    (tmp_path / "b" / "c" / "loop").symlink_to(tmp_path)
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    expected = sorted(str(tmp_path / name) for name in ("z", "b/y", "b/c/x", "broken"))
    assert list_files(str(tmp_path)) == expected
    assert read_header(str(tmp_path / "broken")).code is Code.UNREADABLE


def test_links_in_a_circle_are_files_that_fail(tmp_path):
    (tmp_path / "self").symlink_to("self")
    assert list_files(str(tmp_path)) == [str(tmp_path / "self")]
    assert [row.code for row in rows_of(tmp_path)] == [Code.UNREADABLE]


def test_names_that_are_no_text_survive(tmp_path):
    (file,) = write_series(tmp_path / "a", 1)
    folder = os.fsencode(tmp_path) + b"/\xff\xfe"
    os.mkdir(folder)
    os.rename(file, folder + b"/b\xff\n")
    (row,) = rows_of(tmp_path)
    (back,) = from_table(to_table([row]))
    assert os.fsencode(back.files[0]) == folder + b"/b\xff\n"
    assert private_map([pack(row)])["folder"][0].as_py().endswith("/\\xff\\xfe")


def test_a_series_in_two_sources_is_one_of_the_first_that_holds_it(tmp_path):
    files = write_series(tmp_path, 20)
    halves = [
        Archive([read_header(path) for path in sorted(files)[start::2]], name, "")
        for start, name in ((0, "b"), (1, "a"))
    ]
    (row,) = group_all([Archive([], "empty", ""), *halves], SECRET)
    assert (row.collection, row.header["num_slices"], len(row.files)) == ("b", 20, 20)
    assert row.detail == "its files lie in 2 sources" and row.code is Code.OK


def test_a_series_of_two_patients_fails(tmp_path):
    def edit(dataset, number):
        dataset.PatientID = f"PHANTOM-{number % 2}"

    write_series(tmp_path, 4, edit=edit)
    (row,) = rows_of(tmp_path)
    assert row.code is Code.MIXED_GEOMETRY and "more than one patient" in row.detail and "PHANTOM" not in row.detail


def test_a_packed_file_is_a_row_that_says_how_to_unpack_it(tmp_path):
    (tmp_path / "export").write_bytes(b"PK\x03\x04" + bytes(40))
    (row,) = rows_of(tmp_path)
    assert row.code is Code.NOT_DICOM and row.detail.endswith("for example with: unzip FILE -d FOLDER")


def test_a_missing_folder_is_the_users_to_mend(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        list_files(str(tmp_path / "nowhere"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_is_not_skipped(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0)
    assert list_files(str(tmp_path)) == [str(closed)]
    assert read_header(str(closed)).code is Code.UNREADABLE


def test_every_file_is_in_one_row(tmp_path):
    write_series(tmp_path / "one", 3)
    write_series(tmp_path / "two", 4, edit=lambda dataset, _: setattr(dataset, "SeriesInstanceUID", "1.9"))
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "cut.dcm").write_bytes(bytes(128) + b"DICM")
    rows = rows_of(tmp_path)
    assert sorted(file for row in rows for file in row.files) == list_files(str(tmp_path))
    assert sorted(row.code for row in rows) == [Code.NOT_DICOM, Code.OK, Code.OK, Code.UNREADABLE]
    assert len({row.series_key for row in rows}) == 4
    assert all(row.num_bytes == sum(map(os.path.getsize, row.files)) for row in rows)


def test_a_row_describes_its_series(tmp_path):
    write_series(tmp_path, 20, step_mm=(0, 1.5, -2))
    (row,) = rows_of(tmp_path)
    assert (row.kind, row.collection, row.licence, row.code) == ("dicom", "toy", "CC0", Code.OK)
    assert row.slices[0] == [0, 28.5, -38] and row.slices[-1] == [0, 0, 0]
    derived = [row.header[name] for name in ("num_slices", "slice_spacing_mm", "extent_mm", "collection")]
    assert derived == [20, pytest.approx(2.0), pytest.approx(40.0), "toy"]


def test_uneven_positions_leave_the_spacing_out(tmp_path):
    write_series(tmp_path, 20, skip=[7])
    (row,) = rows_of(tmp_path)
    assert row.header["num_slices"] == 19 and "slice_spacing_mm" not in row.header


def test_a_scout_is_no_candidate_and_a_damaged_file_fails_its_series(tmp_path):
    def scout(dataset, number):
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    write_series(tmp_path / "scout", 2, edit=scout)
    assert [row.code for row in rows_of(tmp_path / "scout")] == [Code.LOCALIZER]
    files = write_series(tmp_path / "cut", 5)
    with open(files[2], "r+b") as file:
        file.truncate(os.path.getsize(files[2]) - 10)
    assert [row.code for row in rows_of(tmp_path / "cut")] == [Code.TRUNCATED]


def test_a_diffusion_series_says_so_whichever_slice_is_in_the_middle(tmp_path):
    def edit(dataset, number):
        dataset.DiffusionBValue = 1000.0 if number == 0 else 0.0

    write_series(tmp_path, 5, modality="MR", edit=edit)
    assert rows_of(tmp_path)[0].header["DiffusionBValue"] == 1000.0


def test_names_stay_in_private_and_files(tmp_path):
    write_series(tmp_path, 3, edit=lambda dataset, _: setattr(dataset, "AccessionNumber", "ACC77"))
    rows = rows_of(tmp_path)
    public = str(to_table(rows).drop_columns(["files"]).to_pylist())
    assert not any(name in public for name in ("Doe", "PHANTOM-1", "1.2.3", "20200101", "ACC77", str(tmp_path)))
    named = private_map(map(pack, rows)).to_pylist()[0]
    assert (named["series_uid"], named["patient_id"], named["folder"]) == ("1.2.3.4", "PHANTOM-1", str(tmp_path))


def test_tables_round_trip(tmp_path):
    write_series(tmp_path, 3)
    rows = rows_of(tmp_path)
    table = to_table(rows)
    assert json.loads(table["header"][0].as_py())["Modality"] == "CT"
    (back,) = from_table(table)
    rows[0].private = {}
    assert back == rows[0] and back.code is Code.OK


def test_keys_follow_patient_and_study(tmp_path):
    for number, (series, study, patient) in enumerate(
        [("1.1", "1", "A"), ("1.2", "1", "A"), ("1.3", "2", ""), ("1.4", "3", "")]
    ):
        dataset = image(stored_voxels(1)[0], [0, 0, 0], uid=series)
        dataset.StudyInstanceUID, dataset.PatientID = study, patient
        write(tmp_path / f"{number}.dcm", dataset)
    rows = rows_of(tmp_path)
    assert rows[0].patient_key == rows[1].patient_key and rows[0].study_key == rows[1].study_key
    assert len({row.patient_key for row in rows}) == 3  # without a PatientID the study stands for the patient
    assert all(len(key) == 20 and int(key, 16) >= 0 for row in rows for key in (row.series_key, row.patient_key))


def test_the_public_key_takes_phantoms_only(tmp_path):
    write_series(tmp_path, 3)
    assert rows_of(tmp_path, load_key("public"))
    write(tmp_path / "real.dcm", image(stored_voxels(1)[0], [0, 0, 0], uid="1.7"))
    dataset = image(stored_voxels(1)[0], [0, 0, 0], uid="1.8")
    dataset.PatientID = "1234567"
    write(tmp_path / "real.dcm", dataset)
    with pytest.raises(UsageError, match="privacy.key") as caught:
        rows_of(tmp_path, load_key("public"))
    assert "1234567" not in str(caught.value) and "\n" not in str(caught.value)


def test_the_public_key_takes_what_a_public_archive_holds(tmp_path):
    """The records of that archive only; another one beside it is asked for its phantoms as ever."""
    dataset = image(stored_voxels(1)[0], [0, 0, 0])
    dataset.PatientID = "TCGA-02-0001"
    record = read_header(write(tmp_path / "a.dcm", dataset))
    idc = Archive([record], "tcga_gbm", "CC BY 3.0", is_public=True)
    own = Archive([replace(record, series_uid="1.9")], "own", "")
    (row,) = group_all([idc], load_key("public"))
    assert row.code is Code.OK and row.collection == "tcga_gbm"
    with pytest.raises(UsageError, match="privacy.key"):
        group_all([idc, own], load_key("public"))
    assert len(group_all([idc, own], SECRET)) == 2


def test_a_key_file_is_made_once_and_kept_private(tmp_path):
    path = tmp_path / "new" / "folder" / "key"
    key = load_key(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text().strip()) == 64 and [entry.name for entry in path.parent.iterdir()] == ["key"]
    assert load_key(str(path)) == key and not key.is_public
    assert load_key(str(tmp_path / "other")).fingerprint != key.fingerprint
    assert key.secret.hex() not in repr(key)


@pytest.mark.parametrize("content", ["", "hello", "ab" * 31, "zz" * 32])
def test_a_wrong_key_file_is_refused(tmp_path, content):
    (tmp_path / "key").write_text(content)
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        load_key(str(tmp_path / "key"))


def test_golden_hashes():
    assert load_key("public").hash("patient", "PHANTOM-1") == "219f65e4fbf81a729974"
    assert SECRET.hash("series", "1.2.3") != SECRET.hash("study", "1.2.3")
