"""radnet relabel: the same rules give the same bytes, a human's labels win and stay, and no tar is touched."""

import json
import shutil
from pathlib import Path

import fsspec
import pytest

from radnet import store
from radnet.errors import OK, UsageError
from radnet.launch import relabel, verify
from radnet.shards import relabel as relabelling
from tests.s3 import Faults
from tests.sets import KINDS, by_hand, contents, new_rules, rows_of


@pytest.fixture
def copied(phantom_sets, tmp_path, request) -> Path:
    shutil.copytree(phantom_sets[getattr(request, "param", "inventory")], tmp_path / "set")
    return tmp_path / "set"


both = pytest.mark.parametrize("copied", ["inventory", "free text"], indirect=True)
neither = pytest.mark.parametrize("copied", ["neither"], indirect=True)


@both
def test_the_same_rules_write_nothing(copied, capsys):
    def times() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in copied.iterdir() if path.is_file()}

    before, then = contents(copied), times()
    assert relabel.main([str(copied)]) == OK
    assert "nothing changed, nothing written" in capsys.readouterr().out
    assert contents(copied) == before and times() == then


@both
def test_the_same_rules_make_a_lost_table_again_byte_for_byte(copied, tmp_path):
    """From headers alone, cases included, whose header the reader made."""
    before = contents(copied)
    for content in (b"", before["labels.parquet"][:-9], before["ATTRIBUTION"]):
        (copied / "labels.parquet").write_bytes(content)
        with pytest.raises(UsageError, match="--overrides FILE"):
            relabel.main([str(copied)])
        assert relabel.main([str(copied), "--overrides", by_hand(tmp_path)]) == OK
        assert contents(copied) == before


@both
def test_other_rules_change_the_table_and_nothing_else(copied, capsys, monkeypatch):
    before, old = contents(copied), rows_of(copied)
    new_rules(monkeypatch)
    assert relabel.main([str(copied)]) == OK
    after, new = contents(copied), rows_of(copied)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"labels.parquet", "index.json"} and list(new) == list(old)
    assert {row["contrast"] for row in new.values()} == {"yes"} and {row["coverage"] for row in new.values()} == {None}
    assert {row["rules_version"] for row in new.values()} == {"99"}
    assert {row["face"] for row in new.values()} == {"unknown"}  # it follows from coverage
    for key, row in new.items():
        same = {name for name in row if not name.startswith(("contrast", "coverage", "face", "rules_version"))}
        assert {name: row[name] for name in same} == {name: old[key][name] for name in same}
    out = capsys.readouterr().out
    gained, lost, changed = (
        sum(test(row) for row in old.values())
        for test in (
            lambda row: row["contrast"] is None,
            lambda row: row["coverage"] is not None,
            lambda row: row["contrast"] == "no",
        )
    )
    assert f"contrast  {changed:>8} changed{gained:>7} gained      0 lost" in out
    assert f"coverage         0 changed      0 gained{lost:>7} lost" in out
    assert f"rules {next(iter(old.values()))['rules_version']} → 99" in out
    assert verify.main([str(copied)]) == OK
    monkeypatch.undo()
    assert relabel.main([str(copied)]) == OK and contents(copied) == before  # and back


@pytest.mark.parametrize("copied", KINDS, indirect=True)
def test_what_is_set_by_hand_wins_stays_and_goes(copied, tmp_path, monkeypatch, capsys):
    before, old = contents(copied), rows_of(copied)
    first, second = list(old)[:2]
    file = by_hand(tmp_path, f"{first},sequence,T2-SE,me,seen", f"{second},contrast,unknown,me,")
    assert relabel.main([str(copied), "--overrides", file]) == OK
    new = rows_of(copied)
    assert (new[first]["family"], new[first]["technique"], new[first]["family_confidence"]) == ("T2", "SE", 1.0)
    assert new[first]["technique_evidence"] == "override by me: seen"
    assert (new[second]["contrast"], new[second]["contrast_evidence"]) == (None, "override by me")
    assert "2 samples with labels set by hand" in capsys.readouterr().out and verify.main([str(copied)]) == OK
    assert relabel.main([str(copied), "--overrides", file]) == OK
    assert "nothing changed" in capsys.readouterr().out
    if copied.joinpath(
        "private", "inventory.parquet"
    ).exists():  # kept where the rules are read again and no file is named
        new_rules(monkeypatch)
        assert relabel.main([str(copied)]) == OK
        kept = rows_of(copied)
        assert kept[first]["family_evidence"] == "override by me: seen" and kept[first]["contrast"] == "yes"
        assert kept[second]["contrast"] is None and kept[second]["rules_version"] == "99"
        monkeypatch.undo()
    assert relabel.main([str(copied), "--overrides", by_hand(tmp_path, f"{second},contrast,unknown,me,")]) == OK
    assert rows_of(copied)[first] == old[first]
    assert relabel.main([str(copied), "--overrides", by_hand(tmp_path)]) == OK
    assert contents(copied) == before


def test_the_taxonomy_decides_which_classes_may_be_named(copied, tmp_path):
    first = next(iter(rows_of(copied)))
    file = by_hand(tmp_path, f"{first},sequence,DWI,me,")
    with pytest.raises(UsageError, match="line 2: sequence is 'DWI'"):
        relabel.main([str(copied), "--overrides", file])
    assert relabel.main([str(copied), "--overrides", file, "--taxonomy", "extended"]) == OK
    assert rows_of(copied)[first]["family"] == "DWI"


@neither
def test_a_set_without_full_headers_takes_what_is_set_by_hand_alone(copied, tmp_path, capsys):
    before = contents(copied)
    with pytest.raises(UsageError, match="neither the owner's inventory.parquet nor free text") as caught:
        relabel.main([str(copied)])
    assert "\n" not in str(caught.value) and contents(copied) == before
    first = next(iter(rows_of(copied)))
    assert relabel.main([str(copied), "--overrides", by_hand(tmp_path, f"{first},view,axial,me,")]) == OK
    assert "rules were not read again" in capsys.readouterr().err


@neither
def test_rules_that_a_human_replaced_are_not_made_up(copied, phantom_sets, tmp_path, monkeypatch):
    """The owner relabelled with newer rules and passed the set on: what those said below an override is nowhere."""
    first = next(iter(rows_of(copied)))
    shutil.copytree(phantom_sets["inventory"] / "private", copied / "private")
    new_rules(monkeypatch)
    assert relabel.main([str(copied), "--overrides", by_hand(tmp_path, f"{first},view,axial,me,")]) == OK
    shutil.rmtree(copied / "private")
    with pytest.raises(UsageError, match="relabel where the full headers are"):
        relabel.main([str(copied), "--overrides", by_hand(tmp_path)])
    other = list(rows_of(copied))[1]
    lines = f"{first},view,axial,me,", f"{other},view,sagittal,me,"
    assert relabel.main([str(copied), "--overrides", by_hand(tmp_path, *lines)]) == OK
    assert rows_of(copied)[other]["contrast_evidence"] == "tomorrow"  # newer than the sidecars, and kept


def test_a_key_of_no_series_is_refused_with_its_line(copied, tmp_path):
    before = contents(copied)
    with pytest.raises(UsageError, match=r"overrides\.csv line 2: no series has the key 'zz'"):
        relabel.main([str(copied), "--overrides", by_hand(tmp_path, "zz,view,axial,me,")])
    assert contents(copied) == before


@both
def test_behind_a_url(copied, tmp_path, monkeypatch):
    root = f"memory://relabel/{copied.parent.name}"
    fsspec.filesystem("memory").put(str(copied), root, recursive=True)
    new_rules(monkeypatch)
    first = next(iter(rows_of(copied)))
    file = by_hand(tmp_path, f"{first},view,axial,me,")
    private = ["--private", str(copied / "private")] if (copied / "private").exists() else []
    for path in ([root, *private], [str(copied)]):
        assert relabel.main([*path, "--overrides", file]) == OK
    for name in ("labels.parquet", "index.json"):
        assert store.read_bytes(store.join(root, name)) == (copied / name).read_bytes()
    assert verify.main([root]) == OK


@pytest.mark.slow
@pytest.mark.parametrize("copied", ["free text"], indirect=True)
def test_behind_an_s3_that_fails_now_and_then(copied, s3, monkeypatch):
    root = f"{s3.bucket('bucket')}/set"
    fsspec.filesystem("s3").put(str(copied), root, recursive=True)
    new_rules(monkeypatch)
    s3.faults = Faults(every=3)
    for path in (root, str(copied)):
        assert relabel.main([path]) == OK
    assert store.read_bytes(f"{root}/labels.parquet") == (copied / "labels.parquet").read_bytes()
    assert verify.main([root]) == OK and s3.failed["500"] > 3


def test_the_marker_of_free_text_is_in_every_sample(phantom_sets):
    for kind, root in phantom_sets.items():
        for row, provenance in relabelling._provenances(str(root), list(rows_of(root).values())):
            assert provenance["key"] == row["key"] and provenance["has_free_text"] == (kind == "free text")
            assert ("SeriesDescription" in json.dumps(provenance)) <= (kind == "free text")
