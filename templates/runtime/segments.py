"""Indices in order: what kernels walk that sum, for each position, what an index gives to it."""

from typing import Any

import torch
from torch.utils.weak import WeakIdKeyDictionary

from .arguments import compiling
from .operators import PLAIN

Order = tuple[torch.Tensor, torch.Tensor]

_known: Any = WeakIdKeyDictionary()  # of an index that was sorted before: its version, the count, the order


def order(index: torch.Tensor, count: int) -> Order:
    """The places of an index in the order of their positions, equal ones as they come, and where each position starts.

    The last start is where the last position's places end. What is out of range is before the first or behind the last
    start, so that nothing walks it. An index that is used again, such as in a backward, is sorted once.
    """
    if not _tells(index):
        return _sorted(index, count)
    version, counted, found = _known.get(index, (-1, -1, None))
    if found is None or (version, counted) != (index._version, count):
        found = _sorted(index, count)
        _known[index] = index._version, count, found
    result: Order = found
    return result


def _tells(index: torch.Tensor) -> bool:
    """Whether a tensor tells when it is written to. What a graph replays is sorted anew, for others write to it."""
    if compiling() or type(index) not in PLAIN or index.is_inference():
        return False
    return index.device.type != "cuda" or not torch.cuda.is_current_stream_capturing()


def _sorted(index: torch.Tensor, count: int) -> Order:
    positions, places = torch.sort(index, stable=True)
    each = torch.arange(count + 1, device=index.device, dtype=index.dtype)
    return places, torch.searchsorted(positions, each)
