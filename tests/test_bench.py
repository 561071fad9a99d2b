"""The bench harness: what a record says, and that it judges nothing it has not measured."""

import json
import os

import pytest

from radnet.errors import OK
from radnet.launch import bench
from radnet.launch.bench import ct, dicom, line, record

FIELDS = {"metric", "value", "unit", "rival", "rival_value", "ratio", "target", "met", "spread"}
STATIONS = {"phantom": 50.0, "shards": 95.0, "pretrain": 150.0, "report": 5.0}


def _line(scale: float) -> list[dict]:
    return [
        {"name": name, "seconds": scale * seconds, "peak_mb": 900.0, "code": 0} for name, seconds in STATIONS.items()
    ]


def test_a_record_compares_medians_and_states_the_spread():
    found = record(
        "x",
        [2.0, 4.0, 3.0],
        "s",
        rival="peer",
        rival_values=[9.0, 6.0, 5.0],
        target=">= 0.4x",
        met=lambda _, x: x >= 0.4,
    )
    assert (found.value, found.rival_value, found.ratio) == (3.0, 6.0, 0.5)
    assert found.spread == pytest.approx(2 / 3) and found.met is True


def test_without_a_way_to_judge_there_is_no_target():
    found = record("x", [1.0], "GB/s", target=">= 3")
    assert found.target is None and found.met is None and found.spread is None and found.ratio is None


def test_line_judges_stations_rest_total_and_memory():
    found = {one.metric: one for one in line.records([_line(1.0), _line(1.2), _line(0.9)])}
    assert found["line/phantom/time"].met and not found["line/shards/time"].met
    assert found["line/rest/time"].value == 5.0 and found["line/total/time"].value == 300.0
    assert found["line/total/peak_memory"].met and found["line/phantom/time"].spread == pytest.approx(0.3)


def test_the_file_holds_every_field_and_the_exit_is_0_when_targets_are_missed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(line, "measure", lambda repeats: line.records([_line(9.0)] * repeats))
    out = tmp_path / "line.json"
    assert bench.main(["line", f"--out={out}"]) == OK
    rows = json.loads(out.read_text())
    assert all(set(row) == FIELDS | {"machine", "versions", "command"} for row in rows)
    assert {row["met"] for row in rows} == {True, False, None} and "missed" in capsys.readouterr().out
    assert rows[0]["machine"]["cores"] >= 1 and rows[0]["command"].startswith("radnet bench line")


def test_dicom_measures_radnet_beside_each_peer_on_one_core(monkeypatch):
    """On a short series; the rates are of this machine, so only their meaning is checked."""
    pytest.importorskip("dcm2niix")
    monkeypatch.delenv("RADNET_TEST_DATA", raising=False)
    monkeypatch.setattr(ct, "NUM_SLICES", 16)
    cores = os.sched_getaffinity(0)
    found = {one.metric: one for one in dicom.measure(2)}
    assert os.sched_getaffinity(0) == cores
    assert {one.rival for one in found.values()} == {"pydicom", "dcm2niix", "SimpleITK"}
    assert found["dicom/made/headers"].target == ">= 5x" and found["dicom/made/volume/pydicom"].met is None
    for one in found.values():
        assert one.value > 0 and one.spread is not None and one.ratio == pytest.approx(one.value / one.rival_value)
