"""Ahead-of-time compilation: the command that compiles generated kernels for real targets where there is no GPU.

In: generated modules, targets, dtypes. Out: a line for each kernel, a report (see `report.py`) with --out, and with
--check the comparison of what changed, and of one kernel of each kind and target, with a report. What is compiled is
what the module's own launchers ask for (see `launches.py`), in processes that load torch and packages once (see
`kgen/tools/workers.py`). Needs torch and triton, but no GPU.
"""

import importlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated

import triton
import typer

from kgen.console import HELP, say
from kgen.errors import KgenError
from kgen.tools.aot.launches import Launch, record
from kgen.tools.aot.report import Key, Row, complaints, read, row, write
from kgen.tools.aot.resources import Resources, compile_for, gpu_target
from kgen.tools.problem import load_module
from kgen.tools.workers import results
from kgen.wording import counted

REPORT = Path("benchmarks/resources.csv")

app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True)
class Task:
    """A kernel to compile for a target, as any process finds it."""

    launch: Launch  # without its function, which no other process has
    target: str
    package: Path  # its folder
    file: str  # the module of the package that has the function
    function: str

    @property
    def key(self) -> Key:
        return self.launch.module, self.launch.kernel, self.target, self.launch.dtype


def _task(path: Path, launch: Launch, target: str) -> Task:
    file = launch.function.module.removeprefix(f"{load_module(path).__name__}.")
    return Task(replace(launch, function=None), target, path, file, launch.function.__name__)


@cache
def _launches(path: Path, target: str, dtype: str) -> tuple[Launch, ...]:
    return record(load_module(path), target, dtype)


def tasks(path: Path, targets: list[str], dtypes: list[str], old: Iterable[Row]) -> list[Task]:
    """What to compile of a module: all kernels for the targets and dtypes asked for.

    If no target is asked for: all kernels for sm_90 and float32, and what the report already has; a kernel that is gone
    is left out.
    """
    listed = {} if targets else {r.key: (r.target, r.dtype) for r in old if r.module == path.name}
    asked = [(target, dtype) for target in targets or ["sm_90"] for dtype in dtypes or ["float32"]]
    wanted: dict[Key, Task] = {}
    for pair in dict.fromkeys([*asked, *sorted(listed.values(), key=lambda pair: pair[1] != "float32")]):
        due = [key for key, of in listed.items() if of == pair and key not in wanted]
        if pair in asked or due:
            for launch in _launches(path, *pair):
                task = _task(path, launch, pair[0])
                if pair in asked or task.key in listed:
                    wanted.setdefault(task.key, task)
    return list(wanted.values())


def stale(wanted: Iterable[Task], old: dict[Key, Row], version: str | None = None) -> list[Task]:
    """The tasks whose row is missing or out of date; with `version`, also those that another triton compiled."""
    result = []
    for task in wanted:
        before = old.get(task.key)
        current = before and before.digest == task.launch.digest and version in (None, before.triton)
        if not current:
            result.append(task)
    return result


def sample(wanted: Iterable[Task], old: dict[Key, Row]) -> list[Task]:
    """The shortest kernel of each kind and target."""
    shortest: dict[tuple[str, str], Task] = {}
    for task in sorted(wanted, key=lambda t: (old[t.key].instructions or 10**9 if t.key in old else 10**9, t.key)):
        shortest.setdefault((task.launch.kind, task.target), task)
    return list(shortest.values())


def compiled(task: Task) -> Resources:
    """Compile a kernel of a package that this process loads once."""
    package = load_module(task.package)
    file = importlib.import_module(f"{package.__name__}.{task.file}")
    return compile_for(replace(task.launch, function=getattr(file, task.function)), task.target)


@app.command(context_settings=HELP)
def aot(
    modules: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PACKAGE", help="Generated packages; all in generated/ if none.", show_default=False),
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="sm_90, gfx942, …; repeatable. Default: sm_90 and what the report has.")
    ] = None,
    dtype: Annotated[list[str] | None, typer.Option(help="float32 if none is given; repeatable.")] = None,
    kernel: Annotated[list[str] | None, typer.Option(help="Only this kernel of the launch table; repeatable.")] = None,
    out: Annotated[Path | None, typer.Option(help="Update this report; what is up to date stays.")] = None,
    check: Annotated[bool, typer.Option("--check", help=f"Compare with the report, {REPORT} without --out.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
    patience: Annotated[float, typer.Option(help="Seconds after which a kernel is given up.")] = 600,
) -> None:
    """Compile generated kernels ahead of time; tell registers, spills, shared memory and widths of memory accesses."""
    if triton.knobs.runtime.interpret:
        raise KgenError("kernels are not compiled where TRITON_INTERPRET is set", hint="unset it")
    for name in target or []:
        gpu_target(name)
    paths = modules or [path.parent for path in sorted(Path("generated").glob("*/__init__.py"))]
    report = out or REPORT
    old = read(report) if out or check else {}
    wanted = [task for path in paths for task in tasks(path, target or [], dtype or [], old.values())]
    chosen = [task for task in wanted if not kernel or task.launch.kernel in kernel]
    if not chosen:
        raise KgenError("nothing to compile", hint="kernels are named as in the module's LAUNCH")
    if check:
        raise typer.Exit(_check(chosen, old, jobs, patience))
    due = stale(chosen, old, triton.__version__)
    gone = {k for k in old if k[0] in {p.name for p in paths}} - {t.key for t in wanted} if not target else set()
    rows = {k: r for k, r in old.items() if k not in gone}
    for new in _rows(due, jobs, patience):
        rows[new.key] = new
        if out:
            write(out, rows.values())
    if out:
        write(out, rows.values())
        say(f"{out}: {counted(len(due), 'row')} compiled, {len(chosen) - len(due)} up to date, {len(gone)} removed")


def _check(chosen: list[Task], old: dict[Key, Row], jobs: int, patience: float) -> int:
    """The exit status: 1 if what changed, or one kernel of each kind and target, is worse than the report says."""
    changed = stale(chosen, old)
    due = list({task.key: task for task in [*changed, *sample(chosen, old)]}.values())
    unchanged = [old[t.key] for t in chosen if t.key in old and t not in due]
    found = complaints([*unchanged, *_rows(due, jobs, patience)], old)
    for complaint in found:
        say(complaint, error=True)
    compiled = f"{len(due)} of {counted(len(chosen), 'kernel')} compiled"
    say(f"{compiled}, {len(changed)} changed, {counted(len(found), 'complaint')}")
    return 1 if found else 0


def _rows(due: list[Task], jobs: int, patience: float) -> Iterator[Row]:
    """Compile, saying each row as it is known."""
    for task, result, seconds in results(compiled, due, jobs, patience):
        new = row(task.launch, task.target, result, triton.__version__)
        say(f"{new} ({seconds:.1f} s)")
        yield new
