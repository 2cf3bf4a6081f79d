"""Puts generated layers into models of cliffordlayers' layers, and compares: results, every gradient, times.

    python examples/cliffordlayers/compare.py CHECKOUT
    python examples/cliffordlayers/compare.py CHECKOUT --model motors --dtype float32

CHECKOUT is a folder with https://github.com/microsoft/cliffordlayers. Its models are built as they are there, with
random parameters in place of the ones and zeros that some start from. Takes a GPU where torch finds one, else the CPU,
where generated functions call their references (with TRITON_INTERPRET=1 the kernels run there, too). The exit status is
1 where a difference is beyond its bound.
"""

import argparse
import importlib
import importlib.metadata
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # for `side_by_side`, also where this file is imported
sys.path.insert(0, str(Path(__file__).parent))

from replace import LAYERS, MOTORS, POINTS, replace
from side_by_side import compare, scatter


def resnet(channels: int = 8) -> nn.Module:
    """Its network for fluids, small, without norms."""
    built = importlib.import_module("cliffordlayers.models.gca.twod").CliffordG3ResNet2d
    return built([1, 1], in_channels=4, out_channels=1, hidden_channels=channels, norm=False)  # type: ignore[no-any-return]


def motors(channels: int = 8) -> nn.Module:
    """Rigid motions of points, gated, as its networks of the geometric algebra of space are made of them."""
    layers = importlib.import_module("cliffordlayers.nn.modules.gcan")
    algebra = importlib.import_module("cliffordlayers.cliffordalgebra").CliffordAlgebra((0, 1, 1, 1))
    linear = partial(layers.PGAConjugateLinear, algebra=algebra, input_blades=POINTS, action_blades=MOTORS)
    act = partial(layers.MultiVectorAct, algebra=algebra, input_blades=POINTS)
    built = Placed(algebra, linear(4, channels), act(channels), linear(channels, channels), act(channels))
    with torch.no_grad():
        for layer in (built[0], built[2]):
            layer._action.add_(0.2 * torch.randn_like(layer._action))  # they start without translations
    return built


class Placed(nn.Sequential):
    """Layers whose algebra follows the data: its tables are no buffers, its multivectors of torch's default dtype."""

    def __init__(self, algebra: Any, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.algebra = algebra

    def forward(self, x: Tensor) -> Tensor:
        self.algebra.to(x.device)
        self.algebra.cayley = self.algebra.cayley.to(x)
        default = torch.get_default_dtype()
        torch.set_default_dtype(x.dtype)
        try:
            return super().forward(x)  # type: ignore[no-any-return]
        finally:
            torch.set_default_dtype(default)


def images(draw: Callable[..., Tensor], size: int) -> dict[str, Any]:
    return {"x": draw(size, 4, 16, 16, 3)}


def points(draw: Callable[..., Tensor], size: int) -> dict[str, Any]:
    return {"x": draw(16 * size, 4, 3)}


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[..., dict[str, Any]]]] = {
    "resnet": (resnet, images),
    "motors": (motors, points),
}


def build(name: str, checkout: Path, seed: int = 0) -> nn.Module:
    """The model, with random parameters everywhere."""
    if not (checkout / "cliffordlayers" / "nn" / "modules" / "gcan.py").exists():
        raise SystemExit(f"{checkout} is no checkout of cliffordlayers: it has no cliffordlayers/nn/modules/gcan.py")
    sys.path.insert(0, str(checkout))
    known = importlib.metadata.version
    importlib.metadata.version = lambda package: "checkout" if package == "cliffordlayers" else known(package)
    torch.manual_seed(seed)
    try:
        built = MODELS[name][0]()
    finally:
        importlib.metadata.version = known  # its package asks for its own, which a checkout has none of
    scatter(built)
    return built


def forward(model: nn.Module, x: Tensor) -> Tensor:
    return model(x)  # type: ignore[no-any-return]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Put generated layers into cliffordlayers' models, and compare.")
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--model", choices=MODELS, default="resnet")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="both if none is given")
    parser.add_argument("--only", choices=LAYERS, action="append", help="replace these layers; may be repeated")
    parser.add_argument("--size", type=int, default=2, help="images, or sixteenths of points")
    parser.add_argument("--repeats", type=int, default=5, help="steps that are timed")
    options = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    beyond = 0
    for name in [options.dtype] if options.dtype else ["float32", "float64"]:
        theirs = build(options.model, options.checkout).to(device, getattr(torch, name))
        inputs = partial(MODELS[options.model][1], size=options.size)
        change = partial(replace, kinds=options.only or list(LAYERS))
        found = compare(f"cliffordlayers, {options.model}", theirs, change, forward, inputs, options.repeats)
        Console().print(found.table())
        beyond += len(found.beyond)
    return int(beyond > 0)


if __name__ == "__main__":
    sys.exit(main())
