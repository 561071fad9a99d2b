"""The bench harness: what a record says, and that it judges nothing it has not measured."""

import importlib.util
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread

from radnet.errors import OK
from radnet.labels import Finding
from radnet.launch import bench
from radnet.launch.bench import ct, dicom, labels, labels_real, line, record

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


@pytest.fixture(scope="module")
def records() -> list:
    return labels.phantom(1000, 5, 1)


def test_labels_report_every_class_and_judge_their_targets(records):
    found = {one.metric: one for one in records}
    assert len(found) == len(records)
    for label, classes in labels.CLASSES.items():
        for name in set(classes) - {"PT", "DERIVED"}:  # the phantom has none
            for measured in ("recall", "abstained"):
                assert 0 <= found[f"labels/{label}/{name}/{measured}"].value <= 100, (label, name)
        assert found[f"labels/{label}/right"].target == ">= 99" and found[f"labels/{label}/abstained"].target == "<= 5"
        bins = [one for metric, one in found.items() if f"labels/{label}/reliability" in metric]
        counts = [int(one.unit.split()[-1]) for one in bins]
        error = sum(n * abs(one.value - one.rival_value) for n, one in zip(counts, bins, strict=True)) / sum(counts)
        assert found[f"labels/{label}/calibration_error"].value == pytest.approx(error)
    assert found["labels/view/right"].value == 100 and found["labels/spacing_mm/largest_error"].value < 1e-3
    assert found["labels/paper/CT/recall"].value == 100 and found["labels/paper/right"].value > 98


def test_confident_errors_are_printed_one_by_one_and_those_no_header_could_tell_counted_apart(capsys):
    """Of ten answers three are wrong with confidence, one of them about a scan that is cut."""
    header = {"SeriesDescription": "AX", "RepetitionTime": 500.0, "PatientName": "X^Y"}
    right = labels.Answer("axial", Finding("axial", 0.95, "why"), True, False, header)
    wrong = replace(right, truth="coronal")
    answers = [right] * 4 + [wrong] * 2 + [replace(wrong, is_hidden=True, is_decidable=False)]
    answers += [replace(wrong, finding=Finding("axial", 0.5, "why"))]
    silent = replace(right, finding=Finding(None, 0.0, "why"))
    answers += [silent, replace(silent, is_decidable=False)]
    found = {one.metric: one for one in labels._by_confidence("view", answers)}
    assert found["labels/view/confident_errors"].value == 2 and found["labels/view/confident_errors"].met is False
    assert found["labels/view/confident_errors_hidden"].value == 1
    assert found["labels/view/right"].value == pytest.approx(100 * 4 / 7)
    assert found["labels/view/abstained"].value == pytest.approx(100 / 8)  # to abstain undecided is no fault
    assert found["labels/view/reliability/0.9-1.0"].value == pytest.approx(100 * 4 / 7)
    assert found["labels/view/reliability/0.5-0.6"].value == 0
    printed = capsys.readouterr().out
    assert printed.count("error: view said axial at 0.95, truth coronal") == 3 and "X^Y" not in printed
    assert printed.count("no header could say") == 1 and "'RepetitionTime': 500.0" in printed


def test_the_reliability_diagram_lies_beside_the_records(records, tmp_path, monkeypatch):
    monkeypatch.setattr(labels, "measure", lambda repeats: records)
    assert bench.main(["labels", f"--out={tmp_path / 'labels.json'}"]) == OK
    picture = imread(tmp_path / "labels.png")
    assert picture.shape[0] > 400 and picture.shape[1] > 1200 and len(np.unique(picture.reshape(-1, 4), axis=0)) > 20


@pytest.mark.parametrize(
    ("truth", "answer", "verdict"),
    [
        ("T1-SE", "t1w", "right"), ("T1-FLAIR", "t1w", "right"), ("T1-SE", "tracew", "wrong"),
        ("T2-SE", "INVALID", "abstained"), ("T2-FLAIR", "", "abstained"), ("OTHER", "t2w", "wrong"),
        ("OTHER", "adc", "right"), ("OTHER", "INVALID", "abstained"),
    ],
)  # fmt: skip
def test_the_rival_is_judged_by_the_same_rule(truth, answer, verdict):
    assert labels_real.judge_rival(truth, answer) == verdict


def test_without_real_series_a_line_says_so(tmp_path, capsys):
    assert labels_real.beside(tmp_path) == []
    assert "skipped" in capsys.readouterr().out


def test_without_the_rival_only_radnet_is_measured(real_data, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found = {one.metric: one for one in labels_real.beside(real_data)}
    assert "without dcm-classifier" in capsys.readouterr().out
    assert all(one.rival is None for one in found.values())
    counts = {name: [found[f"labels/real/{name}/{verdict}"].value for verdict in labels_real.VERDICTS]
              for name in ("paper", "other")}  # fmt: skip
    assert sum(counts["paper"]) == 11 and sum(counts["other"]) == 10
    assert found["labels/real/paper/wrong"].met and found["labels/real/other/wrong"].met


def test_the_rival_answers(real_data):
    """The one real series that it is known to read, and a file that is none."""
    for name in ("dcm_classifier", "itk", "onnxruntime"):
        pytest.importorskip(name)
    folder = real_data / "dicom2nifti/tests/data/philips/dti/001"
    assert labels_real.ask([[str(path) for path in sorted(folder.iterdir())], [__file__]]) == ["tracew", ""]
