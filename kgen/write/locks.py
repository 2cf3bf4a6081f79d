"""A lock among the processes of a machine: the one part of a build that each operating system has its own way for.

In: a folder that exists. Out: a context, `held(folder)`, in which one process at a time is of all that ask for the same
folder; the others wait, however long that takes. The system ends the hold of a process with the process, also of one
that is killed. Nothing is left behind. Raises OSError where there are no locks, rather than to go on without.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

FILE = ".kgen.lock"  # on Windows, where folders cannot be locked; it is gone when nobody holds or wants the lock
REFUSED = (errno.EACCES, errno.EDEADLK)  # what Windows says while another process has the lock


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Wait for the lock and hold it until the block ends."""
    windows = sys.platform == "win32"
    descriptor = os.open(folder / FILE, os.O_RDWR | os.O_CREAT) if windows else os.open(folder, os.O_RDONLY)
    try:
        while not _acquired(descriptor):
            pass
        yield
    finally:
        os.close(descriptor)  # and with it the lock
        with contextlib.suppress(OSError):  # Windows keeps a file that others have open; they remove it in their turn
            if windows:
                (folder / FILE).unlink()


def _acquired(descriptor: int) -> bool:
    """Wait for the lock; False if the system does not wait any longer. Windows does so for ten seconds."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            return False
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return True
