"""A program while it is planned: the steps so far, and what they have stored.

In: a graph, and what its launcher may be called without. Out: steps in launch order. A trial plans further steps that
may be thrown away: nothing of it stays but the names that it took.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kgen.graph.builder import Builder
from kgen.graph.graph import Graph
from kgen.graph.node import Node
from kgen.graph.tensor import Tensor
from kgen.schedule.program import Kernel, Step
from kgen.schedule.store import Store


@dataclass
class Draft:
    """One direction of a variant."""

    graph: Graph
    name: str  # what its kernels' names begin with
    readable: dict[Node, Node] = field(default_factory=dict)  # fields that may be had from a stored output
    optional: Sequence[str] = ()  # inputs that may be missing
    saved: dict[Node, Node] = field(default_factory=dict)  # Dots for the backward, by what is read in their place
    mates: list[set[Node]] = field(default_factory=list)  # those of them that one product makes
    kept: list[Tensor] = field(default_factory=list)  # the products' results that hold them
    store: Store = field(init=False)
    steps: list[Step] = field(default_factory=list)
    alternatives: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = Store(self.graph)

    @property
    def builder(self) -> Builder:
        return self.graph.builder

    def trial(self) -> "Draft":
        """Further steps, to be compared or to take the place of others."""
        copy = Draft(self.graph, self.name, self.readable, self.optional)
        copy.store = self.store.trial()
        return copy

    def kernel_name(self) -> str:
        """What the next kernel is called until all are there, and `purposes.py` says what each is for."""
        number = sum(isinstance(s, Kernel) and s.name.startswith(self.name) for s in self.steps)
        return f"{self.name}{'_' + str(number) if number else ''}"
