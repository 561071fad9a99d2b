"""A set that grows: new series as new shards, nothing of the old one touched, and what cannot grow refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from radnet import store
from radnet.errors import UsageError
from radnet.launch import relabel, verify
from radnet.shards import actors, ledger
from radnet.shards.build import build
from radnet.shards.config import PrivacyConfig, ShardConfig, SourceConfig, SplitsConfig
from radnet.shards.ledger import Code
from tests.series import write_series


@pytest.fixture(scope="module", autouse=True)
def ray_session():
    with actors.session(1, ""):
        yield


def _write(folder: Path, uid: str, patient: str = "", brightness: int = 0) -> None:
    def edit(dataset, number):
        dataset.SeriesInstanceUID = uid
        dataset.PatientID = f"PHANTOM-{patient or uid}"
        pixels = dataset.pixel_array + np.arange(dataset.Columns, dtype=np.int16) + brightness
        dataset.PixelData = pixels.astype(np.int16).tobytes()

    write_series(folder / uid, edit=edit)


@pytest.fixture
def config(tmp_path) -> ShardConfig:
    """A finished set of three series."""
    for number in range(3):
        _write(tmp_path / "in", f"1.{number + 2}", brightness=number)
    source = SourceConfig(str(tmp_path / "in"), "dicom", "toy", "CC0")
    config = ShardConfig(
        str(tmp_path / "out"),
        [source],
        "npy",
        SplitsConfig(0.6, 0.2, 0.2),
        num_workers=1,
        privacy=PrivacyConfig("public"),
    )
    build(config, print)
    return config


def _files(config: ShardConfig, pattern: str) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path(config.out).glob(pattern)}


def _samples(config: ShardConfig) -> dict[str, tuple[str, str]]:
    return {row["key"]: (row["split"], row["shard"]) for row in store.read_labels(config.out).to_pylist()}


def test_new_series_come_in_new_shards_and_nothing_old_is_touched(config, tmp_path):
    shards, samples = _files(config, "t*-0*"), _samples(config)
    for number in range(3, 9):
        _write(tmp_path / "in", f"1.{number + 2}", brightness=number)
    with pytest.raises(UsageError, match="--extend adds new series"):
        build(config, print)
    totals = build(config, print, extend=True)
    assert totals.sharded == 9 and verify.main([config.out]) == 0
    assert shards.items() <= _files(config, "t*-0*").items()
    assert samples.items() <= _samples(config).items() and len(_samples(config)) == 9
    assert len(ledger.read(f"{config.out}/ledger.parquet")) == 9
    lines: list[str] = []
    assert build(config, lines.append) == totals and "nothing to do" in lines[0]
    assert build(config, lines.append, extend=True) == totals


def test_what_was_set_by_hand_stays_when_a_set_grows(config, tmp_path):
    key = sorted(_samples(config))[0]
    (tmp_path / "hand.csv").write_text(f"series_key,label,value,who,why\n{key},view,coronal,Ada,seen\n")
    assert relabel.main([config.out, "--overrides", str(tmp_path / "hand.csv")]) == 0
    _write(tmp_path / "in", "1.9", brightness=9)
    assert build(config, print, extend=True).sharded == 4
    rows = {row["key"]: row for row in store.read_labels(config.out).to_pylist()}
    assert (rows[key]["view"], rows[key]["view_evidence"]) == ("coronal", "override by Ada: seen")
    assert verify.main([config.out]) == 0


def test_a_source_may_be_added(config, tmp_path):
    _write(tmp_path / "more", "1.9", brightness=9)
    more = SourceConfig(str(tmp_path / "more"), "dicom", "other", "CC BY 4.0", "10.1/x")
    grown = replace(config, sources=[*config.sources, more])
    assert build(grown, print, extend=True).sharded == 4
    said = (Path(config.out) / "ATTRIBUTION").read_text()
    assert "toy: 3 series, CC0" in said and "other: 1 series, CC BY 4.0, https://doi.org/10.1/x" in said


@pytest.mark.parametrize("moment", ["plan", "run", "shards", "tables"])
def test_an_interrupted_extension_goes_on_as_if_it_were_not(config, tmp_path, moment):
    shutil.copytree(config.out, tmp_path / "copy")
    for number in range(3, 7):
        _write(tmp_path / "in", f"1.{number + 2}", brightness=number)
    build(config, print, extend=True)
    straight = {path.name: path.read_bytes() for path in Path(config.out).iterdir() if path.is_file()}
    other = replace(config, out=str(tmp_path / "copy"))
    old = {path.name for path in Path(other.out).iterdir()}
    kept = {"plan": ["plan.parquet"], "run": ["plan.parquet", "run.json"]}.get(moment, ["plan.parquet", "run.json"])
    if moment in ("shards", "tables"):
        kept += sorted(name for name in straight if name.startswith("t") and name not in old)[
            : 3 if moment == "shards" else None
        ]
    if moment == "tables":
        kept += ["labels.parquet", "ledger.parquet"]
    for name in kept:
        (Path(other.out) / name).write_bytes(straight[name])
    index = json.loads((Path(other.out) / "index.json").read_text())
    assert index["totals"]["sharded"] == 3  # readers may go on with what was finished
    build(other, print, extend=moment == "plan")
    assert {path.name: path.read_bytes() for path in Path(other.out).iterdir() if path.is_file()} == straight


def test_what_changes_instead_of_growing_is_refused(config, tmp_path):
    _write(tmp_path / "in", "1.9", brightness=9)
    with pytest.raises(UsageError, match="codec was"):
        build(replace(config, codec="htj2k"), print, extend=True)
    renamed = replace(config.sources[0], licence="CC BY 4.0")
    with pytest.raises(UsageError, match="3 have other files or another collection, licence or DOI"):
        build(replace(config, sources=[renamed]), print, extend=True)
    _write(tmp_path / "in", "1.2", brightness=50)
    with pytest.raises(UsageError, match="0 are gone from the sources and 1 have other files"):
        build(config, print, extend=True)
    shutil.rmtree(tmp_path / "in" / "1.2")
    with pytest.raises(UsageError, match="1 are gone"):
        build(config, print, extend=True)


def test_an_unfinished_set_is_finished_before_it_grows(config, tmp_path):
    (Path(config.out) / "index.json").unlink()
    _write(tmp_path / "in", "1.9", brightness=9)
    with pytest.raises(UsageError, match="not finished"):
        build(config, print, extend=True)


def test_without_its_plan_nobody_goes_on(config):
    (Path(config.out) / "plan.parquet").write_bytes(b"PAR1")
    (Path(config.out) / "index.json").unlink()
    with pytest.raises(UsageError, match=r"plan\.parquet is missing or damaged"):
        build(config, print)


def test_copies_under_other_names_are_found_by_their_pixels(config, tmp_path):
    known = {row["key"]: row["pixel_hash"] for row in store.read_labels(config.out).to_pylist()}
    assert len(set(known.values())) == 3 and all(known.values())
    for number in range(10, 40):  # other patients with the pixels of 1.2: in whatever split a hash would put them
        _write(tmp_path / "in", f"1.{number}", brightness=0)
    build(config, print, extend=True)
    rows = store.read_labels(config.out).to_pylist()
    first = next(row for row in rows if [one["pixel_hash"] for one in rows].count(row["pixel_hash"]) > 1)
    copies = [row for row in rows if row["pixel_hash"] == first["pixel_hash"]]
    assert len(copies) == 31 and {row["split"] for row in copies} == {first["split"]}


def test_a_copy_whose_patient_is_in_another_split_is_excluded(config, tmp_path):
    split = {row["patient_key"]: row["split"] for row in store.read_labels(config.out).to_pylist()}
    if len(set(split.values())) == 1:
        pytest.skip("the hashes put all three into one split")
    uids = ["1.2", "1.3", "1.4"]
    rows = {row["key"]: row for row in store.read_labels(config.out).to_pylist()}
    from radnet.shards.privacy import load_key

    by_uid = {uid: rows[load_key("public").hash("series", uid)]["split"] for uid in uids}
    one = uids[0]
    other = next(uid for uid in uids if by_uid[uid] != by_uid[one])
    _write(tmp_path / "in", "1.9", patient=other, brightness=uids.index(one))
    assert build(config, print, extend=True).excluded == 1
    (row,) = [row for row in ledger.read(f"{config.out}/ledger.parquet") if row.code is Code.DUPLICATE]
    assert row.detail == f"its pixels are in {by_uid[one]} under another name"
