"""What the command line prints: plain text, rich renderables and a progress bar; rich is imported when needed."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator

PATIENCE = 1.0  # seconds of work after which a progress bar appears


@contextlib.contextmanager
def progress(total: int) -> Iterator[Callable[[str], None]]:
    """A progress bar on stderr that appears when the work lasts; yields what to call as each item is finished."""
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    task = bar.add_task("generating", total=total)
    timer = threading.Timer(PATIENCE, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda name: bar.update(task, advance=1, description=f"generated {name}")
    finally:
        timer.cancel()
        timer.join()
        bar.stop()


@contextlib.contextmanager
def steps(title: str) -> Iterator[Callable[[str], None]]:
    """Say on stderr what is being done, whatever it takes; yields what to call with the text of each step.

    On a terminal one line tells the latest step and the time so far, and is gone afterwards; else each has a line.
    """
    if not sys.stderr.isatty():
        yield lambda text: say(f"{title}: {text}", error=True, style="dim")
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as line:
        task = line.add_task(escape(title), total=None)
        yield lambda text: line.update(task, description=escape(f"{title}: {text}"))


def show_all(*renderables: object) -> None:
    """Text as it is; tables and trees as wide as the terminal."""
    from rich.console import Console

    for renderable in renderables:
        if isinstance(renderable, str):
            say(renderable, end="" if renderable.endswith("\n") else "\n")
        else:
            Console().print(renderable)


def say(text: str, error: bool = False, end: str = "\n", style: str = "") -> None:
    """Print text unwrapped and unmarked, coloured only on a terminal."""
    from rich.console import Console

    console = Console(stderr=error, highlight=False, soft_wrap=True)
    console.print(text, markup=False, emoji=False, end=end, style=style or ("red" if error else None))
