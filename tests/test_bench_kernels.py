"""`radnet bench kernels`: peers that do the same work, bytes that are counted right, targets only where a GPU is."""

import os

import numpy as np
import pytest
import torch

from radnet.kernels.grid import grid
from radnet.launch.bench import kernels
from tests import gpu

IN_SHAPE, OUT_SHAPE = (28, 100, 120), (10, 32, 48)


@pytest.fixture
def small(monkeypatch) -> np.ndarray:
    """A small volume, onto a small grid."""
    monkeypatch.setattr(kernels, "IN_SHAPE", IN_SHAPE)
    monkeypatch.setattr(kernels, "OUT_SHAPE", OUT_SHAPE)
    return kernels.ct_volume(IN_SHAPE)


def test_all_peers_do_the_same_work(small):
    ours, peers = kernels.radnet(small), kernels.peers(small)
    assert set(peers) >= {"DALI", "MONAI", "scipy", "SimpleITK", "torch"}
    for name, run in peers.items():
        for _ in range(2):  # what is prepared once must not wear out
            found = run()
            assert found.shape == OUT_SHAPE and found.dtype == np.float32, name
            assert np.abs(found - ours).max() < 1e-3 * np.ptp(small), name


def test_touched_bytes_are_the_sectors_under_a_tap(small):
    out_to_in = grid(IN_SHAPE, kernels.SPACING_MM, OUT_SHAPE)
    pitch = 256  # bytes of a row of 120 int16, up to a whole sector
    sectors = set()
    for index in np.ndindex(*OUT_SHAPE):
        position = out_to_in @ [*index, 1]
        for corner in np.ndindex(2, 2, 2):
            d, h, w = (np.floor(position) + corner).clip(0, np.array(IN_SHAPE) - 1).astype(int)
            sectors.add(((d * IN_SHAPE[1] + h) * pitch + w * 2) // kernels.SECTOR)
    assert kernels.touched_bytes(small) == len(sectors) * kernels.SECTOR


def test_without_a_gpu_bandwidth_has_no_target(small, monkeypatch, capsys):
    """The rates are of this machine, so only their meaning is checked."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    found = {one.metric: one for one in kernels.measure(2)}
    assert os.sched_getaffinity(0) == cores and torch.get_num_threads() == threads
    assert "not measured" in capsys.readouterr().out and not any("gpu" in metric for metric in found)
    bandwidth = found["kernels/cpu/bandwidth"]
    assert bandwidth.rival == "copy" and bandwidth.target is None and bandwidth.met is None
    assert found["kernels/cpu/noise"].target == "<= 100 ms" and found["kernels/cpu/noise"].met is not None
    moved = kernels.touched_bytes(small) + 4 * np.prod(OUT_SHAPE)
    assert bandwidth.value == pytest.approx(moved / found["kernels/cpu/linear/DALI"].value / 1e6, rel=0.5)


@pytest.mark.gpu
def test_on_a_gpu_bandwidth_is_judged(small, monkeypatch):
    gpu.cupy()
    gpu.torch_cuda()
    monkeypatch.setattr(kernels, "COPY_BYTES", 1 << 24)
    found = {one.metric: one for one in kernels.measure(2)}
    assert found["kernels/gpu/bandwidth/fused"].target == ">= 0.8x"
    assert found["kernels/gpu/bandwidth/fused"].met is not None and found["kernels/gpu/bandwidth/noise"].target is None
    assert found["kernels/gpu/linear/DALI"].rival_value > 0
