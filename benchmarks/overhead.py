"""What a call costs the host, and what its kernels cost the device.

    python -m benchmarks.overhead --peers DIR --out benchmarks/results/NAME.csv

`host us` is the wall time of one call in a row of calls that nothing waits for: the time the host needs to queue the
work. Where it exceeds the device's time, the host is what the user waits for. `device us` is the time of one call in
a captured CUDA graph, which launches kernels without the host. Its inputs stay in the cache where they fit in it, so
that for small sizes it lies below what a cold cache gives. `kernels` is how many kernels, copies and fills one call
puts on the device, by torch's profiler. `call us` is the wall time of one call in a row of calls of
which the last is waited for, whatever holds them up. Calls of ours are taken in turn, a row of each a round, so that
they are comparable where the host is now slow, now fast; peers', which may end their process, are not.

`launches` are the kernel's own launches alone, as Triton makes them, and `autograd.Function` is a plain one around
them (`by_hand.py`): neither checks anything. `reduce-overhead` is `torch.compile(mode="reduce-overhead")`, which
replays CUDA graphs: of the generated function, and of the module's plain torch reference.

Each case runs in a process of its own, and after a measurement that fails the others go on in a fresh one: a capture
that failed leaves torch's random generators as if it went on, which fails whatever is captured next. A measurement that
ends its process is a row that says so.
"""

import csv
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Annotated

import torch
import typer
from rich.table import Table

from benchmarks.apart import Died, apart
from benchmarks.by_hand import by_hand
from kgen.console import say, show_all
from kgen.errors import KgenError
from kgen.tools.bench import timing
from kgen.tools.bench.cases import Case
from kgen.tools.bench.contenders import precision
from kgen.tools.bench.figures import spell
from kgen.tools.bench.plan import add_peers, load_suite, select
from kgen.tools.bench.race import DIRECTIONS, device_name, explain, label
from kgen.tools.problem import Function, Problem, draw, load_module, runtime

COLUMNS = (
    "case",
    "size",
    "dtype",
    "contender",
    "direction",
    "host_us",
    "device_us",
    "call_us",
    "kernels",
    "status",
    "device",
    "torch",
)
OURS = ("x * y", "kgen", "launches", "autograd.Function")
GRAPHS = "reduce-overhead"
GRAPHED = (f"kgen, {GRAPHS}", f"reference, {GRAPHS}")
Work = Callable[[], object]
Row = dict[str, str]
Measurement = tuple[str, str]  # contender and direction


@dataclass(frozen=True, slots=True)
class Effort:
    """How often a call is made."""

    calls: int = 50  # queued between two waits: few enough for the queue never to be full
    rounds: int = 21


@dataclass(frozen=True, slots=True)
class Job:
    """A case by its name, as another process finds it."""

    suite: str
    case: str  # module.kernel
    sizes: dict[str, int]
    generated: Path
    device: str
    effort: Effort = field(default_factory=Effort)
    dtype: str = "float32"

    def load(self) -> Case:
        """The case in this dtype and at these sizes, with the suite's peers."""
        found = next(c for c in load_suite(self.suite) if c.name == self.case)
        return Case(found.module, found.kernel, self.sizes, self.dtype, found.peers)


def host_times(
    device: torch.device, calls: Mapping[Measurement, Work], effort: Effort, to_the_end: bool = False
) -> dict[Measurement, float]:
    """Microseconds until each call returns, its kernels queued, or with `to_the_end` done; medians of rounds.

    In each round all have their turn: a host may be twice as slow for seconds, and what slows it meets all of them.
    """
    rounds: dict[Measurement, list[float]] = {name: [] for name in calls}
    for _ in range(effort.rounds + 2):
        for name, call in calls.items():
            timing.synchronize(device)
            start = time.perf_counter()
            for _ in range(effort.calls):
                call()
            if to_the_end:
                timing.synchronize(device)
            rounds[name].append(1e6 * (time.perf_counter() - start) / effort.calls)
    timing.synchronize(device)
    return {name: statistics.median(times[2:]) for name, times in rounds.items()}


def captured(call: Work, times: int = 1) -> torch.cuda.CUDAGraph:
    """As many calls as one CUDA graph."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # capture refuses what a first call does: compile, initialise, tune
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(times):
            call()
    return graph


def device_time(call: Work, effort: Effort) -> float:
    """Microseconds of one call of a captured graph of many; the median of replays."""
    graph = captured(call, effort.calls)
    graph.replay()
    new_event = partial(torch.cuda.Event, enable_timing=True)
    marks = [(new_event(), new_event()) for _ in range(effort.rounds)]
    for start, end in marks:
        start.record()
        graph.replay()
        end.record()
    torch.cuda.synchronize()
    return 1e3 * float(statistics.median(start.elapsed_time(end) for start, end in marks)) / effort.calls


def device_kernels(call: Work) -> list[float]:
    """What one call puts on the device: the microseconds of each kernel, copy and fill."""
    call()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        call()
        torch.cuda.synchronize()
    events = seen.events() or ()
    return [float(event.device_time) for event in events if event.device_type == torch.autograd.DeviceType.CUDA]


def elementwise(x: torch.Tensor, y: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
    """The least that any call through torch costs: one multiplication, saved for its backward."""
    return x * y


def plain(problem: Problem) -> Problem:
    """The first input and another like it, for `elementwise`."""
    inputs = problem.inputs[0], torch.randn_like(problem.inputs[0])
    leaves = tuple(x.detach().requires_grad_() for x in inputs)
    return Problem(inputs, leaves, (0, 1), (torch.randn_like(inputs[0]),))


def measurements(case: Case) -> list[Measurement]:
    """Those of the rows, in order."""
    contenders = [*OURS, *(GRAPHED if torch.cuda.is_available() else ()), *(peer.name for peer in case.peers)]
    return [(name, d) for name in contenders for d in DIRECTIONS if name != "launches" or d == "forward"]


def contender(case: Case, module: ModuleType, problem: Problem, name: str) -> tuple[Problem, Function]:
    """With what to call, and what; ImportError where a peer is absent."""
    function = getattr(module, case.kernel)
    if name in GRAPHED:
        graphed = function if name == GRAPHED[0] else getattr(module, f"{case.kernel}_reference")
        return problem, torch.compile(graphed, mode=GRAPHS)
    if name in ("launches", "autograd.Function"):
        written, launches = by_hand(module, function, problem)
        return problem, written if name == "autograd.Function" else lambda *_: launches()
    if name == "x * y":
        return plain(problem), elementwise
    return problem, function if name == "kgen" else next(p for p in case.peers if p.name == name).load()


def host_cells(job: Job, calls: Mapping[Measurement, Work]) -> dict[Measurement, Row]:
    """The cells that the host's clock gives."""
    device = torch.device(job.device)
    host, whole = (host_times(device, calls, job.effort, to_the_end) for to_the_end in (False, True))
    return {one: {"host_us": spell(host[one]), "call_us": spell(whole[one])} for one in calls}


def rows_of(job: Job, wanted: Sequence[Measurement]) -> Iterator[Row]:
    """A row for each measurement, up to the first that fails. The host's times of our own are taken in turn."""
    with precision(job.dtype):
        yield from _rows_of(job, wanted)


def _rows_of(job: Job, wanted: Sequence[Measurement]) -> Iterator[Row]:
    case, device = job.load(), torch.device(job.device)
    module = load_module(job.generated / case.module)
    problem = draw(module.KERNELS[case.kernel], job.sizes, case.storage, device)
    ready = cache(partial(contender, case, module, problem))

    def call(one: Measurement) -> Work:
        return partial(DIRECTIONS[one[1]], *ready(one[0]))

    together: dict[Measurement, Row] = {}
    with suppress(Exception):  # one that fails does so again, alone, and says it in its row
        together = host_cells(job, {one: call(one) for one in wanted if one[0] in OURS})
    for one in wanted:
        row = {"status": "ok", "device": device_name(device), "torch": str(torch.__version__)}
        try:
            work = call(one)
            row |= together.get(one) or host_cells(job, {one: work})[one]
            if device.type == "cuda" and one[0] not in GRAPHED:
                row["device_us"] = spell(device_time(work, job.effort))
                row["kernels"] = str(len(device_kernels(work)))
        except ImportError as missing:
            row["status"] = f"not installed: {missing}"
        except Exception as failure:  # noqa: BLE001 (a contender is not ours: what it raises is its result)
            row["status"] = explain(failure)
        yield row
        if row["status"].startswith("failed"):
            return


def measure(job: Job) -> list[Row]:
    """The rows of a case: all from one process, or from a fresh one after each that fails."""
    case = job.load()
    module = load_module(job.generated / case.module)
    if not runtime(module, "device").runs_on_triton(torch.device(job.device)):
        raise KgenError(f"no kernel runs on {job.device}: with TRITON_INTERPRET=1 Triton's interpreter does")
    description = module.KERNELS[case.kernel]
    wanted, rows = measurements(case), list[Row]()
    while len(rows) < len(wanted):
        try:
            for row in apart(rows_of, job, wanted[len(rows) :]):
                rows.append(row)
        except Died as death:
            rows.append({"status": explain(death)})
    common = dict.fromkeys(COLUMNS, "") | {"case": job.case, "size": label(description, job.sizes), "dtype": job.dtype}
    return [common | {"contender": name, "direction": d} | row for (name, d), row in zip(wanted, rows, strict=True)]


def lost(job: Job, failure: Exception) -> Row:
    """The row of a case that could not be set up."""
    size = " ".join(f"{axis}={extent}" for axis, extent in job.sizes.items())
    return dict.fromkeys(COLUMNS, "") | {
        "case": job.case,
        "size": size,
        "dtype": job.dtype,
        "status": explain(failure),
    }


def write(rows: list[Row], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def table(rows: list[Row]) -> Table:
    drawn = Table(title=f"{rows[0]['case']}  {rows[0]['size']}  {rows[0]['dtype']}", title_justify="left", box=None)
    for name in COLUMNS[3:10]:
        figure = name.endswith("us") or name == "kernels"
        drawn.add_column(name.replace("_", " "), justify="right" if figure else "left", no_wrap=True)
    for row in rows:
        drawn.add_row(*(row[name][:40] for name in COLUMNS[3:10]))
    return drawn


def cells(chosen: Sequence[Case], extents: Sequence[tuple[int, int]] | None) -> list[tuple[str, dict[str, int], str]]:
    """Each kernel of the cases once at each b and n in fp32, or without those as often as the suite has it."""
    if extents is None:
        return [(case.name, dict(case.sizes), case.dtype) for case in chosen]
    names = dict.fromkeys(case.name for case in chosen)
    return [(name, {"b": b, "n": n}, "float32") for b, n in extents for name in names]


def main(
    suite: Annotated[str, typer.Option(help="The suite whose kernels and peers are taken.")] = "first",
    b: Annotated[list[int] | None, typer.Option(help="Extents of b; by default 64.")] = None,
    n: Annotated[list[int] | None, typer.Option(help="Extents of n, as many as of b; by default 64.")] = None,
    as_declared: Annotated[bool, typer.Option(help="As the suite has them: sizes, and tf32 or fp32.")] = False,
    only: Annotated[str, typer.Option(help="Only cases whose name contains this.")] = "",
    peers: Annotated[Path | None, typer.Option(help="A folder of peers' packages.")] = None,
    generated: Annotated[Path, typer.Option(help="The folder of generated modules.")] = Path("generated"),
    out: Annotated[Path | None, typer.Option(help="The CSV to write; it is complete after every case.")] = None,
    calls: Annotated[int, typer.Option(help="Calls that are queued between two waits.")] = Effort().calls,
    rounds: Annotated[int, typer.Option(help="Of which a figure is the median.")] = Effort().rounds,
) -> None:
    """Host time and device time of single calls, forward and forward+backward."""
    try:
        if peers is not None:
            add_peers(peers)  # other processes start with this one's sys.path
        chosen = select(load_suite(suite), only, {})
    except KgenError as mistake:
        say(str(mistake), error=True)
        raise typer.Exit(2) from None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows: list[Row] = []
    for case, sizes, dtype in cells(chosen, None if as_declared else list(zip(b or [64], n or [64], strict=True))):
        job = Job(suite, case, sizes, generated, device, Effort(calls, rounds), dtype)
        try:
            fresh = measure(job)
        except Exception as failure:  # noqa: BLE001 (one case must not cost the others)
            fresh = [lost(job, failure)]
        rows += fresh
        show_all(table(fresh))
        if out is not None:
            write(rows, out)


if __name__ == "__main__":
    typer.run(main)
