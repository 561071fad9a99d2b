"""The whole line in order on a toy phantom, each station a program as a user runs it."""

import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet
import pytest

from radnet import export, store
from radnet.errors import OK
from radnet.launch import demo
from radnet.launch.stations import Measured, last_lines, run_station

TOY = demo.Size(
    patients=14,
    cases=10,
    training=(
        "steps=8",
        "save_every=4",
        "evaluate_every=4",
        "data.grid.shape=[16,24,24]",
        "model.options.width=4",
        "engine.micro_batch=2",
        "engine.global_batch=4",
    ),
)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Every station run, in order."""
    out = demo.fresh(tmp_path_factory.mktemp("line") / "demo")
    for station in demo.plan(out, None, TOY):
        log = out / "logs" / f"{station.name}.log"
        measured = run_station(station, log)
        assert measured.code in station.accepted, f"{station.name}: {last_lines(log, 30)}"
    return out


def test_every_series_is_accounted_for_once(out):
    index = store.read_index(str(out / "shards"))
    ledger = pyarrow.parquet.read_table(out / "shards" / "ledger.parquet").to_pylist()
    labels = store.read_labels(str(out / "shards")).to_pylist()
    assert len({row["series_key"] for row in ledger}) == len(ledger)
    assert sum(index.totals[status] for status in ("sharded", "excluded", "failed")) == len(ledger)
    assert {row["key"] for row in labels} == {row["series_key"] for row in ledger if row["status"] == "sharded"}
    assert index.totals["excluded"] > 0 and index.totals["failed"] > 0


def test_no_patient_is_in_two_splits(out):
    splits = {}
    for row in store.read_labels(str(out / "shards")).to_pylist():
        assert splits.setdefault(row["patient_key"], row["split"]) == row["split"]


def test_header_labels_and_truth_are_both_in_table_1(out):
    result = json.loads((out / "evaluation.json").read_text())
    for against in ("header", "truth"):
        rows = {(row["label"], row["name"]): row for row in result[against]["rows"]}
        assert rows["sequence", "overall"]["n"] > 0 and rows["spacing", "overall"]["mae_mm"] is not None


def test_finetuning_starts_from_pretrained_and_from_random_weights(out):
    results = {
        init: json.loads((out / f"finetune-{init}" / "result.json").read_text()) for init in ("pretrained", "random")
    }
    assert all(result["init"] == init and result["dice"] for init, result in results.items())
    assert results["pretrained"]["dice"] != results["random"]["dice"]
    log = (out / "logs" / "finetune-pretrained.log").read_text()
    assert "starting from weights of" in log and "starting from random weights" not in log


def test_exported_weights_load(out):
    model, config = export.load(out / "weights")
    assert config["input_shape"] == [16, 24, 24] and "test/accuracy/sequence/overall" in config["metrics"]
    assert sorted(path.name for path in (out / "weights").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]


def test_the_report_is_one_file_that_asks_nothing_of_the_network(out):
    page = (out / "report.html").read_text()
    assert "Table 1" in page and page.count("data:image/png;base64,") >= 4
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", page)


def test_nothing_identifying_is_in_the_tables_or_the_report(out):
    """Patient IDs and series UIDs of the archive stay in private/."""
    names = pyarrow.parquet.read_table(out / "shards" / "private" / "map.parquet").to_pylist()
    secrets = {row[field].encode() for row in names for field in ("series_uid", "patient_id") if row[field]}
    public = [
        *(out / "shards").glob("*.*"),
        out / "report.html",
        *(out / "weights").iterdir(),
        out / "pretrain" / "metrics.jsonl",
    ]
    for path in public:
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret in content], path


def test_wandb_wrote_offline(out):
    assert list((out / "pretrain" / "wandb").glob("offline-run-*/*.wandb"))


def test_a_users_own_dicom_is_added_read_only_and_under_the_users_own_key(out, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    own, second = tmp_path / "own", demo.fresh(tmp_path / "demo")
    shutil.copytree(next((out / "archive" / "dicom").iterdir()), own / "scans")
    before = _listing(own)
    for station in demo.plan(second, own, demo.Size(patients=2, cases=1))[:2]:
        log = second / "logs" / f"{station.name}.log"
        assert run_station(station, log).code in station.accepted, last_lines(log)
    assert _listing(own) == before
    assert (tmp_path / "home" / ".config" / "radnet" / "privacy.key").stat().st_mode & 0o777 == 0o600
    ledger = pyarrow.parquet.read_table(second / "shards" / "ledger.parquet").to_pylist()
    assert sum(row["num_files"] for row in ledger) == len(before) + len(_listing(second / "archive" / "dicom"))


def _listing(folder: Path) -> list[tuple]:
    return [(path, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*")) if path.is_file()]


def test_the_summary_says_where_everything_lies(out):
    text = demo.summary(out, [Measured("phantom", 1.0, 100.0, 0)])
    assert all(word in text for word in ("report.html", "weights/", "shards/", "held-out accuracy", "liver Dice"))


def test_a_second_run_of_each_station_changes_nothing(out):
    before = {path: path.stat().st_mtime_ns for path in (out / "shards").glob("*.tar")}
    for station in demo.plan(out, None, TOY):
        if station.name in ("shards", "pretrain"):
            measured = run_station(station, out / "logs" / "again.log")
            assert measured.code in (OK, *station.accepted)
    assert before == {path: path.stat().st_mtime_ns for path in (out / "shards").glob("*.tar")}
