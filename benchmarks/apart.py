"""Work in a process of its own: what it leaves behind ends with it, and what it dies of reaches nobody else.

In: a function that yields, importable by name, and arguments that can be pickled. Out: what it yields, as it comes.
"""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from typing import Any, TypeVar

T = TypeVar("T")


class Died(Exception):
    """The process ended before the work did."""


def apart(work: Callable[..., Iterable[T]], *arguments: object) -> Iterator[T]:
    """What `work(*arguments)` yields in a fresh process, then Died where it did not get to its end."""
    context = multiprocessing.get_context("spawn")  # a fork cannot use a GPU that its parent has used
    results, sink = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sink, work, *arguments))
    process.start()
    sink.close()  # the process now holds the only one: its end is the end of the results
    try:
        while True:
            yield results.recv()
    except EOFError:
        process.join()
    if process.exitcode:
        raise Died(f"the process ended with exit status {process.exitcode}")


def _send(sink: Connection, work: Callable[..., Iterable[Any]], *arguments: object) -> None:
    for result in work(*arguments):
        sink.send(result)
