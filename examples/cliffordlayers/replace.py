"""Generated layers in the place of cliffordlayers', in a model as it stands.

In: a model of https://github.com/microsoft/cliffordlayers, built and perhaps trained. Out: the same model, whose group
action layers and activations are those of `generated/gcan_vga3d` and `gcan_pga3d` with the same parameters under the
same names: its state dicts load as before.
"""

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # for `generated`, which is not part of the installed package

from torch import Tensor, nn

from generated import gcan_pga3d, gcan_vga3d

POINTS = (11, 12, 13)  # e012, e013, e023 of Cl(3,0,1)
MOTORS = (0, 5, 6, 7, 8, 9, 10, 15)
LAYERS = ("CliffordG3Conv2d", "CliffordG3LinearVSiLU", "PGAConjugateLinear", "MultiVectorAct")


class ImageLinear(gcan_vga3d.G3Linear):
    """On images of vectors, (batch, channels, height, width, 3)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -2)).movedim(-2, 1)


class ImageAct(gcan_vga3d.G3LinearVSiLU):
    """The same."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -2)).movedim(-2, 1)


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
    kind = type(theirs).__name__
    found = like(kind, theirs) if kind in kinds else None
    if found is None:
        return None
    build, sizes = found
    parameter = next(theirs.parameters())
    own: nn.Module = build(*sizes, device=parameter.device, dtype=parameter.dtype)
    own.load_state_dict(theirs.state_dict())
    return own


def like(kind: str, theirs: Any) -> tuple[Any, tuple[int, ...]] | None:
    """The generated class for a layer of theirs, and its sizes."""
    match kind:
        case "CliffordG3Conv2d" if of_one_place(theirs):
            return ImageLinear, (theirs.in_channels, theirs.out_channels)
        case "CliffordG3LinearVSiLU":
            return ImageAct, (theirs.conv.in_channels,)
        case "PGAConjugateLinear" if (tuple(theirs.input_blades), tuple(theirs.action_blades)) == (POINTS, MOTORS):
            return gcan_pga3d.PGAConjugateLinear, (theirs.in_features, theirs.out_features)
        case "MultiVectorAct" if theirs.agg == "linear" and theirs.kernel_blades == theirs.input_blades:
            kinds = {POINTS: gcan_pga3d.PointAct, tuple(range(16)): gcan_pga3d.MultiVectorAct}
            build = kinds.get(tuple(theirs.input_blades)) if theirs.algebra.n_blades == 16 else None
            return build and (build, (theirs.conv.in_channels,))
    return None


def of_one_place(theirs: Any) -> bool:
    """Whether a convolution's filters have one place, and it adds no bias."""
    plain = (theirs.kernel_size, theirs.stride, theirs.padding, theirs.groups) == ((1, 1), (1, 1), (0, 0), 1)
    return plain and theirs.bias is None
