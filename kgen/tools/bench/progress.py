"""How far a run is, on stderr: what is being done, how many of how many are, and about how long the rest takes.

In: how many items there are, and each item as it begins. Out: on a terminal a bar, gone when an item ends so that its
figures can be printed; else a line as each item begins, and while it lasts one in a while.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from kgen.console import say

PAUSE = 10.0  # seconds between two lines of one item, where stderr is no terminal


@dataclass(slots=True)
class Tracker:
    """Items that take about equally long."""

    total: int
    done: int = 0
    started: float = field(default_factory=lambda: time.monotonic())
    told: float = 0.0

    @contextlib.contextmanager
    def item(self, title: str) -> Iterator[Callable[[str], None]]:
        """One item; yields what to call with each of its steps. It counts as done when the context ends."""
        shown = self._bar if sys.stderr.isatty() else self._lines
        with shown(title) as tell:
            yield tell
        self.done += 1

    @property
    def left(self) -> str:
        """About how long the rest takes, once one is done."""
        if not self.done:
            return ""
        return f", about {spelled((time.monotonic() - self.started) / self.done * (self.total - self.done))} left"

    @property
    def place(self) -> str:
        return f"{self.done + 1} of {self.total}"

    @contextlib.contextmanager
    def _lines(self, title: str) -> Iterator[Callable[[str], None]]:
        self._say(f"{self.place}, {title}{self.left}")
        yield lambda step: self._say(f"{self.place}, {title}: {step}") if self._paused() else None

    def _paused(self) -> bool:
        return time.monotonic() - self.told >= PAUSE

    def _say(self, text: str) -> None:
        self.told = time.monotonic()
        say(text, error=True, style="dim")

    @contextlib.contextmanager
    def _bar(self, title: str) -> Iterator[Callable[[str], None]]:
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        text = f"{self.place}{self.left}, {title}"
        columns = SpinnerColumn(), BarColumn(20), TextColumn("{task.description}")
        with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
            task = bar.add_task(escape(text), total=self.total, completed=self.done)
            yield lambda step: bar.update(task, description=escape(f"{text}: {step}"))


def paced(tell: Callable[[str], None]) -> Callable[[str], None]:
    """What tells no more often than lines may come, where stderr is no terminal."""
    if sys.stderr.isatty():
        return tell
    last = -PAUSE

    def told(text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= PAUSE:
            last = time.monotonic()
            tell(text)

    return told


def spelled(seconds: float) -> str:
    """A time as one says it: "40 s", "12 min", "1 h 05 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
