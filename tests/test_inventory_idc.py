"""A corpus from an index: every rule, labels as of each row alone, files, refusals, and the real index."""

import contextlib
import dataclasses
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow
import pyarrow.parquet
import pytest

from radnet import labels
from radnet.config import load
from radnet.errors import UsageError
from radnet.launch.inventory import main
from radnet.shards.inventory import columns, corpus, division, idc, options, output, text
from tests.conftest import ROOT
from tests.idc import CAPTURE, made, mr, needs_real_index, patients_rows, series, uuid_of, write_index

BROKEN = {
    "modality": {"Modality": "PT"},
    "no_image": {"SOPClassUID": CAPTURE},
    "colour": {"PhotometricInterpretation": "MONOCHROME2,RGB"},
    "analysis_result": {"analysis_result_id": "someone"},
    "species": {"collection_id": "gamma"},
    "licence": {"license_short_name": "CC BY-NC 3.0"},
    "excluded_collection": {"collection_id": "delta"},
    "too_few_slices": {"instanceCount": 15},
    "too_many_slices": {"instanceCount": 2001},
    "too_small": {"series_size_MB": 0.5},
    "too_large": {"series_size_MB": 5000.0},
    "manufacturer": {"Manufacturer": "ACME"},
    "family": {"SeriesDescription": "Topogram"},
}


def test_every_rule_leaves_out_what_it_says_and_nothing_else(tmp_path):
    rows = [series(0), *(series(at, **values) for at, values in enumerate(BROKEN.values(), 1))]
    limits = {"max_slices": 2000, "min_mb": 1.0, "max_mb": 1000.0}
    found = made(tmp_path, rows, exclude_collections=["delta"], manufacturers=["siemens*"], **limits)
    assert found.table["reason"].to_pylist() == [None, *BROKEN]
    assert found.table["selected"].to_pylist() == [True] + [False] * len(BROKEN)
    assert found.excluded == dict.fromkeys(found.excluded, 1) and set(found.excluded) == set(BROKEN)
    assert set(found.rules) == set(BROKEN) and sum(found.excluded.values()) + 1 == found.num_all


def test_without_all_the_table_holds_the_selected_rows_alone(tmp_path):
    rows = [series(at, Modality="CT" if at % 2 else "PT") for at in range(10)]
    whole, part = made(tmp_path, rows), made(tmp_path, rows, everything=False)
    assert len(whole.table) == 10 and len(part.table) == 5
    assert part.table.to_pylist() == whole.selected.to_pylist() and part.excluded == whole.excluded


def test_licences_are_allowed_and_denied_by_name(tmp_path):
    names = ["CC BY 3.0", "CC BY 4.0", "CC BY-NC 4.0", "Terms of a library"]
    rows = [series(at, license_short_name=name) for at, name in enumerate(names)]
    assert made(tmp_path, rows).counts("license_short_name") == dict.fromkeys(sorted(names[:2] + names[3:]), 1)
    assert list(made(tmp_path, rows, licences=["cc by*"]).counts("license_short_name")) == names[:2]
    assert len(made(tmp_path, rows, exclude_licences=[]).selected) == 4


def test_collections_that_are_gone_are_said_and_unknown_ones_refused(tmp_path):
    rows = [series(0), series(1, collection_id="beta", Modality="SM"), series(2, collection_id="delta")]
    found = made(tmp_path, rows, published_collections=["alpha", "beta", "vanished"])
    assert found.counts("collection_id") == {"alpha": 1}
    assert "gone from the index, 1: vanished" in found.notes
    assert "in the index without CT or MR series, 1: beta" in found.notes
    assert any("1 of 3 hold CT or MR series" in note for note in found.notes)
    with pytest.raises(UsageError, match="'alhpa', an unknown collection; did you mean 'alpha'"):
        made(tmp_path, rows, collections=["alhpa"])
    with pytest.raises(UsageError, match=r"no series is left of 3 \(.*fewer slices than 9000.*loosen"):
        made(tmp_path, rows, min_slices=9000)


def test_labels_are_those_of_each_row_alone(tmp_path):
    words = ["t2_tse_tra", "AX T1 POST GD FLAIR", "Axial lung", None, "SAG STIR", "thorax c+"]
    rows = [mr(at, words[at % 6], collection_id=["alpha", "beta"][at % 4 // 2]) for at in range(30)]
    rows += [series(30 + at, SeriesDescription=words[at % 6]) for at in range(30)]
    index = idc.open_index(write_index(tmp_path, rows))
    found = text.label_columns(index.series, index.sites, "paper").to_pylist()
    for row, labelled in zip(rows, found, strict=True):
        header = {k: row[k] for k in ("Modality", "SOPClassUID", "SeriesDescription", "StudyDescription")}
        header |= {"BodyPartExamined": row["BodyPartExamined"], "collection_site": index.sites[row["collection_id"]]}
        alone = labels.read({k: v for k, v in header.items() if v})
        expected = alone.row() | {"sequence": labels.TAXONOMIES["paper"].sequence_finding(alone).value}
        for name in text.LABELS:
            assert labelled[name] == expected[name], (row, name)
            assert labelled[f"{name}_evidence"] and 0 <= labelled[f"{name}_confidence"] <= 1
    assert {row["coverage"] for row in found} == {"lung"} and len({row["sequence"] for row in found}) > 2


def test_labels_do_not_depend_on_how_they_are_shared_out(tmp_path, monkeypatch):
    index = idc.open_index(write_index(tmp_path, [mr(at, f"t2 tse {at}") for at in range(50)]))
    alone = text.label_columns(index.series, index.sites, "extended")
    monkeypatch.setattr(text, "_TEXTS_PER_CHUNK", 10)
    monkeypatch.setattr(text.os, "cpu_count", lambda: 2)
    assert text.label_columns(index.series, index.sites, "extended").to_pylist() == alone.to_pylist()


def test_columns_by_distinct_values_equal_columns_by_row():
    rng = random.Random(5)
    values = [[rng.choice(["a", "b", "", None]) for _ in range(200)] for _ in range(3)]
    arrays = [pyarrow.chunked_array([value[:70], value[70:]], pyarrow.large_string()) for value in values]
    numbers, distinct = columns.tuples(arrays)
    assert [distinct[number] for number in numbers] == list(zip(*values, strict=True))
    assert len(set(distinct)) == len(distinct)
    spread = columns.spread([None, "x", "x"], np.array([2, 0, 1]), pyarrow.string())
    assert spread.to_pylist() == ["x", None, "x"] and len(spread.dictionary) == 1


def test_the_files_of_an_inventory(tmp_path, capsys):
    rows = [series(at, extra="kept") for at in range(30)]
    rows.append(series(30, Modality="PT", BodyPartExamined="BRAIN", extra="kept"))
    folder = write_index(tmp_path / "index", rows)
    out = tmp_path / "out"
    assert main(["--idc", f"index={folder}", "min_slices=20", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "selected: 30 of 31 series" in printed and "leakage: 0 patients, 0 studies, 0 series" in printed
    assert sorted(path.name for path in out.iterdir()) == ["inventory.parquet", "manifest.s5cmd", "summary.json"]
    table = pyarrow.parquet.read_table(out / "inventory.parquet")
    named = ("family", "technique", "sequence", "view", "contrast", "coverage")
    wanted = {f"{name}{tail}" for name in named for tail in ("", "_confidence", "_evidence")}
    assert set(rows[0]) | wanted | {"split", "draws", "selected", "reason", "patient_key"} <= set(table.column_names)
    assert not any(pyarrow.types.is_dictionary(field.type) for field in table.schema)
    assert table["coverage"][0].as_py() == "lung" and table["family"].to_pylist() == ["CT"] * 30
    lines = (out / "manifest.s5cmd").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        f"cp s3://idc-open-data/{uuid_of(at)}/* ." for at in range(30)
    ]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["excluded"] == {"modality": {"series": 1, "rule": "modality is not CT or MR"}}
    assert summary["series"] == {"all": 31, "selected": 30} and summary["config"]["min_slices"] == 20
    assert main(["--all", "--idc", f"index={folder}", "--out", str(out)]) == 0
    table = pyarrow.parquet.read_table(out / "inventory.parquet")
    assert len(table) == 31 and table["reason"][30].as_py() == "modality" and table["extra"][30].as_py() == "kept"
    assert table["coverage"][30].as_py() == "lung" and table["split"][30].as_py() is None


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    rows = [*patients_rows(200), *(mr(200 + at, "t2_tse") for at in range(20))]
    folder = write_index(tmp_path / "index", rows)
    for name in ("a", "b", "a"):
        main(["--idc", f"index={folder}", "draw.series=100", "--all", "--out", str(tmp_path / name)])
    for name in (output.TABLE, output.MANIFEST, output.SUMMARY):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_an_index_of_plain_strings_and_other_widths_is_read(tmp_path):
    folder = write_index(tmp_path, [series(0)])
    table = pyarrow.parquet.read_table(tmp_path / "idc_index.parquet")
    table = table.set_column(table.column_names.index("instanceCount"), "instanceCount", [pyarrow.array([7], "int32")])
    pyarrow.parquet.write_table(table, tmp_path / "idc_index.parquet")
    index = idc.open_index(folder)
    assert index.series["instanceCount"].to_pylist() == [7] and index.species["gamma"] == "Mouse"
    assert index.series["analysis_result_id"].to_pylist() == [None]


def test_an_index_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    folder = Path(write_index(tmp_path / "index", [series(0)]))
    with pytest.raises(UsageError, match="does not exist; expected a folder with the tables"):
        idc.open_index(str(tmp_path / "nowhere"))
    table = pyarrow.parquet.read_table(folder / "idc_index.parquet")
    pyarrow.parquet.write_table(table.drop_columns(["PatientID"]), folder / "idc_index.parquet")
    with pytest.raises(UsageError, match="no column PatientID"):
        idc.open_index(str(folder))
    (folder / "idc_index.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(UsageError, match="cannot be read .*; pip install --force-reinstall") as caught:
        idc.open_index(str(folder))
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(idc.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="idc-index-data is not installed.*pip install idc-index-data"):
        idc.open_index()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("taxonomy=mine", "taxonomy is 'mine', expected one of paper, extended"),
        ("disjoint=study", "patient or collection"),
        ("test_collections=[alpha]", "unless disjoint=collection"),
        ("draw.classes=[XYZ]", "draw.classes"),
        ("draw.cap=0", "1 or more"),
        ("draw.series=-1", "no draw"),
        ("exclude_families=[NONE]", "exclude_families"),
        ("min_slices=-1", "min_slices"),
        ("max_mb=.nan", "max_mb"),
        ("splits.train=0.5", "add up to 1"),
        ("splits={train: .nan, validation: 0.1, test: 0.1}", "add up to 1"),
        ("budget.codec=zip", "budget.codec"),
        ("budget.finest_mm=[1]", "three distances"),
        ("budget.gpu_utilisation=2", "fraction"),
        ("budget.cores=0", "positive"),
        ("min_slice=3", "did you mean 'min_slices'"),
        ("+min_slices=3", "key=value"),
    ],
)
def test_keys_and_values_that_make_no_corpus_are_refused(wrong, said):
    with pytest.raises(UsageError, match=said) as caught:
        load(options.InventoryConfig, None, [wrong])
    assert "\n" not in str(caught.value)


def test_the_configs_load_and_a_list_of_series_leaves_nothing_out():
    paper = load(options.InventoryConfig, str(ROOT / "configs" / "corpus_paper.yaml"))
    names = paper.published_collections
    assert len(set(names)) == len(names) == 77 and set(paper.test_collections) <= set(names)
    assert paper.disjoint == "collection" and paper.min_slices == 16 and paper.modalities == ["CT", "MR"]
    open_to_all = load(options.ListedConfig, None)
    changed = {f.name for f in dataclasses.fields(options.InventoryConfig)}
    assert {n for n in changed if getattr(open_to_all, n) != getattr(options.InventoryConfig(), n)} == {
        "modalities", "images_only", "original_only", "species", "exclude_licences", "min_slices", "exclude_families",
    }  # fmt: skip


@pytest.fixture(scope="module")
def real_index() -> idc.IdcIndex:
    return idc.open_index()


@needs_real_index
def test_the_index_of_idc_is_the_one_radnet_knows(real_index):
    assert len(real_index.series) > 1_000_000 and len(real_index.sites) > 150
    assert real_index.sites["lidc_idri"] == "Chest" and real_index.species["mouse_mammary"] == "Mouse"
    urls = real_index.series["series_aws_url"].slice(0, 1000).to_pylist()
    pairs = zip(
        real_index.series["aws_bucket"].slice(0, 1000).to_pylist(),
        real_index.series["crdc_series_uuid"].slice(0, 1000).to_pylist(),
        strict=True,
    )
    assert urls == [f"s3://{bucket}/{uuid}/*" for bucket, uuid in pairs]


@needs_real_index
def test_the_papers_corpus_leaks_nothing(real_index):
    config = load(options.InventoryConfig, str(ROOT / "configs" / "corpus_paper.yaml"))
    found = corpus.from_index(real_index, config, everything=False)
    assert found.leakage == division.Leakage(0, 0, 0, 0)
    rows = found.selected.select(["PatientID", "split", "collection_id", "license_short_name", "draws"]).to_pylist()
    test = [row for row in rows if row["split"] == "test"]
    assert len({row["PatientID"] for row in test}) == len(test) > 200
    elsewhere = [row for row in rows if row["split"] != "test"]
    assert not {row["PatientID"] for row in test} & {row["PatientID"] for row in elsewhere}
    assert {row["collection_id"] for row in test} == set(config.test_collections)
    assert {row["license_short_name"] for row in rows} == {"CC BY 3.0", "CC BY 4.0"}
    gone = next(note for note in found.notes if note.startswith("gone from the index"))
    assert "rembrandt" in gone and "rider_neuro_mri" in gone
    assert sum(found.excluded.values()) + len(rows) == found.num_all
    assert set(found.counts("sequence")) <= set(labels.TAXONOMIES["paper"].sequence)
    assert max(row["draws"] for row in rows) == 3 and sum(row["draws"] for row in rows) <= config.draw.series


def _children(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return process.children(recursive=True)
    return []


@pytest.mark.slow
@needs_real_index
@pytest.mark.parametrize("words", [["--all"], ["corpus_paper"]])
def test_the_whole_index_takes_a_minute_and_four_gigabytes_at_most(tmp_path, words):
    command = [sys.executable, "launch/inventory.py", "--idc", *words, "--out", str(tmp_path)]
    process = psutil.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    peak_bytes, cpu_s = 0, {}
    while process.poll() is None:
        resident = 0
        for one in [process, *_children(process)]:
            with contextlib.suppress(psutil.Error):
                resident += one.memory_info().rss
                cpu_s[one.pid] = sum(one.cpu_times()[:2])
        peak_bytes = max(peak_bytes, resident)
        time.sleep(0.05)
    assert process.returncode == 0
    # Seconds of computing, of all processes: what two idle cores can only undercut, whatever else runs meanwhile.
    assert sum(cpu_s.values()) <= 60 and peak_bytes <= 4e9, (cpu_s, peak_bytes)
    if words == ["--all"]:
        assert pyarrow.parquet.read_metadata(tmp_path / "inventory.parquet").num_rows > 1_000_000
