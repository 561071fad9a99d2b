"""The epoch's list: pure, balanced, and the same for every number of ranks."""

import numpy as np
import pytest

from radnet import order


def test_list_is_pure_and_changes_with_epoch_and_seed():
    repeat = np.ones(50, int)
    first = order.order(repeat, seed=1, epoch=0, multiple=8)
    assert np.array_equal(first, order.order(repeat, seed=1, epoch=0, multiple=8))
    assert not np.array_equal(first, order.order(repeat, seed=1, epoch=1, multiple=8))
    assert not np.array_equal(first, order.order(repeat, seed=2, epoch=0, multiple=8))


def test_list_holds_every_sample_and_pads_to_the_global_batch():
    listed = order.order(np.array([1, 2, 3]), seed=0, epoch=0, multiple=4)
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


def test_flips_are_pure_and_fair():
    drawn = np.stack([order.flips(3, 1, place) for place in range(400)])
    assert np.array_equal(drawn[7], order.flips(3, 1, 7))
    assert set(np.unique(drawn)) == {0, 1}
    assert np.all(np.abs(drawn.mean(0) - 0.5) < 0.1)
