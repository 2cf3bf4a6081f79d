"""Generated kernels against the reference: outputs and every gradient, by name, in numbers.

In: specs or generated modules, dtypes, extents of axes, a device. Out: a table, and 1 if anything differs, else 0.
Each kernel runs in each variant of its bool options on random inputs; the module's reference gets the same, already
rounded values in fp64. Kernels must have been launched, natively on a GPU and elsewhere in Triton's interpreter, unless
an input has no elements.

A spec means the module that was generated from it, which needs torch and triton alone; `targets.py` says which, and
refuses one that is not as the spec made it.
"""

import itertools
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from kgen.console import WIDE, steps
from kgen.tools.comparison import OUTLIER, TOLERANCE, Difference, compare, launches
from kgen.tools.problem import Function, Problem, Tensors, axes, choices, draw, in_double
from kgen.tools.selection import must_exist
from kgen.tools.targets import GENERATED, Target, find_device, opened
from kgen.wording import counted

DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in TOLERANCE}
SIZES = {"b": 5, "n": 17}
OTHER_SIZES = (3, 7, 11, 13, 19, 23)  # of further axes: odd, and no two alike


@dataclass(frozen=True, slots=True)
class Verdict:
    """One tensor of one kernel's variant, or a note on what kept it from being compared."""

    kernel: str
    options: str
    dtype: str
    tensor: str
    difference: Difference | None
    note: str = ""
    empty: bool = False  # nothing was launched, and nothing had to be: an input has no elements

    @property
    def failed(self) -> bool:
        return bool(self.note) or self.wrong

    @property
    def wrong(self) -> bool:
        return self.difference is None or not self.difference.agrees

    @property
    def text(self) -> str:
        right = "ok, empty: nothing to launch" if self.empty else "ok"
        return self.note or ("wrong" if self.wrong else right)


def verify(
    targets: Sequence[str | Path],
    dtypes: Sequence[str] = tuple(DTYPES),
    sizes: Mapping[str, int] | None = None,
    device: str = "",
    generated: Path = GENERATED,
) -> int:
    """Compare all kernels of the targets and print the errors; 0 if all agree, 1 if not.

    `sizes` are extents by axis, 5 for b and 17 for n by default; `device` is a torch device, a GPU if there is one.
    Raises KgenError for targets, dtypes, axes and devices that do not exist, and for modules that are not as their spec
    made them.
    """
    where = _place(device)
    must_exist(dtypes, DTYPES, "unknown dtype {!r}")
    sizes = sizes or {}
    verdicts: list[Verdict] = []
    with warnings.catch_warnings(), opened([Path(target) for target in targets], generated) as found:
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="triton")  # of lanes that a mask discards
        must_exist(
            sizes, axes(k for target in found for k in target.module.KERNELS.values()), "no kernel has an axis {!r}"
        )
        for target in found:
            _show(f"{target.name}: {_summary(target, where)}")
            fresh = _judge_all(target, dtypes, sizes, where)
            _show(_table(fresh))
            verdicts += fresh
    _show(_conclusion(verdicts))
    return 1 if any(v.failed for v in verdicts) else 0


def _judge_all(target: Target, dtypes: Sequence[str], sizes: Mapping[str, int], device: torch.device) -> list[Verdict]:
    verdicts: list[Verdict] = []
    with steps(target.name) as tell:
        for kernel, dtype in itertools.product(target.module.KERNELS, dtypes):
            tell(f"{kernel} in {dtype}")
            verdicts += judge(target.module, kernel, dtype, sizes, device)
    return verdicts


def judge(
    module: ModuleType, kernel: str, dtype: str, sizes: Mapping[str, int], device: torch.device
) -> Iterator[Verdict]:
    """The verdicts on one kernel: for each choice of its bool options, on each output and gradient."""
    description = module.KERNELS[kernel]
    for flags in choices(description):
        verdict = partial(Verdict, kernel, " ".join(f"{k}={v}" for k, v in flags.items()), dtype)
        try:
            yield from _differences(module, kernel, flags, dtype, extents(description, sizes), device, verdict)
        except Exception as failure:  # noqa: BLE001 (a kernel that raises is a finding, and the others go on)
            first = next(iter(str(failure).strip().splitlines()), "")
            yield verdict("", None, f"{type(failure).__name__}: {first}"[:100])


def _differences(
    module: ModuleType,
    kernel: str,
    flags: Mapping[str, bool],
    dtype: str,
    sizes: Mapping[str, int],
    device: torch.device,
    verdict: "partial[Verdict]",
) -> Iterator[Verdict]:
    description = module.KERNELS[kernel]
    problem = draw(description, sizes, DTYPES[dtype], device)
    with launches(module) as launched:
        outputs = _outputs(getattr(module, kernel), problem, flags)
        forward = len(launched)
        grads = _gradients(outputs, problem)
    exact = in_double(problem)
    expected = _outputs(getattr(module, f"{kernel}_reference"), exact, flags)
    slopes = _gradients(expected, exact)
    empty = not all(x.numel() for x in problem.inputs)
    backward = len(launched) > forward or not any(bool(g.any()) for g in slopes)
    note = "" if empty or (forward and backward) else "no kernel was launched"
    names = (*description["outputs"], *(f"grad {name}" for name in description["grads"]))
    for name, a, b in zip(names, (*outputs, *grads), (*expected, *slopes), strict=True):
        difference = compare(a, b, description.get("products", False), description.get("precision"))
        yield verdict(name, difference, note, empty and not launched)


def _outputs(function: Function, problem: Problem, flags: Mapping[str, bool]) -> Tensors:
    value: Any = function(*problem.leaves, **flags)
    return value if isinstance(value, tuple) else (value,)


def _gradients(outputs: Tensors, problem: Problem) -> Tensors:
    """The gradients of the declared inputs; one that autograd knows to be zero is a tensor of zeros."""
    sources = [problem.leaves[i] for i in problem.wanted]
    pairs = [(o, c) for o, c in zip(outputs, problem.cotangents) if o.requires_grad]
    if not sources or not pairs:
        return tuple(torch.zeros_like(x) for x in sources)
    grads = torch.autograd.grad([o for o, _ in pairs], sources, [c for _, c in pairs], allow_unused=True)
    return tuple(torch.zeros_like(x) if g is None else g for x, g in zip(sources, grads))


def extents(description: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, int]:
    """An extent for each named axis of an entry of KERNELS: as given, else the default."""
    others = itertools.cycle(OTHER_SIZES)
    return {axis: sizes[axis] if axis in sizes else SIZES.get(axis) or next(others) for axis in axes([description])}


def _place(name: str) -> torch.device:
    """The device, with Triton's interpreter switched on where there is no GPU: modules read that when imported."""
    device = find_device(name)
    if device.type == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    return device


# what is printed


def _summary(target: Target, device: torch.device) -> str:
    how = (
        "in Triton's interpreter" if device.type == "cpu" else f"on {torch.get_device_module(device).get_device_name()}"
    )
    text = f"{target.path.name}, {counted(len(target.module.KERNELS), 'kernel')} {how}, against the reference in fp64"
    return f"{text}; {target.remark}" if target.remark else text


def _conclusion(verdicts: Sequence[Verdict]) -> str:
    """One line on all; that nothing was launched for some of them is part of it."""
    if any(v.failed and v.difference for v in verdicts):
        return "some kernels differ from the reference"
    if any(v.failed for v in verdicts):
        return "some kernels could not be compared with the reference"
    empty = sum(v.empty for v in verdicts)
    if empty == len(verdicts):
        return "nothing to launch at these sizes, and no kernel was: shapes agree with the reference"
    nothing = f"; nothing was launched for {counted(empty, 'result')}" if empty else ""
    return f"all kernels agree with the reference{nothing}"


def _table(verdicts: Sequence[Verdict]) -> Table:
    drawn = Table(box=None, pad_edge=False)
    for heading in ("kernel", "options", "dtype", "tensor"):
        drawn.add_column(heading, no_wrap=True)
    for heading in ("error", "largest", "allowed"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    drawn.add_column("")
    for v in verdicts:
        found = v.difference
        numbers = (found.relative, found.largest / OUTLIER, found.tolerance) if found else ()
        texts = [f"{x:.1e}" for x in numbers] or [""] * 3
        drawn.add_row(v.kernel, v.options, v.dtype, v.tensor, *texts, v.text, style="red" if v.failed else "")
    return drawn


def _show(item: Table | str) -> None:
    """A table as wide as the terminal; in a file or a pipe in one line a row, for who searches for notes."""
    console = Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)
    console.print(item, markup=False, soft_wrap=isinstance(item, str))
