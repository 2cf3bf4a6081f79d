"""The formulas of a kernel: one for each variable that it computes, whatever number of components that has.

In: a `program.Kernel`, its fields in the order of evaluation, and what these are called. Out: equations as text. Fields
are of a variable of the body by their names; those without a name are written where they are read.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from kgen.emit.kernel.printer import Names
from kgen.emit.kernel.terms import (
    Term,
    Terms,
    added,
    alternatives,
    bounded,
    common,
    merged,
    multiplied,
    power,
    spelled,
)
from kgen.graph.node import Node, holds_dot
from kgen.graph.tensor import Tensor
from kgen.graph.variables import variable
from kgen.schedule.products import Contraction
from kgen.schedule.program import Fold, Kernel
from kgen.spec.private_names import size_name


class Equations:
    """One equation for each variable of a kernel, in the order of evaluation."""

    def __init__(self, kernel: Kernel, nodes: Sequence[Node], names: Names) -> None:
        self.label, self.tensors = names.label, {t.name: t for t in kernel.inputs}
        self.read = {self.label(n) for n in nodes if n.kind == "Input"}
        self.pairs = _pairs(kernel.contraction) if kernel.contraction else {}
        written = [(o.tensor, o.fields) for o in kernel.stores]
        written += [(g.tensor, g.fields) for g in kernel.folds if holds_dot(g.fields)]
        folds = [g for g in kernel.folds if not holds_dot(g.fields)]  # products are sums over the loop themselves
        self.reductions = {g.tensor.name: _reduction(kernel, g) for g in folds}
        stored = [(f, self._result(t, f)) for t, fields in written for f in _telling(fields)]
        self.results = dict.fromkeys((*(name for _, name in stored), *self.reductions))
        labelled = [n for n in nodes if n.kind not in ("Input", "Size") and not _share(n) and self.label(n)]
        self.variables = {n: self._own(self.label(n)) for n in labelled}
        self.variables |= {f: name for f, name in reversed(stored) if f.kind not in ("Input", "Const")}
        self.members: dict[str, list[Node]] = {}
        for node, name in (*((n, self.variables[n]) for n in nodes if n in self.variables), *stored):
            self.members.setdefault(name, []).append(node)
        self.members |= {g.tensor.name: list(g.fields) for g in folds}
        self.made: dict[Node, Terms] = {}
        for node in nodes:  # arguments first, so that no expression is gone into twice
            self.made[node] = bounded(self._terms(node))
        self.backward = any(name.startswith("grad") for name in (*self.results, *self.tensors))

    def _result(self, tensor: Tensor, field: Node) -> str:
        """What a result is called: a field that kernels hand on has its own name, if it has one."""
        named = tensor.dtype and field.kind != "Input" and self.label(field)
        return self._own(named) if named else tensor.name

    def _own(self, label: str) -> str:
        """A field's variable; what is read by its name is another."""
        return variable(label) + "_2" * (label in self.read)

    @property
    def again(self) -> list[str]:
        """What a backward computes as the forward does."""
        return [x for x in self.members if self.backward and not x.startswith("grad") and x not in self.results]

    def equation(self, name: str) -> str:
        """What a variable is: the kinds of its components, each with its terms."""
        reduction = self.reductions.get(name, "")
        kinds, shown = dict[frozenset[Term], Terms](), dict[Term, Term]()
        for node in dict.fromkeys(self.members[name]):
            terms = merged(self._terms(node, top=not reduction and self.variables.get(node, name) == name), shown)
            kind = kinds.setdefault(frozenset(terms), terms)
            kind |= {term: common(kind[term], factor) for term, factor in terms.items()}
        text = alternatives([{shown[term]: f for term, f in terms.items()} for terms in kinds.values()], name)
        return f"{reduction}({text})" if reduction else text

    def _terms(self, node: Node, top: bool = False) -> Terms:
        """What is read in place of a field; with `top` also of one that has a name."""
        if not top and node in self.made:
            return self.made[node]
        if not top and (node in self.variables or self.label(node)):
            return {(self._known(node),): 1}
        match node.kind:
            case "Const":
                return {(): float(node.value)}
            case "Mul":
                return self._product(node.args)
            case "Add":
                return added(multiplied([{(): float(c)}, self._terms(x)]) for c, x in node.terms)
        return {(self._atom(node),): 1}

    def _product(self, factors: Iterable[Node]) -> Terms:
        counts = Counter(x for factor in factors for x in self._inside(factor))
        return multiplied(power(self._terms(node), count) for node, count in counts.items())

    def _inside(self, node: Node) -> list[Node]:
        """The factors of a product without a name."""
        plain = node.kind == "Mul" and node not in self.variables and not self.label(node)
        return [x for a in node.args for x in self._inside(a)] if plain else [node]

    def _known(self, node: Node) -> str:
        if node in self.variables:
            return self.variables[node]
        name = self.label(node)
        if _share(node):
            return f"1/{size_name(node.args[0].axis)}"
        tensor = self.tensors.get(node.tensor) if node.kind == "Input" else None
        return tensor.name if tensor and name.startswith(tensor.name) else variable(name)

    def _atom(self, node: Node) -> str:
        match node.kind:
            case "Input":
                return self._known(node)
            case "Iota":
                return f"iota_{node.axis}"
            case "Dot":
                products = [self._product(pair) for pair in self.pairs.get(node, node.pairs)]
                return f"sum_{'_'.join(node.over)}({spelled(added(products))})"
        inside = [spelled(self._terms(a)) for a in node.args]
        match node.kind:
            case "Reciprocal":
                return f"1/{inside[0]}" if inside[0].isidentifier() else f"1/({inside[0]})"
            case "Sum" | "Max":
                return f"{node.kind.lower()}_{'_'.join(node.over)}({inside[0]})"
            case "Segment":
                return f"sum_{node.lookup.tensor}({inside[0]})"
            case "Call":
                return f"{node.function.removeprefix('fast_')}({', '.join(inside)})"
        return f"{node.kind.lower()}({', '.join(inside)})"


def _share(node: Node) -> bool:
    """Whether it is one over an extent."""
    return node.kind == "Reciprocal" and node.args[0].kind == "Size"


def _reduction(kernel: Kernel, fold: Fold) -> str:
    """What a fold does: along the loop, and along the tile where its fields vary there and the result does not."""
    along = frozenset[str]().union(*(f.axes for f in fold.fields))
    inner = [a for a in kernel.inner if a in along and a not in fold.tensor.axes]
    return f"{fold.reduction}_{'_'.join((*kernel.loop, *inner))}"


def _telling(fields: Sequence[Node]) -> list[Node]:
    """The fields of a result that say what it is: not what is constant, unless all is."""
    return [f for f in fields if f.kind != "Const"] or list(fields)


def _pairs(c: Contraction) -> dict[Node, list[tuple[Node, Node]]]:
    """What is multiplied for each sum of a product, stored factors as they are read."""
    found = {}
    for left, dots in zip(c.grid.left, c.grid.dots):
        for column, dot in enumerate(dots):
            pairs = [(a, line[column]) for a, line in zip(left, c.grid.right)]
            found[dot] = [(a, b) for a, b in pairs if "Const" not in (a.kind, b.kind)]
    return found
