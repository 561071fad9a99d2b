"""Paths and URLs of fsspec stores: opened in one way, errors of one kind, patience with those that are away."""

import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from radnet.errors import UsageError

if TYPE_CHECKING:
    import fsspec

Result = TypeVar("Result")

PUBLIC_BUCKETS = ("idc-open-data", "idc-open-data-two", "idc-open-data-cr")  # of IDC: no credentials are needed
PATIENCE_S = 300.0  # with a store that is away or answers with errors
# Bytes that trickle are waited for; a connection on which nothing comes for a minute is dead.
_S3 = {"connect_timeout": 10, "read_timeout": 60, "retries": {"mode": "standard", "max_attempts": 5}}
_STORES = ("botocore", "aiobotocore", "s3fs", "gcsfs", "adlfs", "azure", "aiohttp", "google", "fsspec", "asyncio")
# An object appears whole, in a place that need not exist; the others have folders to be made.
_OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory")
_HOPELESS = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)


def is_local(path: str) -> bool:
    """True for a path of this machine, whether written as a URL or not."""
    return "://" not in str(path) or str(path).startswith("file://")


def is_public(url: str) -> bool:
    """True for a place in the public buckets of IDC."""
    return url.startswith(("s3://", "s3a://")) and url.split("/")[2] in PUBLIC_BUCKETS


def shown(url: str) -> str:
    """The URL without user, password and query, for messages; a path as it is."""
    scheme, separator, rest = str(url).partition("://")
    if not separator:
        return str(url)
    rest = re.split(r"[?#]", rest)[0]
    user, at, place = rest.rpartition("@") if ":" in rest.partition("@")[0] else ("", "", rest)
    if not at:
        authority, slash, path = rest.partition("/")
        place = authority.rpartition("@")[2] + slash + path
    return f"{scheme}://{place}"


def filesystem(path: str) -> tuple["fsspec.AbstractFileSystem", str]:
    """fsspec's file system of a path or URL, and the path inside it.

    Options of a store come from fsspec's own configuration (for example FSSPEC_S3_ANON=true) and from the store's own
    environment variables. Raises UsageError where the protocol is unknown or needs another package.
    """
    from fsspec.core import url_to_fs

    options: dict[str, Any] = {}
    if str(path).startswith(("s3://", "s3a://")):
        options = {"use_listings_cache": False, "config_kwargs": _S3}
        # Whose credentials are for another store keeps a copy of IDC there; AWS itself asks for none.
        is_elsewhere = "AWS_ENDPOINT_URL_S3" in os.environ or "AWS_ENDPOINT_URL" in os.environ
        if is_public(str(path)) and not is_elsewhere:
            options["anon"] = True
    try:
        return url_to_fs(str(path), **options)
    except (ImportError, ValueError) as error:
        raise UsageError(f"{shown(path)} cannot be opened ({' '.join(str(error).split())[:200]})") from None


@contextmanager
def telling(path: str) -> Iterator[None]:
    """Turn what a store raises in its own kinds into an OSError that names the kind and the place, and no secret."""
    try:
        yield
    except PermissionError as error:
        raise error if error.errno else PermissionError(errno.EACCES, "the store refuses", shown(path)) from None
    except (OSError, UsageError, MemoryError):
        raise
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in _STORES:
            raise
        raise OSError(errno.EIO, f"the store answers {type(error).__name__}", shown(path)) from None


def ask(path: str, question: Callable[["fsspec.AbstractFileSystem", str], Result], patience_s: float = 0.0) -> Result:
    """question(file system, path inside it); where the store is away again and again, with growing pauses, for
    patience_s seconds: a person waits for an answer, and a run of days should outlive an outage of minutes.

    What no waiting mends (a missing object, a refusal) and what a local disk answers is raised at once, the rest after
    that time; all as OSError. Raises UsageError as `filesystem`.
    """
    system, inner = filesystem(path)
    end_s, pause_s = time.monotonic() + patience_s, 1.0
    while True:
        try:
            with telling(path):
                return question(system, inner)
        except _HOPELESS:
            raise
        except OSError as error:
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
            if is_local(path) or is_full or time.monotonic() + pause_s > end_s:
                raise
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 30.0)


def make_folder(url: str) -> None:
    """Make a folder on a store that has some; on an object store there are none, and a mistyped bucket must not be
    made."""
    if url.partition("://")[0] not in _OBJECT_STORES:
        ask(url, lambda system, inner: system.makedirs(inner, exist_ok=True))
