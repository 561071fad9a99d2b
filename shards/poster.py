"""One sample on one picture: its three middle planes side by side, with what is known of it below, in letters."""

import textwrap
from collections.abc import Sequence

import numpy as np

from radnet.shards.glyphs import ADVANCE, HEIGHT, draw
from radnet.shards.thumbnail import grey, hang, middle_planes, resize
from radnet.volume import Volume

SIDE_PIXELS = 480  # of the longest side in mm, so that the three planes have one scale
_GAP = 12
_LETTER = 2  # pixels a dot
_TEXT, _TINT = np.array([210, 210, 210], np.uint8), np.array([255, 80, 60], np.uint8)
_OPPOSITE = {"axial": ("R", "L"), "coronal": ("R", "L"), "sagittal": ("A", "P")}  # at the left and right edge


def poster(volume: Volume, mask: np.ndarray | None, window: tuple[float, float], lines: Sequence[str]) -> bytes:
    """A PNG of 8 bits in colour.

    The patient's front, or head, is at the top, the patient's right on the left. mask: uint8 [D,H,W], outlined in red.
    window: values shown as black and white. lines: text, wrapped to the width of the picture.
    """
    import imagecodecs

    voxels, spacing_mm = hang(volume.voxels, volume)
    scale = SIDE_PIXELS / max(size * step for size, step in zip(voxels.shape, spacing_mm, strict=True))
    masks = {} if mask is None else middle_planes(hang(mask, volume)[0], spacing_mm)
    pictures = []
    for view, (plane, sides_mm) in middle_planes(voxels, spacing_mm).items():
        picture = np.repeat(grey(plane, sides_mm, window, scale)[..., None], 3, axis=2)
        if view in masks:
            picture[_outline(resize(masks[view][0] > 0, sides_mm, scale) > 0.5)] = _TINT
        pictures.append(_titled(picture, view))
    height = max(len(picture) for picture in pictures)
    planes = np.concatenate([_padded(picture, height, picture.shape[1] + _GAP) for picture in pictures], axis=1)
    text = _written(lines, planes.shape[1])
    canvas = np.concatenate([planes, _padded(text, len(text) + _GAP, planes.shape[1])])
    return bytes(imagecodecs.png_encode(_padded(canvas, len(canvas), canvas.shape[1], _GAP)))


def _outline(inside: np.ndarray) -> np.ndarray:
    """bool [H,W]: the pixels of `inside` that touch its outside, two wide."""
    core = inside
    for _ in range(2):
        wide = np.pad(core, 1)
        core = core & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return inside & ~core


def _titled(picture: np.ndarray, view: str) -> np.ndarray:
    """The picture below a line with its sides and its name."""
    left, right = _OPPOSITE[view]
    room = max(picture.shape[1] // (ADVANCE * _LETTER), len(view) + 6)
    title = _letters([f"{left}{view:^{room - 2}}{right}"])
    width = max(picture.shape[1], title.shape[1])
    return np.concatenate([_padded(title, HEIGHT * _LETTER, width), _padded(picture, len(picture), width)])


def _written(lines: Sequence[str], width: int) -> np.ndarray:
    room = width // (ADVANCE * _LETTER)
    wrapped = [part for line in lines for part in textwrap.wrap(line, room, subsequent_indent="    ") or [""]]
    return _letters(wrapped)


def _letters(lines: list[str]) -> np.ndarray:
    dots = draw(lines).repeat(_LETTER, axis=0).repeat(_LETTER, axis=1)
    return dots[..., None] * _TEXT


def _padded(picture: np.ndarray, height: int, width: int, edge: int = 0) -> np.ndarray:
    """The picture at the top left of a black one, with a black edge around it all."""
    room = ((edge, edge + height - picture.shape[0]), (edge, edge + width - picture.shape[1]), (0, 0))
    return np.pad(picture, room)
