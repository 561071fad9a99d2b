"""What the network sees of a volume, against kernels.resample; and labels that stay true of what it sees."""

import numpy as np
import pytest
import torch

from radnet import augment, order
from radnet.config import AugmentConfig, DataConfig, GridConfig
from radnet.kernels.grid import grid
from radnet.kernels.noise import normal
from radnet.kernels.resample import resample
from radnet.loader import Loader
from radnet.samples import read_samples
from tests.corpus import volume, write_set

SHAPE = [12, 16, 16]
EPOCH = {"seed": 5, "epoch": 3, "global_batch": 2}
MOVES = {
    "flips": {},
    "crop": {"crop_mm": [14, 9, 0]},
    "turns": {"augment": AugmentConfig(rotation_deg=[20, 5, 10])},
    "zooms out": {"augment": AugmentConfig(flip=False, scale=[1, 1.5])},
    "zooms in": {"augment": AugmentConfig(scale=[0.6, 0.9])},
    "all": {"crop_mm": [0, 12, 16], "augment": AugmentConfig(rotation_deg=[30, 3, 3], scale=[0.7, 1.4])},
}


def _loader(root, masks=False, micro_batch=2, **changes) -> Loader:
    config = DataConfig(shards=str(root), grid=GridConfig(shape=SHAPE), num_threads=1, **changes)
    samples = read_samples(config, "train")
    return Loader(samples, config, micro_batch=micro_batch, rank=0, world=1, device="cpu", masks=masks)


@pytest.fixture(scope="module", params=["npy", "htj2k"])
def root(request, tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("augment") / "set", {"train": 10}, request.param, masks=True)


def _geometry(number: int) -> np.ndarray:
    """The toy corpus' KEY.geometry.npy: [1,24]."""
    voxels = volume(number)
    spacing = [2.0 + number % 4, 1, 1]
    tail = [1, 0, *np.percentile(voxels, [0, 0.5, 99.5, 100])]
    return np.array([[*voxels.shape, *spacing, 0, 0, 0, *np.eye(3).ravel(), *tail]])


def _expected(number: int, views: augment.Views, mode: str) -> np.ndarray:
    voxels = volume(number)
    size = tuple(int(n) for n in views.size[0])
    out_spacing = views.extent_mm[0] / size
    matrix = grid(
        voxels.shape,
        views.spacing_mm[0],
        size,
        out_spacing,
        offset_mm=views.start_mm[0],
        flip=views.flip[0],
        rotation_deg=views.rotation_deg[0],
    )
    if mode == "nearest":
        moved = resample((voxels > 500).astype(np.uint8), matrix, size, mode="nearest").astype(float)
    else:
        low, high = np.percentile(voxels, [0.5, 99.5])
        moved = np.clip((resample(voxels, matrix, size, fill=low) - low) / (high - low), 0, 1)
    before = (SHAPE[0] - size[0]) // 2
    return np.pad(moved, ((before, SHAPE[0] - size[0] - before), (0, 0), (0, 0)))


@pytest.mark.parametrize("name", MOVES)
def test_volumes_and_masks_equal_the_oracle(root, name):
    loader = _loader(root, masks=True, **MOVES[name])
    at, changed = 0, 0
    for batch in loader.train_epoch(**EPOCH):
        for row, number in enumerate(batch.sample):
            if number >= 0:
                draws = order.draws(EPOCH["seed"], EPOCH["epoch"], np.array([at]))
                views = augment.views(_geometry(number), np.array([False]), loader.config, draws)
                image, mask = batch.volume[row, 0].numpy(), batch.mask[row].numpy()
                assert np.abs(image - _expected(number, views, "linear")).max() < 1e-3
                # A centre halfway between two voxels may round either way.
                assert (mask != _expected(number, views, "nearest")).mean() < 2e-3
                assert np.allclose(batch.spacing_mm[row], views.out_spacing_mm[0], rtol=1e-6)
                changed += bool(views.flip.any() or views.is_cut.any() or (views.start_mm != 0).any())
            at += 1
    assert changed >= 7


def test_a_volume_at_the_grid_is_flipped_and_nothing_else(root):
    raw = volume(1)
    config = DataConfig(shards=str(root), grid=GridConfig(shape=list(raw.shape)), where="key == 'key0001'")
    samples = read_samples(config, "train")
    loader = Loader(samples, config, micro_batch=1, rank=0, world=1, device="cpu", masks=True)
    low, high = np.percentile(raw, [0.5, 99.5])
    seen = set()
    for epoch in range(12):
        (batch,) = loader.train_epoch(seed=5, epoch=epoch, global_batch=1)
        flip = order.draws(5, epoch, np.array([0]))[0, :3] < 0.5
        axes = tuple(np.flatnonzero(flip))
        assert np.array_equal(batch.mask[0].numpy(), np.flip(raw > 500, axes))
        expected = np.clip((np.flip(raw, axes) - low) / (high - low), 0, 1)
        assert np.abs(batch.volume[0, 0].numpy() - expected).max() < 2e-5
        seen.add(axes)
    assert len(seen) > 4


def test_nothing_leaves_the_field_by_turning():
    config = DataConfig(augment=AugmentConfig(rotation_deg=[45, 45, 45]), grid=GridConfig(shape=[64, 64, 64]))
    geometry = np.repeat(_geometry(3), 50, axis=0)
    seen = augment.views(geometry, np.zeros(50, bool), config, order.draws(0, 0, np.arange(50)))
    assert not seen.is_cut.any()
    corners = np.array(np.meshgrid(*[[-0.5, n - 0.5] for n in geometry[0, :3]], indexing="ij")).reshape(3, -1)
    for matrix, size in zip(seen.matrices(), seen.size, strict=True):
        back = np.linalg.inv(matrix[:, :3]) @ (corners - matrix[:, 3:])
        assert (back > -0.5 - 1e-6).all() and (back < size[:, None] - 0.5 + 1e-6).all()


def _target() -> np.ndarray:
    return np.array([[0, 2, 1, 1, 0, 0, 1, 0, 0, 0, 0, -1, 4.0]], np.float32)


def _adapted(draws=None, **changes) -> np.ndarray:
    config = DataConfig(grid=GridConfig(shape=SHAPE), **changes)
    seen = augment.views(_geometry(2), np.array([False]), config, draws)  # 11 slices of 4 mm
    return augment.adapt(_target(), seen, _geometry(2))[0]


def test_the_whole_volume_keeps_its_labels():
    assert np.array_equal(_adapted(), _target()[0])
    draws = np.full((1, 12), 0.4)
    assert np.array_equal(_adapted(draws), _target()[0])


def test_a_crop_forgets_which_regions_it_holds_and_knows_which_it_cannot():
    for changed in (_adapted(crop_mm=[30, 0, 0]), _adapted(np.zeros((1, 12)), augment=AugmentConfig(scale=[0.8, 1]))):
        assert changed[3:12].tolist() == [-1, 0, 0, -1, 0, 0, 0, 0, -1]
        assert changed[:3].tolist() == [0, 2, 1]
    assert _adapted(crop_mm=[100, 100, 100])[3:12].tolist() == _target()[0, 3:12].tolist()


def test_slice_spacing_follows_every_change_of_geometry():
    # 44 mm: 30 of them in 8 slices (7.5 rounded); zoomed to 66 mm in 12 slices; turned, the field holds all.
    assert _adapted(crop_mm=[30, 0, 0])[12] == pytest.approx(30 / 8)
    zoomed = _adapted(np.full((1, 12), 0.999999999), augment=AugmentConfig(scale=[1, 1.5]))
    assert zoomed[12] == pytest.approx(66 / 12)
    turned = _adapted(np.zeros((1, 12)), augment=AugmentConfig(rotation_deg=[0, 10, 0]))
    depth_mm = 44 * np.cos(np.radians(10)) + volume(2).shape[2] * np.sin(np.radians(10))
    assert turned[12] == pytest.approx(depth_mm / min(12, round(depth_mm / 4)))
    unknown = augment.adapt(np.full((1, 13), -1, np.float32), _seen(crop_mm=[30, 0, 0]), _geometry(2))
    assert unknown[0, 12] == -1


def test_slice_spacing_is_that_of_what_was_stored_and_along_the_normal():
    """A set stored coarser than its series says so in the geometry alone; a tilted stack's D axis is longer than the
    distance of its slices."""
    tilt = np.radians(20)
    geometry = _geometry(2)
    geometry[0, 9:18] = np.array([[0, 0, 1], [np.sin(tilt), 1, 0], [np.cos(tilt), 0, 0]]).ravel()
    target = _target()
    target[0, 12] = 1.0
    seen = augment.views(geometry, np.array([False]), DataConfig(grid=GridConfig(shape=SHAPE)), None)
    assert augment.adapt(target, seen, geometry)[0, 12] == pytest.approx(4 * np.cos(tilt))


def _seen(**changes) -> augment.Views:
    return augment.views(_geometry(2), np.array([False]), DataConfig(grid=GridConfig(shape=SHAPE), **changes), None)


@pytest.mark.parametrize(("turn", "view"), [([40, 0, 0], 2), ([0, 29, 0], 2), ([0, 31, 0], -1), ([0, 25, 25], -1)])
def test_a_turn_past_the_rule_of_the_view_forgets_it(turn, view):
    """Around D the slices turn in their own plane, however far."""
    assert _adapted(np.zeros((1, 12)), augment=AugmentConfig(rotation_deg=turn))[1] == view


def test_ct_may_have_a_window_of_its_own(root):
    loader = _loader(root, ct_window_hu=[100, 300], augment=AugmentConfig(flip=False))
    for batch in loader.evaluation():
        for row, number in enumerate(batch.sample):
            low, high = (100, 300) if number % 5 == 0 else np.percentile(volume(number), [0.5, 99.5])
            size = (min(len(volume(number)), 12), 16, 16)
            moved = resample(volume(number), grid(volume(number).shape, (1, 1, 1), size), size)
            first = (12 - size[0]) // 2
            seen = batch.volume[row, 0, first : first + size[0]].numpy()
            assert np.abs(seen - np.clip((moved - low) / (high - low), 0, 1)).max() < 1e-3


def test_the_papers_grey_levels_and_bf16(root):
    plain, levels, half = (
        next(_loader(root, **changes).evaluation()).volume
        for changes in ({}, {"grey_levels": 256, "intensity": [0, 100]}, {"dtype": "bf16"})
    )
    assert np.abs(levels * 255 - (levels * 255).round()).max() < 1e-4 and levels.unique().numel() > 100
    assert half.dtype == torch.bfloat16 and torch.equal(half, plain.to(torch.bfloat16))


def test_gamma_and_noise_are_functions_of_the_position(root):
    quiet = list(_loader(root, augment=AugmentConfig(flip=False)).train_epoch(**EPOCH))
    bent = list(_loader(root, augment=AugmentConfig(flip=False, gamma=[0.5, 2])).train_epoch(**EPOCH))
    noisy = list(_loader(root, augment=AugmentConfig(flip=False, noise=0.2)).train_epoch(**EPOCH))
    draws = order.draws(EPOCH["seed"], EPOCH["epoch"], np.arange(2 * len(quiet)))
    for number, (plain, curved, grainy) in enumerate(zip(quiet, bent, noisy, strict=True)):
        for row in range(2):
            at = 2 * number + row
            assert torch.allclose(curved.volume[row], plain.volume[row] ** (0.5 * 4 ** draws[at, 10]), atol=1e-4)
            image, other = plain.volume[row, 0].numpy(), grainy.volume[row, 0].numpy()
            size = (min(len(volume(int(plain.sample[row]))), 12), 16, 16) if plain.sample[row] >= 0 else None
            if size:
                first = (12 - size[0]) // 2
                part = slice(first, first + size[0])
                added = normal(EPOCH["seed"], EPOCH["epoch"], at, size) * 0.2 * draws[at, 11]
                assert np.allclose(other[part], np.clip(image[part] + added, 0, 1), atol=1e-5)
                assert not other[:first].any() and not other[first + size[0] :].any()


def test_evaluation_has_no_augmentation(root):
    wild = AugmentConfig(rotation_deg=[30, 30, 30], scale=[0.5, 2], gamma=[0.5, 2], noise=0.5)
    for plain, other in zip(_loader(root).evaluation(), _loader(root, augment=wild).evaluation(), strict=True):
        assert torch.equal(plain.volume, other.volume) and torch.equal(plain.target, other.target)
