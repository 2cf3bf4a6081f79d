"""Weights between the package's path order and memory and those of other libraries."""

from typing import NamedTuple

import torch

from .arguments import shown
from .registry import PATHS, WEIGHTS

Axes = tuple[str, ...]
Paths = tuple[tuple[int, ...], ...]


class Convention(NamedTuple):
    """How a library keeps the weights of product paths."""

    order: tuple[str, str, str]  # the sort key of paths: grades of the left operand, the result, the right operand
    per_feature: tuple[str, str]  # axes in memory order
    fully_connected: tuple[str, str, str]  # also of weights that mix the features of each grade, whose paths are grades


CONVENTIONS = {
    "flash_clifford": Convention(("left", "out", "right"), ("feature", "path"), ("path", "in", "out")),
    "cgenn": Convention(("left", "out", "right"), ("feature", "path"), ("out", "in", "path")),
    "kingdon": Convention(("left", "right", "out"), ("feature", "path"), ("path", "in", "out")),
}


def weights_from(weight: torch.Tensor, convention: str, *, of: str) -> torch.Tensor:
    """A copy of another library's weights in the order that this package takes. The inverse of `weights_to`.

    Args:
        weight: the weights, with paths and axes in the library's order.
        convention: the library, a key of CONVENTIONS.
        of: which weights of this package they become, a key of WEIGHTS.

    Raises:
        ValueError: the convention or the weights are unknown, or the shape is another; the message says what is known.
    """
    there = _kept(convention, of)
    return _reordered(weight, there, (PATHS[of], WEIGHTS[of]))


def weights_to(weight: torch.Tensor, convention: str, *, of: str) -> torch.Tensor:
    """A copy of this package's weights in another library's order. The inverse of `weights_from`.

    Args:
        weight: the weights, as the package takes them.
        convention: the library, a key of CONVENTIONS.
        of: which weights of this package they are, a key of WEIGHTS.

    Raises:
        ValueError: the convention or the weights are unknown, or the shape is another; the message says what is known.
    """
    there = _kept(convention, of)
    return _reordered(weight, (PATHS[of], WEIGHTS[of]), there)


def _kept(convention: str, of: str) -> tuple[Paths, Axes]:
    """The paths and the axes of weights as a library keeps them."""
    _check_known("convention", convention, list(CONVENTIONS))
    _check_known("of", of, list(WEIGHTS))
    order, per_feature, fully_connected = CONVENTIONS[convention]
    sides = [("left", "out", "right").index(side) for side in order]
    paths = sorted(PATHS[of], key=lambda path: [path[side] for side in sides if side < len(path)])
    return tuple(paths), per_feature if "feature" in WEIGHTS[of] else fully_connected


def _check_known(name: str, value: str, known: list[str]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}")


def _reordered(weight: torch.Tensor, source: tuple[Paths, Axes], target: tuple[Paths, Axes]) -> torch.Tensor:
    """A copy of weights with paths and axes in another order."""
    (paths, axes), (new_paths, new_axes) = source, target
    along = axes.index("path")
    if weight.ndim != len(axes) or weight.shape[along] != len(paths):
        shape = shown([len(paths) if axis == "path" else axis for axis in axes])
        raise ValueError(f"weight must have shape {shape}, got {tuple(weight.shape)}")
    index = torch.tensor([paths.index(path) for path in new_paths], device=weight.device)
    return weight.index_select(along, index).permute([axes.index(axis) for axis in new_axes]).contiguous()
