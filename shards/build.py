"""The driver: archive → shard set. Run again, it builds what is missing; finished, it says so.

Order of writing: private inventory, plan.parquet, run.json; shards; labels.parquet, ledger.parquet, ATTRIBUTION, and
index.json last. No index.json = not finished; one that quotes other inputs than run.json is of before an extension.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from radnet import store
from radnet.errors import UsageError
from radnet.shards import actors, begun, intake, kept, ledger, overrides, planfile, tables
from radnet.shards.cluster import refuse_unshared
from radnet.shards.config import ShardConfig, check
from radnet.shards.fetch import clear_left
from radnet.shards.hashes import with_hashes
from radnet.shards.inventory import Entry
from radnet.shards.ledger import Code, LedgerRow, Status
from radnet.shards.listing import Listing, list_sources
from radnet.shards.overrides import EVERY_CLASS, Overrides
from radnet.shards.plan import SPLITS, Plan, ShardJob, plan
from radnet.shards.privacy import PrivacyKey, load_key
from radnet.shards.progress import Progress
from radnet.shards.sample import BuildTask, Recipe, build_shard, ledger_row, probe
from radnet.shards.sigterm import sigterm_means_again
from radnet.shards.write import Sidecar, finished
from radnet.urls import is_local, shown

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


@dataclass(frozen=True)
class _Run:
    """One call of `build`. out: as `begun.absolute`. is_far: something lies on a store. still_owner: raises UsageError
    where another driver took over."""

    config: ShardConfig
    out: str
    private: Path
    key: PrivacyKey
    listings: list[Listing]
    is_far: bool
    prints: dict[str, str]
    corrections: Overrides
    say: Say
    still_owner: Callable[[], None]


def build(config: ShardConfig, say: Say, extend: bool = False) -> Totals:
    """Build, or finish, the shard set that a configuration describes.

    say: takes lines of progress. extend: series that the sources have got since are added, as new shards; without it
    changed sources are refused. Raises UsageError in one line for configurations and sources that make no shard set,
    for an output begun with other inputs, by another program or held by another driver, and for what the machine does:
    full disks, sources or stores that are away, no memory. Then nothing half-read counts as read, and another run goes
    on.
    """
    check(config)
    out = begun.absolute(config.out)
    private = begun.private_folder(out, config.privacy.folder)
    key = load_key(config.privacy.key)
    corrections = overrides.read(config.overrides, EVERY_CLASS) if config.overrides else Overrides()
    with sigterm_means_again(), _refusing_what_the_machine_does(out):
        listings = list_sources(config, key)
        begun.refuse_foreign(out, private)
        private.mkdir(parents=True, exist_ok=True)
        private.chmod(0o700)
        with begun.only_driver(out) as still_owner:
            prints = begun.fingerprints(listings, config, key)
            is_far = not is_local(out) or any(not is_local(one.files[0]) for one in listings if one.files)
            run = _Run(config, out, private, key, listings, is_far, prints, corrections, say, still_owner)
            is_new, is_grown = _compare(run, extend)
            if not is_new and not is_grown and (done := _finished_totals(run)) is not None:
                by_hand = "; for overrides run radnet relabel" if config.overrides else ""
                say(f"{shown(out)} is finished; nothing to do{by_hand}")
                return done
            before = tables.labels_before(out)  # of the set that grows, or is mended
            if _is_finished(out, prints):
                store.remove(store.join(out, "index.json"))  # for what has an index counts as finished
            _clear_leftovers(run)
            with actors.session(config.num_workers, config.address) as num_workers:
                refuse_unshared(out, config)
                entries = _entries(run, num_workers)
                listings.clear()  # the entries hold the names too, packed
                corrections.refuse_unknown(entry.key for entry in entries)
                planned = _plan(run, entries, is_new, is_grown)
                _build_shards(run, planned, entries, num_workers)
            _clear_leftovers(run)  # of workers that died
            return _finish(run, planned, entries, before)


@contextmanager
def _refusing_what_the_machine_does(out: str) -> Iterator[None]:
    """A full disk or a source that is away is the user's to mend; it also surfaces from workers, as the same error."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or (os.strerror(error.errno) if error.errno else type(error).__name__)
        raise UsageError(
            f"cannot read the sources or write to {shown(out)}: {reason}; mend that and run again"
        ) from None
    except MemoryError:
        raise UsageError("a process ran out of memory; lower num_workers or max_voxels and run again") from None


def _compare(run: _Run, extend: bool) -> tuple[bool, bool]:
    """Whether the set is new, and whether its sources changed. Raises UsageError that says what may not change."""
    before = begun.read(run.out)
    if before is None:
        return True, False
    changed = begun.changes(before, run.prints, run.config)
    is_grown = begun.sources_changed(before, run.prints)
    if is_grown and not extend:
        changed.append("files of the sources were added, removed or replaced, or are called another collection")
    if changed:
        hint = "; --extend adds new series" if is_grown and len(changed) == 1 and not extend else ""
        raise UsageError(
            f"{shown(run.out)} was begun with other inputs: {'; '.join(changed)}; change it back or name a new "
            f"folder as out{hint}"
        )
    if is_grown and not _is_finished(run.out, before.prints):
        raise UsageError(
            f"{shown(run.out)} is not finished; finish it with the sources it was begun with, then extend it"
        )
    return False, is_grown


def _is_finished(out: str, prints: Mapping[str, str]) -> bool:
    if not store.exists(store.join(out, "index.json")):
        return False
    return all(store.read_index(out).fingerprints.get(name) == prints[name] for name in begun.PUBLIC_PRINTS)


def _finished_totals(run: _Run) -> Totals | None:
    """The totals, if all that the index names is there."""
    if not _is_finished(run.out, run.prints):
        return None  # never finished, or of before an extension: readers may go on with that
    index, sizes = store.read_index(run.out), store.sizes(run.out)
    tars = {info.name: info.num_bytes for shards in index.splits.values() for info in shards}
    needed = ["labels.parquet", "ledger.parquet", "ATTRIBUTION", begun.PLAN]
    needed += [f"{name}.{suffix}" for name in tars for suffix in ("idx", "json")]
    is_whole = all(name in sizes for name in needed)
    is_whole = is_whole and all(sizes.get(f"{name}.tar") == num_bytes for name, num_bytes in tars.items())
    has_totals = index.totals.keys() == {*Status, "num_bytes"} and all(type(n) is int for n in index.totals.values())
    return Totals(**index.totals) if is_whole and has_totals else None


def _clear_leftovers(run: _Run) -> None:
    for folder in (Path(run.out), run.private):
        if folder.is_dir():
            store.clear_leftovers(folder)
    clear_left(Path(tempfile.gettempdir()))


def _entries(run: _Run, num_workers: int) -> list[Entry]:
    """The inventory: as an earlier run of the same inputs left it, else read anew."""
    made_of = kept.made_of(run.out, run.private, run.prints, run.listings)
    entries = kept.load(run.private, made_of)
    if entries is None:
        entries = intake.read_entries(run.listings, run.key, num_workers, run.say)
        entries = with_hashes(entries, num_workers, run.say)
        kept.save(run.private, entries, made_of)
    return entries


def _plan(run: _Run, entries: Sequence[Entry], is_new: bool, is_grown: bool) -> Plan:
    """The plan of the set: the one it was begun with, with more shards where it grew. Written before run.json."""
    if not is_new and not is_grown:
        planned = planfile.read(run.out, run.config).plan
        _refuse_others(run, planned, entries)
        return planned
    before = None
    if is_grown:
        written = planfile.read(run.out, run.config)
        planfile.refuse_changes(written, entries, run.key)
        before = written.plan
    made = plan(entries, run.config, before)
    run.still_owner()
    planfile.write(run.out, made, {entry.key: entry for entry in entries}, run.key)
    begun.write(run.out, run.prints, run.config)
    if is_grown:
        run.say(f"{made.num_series - before.num_series} new series in {len(made.jobs) - len(before.jobs)} new shards")
    return made


def _refuse_others(run: _Run, planned: Plan, entries: Sequence[Entry]) -> None:
    """Raise UsageError where the plan is of other series than those read now, and have them read anew next time."""
    wanted = {key for job in planned.jobs for key in job.series_keys} | planned.refused.keys()
    found = {entry.key for entry in entries if entry.code == Code.OK}
    if wanted != found:
        kept.drop(run.private)
        raise UsageError(
            f"of the series that {shown(run.out)} was planned with {len(wanted - found)} are read as others or as none "
            f"now, and {len(found - wanted)} are new; run again with the radnet it was begun with, or name a new folder"
        )


def _build_shards(run: _Run, planned: Plan, entries: Sequence[Entry], num_workers: int) -> None:
    config, by_key = run.config, {entry.key: entry for entry in entries}
    sizes = store.sizes(run.out)
    missing = [job for job in planned.jobs if finished(run.out, job.name, job.fingerprint, sizes) is None]
    if len(missing) < len(planned.jobs):
        run.say(f"{len(planned.jobs) - len(missing)} of {len(planned.jobs)} shards are there already")
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
            items=[replace(by_key[key], private=()) for key in job.series_keys],
            split=job.split,
            stem=store.join(run.out, job.name),
            mark=job.fingerprint,
            recipe=recipe,
        )
        for job in missing
    )
    num_series = sum(len(job.series_keys) for job in missing)
    progress = Progress(len(missing), num_series, run.say)
    # A series from far away takes its time; only what never comes back is taken for dead.
    limit_s = 6 * actors.LIMIT_S if run.is_far else actors.LIMIT_S
    for built in actors.run(tasks, build_shard, probe, num_workers, limit_s):
        run.still_owner()
        progress.add(built)


def _finish(run: _Run, planned: Plan, entries: Sequence[Entry], before: Mapping[str, dict[str, Any]]) -> Totals:
    """Tables, attribution, and index.json last. before: what the labels were when the set was finished before."""
    sizes = store.sizes(run.out)
    sidecars = {job.name: _sidecar(run, job, sizes) for job in planned.jobs}
    ledger_rows = [row for sidecar in sidecars.values() for row in sidecar.ledger]
    for entry in entries:
        if entry.code != Code.OK:
            ledger_rows.append(ledger_row(entry, entry.code, entry.detail))
        elif entry.key in planned.refused:
            ledger_rows.append(ledger_row(entry, *planned.refused[entry.key]))
    run.still_owner()
    labels = [row | before.get(row["key"], {}) for sidecar in sidecars.values() for row in sidecar.labels]
    labels = [run.corrections.apply(row["key"], row) for row in labels]
    hashes = {
        "labels.parquet": tables.write_labels(store.join(run.out, "labels.parquet"), labels),
        "ledger.parquet": ledger.write(store.join(run.out, "ledger.parquet"), ledger_rows),
        begun.PLAN: store.sha256(store.join(run.out, begun.PLAN)),
        "ATTRIBUTION": tables.write_attribution(store.join(run.out, "ATTRIBUTION"), ledger_rows, entries),
    }
    splits: dict[str, list[store.ShardInfo]] = {split: [] for split in SPLITS}
    for job in planned.jobs:
        if sidecars[job.name].info.num_samples:
            splits[job.split].append(sidecars[job.name].info)
    num_bytes = sum(info.num_bytes for shards in splits.values() for info in shards)
    totals = ledger.totals(ledger_rows) | {"num_bytes": num_bytes}
    prints = {name: run.prints[name] for name in begun.PUBLIC_PRINTS}
    run.still_owner()
    store.write_index(run.out, store.Index(run.config.codec, splits, prints, totals, hashes))
    for line in ledger.summary(ledger_rows):
        run.say(line)
    return Totals(**totals, failures=_failures(ledger_rows, entries))


def _sidecar(run: _Run, job: ShardJob, sizes: Mapping[str, int]) -> Sidecar:
    sidecar = finished(run.out, job.name, job.fingerprint, sizes)
    if sidecar is None:
        raise UsageError(f"shard {job.name} vanished from {shown(run.out)} while it was being finished; run again")
    return sidecar


def _failures(ledger_rows: Sequence[LedgerRow], entries: Sequence[Entry]) -> tuple[tuple[str, Code, str], ...]:
    failed = {row.series_key: row for row in ledger_rows if row.status == Status.FAILED}
    return tuple(
        (Path(entry.unpack().files[0]).name, failed[entry.key].code, failed[entry.key].detail)
        for entry in entries
        if entry.key in failed
    )
