"""What lies where while a program is planned: a table of tensors, and the fields that are read from them.

In: tensors and fields as steps store them. Out: names for new tensors, inputs in place of stored fields, the tensors
that some fields read. Guaranteed: a name is given once in a program, in a trial that is thrown away, too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import count

from kgen.graph.graph import Graph
from kgen.graph.node import Node
from kgen.graph.tensor import Lookup, Tensor
from kgen.graph.variables import held
from kgen.schedule.intermediates import Places, labels_of
from kgen.schedule.placement import stored
from kgen.schedule.products import MATRIX, Factor, Operand, Way
from kgen.schedule.program import ORDER


class Store:
    """The tensors of one program."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.builder = graph, graph.builder
        self.tensors = {t.name: t for t in graph.inputs}
        self.known: dict[Node, Node] = {}  # fields that kernels have stored for others, as inputs
        self._factors: dict[tuple[object, ...], Tensor] = {}  # of products, by fields, memory order and split
        self._taken = set[str]()  # names, and what these begin with: shared with trials
        self.reserve(self.tensors)

    def trial(self) -> "Store":
        """The same table, for steps that may be thrown away; the names that they take stay theirs."""
        copy = Store(self.graph)
        copy.tensors, copy.known, copy._factors = dict(self.tensors), dict(self.known), dict(self._factors)
        copy._taken = self._taken
        return copy

    # names

    def reserve(self, names: Iterable[str]) -> None:
        """Keep names for tensors that are not there yet."""
        for name in names:
            parts = name.split("_")
            self._taken.update("_".join(parts[:end]) for end in range(1, len(parts) + 1))

    def numbered(self, role: str, fields: Sequence[Node] = (), what: str = "") -> str:
        """A name for the next tensor of a role, by the variable that it holds or `what`, numbered where it is taken."""
        variable = held(self.builder, fields) or what
        end = f"_{variable}" if variable else ""
        wishes = (f"{role}{i if i > 1 else ''}{end}" for i in count(1))
        return next(name for name in wishes if name not in self._taken)

    def labels(self, fields: Sequence[Node]) -> tuple[str, ...]:
        """Labels for fields that are the components of a tensor."""
        return labels_of([self.builder.hints.get(f, "") for f in fields])

    # tensors

    def add(self, tensor: Tensor) -> Tensor:
        """Make a tensor known."""
        self.tensors[tensor.name] = self.builder.declare(tensor)
        self.reserve([tensor.name])
        return tensor

    @property
    def visible(self) -> dict[str, Tensor]:
        """What has been stored, under all names of its axes."""
        others = {name: t for name, t in self.builder.tensors.items() if t.source in self.tensors}
        return self.tensors | others

    def tensor(self, name: str) -> Tensor | None:
        """What has been stored under a name, or what is the same under other names of its axes."""
        other = self.builder.tensors.get(name)
        return other if other and other.source in self.tensors else self.tensors.get(name)

    def read(self, nodes: Iterable[Node]) -> tuple[Tensor, ...]:
        """The tensors that fields are read from, and the indices that say where."""
        used = {n.tensor for n in nodes if n.kind == "Input"}
        visible = self.visible
        used |= {lookup.tensor for name in used if name in visible for lookup in visible[name].lookups}
        return tuple(t for name, t in visible.items() if name in used)

    def looked_up(self, name: str, by: Lookup) -> Tensor:
        """A tensor that is read where an index says."""
        tensor = self.builder.tensors[name]
        dims = tuple(by.along if d == by.into else d for d in tensor.dims)
        found = replace(
            tensor, name=f"{name}_{by.tensor}", dims=dims, source=tensor.memory, lookups=(*tensor.lookups, by)
        )
        while self.builder.tensors.get(found.name, found) != found:
            found = replace(found, name=f"{found.name}_")
        return found

    def sorted(self, by: Lookup) -> tuple[Tensor, Tensor]:
        """The order of an index's places by their positions, and where in it each position's places start."""
        return Tensor(f"order_{by.tensor}", (by.along,), dtype=ORDER), Tensor(
            f"starts_{by.tensor}", (by.into,), dtype=ORDER
        )

    # fields

    def remember(self, tensors: Sequence[Tensor], where: Places) -> dict[Node, Node]:
        """Stored fields as inputs, for this stage and the later ones."""
        for tensor in tensors:
            self.add(tensor)
        table = {n: self.builder.input(t.name, i, t.axes) for n, (t, i) in where.items()}
        self.known |= table
        return table

    def reading(self, tensor: Tensor, fields: Sequence[Node], first: int | None = None) -> dict[Node, Node]:
        """What is read in place of fields that are the components of a tensor from the first on."""
        return {f: self.builder.input(tensor.name, i, tensor.axes) for i, f in enumerate(fields, first or 0)}

    # factors of matrix products

    def there(self, factor: Factor) -> Operand | None:
        """Where a factor is already, in an order that no launcher chooses."""
        tensor = self._factors.get((factor.fields, factor.dims, 0, False))
        made = Operand(tensor, factor.transposed) if tensor else None
        return stored(factor, self.tensor) or made

    def factor(self, factor: Factor, way: Way = Way.FITS) -> tuple[Operand, bool]:
        """A factor that is not there, as a product reads it; and whether it is still to be stored."""
        split, several = (factor.split, factor.several) if way is Way.TURNED else (0, False)
        # turned, matrices one after the other are not one of all rows
        key = (factor.fields, factor.dims, split, several)
        if fresh := key not in self._factors:
            name, labels = self.numbered("factor", factor.fields), self.labels(factor.fields)
            cleared = 2 * factor.fields.count(self.builder.zero) > len(factor.fields)
            tensor = Tensor(
                name, factor.dims, labels, dtype=MATRIX, split=split, several=factor.several, cleared=cleared
            )
            self._factors[key] = self.add(tensor)
        return Operand(self._factors[key], factor.transposed, way=way), fresh
