"""Whose fault an exception is: the file's, which becomes a SeriesError, or the machine's, which stops the run.

A disk that is away for a minute must not turn into failed series of a finished shard set; run again, the set goes on.
"""

import errno
import os
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from radnet.shards.ledger import Code, SeriesError

# Libraries raise OSErrors without a number for what a file holds.
_OF_THE_FILE = (None, errno.EACCES, errno.EPERM, errno.EINVAL, errno.ELOOP, errno.EISDIR, errno.EOVERFLOW)


def is_of_the_machine(error: BaseException) -> bool:
    """True where the same file may be read another time or elsewhere: vanished disks, no memory, no descriptors."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno not in _OF_THE_FILE)


@contextmanager
def guard(code: Code) -> Iterator[None]:
    """Turn whatever a reader throws at a file into SeriesError(code); it names the kind, never a value.

    What is of the machine passes as it is.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except SeriesError:
        raise
    except (EOFError, StopIteration, zlib.error) as error:
        raise SeriesError(Code.TRUNCATED, "the file ends early") from error
    except Exception as error:
        if is_of_the_machine(error):
            raise
        raise SeriesError(code, type(error).__name__) from error


def status_of(path: str) -> os.stat_result:
    """os.stat of a listed file.

    Raises SeriesError(UNREADABLE) for a link that leads nowhere, in a circle or into a forbidden folder; OSError where
    the machine is at fault.
    """
    try:
        return os.stat(path)
    except OSError as error:
        leads_nowhere = error.errno in (errno.ENOENT, errno.ENOTDIR) and os.path.islink(path)
        if is_of_the_machine(error) and not leads_nowhere:
            raise
        raise SeriesError(Code.UNREADABLE, "a link that leads nowhere, or a file that may not be read") from error
