"""radnet relabel on sets that are damaged, grow meanwhile or may not be written, and runs that were interrupted."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from radnet import store
from radnet.errors import OK, UsageError
from radnet.launch import relabel, verify
from radnet.launch.cli import run
from radnet.shards import relabel as relabelling
from tests.conftest import ROOT
from tests.sets import by_hand, contents, new_rules, rows_of


@pytest.fixture
def copied(phantom_sets, tmp_path, request) -> Path:
    shutil.copytree(phantom_sets[getattr(request, "param", "inventory")], tmp_path / "set")
    return tmp_path / "set"


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


@pytest.mark.parametrize("copied", ["inventory", "free text"], indirect=True)
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
    (tmp_path / "other").mkdir()
    cases = ((tmp_path / "nowhere", "not a folder"), (copied, "no index.json"), (tmp_path / "other", "no index.json"))
    for path, said in cases:
        command = [*program, str(path)]
        result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert result.returncode == 2 and said in result.stderr and result.stderr.count("\n") == 1
    assert not list((tmp_path / "other").iterdir())  # nothing is made in a folder that is no shard set


def test_a_folder_that_may_not_be_written_to(copied, monkeypatch):
    """root may write anywhere, so the refusal of the system is played."""
    new_rules(monkeypatch)
    before = contents(copied)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(copied))

    monkeypatch.setattr(store.tempfile, "mkstemp", refuse)
    with pytest.raises(SystemExit) as left:
        run(relabel.main, [str(copied)])
    assert left.value.code == 2 and contents(copied) == before
