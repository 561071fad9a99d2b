"""Audit a folder of DICOM: what every series is, how sure that is and why, and whether it is a usable volume.

    radnet label FOLDER --out DIR [--taxonomy paper|extended] [--keep-uids] [--overrides FILE.csv] [--diff OLD]
    radnet label --out DIR --diff OLD

Writes DIR/labels.csv and DIR/labels.parquet, one row per stack of slices and at least one per series, and the page
DIR/index.html. FOLDER is only read; it needs no network, and nothing leaves this machine.

columns:
  series_key         keyed hash of the series; -N behind it for the Nth further stack of the series
  folder             keyed hash of the folder; with --keep-uids the path inside FOLDER
  files, slices      whole numbers
  status, code       ok (a volume that was read and checked), excluded (by rule) or failed (damaged), and which rule
  reason             what that means and what to do, with the numbers behind it; empty where ok
  modality           as in the header; other for a word that is none of the standard
  sequence           a class of the taxonomy
  view               axial, coronal or sagittal; obliquity_deg: from the nearest of them
  contrast           yes or no
  coverage           regions of the body joined by ";"; none where it is known to hold none of them
  spacing_mm         between slices, from their positions
  NAME_confidence    0 to 1, and NAME_evidence: the tags and the rule, for each of the five labels
Empty means unknown or outside the taxonomy. Behind these: stack, family and technique (from which a taxonomy makes its
sequence), notes on what was left out of a volume, the version of the rules; with --keep-uids series_uid and file.

overrides: a CSV file with the columns series_key,label,value,who,why. label is one of sequence, view, contrast,
coverage, spacing_mm; value as above, or unknown. It wins over the rules and is recorded as a human's.

Names of patients, folders and files do not leave unless you ask with --keep-uids. The pictures of the page show
anatomy; --pictures 0 leaves them out. Leaves with 0 when all is well, 2 for a mistake in usage or input, 8 when some
series are damaged.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from radnet import __version__, store
from radnet.errors import FINISHED_WITH_FAILURES, OK, UsageError
from radnet.shards.packed import how_to_unpack

OWN = ("labels.parquet", "labels.csv", "index.html", "diff.csv")
KEY = "~/.config/radnet/privacy.key"
MAX_PICTURES = 24
SHOWN_CHANGES = 20


def main(argv: list[str]) -> int:
    """Run the program; returns its exit code. Raises UsageError for a user's mistake."""
    arguments = _parse(argv)
    out = Path(os.path.realpath(arguments.out))
    if arguments.folder is None:
        return _compare_finished(out, arguments.diff)
    _refuse_places(arguments.folder, out, arguments.out)
    return _audit(arguments, out)


def _parse(argv: list[str]) -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="radnet label", description=__doc__, formatter_class=raw)
    add = parser.add_argument
    add("folder", metavar="FOLDER", nargs="?", help="folder of DICOM files, searched recursively")
    add("--out", required=True, metavar="DIR", help="new folder, or one of an earlier audit, which is replaced")
    add("--taxonomy", choices=("paper", "extended"), default="paper", help="classes of sequence (default paper: five)")
    add("--keep-uids", action="store_true", help="keep series UIDs, folder and file names; the files are then private")
    add("--overrides", metavar="FILE.csv", help="labels set by hand, which win")
    add("--diff", metavar="OLD", help="earlier audit (folder or labels.parquet); DIR/diff.csv says what changed")
    add("--min-slices", type=int, default=16, metavar="N", help="fewer slices are excluded (default 16)")
    add("--key", default=KEY, metavar="FILE", help=f"key that hashes names, made on first use (default {KEY})")
    add(
        "--pictures",
        type=int,
        default=MAX_PICTURES,
        metavar="N",
        help="least certain series shown (0 to 24, default 24)",
    )
    add("--workers", type=int, default=0, metavar="N", help="processes that read at once (default 0: every core)")
    arguments = parser.parse_args(argv)
    if arguments.folder is None and arguments.diff is None:
        raise UsageError("no FOLDER given; name a folder of DICOM files, or compare two audits with --out and --diff")
    if arguments.min_slices < 1 or arguments.workers < 0:
        raise UsageError("--min-slices must be at least 1 and --workers at least 0")
    if not 0 <= arguments.pictures <= MAX_PICTURES:
        raise UsageError(f"--pictures is {arguments.pictures}, expected 0 to {MAX_PICTURES}")
    return arguments


def _refuse_places(folder: str, out: Path, given: str) -> None:
    """Raise UsageError where FOLDER is none, or DIR is not ours to write to, before anything is read."""
    source = Path(os.path.realpath(folder))
    if not source.exists():
        raise UsageError(f"{folder!r} does not exist; name a folder of DICOM files")
    if not source.is_dir():
        how = how_to_unpack(source)
        hint = f"unpack it and name the folder, for example with: {how}" if how else "name one"
        raise UsageError(f"{folder!r} is a file, expected a folder of DICOM files; {hint}")
    if out.is_relative_to(source) or source.is_relative_to(out):
        raise UsageError(f"FOLDER {folder!r} and --out {given!r} lie in each other; keep them apart")
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {given!r} is a file, expected a new folder")
    if out.is_dir():
        others = [path for path in out.iterdir() if path.name not in OWN and not store.is_leftover(path)]
        if others or (any(out.iterdir()) and not (out / "labels.parquet").is_file()):
            raise UsageError(f"--out {given!r} is not empty and not an earlier audit; name a new folder")


def _audit(arguments: argparse.Namespace, out: Path) -> int:
    from radnet.audit_page import audit_page, least_certain
    from radnet.labels.taxonomy import taxonomy
    from radnet.shards import audit, audit_diff, audit_table, overrides
    from radnet.shards.ledger import REMEDY
    from radnet.shards.privacy import load_key

    chosen = taxonomy(arguments.taxonomy)
    corrections = overrides.read(arguments.overrides, chosen) if arguments.overrides else overrides.Overrides()
    key = load_key(arguments.key)
    marked = audit_table.mark(chosen.name, key.fingerprint)
    before = None
    if arguments.diff is not None:
        before = audit_table.read(arguments.diff)
        audit_diff.refuse_other_kind(before[1], marked)
    if out.is_dir() and (out / "labels.parquet").exists():
        audit_table.read(str(out))  # what is there must be an audit, for it is about to be replaced
    start = time.monotonic()
    settings = audit.Settings(arguments.folder, chosen, arguments.keep_uids, arguments.min_slices, arguments.workers)
    with _made(out):
        found = audit.audit(settings, key, corrections, lambda rows: least_certain(rows, arguments.pictures), _say)
    store.clear_leftovers(out)
    mode = 0o600 if arguments.keep_uids else 0o644
    (out / "diff.csv").unlink(missing_ok=True)  # of the audit that is replaced
    lines = None if before is None else _write_diff(out, before, (found.rows, marked), mode)
    audit_table.write(out, found.rows, marked, mode)
    facts = _facts(arguments, found, marked, time.monotonic() - start)
    content = audit_page(found.rows, facts, chosen, REMEDY, found.pictures, lines)
    store.write_atomic(str(out / "index.html"), content.encode(), mode)
    return _report(out, found.rows, time.monotonic() - start, arguments.keep_uids)


@contextmanager
def _made(out: Path) -> Iterator[None]:
    """DIR, made before hours are spent; gone again where there is nothing to write."""
    was_there = out.is_dir()
    out.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if not was_there:
            out.rmdir()
        raise


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _facts(
    arguments: argparse.Namespace, found: Any, marked: Mapping[str, str], seconds: float
) -> list[tuple[str, str]]:
    """What was run; the folder's name only where names are kept."""
    facts = [("Folder", str(arguments.folder))] if arguments.keep_uids else []
    names = "kept: this page is private" if arguments.keep_uids else "replaced by keyed hashes"
    made = f"radnet {__version__}, rules {marked['rules_version']}, {time.strftime('%Y-%m-%d %H:%M')}, {seconds:.0f} s"
    return [
        *facts,
        ("Files", f"{found.num_files:,}"),
        ("Usable from", f"{arguments.min_slices} slices"),
        ("Names", names),
        ("Made by", made),
    ]


def _write_diff(
    out: Path,
    old: tuple[Sequence[Mapping[str, Any]], Mapping[str, str]],
    new: tuple[Sequence[Mapping[str, Any]], Mapping[str, str]],
    mode: int,
) -> list[str]:
    """Write diff.csv, print what changed, return the lines of the summary. old, new: rows and mark of an audit."""
    from radnet.shards import audit_diff, audit_table

    changes = audit_diff.compare(old[0], new[0])
    store.write_atomic(str(out / "diff.csv"), audit_table.to_csv(changes, audit_diff.COLUMNS), mode)
    lines = audit_diff.summary(changes, old[1], new[1])
    print("\n".join(lines))
    for change in changes[:SHOWN_CHANGES]:
        before, after = (
            f"{audit_diff.shown(change[name])} [{change[f'{name}_evidence'] or ''}]" for name in ("old", "new")
        )
        print(f"  {change['series_key']} {change['change']} {change['label']}: {before} → {after}")
    if len(changes) > SHOWN_CHANGES:
        print(f"  {len(changes) - SHOWN_CHANGES} more are in {out / 'diff.csv'}")
    return lines


def _compare_finished(out: Path, old: str) -> int:
    """Compare two audits that are there."""
    from radnet.shards import audit_diff, audit_table

    new, before = audit_table.read(str(out)), audit_table.read(old)
    audit_diff.refuse_other_kind(before[1], new[1])
    mode = (out / "labels.parquet").stat().st_mode & 0o777
    _write_diff(out, before, new, mode)
    return OK


def _report(out: Path, rows: Sequence[Mapping[str, Any]], seconds: float, keeps_names: bool) -> int:
    """Print what was found and where it lies; returns the exit code."""
    counts = Counter(row["status"] for row in rows)
    rate = 60 * len(rows) / max(seconds, 1e-9)
    print(
        f"{out}: {counts['ok']} usable volumes, {counts['excluded']} excluded, {counts['failed']} failed, "
        f"{seconds:.1f} s, {rate:.0f} a minute; open {out / 'index.html'}"
    )
    if counts["failed"] and not keeps_names:
        print("names are hashed; with --keep-uids the tables name folder and file", file=sys.stderr)
    return FINISHED_WITH_FAILURES if counts["failed"] else OK


if __name__ == "__main__":
    from radnet.launch.cli import run

    run(main)
