"""Locks among the processes of a machine: the one part of writing that each operating system has its own way for.

In: a folder that exists. Out: a context, `held(folder)`, in which one process at a time is of all that ask for the same
folder; the others wait, however long that takes. In: a file, there or not. Out: a context, `claimed(file)`, which is
refused to the others at once. The system ends the hold of a process with the process, also of one
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


@contextlib.contextmanager
def claimed(file: Path) -> Iterator[None]:
    """Hold the file's lock until the block ends; BlockingIOError if another process does.

    The lock is a file beside it, `.NAME.lock`, so that the file itself may be replaced meanwhile.
    """
    lock = file.with_name(f".{file.name}.lock")
    descriptor = _claimed(lock)
    try:
        yield
    finally:
        if sys.platform != "win32":
            lock.unlink()  # before another process can have it
        os.close(descriptor)
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                lock.unlink()


def _claimed(lock: Path) -> int:
    """The descriptor of the lock's file, which is still where it was when the lock was had."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT)
        try:
            _acquire_now(descriptor)
            if _is_at(descriptor, lock):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _acquire_now(descriptor: int) -> None:
    """BlockingIOError where another process has it."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError(error.errno, error.strerror) from None
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


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
