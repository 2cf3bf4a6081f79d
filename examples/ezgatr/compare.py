"""Puts generated layers into ezgatr's model, and compares: results, every gradient, times.

    python examples/ezgatr/compare.py
    python examples/ezgatr/compare.py --packages FOLDER --dtype float32

ezgatr is installed, or lies in FOLDER, as `pip install --no-deps --target FOLDER ezgatr einops` puts it there. The
model is built as it is there; parameters are drawn anew, for at its own the sign of the geometric product changes the
result by less than a thousandth. How much it changes it here is printed, too. Takes a GPU where torch finds one, else
the CPU, where generated functions call their references (with TRITON_INTERPRET=1 the kernels run there, too). The exit
status is 1 where a difference is beyond its bound.
"""

import argparse
import copy
import importlib
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

from replace import LAYERS, replace
from side_by_side import compare, seen

IN, OUT = 3, 2  # channels


def build(packages: Path | None = None, channels: int = 4, layers: int = 2, seed: int = 0) -> nn.Module:
    """Its model of multivectors alone, with parameters of which all parts matter."""
    if packages is not None:
        sys.path.insert(0, str(packages))
    try:
        found = importlib.import_module("ezgatr.nets.mv_only_gatr")
    except ImportError as error:
        raise SystemExit(f"ezgatr is not there ({error}): pip install ezgatr, or --packages FOLDER") from error
    torch.manual_seed(seed)
    sizes = {"size_channels_hidden": channels, "size_channels_intermediate": channels}
    config = found.MVOnlyGATrConfig(num_layers=layers, size_channels_in=IN, size_channels_out=OUT, **sizes)
    model: nn.Module = found.MVOnlyGATrModel(config)
    widen(model)
    return model


def widen(model: nn.Module) -> None:
    """Draw parameters anew: maps that keep the size of what they map, gains around one, biases that are not zero."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            fan = parameter.shape[1] if parameter.dim() == 3 else 4
            parameter.copy_(torch.randn_like(parameter) * fan**-0.5 + (parameter.dim() == 1 and "norm" in name))


def tokens(draw: Callable[..., Tensor], size: int) -> dict[str, Any]:
    return {"x": draw(size, 8, IN, 16)}


def forward(model: nn.Module, x: Tensor) -> Tensor:
    return model(x)  # type: ignore[no-any-return]


def flipped(model: nn.Module) -> nn.Module:
    """A copy of a model whose geometric products have the other sign: that of their left factors."""
    wrong = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in wrong.named_parameters():
            if ".proj_bil." in f".{name}":
                parameter.chunk(4)[0].neg_()
    return wrong


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Put generated layers into ezgatr's model, and compare.")
    parser.add_argument("--packages", type=Path, help="a folder with ezgatr and einops, if they are not installed")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="both if none is given")
    parser.add_argument("--only", choices=LAYERS, action="append", help="replace these layers; may be repeated")
    parser.add_argument("--channels", type=int, default=4, help="of multivectors")
    parser.add_argument("--layers", type=int, default=2, help="blocks of attention and MLP")
    parser.add_argument("--size", type=int, default=2, help="sequences of eight tokens")
    parser.add_argument("--repeats", type=int, default=5, help="steps that are timed")
    options = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    beyond, default = 0, torch.get_default_dtype()
    for name in [options.dtype] if options.dtype else ["float64", "float32"]:
        dtype = getattr(torch, name)
        theirs = build(options.packages, options.channels, options.layers).to(device, dtype)
        change = partial(replace, kinds=options.only or list(LAYERS))
        inputs = partial(tokens, size=options.size)
        torch.set_default_dtype(dtype)  # in which ezgatr makes the factors of its maps, and keeps them
        try:
            found = compare("ezgatr, MVOnlyGATrModel", theirs, change, forward, inputs, options.repeats)
        finally:
            torch.set_default_dtype(default)
        Console().print(found.table())
        Console().print(
            f"with the other sign of the geometric product: {seen(theirs, replace, flipped, forward, inputs):.1e}"
        )
        beyond += len(found.beyond)
    return int(beyond > 0)


if __name__ == "__main__":
    sys.exit(main())
