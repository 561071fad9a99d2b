"""The plan: pure, deterministic, patients never straddle splits, adding patients moves nobody."""

import random
from dataclasses import replace

import pytest

from radnet.errors import UsageError
from radnet.shards.config import ShardConfig, SourceConfig, SplitsConfig, check, settings
from radnet.shards.inventory.row import Row
from radnet.shards.ledger import Code
from radnet.shards.plan import estimate_bytes, plan, split_of

SLICE_BYTES = 2 * 64 * 64


def _rows(num_patients: int, start: int = 0, series_each: int = 3) -> list[Row]:
    rows = []
    for patient in range(start, start + num_patients):
        for series in range(series_each):
            header = {"Rows": 64.0, "Columns": 64.0, "num_slices": 10 + patient % 7}
            key = f"s{patient:04d}-{series}"
            rows.append(Row(key, f"t{patient}", f"p{patient:04d}", "dicom", "c", "", [key], [[1, 0]], header))
    return rows


def _config(**values) -> ShardConfig:
    return ShardConfig(out="out", sources=[SourceConfig(path="in")], shard_bytes=100 * SLICE_BYTES, **values)


def test_every_candidate_is_in_one_shard_and_others_in_none():
    rows = _rows(40)
    rows[5] = replace(rows[5], code=Code.LOCALIZER)
    planned = plan(rows, _config())
    keys = [key for job in planned.jobs for key in job.series_keys]
    assert sorted(keys) == sorted(row.series_key for row in rows if row.code == Code.OK)
    assert planned.num_series == len(rows) - 1


def test_the_order_of_the_rows_changes_nothing():
    rows = _rows(40)
    shuffled = random.Random(1).sample(rows, len(rows))
    assert plan(shuffled, _config()) == plan(rows, _config())


def test_a_patient_is_in_one_split():
    patient = {row.series_key: row.patient_key for row in _rows(60)}
    splits: dict[str, set[str]] = {}
    for job in plan(_rows(60), _config()).jobs:
        for key in job.series_keys:
            splits.setdefault(patient[key], set()).add(job.split)
    assert {len(found) for found in splits.values()} == {1}


def test_adding_patients_moves_nobody():
    def places(rows: list[Row]) -> dict[str, str]:
        return {key: job.split for job in plan(rows, _config()).jobs for key in job.series_keys}

    before, after = places(_rows(50)), places(_rows(50) + _rows(200, start=50))
    assert before.items() <= after.items() and len(after) == 750


def test_growing_the_test_split_keeps_its_patients():
    small, large = SplitsConfig(0.8, 0.1, 0.1), SplitsConfig(0.6, 0.1, 0.3)
    patients = [f"p{number}" for number in range(500)]
    assert all(split_of(patient, large) == "test" for patient in patients if split_of(patient, small) == "test")


def test_splits_have_about_the_fractions_asked_for():
    patients = [f"p{number}" for number in range(5000)]
    found = [split_of(patient, SplitsConfig(0.7, 0.2, 0.1)) for patient in patients]
    for split, fraction in (("train", 0.7), ("validation", 0.2), ("test", 0.1)):
        assert found.count(split) / len(found) == pytest.approx(fraction, abs=0.02)


def test_shards_are_bounded_named_in_order_and_of_one_split():
    planned = plan(_rows(60), _config())
    by_split: dict[str, list[str]] = {}
    for job in planned.jobs:
        assert job.num_bytes <= _config().shard_bytes
        by_split.setdefault(job.split, []).append(job.name)
    for split, names in by_split.items():
        assert names == [f"{split}-{number:06d}" for number in range(len(names))]
    assert len({job.fingerprint for job in planned.jobs}) == len(planned.jobs)


def test_a_series_larger_than_a_shard_has_one_of_its_own():
    planned = plan(_rows(3), replace(_config(), shard_bytes=1))
    assert [len(job.series_keys) for job in planned.jobs] == [1] * 9


def test_neighbours_in_a_shard_come_from_different_patients():
    jobs = plan(_rows(60), replace(_config(), shard_bytes=10**9)).jobs
    patients = [key.split("-")[0] for job in jobs for key in job.series_keys]
    same = sum(first == second for first, second in zip(patients, patients[1:], strict=False))
    assert same < len(patients) * 0.1


def test_sizes_come_from_the_header_or_else_from_the_files():
    row = _rows(1)[0]
    assert estimate_bytes(row) == 10 * SLICE_BYTES
    assert estimate_bytes(replace(row, header={}, stamps=[[7, 0]])) == 7


def test_settings_leave_out_what_changes_no_byte():
    one = _config()
    other = replace(one, out="elsewhere", num_workers=3, address="auto", sources=[SourceConfig(path="moved")])
    assert settings(one) == settings(other)
    assert settings(one) != settings(replace(one, codec="npy"))


def test_fractions_that_add_up_only_on_paper_are_taken():
    check(_config(splits=SplitsConfig(0.7, 0.2, 0.1)))


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"out": ""}, "out is empty"),
        ({"out": "s3://bucket/set"}, "local or shared folder"),
        ({"sources": []}, "sources is empty"),
        ({"sources": [SourceConfig(path="a", kind="png")]}, "dicom, nifti"),
        ({"codec": "zip"}, "npy, htj2k"),
        ({"splits": SplitsConfig(0.5, 0.1, 0.1)}, "add up to 1"),
        ({"splits": SplitsConfig(1.2, -0.1, -0.1)}, "add up to 1"),
        ({"splits": SplitsConfig(float("nan"), float("nan"), float("nan"))}, "add up to 1"),
        ({"splits": SplitsConfig(0.9, 0.1, float("nan"))}, "add up to 1"),
        ({"max_spacing_mm": float("nan")}, "positive"),
        ({"finest_mm": [1.0, float("nan"), 1.0]}, "finest_mm"),
        ({"shard_bytes": 0}, "positive"),
        ({"num_workers": -1}, "num_workers"),
        ({"finest_mm": [1.0]}, "finest_mm"),
    ],
)
def test_configurations_that_make_no_shard_set_are_refused(wrong, said):
    with pytest.raises(UsageError, match=said) as caught:
        check(replace(_config(), **wrong))
    assert "\n" not in str(caught.value)
