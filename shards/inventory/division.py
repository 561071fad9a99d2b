"""Splits of an inventory: patients, and where asked collections, lie in one split; and the proof of it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from radnet.shards.config import SplitsConfig
from radnet.shards.inventory.columns import codes, tuples
from radnet.shards.inventory.options import InventoryConfig
from radnet.shards.inventory.select import KEPT, matches
from radnet.shards.plan import split_of, uniform
from radnet.shards.privacy import PrivacyKey

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class Patients:
    """numbers: int64 [rows], which patient. keys: their keyed hashes."""

    numbers: np.ndarray
    keys: list[str]

    def of(self, rows: np.ndarray) -> "Patients":
        """The patients of some rows."""
        return Patients(self.numbers[rows], self.keys)


def patients(series: "pyarrow.Table", key: PrivacyKey) -> Patients:
    """The patients of an index, hashed with their collection as `radnet shard` does.

    A PatientID that several collections share is one patient, of the collection that IDC released first: later releases
    move nobody.
    """
    pair_of, pairs = tuples([series["collection_id"], series["PatientID"], series["series_init_idc_version"]])
    home: dict[str, tuple[int, str]] = {}
    for collection, patient, version in pairs:
        here = (version or 0, collection)
        home[patient] = min(home.get(patient, here), here)
    ids = list(home)
    number = {patient: at for at, patient in enumerate(ids)}
    keys = [key.hash("patient", f"{home[patient][1]}\0{patient or ''}") for patient in ids]
    numbers = np.array([number[patient] for _, patient, _ in pairs], np.int64)[pair_of]
    return Patients(numbers, keys)


def splits(who: Patients, series: "pyarrow.Table", config: InventoryConfig) -> np.ndarray:
    """str [rows]: train, validation or test, from the patient's key alone, or with disjoint=collection from the
    collection's name (test) and the patient's key (train or validation)."""
    if config.disjoint == "patient":
        return np.array([split_of(key, config.splits) for key in who.keys])[who.numbers]
    rest = config.splits.train + config.splits.validation
    fractions = SplitsConfig(config.splits.train / rest, config.splits.validation / rest, 0.0)
    found = np.array([split_of(key, fractions) for key in who.keys])[who.numbers]
    found[_of_test_collections(series, config)] = "test"
    return found


def _of_test_collections(series: "pyarrow.Table", config: InventoryConfig) -> np.ndarray:
    numbers, names = codes(series["collection_id"])
    if config.test_collections:
        is_test = [matches(name, config.test_collections) for name in names]
    else:
        is_test = [uniform("split", f"collection {name}") < config.splits.test for name in names]
    return np.array(is_test)[numbers]


def straddling(who: Patients, split: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """bool [rows]: kept rows outside test of patients whom another collection brings into test."""
    in_test = np.zeros(len(who.keys), bool)
    in_test[who.numbers[kept & (split == "test")]] = True
    return kept & (split != "test") & in_test[who.numbers]


@dataclass(frozen=True)
class Leakage:
    """How many patients, studies and series lie in more than one split, and collections in test and elsewhere."""

    patients: int
    studies: int
    series: int
    collections: int

    def leaks(self, config: InventoryConfig) -> bool:
        """True where something is shared that must not be."""
        by_patient = self.patients + self.studies + self.series
        return by_patient > 0 or (config.disjoint == "collection" and self.collections > 0)


def leakage(table: "pyarrow.Table", reasons: np.ndarray, names: tuple[str, str, str]) -> Leakage:
    """Count what lies in several splits, from the finished table alone.

    table: with columns split and collection_id. names: its columns of series, study and patient; a patient is compared
    across all collections.
    """
    kept = table.select([*names, "split", "collection_id"]).filter(reasons == KEPT)
    split = codes(kept["split"])[0] if len(kept) else np.zeros(0, np.int64)
    series, studies, people = (_num_shared(codes(kept[name])[0], split) for name in names)
    is_test = np.array([name == "test" for name in kept["split"].to_pylist()], np.int64)
    return Leakage(people, studies, series, _num_shared(codes(kept["collection_id"])[0], is_test))


def _num_shared(numbers: np.ndarray, split: np.ndarray) -> int:
    """How many of `numbers` stand beside more than one of `split`."""
    pairs = np.unique(np.stack([numbers, split]), axis=1)
    return int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())


def num_shared(table: "pyarrow.Table", patient: str) -> int:
    """Patients, by the column of that name, of more than one collection."""
    return _num_shared(codes(table[patient])[0], codes(table["collection_id"])[0])
