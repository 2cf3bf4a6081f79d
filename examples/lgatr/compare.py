"""Puts generated layers into lgatr's model, and compares: results, every gradient, times.

    python examples/lgatr/compare.py
    python examples/lgatr/compare.py --packages FOLDER --dtype float32

lgatr is installed, or lies in FOLDER, as `pip install --no-deps --target FOLDER lgatr` puts it there. The model is
built as it is there; parameters are drawn anew, so that all parts of the layers matter: with the other sign of the
geometric product the result is another, and by how much is printed, too. Takes a GPU where torch finds one, else the
CPU, where generated functions call their references (with TRITON_INTERPRET=1 the kernels run there, too). The exit
status is 1 where a difference is beyond its bound.
"""

import argparse
import copy
import importlib
import sys
from collections.abc import Callable, Sequence
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

IN, OUT = 3, 2  # channels of multivectors
SCALARS = (2, 8, 1)  # channels of scalars, in, within and out


def library(packages: Path | None = None) -> Any:
    """The networks of lgatr, from this folder or as it is installed."""
    if packages is not None:
        sys.path.insert(0, str(packages))
    try:
        return importlib.import_module("lgatr.nets")  # `lgatr` alone might be this folder
    except ImportError as error:
        raise SystemExit(f"lgatr is not there ({error}): pip install lgatr, or --packages FOLDER") from error


def build(
    packages: Path | None = None,
    channels: int = 4,
    scalars: Sequence[int] = SCALARS,
    blocks: int = 2,
    seed: int = 0,
    **options: Any,
) -> nn.Module:
    """Its model, of multivectors and scalars, with parameters of which all parts matter."""
    found = library(packages)
    torch.manual_seed(seed)
    sizes = {"num_blocks": blocks, "in_mv_channels": IN, "out_mv_channels": OUT, "hidden_mv_channels": channels}
    sizes |= dict(zip(("in_s_channels", "hidden_s_channels", "out_s_channels"), scalars, strict=True))
    model: nn.Module = found.LGATr(**sizes, **{"attention": {"num_heads": 2}, "mlp": {}} | options)
    widen(model)
    return model


def widen(model: nn.Module) -> None:
    """Draw parameters anew: maps that keep the size of what they map, gains around one, biases that are not zero."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            fan = 4 if name.endswith("bias") or parameter.dim() == 1 else parameter.shape[1]
            parameter.copy_(torch.randn_like(parameter) * fan**-0.5 + (".norm" in f".{name}"))


def items(draw: Callable[..., Tensor], size: int, scalars: int) -> dict[str, Any]:
    return {"x": draw(size, 8, IN, 16)} | ({"s": draw(size, 8, scalars)} if scalars else {})


def forward(model: nn.Module, x: Tensor, s: Tensor | None = None) -> Tensor:
    """Multivectors, then scalars, as one vector for each item."""
    multivectors, scalars = model(x, s)
    return torch.cat([multivectors.flatten(-2), *([] if scalars is None else [scalars])], -1)


def flipped(model: nn.Module) -> nn.Module:
    """A copy of a model whose geometric products have the other sign: that of their left factors."""
    wrong = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in wrong.named_parameters():
            if ".linear_left." in f".{name}":
                parameter.neg_()
    return wrong


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Put generated layers into lgatr's model, and compare.")
    parser.add_argument("--packages", type=Path, help="a folder with lgatr, if it is not installed")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="both if none is given")
    parser.add_argument("--only", choices=LAYERS, action="append", help="replace these layers; may be repeated")
    parser.add_argument("--channels", type=int, default=4, help="of multivectors")
    parser.add_argument("--scalars", type=int, nargs=3, default=SCALARS, help="channels in, within and out, or zeros")
    parser.add_argument("--blocks", type=int, default=2, help="of attention and MLP")
    parser.add_argument("--size", type=int, default=2, help="sets of eight items")
    parser.add_argument("--repeats", type=int, default=5, help="steps that are timed")
    options = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    beyond, default = 0, torch.get_default_dtype()
    for name in [options.dtype] if options.dtype else ["float64", "float32"]:
        dtype = getattr(torch, name)
        torch.set_default_dtype(dtype)  # in which lgatr makes what its layers start from
        try:
            theirs = build(options.packages, options.channels, options.scalars, options.blocks).to(device, dtype)
            change = partial(replace, kinds=options.only or list(LAYERS))
            inputs = partial(items, size=options.size, scalars=options.scalars[0])
            found = compare("lgatr, LGATr", theirs, change, forward, inputs, options.repeats)
            Console().print(found.table())
            Console().print(
                f"with the other sign of the geometric product: {seen(theirs, replace, flipped, forward, inputs):.1e}"
            )
        finally:
            torch.set_default_dtype(default)
        beyond += len(found.beyond)
    return int(beyond > 0)


if __name__ == "__main__":
    sys.exit(main())
