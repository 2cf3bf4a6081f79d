"""What a launcher allocates, and gives back.

In: one direction of a variant, with the plan of its memory (`schedule/buffers.py`), which says what is allocated when.
Out: rows that say how: of which shape, in which dtype, and if what is wanted. Guaranteed: where nobody wants a gradient
no memory is taken for it; what it is of stands in.
"""

from kgen.emit.host.extents import extents, shape
from kgen.emit.host.rows import Assigned, Deleted, Reused
from kgen.emit.host.values import MATRIX, REAL, Chosen, Dtype, Empty, Factor, Like, Memory, Partial, Zeros
from kgen.emit.host.variant import Direction, source
from kgen.graph.tensor import Tensor
from kgen.schedule import products
from kgen.schedule.program import WORKSPACE


class Allocations:
    """The memory of one launcher."""

    def __init__(self, direction: Direction) -> None:
        self.direction, self.plan = direction, direction.plan

    # when

    def results(self) -> list[Assigned]:
        """Before all steps."""
        return [self.allocated(tensor) for tensor in self.plan.results]

    def before(self, step: int) -> list[Assigned | Reused]:
        """For intermediates that a step is the first to write."""
        lives = self.plan.before(step)
        return [
            (
                self.allocated(life.tensor)
                if life.workspace == life.tensor.name
                else Reused(life.tensor.name, life.workspace)
            )
            for life in lives
        ]

    def after(self, step: int) -> list[Deleted]:
        return [Deleted((tensor.name,)) for tensor in self.plan.after(step)]

    # how

    def allocated(self, tensor: Tensor) -> Assigned:
        """A tensor with memory of its own, if it is wanted or something that is computed from it."""
        d = self.direction
        if not d.is_gradient(tensor):
            return Assigned(tensor.name, self.memory(tensor))
        needed, stand_in = d.needed(tensor), source(tensor)
        there = stand_in not in d.program.optional or needed == d.wanted({tensor.name})  # a wanted one's is there
        memory = self.memory(tensor) if there else self._empty(tensor)
        return Assigned(tensor.name, Chosen(memory, needed, stand_in))

    def memory(self, tensor: Tensor) -> Memory:
        """Memory for a tensor; of a gradient, if what it is of is there."""
        d = self.direction
        if tensor.cleared:
            return Zeros(d.place, shape(tensor), self._dtype(tensor))
        if tensor.split:
            return self._factor(tensor)
        if d.is_gradient(tensor):
            return Like(source(tensor), MATRIX if d.is_added(tensor) else None)
        shapes = {(t.dims, t.leading): t.name for t in reversed(d.program.inputs)}
        like = None if d.backward else shapes.get((tensor.dims, tensor.leading))
        return Like(like, self._dtype(tensor)) if like else self._empty(tensor)  # the first costs half as much

    def partial(self, tensor: Tensor, slots: str) -> Assigned:
        """The partial results of a fold."""
        d = self.direction
        memory = Empty(d.place, (slots, *shape(tensor)), REAL)
        wanted = d.is_gradient(tensor)
        return Assigned(
            Partial(tensor.name), Chosen(memory, d.wanted({tensor.name}), source(tensor)) if wanted else memory
        )

    def summed(self, tensor: Tensor) -> Assigned:
        """A result that partial sums are added into; none for a gradient that nobody wants."""
        d, memory = self.direction, self.memory(tensor)
        optional = d.is_gradient(tensor)
        return Assigned(tensor.name, Chosen(memory, d.wanted({tensor.name}), "None") if optional else memory)

    def _empty(self, tensor: Tensor) -> Empty:
        return Empty(self.direction.place, shape(tensor), self._dtype(tensor))

    def _factor(self, tensor: Tensor) -> Factor:
        rows, columns = tensor.dims[tensor.several : tensor.split], tensor.dims[tensor.split :]
        several = str(tensor.dims[0]) if tensor.several else None
        return Factor(self.direction.place, tensor.turning, extents(rows), extents(columns), several)

    def _dtype(self, tensor: Tensor) -> Dtype:
        if tensor.dtype == WORKSPACE:
            return REAL
        is_matrix = tensor.dtype == products.MATRIX or self.direction.is_added(tensor)
        return MATRIX if is_matrix else self.direction.promoted
