"""Generated layers in the place of lgatr's, in a model as it stands.

In: a model of lgatr, https://pypi.org/project/lgatr, built and perhaps trained. Out: the same model, whose layers are
those of `generated/lgatr` with the same parameters under the same names: its state dicts load as before.
"""

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # for `generated`, which is not part of the installed package

import torch
from torch import Tensor, nn

from generated import lgatr

LAYERS = ("LGATrBlock", "SelfAttention", "GeometricBilinear", "EquiLinear", "EquiLayerNorm", "ScalarGatedNonlinearity")


class Alone(nn.Module):
    """A generated layer of multivectors alone, which takes and returns None in the place of lgatr's scalars."""

    def forward(self, multivectors: Tensor, scalars: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        found = super().forward(multivectors)
        return found if isinstance(found, tuple) else (found, None)


class Both(nn.Module):
    """A generated layer of multivectors and scalars, which returns None where it has multivectors alone."""

    def forward(self, multivectors: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor | None]:
        found = super().forward(multivectors, scalars)
        return found if isinstance(found, tuple) else (found, None)


class Linear(Alone, lgatr.EquiLinear): ...


class LinearToScalars(Alone, lgatr.EquiLinearToScalars): ...


class LinearFromScalars(Both, lgatr.EquiLinearFromScalars): ...


class LinearAndScalars(Both, lgatr.EquiLinearAndScalars): ...


class UnbiasedLinearAndScalars(Both, lgatr.UnbiasedEquiLinearAndScalars): ...


class Norm(Both, lgatr.EquiLayerNorm): ...


class Bilinear(Both, lgatr.GeometricBilinear): ...


class PlainNorm(nn.Module):
    """The norm without parameters, of multivectors and of scalars if there are any."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, multivectors: Tensor, scalars: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        if scalars is None:
            return lgatr.equi_layer_norm(multivectors, eps=self.eps), None
        return lgatr.layer_norms(multivectors, scalars, eps=self.eps)


class Gate(nn.Module):
    """The gate by the scalar, of scalars by themselves if there are any."""

    def forward(self, multivectors: Tensor, scalars: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        if scalars is None:
            return lgatr.gated_gelu(multivectors), None
        return lgatr.gated_gelu_and_scalars(multivectors, scalars)


class Attention(nn.Module):
    """Attention of tokens among themselves, with their maps as they were."""

    def __init__(self, theirs: Any) -> None:
        super().__init__()
        self.qkv_module, self.out_linear = theirs.qkv_module, theirs.out_linear

    def forward(
        self,
        multivectors: Tensor,
        scalars: Tensor,
        additional_qk_features_mv: Tensor | None = None,
        additional_qk_features_s: Tensor | None = None,
        **others: Any,
    ) -> tuple[Tensor, Tensor | None]:
        if others:
            raise ValueError(f"the generated attention takes no {', '.join(others)}: leave SelfAttention as it is")
        further = additional_qk_features_mv, additional_qk_features_s
        q, k, v, q_s, k_s, v_s = self.qkv_module(multivectors, scalars, *further)
        heads = q.shape[-4]  # which may share keys and values
        k, v = (x.expand(*x.shape[:-4], heads, *x.shape[-3:]) for x in (k, v))
        k_s, v_s = (x.expand(*x.shape[:-3], heads, *x.shape[-2:]) for x in (k_s, v_s))
        heads_apart = [x.contiguous() for x in (q, k, v, q_s, k_s, v_s)]  # here once, else in each direction
        seen, seen_s = lgatr.attention(*heads_apart)
        return self.out_linear(seen.transpose(-4, -3).flatten(-3, -2), seen_s.transpose(-3, -2).flatten(-2, -1))


class Block(lgatr.MLPBlock):
    """A block: attention as it was, then all that follows in one call."""

    def __init__(self, theirs: Any, *sizes: int, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self.norm1, self.attention = theirs.norm1, theirs.attention

    def forward(self, multivectors: Tensor, scalars: Tensor, **others: Any) -> tuple[Tensor, Tensor]:
        mixed, mixed_scalars = self.attention(*self.norm1(multivectors, scalars), **others)
        return super().forward(multivectors + mixed, scalars + mixed_scalars)


def replace(model: nn.Module, kinds: Collection[str] = LAYERS) -> dict[str, nn.Module]:
    """Put generated layers of these kinds in the place of the model's; those that are new, by their names."""
    new: dict[str, nn.Module] = {}
    for name, child in list(model.named_children()):
        own = generated(child, kinds)
        if own is not None:
            setattr(model, name, own)
            new[name] = own
        within = replace(child if own is None else own, kinds)  # a block has kept its attention
        new |= {f"{name}.{inner}": layer for inner, layer in within.items()}
    return new


def generated(theirs: nn.Module, kinds: Collection[str] = LAYERS) -> nn.Module | None:
    """The generated layer with the parameters of one of theirs; None where none is asked for, or computes the same."""
    kind = type(theirs).__name__
    own = built(kind, theirs, next(theirs.parameters(), torch.empty(0))) if kind in kinds else None
    if own is not None:
        own.load_state_dict(theirs.state_dict())
    return own


def built(kind: str, theirs: Any, like: Tensor) -> nn.Module | None:
    """A layer like theirs, with other parameters; None for one that computes what no generated class does."""
    kept = {"device": like.device, "dtype": like.dtype}
    match kind:
        case "EquiLinear":
            return linear(theirs, kept)
        case "EquiLayerNorm" if usual(theirs):
            return norm(theirs, kept)
        case "ScalarGatedNonlinearity" if gelu(theirs):
            return Gate()
        case "GeometricBilinear":
            return bilinear(theirs, kept)
        case "SelfAttention" if theirs.dropout is None and not theirs.use_head_scale:
            return Attention(theirs) if theirs.out_linear.s2mvs is not None else None
        case "LGATrBlock":
            return block(theirs, kept)
    return None


def linear(theirs: Any, kept: dict[str, Any]) -> nn.Module | None:
    """The map between the same channels, with ten numbers for each pair."""
    m, n, maps = theirs.weight.shape
    given = theirs.s2mvs.in_features if theirs.s2mvs is not None else 0
    found = theirs.mvs2s.out_features if theirs.mvs2s is not None else 0
    if maps != 10 or 0 in (m, n):
        return None
    match given > 0, found > 0, any(key.endswith("bias") for key in theirs.state_dict()):
        case False, False, True:
            return Linear(n, m, **kept)
        case True, True, biased:
            return (LinearAndScalars if biased else UnbiasedLinearAndScalars)(n, m, given, found, **kept)
        case True, False, True:
            return LinearFromScalars(n, m, given, **kept)
        case False, True, True:
            return LinearToScalars(n, m, found, **kept)
    return None


def norm(theirs: Any, kept: dict[str, Any]) -> nn.Module | None:
    """The norm, with gains of the same channels or without."""
    eps = float(theirs.epsilon)
    if theirs.weight_mv is None:
        return PlainNorm(eps)
    sizes = len(theirs.weight_mv), len(theirs.weight_s)
    return Norm(*sizes, eps=eps, **kept) if all(sizes) else None


def bilinear(theirs: Any, kept: dict[str, Any]) -> Bilinear | None:
    """The bilinear layer of multivectors and scalars, and with a norm that has no gains."""
    maps = [linear(part, kept) for part in (theirs.linear_left, theirs.linear_right, theirs.linear_out)]
    if not theirs.primitives.bivector or not usual(theirs.norm) or theirs.norm.weight_mv is not None:
        return None
    match maps:
        case LinearFromScalars() as left, LinearFromScalars(), LinearAndScalars() as out:
            sizes = left.in_mv_channels, left.out_mv_channels, out.out_mv_channels
            scalars = left.in_s_channels, out.out_s_channels
            return Bilinear(*sizes, *scalars, eps=float(theirs.norm.epsilon), **kept)
    return None


def block(theirs: Any, kept: dict[str, Any]) -> Block | None:
    """The block, where its MLP has two layers with a GELU between them, and nothing is dropped."""
    kinds = [type(layer).__name__ for layer in theirs.mlp.layers]
    if kinds != ["GeometricBilinear", "ScalarGatedNonlinearity", "EquiLinear"] or not usual(theirs.norm2):
        return None
    first, gate, last = theirs.mlp.layers
    if theirs.norm2.weight_mv is None or theirs.norm2.epsilon != first.norm.epsilon or not gelu(gate):
        return None
    start = bilinear(first, kept)
    if (
        start is None
        or start.hidden_mv_channels != start.out_mv_channels
        or not isinstance(linear(last, kept), LinearAndScalars)
    ):
        return None
    sizes = start.in_mv_channels, start.hidden_mv_channels, start.in_s_channels, start.out_s_channels
    return Block(theirs, *sizes, eps=start.eps, **kept)


def usual(norm: Any) -> bool:
    """Whether a norm is along the channels, and has no gain for all."""
    return norm.mv_channel_dim == -2 and float(norm.gain) == 1.0


def gelu(gate: Any) -> bool:
    """Whether a gate is the GELU in the tanh approximation, as it is by default."""
    function = gate.nonlinearity
    return getattr(function, "func", None) is nn.functional.gelu and function.keywords == {"approximate": "tanh"}
