"""The least time that a device needs for a formula: for its bytes, its instructions, and its products of matrices.

In: an entry of `KERNELS`, whose `work` counts the operations of the formula; extents, bytes, and what is measured of
the device. Out: a `Floor`. A multiply-add is one instruction, and the least that a formula needs is as many as it has
multiplications or additions, whichever are more. Functions cost what was measured, all else is one instruction each.
Of 16-bit tensors each number is converted once, when it is read or written.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from kgen.tools.bench import timing
from kgen.tools.bench.cases import Case
from kgen.tools.bench.figures import Floor
from kgen.tools.bench.rates import CONVERSION, Rates, arithmetic, measured
from kgen.tools.problem import load_module, runtime, shape

FUSED = ("mul", "add")  # what one instruction does
PRODUCT = "product"


def operations(description: Mapping[str, Any], sizes: Mapping[str, int], direction: str) -> Counter[str] | None:
    """How many of each kind the formula has at these extents; None where the package does not say."""
    work = description.get("work", {}).get(direction)
    if work is None:
        return None
    total: Counter[str] = Counter()
    for axes, kinds in work.items():
        points = math.prod(shape(axes.split(), sizes))
        total.update({kind: points * count for kind, count in kinds.items()})
    return total


def functions(description: Mapping[str, Any]) -> set[str]:
    """The kinds of operations of a formula besides multiplications, additions and products of matrices."""
    kinds = (kind for work in description.get("work", {}).values() for kinds in work.values() for kind in kinds)
    return set(kinds).difference(FUSED, (PRODUCT,))


def instructions(total: Mapping[str, int], conversions: int, rates: Rates) -> float:
    """At least so many, in multiply-adds."""
    own = {kind: count for kind, count in total.items() if kind not in (*FUSED, PRODUCT)}
    called = sum(count * rates.costs.get(kind, 1.0) for kind, count in own.items())
    return max(total.get(kind, 0) for kind in FUSED) + called + conversions / 2 * rates.costs.get(CONVERSION, 2.0)


def least(
    total: Counter[str] | None,
    traffic: int,
    storage: torch.dtype,
    bandwidth: float,
    rates: Rates | None,
    matrix: float | None,
) -> Floor:
    """Of a formula's operations and of `traffic` bytes; `bandwidth`, and `matrix` of products, are by the microsecond.

    What is not known, of the formula or of the device, is no part of the floor.
    """
    moved = traffic / bandwidth
    if total is None:
        return Floor(moved)
    converted = traffic // storage.itemsize if storage.itemsize == 2 else 0
    computed = instructions(total, converted, rates) / rates.fused if rates else None
    multiplied = 2 * total[PRODUCT] / matrix if total[PRODUCT] and matrix else None
    return Floor(moved, computed, multiplied, total.total() + total[PRODUCT])


# what is measured of a device


def issue_rates(clock: timing.Clock, cases: Sequence[Case], generated: Path) -> dict[torch.dtype, Rates]:
    """Those of each arithmetic of the cases, with the costs of their functions; none where no kernel can tell."""
    wanted: dict[torch.dtype, set[str]] = {}
    for case in cases:
        narrow = {CONVERSION} if case.storage.itemsize == 2 else set[str]()
        wanted.setdefault(arithmetic(case.storage), set()).update(functions(described(case, generated)) | narrow)
    package = load_module(cases[0].path(generated))
    kernels = _device_functions(package, clock.device)
    if clock.device.type != "cpu" and kernels is None:
        return {}
    return {kind: measured(clock, kind, names, kernels) for kind, names in wanted.items()}


def multiplying(cases: Sequence[Case], generated: Path) -> list[Case]:
    """The cases that have products of matrices."""
    return [case for case in cases if described(case, generated)["products"]]


def described(case: Case, generated: Path) -> Mapping[str, Any]:
    """What the package says of a case's kernel."""
    return load_module(case.path(generated)).KERNELS[case.kernel]  # type: ignore[no-any-return]


def _device_functions(package: ModuleType, device: torch.device) -> ModuleType | None:
    """The package's, where its kernels run on a GPU."""
    if device.type == "cpu" or not runtime(package, "device").runs_on_triton(device):
        return None
    return runtime(package, "kernels")  # type: ignore[no-any-return]
