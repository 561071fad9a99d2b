"""Pictures of a report: each function draws one PNG and returns it as a data URI, so a page needs no other file."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imsave

from radnet.kernels.grid import grid
from radnet.kernels.resample import resample

INK, MUTED, RULE = "#1d2733", "#5b6875", "#d5dbe1"
# Told apart by lightness as well as hue, for print and for colour-blind readers.
SERIES = ["#1f5fa8", "#e08a1e", "#5aa46e", "#a23b72", "#6f7c8a", "#7fb2e5", "#8c6d31"]
TRUTH, PREDICTION = "#3ddc97", "#ff5fa2"
TILE_PIXELS = 256
DPI = 130
_STYLE = {"color": MUTED, "labelsize": 8.5, "length": 0}


def bars(counts: Mapping[str, Mapping[str, int]], parts: Sequence[str]) -> str:
    """Horizontal stacked bars. counts: class → part → number; parts: the order of the stack, coloured as `colours`."""
    names = list(counts)
    figure = Figure(figsize=(4.6, 0.1 + 0.25 * len(names)), dpi=DPI, layout="constrained")
    axes = _axes(figure)
    left = np.zeros(len(names))
    for part, colour in colours(parts).items():
        width = np.array([counts[name].get(part, 0) for name in names], dtype=float)
        axes.barh(names, width, left=left, color=colour, height=0.68)
        left += width
    for row, total in enumerate(left):
        axes.annotate(
            f"{total:,.0f}", (total, row), (4, 0), textcoords="offset points", va="center", fontsize=8, color=MUTED
        )
    axes.set_ylim(len(names) - 0.5, -0.5)  # the same thickness in every chart
    axes.margins(x=0.14)
    axes.grid(False)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="y", labelcolor=INK)
    return _uri(figure)


def colours(parts: Sequence[str]) -> dict[str, str]:
    """A fixed colour for each part, in order."""
    return {part: SERIES[k % len(SERIES)] for k, part in enumerate(parts)}


def tile(plane: np.ndarray, spacing_mm: tuple[float, float], window: tuple[float, float]) -> str:
    """One slice [H,W] as a grey picture with square pixels, window (low, high) from black to white."""
    extent_mm = np.asarray(plane.shape) * spacing_mm
    shape = (1, *(max(1, round(TILE_PIXELS * side / extent_mm.max())) for side in extent_mm))
    matrix = grid((1, *plane.shape), (1.0, *spacing_mm), shape)
    pixels = resample(plane[None], matrix, shape, mode="area")[0]
    low, high = window
    image = io.BytesIO()
    imsave(image, pixels, cmap="gray", vmin=low, vmax=high if high > low else low + 1, format="png")
    return _data(image)


def curves(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], x_label: str = "step") -> str:
    """Lines over x. series: name → (x, y); y may hold nan. A single point is drawn as a dot."""
    figure = Figure(figsize=(5.2, 2.9), dpi=DPI, layout="constrained")
    axes = _axes(figure)
    for (name, (x, y)), colour in zip(series.items(), colours(list(series)).values(), strict=True):
        wide = 2.0 if name == "total" or len(series) == 1 else 1.3
        axes.plot(x, y, color=colour, linewidth=wide, label=name, marker="o" if len(x) < 12 else "", markersize=3.5)
    values = [value for _, y in series.values() for value in y if math.isfinite(value)]
    if values and min(values) >= 0:
        axes.set_ylim(0, 1.02 if 0.5 < max(values) <= 1 else None)
    axes.set_xlabel(x_label, fontsize=8.5, color=MUTED)
    if len(series) > 1:
        style = {"frameon": False, "fontsize": 8.5, "labelcolor": INK, "borderaxespad": 0, "handlelength": 1.4}
        figure.legend(loc="outside upper left", ncols=3, **style)
    return _uri(figure)


def overlays(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> str:
    """Slices [K,H,W] in 0…1 with the outlines of truth and prediction [K,H,W] (0 background, 1 organ, 2 tumour)."""
    shown = np.unique(np.linspace(0, len(image) - 1, min(len(image), 6)).astype(int))
    columns = min(2, len(shown))
    rows = math.ceil(len(shown) / columns)
    height, width = image.shape[1:]
    figure = Figure(figsize=(5.2, 5.2 * rows / columns * min(height / width, 2)), dpi=DPI, facecolor="black")
    figure.subplots_adjust(0, 0, 1, 1, wspace=0.01, hspace=0.01)
    for place, k in enumerate(shown):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.imshow(image[k], cmap="gray", vmin=0, vmax=1)
        for mask, colour in ((truth[k], TRUTH), (prediction[k], PREDICTION)):
            # A contour needs both sides of its level; an organ may be absent from a slice or fill it.
            levels = [level for level in (0.5, 1.5) if mask.min() < level < mask.max()]
            if levels and min(mask.shape) > 1:
                axes.contour(mask, levels=levels, colors=colour, linewidths=1.2)
        axes.set_axis_off()
    return _uri(figure)


def _axes(figure: Figure) -> Any:
    axes = figure.add_subplot()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(**_STYLE)
    return axes


def _uri(figure: Figure) -> str:
    image = io.BytesIO()
    figure.savefig(image, format="png")  # a bare Figure draws with Agg
    return _data(image)


def _data(image: io.BytesIO) -> str:
    return "data:image/png;base64," + base64.b64encode(image.getvalue()).decode("ascii")
