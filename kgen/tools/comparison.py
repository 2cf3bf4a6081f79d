"""How far a result is from the reference, and which kernels ran to make it.

In: tensors and the fp64 tensors that they should equal, or a generated module. Out: a `Difference` for each tensor;
names of launched kernels. A tensor agrees when its relative error is at most the tolerance of its storage dtype and no
element is off by more than ten times that, relative to the root mean square; in 16-bit formats, whose numbers are
further apart the larger they are, an element may besides be off by their spacing.
"""

import contextlib
import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from kgen.tools.problem import runtime

# Arithmetic is fp32, or fp64 where an input is; 16-bit results are rounded once when stored. Two roundings to nearest,
# or one that truncates as in Triton's interpreter, stay within the spacing of the format's numbers: 2^-10 and 2^-7.
TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.float16: torch.finfo(torch.float16).eps,
    torch.bfloat16: torch.finfo(torch.bfloat16).eps,
}
ROUNDED = 2.0**-4  # of matrix products in bf16, whose factors are rounded, too: a gradient passes through several
IN_TF32 = 2.0**-6  # of matrix products whose factors in fp32 are rounded to tf32
OUTLIER = 10.0  # times the tolerance: the largest error of an element over the root mean square


@dataclass(frozen=True, slots=True)
class Difference:
    """The errors of one tensor; infinite where shapes differ or one side alone is not finite."""

    relative: float  # ||a - b|| / ||b||, and ||a|| where b = 0
    largest: float  # max |a - b|, in 16 bits beyond the format's spacing, over the root mean square of b
    tolerance: float

    @property
    def agrees(self) -> bool:
        return self.relative <= self.tolerance and self.largest <= OUTLIER * self.tolerance


def compare(
    result: torch.Tensor, expected: torch.Tensor, products: bool = False, precision: str | None = None
) -> Difference:
    """The errors of a result against fp64. Elements that are finite on neither side are left out, unless all are.

    `products` says that matrices were multiplied on the way, `precision` how in fp32 if the spec fixes that.
    """
    tolerance = ROUNDED if products and result.dtype is torch.bfloat16 else TOLERANCE[result.dtype]
    if precision == "tf32" and result.dtype in (torch.float16, torch.float32) and result.device.type != "cpu":
        tolerance = IN_TF32  # Triton's interpreter rounds nothing
    wrong = Difference(math.inf, math.inf, tolerance)
    if result.shape != expected.shape:
        return wrong
    finite = expected.isfinite()
    if not torch.equal(result.isfinite(), finite) or (expected.numel() and not finite.any()):
        return wrong
    spacing = torch.finfo(result.dtype).eps if result.itemsize == 2 else 0.0
    a, b = result.detach()[finite].double(), expected.detach()[finite].double()
    return Difference(*_errors(a, b, spacing), tolerance)


def _errors(a: torch.Tensor, b: torch.Tensor, spacing: float) -> tuple[float, float]:
    if not b.numel():
        return 0.0, 0.0
    scale = float(b.abs().max()) or 1.0  # squares of small or large elements must not leave the range
    a, b = a / scale, b / scale
    norm = float(b.norm()) or 1.0
    beyond = ((a - b).abs() - spacing * b.abs()).clamp(min=0)
    return float((a - b).norm()) / norm, float(beyond.max()) / (norm / math.sqrt(b.numel()))


@contextlib.contextmanager
def launches(module: Any) -> Iterator[list[str]]:
    """The names of the module's kernels, one for each launch that happens in the context, in their order."""
    launched: list[str] = []
    if importlib.util.find_spec("triton") is None:  # nothing to launch with
        yield launched
        return
    place = runtime(module, "launch")
    launch = place.launch

    def recording(kernel: Any, grid: Any, tensors: Any, *rest: Any) -> None:
        if type(tensors[0]) in place.PLAIN:  # else torch traces, and nothing is launched
            launched.append(kernel.__name__)
        launch(kernel, grid, tensors, *rest)

    place.launch = recording
    try:
        yield launched
    finally:
        place.launch = launch
