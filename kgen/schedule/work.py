"""What one launch costs: instructions, bytes and launches, as the least time that a device needs for them.

In: a `Kernel`. Out: a `Work`, for each element of its tile. Of bytes, what rows or tiles share is not counted; of
instructions, what is done once a row is counted as if each element did. `kgen show` prints it, so that a reader sees
what limits a kernel, and what an operation less would gain.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from kgen.schedule.device import DEVICE, Device
from kgen.schedule.program import Kernel

BYTES = 4  # of a field's element in fp32


@dataclass(frozen=True, slots=True)
class Work:
    """Of one element."""

    instructions: int  # in fp32, those of special functions by their throughput
    read: int  # fields
    written: int
    launches: int

    @property
    def bytes(self) -> int:
        return BYTES * (self.read + self.written)

    def computing(self, device: Device = DEVICE) -> float:
        """Picoseconds of all multiprocessors, with every instruction slot taken."""
        return 1e12 * self.instructions / device.instruction_rate

    def moving(self, device: Device = DEVICE) -> float:
        """Picoseconds of the memory, at its full bandwidth."""
        return 1e12 * self.bytes / device.bandwidth

    def __str__(self) -> str:
        limit = "arithmetic" if self.computing() > self.moving() else "memory"
        computed = f"{self.instructions} instructions take {self.computing():.3g} ps"
        launches = f"{self.launches} launch{'es' if self.launches > 1 else ''}"
        return f"{computed}, {self.bytes} bytes {self.moving():.3g} ps: limited by {limit}; {launches}"


def runs_along(kernel: Kernel, axes: Iterable[str]) -> bool:
    """Whether what has these axes varies from element to element: of whole rows, along the rows and one axis."""
    if kernel.inside or any(n.kind == "Dot" for n in kernel.roots):
        return len({*axes}) > 1 and not {*kernel.rows, *kernel.loop}.isdisjoint(axes)
    return kernel.element <= {*axes}


def work(kernel: Kernel) -> Work:
    """Folds have a second launch, which adds the programs' partial results."""
    memory = {(t.memory, t.dims): t for t in kernel.inputs if runs_along(kernel, t.axes)}
    read = sum(len(t.labels) for t in memory.values())
    written = sum(len(o.tensor.labels) for o in kernel.stores if runs_along(kernel, o.tensor.axes))
    return Work(kernel.cost.total, read, written, 1 + bool(kernel.folds))
