"""Puts generated layers into CGENN's own models, and compares: results, every gradient, times.

    python examples/cgenn/compare.py CHECKOUT
    python examples/cgenn/compare.py CHECKOUT --model o3 --dtype float32 --only SteerableGeometricProductLayer

CHECKOUT is a folder with https://github.com/DavidRuhe/clifford-group-equivariant-neural-networks, whose models are
built as they are there, with random parameters in place of the ones and zeros that some start from. Takes a GPU where
torch finds one, else the CPU, where generated functions call their references (with TRITON_INTERPRET=1 the kernels run
there, too). The exit status is 1 where a difference is beyond its bound.
"""

import argparse
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))  # for `side_by_side`, also where this file is imported
sys.path.insert(0, str(Path(__file__).parent))

from replace import LAYERS, replace
from side_by_side import compare, scatter


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


def forward(model: Any, **inputs: Any) -> Tensor:
    """What the model computes, without its loss."""
    return model._forward(**inputs)  # type: ignore[no-any-return]


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
        of, kinds = MODELS[options.model], options.only or list(LAYERS)
        theirs = build(of, options.checkout).to(device, getattr(torch, name))
        inputs = partial(of.inputs, size=options.size)
        found = compare(of.place, theirs, partial(replace, kinds=kinds), forward, inputs, options.repeats)
        Console().print(found.table())
        beyond += len(found.beyond)
    return int(beyond > 0)


if __name__ == "__main__":
    sys.exit(main())
