"""What modules with a parameter for all blades of some grades call."""

import torch


def on_blades(values: torch.Tensor, blades: tuple[int, ...], *, of: int, dim: int) -> torch.Tensor:
    """The values on some of the blades, zero on the others; `dim` is the axis of blades."""
    zeros = torch.zeros_like(values)
    return torch.cat([values if blade in blades else zeros for blade in range(of)], dim)
