"""Metrics against scikit-learn; the table against counts made by hand; intervals that know about patients."""

import json

import numpy as np
import pytest
from sklearn import metrics as sk

from radnet import metrics

NAMES = {
    "sequence": ("CT", "T1-SE", "T2-SE", "T1-FLAIR", "T2-FLAIR"),
    "view": ("axial", "coronal", "sagittal"),
    "contrast": ("yes", "no"),
    "coverage": tuple(f"region{k}" for k in range(9)),
}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_auc_equals_sklearn_with_and_without_ties(rng):
    positive = rng.random(300) < 0.3
    for score in (rng.normal(positive, 1), np.round(rng.random(300), 1), np.zeros(300)):
        assert metrics.auc(score, positive) == pytest.approx(sk.roc_auc_score(positive, score), abs=1e-12)
    assert np.isnan(metrics.auc(rng.random(5), np.ones(5, bool)))


def test_rates_equal_sklearn(rng):
    target, predicted = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    assert metrics.accuracy(predicted, target) == pytest.approx(sk.accuracy_score(target, predicted))
    for k in range(4):
        is_k, said_k = target == k, predicted == k
        assert metrics.accuracy(said_k, is_k) == pytest.approx(sk.accuracy_score(is_k, said_k))
        assert metrics.sensitivity(said_k, is_k) == pytest.approx(sk.recall_score(is_k, said_k))
        assert metrics.specificity(said_k, is_k) == pytest.approx(sk.recall_score(~is_k, ~said_k))


def test_errors_equal_sklearn(rng):
    predicted, target = rng.random(50), rng.random(50)
    assert metrics.mae(predicted, target) == pytest.approx(sk.mean_absolute_error(target, predicted))
    assert metrics.rmse(predicted, target) == pytest.approx(sk.root_mean_squared_error(target, predicted))


def test_dice_equals_f1_and_two_empty_masks_agree(rng):
    a, b = rng.random((4, 5, 6)) < 0.4, rng.random((4, 5, 6)) < 0.4
    assert metrics.dice(a, b) == pytest.approx(sk.f1_score(a.ravel(), b.ravel()))
    assert metrics.dice(a & False, b & False) == 1.0
    assert metrics.dice(a, b & False) == 0.0


def test_majority_rate_of_entries_and_of_rows():
    assert metrics.majority_rate(np.array([0, 1, 1, 1])) == 0.75
    assert metrics.majority_rate(np.array([[0, 1], [0, 1], [1, 1]])) == pytest.approx(2 / 3)
    assert np.isnan(metrics.majority_rate(np.array([])))


def test_bootstrap_draws_whole_patients(rng):
    values, patients = rng.normal(size=60), rng.choice([f"p{k}" for k in range(12)], 60)
    low, high = metrics.bootstrap_interval(lambda v: float(v.mean()), [values], patients, num_resamples=400, seed=3)
    assert (low, high) == metrics.bootstrap_interval(
        lambda v: float(v.mean()), [values], patients, num_resamples=400, seed=3
    )
    # The same draws with a plain loop over patients.
    keys, draws, means = np.unique(patients), np.random.default_rng(3), []
    for _ in range(400):
        drawn = keys[draws.integers(len(keys), size=len(keys))]
        means.append(np.concatenate([values[patients == key] for key in drawn]).mean())
    assert (low, high) == pytest.approx(tuple(np.percentile(means, (2.5, 97.5))))


def test_bootstrap_is_wider_for_few_patients_than_for_many():
    right = np.repeat([0.0, 1.0, 1.0, 1.0], 25)
    few = metrics.bootstrap_interval(lambda v: float(v.mean()), [right], np.repeat(np.arange(4), 25))
    many = metrics.bootstrap_interval(lambda v: float(v.mean()), [right], np.arange(100))
    assert few[1] - few[0] > 2 * (many[1] - many[0])


def test_bootstrap_keeps_arrays_together_and_skips_nan():
    a = np.arange(20.0)
    interval = metrics.bootstrap_interval(lambda x, y: float((x - y).mean()), [a, a], np.arange(20))
    assert interval == (0.0, 0.0)
    assert all(np.isnan(metrics.bootstrap_interval(lambda x: float("nan"), [a], np.arange(20))))
    assert all(np.isnan(metrics.bootstrap_interval(lambda x: 0.0, [a[:0]], a[:0])))


def example(rng, num_samples: int = 120):
    target = np.stack(
        [rng.integers(0, 4, num_samples), rng.integers(0, 3, num_samples), rng.integers(0, 2, num_samples)]
        + [rng.integers(0, 2, num_samples) for _ in range(9)]
        + [rng.uniform(1, 8, num_samples)],
        axis=1,
    ).astype(np.float32)
    target[rng.random(target.shape) < 0.2] = -1
    target[:60, 3:12] = rng.integers(0, 2, (60, 9))
    scores = {name: rng.dirichlet(np.ones(len(NAMES[name])), num_samples) for name in ("sequence", "view", "contrast")}
    scores |= {"coverage": rng.random((num_samples, 9)), "spacing": rng.uniform(1, 8, num_samples)}
    return scores, target, np.array([f"p{k % 40}" for k in range(num_samples)])


def test_table1_equals_sklearn_on_what_is_known(rng):
    scores, target, patients = example(rng)
    rows = {(row["label"], row["name"]): row for row in metrics.table1(scores, target, patients, NAMES)}
    known = target[:, 0] >= 0
    truth, predicted = target[known, 0], scores["sequence"][known].argmax(axis=1)
    row = rows["sequence", "T1-SE"]
    assert row["n"] == (truth == 1).sum()
    assert row["accuracy"] == pytest.approx(sk.accuracy_score(truth == 1, predicted == 1))
    assert row["auc"] == pytest.approx(sk.roc_auc_score(truth == 1, scores["sequence"][known, 1]))
    assert row["sensitivity"] == pytest.approx(sk.recall_score(truth == 1, predicted == 1))
    overall = rows["sequence", "overall"]
    assert overall["n"] == known.sum()
    assert overall["accuracy"] == pytest.approx(sk.accuracy_score(truth, predicted))
    assert overall["low"] < overall["accuracy"] < overall["high"]
    assert overall["majority"] == pytest.approx(np.bincount(truth.astype(int)).max() / known.sum())
    whole = (target[:, 3:12] >= 0).all(axis=1)
    exact = sk.accuracy_score(target[whole, 3:12] == 1, scores["coverage"][whole] >= 0.5)
    assert (rows["coverage", "exact match"]["n"], rows["coverage", "exact match"]["accuracy"]) == (whole.sum(), exact)
    regions = [rows["coverage", name]["accuracy"] for name in NAMES["coverage"]]
    assert rows["coverage", "mean per region"]["accuracy"] == pytest.approx(np.mean(regions))
    spaced = target[:, 12] > 0
    expected = sk.mean_absolute_error(target[spaced, 12], scores["spacing"][spaced])
    assert rows["spacing", "overall"]["mae_mm"] == pytest.approx(expected)


def test_table1_prints_a_dash_where_there_is_nothing(rng):
    scores, target, patients = example(rng)
    target[:, 2] = -1
    rows = metrics.table1(scores, target, patients, NAMES)
    json.dumps(rows, allow_nan=False)
    lines = metrics.format_table1(rows).splitlines()
    assert len(lines) == 1 + len(rows) == 1 + 5 + 1 + 3 + 1 + 2 + 1 + 9 + 2 + 1
    empty = next(line.split() for line in lines if "T2-FLAIR" in line)
    assert empty[:3] == ["sequence", "T2-FLAIR", "0"] and set(empty[3:]) == {"-"}
    assert [line.split()[2:4] for line in lines if line.split()[:2] == ["contrast", "overall"]] == [["0", "-"]]
    assert lines[0].index("  n") + 2 == lines[1].index(str(rows[0]["n"])) + len(str(rows[0]["n"])) - 1


def test_table1_of_no_samples_and_of_broken_scores(rng):
    scores, target, patients = example(rng)
    none = {name: score[:0] for name, score in scores.items()}
    rows = metrics.table1(none, target[:0], patients[:0], NAMES)
    assert all(row["n"] == 0 and row["accuracy"] is None for row in rows)
    scores["view"][3] = np.nan
    with pytest.raises(ValueError, match="scores of view are not finite"):
        metrics.table1(scores, target, patients, NAMES)
