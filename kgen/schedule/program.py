"""What the scheduler gives: kernels and matrix products in order, and the tensors between them.

In and out: frozen data, which the emitting stages read. Nothing here decides anything.
"""

from dataclasses import dataclass, field

from kgen.graph.cost import Cost
from kgen.graph.graph import Graph, Output
from kgen.graph.node import Node, postorder
from kgen.graph.tensor import Lookup, Tensor
from kgen.schedule.attend import Attend, Multiplied
from kgen.schedule.device import DEVICE
from kgen.schedule.factoring import Factoring
from kgen.schedule.products import Contraction, Product

TURNED = "_turned"  # ends the name of a kernel's row in the launch table for when it turns what it stores
ORDER = "order"  # Tensor.dtype of an index's places as they are sorted
WORKSPACE = "workspace"  # Tensor.dtype of what kernels hand to each other: the arithmetic's type, fp32 or fp64


@dataclass(frozen=True, slots=True)
class Fold:
    """A result that is reduced over the kernel's loop; `field` is what is accumulated for each component."""

    tensor: Tensor
    fields: tuple[Node, ...]
    reduction: str = "sum"  # or "max"


@dataclass(frozen=True, slots=True)
class Kernel:
    """One launch. `rows` index the programs' rows, `loop` is folded inside a program, `inner` runs along the tile.

    A "segment" kernel's loops are over the places that an index has for a row; it may have no inner axis.
    """

    name: str
    kind: str  # "map", "row", "fold", "segment", "contract" or "narrow"
    rows: tuple[str, ...]
    loop: tuple[str, ...]
    inner: tuple[str, ...]  # several axes when the tile runs over the flattened tensor
    inputs: tuple[Tensor, ...]
    numbers: tuple[str, ...]
    stores: tuple[Output, ...]
    folds: tuple[Fold, ...]
    notes: tuple[str, ...]
    cost: Cost
    naive: Cost
    live: int  # fields alive at once, accumulators included
    flat: bool  # every tensor runs along the whole domain: the tile runs over it flattened
    optional: tuple[str, ...]  # inputs that may be missing
    contraction: Contraction | None = None  # of a "contract" kernel, whose results are its Dots
    otherwise: tuple["Step", ...] = ()  # of a "contract" kernel: what does the same without tensor cores
    precision: str | None = None  # of its product in fp32, or what torch's setting says
    factorings: tuple[Factoring, ...] = ()  # the one that it has, then what else was tried
    inside: tuple[Output, ...] = ()  # of a "narrow" kernel: products that it reads, and multiplies itself
    short: bool = False  # whether rows are known to fit the registers

    @property
    def crowded(self) -> bool:
        """Whether a thread's registers hold hardly more than one element's fields."""
        return self.live >= DEVICE.crowded

    @property
    def planes(self) -> bool:
        """Whether the components of all that varies along rows or the loop lie apart."""
        along = {*self.rows, *self.loop}
        moving = [t for t in (*self.inputs, *(o.tensor for o in self.stores)) if along & {*t.axes}]
        return not any(t.interleaved for t in moving)

    @property
    def turning(self) -> str:
        """The axis that the launcher may have innermost in what is stored, in place of the tile's."""
        return next((o.tensor.turning for o in self.stores if o.tensor.split), "")

    @property
    def roots(self) -> list[Node]:
        return [f for s in self.stores for f in s.fields] + [f for s in self.folds for f in s.fields]

    @property
    def nodes(self) -> list[Node]:
        """What the kernel loads and computes; the sums of a contraction are made of its factors."""
        if not self.contraction:
            return postorder(self.roots)
        return postorder([*self.contraction.factors, *self.roots], stop=self.contraction.fields)

    @property
    def element(self) -> frozenset[str]:
        """The axes of what is computed at once; of a segment's places each has one position."""
        return frozenset(self.axes) - {by.into for by in self.segments}

    @property
    def segments(self) -> tuple[Lookup, ...]:
        """The indices by which it sums."""
        return tuple(dict.fromkeys(n.lookup for n in self.nodes if n.kind == "Segment"))

    @property
    def reads(self) -> frozenset[str]:
        """What has to lie in memory for the kernel, or for the steps in its place: these may find a factor stored."""
        made = {t.memory for step in self.otherwise for t in step.written}
        return frozenset(t.memory for step in (self, *self.otherwise) for t in step.inputs) - made

    @property
    def written(self) -> tuple[Tensor, ...]:
        return (*(o.tensor for o in self.stores), *(f.tensor for f in self.folds))

    @property
    def axes(self) -> tuple[str, ...]:
        return (*self.rows, *self.loop, *self.inner)


@dataclass(frozen=True, slots=True)
class Program:
    """One order of one variant's derivatives: kernels in launch order and the tensors between them."""

    graph: Graph
    inputs: tuple[Tensor, ...]  # what the launcher takes: the spec's inputs, saved tensors, cotangents
    outputs: tuple[Tensor, ...]
    saved: tuple[Tensor, ...]  # forward: kept for the backward
    optional: tuple[str, ...]  # cotangents that may be missing, which reads as zero
    steps: tuple["Step", ...]
    alternatives: tuple[tuple[str, str], ...] = ()  # (kernel, the kernel that replaces it for 16-bit results)
    narrow: "Program | None" = None  # what does the same for rows of few features
    unfit: str = ""  # why there is none, where one is asked for
    _reached: tuple[frozenset[str], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_reached", self._results_of_steps())  # once: many ask, and chains are deep

    @property
    def both(self) -> tuple["Program", ...]:
        """The program, and the one for rows of few features."""
        return (self, self.narrow) if self.narrow else (self,)

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        return tuple(step for step in self.steps if isinstance(step, Kernel))

    @property
    def products(self) -> tuple[Product, ...]:
        return tuple(step for step in self.steps if isinstance(step, Product))

    @property
    def every_step(self) -> tuple["Step", ...]:
        """The steps, and those that take the place of some."""
        return tuple(s for step in self.steps for s in (step, *(step.otherwise if isinstance(step, Kernel) else ())))

    @property
    def every_kernel(self) -> tuple[Kernel, ...]:
        return tuple(step for step in self.every_step if isinstance(step, Kernel))

    @property
    def contractions(self) -> tuple[Contraction, ...]:
        """The matrix products that kernels compute, factors included."""
        return tuple(k.contraction for k in self.kernels if k.contraction)

    @property
    def attends(self) -> tuple[Attend, ...]:
        return tuple(step for step in self.steps if isinstance(step, Attend))

    @property
    def multiplied(self) -> tuple[Product | Contraction | Multiplied, ...]:
        """All matrix products, the library's and the kernels'."""
        return (*self.products, *self.contractions, *(p for step in self.attends for p in step.products))

    @property
    def cost(self) -> int:
        return sum(k.cost.total for k in self.kernels) + sum(2 * p.multiplications for p in self.multiplied)

    def reached(self, step: "Step") -> frozenset[str]:
        """The results that need a step: those that it writes, and those of the steps that read what it writes."""
        return self._reached[self.steps.index(step)]

    def _results_of_steps(self) -> tuple[frozenset[str], ...]:
        """The results that need each step, from the last step to the first: what reads a tensor is known by then."""
        needing = {t.name: frozenset((t.name,)) for t in (*self.outputs, *self.saved)}
        found = list[frozenset[str]]()
        for step in reversed(self.steps):
            found.append(reached := frozenset[str]().union(*(needing.get(t.memory, ()) for t in step.written)))
            needing |= {name: needing.get(name, frozenset()) | reached for name in step.reads}
        return tuple(reversed(found))


Step = Kernel | Product | Attend
