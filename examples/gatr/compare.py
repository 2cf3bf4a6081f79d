"""Puts generated layers into GATr's model, and compares: results, every gradient, times.

    python examples/gatr/compare.py --gatr CHECKOUT
    python examples/gatr/compare.py --gatr CHECKOUT --dtype float32 --reference canonical

CHECKOUT is a folder with https://github.com/Qualcomm-AI-research/geometric-algebra-transformer, which imports einops,
numpy, opt_einsum and xformers; without it GATr is taken as it is installed. The model is built as it is there;
parameters are drawn anew, so that all parts of the layers matter: with the other sign of the geometric product, or of
the join, the result is another, and by how much is printed, too. Takes a GPU where torch finds one, else the CPU, where
generated functions call their references (with TRITON_INTERPRET=1 the kernels run there, too). The exit status is 1
where a difference is beyond its bound.
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
E123 = 14  # the blade whose part is one for a point


def build(
    checkout: Path | None = None,
    channels: int = 4,
    scalars: Sequence[int] = SCALARS,
    blocks: int = 2,
    seed: int = 0,
    **attention: Any,
) -> nn.Module:
    """Its model, of multivectors and scalars, with parameters of which all parts matter."""
    if checkout is not None:
        sys.path.insert(0, str(checkout))
    try:
        found = importlib.import_module("gatr.nets.gatr")  # `gatr` alone might be this folder
    except ImportError as error:
        raise SystemExit(f"GATr is not there, or lacks a package ({error}): --gatr CHECKOUT") from error
    torch.manual_seed(seed)
    sizes = {"num_blocks": blocks, "in_mv_channels": IN, "out_mv_channels": OUT, "hidden_mv_channels": channels}
    of_scalars = dict(zip(("in_s_channels", "hidden_s_channels", "out_s_channels"), scalars, strict=True))
    sizes |= of_scalars | {name: None for name in ("in_s_channels", "out_s_channels") if not of_scalars[name]}
    configs = {"attention": found.SelfAttentionConfig(**{"num_heads": 2} | attention), "mlp": found.MLPConfig()}
    model: nn.Module = found.GATr(**sizes, **configs)
    widen(model)
    return model


def widen(model: nn.Module) -> None:
    """Draw parameters anew: maps that keep the size of what they map, biases and weights of distances that differ.

    Distances weigh less than at first, for they are ill-conditioned where a part on e123 is small. Biases of keys alone
    stay as they are: they change all scores of a query alike, and so their gradients are zero, or rounding.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            distances, bias = (name.endswith(kind) for kind in ("log_weights", "bias"))
            fan = 4 if distances or bias else parameter.shape[1]
            parameter.copy_(torch.randn_like(parameter) * fan**-0.5 - float(distances))
            parameter.requires_grad_(not (bias and ".k_linear." in name))


def items(draw: Callable[..., Tensor], size: int, scalars: int) -> dict[str, Any]:
    """Multivectors whose part on e123 is around one, as that of points is: joins are scaled by its mean."""
    x = draw(size, 8, IN, 16)
    x[..., E123] += 1
    return {"x": x} | ({"s": draw(size, 8, scalars)} if scalars else {})


def forward(model: nn.Module, x: Tensor, s: Tensor | None = None, reference: str = "data") -> Tensor:
    """Multivectors, then scalars, as one vector for each item."""
    multivectors, scalars = model(x, s, join_reference=reference)
    return torch.cat([multivectors.flatten(-2), *([] if scalars is None else [scalars])], -1)


def flipped(model: nn.Module, factor: str = "linear_left") -> nn.Module:
    """A copy of a model whose geometric products, or joins, have the other sign: that of their left factors."""
    wrong = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in wrong.named_parameters():
            if f".{factor}." in f".{name}":
                parameter.neg_()
    return wrong


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Put generated layers into GATr's model, and compare.")
    parser.add_argument("--gatr", type=Path, help="a checkout, if GATr is not installed", metavar="CHECKOUT")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="both if none is given")
    parser.add_argument("--only", choices=LAYERS, action="append", help="replace these layers; may be repeated")
    parser.add_argument("--channels", type=int, default=4, help="of multivectors")
    parser.add_argument("--scalars", type=int, nargs=3, default=SCALARS, help="channels in, within and out")
    parser.add_argument("--reference", choices=("data", "canonical"), default="data", help="of joins")
    parser.add_argument("--blocks", type=int, default=2, help="of attention and MLP")
    parser.add_argument("--size", type=int, default=2, help="sets of eight items")
    parser.add_argument("--repeats", type=int, default=5, help="steps that are timed")
    options = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    beyond, default = 0, torch.get_default_dtype()
    for name in [options.dtype] if options.dtype else ["float64", "float32"]:
        dtype = getattr(torch, name)
        torch.set_default_dtype(dtype)  # in which GATr makes the norms of its maps, and keeps them
        try:
            theirs = build(options.gatr, options.channels, options.scalars, options.blocks).to(device, dtype)
            change = partial(replace, kinds=options.only or list(LAYERS))
            inputs = partial(items, size=options.size, scalars=options.scalars[0])
            call = partial(forward, reference=options.reference)
            found = compare("GATr", theirs, change, call, inputs, options.repeats)
            Console().print(found.table())
            for what, factor in (("geometric product", "linear_left"), ("join", "linear_join_left")):
                moved = seen(theirs, replace, partial(flipped, factor=factor), call, inputs)
                Console().print(f"with the other sign of the {what}: {moved:.1e}")
        finally:
            torch.set_default_dtype(default)
        beyond += len(found.beyond)
    return int(beyond > 0)


if __name__ == "__main__":
    sys.exit(main())
