"""The benchmark's command: generated kernels side by side with others, and with the floor that the device sets.

In: a suite file, specs or generated modules. Out: a table for each case, and one CSV that is complete after every case.
Needs generated modules, torch, typer and rich, and triton where there is a GPU; nothing of the generator.
"""

import gc
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from kgen import timing
from kgen.errors import KgenError
from kgen.figures import Row, show, table, write
from kgen.problem import load_file, load_module, parse_sizes
from kgen.race import TOLERANCE, Case, Run, device_name, lost, matrix_rates, measure

app = typer.Typer(add_completion=False)


def load_suite(name: str) -> list[Case]:
    """CASES of the suite benchmarks/NAME.py, or of the Python file NAME."""
    path = Path(name) if name.endswith(".py") else Path("benchmarks") / f"{name}.py"
    if not path.is_file() or path.suffix != ".py":
        raise KgenError(f"no suite {path}", hint="a suite is a Python file that defines CASES")
    return list(load_file(path, f"benchmarks.{path.stem}").CASES)


def cases_of(target: Path, generated: Path, kernels: list[str], dtype: str) -> list[Case]:
    """A case for each kernel of the module that a spec or a generated module names."""
    present = list(load_module(generated / f"{target.stem}.py").KERNELS)
    if dtype not in TOLERANCE:
        raise KgenError(f"unknown dtype {dtype!r}", hint=f"one of {', '.join(TOLERANCE)}")
    unknown = [name for name in kernels if name not in present]
    if unknown:
        raise KgenError(f"{target.stem} has no kernel {unknown[0]!r}", hint=f"it has {', '.join(present)}")
    return [Case(target.stem, kernel, dtype=dtype) for kernel in kernels or present]


def select(cases: list[Case], only: str, sizes: Mapping[str, int]) -> list[Case]:
    """The cases whose name contains `only`, with sizes replaced; those that become equal are kept once."""
    chosen: list[Case] = []
    for case in cases:
        case = replace(case, sizes={**case.sizes, **sizes})
        if only in f"{case.module}.{case.kernel}" and case not in chosen:
            chosen.append(case)
    if not chosen:
        raise KgenError("no cases", hint="name a spec, a generated module or a --suite")
    return chosen


def add_peers(folder: Path) -> None:
    """Make packages in `folder`, and in its folders, importable, behind all that already is."""
    places = [folder, *sorted(p for p in folder.iterdir() if p.is_dir())] if folder.is_dir() else []
    sys.path += [str(place.resolve()) for place in places]


def release(device: torch.device) -> None:
    """Forget compiled functions and cached memory, so that one case does not weigh on the next."""
    torch._dynamo.reset()
    gc.collect()
    if device.type != "cpu":
        torch.get_device_module(device).empty_cache()


@app.command()
def main(
    targets: Annotated[list[Path] | None, typer.Argument(help="Specs or generated modules; all their kernels.")] = None,
    suite: Annotated[str, typer.Option(help="A suite: benchmarks/SUITE.py, or a Python file.")] = "",
    kernel: Annotated[list[str] | None, typer.Option(help="Only this kernel of the targets.")] = None,
    size: Annotated[list[str] | None, typer.Option(help="AXIS=EXTENT, instead of the suite's or the default.")] = None,
    dtype: Annotated[str, typer.Option(help="The storage type, for targets; or tf32.")] = "float32",
    only: Annotated[str, typer.Option(help="Only cases whose name contains this.")] = "",
    peers: Annotated[Path | None, typer.Option(help="A folder of peers' packages.")] = None,
    generated: Annotated[Path, typer.Option(help="The folder of generated modules.")] = Path("generated"),
    out: Annotated[Path | None, typer.Option(help="The CSV to write; it is complete after every case.")] = None,
    device: Annotated[str, typer.Option(help="A torch device.")] = "cuda" if torch.cuda.is_available() else "cpu",
    budget: Annotated[float, typer.Option(help="Seconds after which nothing is compiled any more.")] = 200.0,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="Whether torch.compile takes part.")] = True,
) -> None:
    """Time generated kernels against others and the device's floor. Exit status 1 if one of ours is not right."""
    try:
        if peers is not None:
            add_peers(peers)
        cases = load_suite(suite) if suite else []
        for target in targets or []:
            cases += cases_of(target, generated, kernel or [], dtype)
        cases = select(cases, only, parse_sizes(size or []))
        clock = timing.clock(torch.device(device))
    except KgenError as mistake:
        show(str(mistake))
        raise typer.Exit(2) from None
    bandwidth, rates = timing.copy_bandwidth(clock), matrix_rates(clock, cases)
    run = Run(clock, bandwidth, rates, generated, compiled, time.monotonic() + budget)
    show(f"{device_name(clock.device)}: a copy moves {run.bandwidth / 1e6:.3g} TB/s, read plus written")
    for name, rate in run.rates.items():
        show(f"matrix products in {name} reach {rate / 1e6:.3g} TFLOP/s")
    rows: list[Row] = []
    for case in cases:
        try:
            fresh = measure(run, case)
        except Exception as failure:  # noqa: BLE001 (one case must not cost the others)
            fresh = [lost(run, case, failure)]
        rows += fresh
        show(table(fresh))
        release(clock.device)
        if out is not None:
            write(rows, out)
    raise typer.Exit(1 if any(row.contender == "kgen" and row.status != "ok" for row in rows) else 0)


if __name__ == "__main__":
    app(prog_name="kgen bench")
