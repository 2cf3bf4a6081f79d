"""Processes that do one task after the other, and are ended when one takes too long.

In: a function of a module, tasks, and how long one may take. Out: for each task what the function returned, or why it
did not. Guaranteed: a process loads modules once, however many tasks it does, and no task waits for that on its own
time; one that is given up ends with all that it started, such as an assembler; no process is left when the iteration
ends. Processes are spawned, not forked, so that this works on all systems.
"""

import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

CONTEXT = multiprocessing.get_context("spawn")


class _Worker(Generic[T, R]):
    """A process, and the task that it does or is to do next."""

    def __init__(self, work: Callable[[T], R], task: T) -> None:
        self.connection, theirs = CONTEXT.Pipe()
        self.task, self.started, self.usable = task, 0.0, True
        self.loaded = False  # until then nobody waits for the task
        self.process = CONTEXT.Process(target=_serve, args=(work, theirs), daemon=True)
        self.process.start()
        theirs.close()

    @property
    def seconds(self) -> float:
        """How long the task has taken."""
        return time.monotonic() - self.started if self.loaded else 0.0

    def begin(self, task: T) -> None:
        self.task, self.started, self.loaded = task, time.monotonic(), True
        with suppress(OSError):  # who has ended meanwhile says so below
            self.connection.send(task)

    def received(self) -> R | str | None:
        """What came of the task; None from a process that has loaded what it needs."""
        try:
            result: R | str | None = self.connection.recv()
        except (EOFError, OSError):
            self.usable = False
            return "failed: the compiler crashed"
        return result

    def given_up(self, patience: float) -> str:
        self.usable = False
        return f"not compiled after {patience:.0f} s"

    def stop(self) -> None:
        if self.process.pid:
            _end(self.process.pid)
        self.process.kill()  # it may not have come to make a group of its own yet
        self.process.join()
        self.connection.close()


def results(
    work: Callable[[T], R], waiting: Sequence[T], jobs: int, patience: float
) -> Generator[tuple[T, R | str, float], None, None]:
    """Do tasks in `jobs` processes; yields a task with its result or what went wrong, and its seconds."""
    queue = list(waiting)[::-1]
    running: dict[Connection, _Worker[T, R]] = {}
    try:
        while queue or running:
            while queue and len(running) < jobs:
                worker = _Worker(work, queue.pop())
                running[worker.connection] = worker
            ready = wait(list(running), timeout=0.5)
            for connection, worker in list(running.items()):
                seconds = worker.seconds
                if connection not in ready and seconds <= patience:
                    continue
                result = worker.received() if connection in ready else worker.given_up(patience)
                if result is None:
                    worker.begin(worker.task)
                    continue
                done = worker.task
                if worker.usable and queue:
                    worker.begin(queue.pop())
                else:
                    running.pop(connection).stop()
                yield done, result, seconds
    finally:
        for worker in running.values():
            worker.stop()


def _serve(work: Callable[[T], R], connection: Connection) -> None:
    """The life of a process. Where there are groups of processes it has its own, in which what it starts is, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for who started it, who then ends it
    if hasattr(os, "setsid"):
        os.setsid()
    connection.send(None)
    with suppress(EOFError):
        while True:
            connection.send(_result(work, connection.recv()))


def _result(work: Callable[[T], R], task: T) -> R | str:
    try:
        return work(task)
    except Exception as error:
        return f"failed: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:120]


def _end(pid: int) -> None:
    """End a process with all that it started: the group that it leads, or on Windows the tree below it."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        return
    with suppress(OSError):  # without it what the process started ends by itself
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(pid)], capture_output=True, check=False)
