"""Noise: Philox against its published answers, the normal numbers against what normal means, and who may share some."""

import numpy as np
import pytest
from scipy import stats

from radnet.kernels import noise

# From the known answers of Random123: counter, key, result of philox4x32 with 10 rounds.
ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def hex_words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize("counter, key, expected", ANSWERS)
def test_philox_gives_its_published_answers(counter: str, key: str, expected: str):
    words = np.array(hex_words(counter), np.uint32)
    many = np.repeat(words[:, None], 3, axis=1)
    assert noise.philox(words, tuple(hex_words(key))).tolist() == hex_words(expected)
    assert (noise.philox(many, tuple(hex_words(key))) == np.array(hex_words(expected))[:, None]).all()


def plain(seed: int, epoch: int, position: int, shape: tuple[int, int, int], d: int, h: int, w: int) -> float:
    """One voxel by the definition: counter, Philox in Python's integers, Box-Muller in double precision."""
    _, height, width = shape
    word = [(d // 4 * height + h) * width + w, position, epoch, 0]
    key = [seed % 2**32, seed // 2**32]
    for _ in range(10):
        first, second = 0xD2511F53 * word[0], 0xCD9E8D57 * word[2]
        word = [second >> 32 ^ word[1] ^ key[0], second % 2**32, first >> 32 ^ word[3] ^ key[1], first % 2**32]
        key = [(key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32]
    radius, turn = ((one + 0.5) / 2**32 for one in word[d % 4 // 2 * 2 :][:2])
    return np.sqrt(-2 * np.log(radius)) * (np.sin if d % 2 else np.cos)(2 * np.pi * turn)


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 3, 2), (9, 130, 150), (2, 200, 100)])
def test_each_voxel_is_what_the_definition_says(shape: tuple[int, int, int]):
    where = np.random.default_rng(0).integers(0, shape, (60, 3))
    for seed, epoch, position in [(0, 0, 0), (2**40 + 5, 3, 70), (2**64 - 1, 2**32 - 1, 2**32 - 1)]:
        got = noise.normal(seed, epoch, position, shape)
        assert got.shape == shape and got.dtype == np.float32
        for d, h, w in [*where.tolist(), [0, 0, 0], [n - 1 for n in shape]]:
            assert got[d, h, w] == pytest.approx(plain(seed, epoch, position, shape, d, h, w), abs=1e-5)


def test_it_is_normal():
    """2 million numbers: moments within five standard errors, the distribution by Kolmogorov and Smirnov."""
    values = noise.normal(7, 1, 2, (48, 200, 210)).astype(np.float64).ravel()
    for power, moment, spread in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert abs((values**power).mean() - moment) < 5 * np.sqrt(spread / values.size), f"moment {power}"
    assert stats.kstest(values, "norm").pvalue > 0.01
    assert 4.5 < np.abs(values).max() < 6.8


def test_neighbours_are_independent():
    """Along each axis, within and between the four of a column, of values and of their squares."""
    values = noise.normal(7, 1, 2, (64, 128, 128)).astype(np.float64)
    for other in (values, values**2 - 1):
        for axis in range(3):
            for distance in (1, 2, 3, 4):
                first = other.take(range(other.shape[axis] - distance), axis)
                second = other.take(range(distance, other.shape[axis]), axis)
                bound = 5 * other.std() ** 2 / np.sqrt(first.size)
                assert abs((first * second).mean()) < bound, (axis, distance)


def test_seeds_epochs_and_positions_are_independent_and_repeatable():
    shape = (8, 64, 64)
    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1 << 32, 0, 0), (0, 5, 6), (0, 6, 5)]
    found = [noise.normal(*place, shape) for place in places]
    assert np.array_equal(found[5], noise.normal(0, 5, 6, shape))
    for first in range(len(places)):
        for second in range(first):
            correlation = (found[first] * found[second]).mean()
            assert abs(correlation) < 5 / np.sqrt(found[first].size), (places[first], places[second])


def test_refusals():
    bad = [((-1, 0, 0), "seed"), ((1 << 64, 0, 0), "seed"), ((0, 1 << 32, 0), "epoch"), ((0, 0, -1), "position")]
    for place, named in bad:
        with pytest.raises(ValueError, match=named):
            noise.normal(*place, (4, 4, 4))
    with pytest.raises(ValueError, match="three positive sizes"):
        noise.normal(0, 0, 0, (4, 0, 4))
    with pytest.raises(ValueError, match=r"2\^32 counters"):
        noise.words(0, 0, 0, (5, 1 << 16, 1 << 16))
