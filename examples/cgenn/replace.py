"""Generated layers in the place of CGENN's, in a model as it stands.

In: a model of the authors' code, https://github.com/DavidRuhe/clifford-group-equivariant-neural-networks, built and
perhaps trained. Out: the same model, whose layers are those of `generated/cgenn2d`, `cgenn3d`, `cgenn_sta` and
`cgenn5d` with the same parameters under the same names: its state dicts load as before.
"""

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # for `generated`, which is not part of the installed package

from torch import nn

from generated import cgenn2d, cgenn3d, cgenn5d, cgenn_sta

PACKAGES = {  # by the metric
    (1, 1): cgenn2d,
    (1, 1, 1): cgenn3d,
    (1, 1, 1, 1, 1): cgenn5d,
    (1, -1, -1, -1): cgenn_sta,
}
BLOCK = ["MVLinear", "MVSiLU", "SteerableGeometricProductLayer", "MVLayerNorm"]  # a sequence that is one function here
LAYERS = ("CEMLPBlock", *BLOCK, "FullyConnectedSteerableGeometricProductLayer", "NormalizationLayer")


def replace(model: nn.Module, kinds: Collection[str] = LAYERS) -> dict[str, nn.Module]:
    """Put generated layers of these kinds in the place of the model's; those that are new, by their names."""
    new: dict[str, nn.Module] = {}
    for name, child in model.named_children():
        own = generated(child, kinds)
        if own is not None:
            setattr(model, name, own)
            new[name] = own
        else:
            new |= {f"{name}.{inner}": layer for inner, layer in replace(child, kinds).items()}
    return new


def generated(theirs: nn.Module, kinds: Collection[str] = LAYERS) -> nn.Module | None:
    """The generated layer with the parameters of one of theirs; None where none is asked for, or computes the same."""
    kind = "CEMLPBlock" if [type(part).__name__ for part in theirs.children()] == BLOCK else type(theirs).__name__
    sizes = arguments(kind, theirs) if kind in kinds else None
    algebra = getattr(theirs[0] if isinstance(theirs, nn.Sequential) else theirs, "algebra", None)
    package = PACKAGES.get(tuple(algebra.metric.tolist())) if algebra is not None else None
    if sizes is None or package is None:
        return None
    like = next(theirs.parameters())
    own: nn.Module = getattr(package, kind)(**sizes, device=like.device, dtype=like.dtype)
    own.load_state_dict(theirs.state_dict())
    return own


def arguments(kind: str, theirs: Any) -> dict[str, Any] | None:
    """What the generated class takes for a layer of theirs; None for one without some part that the class has."""
    match kind:
        case "MVLinear" if theirs.bias is not None:
            subspaces = bool(theirs.subspaces)
            return {"in_features": theirs.in_features, "out_features": theirs.out_features, "subspaces": subspaces}
        case "MVSiLU":
            return {"channels": theirs.channels, "invariant": theirs.invariant}
        case "MVLayerNorm":
            return {"channels": theirs.channels}
        case "NormalizationLayer":
            return {"features": theirs.in_features}
        case "SteerableGeometricProductLayer" if whole(theirs):
            return {"features": theirs.features}
        case "FullyConnectedSteerableGeometricProductLayer" if whole(theirs):
            return {"in_features": theirs.in_features, "out_features": theirs.out_features}
        case "CEMLPBlock":
            linear, gate, product, _ = theirs
            if linear.bias is not None and linear.subspaces and gate.invariant == "mag2" and whole(product):
                return {"in_features": linear.in_features, "out_features": linear.out_features}
    return None


def whole(product: Any) -> bool:
    """Whether a product layer adds a linear map and norms the right factor, as it does by default."""
    return bool(product.include_first_order) and hasattr(product.normalization, "a")
