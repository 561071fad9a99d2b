"""The epoch's list: pure, balanced, and the same for every number of ranks."""

import time

import numpy as np
import pytest

from radnet import order

HERE = np.zeros(1000, int)  # all samples lie in one shard


def test_list_is_pure_and_changes_with_epoch_and_seed():
    repeat = np.ones(50, int)
    first = order.order(repeat, HERE[: len(repeat)], seed=1, epoch=0, multiple=8)
    assert np.array_equal(first, order.order(repeat, HERE[: len(repeat)], seed=1, epoch=0, multiple=8))
    assert not np.array_equal(first, order.order(repeat, HERE[: len(repeat)], seed=1, epoch=1, multiple=8))
    assert not np.array_equal(first, order.order(repeat, HERE[: len(repeat)], seed=2, epoch=0, multiple=8))


def test_list_holds_every_sample_and_pads_to_the_global_batch():
    listed = order.order(np.array([1, 2, 3]), HERE[:3], seed=0, epoch=0, multiple=4)
    assert sorted(listed) == [order.PADDING, order.PADDING, 0, 1, 1, 2, 2, 2]


def test_rare_classes_are_repeated_up_to_the_cap_and_unknown_ones_never():
    classes = np.array([0] * 8 + [1] * 4 + [2] + [-1])
    assert order.repeats(classes, cap=3).tolist() == [1] * 8 + [2] * 4 + [3] + [1]
    assert order.repeats(np.array([-1, -1]), cap=3).tolist() == [1, 1]


@pytest.mark.parametrize("world", [1, 2, 3, 5, 8])
def test_ranks_together_read_the_same_micro_batches(world):
    micro, length = 2, 240
    ranks = [order.positions(length, micro_batch=micro, rank=rank, world=world) for rank in range(world)]
    interleaved = np.stack([rank.reshape(-1, micro) for rank in ranks], axis=1).ravel()
    assert np.array_equal(interleaved, np.arange(length))


def test_resuming_continues_the_list():
    whole = order.positions(48, micro_batch=2, rank=1, world=2)
    assert np.array_equal(order.positions(48, micro_batch=2, rank=1, world=2, start=16), whole[8:])


def test_uneven_lengths_are_refused():
    with pytest.raises(ValueError, match="multiples of 4 x 3"):
        order.positions(20, micro_batch=4, rank=0, world=3)


def test_windows_keep_shards_together_and_lose_nothing():
    shard = np.repeat(np.arange(10), 7)
    repeat = np.where(np.arange(70) % 3 == 0, 2, 1)
    listed = order.order(repeat, shard, seed=1, epoch=2, multiple=1, window=3)
    assert np.array_equal(np.bincount(listed), repeat)
    spans = [np.flatnonzero(shard[listed] == one) for one in range(10)]
    # A window of three shards of 7 samples, a third of them twice, is at most 30 positions long.
    assert max(span.max() - span.min() for span in spans) < 30
    assert np.count_nonzero(np.diff(shard[listed])) > 30  # and shuffled within: apart they would change ten times
    other = order.order(repeat, shard, seed=1, epoch=3, multiple=1, window=3)
    assert not np.array_equal(shard[listed], shard[other])


def test_fractions_of_repeats_average_out_and_every_epoch_is_as_long():
    repeat = np.full(101, 0.3)
    repeat[:20] = 2.5
    counts = []
    for epoch in range(200):
        listed = order.order(repeat, HERE[:101], seed=0, epoch=epoch, multiple=8)
        assert len(listed) == order.length(repeat, 8) == 80
        counts.append(np.bincount(listed[listed != order.PADDING], minlength=101))
    counts = np.array(counts)
    assert set(np.unique(counts[:, :20])) == {2, 3} and set(np.unique(counts[:, 20:])) == {0, 1}
    assert np.abs(counts.mean(0) - repeat).max() < 0.12


def test_draws_belong_to_positions():
    whole = order.draws(3, 1, np.arange(100))
    assert np.array_equal(order.draws(3, 1, np.array([7, 50, 99])), whole[[7, 50, 99]])
    assert not np.array_equal(order.draws(3, 2, np.arange(100)), whole)
    assert not np.array_equal(order.draws(4, 1, np.arange(100)), whole)
    assert np.unique(whole).size == whole.size and 0 <= whole.min() and whole.max() < 1
    assert np.abs(order.draws(0, 0, np.arange(5000)).mean(0) - 0.5).max() < 0.02


@pytest.mark.parametrize("limit", [70, 100, 1000])
def test_parts_hold_no_more_than_the_limit_and_are_the_list(limit):
    rng = np.random.default_rng(0)
    shard, num_bytes = np.repeat(np.arange(20), 12), rng.integers(5, 20, 20)
    listed = order.order(np.ones(240), shard, seed=0, epoch=0, multiple=8, window=2)
    parts = order.cut(listed, shard, num_bytes, multiple=8, limit=limit, most=10**6)
    assert [at for part in parts for at in part] == list(range(240))
    for part in parts:
        assert sum(num_bytes[one] for one in set(shard[listed[part]])) <= limit and part.start % 8 == 0
    assert (len(parts) == 1) == (num_bytes.sum() <= limit)


def test_a_batch_that_needs_more_than_the_limit_is_a_part_of_its_own():
    shard, num_bytes = np.array([0, 0, 0, 0, 1, 2, 3, 4, 5, 5, 5, 5]), np.full(6, 10)
    parts = order.cut(np.arange(12), shard, num_bytes, multiple=4, limit=20, most=100)
    assert parts == [range(0, 4), range(4, 8), range(8, 12)]


@pytest.mark.parametrize("limit", [0, 10**9])
def test_parts_are_no_longer_than_they_may_be(limit):
    parts = order.cut(np.zeros(100, int), HERE, np.array([0]), multiple=8, limit=limit, most=30)
    assert [len(part) for part in parts] == [24, 24, 24, 24, 4]


def test_twenty_thousand_samples_are_listed_in_three_seconds():
    begun = time.monotonic()
    listed = order.order(np.full(20_000, 1.3), np.arange(20_000) // 20, seed=0, epoch=0, multiple=64, window=50)
    order.draws(0, 0, np.arange(len(listed)))
    assert time.monotonic() - begun < 3
