"""Generated layers in the place of GATr's, in a model as it stands.

In: a model of https://github.com/Qualcomm-AI-research/geometric-algebra-transformer, built and perhaps trained. Out:
the same model, whose layers call generated functions with the very parameters that they had: its state dicts load as
before, and an optimizer keeps what it holds.

Blades, the nine maps with their norms, the product, the dual and the floor of the norm are the same there and here;
nothing is converted but the shape of a bias, (channels, 1) there, (channels,) here. The product is that of
`generated/pga3d`, for `generated/gatr` has it within other functions only. Those know multivectors alone, and GATr's
blocks always have auxiliary scalars: torch maps, normalizes and gates those as before. For their sake the bilinear
layer and the MLP are functions one by one, rather than `geometric_bilinear` and `mlp_block`, and attention is left as
it is, but for its maps: its scores and values have scalars, too.
"""

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # for `generated`, which is not part of the installed package

import torch
from torch import Tensor, nn

from generated import gatr, pga3d

LAYERS = ("GeometricBilinear", "EquiLinear", "EquiLayerNorm", "ScalarGatedNonlinearity")


class Linear(nn.Module):
    """The equivariant map, to which and from which scalars are mixed as before."""

    def __init__(self, theirs: Any) -> None:
        super().__init__()
        self.weight, self.bias = theirs.weight, theirs.bias
        self.s2mvs, self.mvs2s, self.s2s = theirs.s2mvs, theirs.mvs2s, theirs.s2s

    def forward(self, multivectors: Tensor, scalars: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        bias = self.weight.new_zeros(len(self.weight)) if self.bias is None else self.bias.squeeze(-1)
        mapped = gatr.equi_linear(multivectors, self.weight, bias)
        if self.s2mvs is not None and scalars is not None:
            mapped[..., 0] += self.s2mvs(scalars)
        if self.mvs2s is None:
            return mapped, None
        found = self.mvs2s(multivectors[..., 0])
        return mapped, found if self.s2s is None or scalars is None else found + self.s2s(scalars)


class Bilinear(nn.Module):
    """The geometric bilinear layer: the product and the join of four maps, and a map of both."""

    def __init__(self, theirs: Any) -> None:
        super().__init__()
        self.linear_left, self.linear_right = theirs.linear_left, theirs.linear_right
        self.linear_join_left, self.linear_join_right = theirs.linear_join_left, theirs.linear_join_right
        self.linear_out = theirs.linear_out

    def forward(
        self, multivectors: Tensor, reference_mv: Tensor, scalars: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        maps = self.linear_left, self.linear_right, self.linear_join_left, self.linear_join_right
        left, right, p, q = (linear(multivectors, scalars=scalars)[0] for linear in maps)
        both = torch.cat((pga3d.geometric_product(left, right), join(p, q, reference_mv)), -2)
        return self.linear_out(both, scalars=scalars)  # type: ignore[no-any-return]


class Norm(nn.Module):
    """The norm without parameters, of multivectors and of scalars."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, multivectors: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor]:
        own = nn.functional.layer_norm(scalars, scalars.shape[-1:])
        return gatr.equi_layer_norm(multivectors, eps=self.eps), own


class Gate(nn.Module):
    """The gate by the GELU of the scalar part, in the tanh approximation; scalars have the exact one."""

    def forward(self, multivectors: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor]:
        return gatr.gated_gelu(multivectors), nn.functional.gelu(scalars)


def join(x: Tensor, y: Tensor, reference: Tensor) -> Tensor:
    """The equivariant join, with a reference for all channels, (..., 1, 16) or (16,), or with one for each."""
    if reference.dim() == 1 or reference.shape[-2] == 1:
        return gatr.equi_join(x, y, reference if reference.dim() == 1 else reference.squeeze(-2))
    return gatr.equi_join(x.unsqueeze(-2), y.unsqueeze(-2), reference).squeeze(-2)


def replace(model: nn.Module, kinds: Collection[str] = LAYERS) -> dict[str, nn.Module]:
    """Put generated layers of these kinds in the place of the model's; those that are new, by their names."""
    new: dict[str, nn.Module] = {}
    for name, child in list(model.named_children()):
        own = generated(child, kinds)
        if own is not None:
            setattr(model, name, own)
            new[name] = own
        within = replace(child if own is None else own, kinds)  # a bilinear layer has kept its maps
        new |= {f"{name}.{inner}": layer for inner, layer in within.items()}
    return new


def generated(theirs: Any, kinds: Collection[str] = LAYERS) -> nn.Module | None:
    """The generated layer in the place of one of theirs; None where none is asked for, or computes the same."""
    kind = type(theirs).__name__
    match kind if kind in kinds else None:
        case "EquiLinear":
            return Linear(theirs)
        case "GeometricBilinear":
            return Bilinear(theirs)
        case "EquiLayerNorm" if theirs.mv_channel_dim == -2:
            return Norm(float(theirs.epsilon))
        case "ScalarGatedNonlinearity" if theirs.gated_nonlinearity.__name__ == "gated_gelu":
            return Gate()
    return None
