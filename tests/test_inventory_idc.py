"""A corpus from an index: every rule, splits that leak nothing, a draw that repeats nothing it may not, a budget."""

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
from radnet.shards.config import ShardConfig, SourceConfig, SplitsConfig
from radnet.shards.inventory import budget, columns, corpus, division, draw, idc, options, output, select, text
from radnet.shards.inventory.row import Row
from radnet.shards.plan import plan, split_of
from radnet.shards.privacy import load_key
from tests.conftest import ROOT
from tests.idc import CAPTURE, MR, needs_real_index, series, uuid_of, write_index


def made(tmp_path, rows, *, everything=True, **keys) -> corpus.Corpus:
    index = idc.open_index(write_index(tmp_path / "index", rows))
    return corpus.from_index(index, options.InventoryConfig(**keys), everything=everything)


def reasons(found: corpus.Corpus) -> list[str | None]:
    return found.table["reason"].to_pylist()


def mr(number: int, description: str, **values) -> dict:
    return series(number, Modality="MR", SOPClassUID=MR, SeriesDescription=description, **values)


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
    assert reasons(found) == [None, *BROKEN]
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
    assert {row["coverage"] for row in found} > {"lung"} and len({row["sequence"] for row in found}) > 2


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


def patients_rows(num: int, each: int = 3) -> list[dict]:
    return [
        series(at, PatientID=f"P{at // each}", collection_id=["alpha", "beta", "delta"][at // each % 3])
        for at in range(num)
    ]


def test_splits_are_those_of_sharding_and_adding_rows_moves_nobody(tmp_path):
    fractions = SplitsConfig(0.5, 0.3, 0.2)
    small = made(tmp_path / "a", patients_rows(150), splits=fractions).selected.to_pylist()
    large = made(tmp_path / "b", patients_rows(600), splits=fractions).selected.to_pylist()
    key = load_key("public")
    for row in large:
        patient = key.hash("patient", f"{row['collection_id']}\0{row['PatientID']}")
        assert row["patient_key"] == patient and row["split"] == split_of(patient, fractions)
    place = {row["SeriesInstanceUID"]: row["split"] for row in large}
    assert all(place[row["SeriesInstanceUID"]] == row["split"] for row in small)
    assert {row["split"] for row in small} == {"train", "validation", "test"}


def test_a_patient_of_two_collections_is_in_one_split_of_the_earlier_one(tmp_path):
    rows = [
        series(at, PatientID=f"P{at % 40}", collection_id="beta" if at < 40 else "alpha", series_init_idc_version=5)
        for at in range(80)
    ]
    for row in rows[40:]:
        row["series_init_idc_version"] = 9
    found = made(tmp_path, rows, splits=SplitsConfig(0.4, 0.3, 0.3))
    assert found.leakage == division.Leakage(0, 0, 0, 2)
    assert any("40 patients are in several collections" in note for note in found.notes)
    before = made(tmp_path / "before", rows[:40], splits=SplitsConfig(0.4, 0.3, 0.3))
    assert found.table["split"].to_pylist()[:40] == before.table["split"].to_pylist()


def test_splits_by_collection_share_no_collection_and_no_patient(tmp_path):
    rows = patients_rows(300)
    rows += [series(300 + at, PatientID=f"P{3 * at}", collection_id="beta") for at in range(10)]  # of alpha, too
    keys = {"disjoint": "collection", "splits": SplitsConfig(0.8, 0.2, 0.0)}
    found = made(tmp_path, rows, test_collections=["beta"], **keys)
    test = found.selected.filter(pyarrow.compute.equal(found.selected["split"], "test"))
    assert set(test["collection_id"].to_pylist()) == {"beta"} and found.leakage == division.Leakage(0, 0, 0, 0)
    assert found.excluded == {"patient_in_test": 30}  # three series each of ten patients, in alpha
    once = made(tmp_path, rows, test_collections=["beta"], test_series_per_patient=1, **keys)
    people = once.selected.filter(pyarrow.compute.equal(once.selected["split"], "test"))["PatientID"].to_pylist()
    assert len(people) == len(set(people)) > 30


def test_test_keeps_the_rarest_sequence_of_a_patient(tmp_path):
    rows = [mr(0, "T2 FLAIR", PatientID="Q"), *(mr(at, "t2_tse", PatientID="Q") for at in range(1, 9)), series(20)]
    rows = [dict(row, collection_id="beta") for row in rows[:9]] + rows[9:]
    found = made(tmp_path, rows, disjoint="collection", test_collections=["beta"], test_series_per_patient=1)
    assert found.selected["sequence"].to_pylist() == ["T2-FLAIR", "CT"]


def test_hashed_test_collections_stay_when_others_come(tmp_path):
    who = division.Patients(np.zeros(300, np.int64), ["k"])
    names = [f"collection-{at}" for at in range(300)]
    config = options.InventoryConfig(disjoint="collection", splits=SplitsConfig(0.7, 0.1, 0.2))
    large = division.splits(who, pyarrow.table({"collection_id": names}), config)
    few = division.Patients(who.numbers[:100], who.keys)
    small = division.splits(few, pyarrow.table({"collection_id": names[:100]}), config)
    assert (large[:100] == small).all() and 30 <= (large == "test").sum() <= 95


def test_the_leakage_check_finds_leaks():
    table = pyarrow.table(
        {
            "SeriesInstanceUID": ["1", "2", "3", "3", "5"],
            "StudyInstanceUID": ["a", "a", "b", "c", "d"],
            "PatientID": ["p", "p", "q", "p", "r"],
            "collection_id": ["x", "x", "y", "y", "z"],
            "split": ["train", "test", "train", "validation", "train"],
        }
    )
    kept = np.array([select.KEPT] * 5)
    assert division.leakage(table, kept, corpus.IDC_NAMES) == division.Leakage(1, 1, 1, 1)
    assert division.leakage(table, kept, corpus.IDC_NAMES).leaks(options.InventoryConfig())
    only = np.array([select.KEPT, "x", select.KEPT, "x", select.KEPT])
    assert not division.leakage(table, only, corpus.IDC_NAMES).leaks(options.InventoryConfig(disjoint="collection"))
    apart = division.Leakage(0, 0, 0, 3)
    assert apart.leaks(options.InventoryConfig(disjoint="collection")) and not apart.leaks(options.InventoryConfig())


@pytest.mark.parametrize(
    ("capacities", "total", "expected"),
    [
        ({"a": 100, "b": 100}, 50, {"a": 25, "b": 25}),
        ({"a": 1000, "b": 60, "c": 1000}, 900, {"a": 420, "b": 60, "c": 420}),
        ({"a": 5, "b": 6}, 100, {"a": 5, "b": 6}),
        ({"a": 10, "b": 10, "c": 10}, 4, {"a": 2, "b": 1, "c": 1}),
        ({}, 5, {}),
    ],
)
def test_shares_are_even_up_to_what_a_class_can_give(capacities, total, expected):
    assert draw.shares(capacities, total) == expected


def test_a_rare_class_is_repeated_up_to_the_cap_and_says_so():
    classes = ["CT"] * 500 + ["T1-FLAIR"] * 20
    uids, people = [f"1.{at}" for at in range(520)], np.arange(520)
    drawn, report = draw.draw(classes, uids, people, np.ones(520, bool), num=300, cap=3, seed=0)
    assert drawn[500:].tolist() == [3] * 20 and drawn[:500].sum() == 240 and drawn[:500].max() == 1
    assert str(report[1]) == "T1-FLAIR: 20 series, cap 3 repeats -> 60 draws (20 are training and may repeat)"
    assert str(report[0]) == "CT: 240 of 500 series, no repeats"
    is_train = np.arange(520) % 4 > 0
    drawn, report = draw.draw(classes, uids, people, is_train, num=300, cap=3, seed=0)
    assert drawn[500:].tolist() == [1, 3, 3, 3] * 5 and report[1].num_train == 15


def test_a_draw_is_the_same_in_any_order_and_another_with_another_seed():
    rng = random.Random(0)
    rows = [(rng.choice(["a", "b", "b", "c"]), f"1.{at}", at // 5) for at in range(400)]

    def chosen(of: list, seed: int) -> dict[str, int]:
        names, uids, people = zip(*of, strict=True)
        drawn, _ = draw.draw(names, uids, np.array(people), np.ones(len(of), bool), num=150, cap=2, seed=seed)
        return dict(zip(uids, drawn.tolist(), strict=True))

    assert chosen(rows, 0) == chosen(rng.sample(rows, len(rows)), 0) != chosen(rows, 1)


def test_every_patient_is_drawn_once_before_any_twice():
    people = np.array([0] * 100 + list(range(1, 21)))
    place = draw.ranks([f"1.{at}" for at in range(120)], people, 0)
    first = people[np.argsort(place)][:21]
    assert sorted(first.tolist()) == list(range(21)) and sorted(place.tolist()) == list(range(120))


def test_the_draw_of_a_corpus_counts_only_classes(tmp_path):
    rows = [series(at) for at in range(200)] + [mr(200 + at, "t2_tse_tra") for at in range(30)] + [mr(400, "dce")]
    found = made(tmp_path, rows, draw=options.DrawConfig(series=120, cap=2), splits=SplitsConfig(1.0, 0.0, 0.0))
    totals = {one.name: one.num_draws for one in found.draws}
    assert totals == {"CT": 60, "T2-SE": 60} and found.counts("sequence") == {"CT": 60, "T2-SE": 30}
    assert reasons(found)[-1] == "class" and found.excluded["not_drawn"] == 140
    drawn = found.table["draws"].to_pylist()
    assert sum(drawn) == 120 and drawn[200:230] == [2] * 30 and drawn[-1] == 0
    only = made(tmp_path, rows, draw=options.DrawConfig(series=50, classes=["T2-SE"]))
    assert only.counts("sequence") == {"T2-SE": 30}


def of_modality(names, mb, slices=100, **values) -> budget.Series:
    num = len(names)
    mb = np.full(num, float(mb))
    base = {"num_files": np.full(num, slices), "num_slices": np.full(num, slices)}
    base |= {"split": np.array(["train"] * num, object), "draws": np.ones(num, np.int64)}
    return budget.Series(np.array(names, object), mb * 1e6, mb * 1e6, **(base | values))


def test_the_budget_is_the_sum_one_would_do_by_hand():
    config = options.BudgetConfig(cores=4, download_mb_per_s=50)
    draws = np.array([3, 1])
    found = {f.name: f for f in budget.budget(of_modality(["CT", "MR"], 100, draws=draws), config)}
    assert found["download"].low == pytest.approx(0.2) and found["download time"].low == pytest.approx(4 / 3600)
    assert found["shards"].low == pytest.approx(0.1 / 4.06 + 0.1 / 4.0)
    assert found["shards"].high == pytest.approx(0.1 / 2.41 + 0.1 / 3.0)
    assert found["sharding"].low == pytest.approx((200 * 0.0035 + 200 * 0.010) / 3600)
    assert found["sharding time"].low == pytest.approx(found["sharding"].low / 4)
    assert found["GPU arithmetic per epoch"].low == pytest.approx(4 * 3 * 156.4e9 / (780e12 * 0.25) / 3600)
    assert found["decoding per epoch"].low == pytest.approx(400 / 600 / 3600)
    assert found["GPU hours per epoch"].low == found["decoding per epoch"].low
    assert all(figure.assumption for figure in found.values())
    assert "not measured" in found["GPU arithmetic per epoch"].assumption
    npy = {f.name: f for f in budget.budget(of_modality(["CT"], 100), options.BudgetConfig(codec="npy"))}
    assert npy["shards"].low == npy["shards"].high == pytest.approx(0.1)


def test_finer_axes_are_averaged_in_the_budget():
    one = of_modality(["CT"], 52.4288, slices=100)  # 512 x 512, so 400 / 512 mm by 3.5 mm
    found = {f.name: f for f in budget.budget(one, options.BudgetConfig(finest_mm=[7.0, 400 / 256, 0]))}
    assert found["voxels"].low == pytest.approx(52.4288e-3 / 4)
    assert "assumed spacing" in found["voxels"].assumption


def test_compressed_series_are_larger_than_their_files():
    texts = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.1,1.2.840.10008.1.2.4.50", ""]
    assert budget.uncompressed(np.ones(4), texts).tolist() == [1, 2.5, 10, 1]


def test_the_shard_count_is_that_of_the_plan():
    rng = random.Random(2)
    slices = [rng.randint(20, 90) for _ in range(300)]
    rows = [
        Row(f"s{at}", f"t{at}", f"p{at}", "dicom", "", "", ["f"], [[1, 0]], {"Rows": 8, "Columns": 8, "num_slices": n})
        for at, n in enumerate(slices)
    ]
    config = ShardConfig(out="o", sources=[SourceConfig(path="i")], shard_bytes=60_000)
    jobs = plan(rows, config).jobs
    kept = np.array([128.0 * rows[at].header["num_slices"] for at in range(300)])
    split = np.array([split_of(row.patient_key, config.splits) for row in rows], object)
    counted = budget._num_shards(kept, split, options.BudgetConfig(shard_bytes=60_000))
    assert abs(counted - len(jobs)) <= 0.02 * len(jobs)  # the order within a split is another


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
    assert table["coverage"][30].as_py() == "brain;lung" and table["split"][30].as_py() is None


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
