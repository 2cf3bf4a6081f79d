"""Puts generated layers into CGENN's own models, and compares: results, every gradient, times.

    python examples/cgenn/compare.py CHECKOUT
    python examples/cgenn/compare.py CHECKOUT --model o3 --dtype float32 --only SteerableGeometricProductLayer

CHECKOUT is a folder with https://github.com/DavidRuhe/clifford-group-equivariant-neural-networks, whose models are
built as they are there, with random parameters in place of the ones and zeros that some start from. Takes a GPU where
torch finds one, else the CPU, where generated functions call their references (with TRITON_INTERPRET=1 the kernels run
there, too). The exit status is 1 where a difference is beyond its bound.
"""

import argparse
import copy
import importlib
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))  # for `replace`, also where this file is imported

from replace import LAYERS, replace

BOUNDS = {torch.float32: 1e-5, torch.float64: 1e-10}  # of ||ours - theirs|| / ||theirs||
ROUNDED = 10  # times what rounding makes of theirs in fp32, where that is more: models may be ill-conditioned


@dataclass(frozen=True)
class Model:
    """One of the checkout's models: where it is, what it is built with, and what its layers are given."""

    place: str  # module and class
    options: dict[str, Any]
    inputs: Callable[[Callable[..., Tensor], int], dict[str, Any]]  # of a draw of numbers and a size, by argument


def edges(size: int, device: torch.device) -> tuple[Tensor, ...]:
    """Of graphs of five nodes, each of which hears of all others."""
    ends = zip(*((i, j) for i in range(5) for j in range(5) if i != j))
    return tuple((torch.tensor(end) + 5 * torch.arange(size)[:, None]).flatten().to(device) for end in ends)


def particles(draw: Callable[..., Tensor], size: int) -> dict[str, Any]:
    """Multivectors have all grades, so that all parameters matter."""
    h = draw(5 * size, 3, 8)
    return {"h": h, "edges": edges(size, h.device), "edge_attr": draw(20 * size, 1, 8)}


def jets(draw: Callable[..., Tensor], size: int) -> dict[str, Any]:
    nodes, x = 5 * size, draw(5 * size, 1, 16)
    of_nodes = {
        "node_attr_h": draw(nodes, 2),
        "node_attr_x": draw(nodes, 1, 16),
        "node_mask": torch.ones_like(x[..., 0]),
    }
    of_edges = {"edge_attr_h": None, "edge_attr_x": draw(4 * nodes, 3, 16), "edge_mask": None}
    return {"h": draw(nodes, 2), "x": x, **of_nodes, **of_edges, "edges": edges(size, x.device), "n_nodes": 5}


def points(channels: int, blades: int) -> Callable[[Callable[..., Tensor], int], dict[str, Any]]:
    return lambda draw, size: {"x": draw(size, channels, blades)}


MODELS = {
    "nbody": Model("models.nbody_cggnn.NBodyCGGNN", {}, particles),  # Cl(3,0)
    "o3": Model("models.o3_cgmlp.O3CGMLP", {}, points(3, 8)),
    "lorentz": Model("models.lorentz_cggnn.LorentzCGGNN", {"normalization_init": 0}, jets),  # Cl(1,3)
}


# the checkout


class _Training(ModuleType):
    """The checkout's machinery for training, which its models import, and which needs more than they do."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *arguments, **options: None


def build(model: Model, checkout: Path, seed: int = 0) -> Any:
    """The model, with random parameters everywhere."""
    module, _, name = model.place.rpartition(".")
    if not (checkout / module.replace(".", "/")).with_suffix(".py").exists():
        raise SystemExit(f"{checkout} is no checkout of CGENN: it has no {module.replace('.', '/')}.py")
    sys.path.insert(0, str(checkout))
    for part in ("engineer", "engineer.metrics", "engineer.metrics.metrics"):
        sys.modules.setdefault(part, _Training(part))
    torch.manual_seed(seed)
    built = getattr(importlib.import_module(module), name)(**model.options)
    scatter(built)
    return built.eval()  # without dropout; and biases below norms of the batch matter


def scatter(model: nn.Module) -> None:
    """Draw anew what starts as a constant, so that no gate, norm or bias is the same for all channels."""
    with torch.no_grad():
        for parameter in model.parameters():
            if bool((parameter == parameter.flatten()[0]).all()):
                parameter.add_(0.5 * torch.randn_like(parameter))


# what is compared


def step(model: Any, inputs: dict[str, Any]) -> Tensor:
    """Forward and backward, with fixed random cotangents; gradients are where torch keeps them."""
    out: Tensor = model._forward(**inputs)
    random = torch.Generator().manual_seed(2)
    out.backward(torch.randn(out.shape, generator=random, dtype=torch.float64).to(out))
    return out.detach()


def results(model: nn.Module, inputs: dict[str, Any]) -> dict[str, Tensor]:
    """The result, and the gradient of every input and parameter by name."""
    leaves = {name: x.clone().requires_grad_() if isinstance(x, Tensor) else x for name, x in inputs.items()}
    model.zero_grad()
    found = {"result": step(model, leaves)}
    sources = {name: x for name, x in leaves.items() if isinstance(x, Tensor)} | dict(model.named_parameters())
    return found | {f"grad {name}": x.grad.clone() for name, x in sources.items() if x.grad is not None}


def differences(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """||found - expected|| / ||expected|| of each tensor."""
    if found.keys() != expected.keys():
        raise SystemExit(f"gradients of one model alone: {', '.join(sorted(found.keys() ^ expected.keys()))}")
    pairs = {name: (found[name].double(), x.double()) for name, x in expected.items()}
    return {name: float((x - exact).norm() / exact.norm()) for name, (x, exact) in pairs.items()}


def milliseconds(model: nn.Module, inputs: dict[str, Any], repeats: int) -> float:
    """The median time of a step, forward and backward."""
    device = next(model.parameters()).device
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    taken = []
    for _ in range(repeats + 1):  # the first one compiles
        wait()
        start = time.perf_counter()
        step(model, inputs)
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
        counts = [f"{self.replaced.count(kind)} {kind}" for kind in LAYERS if kind in self.replaced]
        found.caption = (
            f"replaced: {', '.join(counts) or 'nothing'}\n"
            f"{len(self.norms)} tensors, {len(self.beyond)} beyond {self.bound:g}\n"
            f"forward and backward {self.before:.2f} ms before, {self.after:.2f} ms after: a factor of "
            f"{self.before / self.after:.2f}"
        )
        return found


def compare(
    of: Model, checkout: Path, kinds: list[str], dtype: torch.dtype, device: str, size: int, repeats: int
) -> Comparison:
    theirs = build(of, checkout).to(device, dtype)
    ours = copy.deepcopy(theirs)
    replaced = [type(layer).__name__ for layer in replace(ours, kinds).values()]
    random = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, dtype=torch.float64).to(device, dtype)

    inputs = of.inputs(draw, size)
    exact = {name: x.double() if isinstance(x, Tensor) else x for name, x in inputs.items()}
    found, expected = results(ours, inputs), results(theirs, inputs)
    return Comparison(
        title=f"{of.place}, {str(dtype).removeprefix('torch.')}, {device}",
        bound=BOUNDS[dtype],
        replaced=replaced,
        norms={name: float(x.double().norm()) for name, x in expected.items()},
        differences=differences(found, expected),
        rounding=differences(expected, results(copy.deepcopy(theirs).double(), exact)),
        before=milliseconds(theirs, inputs, repeats),
        after=milliseconds(ours, inputs, repeats),
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Put generated layers into CGENN's own models, and compare.")
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--model", choices=MODELS, default="nbody")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="both if none is given")
    parser.add_argument("--only", choices=LAYERS, action="append", help="replace these layers; may be repeated")
    parser.add_argument("--size", type=int, default=16, help="systems of particles, or points")
    parser.add_argument("--repeats", type=int, default=5, help="steps that are timed")
    options = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    beyond = 0
    for name in [options.dtype] if options.dtype else ["float32", "float64"]:
        dtype, kinds = getattr(torch, name), options.only or list(LAYERS)
        of = MODELS[options.model]
        found = compare(of, options.checkout, kinds, dtype, device, options.size, options.repeats)
        Console().print(found.table())
        beyond += len(found.beyond)
    return int(beyond > 0)


if __name__ == "__main__":
    sys.exit(main())
