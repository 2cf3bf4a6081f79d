"""The benchmark's command: generated kernels side by side with others, and with the floor that the device sets.

In: a suite file, specs or generated modules. Out: a table for each case, and one CSV that is complete after every case.
Needs generated modules, torch, typer and rich, and triton where there is a GPU; nothing of the generator.
"""

import gc
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from kgen.console import say, steps
from kgen.errors import KgenError
from kgen.tools.bench import timing
from kgen.tools.bench.bounds import Work, refuse_empty, refuse_endless
from kgen.tools.bench.cases import TOLERANCE, Case
from kgen.tools.bench.compare import command as comparison
from kgen.tools.bench.figures import Row, remarks, show, table, write
from kgen.tools.bench.floors import issue_rates, multiplying
from kgen.tools.bench.race import Run, device_name, lost, matrix_rates, measure
from kgen.tools.problem import axes, load_file, load_module, parse_sizes, runtime
from kgen.tools.selection import must_exist, unknown
from kgen.tools.targets import Target, collected, existing, find_device, package_path

SUITES = Path("benchmarks")
DEFINES_CASES = re.compile(r"^CASES\b", re.MULTILINE)
DTYPE = "float32"

app = typer.Typer(add_completion=False)


def load_suite(name: str) -> list[Case]:
    """CASES of the suite benchmarks/NAME.py, or of the Python file NAME."""
    path = Path(name) if name.endswith(".py") else SUITES / f"{name}.py"
    if not path.is_file():
        present = [file.stem for file in sorted(SUITES.glob("*.py")) if DEFINES_CASES.search(file.read_text("utf-8"))]
        raise unknown(f"no suite {path}: a suite is a Python file that defines CASES", name, present)
    suite = load_file(path, f"benchmarks.{path.stem}")
    if not hasattr(suite, "CASES"):
        raise KgenError(f"{path} is no suite", hint="a suite is a Python file that defines CASES")
    return list(suite.CASES)


def cases_of(targets: Sequence[Target], kernels: Sequence[str], dtype: str) -> list[Case]:
    """A case for each kernel of the modules, or for the kernels asked for."""
    must_exist([dtype], TOLERANCE, "unknown dtype {!r}")
    cases = [
        Case(target.path.name, kernel, dtype=dtype, folder=target.path.parent)
        for target in targets
        for kernel in target.module.KERNELS
    ]
    must_exist(kernels, [case.kernel for case in cases], "no target has a kernel {!r}")
    return [case for case in cases if not kernels or case.kernel in kernels]


def select(cases: Sequence[Case], only: str, sizes: Mapping[str, int]) -> list[Case]:
    """The cases whose name contains `only`, with sizes replaced; those that become equal are kept once."""
    if not cases:
        raise KgenError("no cases", hint="name a spec, a generated module or a --suite")
    chosen: list[Case] = []
    for case in cases:
        case = replace(case, sizes={**case.sizes, **sizes})
        if only in case.name and case not in chosen:
            chosen.append(case)
    if not chosen:
        raise unknown(f"no case has {only!r} in its name", only, [case.name for case in cases])
    return chosen


def modules_of(suite: Sequence[Case], generated: Path) -> list[Target]:
    """The modules of a suite's cases; KgenError for those that are not as their spec made them."""
    paths = list(dict.fromkeys(case.path(generated) for case in suite))
    return collected(lambda path: existing(path, path), paths)


def works(cases: Sequence[Case], generated: Path, device: torch.device) -> list[Work]:
    """What the cases compute, and how. Raises KgenError for kernels that their module has not."""
    result = []
    for case in cases:
        module = load_module(case.path(generated))
        must_exist([case.kernel], module.KERNELS, f"{case.module} has no kernel {{!r}}")
        result.append(
            Work(case.name, module.KERNELS[case.kernel], case.sizes, runtime(module, "device").runs_on_triton(device))
        )
    return result


def add_peers(folder: Path) -> None:
    """Make packages in `folder`, and in its folders, importable, behind all that already is."""
    if not folder.is_dir():
        raise KgenError(f"no folder {folder}", hint="--peers names a folder of packages")
    places = [folder, *sorted(p for p in folder.iterdir() if p.is_dir())]
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
    dtype: Annotated[
        str | None, typer.Option(help="The storage type, for targets; or tf32.", show_default=DTYPE)
    ] = None,
    only: Annotated[str, typer.Option(help="Only cases whose name contains this.")] = "",
    peers: Annotated[Path | None, typer.Option(help="A folder of peers' packages.")] = None,
    generated: Annotated[Path, typer.Option(help="The folder of generated modules.")] = Path("generated"),
    out: Annotated[Path | None, typer.Option(help="The CSV to write; it is complete after every case.")] = None,
    device: Annotated[str, typer.Option(help="A torch device.", show_default="a GPU if there is one")] = "",
    budget: Annotated[float, typer.Option(help="Seconds after which nothing is compiled any more.")] = 200.0,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="Whether torch.compile takes part.")] = True,
    compare: Annotated[
        Path | None,
        typer.Option(metavar="BEFORE.csv", help="Time nothing: compare this CSV with the target, AFTER.csv."),
    ] = None,
    contenders: Annotated[str, typer.Option(help="Compare these, with commas; two of them within one CSV.")] = "",
    fail_over: Annotated[str, typer.Option(help="Exit status 1 if a cell is slower by more, such as 5%.")] = "",
) -> None:
    """Time generated kernels against others and the device's floor. Exit status 1 if one of ours is not right."""
    try:
        if compare or contenders or fail_over:
            raise typer.Exit(comparison(compare, targets or [], contenders, fail_over, only))
        if peers is not None:
            add_peers(peers)
        if not targets and (kernel or dtype):
            raise KgenError(f"--{'kernel' if kernel else 'dtype'} is for targets", hint="name a spec or a module")
        sizes = parse_sizes(size or [])
        named = collected(lambda target: existing(target, package_path(target, generated)), targets or [])
        listed = load_suite(suite) if suite else []
        cases = select([*listed, *cases_of(named, kernel or [], dtype or DTYPE)], only, sizes)
        found = [*named, *modules_of([case for case in cases if case.folder is None], generated)]
        clock = timing.clock(find_device(device))
        refuse(works(cases, generated, clock.device), sizes, clock.device)
    except KgenError as mistake:
        say(str(mistake), error=True)
        raise typer.Exit(2) from None
    for target in found:
        if target.remark:
            show(f"{target.name}: {target.remark}")
    rows = race_all(prepared(clock, cases, generated, compiled, budget), cases, out)
    raise typer.Exit(1 if any(row.ours and row.status != "ok" for row in rows) else 0)


def refuse(given: Sequence[Work], sizes: Mapping[str, int], device: torch.device) -> None:
    """Raise KgenError for sizes of axes that no case has, and for those that make no sense on the device."""
    must_exist(sizes, axes(work.description for work in given), "no kernel has an axis {!r}")
    refuse_empty(given)
    if device.type == "cpu":
        refuse_endless(given)


def prepared(clock: timing.Clock, cases: Sequence[Case], generated: Path, compiled: bool, budget: float) -> Run:
    """What all cases share: the device's bandwidth and rates, which are measured and told."""
    name = device_name(clock.device)
    with steps(name) as tell:
        tell("timing copies, matrix products and instructions")
        bandwidth, rates = timing.copy_bandwidth(clock), matrix_rates(clock, multiplying(cases, generated))
        issued = issue_rates(clock, cases, generated)
    show(f"{name}: a copy moves {bandwidth / 1e6:.3g} TB/s, read plus written")
    for dtype, rate in rates.items():
        show(f"matrix products in {dtype} reach {rate / 1e6:.3g} TFLOP/s")
    for kind, found in issued.items():
        show(f"{str(kind).removeprefix('torch.')}: {found}")
    return Run(clock, bandwidth, rates, generated, compiled, time.monotonic() + budget, issued)


def race_all(run: Run, cases: Sequence[Case], out: Path | None) -> list[Row]:
    """The rows of all cases; each case is shown, and written to `out`, when it is done."""
    rows: list[Row] = []
    for number, case in enumerate(cases, 1):
        with steps(f"{number} of {len(cases)}, {case.name}") as tell:
            fresh = rows_of(replace(run, tell=tell), case)
        rows += fresh
        for remark in remarks(fresh):
            show(remark)
        show(table(fresh))
        release(run.clock.device)
        if out is not None:
            write(rows, out)
    return rows


def rows_of(run: Run, case: Case) -> list[Row]:
    try:
        return measure(run, case)
    except Exception as failure:  # noqa: BLE001 (one case must not cost the others)
        return [lost(run, case, failure)]
