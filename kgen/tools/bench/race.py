"""One case of the benchmark: every contender on the same data, compared with fp64 and then timed in turns.

In: a case (a generated module's kernel, sizes, a dtype, peers) and what the run shares. Out: rows. A contender is
compared with the module's reference in fp64 before it is timed, outputs and every gradient; one that is wrong, absent
or raises becomes a row that says so, and the others go on. Where the reference itself, in the case's dtype, is far from
fp64, a contender may be so, too.
"""

import hashlib
import importlib.metadata
import math
import platform
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from kgen.errors import KgenError
from kgen.tools.bench import figures, floors, timing
from kgen.tools.bench.cases import TOLERANCE, Case
from kgen.tools.bench.contenders import Contender, contenders, precision
from kgen.tools.bench.figures import INTERPRETED, NO_KERNEL, OURS, SPENT, Floor, Row
from kgen.tools.bench.rates import Rates, arithmetic
from kgen.tools.comparison import launches
from kgen.tools.problem import Function, Problem, Tensors, draw, error, in_double, largest, load_module, shape

SECONDS = 0.2  # spent on timing one contender in one direction
SLACK = 3.0  # times the reference's own error: sums in another order, and one rounding more or less
DIRECTIONS: dict[str, Callable[[Problem, Function], Tensors]] = dict(
    zip(figures.DIRECTIONS, (Problem.forward, Problem.both), strict=True)
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a contender is right in one direction; errors are against fp64."""

    status: str
    error: float | None = None
    max_abs: float | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """What all cases share."""

    clock: timing.Clock
    bandwidth: float  # bytes per microsecond
    rates: Mapping[str, float]  # matrix operations per microsecond, for each dtype of the cases that have products
    generated: Path
    compiled: bool  # whether torch.compile takes part
    deadline: float  # no compilation starts after it; on time.monotonic's clock
    issued: Mapping[torch.dtype, Rates] = field(default_factory=dict)  # instructions, for each arithmetic of the cases
    directions: tuple[str, ...] = tuple(DIRECTIONS)
    ready: Collection[str] = ()  # contenders of this case that are compiled already, whatever the time
    repetitions: int | None = None  # of each contender in each direction; None: as many as SECONDS have place for
    warmup: int | None = None  # calls before those that count
    tell: Callable[[str], None] = lambda text: None  # called before each step, with what it is


def matrix_rates(clock: timing.Clock, cases: Iterable[Case]) -> dict[str, float]:
    """The rate of matrix products in the dtype of each case."""
    rates = {}
    for dtype, storage in {case.dtype: case.storage for case in cases}.items():
        with precision(dtype):
            rates[dtype] = timing.matrix_rate(clock, storage)
    return rates


def allowed(problem: Problem, reference: Function, expected: Mapping[str, Tensors], dtype: str) -> dict[str, float]:
    """The error up to which a contender is right: the dtype's, or more where plain torch has a like one."""
    own = {direction: error(DIRECTIONS[direction](problem, reference), exact) for direction, exact in expected.items()}
    return {
        d: max(TOLERANCE[dtype], SLACK * worst) if math.isfinite(worst) else TOLERANCE[dtype]
        for d, worst in own.items()
    }


def check(
    run: Run,
    problem: Problem,
    contender: Contender,
    expected: Mapping[str, Tensors],
    tolerances: Mapping[str, float],
) -> dict[str, Verdict]:
    """The error and the status of a contender in each direction; this is its warm-up, and its compilation."""
    verdicts: dict[str, Verdict] = {}
    run.tell(f"checking {contender.name}")
    for direction in run.directions:
        if contender.function is None:
            verdicts[direction] = Verdict(contender.status)
        elif contender.compiled and contender.name not in run.ready and time.monotonic() > run.deadline:
            verdicts[direction] = Verdict(SPENT)
        else:
            timing.poison(run.clock.device, problem.forward_bytes)
            try:
                verdicts[direction] = judge(
                    DIRECTIONS[direction](problem, contender.function), expected[direction], tolerances[direction]
                )
            except Exception as failure:  # noqa: BLE001 (a contender is not ours: what it raises is its result)
                verdicts[direction] = Verdict(explain(failure))
    return verdicts


def judge(results: Tensors, expected: Tensors, tolerance: float) -> Verdict:
    worst = error(results, expected)
    if not math.isfinite(worst):
        return Verdict("wrong")
    return Verdict("ok" if worst <= tolerance else "wrong", worst, largest(results, expected))


def explain(failure: Exception) -> str:
    """An exception as one short line."""
    first = next(iter(str(failure).strip().splitlines()), "")
    return f"failed: {type(failure).__name__}: {first}"[:200]


def measure(run: Run, case: Case) -> list[Row]:
    """The rows of one case: every contender forward, then every contender forward and backward."""
    with precision(case.dtype):
        return _measure(run, case)


def _measure(run: Run, case: Case) -> list[Row]:
    module = load_module(case.path(run.generated))
    description = module.KERNELS[case.kernel]
    problem = draw(description, case.sizes, case.storage, run.clock.device, case.positive)
    reference, exact = getattr(module, f"{case.kernel}_reference"), in_double(problem)
    expected = {direction: DIRECTIONS[direction](exact, reference) for direction in run.directions}
    tolerances = allowed(problem, reference, expected, case.dtype)
    entrants = contenders(case, module, run.compiled)
    with launches(module) as launched:
        verdicts = [check(run, problem, entrants[0], expected, tolerances)]
    verdicts += [check(run, problem, entrant, expected, tolerances) for entrant in entrants[1:]]
    entrants[0] = replace(entrants[0], name=what_ran(launched, run.clock.device, verdicts[0]))
    del exact, expected
    common = circumstances(run.clock.device, case, run.generated) | {"size": label(description, case.sizes)}
    rows: list[Row] = []
    for direction in run.directions:
        run.tell(f"timing {direction}")
        floor = least(run, case, description, problem, direction)
        rows += race(run, problem, direction, entrants, [verdict[direction] for verdict in verdicts], floor, common)
    return rows


def what_ran(launched: Sequence[str], device: torch.device, verdicts: Mapping[str, Verdict]) -> str:
    """What `kgen` was in these calls: kernels on the device or in the interpreter, or no kernel at all."""
    if launched:
        return INTERPRETED if device.type == "cpu" else OURS
    raised = all(verdict.status.startswith("failed") for verdict in verdicts.values())
    return OURS if raised else NO_KERNEL


def least(run: Run, case: Case, description: Mapping[str, Any], problem: Problem, direction: str) -> Floor:
    """What memory traffic, instructions and matrix products take at the rates of the device."""
    moved, total = traffic(problem, direction), floors.operations(description, case.sizes, direction)
    issued = run.issued.get(arithmetic(case.storage))
    return floors.least(total, moved, case.storage, run.bandwidth, issued, run.rates.get(case.dtype))


def traffic(problem: Problem, direction: str) -> int:
    """Bytes that a call cannot do without."""
    return problem.forward_bytes + (problem.backward_bytes if direction != "forward" else 0)


def race(
    run: Run,
    problem: Problem,
    direction: str,
    entrants: list[Contender],
    verdicts: list[Verdict],
    floor: Floor,
    common: dict[str, Any],
) -> Iterator[Row]:
    """Time those whose verdict is "ok", interleaved; a row for everyone, with the floor of its direction."""
    call = DIRECTIONS[direction]
    problems = problem.copies(timing.rotation(run.clock, problem.forward_bytes))
    calls = {
        entrant.name: timing.rotating([partial(call, p, entrant.function) for p in problems])
        for entrant, verdict in zip(entrants, verdicts)
        if entrant.function is not None and verdict.status == "ok"
    }
    times = timing.timed(run.clock, calls, timing.Effort(SECONDS, run.repetitions, run.warmup))
    for entrant, verdict in zip(entrants, verdicts):
        found, status = times.get(entrant.name), verdict.status
        if isinstance(found, Exception):
            status = explain(found)
        timed = found if isinstance(found, timing.Timed) else None
        peak = timing.peak_bytes(run.clock.device, calls[entrant.name]) if timed else None
        yield Row(
            contender=entrant.name,
            direction=direction,
            median_us=timed.median if timed else None,
            spread=timed.spread if timed else None,
            peak_mb=None if peak is None else peak / 2**20,
            error=verdict.error,
            max_abs=verdict.max_abs,
            status=status,
            **floor.columns(timed.median if timed else None),
            **common,
        )


# what a row says about its circumstances


def circumstances(device: torch.device, case: Case, generated: Path) -> dict[str, Any]:
    """Columns of every row of a case."""
    return {
        "case": case.name,
        "dtype": case.dtype,
        "device": device_name(device),
        "torch": str(torch.__version__),
        "triton": triton_version(),
        "kgen_digest": _digest_of(case.path(generated)),
    }


def _digest_of(package: Path) -> str:
    """Of the text of a package's files, "" where there are none."""
    files = sorted(package.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12] if files else ""


def lost(run: Run, case: Case, failure: Exception) -> Row:
    """The row of a case that could not be set up."""
    return untimed(run, case, "", explain(failure))


def untimed(run: Run, case: Case, direction: str, status: str) -> Row:
    """Ours, of a case whose status says why nothing was timed."""
    return Row(
        **circumstances(run.clock.device, case, run.generated),
        size=size_of(case, run.generated),
        contender=OURS,
        direction=direction,
        status=status,
    )


def size_of(case: Case, generated: Path) -> str:
    """The extents of the case's axes, as given where there is no such kernel."""
    try:
        return label(load_module(case.path(generated)).KERNELS[case.kernel], case.sizes)
    except (KgenError, LookupError):
        return " ".join(f"{axis}={extent}" for axis, extent in case.sizes.items())


def label(description: Mapping[str, Any], sizes: Mapping[str, int]) -> str:
    """The extents of the named axes, in the order in which the inputs first name them: "b=4096 n=512"."""
    axes = dict.fromkeys("b" if d == "..." else d for dims in description["inputs"].values() for d in dims)
    return " ".join(f"{axis}={shape((axis,), sizes)[0]}" for axis in axes if isinstance(axis, str))


def device_name(device: torch.device) -> str:
    if device.type == "cpu":
        return f"CPU {platform.machine()}"
    return str(torch.get_device_module(device).get_device_name())


def triton_version() -> str:
    try:
        return importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return ""
