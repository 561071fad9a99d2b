"""Voxels from an organ map: CT in HU, MR from T1, T2 and proton density through the signal equations.

Relaxation times (ms, 1.5 T and 3 T), some rounded: T1 of the brain and CSF from Rooney 2007 (MRM 57:308) and
Wansapura 1999 (JMRI 9:531); T2 of the brain, cord, muscle, heart, liver, kidney and blood from Stanisz 2005 (MRM
54:507), blood's T2 shortened for oxygenation and flow; spleen, marrow and prostate from de Bazelaire 2004 (Radiology
230:652); fat from Gold 2004 (AJR 183:343); breast from Rakow-Penner 2006 (JMRI 23:87). What they do not list is set
between its neighbours. HU are textbook values for 120 kV; gadolinium is plausible for minutes after a usual dose. A
schema of tissue, not a reference.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

GAD_R1, GAD_R2 = 4.3, 5.0  # relaxivities, 1/(s·mmol/l), between their values at 1.5 T and 3 T

# Organ: HU plain, arterial, venous; T1 at 1.5 T, 3 T; T2 at 1.5 T, 3 T (ms); proton density; gadolinium mmol/l
_TABLE = {
    "AIR": (-1000, -1000, -1000, 1000, 1000, 10, 10, 0.0, 0.0),
    "FAT": (-105, -105, -103, 288, 371, 165, 133, 0.90, 0.01),
    "MUSCLE": (55, 60, 65, 1008, 1412, 44, 50, 0.80, 0.10),
    "BONE": (450, 455, 460, 549, 586, 49, 49, 0.30, 0.05),
    "SKULL": (850, 850, 850, 549, 586, 30, 30, 0.12, 0.03),
    "CSF": (6, 6, 6, 4200, 4300, 2000, 1800, 1.00, 0.00),
    "GREY_MATTER": (38, 41, 43, 1188, 1331, 95, 99, 0.84, 0.03),
    "WHITE_MATTER": (29, 31, 32, 656, 832, 72, 69, 0.72, 0.01),
    "BRAIN_LESION": (24, 48, 60, 1400, 1900, 150, 140, 0.90, 0.60),
    "LARYNX": (130, 135, 140, 800, 1000, 35, 35, 0.60, 0.10),
    "THYROID": (105, 190, 170, 900, 1200, 70, 68, 0.85, 0.60),
    "LUNG": (-830, -815, -810, 1200, 1300, 30, 20, 0.15, 0.20),
    "HEART": (45, 105, 115, 1030, 1471, 40, 47, 0.82, 0.40),
    "VESSEL": (42, 310, 165, 1441, 1932, 150, 130, 0.80, 1.00),
    "BREAST": (35, 60, 70, 1266, 1445, 58, 54, 0.80, 0.25),
    "LIVER": (58, 72, 112, 576, 812, 46, 42, 0.72, 0.35),
    "LIVER_LESION": (36, 50, 62, 1100, 1350, 85, 80, 0.82, 0.12),
    "SPLEEN": (48, 140, 122, 1057, 1328, 79, 61, 0.82, 0.50),
    "KIDNEY": (33, 150, 190, 900, 1160, 75, 68, 0.84, 1.20),
    "STOMACH": (22, 26, 30, 1500, 1900, 160, 150, 0.90, 0.05),
    "BOWEL": (28, 50, 62, 1000, 1250, 90, 85, 0.82, 0.25),
    "BLADDER": (5, 5, 9, 3000, 3500, 900, 800, 1.00, 0.02),
    "GENITAL": (42, 70, 85, 1317, 1597, 88, 74, 0.84, 0.30),
    "VERTEBRA": (260, 265, 275, 549, 586, 49, 49, 0.60, 0.06),
    "DISC": (85, 85, 88, 900, 1100, 90, 85, 0.70, 0.02),
    "CORD": (33, 34, 35, 745, 993, 74, 78, 0.74, 0.01),
}
Organ = IntEnum("Organ", list(_TABLE), start=0)  # the values of an organ map
TISSUES = np.array(list(_TABLE.values()), np.float64)  # [organ, column]


@dataclass(frozen=True)
class Timing:
    """What the MR operator sets: ms (ti_ms 0: no inversion), degrees, tesla and s/mm² (diffusion weighting)."""

    tr_ms: float
    te_ms: float
    ti_ms: float = 0.0
    flip_deg: float = 90.0
    field_t: float = 1.5
    b_value: float = 0.0


def spin_echo(t1, t2, density, timing: Timing) -> np.ndarray:
    """Spin echo, magnitude, arrays or floats, times in ms: PD·|1 − 2·exp(−TI/T1) + exp(−TR/T1)|·exp(−TE/T2).

    That is inversion recovery; with TI = 0 the same equation is the plain PD·(1 − exp(−TR/T1))·exp(−TE/T2).
    """
    recovered = 1 - 2 * np.exp(-timing.ti_ms / t1) + np.exp(-timing.tr_ms / t1)
    return density * np.abs(recovered) * np.exp(-timing.te_ms / t2)


def spoiled_gradient_echo(t1, t2_star, density, timing: Timing) -> np.ndarray:
    """Spoiled gradient echo: PD·sin α·(1 − E1)/(1 − cos α·E1)·exp(−TE/T2*), E1 = exp(−TR/T1)."""
    alpha, e1 = np.deg2rad(timing.flip_deg), np.exp(-timing.tr_ms / t1)
    return density * np.sin(alpha) * (1 - e1) / (1 - np.cos(alpha) * e1) * np.exp(-timing.te_ms / t2_star)


def mr_signal(timing: Timing, technique: str, gadolinium: bool) -> np.ndarray:
    """Signal of every organ, float64 [organ], for technique SE, GRE or EPI (SE with TI > 0 is inversion recovery)."""
    high_field = timing.field_t > 2
    t1, t2, density = TISSUES[:, 3 + high_field], TISSUES[:, 5 + high_field], TISSUES[:, 7]
    if gadolinium:
        mmol = TISSUES[:, 8]
        t1, t2 = 1000 / (1000 / t1 + GAD_R1 * mmol), 1000 / (1000 / t2 + GAD_R2 * mmol)
    if technique == "GRE":
        signal = spoiled_gradient_echo(t1, t2 * 0.5, density, timing)
    else:
        signal = spin_echo(t1, t2, density, timing)
    if timing.b_value:
        signal = signal * np.exp(-timing.b_value * 3e-3 * t2 / (t2 + 150))  # freer water: longer T2, faster diffusion
    return signal


def ct_voxels(organs: np.ndarray, phase: str, rng: np.random.Generator) -> np.ndarray:
    """int16 HU [D,H,W] of a uint8 organ map; phase: plain, arterial or venous."""
    table = TISSUES[:, ("plain", "arterial", "venous").index(phase)] + rng.normal(0, 3, len(TISSUES))
    table[TISSUES[:, 0] <= -1000] = -1000
    hu = _blur(table.astype(np.float32)[organs])
    hu += rng.uniform(7, 18) * rng.standard_normal(organs.shape, np.float32)
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16)


def mr_voxels(
    organs: np.ndarray, timing: Timing, technique: str, gadolinium: bool, rng: np.random.Generator
) -> np.ndarray:
    """int16 magnitudes ≥ 0 [D,H,W] of a uint8 organ map: coil scale, shading and noise are drawn from `rng`."""
    table = mr_signal(timing, technique, gadolinium) * (1 + rng.normal(0, 0.04, len(TISSUES)))
    signal = _blur(table.astype(np.float32)[organs])
    for axis in range(3):  # a receive coil is never flat
        ramp = 1 + rng.uniform(-0.15, 0.15) * np.linspace(-1, 1, organs.shape[axis], dtype=np.float32)
        signal *= ramp.reshape([-1 if k == axis else 1 for k in range(3)])
    brightest = float(np.percentile(signal[::2, ::2, ::2], 99)) or 1.0
    noise = brightest / rng.uniform(20, 60)
    real = signal + noise * rng.standard_normal(organs.shape, np.float32)
    imaginary = noise * rng.standard_normal(organs.shape, np.float32)
    scale = rng.uniform(250, 2500) / brightest
    return np.clip(np.rint(scale * np.hypot(real, imaginary)), 0, 32767).astype(np.int16)


def _blur(image: np.ndarray) -> np.ndarray:
    """The in-plane point spread, 1-2-1 along H and W, in place; `image` [D,H,W] comes back."""
    for axis in (1, 2):
        lines = np.moveaxis(image, axis, 0)
        lines[1:-1] = 0.5 * lines[1:-1] + 0.25 * (lines[:-2] + lines[2:])
    return image
