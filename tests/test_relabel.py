"""radnet relabel: the same rules give the same bytes, a human's labels win and stay, and no tar is touched."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

from radnet import labels, store
from radnet.errors import OK, UsageError
from radnet.labels.finding import Finding
from radnet.launch import relabel, verify
from radnet.shards import relabel as relabelling
from tests.conftest import ROOT
from tests.s3 import Faults
from tests.sets import phantom_rows, write_phantom_set

HEAD = "series_key,label,value,who,why\n"
KINDS = ["inventory", "free text", "neither"]


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> dict[str, Path]:
    """One archive as three sets: with the owner's inventory, with free text in the tars, with neither."""
    folder = tmp_path_factory.mktemp("relabel")
    rows = phantom_rows(folder)
    return {
        kind: write_phantom_set(
            folder / kind, rows, keep_free_text=kind == "free text", keep_inventory=kind == "inventory"
        )
        for kind in KINDS
    }


@pytest.fixture
def copied(sets, tmp_path, request) -> Path:
    shutil.copytree(sets[getattr(request, "param", "inventory")], tmp_path / "set")
    return tmp_path / "set"


both = pytest.mark.parametrize("copied", ["inventory", "free text"], indirect=True)
neither = pytest.mark.parametrize("copied", ["neither"], indirect=True)


def contents(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(root.iterdir()) if path.is_file()}


def rows_of(root: Path) -> dict[str, dict]:
    return {row["key"]: row for row in store.read_labels(str(root)).to_pylist()}


def by_hand(folder: Path, *lines: str) -> str:
    path = folder / "overrides.csv"
    path.write_text(HEAD + "\n".join(lines) + "\n")
    return str(path)


def new_rules(monkeypatch) -> None:
    """Rules of tomorrow: contrast is always yes, and coverage never known."""

    def read(header):
        found = replace(labels.read(header), contrast=Finding("yes", 0.5, "tomorrow"))
        return replace(found, coverage=Finding(None, 0.0, "tomorrow"))

    monkeypatch.setattr(relabelling, "read", read)
    monkeypatch.setattr(relabelling, "RULES_VERSION", "99")


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
def test_rules_that_a_human_replaced_are_not_made_up(copied, sets, tmp_path, monkeypatch):
    """The owner relabelled with newer rules and passed the set on: what those said below an override is nowhere."""
    first = next(iter(rows_of(copied)))
    shutil.copytree(sets["inventory"] / "private", copied / "private")
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


@pytest.mark.parametrize("place", ["table written", "nothing written"])
def test_an_interrupted_run_is_finished_by_the_next(copied, tmp_path, monkeypatch, place):
    first = next(iter(rows_of(copied)))
    arguments = [str(copied), "--overrides", by_hand(tmp_path, f"{first},view,sagittal,me,")]
    with monkeypatch.context() as patch:

        def die(*_):
            raise OSError("power is gone")

        patch.setattr(relabelling.store, "write_index", die)
        if place == "nothing written":
            patch.setattr(relabelling.tables, "write_labels", die)
        with pytest.raises(OSError, match="power is gone"):
            relabel.main(arguments)
    assert relabel.main(arguments) == OK
    assert rows_of(copied)[first]["view"] == "sagittal" and verify.main([str(copied)]) == OK


def test_a_set_that_grows_meanwhile_keeps_what_it_got(copied, monkeypatch):
    def read_and_grow(path):
        grown = replace(store.read_index(str(copied)), fingerprints={"inventory": "1" * 64})
        store.write_index(str(copied), grown)
        return inventory(path)

    inventory = relabelling._inventory
    new_rules(monkeypatch)
    before = contents(copied)["labels.parquet"]
    monkeypatch.setattr(relabelling, "_inventory", read_and_grow)
    with pytest.raises(UsageError, match="changed by another program"):
        relabel.main([str(copied)])
    assert contents(copied)["labels.parquet"] == before
    assert store.read_index(str(copied)).fingerprints == {"inventory": "1" * 64}


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


@both
@pytest.mark.parametrize("damage", ["tar", "idx", "json", "inventory"])
def test_damage_is_one_line_and_writes_nothing(copied, monkeypatch, damage):
    new_rules(monkeypatch)
    if damage == "inventory":
        (copied / "private").mkdir(exist_ok=True)
        (copied / "private" / "inventory.parquet").write_bytes(b"PAR1")
    else:
        path = copied / f"train-000000.{damage}"
        path.write_bytes(path.read_bytes()[:100])
    before = contents(copied)
    with pytest.raises(UsageError) as caught:
        relabel.main([str(copied)])
    assert "\n" not in str(caught.value) and contents(copied) == before


def test_a_damaged_ledger_or_a_short_idx_is_one_line(copied, tmp_path):
    file = by_hand(tmp_path)
    whole = (copied / "train-000000.idx").read_text()
    (copied / "train-000000.idx").write_text("v1.2 0\n")
    with pytest.raises(UsageError, match="run radnet verify"):
        relabel.main([str(copied), "--overrides", file])
    (copied / "train-000000.idx").write_text(whole)
    (copied / "ledger.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match=r"ledger\.parquet is missing from .* or damaged"):
        relabel.main([str(copied), "--overrides", file])


def test_an_inventory_of_another_set_is_refused(copied):
    path = copied / "private" / "inventory.parquet"
    store.write_parquet(str(path), store.read_table(str(path)).slice(1))
    with pytest.raises(UsageError, match="has no series .*; it is another set's"):
        relabel.main([str(copied)])


def test_mistakes_of_the_command_line_are_one_line_and_exit_2(copied, tmp_path):
    (copied / "index.json").rename(tmp_path / "index.json")
    program = [sys.executable, str(ROOT / "launch" / "relabel.py")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for path, said in ((tmp_path / "nowhere", "not a folder"), (copied, "no index.json")):
        command = [*program, str(path)]
        result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert result.returncode == 2 and said in result.stderr and result.stderr.count("\n") == 1


def test_a_folder_that_may_not_be_written_to(copied, monkeypatch):
    """root may write anywhere, so the refusal of the system is played."""
    new_rules(monkeypatch)
    before = contents(copied)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(copied))

    monkeypatch.setattr(store.tempfile, "mkstemp", refuse)
    from radnet.launch.cli import run

    with pytest.raises(SystemExit) as left:
        run(relabel.main, [str(copied)])
    assert left.value.code == 2 and contents(copied) == before


def test_the_marker_of_free_text_is_in_every_sample(sets):
    for kind, root in sets.items():
        for row, provenance in relabelling._provenances(str(root), list(rows_of(root).values())):
            assert provenance["key"] == row["key"] and provenance["has_free_text"] == (kind == "free text")
            assert ("SeriesDescription" in json.dumps(provenance)) <= (kind == "free text")
