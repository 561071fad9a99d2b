"""Which series of an archive are kept: rules in order, the first that a series breaks is its reason."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np

from radnet.errors import UsageError
from radnet.shards.inventory.columns import where
from radnet.shards.inventory.options import InventoryConfig

if TYPE_CHECKING:
    import pyarrow

KEPT = ""
# Image storage of CT, MR and PET, classic, enhanced and legacy converted; others of a modality hold no volume.
_IMAGE_CLASSES = {f"1.2.840.10008.5.1.4.1.1.{tail}" for tail in "2 2.1 2.2 4 4.1 4.4 128 128.1 130".split()}
_GREY = {"MONOCHROME1", "MONOCHROME2", "MONOCHROME1,MONOCHROME2"}


@dataclass(frozen=True)
class Rule:
    """reason: one word for the table. text: what it says. kept: bool [rows]."""

    reason: str
    text: str
    kept: np.ndarray


def matches(name: str | None, patterns: Sequence[str]) -> bool:
    """True where one of `patterns` (with * and ?, without case) fits the whole of `name`."""
    folded = (name or "").casefold()
    return any(fnmatchcase(folded, pattern.casefold()) for pattern in patterns)


def rules(series: "pyarrow.Table", species: Mapping[str, str], config: InventoryConfig) -> list[Rule]:
    """The rules that need no label, in the order they are asked. Raises UsageError for an unknown collection."""
    made: list[Rule] = []

    def add(reason: str, text: str, column: str, holds: Callable[[str | None], bool]) -> None:
        made.append(Rule(reason, text, where(series[column], holds)))

    if config.modalities:
        wanted = config.modalities
        add("modality", f"modality is not {' or '.join(wanted)}", "Modality", lambda v: matches(v, wanted))
    if config.images_only:
        add("no_image", "capture, raw data, report or mask", "SOPClassUID", lambda v: v in _IMAGE_CLASSES)
        add("colour", "colour, or no pixels", "PhotometricInterpretation", lambda v: v in _GREY)
    if config.original_only:
        add("analysis_result", "made from another series", "analysis_result_id", lambda v: v is None)
    if config.species:
        text = f"species is not {' or '.join(config.species)}"
        add("species", text, "collection_id", lambda v: matches(species.get(v or ""), config.species))
    if config.licences or config.exclude_licences:
        add("licence", _licence_text(config), "license_short_name", lambda v: _licence_fits(v, config))
    _collections(series, config, add)
    if config.manufacturers:
        text = f"manufacturer is not {' or '.join(config.manufacturers)}"
        add("manufacturer", text, "Manufacturer", lambda v: matches(v, config.manufacturers))
    return made + _sizes(series, config)


def _licence_text(config: InventoryConfig) -> str:
    parts = [f"not {' or '.join(config.licences)}"] if config.licences else []
    parts += [f"is {' or '.join(config.exclude_licences)}"] if config.exclude_licences else []
    return f"licence {', or '.join(parts)}"


def _licence_fits(name: str | None, config: InventoryConfig) -> bool:
    return (not config.licences or matches(name, config.licences)) and not matches(name, config.exclude_licences)


def _collections(series: "pyarrow.Table", config: InventoryConfig, add: Callable[..., None]) -> None:
    known = sorted(series["collection_id"].unique().to_pylist())
    for key in ("collections", "exclude_collections", "test_collections"):
        for pattern in getattr(config, key):
            if not any(matches(name, [pattern]) for name in known):
                near = difflib.get_close_matches(pattern, known, n=1, cutoff=0.5)
                hint = f"; did you mean {near[0]!r}?" if near else "; the index lists none of that name"
                raise UsageError(f"{key} names {pattern!r}, an unknown collection{hint}")
    wanted = [*config.collections, *config.published_collections]
    if wanted:
        add("collection", "collection is not asked for", "collection_id", lambda v: matches(v, wanted))
    if config.exclude_collections:
        excluded = config.exclude_collections
        add("excluded_collection", "collection is left out", "collection_id", lambda v: not matches(v, excluded))


def _sizes(series: "pyarrow.Table", config: InventoryConfig) -> list[Rule]:
    made = []
    counted = "num_slices" if "num_slices" in series.column_names else "instanceCount"
    slices, size_mb = series[counted].to_numpy(), series["series_size_MB"].to_numpy()
    for reason, text, limit, kept in (
        ("too_few_slices", "fewer slices than", config.min_slices, slices >= config.min_slices),
        ("too_many_slices", "more slices than", config.max_slices, slices <= config.max_slices),
        ("too_small", "fewer megabytes than", config.min_mb, size_mb >= config.min_mb),
        ("too_large", "more megabytes than", config.max_mb, size_mb <= config.max_mb),
    ):
        if limit:
            made.append(Rule(reason, f"{text} {limit:g}", kept))
    return made


def by_label(labelled: "pyarrow.Table", config: InventoryConfig) -> list[Rule]:
    """The rules that need labels: families left out, and with a draw the classes that are not drawn."""
    made = []
    if config.exclude_families:
        excluded = config.exclude_families
        made.append(
            Rule("family", f"is {' or '.join(excluded)}", where(labelled["family"], lambda v: v not in excluded))
        )
    if config.draw.series:
        wanted = config.draw.classes
        text = f"its text names no class of sequence{' that is drawn' if wanted else ''}"
        made.append(Rule("class", text, where(labelled["sequence"], lambda v: v is not None and v in (wanted or [v]))))
    return made


def first_broken(made: Iterable[Rule], num_rows: int) -> np.ndarray:
    """str [rows]: the reason of the first rule that each row breaks, KEPT where it breaks none."""
    reasons = np.full(num_rows, KEPT, dtype="<U32")
    for rule in made:
        reasons[(reasons == KEPT) & ~rule.kept] = rule.reason
    return reasons


def gone(index: "pyarrow.Table", config: InventoryConfig) -> list[str]:
    """The published collections that the index no longer holds, in the order of the config."""
    known = index["collection_id"].unique().to_pylist()
    return [name for name in config.published_collections if not any(matches(one, [name]) for one in known)]


def emptied(index: "pyarrow.Table", config: InventoryConfig) -> list[str]:
    """The published collections that the index holds without a series of the modalities asked for (a collection whose
    radiology was withdrawn keeps its pathology)."""
    mask = where(index["Modality"], lambda v: not config.modalities or matches(v, config.modalities))
    left = index["collection_id"].filter(mask).unique().to_pylist()
    absent = set(gone(index, config))
    return [n for n in config.published_collections if n not in absent and not any(matches(one, [n]) for one in left)]
