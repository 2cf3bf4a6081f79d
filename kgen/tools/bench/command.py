"""The benchmark's command: generated kernels side by side with others, and with the floor that the device sets.

In: a suite file, specs or generated modules, and sizes to sweep. Out: a table for each case, and one CSV that is
complete after every case, with which a run that was ended goes on. Needs generated modules, torch, typer and rich, and
triton where there is a GPU; nothing of the generator.
"""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from kgen.console import HELP, say, show_all, steps
from kgen.errors import KgenError
from kgen.tools.bench import record, timing
from kgen.tools.bench.bounds import free
from kgen.tools.bench.cases import Case
from kgen.tools.bench.compare import command as comparison
from kgen.tools.bench.contenders import contenders, release, share_caches
from kgen.tools.bench.figures import INTERPRETED, NO_KERNEL, OURS, Row, doubts, remarks, table
from kgen.tools.bench.floors import issue_rates, multiplying
from kgen.tools.bench.plan import DTYPE, Request, plan, work
from kgen.tools.bench.progress import Tracker, paced
from kgen.tools.bench.race import DIRECTIONS, Run, circumstances, device_name, lost, matrix_rates, measure, untimed
from kgen.tools.bench.sweeps import parse_part, parse_sweeps
from kgen.tools.bench.warm import Cell, Done, tasks, warm
from kgen.tools.problem import load_module, parse_sizes, runtime
from kgen.tools.selection import must_exist
from kgen.tools.targets import find_device

app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True)
class Manner:
    """How cells are run, whichever they are."""

    device: torch.device
    directions: tuple[str, ...]
    compiled: bool
    deadline: float  # no compilation starts after it; on time.monotonic's clock
    jobs: int
    repetitions: int | None
    warmup: int | None
    out: Path | None


@app.command(context_settings=HELP)
def main(
    targets: Annotated[list[Path] | None, typer.Argument(help="Specs or generated modules; all their kernels.")] = None,
    suite: Annotated[str, typer.Option(help="A suite: benchmarks/SUITE.py, or a Python file.")] = "",
    kernel: Annotated[list[str] | None, typer.Option(help="Only this kernel of the targets.")] = None,
    size: Annotated[list[str] | None, typer.Option(help="AXIS=EXTENT, instead of the suite's or the default.")] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(help="AXIS=FROM:TO, which doubles, or AXIS=EXTENT,EXTENT; all combinations are run."),
    ] = None,
    dtype: Annotated[
        list[str] | None, typer.Option(help="Storage types, for targets; or tf32.", show_default=DTYPE)
    ] = None,
    direction: Annotated[
        list[str] | None, typer.Option(help="forward or forward+backward.", show_default="both")
    ] = None,
    only: Annotated[str, typer.Option(help="Only cases whose name contains this.")] = "",
    part: Annotated[str, typer.Option(help="Only one part of the cells: 2/5 is the second of five.")] = "1/1",
    peers: Annotated[Path | None, typer.Option(help="A folder of peers' packages.")] = None,
    generated: Annotated[Path, typer.Option(help="The folder of generated modules.")] = Path("generated"),
    out: Annotated[Path | None, typer.Option(help="The CSV; what it has already is not measured again.")] = None,
    device: Annotated[str, typer.Option(help="A torch device.", show_default="a GPU if there is one")] = "",
    budget: Annotated[float, typer.Option(help="Seconds after which nothing is compiled any more.")] = 200.0,
    jobs: Annotated[int, typer.Option(help="Processes that compile beforehand, if more than one.")] = 1,
    repetitions: Annotated[
        int | None, typer.Option(help="Calls that are timed, at least.", show_default="as many as 0.2 s have place for")
    ] = None,
    warmup: Annotated[int | None, typer.Option(help="Calls before those, at least.", show_default="20")] = None,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="Whether torch.compile takes part.")] = True,
    compare: Annotated[
        Path | None,
        typer.Option(metavar="BEFORE.csv", help="Time nothing: compare this CSV with the target, AFTER.csv."),
    ] = None,
    between: Annotated[
        str, typer.Option("--contenders", help="Compare these, with commas; two of them within one CSV.")
    ] = "",
    fail_over: Annotated[str, typer.Option(help="Exit status 1 if a cell is slower by more, such as 5%.")] = "",
) -> None:
    """Time generated kernels against others and the device's floor. Exit status 1 if one of ours is not right."""
    try:
        if compare or between or fail_over:
            timing_only = {"suite": suite, "kernel": kernel, "size": size, "sweep": sweep, "dtype": dtype, "out": out}
            refuse_beside_a_comparison(timing_only | {"direction": direction, "peers": peers})
            raise typer.Exit(comparison(compare, targets or [], between, fail_over, only))
        for name, value in (("repetitions", repetitions), ("warmup", warmup), ("jobs", jobs)):
            refuse_none(name, value)
        if math.isnan(budget):
            raise KgenError("--budget nan is no time", hint="seconds; none is left from the start with 0 or fewer")
        request = Request(
            targets=tuple(targets or ()),
            suite=suite,
            kernels=tuple(kernel or ()),
            dtypes=listed(dtype),
            sizes=parse_sizes(size or []),
            sweeps=parse_sweeps(sweep or []),
            only=only,
            part=parse_part(part),
            peers=peers,
            generated=generated,
        )
        directions = listed(direction) or tuple(DIRECTIONS)
        must_exist(directions, DIRECTIONS, "unknown direction {!r}")
        deadline = time.monotonic() + budget
        manner = Manner(find_device(device), directions, compiled, deadline, jobs, repetitions, warmup, out)
        rows = execute(request, manner)
    except KgenError as mistake:
        say(str(mistake), error=True)
        raise typer.Exit(2) from None
    raise typer.Exit(1 if any(row.ours and row.failed for row in rows) else 0)


def refuse_beside_a_comparison(given: Mapping[str, object]) -> None:
    """Raise KgenError for options that say what to time, where nothing is timed."""
    for name, value in given.items():
        if value:
            raise KgenError(f"--{name} says what to time, and a comparison times nothing", hint="leave it out")


def refuse_none(name: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise KgenError(f"--{name} {value} does nothing", hint=f"--{name} starts at 1")


def listed(texts: Iterable[str] | None) -> tuple[str, ...]:
    """("a", "b", "c") from ["a,b", "c"]."""
    return tuple(dict.fromkeys(word.strip() for text in texts or () for word in text.split(",")))


def execute(request: Request, manner: Manner) -> list[Row]:
    """The rows of all cells that are asked for, those of an earlier run too. Raises KgenError before any is timed."""
    planned = plan(request, manner.device)
    cells = [cell(number, case, request, manner) for number, case in enumerate(planned.cases)]
    with record.opened(manner.out, common(planned.cases, request.generated, manner.device)) as kept:
        for target in planned.found:
            if target.remark:
                show_all(f"{target.name}: {target.remark}")
        waiting = [(each, directions) for each in cells if (directions := missing(each, kept, manner))]
        waiting.sort(key=lambda pair: bool(kept.of(pair[0].key)))  # what has no figure yet comes first
        if len(waiting) < len(cells):
            show_all(f"{manner.out} has {len(cells) - len(waiting)} of {len(cells)} cells already")
        if waiting:
            done = compile_beforehand([each for each, _ in waiting], request, manner)
            race_all(prepared(request, manner, [each.case for each, _ in waiting]), waiting, done, kept)
        return [row for each in cells for row in kept.of(each.key) if row.direction in ("", *manner.directions)]


def cell(number: int, case: Case, request: Request, manner: Manner) -> Cell:
    module = load_module(case.path(request.generated))
    return Cell(number, case, request.generated, tuple(contenders(case, module, manner.compiled)))


def missing(each: Cell, kept: record.Record, manner: Manner) -> tuple[str, ...]:
    return record.missing(kept, each.key, manner.directions, each.installed)


def common(cases: Sequence[Case], generated: Path, device: torch.device) -> record.Circumstances:
    found = {module: circumstances(device, case, generated) for module, case in {c.module: c for c in cases}.items()}
    digests = {module: each["kgen_digest"] for module, each in found.items()}
    first = next(iter(found.values()))
    kernels = runtime(load_module(cases[0].path(generated)), "device").runs_on_triton(device)
    ran = OURS if device.type != "cpu" else INTERPRETED if kernels else NO_KERNEL
    return record.Circumstances(first["device"], first["torch"], first["triton"], digests, ran)


def compile_beforehand(cells: Sequence[Cell], request: Request, manner: Manner) -> Done:
    """Fill the compilers' caches, if several processes may; what fails there is compiled, and told, in its turn."""
    share_caches()  # also with those that an earlier run has filled
    if manner.jobs == 1:
        return frozenset()
    waiting = tasks(request, cells, manner.directions, str(manner.device), manner.compiled)
    began = time.monotonic()
    with steps(f"compiling in {manner.jobs} processes") as tell:
        done = warm(waiting, manner.jobs, manner.deadline, paced(tell))
    seconds = time.monotonic() - began
    show_all(f"compiled {len(done)} of {len(waiting)} in {seconds:.0f} s, the others when it is their turn")
    return done


def prepared(request: Request, manner: Manner, cases: Sequence[Case]) -> Run:
    """What all cases share: the device's bandwidth and rates, which are measured and told."""
    clock, name, generated = timing.clock(manner.device), device_name(manner.device), request.generated
    with steps(name) as tell:
        tell("timing copies, matrix products and instructions")
        bandwidth, rates = timing.copy_bandwidth(clock), matrix_rates(clock, multiplying(cases, generated))
        issued = issue_rates(clock, cases, generated)
    show_all(f"{name}: a copy moves {bandwidth / 1e6:.3g} TB/s, read plus written")
    for dtype, rate in rates.items():
        show_all(f"matrix products in {dtype} reach {rate / 1e6:.3g} TFLOP/s")
    for kind, found in issued.items():
        show_all(f"{str(kind).removeprefix('torch.')}: {found}")
    return Run(
        clock,
        bandwidth,
        rates,
        generated,
        manner.compiled,
        manner.deadline,
        issued,
        repetitions=manner.repetitions,
        warmup=manner.warmup,
    )


def race_all(run: Run, waiting: Sequence[tuple[Cell, tuple[str, ...]]], done: Done, kept: record.Record) -> None:
    """Measure cells; each is shown, and kept, when it is done."""
    tracker = Tracker(len(waiting))
    for each, directions in waiting:
        with tracker.item(f"{each.case.name} {each.key[1]} {each.case.dtype}") as tell:
            now = replace(run, directions=directions, ready=each.ready(done), tell=tell)
            rows = rows_of(now, each.case)
        for remark in remarks(rows):
            show_all(remark)
        show_all(table(rows))
        for doubt in doubts(rows):
            show_all(doubt)
        release(run.clock.device)
        kept.add(rows)


def rows_of(run: Run, case: Case) -> list[Row]:
    """What a case has come to; one that does not fit is skipped, and does not cost the others."""
    try:
        reason = too_large(run, case)
        return [untimed(run, case, d, reason) for d in run.directions] if reason else measure(run, case)
    except torch.OutOfMemoryError:
        release(run.clock.device)
        return [untimed(run, case, d, f"skipped: needs more than {room(run)}") for d in run.directions]
    except Exception as failure:  # noqa: BLE001 (one case must not cost the others)
        return [lost(run, case, failure)]


def too_large(run: Run, case: Case) -> str:
    """Why a case is not begun, "" if it may fit."""
    this, item, there = work(case, run.generated, run.clock.device), case.storage.itemsize, free(run.clock.device)
    needed = this.bytes(item, timing.rotation(run.clock, item * this.elements()), len(run.directions))
    if there is None or needed <= there:
        return ""
    return f"skipped: needs about {needed / 1e9:.3g} GB, {there / 1e9:.3g} free"


def room(run: Run) -> str:
    there = free(run.clock.device)
    return "there is" if there is None else f"{there / 1e9:.3g} GB, which are free"
