"""What limits a formula on a device: its instructions, or its bytes, each number read or written once.

In: a traced graph, and the work that `needed` found. Out: for each direction a `Limit`, in fp32, where all axes have
`EXTENT` elements; matrix products, which other units compute, are not in it. A backward reads inputs and cotangents and
writes gradients. `kgen show` prints it; the benchmark has its own figures, of measured rates and real extents.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from kgen.graph.graph import Graph
from kgen.graph.tensor import Tensor
from kgen.schedule.device import Device
from kgen.schedule.needed import EXTENT, FORWARD, PRODUCT, Work, instructions
from kgen.schedule.work import BYTES


@dataclass(frozen=True, slots=True)
class Limit:
    """Of all elements together."""

    instructions: int
    bytes: int

    @property
    def intensity(self) -> float:
        """Instructions a byte."""
        return self.instructions / self.bytes

    def share(self, device: Device) -> float:
        """What instructions take of the time of the bytes; more than one where they take longer."""
        return self.intensity / device.intensity

    def binds(self, device: Device) -> str:
        return "instructions" if self.share(device) > 1 else "bytes"


def limits(graph: Graph, grads: Collection[str], work: Mapping[str, Work]) -> dict[str, Limit]:
    """Of each direction of the work."""
    outputs = graph.results
    forward = numbers([*graph.inputs, *outputs])
    backward = numbers([*graph.inputs, *outputs, *(t for t in graph.inputs if t.name in grads)])
    moved = {d: BYTES * (forward + (backward if d != FORWARD else 0)) for d in work}
    return {direction: Limit(_instructions(found), moved[direction]) for direction, found in work.items()}


def numbers(tensors: Iterable[Tensor]) -> int:
    """How many numbers tensors hold."""
    return sum(len(t.labels) * EXTENT ** len(t.axes) for t in tensors)


def _instructions(work: Work) -> int:
    return sum(instructions(_apart(kinds)) * EXTENT ** len(axes.split()) for axes, kinds in work.items())


def _apart(kinds: Mapping[str, int]) -> dict[str, int]:
    """Without products of matrices."""
    return {kind: count for kind, count in kinds.items() if kind != PRODUCT}
