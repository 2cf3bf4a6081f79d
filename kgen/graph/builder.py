"""What makes the fields of one kernel, and makes them anew over other arguments, axes or inputs.

In: fields. Out: fields of the same canonical form, by the constructors of `arithmetic.py`, `reductions.py`,
`lookups.py` and `concatenation.py`; a field that takes the place of another keeps its name.
"""

from collections.abc import Sequence
from dataclasses import replace

from kgen.errors import KgenError
from kgen.graph.concatenation import Concatenation
from kgen.graph.node import Names, Node, postorder, walk
from kgen.graph.tensor import Lookup, Tensor


class Builder(Concatenation):
    """All constructors, and the ways to rebuild what they made."""

    def rebuild(self, node: Node, args: Sequence[Node]) -> Node:
        """The node of the same kind over other arguments, through the constructors."""
        return node if tuple(args) == node.args else self.rebuilt(node, args)

    def rebuilt(self, node: Node, args: Sequence[Node]) -> Node:
        """The same, without the knowledge that over its own arguments a node is itself."""
        return self.made_of(node.kind, args, node.payload)

    def substitute(self, roots: Sequence[Node], table: dict[Node, Node]) -> list[Node]:
        """The roots with every node of the table replaced; names follow."""
        done = dict(table)
        for node in postorder(roots, stop=table):
            if node in done:
                continue
            done[node] = self.rebuild(node, [done[a] for a in node.args]) if node.args else node
            if node in self.hints and done[node] is not node:
                self.name(done[node], self.hints[node])
        return [done[root] for root in roots]

    def adopt(self, fields: Sequence[Node]) -> list[Node]:
        """Fields of a copy as those of this builder; the tensors that they are read from have to be known here."""
        done: dict[Node, Node] = {}
        for node in postorder(fields):
            args = [done[a] for a in node.args]
            done[node] = self.rebuild(node, args) if args else self._leaf(node)
        return [done[field] for field in fields]

    def _leaf(self, node: Node) -> Node:
        return self.make(node.kind, node.axes, (), node.payload, node.integer)

    # other names of axes

    def rename(self, fields: Sequence[Node], names: Names) -> list[Node]:
        """The fields with axes renamed everywhere, the reduced ones included; `names` exchanges axes of one extent."""
        done = self.renamed.setdefault(tuple(sorted(names.items())), {})
        for node in walk(fields, lambda node: () if node in done else node.args):
            if node not in done:
                done[node] = self._renamed(node, [done[a] for a in node.args], names)
                if node in self.hints:
                    self.name(done[node], self.hints[node])
        return [done[field] for field in fields]

    def _renamed(self, node: Node, args: Sequence[Node], names: Names) -> Node:
        if node.kind == "Input" and node.axes & names.keys():
            other = self._renamed_tensor(self.tensors[node.tensor], names)
            return self.input(other.name, node.component, other.axes)
        if node.kind == "Size":
            return self.size(names.get(node.axis, node.axis))
        if node.kind == "Iota":
            return self.iota(names.get(node.axis, node.axis))
        if node.kind == "Draw":
            number, part, axes = node.drawn
            return self.draw(args[0], args[1], number, part, [names.get(axis, axis) for axis in axes])
        if node.kind in ("Gather", "Segment"):
            return self.by_lookup(node.kind, args[0], self._renamed_lookup(node.lookup, names))
        if node.reduced:
            return self.made_of(node.kind, args, [names.get(axis, axis) for axis in node.over])
        if node.kind == "Cat" and (clash := names.keys() & {node.along[0], *node.along[1]}):
            raise KgenError(f"cat joins {' and '.join(node.along[1])}: {min(clash)} cannot be renamed in what it gives")
        return self.rebuild(node, args)

    def _renamed_tensor(self, tensor: Tensor, names: Names) -> Tensor:
        """The same memory under other names; what is renamed back is the tensor itself."""
        dims = tuple(d if isinstance(d, int) else names.get(d, d) for d in tensor.dims)
        lookups = tuple(self._renamed_lookup(by, names) for by in tensor.lookups)
        memory = self.tensors[tensor.memory]
        if dims == memory.dims and not lookups:
            return memory
        name = f"{memory.name}_along_{'_'.join(d for d in dims if isinstance(d, str))}"
        return self.declared(replace(tensor, name=name, dims=dims, source=memory.name, lookups=lookups))

    def _renamed_lookup(self, by: Lookup, names: Names) -> Lookup:
        along, into = (names.get(axis, axis) for axis in (by.along, by.into))
        index = by.tensor if along == by.along else self._renamed_tensor(self.tensors[by.tensor], names).name
        return Lookup(along, into, index)
