"""A folder of DICOM, local or behind any fsspec URL, as a corpus: its headers are read as `radnet shard` reads them."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radnet import labels
from radnet.errors import UsageError
from radnet.shards import actors, intake, listing, packed
from radnet.shards.inventory import Origin, Row
from radnet.shards.inventory.columns import tuples
from radnet.shards.inventory.corpus import Corpus, Draft, finish, refuse_empty
from radnet.shards.inventory.division import Patients
from radnet.shards.inventory.options import ListedConfig
from radnet.shards.inventory.select import KEPT, Rule, rules
from radnet.shards.inventory.text import findings, to_columns
from radnet.shards.ledger import REMEDY, Code
from radnet.shards.privacy import load_key
from radnet.shards.public import public_header
from radnet.urls import shown

if TYPE_CHECKING:
    import pyarrow

Say = Callable[[str], None]
NAMES = ("series_key", "study_key", "patient_key")
_TEXTS = "collection_id Modality Manufacturer SOPClassUID PhotometricInterpretation license_short_name".split()


def from_folder(folder: Path, config: ListedConfig, out: Path, say: Say) -> Corpus:
    """The corpus of a local folder. Raises UsageError for packed files, an `out` inside it, or no DICOM in it."""
    here, there = Path(os.path.realpath(folder)), Path(os.path.realpath(out))
    if there.is_relative_to(here):
        raise UsageError(f"--out {out} lies inside the source {folder}; keep them apart")
    return _from_listing(listing.of_folder(str(here), _origin(config)), str(folder), config, say)


def from_url(url: str, config: ListedConfig, say: Say) -> Corpus:
    """The corpus of a folder behind an fsspec URL, of which the headers are fetched.

    Raises UsageError where the URL cannot be listed, holds packed files, or no file of it is DICOM.
    """
    return _from_listing(listing.of_url(url, _origin(config)), shown(url), config, say)


def _origin(config: ListedConfig) -> Origin:
    return Origin(config.collection, config.licence)


def _from_listing(listed: listing.Listing, name: str, config: ListedConfig, say: Say) -> Corpus:
    packed.refuse({file: packed.how_to_unpack(file) for file in listed.files})
    key = load_key(config.privacy.key)
    with actors.session(config.num_workers, "") as num_workers:
        rows = intake.read_rows([listed], key, num_workers, say)
    return from_rows(rows, config, [f"{name}: {len(listed.files):,} files, {len(rows):,} series or files of none"])


def from_rows(rows: Sequence[Row], config: ListedConfig, notes: Sequence[str]) -> Corpus:
    """The corpus of an inventory's rows: keyed hashes for names, no free text, labels from the whole header.

    Raises UsageError where a file turned out to be packed, whatever its name.
    """
    packed.refuse({row.files[0]: packed.how_of(row.detail) for row in rows})
    rows = sorted(rows, key=lambda row: row.key)
    found = [findings(row.header, labels.TAXONOMIES[config.taxonomy]) for row in rows]
    table = _table(rows)
    labelled = to_columns(found, np.arange(len(rows)))
    for name in labelled.column_names:
        table = table.append_column(name, labelled[name])
    numbers, keys = tuples([table["patient_key"]])
    who = Patients(numbers, [key for (key,) in keys])
    draft = Draft(table.drop_columns(["patient_key"]), NAMES, who, np.full(len(rows), KEPT, "<U32"), len(rows), {}, {})
    codes = np.array([str(row.code) for row in rows])
    for code in sorted(set(codes) - {str(Code.OK)}):
        draft.leave_out(Rule(code, REMEDY[Code(code)], codes != code))
    for rule in rules(table, {}, config):
        draft.leave_out(rule)
    refuse_empty(draft)
    return finish(draft, config, notes)


def _table(rows: Sequence[Row]) -> "pyarrow.Table":
    """The columns of an index that a folder knows, and those that only a folder knows."""
    import pyarrow

    headers = [public_header(row.header) for row in rows]
    columns: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in NAMES}
    columns["series_key"] = [row.key for row in rows]
    text = {name: [str(header.get(name) or "") or None for header in headers] for name in _TEXTS}
    text |= {"collection_id": [row.collection for row in rows], "license_short_name": [row.licence for row in rows]}
    text |= {"analysis_result_id": [None] * len(rows), "TransferSyntaxUID": [None] * len(rows)}
    columns |= {name: pyarrow.array(values, pyarrow.large_string()) for name, values in text.items()}
    sizes = [row.num_bytes / 1e6 * row.num_files / len(row.files) for row in rows]  # its share of shared files
    slices = [int(row.header.get("num_slices") or 0) for row in rows]
    columns |= {
        "instanceCount": pyarrow.array([row.num_files for row in rows], pyarrow.int64()),
        "num_slices": pyarrow.array(slices, pyarrow.int64()),
        "series_size_MB": pyarrow.array(sizes, pyarrow.float64()),
        "voxel_bytes": pyarrow.array([float(row.num_voxel_bytes) for row in rows], pyarrow.float64()),
        "detail": pyarrow.array([row.detail for row in rows], pyarrow.large_string()),
    }
    return pyarrow.table(columns)
