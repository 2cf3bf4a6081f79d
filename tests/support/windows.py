"""What Windows has and lacks, as far as kgen meets it: Python's `msvcrt` by POSIX locks, no groups of processes.

`install` is for processes that lock, `forget` and `OnWindows` for those that start others.

A byte of an open file is one opener's at a time. Who asks for it while another has it is refused, in Windows after ten
seconds, here at once. It is free again when the opener closes the file, or ends.
"""

import errno
import fcntl
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


# processes

LACKING = ("fork", "forkpty", "getpgid", "getsid", "killpg", "setpgid", "setsid")
TASKKILL = """\
#!{python}
import os, re, signal, sys
from pathlib import Path

assert sys.argv[1:4] == ["/F", "/T", "/PID"] and len(sys.argv) == 5, sys.argv


def end(pid):
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(re.sub(r"^.*\\) ", "", path.read_text(), flags=re.DOTALL).split()[1])
        except OSError:
            continue
        if parent == pid:
            end(int(path.parent.name))
    os.kill(pid, signal.SIGKILL)


end(int(sys.argv[4]))
"""


def forget(delete: Callable[[Any, str], None]) -> None:
    """Let `os` have no names that Windows has not."""
    for name in LACKING:
        delete(os, name)


def taskkill(folder: Path) -> Path:
    """A folder with the command that ends a process and all below it, by what Linux says of its processes."""
    folder.mkdir()
    command = folder / "taskkill"
    command.write_text(TASKKILL.format(python=sys.executable), encoding="utf-8")
    command.chmod(0o755)
    return folder


class OnWindows:
    """A function that is another one wherever it is sent: in a process that has not what Windows lacks."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self.work = work

    def __call__(self, task: Any) -> Any:
        return self.work(task)

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self.work,)


def _arrived(work: Callable[[Any], Any]) -> Callable[[Any], Any]:
    forget(delattr)
    return work
