"""A human's labels, and what changed between two audits."""

import pytest

from radnet.errors import OK, UsageError
from radnet.labels import RULES_VERSION
from radnet.launch import label
from radnet.shards import audit_diff, audit_table
from tests.audits import audit, read_csv

pytestmark = pytest.mark.usefixtures("ray_session")


def test_a_human_wins_and_is_recorded(small_archive, small_audit, tmp_path):
    rows = [row for row in read_csv(small_audit) if row["status"] == "ok"]
    keys = [row["series_key"] for row in rows[:3]]
    file = tmp_path / "overrides.csv"
    file.write_text(
        "series_key,label,value,who,why\n"
        f'{keys[0]},sequence,T2-FLAIR,Dr. A,"fluid is dark, fat is not"\n{keys[0]},coverage,none,Dr. A,a knee\n'
        f"{keys[1]},contrast,unknown,B,\n{keys[2]},spacing_mm,3.5,B,ruler\n"
    )
    audit(small_archive, tmp_path / "out", "--overrides", str(file), "--diff", str(small_audit))
    changed = {row["series_key"]: row for row in read_csv(tmp_path / "out")}
    first = changed[keys[0]]
    assert (first["sequence"], first["sequence_confidence"], first["family"]) == ("T2-FLAIR", "1.0", "T2-FLAIR")
    assert first["sequence_evidence"] == "override by Dr. A: fluid is dark, fat is not" and first["coverage"] == "none"
    assert (changed[keys[1]]["contrast"], changed[keys[1]]["contrast_confidence"]) == ("", "0.0")
    assert changed[keys[2]]["spacing_mm"] == "3.5"
    assert "Set by hand" in (tmp_path / "out" / "index.html").read_text()
    listed = {(row["series_key"], row["label"]): row for row in read_csv(tmp_path / "out", "diff.csv")}
    assert listed[keys[0], "sequence"]["new_evidence"] == first["sequence_evidence"]
    assert all(row["series_key"] in keys for row in listed.values())


def test_an_override_of_no_series_is_refused(small_archive, tmp_path):
    (tmp_path / "o.csv").write_text("series_key,label,value,who,why\n\nabc,view,axial,me,seen\n")
    with pytest.raises(UsageError, match="line 3: no series has the key 'abc'"):
        audit(small_archive, tmp_path / "out", "--overrides", str(tmp_path / "o.csv"))
    assert not (tmp_path / "out").exists()


def test_diff_shows_every_change_of_the_rules(small_archive, small_audit, tmp_path, capsys):
    rows, marked = audit_table.read(str(small_audit))
    usable = [row for row in rows if row["status"] == "ok"]
    usable[0]["sequence"], usable[0]["sequence_evidence"] = "T1-FLAIR", "an older rule"
    usable[1]["view"] = None
    usable[2]["sequence_evidence"] = "other words, same label"
    gone = rows.pop(rows.index(usable[3]))
    rows.append(gone | {"series_key": "0" * 20})
    (tmp_path / "old").mkdir()
    audit_table.write(tmp_path / "old", rows, marked | {"rules_version": "0"}, 0o644)
    audit(small_archive, tmp_path / "new", "--diff", str(tmp_path / "old" / "labels.parquet"))
    listed = {(row["series_key"], row["label"]): row for row in read_csv(tmp_path / "new", "diff.csv")}
    assert len(listed) == 4
    sequence = listed[usable[0]["series_key"], "sequence"]
    assert (sequence["change"], sequence["old"], sequence["old_evidence"]) == ("changed", "T1-FLAIR", "an older rule")
    view = listed[usable[1]["series_key"], "view"]
    assert view["old"] == "" and view["new"] in ("axial", "coronal", "sagittal") and view["new_confidence"] == "1.0"
    assert listed["0" * 20, "status"]["change"] == "missing" and listed[gone["series_key"], "status"]["change"] == "new"
    printed = capsys.readouterr().out
    assert f"rules 0 → {RULES_VERSION}" in printed and "sequence: 1 changed (T1-FLAIR → " in printed
    assert "series: 1 new, 1 missing" in printed and "[an older rule]" in printed and "contrast: 0 changed" in printed
    assert "Since the earlier audit" in (tmp_path / "new" / "index.html").read_text()
    assert label.main(["--out", str(tmp_path / "new"), "--diff", str(tmp_path / "old")]) == OK  # without a folder
    assert {(row["series_key"], row["label"]) for row in read_csv(tmp_path / "new", "diff.csv")} == listed.keys()


def test_an_audit_compared_with_itself_has_no_change(small_archive, small_audit):
    assert audit(small_archive, small_audit, "--keep-uids", "--diff", str(small_audit)) == OK
    assert read_csv(small_audit, "diff.csv") == []
    assert (small_audit / "diff.csv").read_text().strip() == ",".join(audit_diff.COLUMNS)


def test_audits_that_cannot_be_compared_are_refused(small_archive, small_audit, tmp_path):
    with pytest.raises(UsageError, match="--key"):
        audit(small_archive, tmp_path / "o", "--diff", str(small_audit), "--key", str(tmp_path / "key"))
    with pytest.raises(UsageError, match="--taxonomy paper"):
        audit(small_archive, tmp_path / "o", "--diff", str(small_audit), "--taxonomy", "extended")
    for old in ("/nowhere", str(small_archive / "notes.txt")):
        with pytest.raises(UsageError, match="labels.parquet"):
            audit(small_archive, tmp_path / "o", "--diff", old)
