"""What the command line prints: plain text, rich renderables and a progress bar; rich is imported when needed.

Guaranteed: to a file or a pipe nothing is cut or coloured, and what cannot be written is an error that is told.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

PATIENCE = 1.0  # seconds of work after which a progress bar appears
WIDE = 10_000  # columns of a file or a pipe, which have no width of their own
HELP_WIDTH = "120"  # columns of help there: prose is to be read
HELP = {"help_option_names": ["-h", "--help"]}  # context_settings of every command
DIFF = {"+++": "bold", "---": "bold", "@": "cyan", "+": "green", "-": "red"}  # styles by how a line begins


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
    """Text as it is; tables and trees as wide as the terminal, or as they are."""
    for renderable in renderables:
        if isinstance(renderable, str):
            say(renderable, end="" if renderable.endswith("\n") else "\n")
        else:
            _console().print(renderable)


def show_diff(text: str) -> None:
    """A unified diff, coloured on a terminal."""
    from rich.text import Text

    lines = text.splitlines(keepends=True) if sys.stdout.isatty() else []
    styles = ((line, next((DIFF[start] for start in DIFF if line.startswith(start)), "")) for line in lines)
    coloured = Text.assemble(*styles) if lines else text
    _console(soft_wrap=True).print(coloured, markup=False, emoji=False, end="")


def say(text: str, error: bool = False, end: str = "\n", style: str = "") -> None:
    """Print text unwrapped and unmarked, coloured only on a terminal."""
    console = _console(error, soft_wrap=True)
    console.print(text, markup=False, emoji=False, end=end, style=style or ("red" if error else None))


def _console(error: bool = False, soft_wrap: bool = False) -> "Console":
    from rich.console import Console

    width = None if (sys.stderr if error else sys.stdout).isatty() else WIDE
    return Console(stderr=error, highlight=False, soft_wrap=soft_wrap, width=width)


def told(command: Callable[[], None]) -> None:
    """Run a command; exit with 2 where its output cannot be written, and tell so unless nobody reads any more."""
    if not sys.stdout.isatty():
        os.environ.setdefault("TERMINAL_WIDTH", HELP_WIDTH)  # which typer asks for when it first shows help
    status: object = 0
    try:
        try:
            command()
        except SystemExit as done:
            stopped = isinstance(done.__context__, BrokenPipeError)  # for which rich and click exit with 1
            status = 2 if stopped else done.code
        sys.stdout.flush()
    except BrokenPipeError:
        status = 2
    except OSError as error:
        if error.filename is not None:
            raise
        with contextlib.suppress(OSError):
            say(f"cannot write the output: {(error.strerror or str(error)).lower()}", error=True)
        status = 2
    _drop_what_is_left()
    sys.exit(status)  # type: ignore[arg-type]


def _drop_what_is_left() -> None:
    """What could not be written is not tried again when Python ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
