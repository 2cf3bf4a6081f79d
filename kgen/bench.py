"""Functions of one's own, timed as `kgen bench` times kernels: side by side, on the same data, right before fast.

In: callables of the same tensors, and tensors, or what makes them for each size. Out: a `Row` for each function and
direction, with medians, spreads, errors and the floor of memory traffic, which is measured once on each device. What a
function raises is its row's status. Needs torch; runs on a GPU or a CPU.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import torch

from kgen.console import show_all as show
from kgen.errors import KgenError
from kgen.tools.bench import timing
from kgen.tools.bench.cases import TOLERANCE
from kgen.tools.bench.contenders import Contender
from kgen.tools.bench.figures import Floor, Row, table, write
from kgen.tools.bench.race import DIRECTIONS, Run, Verdict, check, device_name, race, traffic, triton_version
from kgen.tools.bench.readings import read
from kgen.tools.problem import Function, Problem, Tensors, in_double
from kgen.tools.selection import must_exist
from kgen.tools.targets import find_device

__all__ = ["Row", "read", "run", "show", "sweep", "table", "write"]

Functions = Mapping[str, Function] | Sequence[Function] | Function


def run(
    functions: Functions,
    inputs: Sequence[torch.Tensor],
    *,
    repetitions: int | None = None,
    warmup: int | None = None,
    directions: Sequence[str] | None = None,
    device: torch.device | str | None = None,
    reference: Function | None = None,
    case: str = "functions",
    size: str | None = None,
) -> list[Row]:
    """Time functions of the same inputs; the rows of each direction in the order of the functions.

    A function takes the inputs and returns a tensor or a tuple of tensors, of floating-point numbers. By default it is
    timed "forward" and "forward+backward", with random cotangents, for the gradients of those inputs that require them,
    or if none does of all that are floating-point. `repetitions` and `warmup` are calls, at least; by default as many
    as 0.2 s have place for, after 20. `device` is where the inputs are, or are moved to.

    Each is compared with `reference`, evaluated in fp64 on the same values, or without one with the first function as
    it is; one that is wrong gets no time. `case` and `size` name the rows; a size is the inputs' shapes by default.
    Raises KgenError for arguments that make no sense, and what the reference raises.
    """
    named = _named(functions)
    problem = _problem(inputs, device)
    dtype = _dtype(problem.inputs)
    chosen = tuple(directions or (DIRECTIONS if problem.wanted else ["forward"]))
    must_exist(chosen, DIRECTIONS, "unknown direction {!r}")
    for name, value in (("repetitions", repetitions), ("warmup", warmup)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise KgenError(f"{name}={value} is no number of calls", hint=f"{name} is a whole number from 1")
    first = next(iter(named.values()))
    problem = _with_cotangents(problem, reference or first)
    common = {
        "case": case,
        "size": _shapes(problem.inputs) if size is None else size,
        "dtype": dtype,
        "device": device_name(problem.inputs[0].device),
        "torch": str(torch.__version__),
        "triton": triton_version(),
        "kgen_digest": "",
    }
    return list(_rows(_settings(problem, chosen, repetitions, warmup), problem, named, reference, common))


def sweep(
    functions: Functions,
    make_inputs: Callable[..., Sequence[torch.Tensor]],
    grid: Mapping[str, Sequence[int]],
    *,
    repetitions: int | None = None,
    warmup: int | None = None,
    directions: Sequence[str] | None = None,
    device: torch.device | str | None = None,
    reference: Function | None = None,
    case: str = "functions",
) -> list[Row]:
    """The rows of `run` at every combination of the grid's extents; `make_inputs(b=…, n=…)` makes the inputs of one.

    The rest is as in `run`. A cell that does not fit the device's memory is one row that says so.
    """
    for axis, each in grid.items():
        if not each or min(each) < 1:
            raise KgenError(f"extents {tuple(each)} of {axis} leave nothing to time", hint="extents start at 1")
    rows: list[Row] = []
    for extents in product(*grid.values()):
        sizes = dict(zip(grid, extents))
        try:
            rows += run(
                functions,
                make_inputs(**sizes),
                repetitions=repetitions,
                warmup=warmup,
                directions=directions,
                device=device,
                reference=reference,
                case=case,
                size=" ".join(f"{axis}={extent}" for axis, extent in sizes.items()),
            )
        except torch.OutOfMemoryError:
            rows.append(_skipped(case, sizes, device))
    return rows


def _named(functions: Functions) -> dict[str, Function]:
    if isinstance(functions, Mapping):
        named = dict(functions)
    else:
        each = [functions] if callable(functions) else list(functions)
        named = {getattr(function, "__name__", repr(function)): function for function in each}
        if len(named) < len(each):
            raise KgenError("two functions have one name", hint="give them names: {'mine': f, 'theirs': g}")
    if not named:
        raise KgenError("no functions to time")
    return named


def _problem(inputs: Sequence[torch.Tensor], device: torch.device | str | None) -> Problem:
    """Without cotangents, which need results."""
    if isinstance(inputs, torch.Tensor):
        raise KgenError("inputs must be a sequence of tensors, not one", hint="[x] in place of x")
    if not inputs or not all(isinstance(x, torch.Tensor) for x in inputs):
        raise KgenError("inputs must be tensors, and at least one", hint="bind other arguments with functools.partial")
    places = {x.device for x in inputs}
    if device is None and len(places) > 1:
        raise KgenError(f"inputs are on {' and '.join(sorted(map(str, places)))}", hint="give a device")
    asking = [i for i, x in enumerate(inputs) if x.requires_grad]
    wanted = asking or [i for i, x in enumerate(inputs) if x.is_floating_point()]
    place = find_device(str(device)) if device else inputs[0].device
    if "meta" in (place.type, *(x.device.type for x in inputs)):
        raise KgenError("inputs on the device meta have no values", hint="such as cpu or cuda")
    values = tuple(x.detach().to(place) for x in inputs)
    leaves = tuple(x.detach().requires_grad_(i in wanted) for i, x in enumerate(values))
    return Problem(values, leaves, tuple(wanted), ())


def _with_cotangents(problem: Problem, function: Function) -> Problem:
    random = torch.Generator(problem.inputs[0].device).manual_seed(20)

    def normal(x: torch.Tensor) -> torch.Tensor:
        return torch.randn(x.shape, generator=random, device=x.device, dtype=torch.float32).to(x.dtype)

    results = problem.forward(function)
    if strange := [type(x).__name__ for x in results if not isinstance(x, torch.Tensor)]:
        raise KgenError(f"a result is of type {strange[0]}", hint="functions return a tensor, or a tuple of tensors")
    return Problem(problem.inputs, problem.leaves, problem.wanted, tuple(map(normal, results)))


def _dtype(inputs: Tensors) -> str:
    """The least exact among the inputs, which says how far results may be off."""
    names = [str(x.dtype).removeprefix("torch.") for x in inputs if x.is_floating_point() or x.is_complex()]
    must_exist(names, TOLERANCE, "how exact is {!r}? it has no tolerance")
    return max(names or ["float32"], key=lambda name: TOLERANCE[name])


def _shapes(inputs: Tensors) -> str:
    """Such as "4x8 8"."""
    return " ".join("x".join(map(str, x.shape)) or "1" for x in inputs)


def _settings(problem: Problem, directions: tuple[str, ...], repetitions: int | None, warmup: int | None) -> Run:
    clock = timing.clock(problem.inputs[0].device)
    return Run(
        clock,
        _bandwidth(clock),
        {},
        Path(),
        compiled=False,
        deadline=math.inf,
        directions=directions,
        repetitions=repetitions,
        warmup=warmup,
    )


_bandwidth = cache(timing.copy_bandwidth)


def _rows(
    run: Run, problem: Problem, named: Mapping[str, Function], reference: Function | None, common: dict[str, Any]
) -> Iterator[Row]:
    entrants = [Contender(name, function) for name, function in named.items()]
    exact = in_double(problem) if reference else problem
    truth = reference or next(iter(named.values()))
    expected = {d: tuple(x.double() for x in DIRECTIONS[d](exact, truth)) for d in run.directions}
    verdicts = [_checked(run, problem, entrant, expected, common["dtype"]) for entrant in entrants]
    if reference is None:  # what the first is compared with is itself
        verdicts[0] = {d: Verdict(verdict.status) for d, verdict in verdicts[0].items()}
    for direction in run.directions:
        found = [verdict[direction] for verdict in verdicts]
        least = Floor(traffic(problem, direction) / run.bandwidth)
        yield from race(run, problem, direction, entrants, found, least, common)


def _checked(
    run: Run, problem: Problem, entrant: Contender, expected: Mapping[str, Tensors], dtype: str
) -> dict[str, Verdict]:
    """Whether a function is right; KgenError where it writes to its inputs, which the others are given, too."""
    before = [x._version for x in problem.inputs]
    found = check(run, problem, entrant, expected, dict.fromkeys(run.directions, TOLERANCE[dtype]))
    if [x._version for x in problem.inputs] != before:
        raise KgenError(f"{entrant.name} writes to its inputs", hint="let it copy them: each call is given the same")
    return found


def _skipped(case: str, sizes: Mapping[str, int], device: torch.device | str | None) -> Row:
    return Row(
        case=case,
        size=" ".join(f"{axis}={extent}" for axis, extent in sizes.items()),
        dtype="",
        contender="",
        direction="",
        status="skipped: does not fit memory",
        device=device_name(find_device(str(device or ""))),
        torch=str(torch.__version__),
        triton=triton_version(),
        kgen_digest="",
    )
