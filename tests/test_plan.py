"""The plan: pure, deterministic, patients never straddle splits, adding patients moves nobody."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from radnet.errors import UsageError
from radnet.shards.config import ShardConfig, SourceConfig, SplitsConfig, check, settings
from radnet.shards.inventory import Entry, Origin, Row, pack
from radnet.shards.ledger import Code
from radnet.shards.plan import mixed, plan, split_of

SLICE_BYTES = 2 * 64 * 64


def _rows(num_patients: int, start: int = 0, series_each: int = 3) -> list[Entry]:
    rows = []
    for patient in range(start, start + num_patients):
        for series in range(series_each):
            header = {"Rows": 64.0, "Columns": 64.0, "num_slices": 10 + patient % 7}
            key = f"s{patient:04d}-{series}"
            rows.append(pack(Row(key, f"t{patient}", f"p{patient:04d}", "dicom", "c", "", [key], [[1, 0]], header)))
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
    def places(rows: list[Entry]) -> dict[str, str]:
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
    num_bytes = {entry.key: entry.num_bytes for entry in _rows(60)}
    for job in planned.jobs:
        assert sum(num_bytes[key] for key in job.series_keys) <= _config().shard_bytes
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


def test_every_stretch_holds_every_class_and_collection_as_often_as_the_whole():
    kinds = ["CT axial"] * 70 + ["T1 axial"] * 20 + ["T2-FLAIR sagittal"] * 10
    entries = [
        replace(entry, stratum=kinds[number % 100], origin=Origin("ab"[number % 2], "CC0"))
        for number, entry in enumerate(_rows(400))
    ]
    ordered = mixed(entries)
    assert sorted(one.key for one in ordered) == sorted(one.key for one in entries)
    for start in range(0, len(ordered), 100):
        found = Counter((one.stratum, one.origin.collection) for one in ordered[start : start + 100])
        expected = Counter((one.stratum, one.origin.collection) for one in entries)
        # A hundredth of the whole, give or take one: by chance alone a class of 5 would often be missing.
        assert all(abs(found[kind] - number / 12) <= 1 for kind, number in expected.items())


def test_patients_who_share_pixels_share_a_split():
    entries = _rows(200)
    places = {patient: split_of(patient, _config().splits) for patient in {one.patient_key for one in entries}}
    train, test = (next(p for p in sorted(places) if places[p] == split) for split in ("train", "test"))
    twins = [
        replace(one, pixel_hash="same") if one.key in (f"s{train[1:]}-0", f"s{test[1:]}-1") else one for one in entries
    ]
    assert {one.patient_key for one in twins if one.pixel_hash} == {train, test}
    found = plan(twins, _config())
    assert found.places[train] == found.places[test] and not found.refused
    others = places.keys() - {train, test}
    assert all(found.places[patient] == places[patient] for patient in others)


def test_an_inventorys_split_goes_before_the_hash_and_test_before_training():
    entries = [replace(one, origin=Origin(split="validation")) for one in _rows(30)]
    entries[0] = replace(entries[0], origin=Origin(split="test"), pixel_hash="same")
    entries[3] = replace(entries[3], pixel_hash="same")
    found = plan(entries, _config())
    assert {split for patient, split in found.places.items() if patient > "p0001"} == {"validation"}
    assert found.places["p0000"] == found.places["p0001"] == "test"


def test_a_set_that_grows_keeps_its_shards_and_its_patients():
    old = _rows(60)
    before = plan(old, _config())
    new = [replace(one, series_key=f"n{one.series_key}") for one in _rows(20, start=50)]
    after = plan(old + new, _config(), before)
    assert [one for one in after.jobs if one in before.jobs] == list(before.jobs)
    assert before.places.items() <= after.places.items()
    assert after.num_series == before.num_series + len(new)
    assert len({one.name for one in after.jobs}) == len(after.jobs)
    for split in ("train", "validation", "test"):
        names = [one.name for one in after.jobs if one.split == split]
        assert names == [f"{split}-{number:06d}" for number in range(len(names))]


def test_a_copy_that_comes_later_into_another_split_stays_out():
    old = [replace(one, pixel_hash=one.key) for one in _rows(100)]
    before = plan(old, _config())
    first = next(one for one in old if before.places[one.patient_key] == "train")
    other = next(one for one in old if before.places[one.patient_key] == "test")
    copy = replace(other, series_key="copy", pixel_hash=first.pixel_hash)
    stranger = replace(copy, series_key="stranger", patient_key="new")
    after = plan([*old, copy, stranger], _config(), before)
    assert {key: code for key, (code, _) in after.refused.items()} == {"copy": Code.DUPLICATE}
    assert after.places["new"] == "train"  # with the pixels it shares


def test_what_a_site_will_not_have_is_in_no_shard():
    entries = _rows(4)
    entries[0] = replace(entries[0], origin=Origin("a", "CC BY-NC 4.0"))
    entries[1] = replace(entries[1], face="yes")
    entries[2] = replace(entries[2], face="unknown")
    entries[3:] = [replace(one, face="no", origin=Origin("b", "CC BY 4.0")) for one in entries[3:]]
    found = plan(entries, _config(exclude_licences=["*-nc*"], faces="exclude"))
    codes = {key: code for key, (code, _) in found.refused.items()}
    assert codes == {entries[0].key: Code.LICENCE, entries[1].key: Code.FACE, entries[2].key: Code.FACE}
    assert found.num_series == len(entries) - 3
    assert not plan(entries, _config()).refused


def test_sizes_come_from_the_header_or_else_from_the_files():
    row = _rows(1)[0].unpack()
    assert row.num_voxel_bytes == 10 * SLICE_BYTES
    assert replace(row, header={}, stamps=[[7, 0]]).num_voxel_bytes == 7


def test_settings_leave_out_what_changes_no_byte():
    one = _config()
    other = replace(one, out="elsewhere", num_workers=3, address="auto", sources=[SourceConfig(path="moved")])
    assert settings(one) == settings(other)
    assert settings(one) != settings(replace(one, codec="htj2k"))


def test_fractions_that_add_up_only_on_paper_are_taken():
    check(_config(splits=SplitsConfig(0.7, 0.2, 0.1)))


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"out": ""}, "out is empty"),
        ({"out": "memory://set"}, "one process alone"),
        ({"faces": "blur"}, "keep, exclude"),
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
