"""Who is at work in a store: builds beside each other, or one that takes away (`forget`, `vacuum`) alone.

The lock is the file system's own, so that it ends with its process, however that ends.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator

from storage.atomic import make_folder
from storage.errors import StoreError
from storage.place import LocalPlace, Place

LOCK = ".lock"
# what a file system without locks answers: then only the age of a file protects it
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


class StoreBusy(StoreError):
    """A build is writing to the store, or something is being taken out of it."""


@contextlib.contextmanager
def build_lock(place: Place) -> Iterator[None]:
    """Hold a store for a build, beside others; raises StoreBusy while something is being taken out of it."""
    with _locked(place, fcntl.LOCK_SH, "`pseudodepth forget` or `vacuum` is at work in it"):
        yield


@contextlib.contextmanager
def removal_lock(place: Place) -> Iterator[None]:
    """Hold a store alone; raises StoreBusy while a build is running: what it has written so far looks like orphans."""
    with _locked(place, fcntl.LOCK_EX, "a build is running, or another removal"):
        yield


@contextlib.contextmanager
def _locked(place: Place, kind: int, why: str) -> Iterator[None]:
    if not isinstance(place, LocalPlace):  # object stores have no locks: there only the age of a file protects it
        yield
        return
    root = place.root
    make_folder(root)
    try:
        fd = os.open(root / LOCK, os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise StoreError(f"{root / LOCK}: cannot be opened ({error.strerror}); make the store writable") from error
    try:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreBusy(f"{root}: {why}; wait until it has ended, then try again") from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise StoreError(f"{root / LOCK}: cannot be locked ({error.strerror}); see to the disk") from error
        yield
    finally:
        os.close(fd)
