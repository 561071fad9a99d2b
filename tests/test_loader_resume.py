"""The state {seed, epoch, consumed} is all there is: broken anywhere, on any number of ranks, the bits go on."""

import itertools

import pytest
import torch

from radnet.config import AugmentConfig, DataConfig, GridConfig
from radnet.loader import Batch, Loader
from radnet.samples import read_samples
from tests.corpus import write_set

WILD = AugmentConfig(rotation_deg=[10, 3, 3], scale=[0.9, 1.2], gamma=[0.8, 1.2], noise=0.1)
GLOBAL, SEED = 120, 7  # micro-batches of one cut it for 1, 2, 3, 5 and 8 ranks alike


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("resume") / "set", {"train": 23})  # six shards of four, the last of three


def _loader(root, rank: int = 0, world: int = 1, micro_batch: int = 1, **changes) -> Loader:
    config = DataConfig(
        shards=str(root), grid=GridConfig(shape=[6, 8, 8]), num_threads=1, augment=WILD, window_shards=2, **changes
    )
    samples = read_samples(config, "train")
    return Loader(samples, config, micro_batch=micro_batch, rank=rank, world=world, device="cpu", masks=False)


def _same(first: Batch, second: Batch) -> bool:
    pairs = ((first.volume, second.volume), (first.target, second.target), (first.weight, second.weight))
    return first.keys == second.keys and all(torch.equal(one, other) for one, other in pairs)


@pytest.fixture(scope="module")
def alone(root) -> list[Batch]:
    return list(_loader(root).train_epoch(seed=SEED, epoch=1, global_batch=GLOBAL))


@pytest.mark.parametrize("world", [2, 3, 5, 8])
def test_any_number_of_ranks_reads_the_same_list(root, alone, world):
    ranks = [
        list(_loader(root, rank, world).train_epoch(seed=SEED, epoch=1, global_batch=GLOBAL)) for rank in range(world)
    ]
    assert {len(rank) for rank in ranks} == {len(alone) // world}
    for number, batch in enumerate(alone):
        assert _same(batch, ranks[number % world][number // world])


@pytest.mark.parametrize("world", [1, 2, 3, 5, 8])
def test_evaluation_sees_every_sample_once_on_any_number_of_ranks(root, world):
    seen = [
        (key, weight)
        for rank in range(world)
        for batch in _loader(root, rank, world, micro_batch=3).evaluation()
        for key, weight in zip(batch.keys, batch.weight.tolist(), strict=True)
    ]
    assert sorted(key for key, weight in seen if weight) == [f"key{number:04d}" for number in range(23)]


def _from(root, epoch: int, consumed: int, world: int = 1) -> list[list[Batch]]:
    """The rest of the run from a state, of three epochs: one list per rank."""
    runs = []
    for rank in range(world):
        loader = _loader(root, rank, world, micro_batch=2)
        parts = [
            loader.train_epoch(seed=SEED, epoch=one, global_batch=8, consumed=consumed if one == epoch else 0)
            for one in range(epoch, 3)
        ]
        runs.append(list(itertools.chain(*parts)))
    return runs


def test_broken_anywhere_the_run_goes_on_with_the_same_bits(root):
    whole = _from(root, 0, 0)[0]
    length = _loader(root).epoch_length(8)
    for position in range(8, 3 * length, 16):  # broken many times over, across the ends of epochs too
        epoch, consumed = divmod(position, length)
        rest = _from(root, epoch, consumed)[0]
        expected = whole[(epoch * length + consumed) // 2 :]
        assert len(rest) == len(expected) and all(map(_same, rest, expected))
    ranks = _from(root, 1, 8, world=2)
    expected = whole[(length + 8) // 2 :]
    assert all(_same(batch, ranks[number % 2][number // 2]) for number, batch in enumerate(expected))
