"""What makes the fields of one kernel, and makes them anew over other arguments, axes or inputs.

In: fields. Out: fields of the same canonical form, by the constructors of `arithmetic.py`, `reductions.py` and
`lookups.py`; a field that takes the place of another keeps its name.
"""

from collections.abc import Sequence
from dataclasses import replace

from kgen.graph.lookups import Lookups
from kgen.graph.node import Names, Node, postorder, walk
from kgen.graph.tensor import Tensor


class Builder(Lookups):
    """All constructors, and the ways to rebuild what they made."""

    def rebuild(self, node: Node, args: Sequence[Node]) -> Node:
        """The node of the same kind over other arguments, through the constructors."""
        return node if tuple(args) == node.args else self.rebuilt(node, args)

    def rebuilt(self, node: Node, args: Sequence[Node]) -> Node:
        """The same, without the knowledge that over its own arguments a node is itself."""
        match node.kind:
            case "Add":
                return self.linear(zip(node.coefficients, args))
            case "Mul":
                return self.mul(*args)
            case "Reciprocal":
                return self.reciprocal(args[0])
            case "Call":
                return self.call(node.function, *args)
            case "Sum" | "Max" | "Dot":
                return self._reduce(node, args, node.over)
            case "Gather" | "Segment":
                return self.by_lookup(node, args)
            case "Cast":
                return self.cast(args[0], str(node.payload[0]))
            case _:
                return node

    def _reduce(self, node: Node, args: Sequence[Node], over: Sequence[str]) -> Node:
        """A reduction of the node's kind."""
        if node.kind == "Max":
            return self.max(args[0], over)
        pairs = zip(args[::2], args[1::2])
        return self.sum(args[0] if node.kind == "Sum" else self.linear((1, self.mul(a, b)) for a, b in pairs), over)

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
            done[node] = self.rebuild(node, args) if args else self.make(node.kind, node.axes, (), node.payload)
        return [done[field] for field in fields]

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
            return self._renamed_input(self.tensors[node.tensor], node.component, names)
        if node.kind == "Size":
            return self.size(names.get(node.axis, node.axis))
        if node.reduced:
            return self._reduce(node, args, [names.get(axis, axis) for axis in node.over])
        return self.rebuild(node, args)

    def _renamed_input(self, tensor: Tensor, component: int, names: Names) -> Node:
        """The same memory under other names; what is renamed back is the tensor itself."""
        dims = tuple(d if isinstance(d, int) else names.get(d, d) for d in tensor.dims)
        memory = self.tensors[tensor.memory]
        if dims != memory.dims:
            memory = self._along(memory, dims)
        return self.input(memory.name, component, memory.axes)

    def _along(self, memory: Tensor, dims: tuple[str | int, ...]) -> Tensor:
        """A tensor under other names of its axes, declared once."""
        found = [t for t in self.tensors.values() if (t.source, t.dims) == (memory.name, dims)]
        name = f"{memory.name}_along_{'_'.join(d for d in dims if isinstance(d, str))}"
        while not found and name in self.tensors:
            name += "_"
        return found[0] if found else self.declare(replace(memory, name=name, dims=dims, source=memory.name))
