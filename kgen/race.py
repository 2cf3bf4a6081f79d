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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from kgen import timing
from kgen.figures import Row
from kgen.problem import Function, Problem, Tensors, draw, error, in_double, load_module, shape

TOLERANCE = {"float64": 1e-10, "float32": 1e-4, "float16": 5e-3, "bfloat16": 2e-2}  # relative; tf32 would fail
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
class Case:
    """One kernel of the generated module NAME.py, at one size and dtype, with its default options."""

    module: str
    kernel: str
    sizes: Mapping[str, int] = field(default_factory=dict)  # extents of axes; `b` is the leading axis of "...", too
    dtype: str = "float32"
    peers: tuple[Peer, ...] = ()


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
    generated: Path
    compiled: bool  # whether torch.compile takes part
    deadline: float  # no compilation starts after it; on time.monotonic's clock


def contenders(run: Run, case: Case, module: ModuleType) -> list[Contender]:
    """kgen, the peers, and torch.compile of the reference and of the peers that are plain torch."""
    found = [Contender("kgen", getattr(module, case.kernel))]
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
    module = load_module(run.generated / f"{case.module}.py")
    description = module.KERNELS[case.kernel]
    problem = draw(description, case.sizes, getattr(torch, case.dtype), run.clock.device)
    reference, exact = getattr(module, f"{case.kernel}_reference"), in_double(problem)
    expected = {direction: call(exact, reference) for direction, call in DIRECTIONS.items()}
    entrants = contenders(run, case, module)
    verdicts = [check(run, problem, entrant, expected, case.dtype) for entrant in entrants]
    del exact, expected
    common = circumstances(run, case) | {"size": label(description, case.sizes)}
    rows: list[Row] = []
    for direction in DIRECTIONS:
        rows += race(run, problem, direction, entrants, [verdict[direction] for verdict in verdicts], common)
    return rows


def race(
    run: Run,
    problem: Problem,
    direction: str,
    entrants: list[Contender],
    verdicts: list[Verdict],
    common: dict[str, Any],
) -> Iterator[Row]:
    """Time those whose verdict is "ok", interleaved; a row for everyone."""
    call = DIRECTIONS[direction]
    problems = problem.copies(timing.rotation(run.clock, problem.forward_bytes))
    calls = {
        entrant.name: timing.rotating([partial(call, p, entrant.function) for p in problems])
        for entrant, (_, status) in zip(entrants, verdicts)
        if entrant.function is not None and status == "ok"
    }
    times = timing.medians(run.clock, calls, SECONDS)
    traffic = problem.forward_bytes + (problem.backward_bytes if direction != "forward" else 0)
    floor = traffic / run.bandwidth
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
    path = run.generated / f"{case.module}.py"
    return {
        "case": f"{case.module}.{case.kernel}",
        "dtype": case.dtype,
        "device": device_name(run.clock.device),
        "torch": str(torch.__version__),
        "triton": triton_version(),
        "kgen_digest": hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() else "",
    }


def lost(run: Run, case: Case, failure: Exception) -> Row:
    """The row of a case that could not be set up."""
    return Row(
        **circumstances(run, case),
        size=" ".join(f"{axis}={extent}" for axis, extent in case.sizes.items()),
        contender="kgen",
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
