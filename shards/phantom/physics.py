"""Voxels from an organ map: CT in HU, MR from T1, T2 and proton density through the signal equations.

The properties of the tissues, and where they are from, are in tissues.yaml.
"""

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import yaml

GAD_R1, GAD_R2 = 4.3, 5.0  # relaxivities, 1/(s·mmol/l), between their values at 1.5 T and 3 T


def table(name: str) -> Any:
    """The content of NAME.yaml, which lies beside this file."""
    return yaml.safe_load((Path(__file__).parent / f"{name}.yaml").read_text("utf-8"))


_TISSUES = table("tissues")
Organ = IntEnum("Organ", list(_TISSUES), start=0)  # the values of an organ map
TISSUES = np.array(list(_TISSUES.values()), np.float64)  # [organ, column]
# kernel: how much it sharpens edges and grain, and the range of its noise, HU
_KERNELS = {"soft": (0.0, 7, 18), "lung": (0.5, 18, 32), "bone": (1.0, 28, 48)}


@dataclass(frozen=True)
class Timing:
    """What the MR operator sets: ms (ti_ms 0: no inversion), degrees, tesla, s/mm² (diffusion weighting), echoes."""

    tr_ms: float
    te_ms: float
    ti_ms: float = 0.0
    flip_deg: float = 90.0
    field_t: float = 1.5
    b_value: float = 0.0
    train: int = 0


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
    """Signal of every organ, float64 [organ].

    technique: SE (with TI > 0 inversion recovery), GRE, EPI, BSSFP, TOF (GRE with blood flowing in), or a map: ADC
    (of diffusion), CBV (of blood volume).
    """
    high_field = timing.field_t > 2
    t1, t2, density, mmol = TISSUES[:, 3 + high_field], TISSUES[:, 5 + high_field], TISSUES[:, 7], TISSUES[:, 8]
    diffusion = 3e-3 * t2 / (t2 + 150)  # mm²/s; freer water: longer T2, faster diffusion
    if technique in ("ADC", "CBV"):
        return np.where(density > 0.2, diffusion * 1e3 if technique == "ADC" else mmol, 0)
    if gadolinium:
        t1, t2 = 1000 / (1000 / t1 + GAD_R1 * mmol), 1000 / (1000 / t2 + GAD_R2 * mmol)
    if technique == "TOF":  # blood arrives unsaturated, as if its T1 were short
        t1 = np.where([name.endswith(("VESSEL", "VEIN")) for name in _TISSUES], 60, t1)
    if technique == "BSSFP":
        cosine = np.cos(np.deg2rad(timing.flip_deg))  # the steady state where TR is short beside T1 and T2
        signal = density * np.sqrt(1 - cosine**2) / (1 + cosine + (1 - cosine) * t1 / t2)
    elif technique in ("GRE", "TOF"):
        signal = spoiled_gradient_echo(t1, t2 * 0.5, density, timing)
    else:
        signal = spin_echo(t1, t2, density, timing)
    return signal * np.exp(-timing.b_value * diffusion)


def ct_voxels(organs: np.ndarray, phase: str, kernel: str, rng: np.random.Generator) -> np.ndarray:
    """int16 HU [D,H,W] of a uint8 organ map; phase: plain, arterial or venous; kernel: soft, lung or bone.

    A sharper kernel overshoots at edges, and its noise is stronger and finer; that of a soft one is a correlated blur.
    """
    sharpness, *noise_hu = _KERNELS[kernel]
    tissue = TISSUES[:, ("plain", "arterial", "venous").index(phase)] + rng.normal(0, 3, len(TISSUES))
    tissue[TISSUES[:, 0] <= -1000] = -1000
    hu = _sharpened(_sharpened(tissue.astype(np.float32)[organs], -1), sharpness)
    grain = _sharpened(rng.standard_normal(organs.shape, np.float32), sharpness - 1)
    hu += grain * (rng.uniform(*noise_hu) / float(grain.std()))
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16)


def mr_voxels(organs: np.ndarray, timing: Timing, kind: str, gadolinium: bool, rng: np.random.Generator) -> np.ndarray:
    """int16 magnitudes ≥ 0 [D,H,W] of a uint8 organ map; coil scale, bias field and noise are drawn from `rng`."""
    tissue = mr_signal(timing, kind, gadolinium) * (1 + rng.normal(0, 0.04, len(TISSUES)))
    signal = _sharpened(tissue.astype(np.float32)[organs], -1) * bias_field(organs.shape, rng)
    brightest = float(np.percentile(signal[::2, ::2, ::2], 99)) or 1.0
    noise = brightest / rng.uniform(20, 60)
    real = signal + noise * rng.standard_normal(organs.shape, np.float32)
    imaginary = noise * rng.standard_normal(organs.shape, np.float32)
    scale = rng.uniform(250, 2500) / brightest
    return np.clip(np.rint(scale * np.hypot(real, imaginary)), 0, 32767).astype(np.int16)


def bias_field(shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """float32 [D,H,W] > 0, the sensitivity of a receive coil: the exponential of a polynomial of degree 3.

    The brightest place is 1.3 to 2.5 times as bright as the darkest.
    """
    degree = np.add.outer(np.add.outer(np.arange(4), np.arange(4)), np.arange(4))
    powers = rng.normal(0, 1, degree.shape) * np.where(degree > 3, 0, 0.5**degree)
    steps = [np.linspace(-1, 1, size, dtype=np.float32) for size in shape]
    field = np.polynomial.polynomial.polygrid3d(*steps, powers.astype(np.float32))
    return np.exp((field - field.mean()) * float(np.log(rng.uniform(1.3, 2.5)) / np.ptp(field)))


def _sharpened(image: np.ndarray, amount: float) -> np.ndarray:
    """`image` [D,H,W] + amount·(image − blurred image), the blur 1-2-1 along H and W; with amount −1 just blurred."""
    blurred = image.copy()
    for axis in (1, 2):
        lines = np.moveaxis(blurred, axis, 0)
        lines[1:-1] = 0.5 * lines[1:-1] + 0.25 * (lines[:-2] + lines[2:])
    return blurred if amount == -1 else image + amount * (image - blurred)
