"""What a corpus costs before a byte is fetched. Every figure stands beside the assumption it rests on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from radnet.shards.inventory.options import BudgetConfig

# Lossless size of int16 volumes, measured: HTJ2K on CT 1 mm bone and soft kernel, and on one MR (its spread assumed).
RATIOS = {"CT": (2.41, 4.06), "MR": (3.0, 4.0), "": (2.4, 4.0)}
# Uncompressed over stored bytes, assumed: lossless codecs about 2.5, lossy ones about 10.
_STORED = dict.fromkeys((".4.50", ".4.51"), 10.0) | dict.fromkeys((".4.57", ".4.70", ".4.80", ".4.90"), 2.5)
_STORED |= {".4.91": 4.0, ".2.5": 2.0}
# Length in mm that the slices of a series cover, and of a slice's sides: assumed, for an index has no spacing.
_EXTENT_MM = {"CT": (350.0, 400.0), "MR": (160.0, 300.0), "": (300.0, 400.0)}
# One core, measured on 1,240 slices of CT and MR while the other was busy: header and voxels of a file, and HTJ2K. npy,
# which copies and hashes, is assumed.
SECONDS_PER_FILE = 0.0035
SECONDS_PER_MB = {"htj2k": 0.010, "npy": 0.003}
BACKWARD = 3.0  # a training step costs about three forward passes


@dataclass(frozen=True)
class Series:
    """The drawn series of a corpus, one entry each. num_bytes: to download, None where they lie here. voxel_bytes: of
    its voxels as int16. draws: how often in an epoch; only those of train count."""

    modality: np.ndarray
    num_bytes: np.ndarray | None
    voxel_bytes: np.ndarray
    num_files: np.ndarray
    num_slices: np.ndarray
    split: np.ndarray
    draws: np.ndarray


@dataclass(frozen=True)
class Figure:
    """One line of the budget: low and high are the same where the assumption gives no range."""

    name: str
    low: float
    high: float
    unit: str
    assumption: str

    def __str__(self) -> str:
        text = f"{_short(self.low)} to {_short(self.high)}" if self.low != self.high else _short(self.low)
        return f"{text} {self.unit}".rstrip()


def _short(value: float) -> str:
    if 0 < value < 0.001:
        return "under 0.001"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def budget(series: Series, config: BudgetConfig) -> list[Figure]:
    """Download, shards, CPU and GPU hours of a corpus; see each Figure's assumption."""
    kept = series.voxel_bytes * _kept_fraction(series, config.finest_mm)
    low, high = _encoded(series.modality, kept, config.codec)
    seconds = float(series.num_files.sum()) * SECONDS_PER_FILE
    cpu_hours = (seconds + float(kept.sum()) / 1e6 * SECONDS_PER_MB[config.codec]) / 3600
    rate = f"{SECONDS_PER_FILE * 1e3:g} ms a file, measured on one core of a 2-core AMD EPYC, and "
    rate += f"{SECONDS_PER_MB[config.codec] * 1e3:g} ms a megabyte, {'assumed' if config.codec == 'npy' else 'too'}"
    return [
        *_download(series, config),
        _one("voxels", float(kept.sum()) / 1e9, "GB", _voxel_text(series, config)),
        Figure("shards", low / 1e9, high / 1e9, "GB", _codec_text(config.codec)),
        _one("shard count", _num_shards(kept, series.split, config), "", _shard_text(config)),
        _one("sharding", cpu_hours, "core h", rate),
        _one("sharding time", cpu_hours / config.cores, "h", f"{config.cores} cores, perfectly shared"),
        *_gpu(kept, series, config),
    ]


def _one(name: str, value: float, unit: str, assumption: str) -> Figure:
    return Figure(name, value, value, unit, assumption)


def _download(series: Series, config: BudgetConfig) -> list[Figure]:
    if series.num_bytes is None:
        return []
    num_gb = float(series.num_bytes.sum()) / 1e9
    hours = num_gb * 1e3 / config.download_mb_per_s / 3600
    return [
        _one("download", num_gb, "GB", "series_size_MB of the index, each series once"),
        _one("download time", hours, "h", f"assumed {config.download_mb_per_s:g} MB/s"),
    ]


def uncompressed(num_bytes: np.ndarray, syntaxes: Sequence[str]) -> np.ndarray:
    """float64 [series]: voxels, from stored bytes and transfer syntaxes (the first that packs counts)."""
    factor_of = {text: _factor(text) for text in set(syntaxes)}
    return num_bytes * np.array([factor_of[text] for text in syntaxes], float)


def _factor(syntaxes: str) -> float:
    tails = [tail for tail in _STORED for one in syntaxes.split(",") if one.endswith(tail)]
    return _STORED[tails[0]] if tails else 1.0


def _kept_fraction(series: Series, finest_mm: Sequence[float] | None) -> np.ndarray:
    """Which part of the voxels is left after finer axes were averaged to `finest_mm`."""
    if finest_mm is None:
        return np.ones(len(series.draws))
    extent = np.array([_EXTENT_MM.get(name, _EXTENT_MM[""]) for name in series.modality]).reshape(-1, 2)
    num_slices = np.maximum(series.num_slices, 1)
    side = np.maximum(np.sqrt(series.voxel_bytes / 2 / num_slices), 1)
    spacing = np.stack([extent[:, 0] / num_slices, extent[:, 1] / side, extent[:, 1] / side], axis=1)
    finest = np.asarray(finest_mm, float)
    return np.prod(np.minimum(spacing / np.maximum(finest, 1e-9), 1.0), axis=1)


def _encoded(modality: np.ndarray, kept: np.ndarray, codec: str) -> tuple[float, float]:
    if codec == "npy":
        return float(kept.sum()), float(kept.sum())
    ratios = np.array([RATIOS.get(name, RATIOS[""]) for name in modality]).reshape(-1, 2)
    return float((kept / ratios[:, 1]).sum()), float((kept / ratios[:, 0]).sum())


def _num_shards(kept: np.ndarray, split: np.ndarray, config: BudgetConfig) -> int:
    """Shards of all splits, cut where the next series would not fit, as `radnet shard` cuts."""
    total = 0
    for name in np.unique(split):
        filled = float("inf")
        for num_bytes in kept[split == name]:
            if filled + num_bytes > config.shard_bytes:
                total, filled = total + 1, 0.0
            filled += num_bytes
    return total


def _gpu(kept: np.ndarray, series: Series, config: BudgetConfig) -> list[Figure]:
    train = np.where(series.split == "train", series.draws, 0)
    num, read_mb = int(train.sum()), float((kept * train).sum()) / 1e6
    step_s = num * BACKWARD * config.gflop_per_sample / (config.gpu_tflops * 1e3 * config.gpu_utilisation)
    read_s = read_mb / config.loader_mb_per_s
    compute = (
        f"{num:,} training draws x {BACKWARD:g} x {config.gflop_per_sample:g} GFLOP at an assumed "
        f"{config.gpu_utilisation:.0%} of {config.gpu_tflops:g} TFLOP/s ({config.gpu}); not measured"
    )
    reading = f"the same draws at an assumed {config.loader_mb_per_s:g} MB/s of decoded voxels for one GPU"
    slower = "the slower of the two lines above: " + ("decoding" if read_s > step_s else "arithmetic")
    if read_s > step_s:
        slower += " (a coarser finest_mm or more loader threads helps, another GPU does not)"
    return [
        _one("GPU arithmetic per epoch", step_s / 3600, "h", compute),
        _one("decoding per epoch", read_s / 3600, "h", reading),
        _one("GPU hours per epoch", max(step_s, read_s) / 3600, "h", slower),
    ]


def _voxel_text(series: Series, config: BudgetConfig) -> str:
    text = "stored bytes; of compressed series 2 to 10 times as many (assumed)"
    text = "rows x columns x slices x 2 bytes" if series.num_bytes is None else text
    if config.finest_mm is None:
        return text + "; native spacing"
    spacing = "from an assumed spacing (CT 350 mm long and 400 mm wide, MR 160 and 300)"
    return f"{text}; averaged to {list(config.finest_mm)} mm {spacing}"


def _codec_text(codec: str) -> str:
    if codec == "npy":
        return "npy stores voxels as they are"
    return "HTJ2K ratios, measured: CT 2.41 (bone kernel) to 4.06 (soft), MR 3.98; MR's low end 3.0 is assumed"


def _shard_text(config: BudgetConfig) -> str:
    return f"a shard is full at {config.shard_bytes / 1e6:g} MB of voxels, splits apart"
