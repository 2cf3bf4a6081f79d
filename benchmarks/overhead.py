"""What a call costs the host, and what its kernels cost the device.

    python -m benchmarks.overhead --peers DIR --out benchmarks/results/NAME.csv

`host us` is the wall time of one call in a row of calls that nothing waits for: the time the host needs to queue the
work. Where it exceeds the device's time, the host is what the user waits for. `device us` is the time of one call in
a captured CUDA graph, which launches kernels without the host. Its inputs stay in the cache where they fit in it, so
that for small sizes it lies below what a cold cache gives. `call us` is the wall time of one call in a row of calls of
which the last is waited for, whatever holds them up.

`launches` are the kernel's own launches alone, as Triton makes them, and `autograd.Function` is a plain one around
them (`by_hand.py`): neither checks anything. `reduce-overhead` is `torch.compile(mode="reduce-overhead")`, which
replays CUDA graphs: of the generated function, and of the module's plain torch reference.
"""

import csv
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.table import Table

from benchmarks.by_hand import by_hand
from kgen import timing
from kgen.bench import add_peers, load_suite
from kgen.figures import show, spell
from kgen.problem import Function, Problem, draw, load_module
from kgen.race import DIRECTIONS, Case, device_name, explain, label

CALLS = 50  # queued between two waits: few enough for the queue never to be full
ROUNDS = 21
COLUMNS = ("case", "size", "contender", "direction", "host_us", "device_us", "call_us", "status", "device", "torch")
GRAPHS = "reduce-overhead"
Work = Callable[[], object]


def host_time(device: torch.device, call: Work, to_the_end: bool = False) -> float:
    """Microseconds until a call returns, its kernels queued, or with `to_the_end` done; the median of rounds."""
    rounds = []
    for _ in range(ROUNDS + 2):
        timing.synchronize(device)
        start = time.perf_counter()
        for _ in range(CALLS):
            call()
        if to_the_end:
            timing.synchronize(device)
        rounds.append(1e6 * (time.perf_counter() - start) / CALLS)
    timing.synchronize(device)
    return statistics.median(rounds[2:])


def device_time(call: Work) -> float:
    """Microseconds of one call of a captured graph of CALLS of them; the median of replays."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # capture refuses what a first call does: compile, initialise, tune
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(CALLS):
            call()
    graph.replay()
    new_event = partial(torch.cuda.Event, enable_timing=True)
    marks = [(new_event(), new_event()) for _ in range(ROUNDS)]
    for start, end in marks:
        start.record()
        graph.replay()
        end.record()
    torch.cuda.synchronize()
    return 1e3 * float(statistics.median(start.elapsed_time(end) for start, end in marks)) / CALLS


def elementwise(x: torch.Tensor, y: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
    """The least that any call through torch costs: one multiplication, saved for its backward."""
    return x * y


def plain(problem: Problem) -> Problem:
    """The first two inputs alone, for `elementwise`."""
    return Problem(problem.inputs[:2], problem.leaves[:2], (0, 1), (torch.randn_like(problem.inputs[0]),))


def contenders(case: Case, generated: Path, problem: Problem) -> list[tuple[str, Problem, Function]]:
    module = load_module(generated / f"{case.module}.py")
    function, reference = getattr(module, case.kernel), getattr(module, f"{case.kernel}_reference")
    found = [("x * y", plain(problem), elementwise), ("kgen", problem, function)]
    written, launches = by_hand(module, function, problem)
    found += [("launches", problem, lambda *_: launches()), ("autograd.Function", problem, written)]
    if torch.cuda.is_available():
        for name, compiled in (("kgen", function), ("reference", reference)):
            found.append((f"{name}, {GRAPHS}", problem, torch.compile(compiled, mode=GRAPHS)))
    for peer in case.peers:
        try:
            found.append((peer.name, problem, peer.load()))
        except ImportError as missing:
            show(f"{peer.name} is not installed: {missing}")
    return found


def rows_of(case: Case, generated: Path, device: torch.device) -> list[dict[str, str]]:
    description = load_module(generated / f"{case.module}.py").KERNELS[case.kernel]
    problem = draw(description, case.sizes, getattr(torch, case.dtype), device)
    rows = []
    for name, work, function in contenders(case, generated, problem):
        for direction, call in DIRECTIONS.items():
            if name == "launches" and direction != "forward":
                continue
            row = dict.fromkeys(COLUMNS, "") | {"case": f"{case.module}.{case.kernel}", "contender": name}
            row |= {"size": label(description, case.sizes), "direction": direction, "status": "ok"}
            row |= {"device": device_name(device), "torch": str(torch.__version__)}
            try:
                row["host_us"] = spell(host_time(device, partial(call, work, function)))
                row["call_us"] = spell(host_time(device, partial(call, work, function), to_the_end=True))
                if device.type == "cuda" and GRAPHS not in name:
                    row["device_us"] = spell(device_time(partial(call, work, function)))
            except Exception as failure:  # noqa: BLE001 (a contender is not ours: what it raises is its result)
                row["status"] = explain(failure)
            rows.append(row)
    return rows


def table(rows: list[dict[str, str]]) -> Table:
    drawn = Table(title=f"{rows[0]['case']}  {rows[0]['size']}", title_justify="left", box=None)
    for name in COLUMNS[2:8]:
        drawn.add_column(name.replace("_", " "), justify="right" if name.endswith("us") else "left", no_wrap=True)
    for row in rows:
        drawn.add_row(*(row[name][:40] for name in COLUMNS[2:8]))
    return drawn


def main(
    suite: Annotated[str, typer.Option(help="The suite whose kernels and peers are taken.")] = "first",
    b: Annotated[list[int] | None, typer.Option(help="Extents of b; by default 64.")] = None,
    n: Annotated[list[int] | None, typer.Option(help="Extents of n, as many as of b; by default 64.")] = None,
    only: Annotated[str, typer.Option(help="Only cases whose name contains this.")] = "",
    peers: Annotated[Path | None, typer.Option(help="A folder of peers' packages.")] = None,
    generated: Annotated[Path, typer.Option(help="The folder of generated modules.")] = Path("generated"),
    out: Annotated[Path | None, typer.Option(help="The CSV to write.")] = None,
) -> None:
    """Host time and device time of single calls, forward and forward+backward, in fp32."""
    if peers is not None:
        add_peers(peers)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kernels = {f"{c.module}.{c.kernel}": c for c in load_suite(suite) if only in f"{c.module}.{c.kernel}"}
    rows: list[dict[str, str]] = []
    for extents in zip(b or [64], n or [64], strict=True):
        for case in kernels.values():
            sized = Case(case.module, case.kernel, dict(zip(("b", "n"), extents)), "float32", case.peers)
            rows += (fresh := rows_of(sized, generated, device))
            show(table(fresh))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    typer.run(main)
