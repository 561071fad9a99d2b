"""A folder of DICOM, local or behind any fsspec URL, as a corpus: its headers are read as `radnet shard` reads them."""

import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radnet import labels
from radnet.errors import UsageError
from radnet.shards import actors, intake, packed
from radnet.shards.config import SourceConfig
from radnet.shards.dicom import read_header
from radnet.shards.inventory import Archive, group_all, list_files
from radnet.shards.inventory.columns import tuples
from radnet.shards.inventory.corpus import Corpus, Draft, finish, refuse_empty
from radnet.shards.inventory.division import Patients
from radnet.shards.inventory.options import ListedConfig
from radnet.shards.inventory.row import Row
from radnet.shards.inventory.select import KEPT, Rule, rules
from radnet.shards.inventory.text import findings, to_columns
from radnet.shards.ledger import REMEDY, Code
from radnet.shards.plan import estimate_bytes
from radnet.shards.privacy import load_key
from radnet.shards.public import public_header
from radnet.shards.record import FileRecord

if TYPE_CHECKING:
    import pyarrow

Say = Callable[[str], None]
NAMES = ("series_key", "study_key", "patient_key")
_FILES_PER_CHUNK = 32
_TEXTS = "collection_id Modality Manufacturer SOPClassUID PhotometricInterpretation license_short_name".split()


def from_folder(folder: Path, config: ListedConfig, out: Path, say: Say) -> Corpus:
    """The corpus of a local folder. Raises UsageError for packed files, an `out` inside it, or no DICOM in it."""
    here, there = Path(os.path.realpath(folder)), Path(os.path.realpath(out))
    if there.is_relative_to(here):
        raise UsageError(f"--out {out} lies inside the source {folder}; keep them apart")
    files = list_files(str(here))
    packed.refuse({file: packed.how_to_unpack(file) for file in files})
    key = load_key(config.privacy.key)
    source = SourceConfig(str(folder), "dicom", config.collection, config.licence)
    with actors.session(config.num_workers, "") as num_workers:
        rows = intake.read_rows([intake.Listing(source, files, [])], key, num_workers, say)
    return from_rows(rows, config, [f"{folder}: {len(files):,} files, {len(rows):,} series or files of none"])


def from_url(url: str, config: ListedConfig, say: Say) -> Corpus:
    """The corpus of a folder behind an fsspec URL; every file is fetched once, for a header gives no length.

    Raises UsageError where the URL cannot be listed, holds packed files, or no file of it is DICOM.
    """
    sizes = list_url(url)
    packed.refuse({url: packed.how_to_unpack(url) for url in sizes})
    say(f"{len(sizes):,} files, {sum(sizes.values()) / 1e9:.2f} GB to fetch for their headers")
    key = load_key(config.privacy.key)
    records = _fetch_all(list(sizes), config, say)
    rows = group_all([Archive(records, config.collection, config.licence)], key)
    if all(row.code == Code.NOT_DICOM for row in rows):
        raise UsageError(f"no DICOM file in {_shown(url)}; name a folder of DICOM files")
    return from_rows(rows, config, [f"{_shown(url)}: {len(sizes):,} files, {len(rows):,} series or files of none"])


def list_url(url: str) -> dict[str, int]:
    """URL → bytes of every file below `url`, sorted; -1 where the store does not say.

    Options of a store come from fsspec's own configuration, for example FSSPEC_S3_ANON=true for public buckets.
    Raises UsageError in one line where the protocol is unknown, needs another package, or nothing can be listed.
    """
    from fsspec.core import url_to_fs

    try:
        filesystem, inner = url_to_fs(url)
        found = filesystem.find(inner, detail=True)
    except (ImportError, ValueError) as error:
        raise UsageError(f"source {_shown(url)} cannot be opened ({' '.join(str(error).split())[:200]})") from None
    except Exception as error:  # stores raise their own kinds for a refusal, a wrong name, a dead network
        raise UsageError(f"source {_shown(url)} cannot be listed ({type(error).__name__}); check the URL") from None
    files = {filesystem.unstrip_protocol(name): info for name, info in found.items() if info.get("type") != "directory"}
    if not files:
        raise UsageError(f"source {_shown(url)} holds no file; check the URL")
    return {name: int(-1 if info.get("size") is None else info["size"]) for name, info in sorted(files.items())}


def _shown(url: str) -> str:
    """The URL without user and password."""
    return re.sub(r"://[^/@]*@", "://", url)


def read_remote(url: str) -> FileRecord:
    """`read_header` of a file behind a URL; a file that cannot be fetched is a record that says so."""
    from fsspec.core import url_to_fs

    with tempfile.TemporaryDirectory(prefix="radnet-") as folder:
        local = os.path.join(folder, "file")
        try:
            filesystem, inner = url_to_fs(url)
            filesystem.get_file(inner, local)
        except Exception as error:  # of any store
            return FileRecord(path=url, code=Code.UNREADABLE, detail=f"cannot be fetched ({type(error).__name__})")
        return replace(read_header(local), path=url, mtime_ns=0)


def _fetch_all(urls: Sequence[str], config: ListedConfig, say: Say) -> list[FileRecord]:
    if urls[0].startswith("memory://"):  # it exists in this process alone
        return [read_remote(url) for url in urls]
    done = 0

    def progress(num: int) -> None:
        nonlocal done
        done += num
        say(f"headers {done}/{len(urls)}")

    chunks = [urls[at : at + _FILES_PER_CHUNK] for at in range(0, len(urls), _FILES_PER_CHUNK)]
    crashed = FileRecord(path="", code=Code.DECODER_CRASH)
    with actors.session(config.num_workers, "") as num_workers:
        records = actors.run_tasks(read_remote, chunks, crashed, num_workers, progress)
    pairs = zip(urls, records, strict=True)
    return [one if one.path else FileRecord(path=url, code=one.code, detail=one.detail) for url, one in pairs]


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
        "voxel_bytes": pyarrow.array([float(estimate_bytes(row)) for row in rows], pyarrow.float64()),
        "detail": pyarrow.array([row.detail for row in rows], pyarrow.large_string()),
    }
    return pyarrow.table(columns)
