"""Labels of a table of series from its text and the site of its collection: read once for each distinct text."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import repeat
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import numpy as np

from radnet import labels
from radnet.labels.finding import Finding
from radnet.shards.inventory import columns

if TYPE_CHECKING:
    import pyarrow

LABELS = ("family", "technique", "sequence", "view", "contrast", "coverage")
_KEYWORDS = ("Modality", "SOPClassUID", "SeriesDescription", "StudyDescription", "BodyPartExamined")
_TEXTS_PER_CHUNK = 4096
_MAX_PROCESSES = 8


def findings(header: Mapping[str, Any], taxonomy: labels.Taxonomy) -> dict[str, Finding]:
    """The findings of LABELS for one header."""
    found = labels.read(header)
    named = {name: getattr(found, name) for name in LABELS if name != "sequence"}
    return named | {"sequence": taxonomy.sequence_finding(found)}


def label_columns(series: "pyarrow.Table", sites: Mapping[str, str], taxonomy: str) -> "pyarrow.Table":
    """NAME, NAME_confidence and NAME_evidence for LABELS, row by row of `series`; unknown is null.

    series: the columns of the index. sites: the site of disease of each collection.
    """
    import pyarrow

    numbers, names = columns.codes(series["collection_id"])
    site = columns.spread([sites.get(name) for name in names], numbers, pyarrow.large_string())
    numbers, texts = columns.tuples([*(series[keyword] for keyword in _KEYWORDS), site])
    return to_columns(_read_all(texts, taxonomy), numbers)


def _read_all(texts: Sequence[tuple[str | None, ...]], taxonomy: str) -> list[dict[str, Finding]]:
    chunks = [texts[at : at + _TEXTS_PER_CHUNK] for at in range(0, len(texts), _TEXTS_PER_CHUNK)]
    num_processes = min(len(chunks), os.cpu_count() or 1, _MAX_PROCESSES)
    if len(chunks) > 2 and num_processes > 1:  # below that starting processes costs more than they save
        try:
            with ProcessPoolExecutor(num_processes, get_context("spawn")) as pool:
                return [one for chunk in pool.map(_read_chunk, chunks, repeat(taxonomy)) for one in chunk]
        except BrokenProcessPool:
            pass  # a script without a main guard, or a machine out of memory: the same work in this process
    return [one for chunk in chunks for one in _read_chunk(chunk, taxonomy)]


def _read_chunk(texts: Sequence[tuple[str | None, ...]], taxonomy: str) -> list[dict[str, Finding]]:
    keywords, rules = (*_KEYWORDS, "collection_site"), labels.TAXONOMIES[taxonomy]
    return [findings({k: v for k, v in zip(keywords, text, strict=True) if v}, rules) for text in texts]


def to_columns(found: list[dict[str, Finding]], numbers: np.ndarray) -> "pyarrow.Table":
    """The columns of `label_columns` where row r has the findings found[numbers[r]]."""
    import pyarrow

    made: dict[str, pyarrow.DictionaryArray] = {}
    for name in LABELS:
        one = [by_name[name] for by_name in found]
        values = [_flat(finding.value) for finding in one]
        made[name] = columns.spread(values, numbers, pyarrow.large_string())
        made[f"{name}_confidence"] = columns.spread([f.confidence for f in one], numbers, pyarrow.float64())
        made[f"{name}_evidence"] = columns.spread([f.evidence for f in one], numbers, pyarrow.large_string())
    return pyarrow.table(made)


def _flat(value: Any) -> Any:
    return ";".join(value) if isinstance(value, tuple) else value
