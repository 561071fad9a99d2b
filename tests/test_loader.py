"""The loader against the grid's own definition, and its promises of order, resumption and alignment."""

import numpy as np
import pytest
import torch

from radnet import part
from radnet.config import DataConfig, GridConfig
from radnet.errors import UsageError
from radnet.kernels.grid import grid
from radnet.kernels.resample import resample
from radnet.loader import Loader
from radnet.samples import read_samples
from tests.corpus import facts, volume, write_set

SHAPE = [12, 16, 16]  # no voxel centre of the toy volumes falls halfway between two others, where nearest is a choice


def _config(root, **changes) -> DataConfig:
    return DataConfig(shards=str(root), grid=GridConfig(shape=SHAPE), num_threads=1, **changes)


def _loader(root, split="train", *, micro_batch=2, rank=0, world=1, masks=False, **changes) -> Loader:
    config = _config(root, **changes)
    samples = read_samples(config, split)
    return Loader(samples, config, micro_batch=micro_batch, rank=rank, world=world, device="cpu", masks=masks)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("loader") / "set", {"train": 10, "validation": 3}, masks=True)


def _expected(number: int, mode: str = "linear", voxels: np.ndarray | None = None) -> np.ndarray:
    """The same volume through radnet.kernels: resized, scaled by its percentiles, padded."""
    raw = volume(number)
    size = (min(len(raw), SHAPE[0]), *SHAPE[1:])
    matrix = grid(raw.shape, (1, 1, 1), size)
    moved = resample(raw if voxels is None else voxels, matrix, size, mode=mode)
    if mode == "linear":
        low, high = np.percentile(raw, [0.5, 99.5])
        moved = np.clip((moved - low) / (high - low), 0, 1)
    before = (SHAPE[0] - size[0]) // 2
    return np.pad(moved, ((before, SHAPE[0] - size[0] - before), (0, 0), (0, 0)))


@pytest.mark.parametrize("codec", ["npy", "htj2k"])
def test_volumes_equal_the_oracle(tmp_path, codec):
    root = write_set(tmp_path / "set", {"train": 6}, codec)
    for batch in _loader(root).evaluation():
        for row, number in enumerate(batch.sample):
            assert np.abs(batch.volume[row, 0].numpy() - _expected(number)).max() < 1e-3


def test_masks_get_the_geometry_of_their_volume(root):
    for batch in _loader(root, masks=True).evaluation():
        for row, number in enumerate(batch.sample):
            if number >= 0:
                mask = (volume(number) > 500).astype(np.float32)
                assert np.array_equal(batch.mask[row].numpy(), _expected(number, "nearest", mask))


def test_targets_follow_facts_and_the_resize(root):
    for batch in _loader(root).evaluation():
        for row, number in enumerate(batch.sample):
            known = facts(number)
            assert batch.target[row, 0] == number % 5 and batch.target[row, 1] == number % 3
            stretched = known["spacing_mm"] * known["num_slices"] / min(known["num_slices"], SHAPE[0])
            assert batch.target[row, 12] == pytest.approx(stretched)


def test_evaluation_sees_every_sample_once_over_all_ranks(root):
    for world in (1, 2, 3):
        seen, weight = [], 0.0
        for rank in range(world):
            for batch in _loader(root, rank=rank, world=world, micro_batch=3).evaluation():
                seen += [number for number in batch.sample if number >= 0]
                weight += batch.weight.sum().item()
                assert (batch.target[batch.weight == 0] == -1).all()
        assert sorted(seen) == list(range(10)) and weight == 10


def test_two_ranks_read_what_one_rank_accumulates(root):
    epoch = {"seed": 4, "epoch": 2, "global_batch": 4}
    alone = list(_loader(root).train_epoch(**epoch))
    ranks = [list(_loader(root, rank=rank, world=2).train_epoch(**epoch)) for rank in range(2)]
    for number, batch in enumerate(alone):
        other = ranks[number % 2][number // 2]
        assert torch.equal(batch.volume, other.volume) and batch.keys == other.keys


def test_resuming_gives_the_same_bits(root):
    epoch = {"seed": 4, "epoch": 1, "global_batch": 4}
    whole = list(_loader(root).train_epoch(**epoch))
    rest = list(_loader(root).train_epoch(**epoch, consumed=8))
    assert len(rest) == len(whole) - 4
    for expected, batch in zip(whole[4:], rest, strict=True):
        assert torch.equal(expected.volume, batch.volume) and torch.equal(expected.target, batch.target)


def test_padding_reads_the_list_again_and_counts_nothing(root):
    batches = list(_loader(root, split="validation").train_epoch(seed=0, epoch=0, global_batch=8))
    keys = [key for batch in batches for key in batch.keys]
    assert keys[:3] == keys[3:6] and keys[6:] == keys[:2] and len(set(keys[:3])) == 3
    assert torch.cat([batch.weight for batch in batches]).tolist() == [1, 1, 1, 0, 0, 0, 0, 0]


def test_sets_without_masks_are_refused(tmp_path):
    root = write_set(tmp_path / "set", {"train": 4})
    with pytest.raises(UsageError, match="4 samples of .* have no mask"):
        read_samples(_config(root), "train", masks=True)


def test_a_constant_volume_is_zeros_not_nan(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.corpus.volume", lambda number: np.full((10, 8, 8), 7, np.int16))
    root = write_set(tmp_path / "set", {"train": 1})
    batch = next(_loader(root, micro_batch=1).evaluation())
    assert torch.equal(batch.volume, torch.zeros_like(batch.volume))


def test_a_reader_that_goes_astray_is_noticed(root, monkeypatch):
    read = part._read_geometry
    monkeypatch.setattr(part, "_read_geometry", lambda *given: read(*given) + (np.arange(24) == 6))
    with pytest.raises(RuntimeError, match="other samples than the list says"):
        next(_loader(root).evaluation())
