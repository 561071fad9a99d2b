"""Splits that leak nothing, a draw that repeats nothing it may not, and a budget."""

import random

import numpy as np
import pyarrow
import pyarrow.compute
import pytest

from radnet.shards.config import ShardConfig, SourceConfig, SplitsConfig
from radnet.shards.inventory import Row, budget, corpus, division, draw, options, pack, select
from radnet.shards.plan import plan, split_of
from radnet.shards.privacy import load_key
from tests.idc import made, mr, patients_rows, series


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
    assert found.table["reason"].to_pylist()[-1] == "class" and found.excluded["not_drawn"] == 140
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
    config = options.BudgetConfig(cores=4, download_mb_per_s=50, codec="htj2k")
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
    jobs = plan(map(pack, rows), config).jobs
    kept = np.array([128.0 * rows[at].header["num_slices"] for at in range(300)])
    split = np.array([split_of(row.patient_key, config.splits) for row in rows], object)
    counted = budget._num_shards(kept, split, options.BudgetConfig(shard_bytes=60_000))
    assert abs(counted - len(jobs)) <= 0.02 * len(jobs)  # the order within a split is another
