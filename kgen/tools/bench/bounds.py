"""Sizes that a benchmark can end with.

In: cases and their modules' descriptions. Out: bytes that one needs at least, and that are free; a KgenError for those
that would take hours on a CPU, or that leave nothing to time. A case is some 350 calls of every contender
(`timing.timed`), whose time on a CPU goes with the elements of inputs and outputs: about 1 us each in the references,
50 us in Triton's interpreter, on one core.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kgen.errors import KgenError
from kgen.tools.problem import axes, shape, whole

REFERENCE, INTERPRETER = 1 << 21, 1 << 16  # elements with which a case takes about a quarter of an hour
DOUBLE = 8  # bytes


@dataclass(frozen=True, slots=True)
class Work:
    """One case: an entry of KERNELS, extents of its axes, and whether kernels compute it."""

    name: str
    description: Mapping[str, Any]
    sizes: Mapping[str, int]
    kernels: bool  # run on the device; else the reference does

    @property
    def extents(self) -> dict[str, int]:
        names = axes([self.description])
        return dict(zip(names, shape(names, whole(self.description, self.sizes))))

    def elements(self, most: Mapping[str, int] | None = None) -> int:
        """Of all inputs and outputs; no axis is longer than `most` says."""
        sizes = {axis: min(extent, (most or {}).get(axis, extent)) for axis, extent in self.extents.items()}
        tensors = (*self.description["inputs"].values(), *self.description["outputs"].values())
        return sum(math.prod(shape(dims, sizes)) for dims in tensors)

    @property
    def label(self) -> str:
        return f"{self.name} at {' '.join(f'{axis}={extent}' for axis, extent in self.extents.items())}"

    def bytes(self, itemsize: int, rotated: int, directions: int) -> int:
        """What the case holds at least: inputs, cotangents and results, and fp64 ones to compare with.

        `rotated` copies are timed in turns; the gradients of the second direction are as large as the inputs.
        """
        return self.elements() * (itemsize * (rotated + directions) + DOUBLE * (1 + directions))


def free(device: torch.device) -> int | None:
    """Bytes that can still be allocated; None where the system does not say."""
    if device.type == "cpu":
        return _available()
    backend = torch.get_device_module(device)
    within = int(backend.memory_reserved(device)) - int(backend.memory_allocated(device))
    return int(backend.mem_get_info(device)[0]) + within


def _available() -> int | None:
    try:
        found = re.search(r"^MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text("ascii"), re.MULTILINE)
    except OSError:
        return None
    return 1024 * int(found[1]) if found else None


def refuse_empty(works: Sequence[Work]) -> None:
    """Raise KgenError where an axis has no elements: there is nothing to time."""
    for work in works:
        if not all(work.extents.values()):
            raise KgenError(f"{work.label} has nothing to compute", hint="sizes start at 1")


def refuse_endless(works: Sequence[Work]) -> None:
    """Raise KgenError where a CPU would need hours, with sizes as a hint with which it does not."""
    for kernels, limit, where in ((True, INTERPRETER, "in Triton's interpreter"), (False, REFERENCE, "on a CPU")):
        _refuse_endless([work for work in works if work.kernels == kernels], limit, where)


def _refuse_endless(works: Sequence[Work], limit: int, where: str) -> None:
    worst = max(works, key=Work.elements, default=None)
    if worst and worst.elements() > limit:
        raise KgenError(
            f"{worst.label} has {worst.elements()} elements, and more than {limit} take hours {where}",
            hint="at most " + " ".join(f"{axis}={extent}" for axis, extent in _smaller(works, limit).items()),
        )


def _smaller(works: Sequence[Work], limit: int) -> dict[str, int]:
    """Extents with which all cases stay below the limit: the longest axis is halved until they do."""
    most: dict[str, int] = {}
    for work in works:
        most |= {axis: max(extent, most.get(axis, 1)) for axis, extent in work.extents.items()}
    while max(work.elements(most) for work in works) > limit and max(most.values()) > 1:
        longest = max(most, key=lambda axis: most[axis])
        most[longest] //= 2
    return most
