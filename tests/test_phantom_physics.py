"""How the phantom looks: signal equations by hand, noise, kernels, bias field, contrast agent."""

import math

import numpy as np

from radnet.shards.phantom.anatomy import Grid, Organ, sample_patient
from radnet.shards.phantom.physics import Timing, bias_field, ct_voxels, mr_signal, mr_voxels, spoiled_gradient_echo


def test_signal_equations_by_hand():
    t1_weighted, t2_weighted = mr_signal(Timing(500, 12), "SE", False), mr_signal(Timing(4000, 100), "SE", False)
    grey = 0.84 * (1 - math.exp(-500 / 1188)) * math.exp(-12 / 95)
    assert math.isclose(t1_weighted[Organ.GREY_MATTER], grey, rel_tol=1e-12)
    assert t1_weighted[Organ.FAT] > t1_weighted[Organ.WHITE_MATTER] > t1_weighted[Organ.GREY_MATTER]
    assert t1_weighted[Organ.GREY_MATTER] > t1_weighted[Organ.CSF]
    assert t2_weighted[Organ.CSF] > 1.5 * t2_weighted[Organ.GREY_MATTER] > 1.5 * t2_weighted[Organ.WHITE_MATTER]
    null = 4200 * math.log(2 / (1 + math.exp(-9000 / 4200)))
    flair = mr_signal(Timing(9000, 120, null), "SE", False)
    assert flair[Organ.CSF] < 1e-9 and flair[Organ.GREY_MATTER] > flair[Organ.WHITE_MATTER] > 0.1
    t1_flair = mr_signal(Timing(2400, 12, 850), "SE", False)
    assert t1_flair[Organ.WHITE_MATTER] > t1_flair[Organ.GREY_MATTER] > t1_flair[Organ.CSF]
    e1 = math.exp(-20 / 800)
    ernst = spoiled_gradient_echo(800.0, 50.0, 1.0, Timing(20, 0, flip_deg=math.degrees(math.acos(e1))))
    assert math.isclose(ernst, math.sqrt((1 - e1) / (1 + e1)), rel_tol=1e-9)  # the signal at the Ernst angle
    enhanced = mr_signal(Timing(500, 12), "SE", True)
    assert enhanced[Organ.VESSEL] > 1.5 * t1_weighted[Organ.VESSEL]
    assert math.isclose(enhanced[Organ.WHITE_MATTER], t1_weighted[Organ.WHITE_MATTER], rel_tol=0.1)


def test_noise_is_rician_and_contrast_shows():
    rng = np.random.default_rng(0)
    air = mr_voxels(
        np.pad(np.full((8, 32, 32), 1, np.uint8), ((0, 0), (64, 0), (0, 0))), Timing(500, 12), "SE", False, rng
    )
    background = air[:, :60].astype(float)
    assert 1.8 < background.mean() / background.std() < 2.0  # Rayleigh: sqrt(pi / (4 - pi)) = 1.91
    vessel = np.full((8, 32, 32), Organ.VESSEL, np.uint8)
    means = [ct_voxels(vessel, phase, "soft", rng).mean() for phase in ("plain", "arterial", "venous")]
    assert means[1] > means[2] > means[0] + 90


def test_kernels_sharpen_edges_and_grain():
    """Soft: correlated noise, no overshoot; bone: white noise, an edge that overshoots both ways."""
    step = np.full((16, 64, 64), Organ.LIVER, np.uint8)
    step[:, 32:] = Organ.FAT
    noise, neighbours, overshoot = {}, {}, {}
    for kernel in ("soft", "lung", "bone"):
        hu = np.mean([ct_voxels(step, "plain", kernel, np.random.default_rng(seed)) for seed in range(8)], axis=0)
        profile = hu.mean(axis=(0, 2))
        overshoot[kernel] = profile[28:33].max() - profile[5:20].mean()
        one = ct_voxels(step, "plain", kernel, np.random.default_rng(0))[:, 4:28].astype(float)
        one -= one.mean()
        noise[kernel], neighbours[kernel] = one.std(), (one[:, 1:] * one[:, :-1]).mean() / one.var()
    assert noise["soft"] < 19 < noise["lung"] + 3 and noise["lung"] < noise["bone"] + 5 and noise["bone"] > 27
    assert neighbours["soft"] > 0.5 > neighbours["lung"] > 0.1 > abs(neighbours["bone"])
    assert overshoot["soft"] < 5 < overshoot["lung"] < overshoot["bone"]


def test_bias_field_is_smooth_and_strong():
    for seed in range(5):
        field = bias_field((40, 64, 96), np.random.default_rng(seed))
        assert field.shape == (40, 64, 96) and field.dtype == np.float32
        assert 1.29 < field.max() / field.min() < 2.51
        steps = [np.abs(np.diff(np.log(field), axis=axis)).max() for axis in range(3)]
        assert max(steps) < 0.12  # no edge that could be taken for anatomy
    muscle = np.full((24, 96, 96), Organ.MUSCLE, np.uint8)
    image = mr_voxels(muscle, Timing(500, 12), "SE", False, np.random.default_rng(1)).astype(float)
    blocks = image.reshape(4, 6, 8, 12, 8, 12).mean(axis=(1, 3, 5))
    assert blocks.max() / blocks.min() > 1.2


def test_vessels_enhance_by_phase():
    """Arteries first, portal and hepatic veins later; in the lungs and the liver they can be seen."""
    patient = sample_patient(np.random.default_rng(1), "M")
    grid = Grid(np.array([-200.0, -160.0, 180.0]), np.eye(3)[:, ::-1], (2.5, 2.0, 2.0), (160, 160, 200))
    organs = patient.rasterise(grid)
    rng = np.random.default_rng(0)
    mean = {
        phase: {organ: voxels[organs == organ].mean() for organ in (Organ.VESSEL, Organ.LIVER_VESSEL, Organ.LIVER)}
        for phase in ("plain", "arterial", "venous")
        for voxels in [ct_voxels(organs, phase, "soft", rng)]
    }
    assert mean["arterial"][Organ.VESSEL] > mean["venous"][Organ.VESSEL] > mean["plain"][Organ.VESSEL] + 80
    assert mean["venous"][Organ.LIVER_VESSEL] > mean["venous"][Organ.LIVER] + 25
    assert mean["arterial"][Organ.LIVER_VESSEL] < mean["arterial"][Organ.LIVER] + 20
    in_liver, in_lungs = (organs == Organ.LIVER_VESSEL).sum(), (organs == Organ.LUNG_VESSEL).sum()
    assert (
        0.005 < in_liver / (organs == Organ.LIVER).sum() < 0.1 and 0.005 < in_lungs / (organs == Organ.LUNG).sum() < 0.1
    )
