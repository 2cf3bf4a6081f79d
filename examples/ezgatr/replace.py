"""Generated layers in the place of ezgatr's, in a model as it stands.

In: a model of ezgatr, https://pypi.org/project/ezgatr, built and perhaps trained. Out: the same model, whose layers are
those of `generated/gatr` with the same parameters under the same names: its state dicts load as before.
"""

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # for `generated`, which is not part of the installed package

import torch
from torch import Tensor, nn

from generated import gatr

LAYERS = ("MVOnlyGATrAttention", "MVOnlyGATrMLP", "MVOnlyGATrBilinear", "EquiLinear", "EquiRMSNorm")
E123 = 14  # the blade whose part of a reference a join is multiplied by


class Bilinear(gatr.GeometricBilinear):
    """The geometric bilinear layer, whose reference is one for all channels, or none."""

    def forward(self, x: Tensor, reference: Tensor | None = None) -> Tensor:
        return super().forward(x, of_tokens(reference, x))


class MLP(gatr.MLPBlock):
    """The MLP block, whose reference is one for all channels, or none."""

    def forward(self, x: Tensor, reference: Tensor | None = None) -> Tensor:
        return super().forward(x, of_tokens(reference, x))


class Attention(nn.Module):
    """The attention block: norm, maps to queries, keys and values of each head, attention, a map, and x again."""

    def __init__(self, channels: int, heads: int, causal: bool, eps: float, **kept: Any) -> None:
        super().__init__()
        self.channels, self.heads, self.causal = channels, heads, causal
        self.layer_norm = gatr.EquiRMSNorm(channels, eps=eps, **kept)
        self.proj_qkv = gatr.EquiLinear(channels, 3 * heads * channels, **kept)
        self.proj_out = gatr.EquiLinear(heads * channels, channels, **kept)
        self.attn_mix_ipa, self.attn_mix_daa = (
            nn.Parameter(torch.zeros(heads, 1, channels, 1, **kept)) for _ in range(2)
        )

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        if attn_mask is not None:
            raise ValueError("the generated attention has no mask but the causal one")
        maps = self.proj_qkv(self.layer_norm(x)).unflatten(-2, (3, self.heads, self.channels))
        q, k, v = maps.movedim((-4, -3), (0, -4)).contiguous()  # each (..., heads, tokens, channels, 16)
        weights = [mix[:, 0, :, 0].exp() for mix in (self.attn_mix_ipa, self.attn_mix_daa)]
        seen = gatr.geometric_attention(q, k, v, *weights, causal=self.causal)
        return x + self.proj_out(seen.movedim(-4, -3).flatten(-3, -2))


def of_tokens(reference: Tensor | None, x: Tensor) -> Tensor:
    """A reference, (..., 1, 16), without its axis of channels; without one, what leaves joins as they are."""
    if reference is None:
        return torch.eye(16, dtype=x.dtype, device=x.device)[E123].expand(*x.shape[:-2], 16)
    return reference.squeeze(-2)


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
    own = built(kind, theirs, next(theirs.parameters(), torch.empty(0))) if kind in kinds else None
    if own is not None:
        own.load_state_dict(theirs.state_dict())
    return own


def built(kind: str, theirs: Any, like: Tensor) -> nn.Module | None:
    """A layer like theirs, with other parameters; None for one without some part that the generated class has."""
    kept = {"device": like.device, "dtype": like.dtype}
    match kind:
        case "EquiLinear" if plain(theirs):
            return gatr.EquiLinear(theirs.in_channels, theirs.out_channels, **kept)
        case "EquiRMSNorm" if theirs.weight is not None:
            return gatr.EquiRMSNorm(theirs.in_channels, eps=floor(theirs, like), **kept)
        case "MVOnlyGATrAttention" if by_both(theirs) and plain(theirs.proj_qkv) and plain(theirs.proj_out):
            norm, config = theirs.layer_norm, theirs.config
            if norm.weight is not None:
                causal, eps = config.attn_is_causal, floor(norm, like)
                return Attention(norm.in_channels, config.attn_num_heads, causal, eps, **kept)
        case "MVOnlyGATrBilinear" if plain(theirs.proj_bil) and plain(theirs.proj_out):
            linear = theirs.proj_bil
            return Bilinear(linear.in_channels, linear.out_channels // 4, theirs.proj_out.out_channels, **kept)
        case "MVOnlyGATrMLP" if theirs.config.gelu_approximate == "tanh" and plain(theirs.proj_out):
            bilinear, norm = built("MVOnlyGATrBilinear", theirs.equi_bil, like), theirs.layer_norm
            if isinstance(bilinear, Bilinear) and norm.weight is not None:
                return MLP(norm.in_channels, bilinear.intermediate_channels, eps=floor(norm, like), **kept)
    return None


def by_both(theirs: Any) -> bool:
    """Whether attention is by inner products and distances, with their default scale and floor, and drops nothing."""
    config = theirs.config
    return config.attn_kinds == {"ipa": None, "daa": None} and not config.attn_dropout_p and config.attn_scale is None


def plain(linear: Any) -> bool:
    """Whether a map has a bias, and maps of the norm one, as it does by default."""
    return linear.bias is not None and bool(linear.normalize_basis)


def floor(norm: Any, like: Tensor) -> float:
    """What a norm divides by at least, squared."""
    return float(norm.eps or torch.finfo(like.dtype).eps)
