"""The driver: archive → shard set. Run again, it builds what is missing; finished, it says so.

Order of writing: private inventory, shards, labels.parquet, ledger.parquet, ATTRIBUTION, index.json. No index.json =
not finished.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from radnet import store
from radnet.errors import UsageError
from radnet.shards import actors, intake, ledger, overrides, tables
from radnet.shards.config import ShardConfig, check
from radnet.shards.inventory.row import Row
from radnet.shards.ledger import Code, LedgerRow, Status
from radnet.shards.overrides import EVERY_CLASS
from radnet.shards.plan import SPLITS, ShardJob, plan
from radnet.shards.privacy import load_key
from radnet.shards.sample import BuildTask, Built, Recipe, build_shard, ledger_row, probe
from radnet.shards.write import Sidecar, finished

Say = Callable[[str], None]


@dataclass(frozen=True)
class Totals:
    """What a shard set holds: series by status, bytes of all tars.

    failures: file, code and detail of failed series, for the local terminal only.
    """

    sharded: int
    excluded: int
    failed: int
    num_bytes: int
    failures: tuple[tuple[str, Code, str], ...] = ()


def build(config: ShardConfig, say: Say) -> Totals:
    """Build, or finish, the shard set that a configuration describes.

    say: takes lines of progress. Raises UsageError in one line for configurations and sources that make no shard set,
    for an output begun with other inputs, by another program or held by another driver, and for what the machine does:
    full disks, sources that are away, no memory. Then nothing half-read counts as read, and another run goes on.
    """
    check(config)
    out = Path(os.path.realpath(config.out))  # unlike resolve, it leaves links in a circle to whoever opens them
    key = load_key(config.privacy.key)
    corrections = overrides.read(config.overrides, EVERY_CLASS) if config.overrides else overrides.Overrides()
    with _refusing_what_the_machine_does(out):
        listings = intake.list_sources(config, key)
        intake.refuse_foreign(out)
        (out / intake.PRIVATE).mkdir(parents=True, exist_ok=True)
        (out / intake.PRIVATE).chmod(0o700)
        with _only_driver(out):
            prints = intake.fingerprints(listings, config, key)
            intake.refuse_changes(out, prints, config)
            if (done := _finished_totals(out)) is not None:
                say(f"{out} is finished; nothing to do")
                return done
            _clear_leftovers(out)
            with actors.session(config.num_workers, config.address) as num_workers:
                rows = intake.saved_rows(out, listings)
                if rows is None:
                    rows = intake.read_rows(listings, key, num_workers, say)
                    intake.save(out, rows, prints, config)
                corrections.refuse_unknown(row.key for row in rows)
                jobs = plan(rows, config).jobs
                _build_shards(out, jobs, rows, config, num_workers, say)
            _clear_leftovers(out)  # of workers that died
            return _finish(out, jobs, rows, config, prints, corrections, say)


@contextmanager
def _refusing_what_the_machine_does(out: Path) -> Iterator[None]:
    """A full disk or a source that is away is the user's to mend; it also surfaces from workers, as the same error."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise UsageError(f"cannot read the sources or write to {out}: {reason}; mend that and run again") from None
    except MemoryError:
        raise UsageError("a process ran out of memory; lower num_workers or max_voxels and run again") from None


@contextmanager
def _only_driver(out: Path) -> Iterator[None]:
    with open(out / intake.PRIVATE / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another `radnet shard` is writing to {out}; wait for it or name a new folder as out"
            ) from None
        yield


def _finished_totals(out: Path) -> Totals | None:
    """The totals, if all that the index names is there; else it goes first: what has an index counts as finished."""
    if not (out / "index.json").exists():
        return None
    index = store.read_index(str(out))
    tars = {out / f"{info.name}.tar": info.num_bytes for shards in index.splits.values() for info in shards}
    needed = [out / "labels.parquet", out / "ledger.parquet"]
    needed += [tar.with_suffix(suffix) for tar in tars for suffix in (".idx", ".json")]
    is_whole = all(path.is_file() for path in needed) and all(
        tar.is_file() and tar.stat().st_size == num_bytes for tar, num_bytes in tars.items()
    )
    has_totals = index.totals.keys() == {*Status, "num_bytes"} and all(type(n) is int for n in index.totals.values())
    if is_whole and has_totals:
        return Totals(**index.totals)
    (out / "index.json").unlink()
    return None


def _clear_leftovers(out: Path) -> None:
    for folder in (out, out / intake.PRIVATE):
        store.clear_leftovers(folder)


def _build_shards(
    out: Path, jobs: Sequence[ShardJob], rows: Sequence[Row], config: ShardConfig, num_workers: int, say: Say
) -> None:
    by_key = {row.key: row for row in rows}
    missing = [job for job in jobs if finished(str(out / job.name), job.fingerprint) is None]
    if len(missing) < len(jobs):
        say(f"{len(jobs) - len(missing)} of {len(jobs)} shards are there already")
    recipe = Recipe(
        codec=config.codec,
        min_slices=config.min_slices,
        max_voxels=config.max_voxels,
        max_spacing_mm=config.max_spacing_mm,
        finest_mm=None if config.finest_mm is None else tuple(config.finest_mm),
        keep_free_text=config.keep_free_text,
        straighten=config.tilt == "resample",
    )
    tasks = (
        BuildTask(
            name=job.name,
            items=[by_key[key] for key in job.series_keys],
            split=job.split,
            stem=str(out / job.name),
            mark=job.fingerprint,
            recipe=recipe,
        )
        for job in missing
    )
    num_series = sum(len(job.series_keys) for job in missing)
    progress = _Progress(len(missing), num_series, say)
    for built in actors.run(tasks, build_shard, probe, num_workers):
        progress.add(built)


class _Progress:
    """Shards, series, slices and bytes so far, per second of wall clock."""

    def __init__(self, num_shards: int, num_series: int, say: Say) -> None:
        self.num_shards, self.num_series, self.say, self.start = num_shards, num_series, say, time.monotonic()
        self.shards = self.series = self.failed = self.slices = self.num_bytes = 0

    def add(self, built: Built) -> None:
        self.shards += 1
        self.series += built.num_series
        self.failed += built.num_failed
        self.slices += built.num_slices
        self.num_bytes += built.num_bytes
        seconds = time.monotonic() - self.start
        left = seconds * (self.num_series - self.series) / max(self.series, 1)
        self.say(
            f"{built.name}  shards {self.shards}/{self.num_shards}  series {self.series}/{self.num_series}  "
            f"{self.series / seconds:.1f} series/s  {self.slices / seconds:.0f} slices/s  "
            f"{self.num_bytes / seconds / 1e6:.1f} MB/s  {self.failed} failed  {left:.0f} s left"
        )


def _finish(
    out: Path,
    jobs: Sequence[ShardJob],
    rows: Sequence[Row],
    config: ShardConfig,
    prints: dict[str, str],
    corrections: overrides.Overrides,
    say: Say,
) -> Totals:
    """Tables, attribution, and index.json last."""
    sidecars: dict[str, Sidecar] = {}
    for job in jobs:
        sidecar = finished(str(out / job.name), job.fingerprint)
        if sidecar is None:
            raise UsageError(f"shard {job.name} vanished from {out} while it was being finished; run again")
        sidecars[job.name] = sidecar
    ledger_rows = [row for sidecar in sidecars.values() for row in sidecar.ledger]
    ledger_rows += [ledger_row(row, row.code, row.detail) for row in rows if row.code != Code.OK]
    labels = [corrections.apply(row["key"], row) for sidecar in sidecars.values() for row in sidecar.labels]
    hashes = {
        "labels.parquet": tables.write_labels(str(out / "labels.parquet"), labels),
        "ledger.parquet": ledger.write(str(out / "ledger.parquet"), ledger_rows),
        "ATTRIBUTION": tables.write_attribution(str(out / "ATTRIBUTION"), ledger_rows, rows),
    }
    splits: dict[str, list[store.ShardInfo]] = {split: [] for split in SPLITS}
    for job in jobs:
        if sidecars[job.name].info.num_samples:
            splits[job.split].append(sidecars[job.name].info)
    num_bytes = sum(info.num_bytes for shards in splits.values() for info in shards)
    totals = ledger.totals(ledger_rows) | {"num_bytes": num_bytes}
    index = store.Index(config.codec, splits, {name: prints[name] for name in intake.PUBLIC_PRINTS}, totals, hashes)
    store.write_index(str(out), index)
    for line in ledger.summary(ledger_rows):
        say(line)
    return Totals(**totals, failures=_failures(ledger_rows, rows))


def _failures(ledger_rows: Sequence[LedgerRow], rows: Sequence[Row]) -> tuple[tuple[str, Code, str], ...]:
    files = {row.key: row.files for row in rows}
    return tuple(
        (Path(files[row.series_key][0]).name, row.code, row.detail)
        for row in ledger_rows
        if row.status == Status.FAILED
    )
