"""What a shard set was begun with: run.json in it, and who may go on writing to it.

run.json holds fingerprints and settings, no name and no path, so that any machine can tell whether it would go on with
the same inputs.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radnet import store
from radnet.errors import UsageError
from radnet.seal import seal, unseal
from radnet.shards.config import ShardConfig, fingerprint, settings
from radnet.shards.listing import Listing
from radnet.shards.privacy import PrivacyKey
from radnet.urls import is_local, shown

RUN, PLAN = "run.json", "plan.parquet"
PRIVATE = "private"
PUBLIC_PRINTS = ("inventory", "config", "privacy_key")  # the fingerprints that index.json quotes
_OWN = ("lock", "inventory.parquet", "map.parquet")  # what radnet keeps in the private folder


@dataclass(frozen=True)
class Begun:
    """What run.json says. prints: see `fingerprints`."""

    prints: dict[str, str]
    settings: dict[str, Any]


def absolute(out: str) -> str:
    """`out` as every process finds it: a real path, or a URL without a slash at its end."""
    # Unlike resolve, realpath leaves links in a circle to whoever opens them.
    return os.path.realpath(out.removeprefix("file://")) if is_local(out) else out.rstrip("/")


def private_folder(out: str, chosen: str = "") -> Path:
    """Where names, the inventory and the lock lie: on this machine, whatever the store."""
    if chosen:
        return Path(chosen).expanduser()
    if is_local(out):
        return Path(absolute(out)) / PRIVATE
    state = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser()
    return state / "radnet" / f"{out.rstrip('/').rsplit('/', 1)[-1]}-{hashlib.sha256(out.encode()).hexdigest()[:12]}"


def fingerprints(listings: Sequence[Listing], config: ShardConfig, key: PrivacyKey) -> dict[str, str]:
    """What a shard set depends on: names and sizes of the files and where they come from, the settings, and the privacy
    key; under "times" when the files were modified, hashed so that it tells nobody anything."""
    names, times = hashlib.sha256(), hashlib.sha256()
    for listing in listings:
        names.update(json.dumps([listing.kind, *listing.origin.identity]).encode())
        skipped = len(listing.root.rstrip("/")) + 1 if listing.root else 0
        for file, (size, mtime_ns) in zip(listing.files, listing.stamps, strict=True):
            names.update(os.fsencode(f"{file[skipped:]}\0{size}\n"))
            times.update(b"%d\n" % mtime_ns)
    return {
        "inventory": names.hexdigest(),
        "config": fingerprint(settings(config)),
        "privacy_key": key.fingerprint,
        "times": key.hash("times", times.hexdigest()),
    }


def write(out: str, prints: dict[str, str], config: ShardConfig) -> None:
    """Write run.json: from now on the set is begun."""
    content = {"schema": store.SCHEMA, "fingerprints": prints, "settings": settings(config)}
    store.write_atomic(store.join(out, RUN), seal(content))


def read(out: str) -> Begun | None:
    """What the set in `out` was begun with, None where there is none. Raises UsageError where that is damaged."""
    try:
        content = unseal(store.read_bytes(store.join(out, RUN)))
        prints = {name: str(content["fingerprints"][name]) for name in (*PUBLIC_PRINTS, "times")}
        return Begun(prints, dict(content["settings"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise UsageError(
            f"{shown(store.join(out, RUN))} is damaged; delete the set or name another folder as out"
        ) from None


def refuse_foreign(out: str, private: Path) -> None:
    """Raise UsageError for a place that holds anything but a shard set begun by radnet, before it is written to."""
    try:
        names = store.sizes(out)
        folders = {path.name for path in Path(out).iterdir() if path.is_dir()} if os.path.isdir(out) else set()
    except NotADirectoryError:
        raise UsageError(f"{out} is a file or lies below one; name a folder as out") from None
    if RUN in names:
        return
    # The plan is written before run.json: a driver may have died between them.
    own = {name for name in names if name == PLAN or store.is_leftover_name(name)}
    others = sorted(names.keys() - own) + sorted(folders - {PRIVATE})
    if is_local(out) and private.is_dir() and private.parent == Path(out):
        others += [path.name for path in private.iterdir() if path.name not in _OWN and not store.is_leftover(path)]
    if others:
        raise UsageError(f"{shown(out)} is not empty and not a shard set begun by radnet; name another folder as out")


def changes(begun: Begun, prints: dict[str, str], config: ShardConfig) -> list[str]:
    """What of settings and key is another than when the set was begun, one phrase each."""
    old, new = begun.settings, settings(config)
    found = [f"{name} was {old.get(name)!r}, is now {new[name]!r}" for name in new if old.get(name) != new[name]]
    if begun.prints["privacy_key"] != prints["privacy_key"]:
        found.append("privacy.key is another key")
    return found


def sources_changed(begun: Begun, prints: dict[str, str]) -> bool:
    """True where files of the sources were added, removed or replaced, or come from elsewhere. Times are hashed with
    the privacy key, so that under another one they say nothing."""
    names = ["inventory", "times"] if begun.prints["privacy_key"] == prints["privacy_key"] else ["inventory"]
    return any(begun.prints[name] != prints[name] for name in names)


def only_driver(out: str) -> AbstractContextManager[Callable[[], None]]:
    """Be the only driver that writes to `out`; yields a function that raises UsageError once another took over.

    Raises UsageError where another driver is writing.
    """
    return _locked(out) if is_local(out) else _leased(out)


@contextmanager
def _locked(out: str) -> Iterator[Callable[[], None]]:
    folder = Path(out) / PRIVATE  # wherever private tables lie: one set has one lock
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(folder / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another `radnet shard` is writing to {out}; wait for it or name a new folder as out"
            ) from None
        yield lambda: None


@contextmanager
def _leased(out: str) -> Iterator[Callable[[], None]]:
    from radnet.shards.lease import holding

    with holding(out) as lease:
        yield lease.check
