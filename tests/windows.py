"""Python's `msvcrt`, as far as kgen uses it and with what Windows promises, by POSIX locks; `install` is for processes.

A byte of an open file is one opener's at a time. Who asks for it while another has it is refused, in Windows after ten
seconds, here at once. It is free again when the opener closes the file, or ends.
"""

import errno
import fcntl
import sys
from collections.abc import Callable

LK_LOCK = 1


def refused() -> None:
    """Called at each refusal."""


def locking(descriptor: int, mode: int, size: int) -> None:
    assert (mode, size) == (LK_LOCK, 1)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        refused()
        raise OSError(errno.EDEADLK, "Resource deadlock avoided") from None


def install(when_refused: Callable[[], None] = refused) -> None:
    """For the rest of the process."""
    global refused
    refused = when_refused
    sys.platform = "win32"
    sys.modules["msvcrt"] = sys.modules[__name__]
