"""JPEG lossless (ITU T.81, process 14) in plain Python: what no encoder at hand writes, every predictor and depth."""

import struct

import numpy as np


def encode(
    pixels: np.ndarray, bits: int, predictor: int = 1, *, rows_between_restarts: int = 0, point_transform: int = 0
) -> bytes:
    """A frame of unsigned `pixels` [H,W] below 2^bits; the point transform drops that many low bits."""
    height, width = pixels.shape
    kept = pixels.astype(np.int64) >> point_transform
    step = rows_between_restarts or height
    differences = kept - _predicted(kept, predictor, step, 1 << (bits - point_transform - 1))
    differences = (differences + 32767) % 65536 - 32767  # modulo 2^16, in -32767 to 32768
    # One Huffman table of 17 codes of 5 bits: code n says that n more bits follow.
    head = b"\xff\xd8\xff\xc3" + struct.pack(">HB2H4B", 11, bits, height, width, 1, 1, 0x11, 0)
    head += b"\xff\xc4" + struct.pack(">HB", 19 + 17, 0) + bytes([0, 0, 0, 0, 17, *[0] * 11]) + bytes(range(17))
    if rows_between_restarts:
        head += b"\xff\xdd" + struct.pack(">2H", 4, rows_between_restarts * width)
    head += b"\xff\xda" + struct.pack(">H6B", 8, 1, 1, 0, predictor, 0, point_transform)
    pieces = [_entropy_coded(differences[at : at + step]) for at in range(0, height, step)]
    joined = pieces[0]
    for number, piece in enumerate(pieces[1:]):
        joined += bytes([0xFF, 0xD0 + number % 8]) + piece
    return head + joined + b"\xff\xd9"


def _predicted(x: np.ndarray, predictor: int, step: int, first: int) -> np.ndarray:
    """What is expected of every sample; each interval of `step` rows starts from `first` and goes on from the left."""
    left, above, corner = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    left[:, 1:], above[1:], corner[1:, 1:] = x[:, :-1], x[:-1], x[:-1, :-1]
    inside = {
        1: left,
        2: above,
        3: corner,
        4: left + above - corner,
        5: left + ((above - corner) >> 1),
        6: above + ((left - corner) >> 1),
        7: (left + above) >> 1,
    }
    found = inside[predictor].copy()
    found[:, 0] = above[:, 0]
    found[::step], found[::step, 0] = left[::step], first
    return found


def _entropy_coded(differences: np.ndarray) -> bytes:
    bits = []
    for number in differences.ravel().tolist():
        size = abs(number).bit_length()
        bits.append(f"{size:05b}")
        if 0 < size < 16:
            bits.append(f"{number if number > 0 else number + (1 << size) - 1:0{size}b}")
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")
