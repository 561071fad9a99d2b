"""Paths and URLs of any fsspec store: opened in one way, errors of one kind, patience with those that are away."""

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
_HOPELESS = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)


def is_local(path: str) -> bool:
    """True for a path of this machine, whether written as a URL or not."""
    return "://" not in str(path) or str(path).startswith("file://")


def is_public(url: str) -> bool:
    """True for a place in the public buckets of IDC."""
    return url.startswith(("s3://", "s3a://")) and url.split("/")[2] in PUBLIC_BUCKETS


def shown(url: str) -> str:
    """The URL without user, password and query, for messages."""
    return re.sub(r"[?#].*", "", re.sub(r"://[^/@]*@", "://", url)) if "://" in url else url


def filesystem(path: str) -> tuple["fsspec.AbstractFileSystem", str]:
    """fsspec's file system of a path or URL, and the path inside it.

    Options of a store come from fsspec's own configuration (for example FSSPEC_S3_ANON=true) and from the store's own
    environment variables. Raises UsageError where the protocol is unknown or needs another package.
    """
    from fsspec.core import url_to_fs

    options: dict[str, Any] = {}
    if str(path).startswith(("s3://", "s3a://")):
        options = {"use_listings_cache": False, "config_kwargs": _S3}
        has_credentials = "AWS_ACCESS_KEY_ID" in os.environ or "AWS_PROFILE" in os.environ
        if is_public(str(path)) and not has_credentials:
            options["anon"] = True
    try:
        return url_to_fs(str(path), **options)
    except (ImportError, ValueError) as error:
        raise UsageError(f"{shown(str(path))} cannot be opened ({' '.join(str(error).split())[:200]})") from None


@contextmanager
def telling(path: str) -> Iterator[None]:
    """Turn what a store raises in its own kinds into an OSError that names the kind and the place, and no secret."""
    try:
        yield
    except (OSError, UsageError, MemoryError):
        raise
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in _STORES:
            raise
        raise OSError(errno.EIO, f"the store answers {type(error).__name__}", shown(str(path))) from None


def patiently(function: Callable[[], Result], patience_s: float = PATIENCE_S) -> Result:
    """function(), again and again for `patience_s` seconds while a store is away, with growing pauses.

    What no waiting mends (a missing object, a refusal) is raised at once, the rest after that time.
    """
    end, pause_s = time.monotonic() + patience_s, 1.0
    while True:
        try:
            return function()
        except _HOPELESS:
            raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS) or time.monotonic() + pause_s > end:
                raise
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 30.0)
