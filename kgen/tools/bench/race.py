"""One case of the benchmark: every contender on the same data, compared with fp64 and then timed in turns.

In: a case (a generated module's kernel, sizes, a dtype, peers) and what the run shares. Out: rows. A contender is
compared with the module's reference in fp64 before it is timed, outputs and every gradient; one that is wrong, absent
or raises becomes a row that says so, and the others go on.
"""

import hashlib
import importlib.metadata
import math
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from kgen.tools.bench import timing
from kgen.tools.bench.figures import INTERPRETED, NO_KERNEL, OURS, Row
from kgen.tools.comparison import launches
from kgen.tools.problem import Function, Problem, Tensors, draw, error, in_double, load_module, shape

TOLERANCE = {"float64": 1e-10, "float32": 1e-4, "tf32": 1e-2, "float16": 5e-3, "bfloat16": 2e-2}  # relative
SECONDS = 0.2  # spent on timing one contender in one direction
DIRECTIONS: dict[str, Callable[[Problem, Function], Tensors]] = {
    "forward": Problem.forward,
    "forward+backward": Problem.both,
}


@dataclass(frozen=True, slots=True)
class Peer:
    """Someone else's function of the same inputs. `load` imports it, and raises ImportError where it is absent."""

    name: str
    load: Callable[[], Function]
    plain_torch: bool = False  # then it is measured under torch.compile, too


@dataclass(frozen=True, slots=True)
class Products:
    """The matrix products that a kernel's formula cannot do without, each of these three axes.

    Declared, not counted: a contender may do more than it must, and only those of torch's own operators can be counted.
    """

    axes: tuple[str, str, str]
    forward: int
    backward: int

    def operations(self, sizes: Mapping[str, int], direction: str) -> int:
        count = self.forward + (self.backward if direction != "forward" else 0)
        return 2 * count * math.prod(shape(self.axes, sizes))


@dataclass(frozen=True, slots=True)
class Case:
    """One kernel of the generated package NAME, at one size and dtype, with its default options."""

    module: str
    kernel: str
    sizes: Mapping[str, int] = field(default_factory=dict)  # extents of axes; `b` is the leading axis of "...", too
    dtype: str = "float32"  # or "tf32": float32, whose matrix products torch may round to tf32
    peers: tuple[Peer, ...] = ()
    products: Products | None = None
    positive: tuple[str, ...] = ()  # inputs that are drawn positive
    folder: Path | None = None  # where the module is, if not in the run's folder

    @property
    def name(self) -> str:
        return f"{self.module}.{self.kernel}"

    def path(self, generated: Path) -> Path:
        """The module's file."""
        return (self.folder or generated) / self.module

    @property
    def storage(self) -> torch.dtype:
        return torch.float32 if self.dtype == "tf32" else getattr(torch, self.dtype)


@dataclass(frozen=True, slots=True)
class Contender:
    """Something to measure; without a function, `status` says why."""

    name: str
    function: Function | None
    status: str = "ok"


Verdict = tuple[float | None, str]  # error against fp64, status


@dataclass(frozen=True, slots=True)
class Run:
    """What all cases share."""

    clock: timing.Clock
    bandwidth: float  # bytes per microsecond
    rates: Mapping[str, float]  # matrix operations per microsecond, for each dtype of the cases that have products
    generated: Path
    compiled: bool  # whether torch.compile takes part
    deadline: float  # no compilation starts after it; on time.monotonic's clock
    tell: Callable[[str], None] = lambda text: None  # called before each step, with what it is


@contextmanager
def precision(dtype: str) -> Iterator[None]:
    """Let torch round the operands of fp32 matrix products to tf32, where that is the dtype, and nowhere else."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def matrix_rates(clock: timing.Clock, cases: Iterable[Case]) -> dict[str, float]:
    """The rate of each dtype in which a case has matrix products."""
    rates = {}
    for dtype, storage in {case.dtype: case.storage for case in cases if case.products}.items():
        with precision(dtype):
            rates[dtype] = timing.matrix_rate(clock, storage)
    return rates


def contenders(run: Run, case: Case, module: ModuleType) -> list[Contender]:
    """kgen, the peers, and torch.compile of the reference and of the peers that are plain torch."""
    found = [Contender(OURS, getattr(module, case.kernel))]
    plain: list[tuple[str, Function]] = [("reference", getattr(module, f"{case.kernel}_reference"))]
    for peer in case.peers:
        try:
            found.append(Contender(peer.name, peer.load()))
        except ImportError as missing:
            found.append(Contender(peer.name, None, f"not installed: {missing}"))
        else:
            plain += [(peer.name, peer.load())] if peer.plain_torch else []
    if run.compiled:
        found += [Contender(f"torch.compile({name})", torch.compile(function)) for name, function in plain]
    return found


def check(
    run: Run, problem: Problem, contender: Contender, expected: Mapping[str, Tensors], dtype: str
) -> dict[str, Verdict]:
    """The error and the status of a contender in each direction; this is its warm-up, and its compilation."""
    verdicts: dict[str, Verdict] = {}
    run.tell(f"checking {contender.name}")
    for direction, call in DIRECTIONS.items():
        if contender.function is None:
            verdicts[direction] = None, contender.status
        elif contender.name.startswith("torch.compile") and time.monotonic() > run.deadline:
            verdicts[direction] = None, "skipped: the time budget is spent"
        else:
            timing.poison(run.clock.device, problem.forward_bytes)
            try:
                worst = error(call(problem, contender.function), expected[direction])
            except Exception as failure:  # noqa: BLE001 (a contender is not ours: what it raises is its result)
                verdicts[direction] = None, explain(failure)
            else:
                good = worst <= TOLERANCE[dtype]
                verdicts[direction] = (worst if math.isfinite(worst) else None), "ok" if good else "wrong"
    return verdicts


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
    expected = {direction: call(exact, reference) for direction, call in DIRECTIONS.items()}
    entrants = contenders(run, case, module)
    with launches(module) as launched:
        verdicts = [check(run, problem, entrants[0], expected, case.dtype)]
    verdicts += [check(run, problem, entrant, expected, case.dtype) for entrant in entrants[1:]]
    entrants[0] = replace(entrants[0], name=what_ran(launched, run.clock.device, verdicts[0]))
    del exact, expected
    common = circumstances(run, case) | {"size": label(description, case.sizes)}
    rows: list[Row] = []
    for direction in DIRECTIONS:
        run.tell(f"timing {direction}")
        floor = least(run, case, problem, direction)
        rows += race(run, problem, direction, entrants, [verdict[direction] for verdict in verdicts], floor, common)
    return rows


def what_ran(launched: Sequence[str], device: torch.device, verdicts: Mapping[str, Verdict]) -> str:
    """What `kgen` was in these calls: kernels on the device or in the interpreter, or no kernel at all."""
    if launched:
        return INTERPRETED if device.type == "cpu" else OURS
    raised = all(status.startswith("failed") for _, status in verdicts.values())
    return OURS if raised else NO_KERNEL


def least(run: Run, case: Case, problem: Problem, direction: str) -> float:
    """The microseconds that memory traffic takes at a copy's bandwidth, or matrix products at the device's rate."""
    traffic = problem.forward_bytes + (problem.backward_bytes if direction != "forward" else 0)
    products = case.products.operations(case.sizes, direction) / run.rates[case.dtype] if case.products else 0.0
    return max(traffic / run.bandwidth, products)


def race(
    run: Run,
    problem: Problem,
    direction: str,
    entrants: list[Contender],
    verdicts: list[Verdict],
    floor: float,
    common: dict[str, Any],
) -> Iterator[Row]:
    """Time those whose verdict is "ok", interleaved; a row for everyone, with the floor of its direction."""
    call = DIRECTIONS[direction]
    problems = problem.copies(timing.rotation(run.clock, problem.forward_bytes))
    calls = {
        entrant.name: timing.rotating([partial(call, p, entrant.function) for p in problems])
        for entrant, (_, status) in zip(entrants, verdicts)
        if entrant.function is not None and status == "ok"
    }
    times = timing.medians(run.clock, calls, SECONDS)
    for entrant, (worst, status) in zip(entrants, verdicts):
        time_or_failure, peak = times.get(entrant.name), None
        if isinstance(time_or_failure, Exception):
            median, status = None, explain(time_or_failure)
        elif median := time_or_failure:
            peak = timing.peak_bytes(run.clock.device, calls[entrant.name])
        yield Row(
            contender=entrant.name,
            direction=direction,
            median_us=median,
            floor_us=floor,
            ratio_to_floor=None if median is None else median / floor,
            peak_mb=None if peak is None else peak / 2**20,
            error=worst,
            status=status,
            **common,
        )


# what a row says about its circumstances


def circumstances(run: Run, case: Case) -> dict[str, Any]:
    path = case.path(run.generated)
    return {
        "case": case.name,
        "dtype": case.dtype,
        "device": device_name(run.clock.device),
        "torch": str(torch.__version__),
        "triton": triton_version(),
        "kgen_digest": _digest_of(path),
    }


def _digest_of(package: Path) -> str:
    """Of the text of a package's files, "" where there are none."""
    files = sorted(package.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12] if files else ""


def lost(run: Run, case: Case, failure: Exception) -> Row:
    """The row of a case that could not be set up."""
    return Row(
        **circumstances(run, case),
        size=" ".join(f"{axis}={extent}" for axis, extent in case.sizes.items()),
        contender=OURS,
        direction="",
        median_us=None,
        floor_us=None,
        ratio_to_floor=None,
        peak_mb=None,
        error=None,
        status=explain(failure),
    )


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
