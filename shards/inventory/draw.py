"""A balanced draw: as many series of each class as there are, up to an equal share; pure and seeded."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClassDraw:
    """What was drawn of one class. num_series: kept. num_train: of them in training. num_draws: repeats included."""

    name: str
    num_series: int
    num_train: int
    num_drawn: int
    num_draws: int
    cap: int

    @property
    def is_rare(self) -> bool:
        """True where the class has no more to give: all its series are drawn, repeated where they may be."""
        return self.num_drawn == self.num_series

    def __str__(self) -> str:
        if self.is_rare:
            return (
                f"{self.name}: {self.num_series:,} series, cap {self.cap} repeats -> {self.num_draws:,} draws "
                f"({self.num_train:,} are training and may repeat)"
            )
        return f"{self.name}: {self.num_drawn:,} of {self.num_series:,} series, no repeats"


def shares(capacities: Mapping[str, int], total: int) -> dict[str, int]:
    """`total` shared evenly over classes, none beyond its capacity; what a rare class cannot take the others do."""
    found = dict.fromkeys(capacities, 0)
    left, open_classes = total, sorted(capacities, key=lambda name: (capacities[name], name))
    while open_classes:
        name = open_classes.pop(0)  # the rarest first: what it leaves is shared by the rest
        found[name] = min(capacities[name], -(-left // (len(open_classes) + 1)))
        left -= found[name]
    return found


def ranks(uids: Sequence[str], people: np.ndarray, seed: int) -> np.ndarray:
    """int64 [series]: the order of drawing. Every patient's first series, in order of a hash, then every second one."""
    marks = np.array([_mark(uid, seed) for uid in uids], np.uint64)
    by_patient = np.lexsort((marks, people))
    grouped = people[by_patient]
    starts = np.r_[True, grouped[1:] != grouped[:-1]] if len(grouped) else np.zeros(0, bool)
    first = np.maximum.accumulate(np.where(starts, np.arange(len(grouped)), 0)) if len(grouped) else starts
    turn = np.empty(len(uids), np.int64)
    turn[by_patient] = np.arange(len(uids)) - first
    order = np.lexsort((marks, turn))
    place = np.empty(len(uids), np.int64)
    place[order] = np.arange(len(uids))
    return place


def _mark(uid: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"radnet draw {seed} {uid}".encode()).digest()[:8], "big")


def repeats(num_draws: int, may_repeat: np.ndarray, cap: int) -> np.ndarray:
    """int64 [series]: how often each series of one class is drawn, given in order of drawing.

    Every series once before any twice; only those that may repeat, at most `cap` times.
    """
    limit = np.where(may_repeat, cap, 1)
    drawn = np.zeros(len(limit), np.int64)
    for turn in range(1, cap + 1):
        able = np.flatnonzero(limit >= turn)[: max(num_draws - int(drawn.sum()), 0)]
        drawn[able] += 1
    return drawn


def draw(
    classes: Sequence[str],
    uids: Sequence[str],
    people: np.ndarray,
    is_train: np.ndarray,
    *,
    num: int,
    cap: int,
    seed: int,
) -> tuple[np.ndarray, list[ClassDraw]]:
    """How often each series is drawn, int64 [series], and what was drawn of each class.

    classes: of each series. people: int [series], which patient. is_train: bool [series]; only training series repeat.
    num: draws wanted in all; fewer are made where the classes cannot give as many.
    """
    names = np.array(classes, dtype=str)
    capacity = {name: int(np.where(is_train[names == name], cap, 1).sum()) for name in sorted(set(classes))}
    wanted = shares(capacity, num)
    drawn = np.zeros(len(names), np.int64)
    report = []
    for name in wanted:
        members = np.flatnonzero(names == name)
        members = members[np.argsort(ranks([uids[at] for at in members], people[members], seed))]
        drawn[members] = repeats(wanted[name], is_train[members], cap)
        num_drawn = int((drawn[members] > 0).sum())
        train = int(is_train[members].sum())
        report.append(ClassDraw(name, len(members), train, num_drawn, int(drawn[members].sum()), cap))
    return drawn, report
