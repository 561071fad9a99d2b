"""What goes wrong around `radnet shard`: foreign folders, sources that vanish or change, damaged state, names."""

import fcntl
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pyarrow.parquet
import pytest
from pydicom.datadict import DicomDictionary

from radnet import store
from radnet.errors import USAGE, UsageError
from radnet.launch.verify import main as verify_main
from radnet.shards import actors, kept, ledger, verify
from radnet.shards.build import build
from radnet.shards.config import PrivacyConfig, ShardConfig, SourceConfig, SplitsConfig
from radnet.shards.ledger import Code, LedgerRow
from tests.series import write_series


@pytest.fixture(scope="module", autouse=True)
def ray_session():
    with actors.session(1, ""):
        yield


def config_of(out: Path, *sources: SourceConfig) -> ShardConfig:
    splits = SplitsConfig(0.6, 0.2, 0.2)
    return ShardConfig(str(out), list(sources), "npy", splits, num_workers=1, privacy=PrivacyConfig("public"))


def give_uid(uid: str):
    return lambda dataset, number: setattr(dataset, "SeriesInstanceUID", uid)


def two_series(folder: Path) -> ShardConfig:
    for uid in ("1.2", "1.3"):
        write_series(folder / "in" / uid, edit=give_uid(uid))
    return config_of(folder / "out", SourceConfig(str(folder / "in")))


@pytest.fixture
def config(tmp_path) -> ShardConfig:
    """Two small series, not sharded yet."""
    return two_series(tmp_path)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> ShardConfig:
    config = two_series(tmp_path_factory.mktemp("built"))
    build(config, print)
    return config


@pytest.fixture
def finished(built, tmp_path) -> ShardConfig:
    """A copy of a finished set, to be damaged."""
    shutil.copytree(built.out, tmp_path / "set")
    return replace(built, out=str(tmp_path / "set"))


def rows_of(config: ShardConfig) -> list[LedgerRow]:
    return ledger.read(str(Path(config.out) / "ledger.parquet"))


def after_saving(monkeypatch, happens) -> None:
    """Let something happen between the inventory and the first shard."""
    save = kept.save

    def save_and_more(*arguments):
        save(*arguments)
        happens()

    monkeypatch.setattr(kept, "save", save_and_more)


def test_a_folder_of_somebody_elses_is_refused_and_left_alone(config):
    out = Path(config.out)
    (out / "private").mkdir(parents=True)
    (out / "private" / "diary.txt").write_text("mine")
    with pytest.raises(UsageError, match="not a shard set begun by radnet"):
        build(config, print)
    (out / "private" / "diary.txt").rename(out / "labels.parquet")
    with pytest.raises(UsageError, match="not a shard set begun by radnet"):
        build(config, print)
    assert {path.name for path in out.rglob("*")} == {"private", "labels.parquet"}
    assert (out / "labels.parquet").read_text() == "mine"


def test_only_radnets_own_leftovers_are_deleted(config, monkeypatch):
    out = Path(config.out)
    own = [out / ".tmp-train-000009.tar-abcd_123", out / "private" / ".tmp-map.parquet-abcd_123"]
    foreign = [out / "deep" / own[0].name, out / ".tmp-mine", out / ".tmp-notes.txt-ABCDEFGH"]

    def litter():
        for path in (*own, *foreign):
            path.parent.mkdir(exist_ok=True)
            path.write_text("x")

    after_saving(monkeypatch, litter)  # as a worker that dies leaves it
    build(config, print)
    assert not any(path.exists() for path in own) and all(path.read_text() == "x" for path in foreign)


def test_a_source_that_is_away_for_a_while_fails_no_series(config, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        after_saving(patch, lambda: (tmp_path / "in").rename(tmp_path / "gone"))
        with pytest.raises(UsageError, match="No such file or directory; mend that and run again") as caught:
            build(config, print)
    assert "\n" not in str(caught.value) and not (Path(config.out) / "index.json").exists()
    (tmp_path / "gone").rename(tmp_path / "in")
    assert build(config, print).sharded == 2


def test_a_file_that_is_replaced_meanwhile_fails_its_series_and_is_told_of_later(config, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        after_saving(patch, lambda: write_series(tmp_path / "in" / "1.3", edit=give_uid("1.4")))
        assert build(config, print).failed == 1
    assert {row.code for row in rows_of(config)} == {Code.OK, Code.CHANGED}
    with pytest.raises(UsageError, match="added, removed or replaced"):
        build(config, print)


def test_a_moved_archive_is_read_again_where_it_is(config, tmp_path):
    build(config, print)
    (Path(config.out) / "index.json").unlink()
    for path in Path(config.out).glob("t*.json"):  # the sidecars of train and test
        path.unlink()
    (tmp_path / "in").rename(tmp_path / "moved")
    assert build(replace(config, sources=[SourceConfig(str(tmp_path / "moved"))]), print).sharded == 2


@pytest.mark.parametrize(
    "content", [b"{}", b"[]", b'{"fi', b"\xff\xfe", b'{"settings": 3, "fingerprints": []}', b"null"]
)
def test_a_damaged_run_file_is_said_in_one_line(finished, content):
    (Path(finished.out) / "run.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"run\.json is damaged"):
        build(finished, print)


@pytest.mark.parametrize("totals", [{}, {"x": 1}, {"sharded": "2", "excluded": 0, "failed": 0, "num_bytes": 1}])
def test_an_index_with_other_totals_is_made_again(finished, totals):
    done = build(finished, print)
    path = Path(finished.out) / "index.json"
    content = path.read_bytes()
    store.write_index(finished.out, replace(store.read_index(finished.out), totals=totals))
    assert build(finished, print) == done and path.read_bytes() == content


def test_a_second_driver_is_refused(finished):
    with open(Path(finished.out) / "private" / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another `radnet shard`"):
            build(finished, print)
    build(finished, print)


def test_an_out_that_cannot_be_is_said_in_one_line(config, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "private").touch()
    (tmp_path / "circle").symlink_to("circle")
    for out in (tmp_path / "taken", tmp_path / "circle", tmp_path / ("x" * 300)):
        with pytest.raises(UsageError) as caught:
            build(replace(config, out=str(out)), print)
        assert "\n" not in str(caught.value)


def test_a_series_that_lies_in_two_sources_is_whole(config, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for file in sorted((tmp_path / "in" / "1.2").iterdir())[::2]:
        file.rename(other / file.name)
    sources = [SourceConfig(str(other), collection="a"), SourceConfig(str(tmp_path / "in"), collection="b")]
    config = replace(config, sources=sources)
    build(config, print)
    found = {row["collection"]: row["num_slices"] for row in store.read_labels(config.out).to_pylist()}
    assert found == {"a": 20, "b": 20}
    assert sorted(row.detail for row in rows_of(config)) == ["", "its files lie in 2 sources"]


def write_case(folder: Path, image: str, mask: str) -> SourceConfig:
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    for name in (image, mask):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 20), np.uint8), affine), folder / name)
    return SourceConfig(str(folder), "nifti", "liver")


def test_cases_of_the_same_name_need_collections_of_their_own(tmp_path):
    first, second = (write_case(tmp_path / name, "volume-0.nii", "segmentation-0.nii") for name in "ab")
    with pytest.raises(UsageError, match="give each its collection"):
        build(config_of(tmp_path / "out", first, second), print)
    assert build(config_of(tmp_path / "out", first, replace(second, collection="b")), print).sharded == 2


def test_the_public_key_hashes_no_case_names(tmp_path):
    named = write_case(tmp_path / "a", "imagesTr/doe_jane.nii", "labelsTr/doe_jane.nii")
    numbered = write_case(tmp_path / "b", "volume-1234567.nii", "segmentation-1234567.nii")
    for source in (named, numbered):
        with pytest.raises(UsageError, match=r"privacy\.key") as caught:
            build(config_of(tmp_path / "out", source), print)
        assert "doe" not in str(caught.value) and "1234567" not in str(caught.value)


CANARY = "Doe^Canary"
TEXTS = {"PN", "LO", "SH", "ST", "LT", "UT", "UC", "UR", "CS", "AE", "DA", "TM", "DT", "AS", "UI"}
NEEDED = ("SOPClassUID", "PatientID", "PhotometricInterpretation", "Modality", "SpecificCharacterSet")


def canary_everywhere(uid: str, **values: str):
    """Write the canary into every text of the data dictionary."""

    def edit(dataset, number):
        for tag, (vr, *_, keyword) in DicomDictionary.items():
            if vr in TEXTS and tag > 0x00080000 and keyword not in NEEDED and not 0x5000 <= tag >> 16 <= 0x60FF:
                dataset.add_new(tag, vr, CANARY)
        dataset.SeriesInstanceUID = uid + CANARY
        dataset.PatientID = "PHANTOM-" + CANARY
        dataset.private_block(0x0029, CANARY, create=True).add_new(1, "LO", CANARY)
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    return edit


def test_no_word_of_a_header_or_a_path_leaves_private(tmp_path):
    source = tmp_path / CANARY
    files = write_series(source / "a", edit=canary_everywhere("1."))
    files += write_series(source / "b", edit=canary_everywhere("2.", Modality=CANARY))
    strange = write_series(source / "c", edit=canary_everywhere("3."))
    for file in strange:
        content = Path(file).read_bytes()
        Path(file).write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", CANARY.encode().ljust(20, b"\0"), 1))
    for file in [*files, *strange]:
        os.rename(file, os.fsencode(f"{file}{CANARY}") + b"\xff")
    (source / "notes.txt").write_text(CANARY)
    config = config_of(tmp_path / "out", SourceConfig(str(source)))
    totals = build(config, print)
    assert (totals.sharded, totals.excluded, totals.failed) == (1, 2, 1)
    assert sorted(row.modality for row in rows_of(config)) == ["", "CT", "CT", "other"]
    for path in Path(config.out).iterdir():
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".parquet":
                content += json.dumps(pyarrow.parquet.read_table(path).to_pylist()).encode()
            assert b"canary" not in content.lower() and b"doe" not in content.lower(), path.name


def test_changed_labels_and_ledgers_are_found(finished, capsys):
    out = Path(finished.out)
    labels = store.read_labels(finished.out).to_pylist()

    def check(name: str) -> None:
        assert verify_main([finished.out]) == USAGE
        assert f"{name}: rows of" in capsys.readouterr().err

    for column, value in (("split", "none"), ("patient_key", "0" * 20), ("position", 7), ("crc32", "{}")):
        changed = [labels[0] | {column: value}, *labels[1:]]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(changed), out / "labels.parquet")
        check("labels.parquet")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(labels), out / "labels.parquet")
    rows = rows_of(finished)
    ledger.write(str(out / "ledger.parquet"), [replace(rows[0], patient_key="0" * 20), *rows[1:]])
    check("ledger.parquet")


@pytest.mark.parametrize("name", ["labels.parquet", "ledger.parquet", "index.json", ".json", ".idx", ".tar"])
def test_random_damage_is_never_a_traceback(finished, name):
    """Cut, flipped and zeroed: refused in one line or found, always found in tar and idx, whose hashes are known."""
    (shard, *_) = [info.name for shards in store.read_index(finished.out).splits.values() for info in shards]
    path = Path(finished.out) / (shard + name if name.startswith(".") else name)
    whole, random = path.read_bytes(), np.random.default_rng(4)
    for number in range(40):
        content = bytearray(whole)
        at = int(random.integers(len(whole)))
        if number % 3 == 0:
            content = content[:at]
        elif number % 3 == 1:
            content[at] ^= 1 << int(random.integers(8))
        else:
            content[at : at + 64] = bytes(len(content[at : at + 64]))
        if content == whole:
            continue
        path.write_bytes(content)
        try:
            assert list(verify.check(finished.out, print)) or name not in (".idx", ".tar"), (number, at)
        except UsageError as error:
            assert "\n" not in str(error)
