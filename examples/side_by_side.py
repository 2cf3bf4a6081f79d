"""A model with generated layers beside the same with its own: results, every gradient, times.

The examples that put generated layers into another library's models share this. A comparison is a table with a row for
the result and the gradient of every input and parameter: the relative difference ||ours - theirs|| / ||theirs||, which
may be 1e-5 in fp32 and 1e-10 in fp64, and what rounding alone makes of theirs.
"""

import copy
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

BOUNDS = {torch.float32: 1e-5, torch.float64: 1e-10}  # of ||ours - theirs|| / ||theirs||
ROUNDED = 10  # times what rounding makes of theirs in fp32, where that is more: models may be ill-conditioned
Call = Callable[..., Tensor]  # of a model and its inputs by name
Draw = Callable[..., Tensor]  # of a shape


def scatter(model: nn.Module) -> None:
    """Draw anew what starts as a constant, so that no gate, norm or bias is the same for all channels."""
    with torch.no_grad():
        for parameter in model.parameters():
            if bool((parameter == parameter.flatten()[0]).all()):
                parameter.add_(0.5 * torch.randn_like(parameter))


# what is compared


def step(model: nn.Module, call: Call, inputs: dict[str, Any]) -> Tensor:
    """Forward and backward, with fixed random cotangents; gradients are where torch keeps them."""
    out = call(model, **inputs)
    random = torch.Generator().manual_seed(2)
    out.backward(torch.randn(out.shape, generator=random, dtype=torch.float64).to(out))
    return out.detach()


def results(model: nn.Module, call: Call, inputs: dict[str, Any]) -> dict[str, Tensor]:
    """The result, and the gradient of every input and parameter by name."""
    leaves = {name: x.clone().requires_grad_() if isinstance(x, Tensor) else x for name, x in inputs.items()}
    model.zero_grad()
    found = {"result": step(model, call, leaves)}
    sources = {name: x for name, x in leaves.items() if isinstance(x, Tensor)} | dict(model.named_parameters())
    return found | {f"grad {name}": x.grad.clone() for name, x in sources.items() if x.grad is not None}


def seen(
    theirs: nn.Module,
    change: Callable[[nn.Module], object],
    spoiled: Callable[[nn.Module], nn.Module],
    call: Call,
    inputs: Callable[[Draw], dict[str, Any]],
) -> float:
    """||f - theirs|| / ||theirs||, where f is the model with generated layers, spoiled."""
    like, ours = next(theirs.parameters()), copy.deepcopy(theirs)
    change(ours)
    given = inputs(lambda *shape: torch.randn(shape, dtype=torch.float64).to(like))
    with torch.no_grad():
        right, wrong = call(theirs, **given), call(spoiled(ours), **given)
    return float((wrong - right).norm() / right.norm())


def differences(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """||found - expected|| / ||expected|| of each tensor."""
    if found.keys() != expected.keys():
        raise SystemExit(f"gradients of one model alone: {', '.join(sorted(found.keys() ^ expected.keys()))}")
    pairs = {name: (found[name].double(), x.double()) for name, x in expected.items()}
    return {name: float((x - exact).norm() / exact.norm()) for name, (x, exact) in pairs.items()}


def milliseconds(model: nn.Module, call: Call, inputs: dict[str, Any], repeats: int) -> float:
    """The median time of a step, forward and backward."""
    device = next(model.parameters()).device
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    taken = []
    for _ in range(repeats + 1):  # the first one compiles
        wait()
        start = time.perf_counter()
        step(model, call, inputs)
        wait()
        taken.append(1e3 * (time.perf_counter() - start))
    return statistics.median(taken[1:])


@dataclass(frozen=True)
class Comparison:
    """A model of theirs beside the same with generated layers."""

    title: str
    bound: float
    replaced: list[str]  # kinds
    norms: dict[str, float]
    differences: dict[str, float]
    rounding: dict[str, float]  # how far theirs is from itself in fp64
    before: float  # milliseconds
    after: float

    @property
    def beyond(self) -> list[str]:
        allowed = {name: max(self.bound, ROUNDED * rounding) for name, rounding in self.rounding.items()}
        return [name for name, difference in self.differences.items() if not difference <= allowed[name]]

    def table(self) -> Table:
        """A row for each tensor; times below."""
        found = Table("tensor", "norm", "difference", "rounding", "", title=self.title)
        for name, norm in self.norms.items():
            figures = f"{norm:.3g}", f"{self.differences[name]:.1e}", f"{self.rounding[name]:.1e}"
            found.add_row(name, *figures, "[red]beyond[/]" * (name in self.beyond))
        counts = [f"{count} {kind}" for kind, count in Counter(self.replaced).items()]
        found.caption = (
            f"replaced: {', '.join(counts) or 'nothing'}\n"
            f"{len(self.norms)} tensors, {len(self.beyond)} beyond {self.bound:g}\n"
            f"forward and backward {self.before:.2f} ms before, {self.after:.2f} ms after: a factor of "
            f"{self.before / self.after:.2f}"
        )
        return found


def compare(
    title: str,
    theirs: nn.Module,
    replace: Callable[[nn.Module], dict[str, nn.Module]],
    call: Call,
    inputs: Callable[[Draw], dict[str, Any]],
    repeats: int,
) -> Comparison:
    """A model beside a copy of which `replace` has replaced layers, of inputs that are made of random numbers."""
    like = next(theirs.parameters())
    ours = copy.deepcopy(theirs)
    replaced = [type(layer).__name__ for layer in replace(ours).values()]
    random = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, dtype=torch.float64).to(like)

    given = inputs(draw)
    exact = {name: x.double() if isinstance(x, Tensor) else x for name, x in given.items()}
    found, expected = results(ours, call, given), results(theirs, call, given)
    return Comparison(
        title=f"{title}, {str(like.dtype).removeprefix('torch.')}, {like.device.type}",
        bound=BOUNDS[like.dtype],
        replaced=replaced,
        norms={name: float(x.double().norm()) for name, x in expected.items()},
        differences=differences(found, expected),
        rounding=differences(expected, results(copy.deepcopy(theirs).double(), call, exact)),
        before=milliseconds(theirs, call, given, repeats),
        after=milliseconds(ours, call, given, repeats),
    )
