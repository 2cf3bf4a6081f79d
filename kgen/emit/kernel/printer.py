"""Spells fields and names as Triton text. Templates place what this module spells; it never prints a kernel.

Names are unique within a kernel and follow the spec: components read `x_e12`, run-time numbers keep their name, fields
that a body or an operation names keep that name, all others are named after the result that first needs them, and
numbered within it: `out_e1_1`, `out_e1_2`, ….
"""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import chain, count
from typing import NamedTuple

from kgen.graph.builder import Builder
from kgen.graph.node import Node, Number, Rational
from kgen.graph.order import Order
from kgen.graph.tensor import Tensor
from kgen.graph.variables import variable
from kgen.schedule.products import MATRIX
from kgen.schedule.program import WORKSPACE
from kgen.spec.private_names import CONSTANTS, size_name

FUNCTIONS = {
    "exp": "_exp",
    "log": "tl.log",
    "erf": "_erf",
    "tanh": "_tanh",
    "sigmoid": "_sigmoid",
    "sqrt": "_sqrt",
    "rsqrt": "_rsqrt",
    "abs": "tl.abs",
    "sin": "_sin",
    "cos": "tl.cos",
    "maximum": "_maximum",
    "minimum": "_minimum",
    "where": "tl.where",
    "phi": "_phi",
    "fast_exp": "tl.exp",
}
COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
JUNCTIONS = {"and": " & ", "or": " | "}
LOCALS = {  # what templates of kernels call their own variables, and what they use
    *("r", "at", "row", "rows", "kept", "column", "across", "down", "start", "tile", "tiles", "block", "blocks"),
    *("program", "programs", "slot", "end", "first_tile", "mask", "row_mask", "tile_mask"),
    *("column_mask", "across_mask", "down_mask", "tl", "triton", "torch", "range", "float"),
}

COMPARISON, SUM, PRODUCT, UNARY, ATOM = range(-1, 4)  # precedence


class Names:
    """Gives everything in a kernel its name: what has it first keeps it, later ones get a number."""

    def __init__(self, builder: Builder, tensors: Iterable[Tensor], taken: Iterable[str]) -> None:
        self.hints = builder.hints
        self.tensors = {t.name: t for t in tensors}
        self.taken = {*taken, *CONSTANTS, *LOCALS}
        self.names: dict[Node, str] = {}

    def __getitem__(self, node: Node) -> str:
        if node not in self.names:
            self.names[node] = self.unique(self.label(node))
        return self.names[node]

    def claim(self, node: Node, wish: str) -> None:
        """Name a field, unless it has a name."""
        if node not in self.names:
            self.names[node] = self.unique(wish)

    def number(self, node: Node, owner: str) -> None:
        """Name a field that nothing else names: after the result that first needs it, by the next number there."""
        if node not in self.names:
            self.names[node] = self._free(f"{owner}_{i}" for i in count(1))

    def unique(self, wish: str) -> str:
        """A name for something that is no field."""
        return self._free(chain([wish], (f"{wish}_{i}" for i in count(2))))

    def label(self, node: Node) -> str:
        """What a field is called; nothing where neither the spec nor an operation names it."""
        if node.kind == "Input":
            tensor = self.tensors.get(node.tensor)
            return component_name(tensor, node.component) if tensor else node.tensor
        if node.kind == "Size":
            return f"size_{node.axis}"
        if node.kind == "Reciprocal" and node.args[0].kind == "Size":
            return f"inv_size_{node.args[0].axis}"
        return self.hints.get(node, "")

    def _free(self, wishes: Iterable[str]) -> str:
        name = next(wish for wish in wishes if wish not in self.taken)
        self.taken.add(name)
        return name


def component_name(tensor: Tensor, component: int) -> str:
    """What a loaded field is called: by what it is where kernels hand it to each other, else as its tensor's."""
    label = tensor.labels[component]
    own = tensor.dtype in (WORKSPACE, MATRIX) and label and not label.isdigit()
    if not own:
        return tensor.component_name(component)
    whole = variable(label)
    return "_".join([whole, *(by.tensor for by in tensor.lookups)]) + label.removeprefix(whole)


def _leading(text: str) -> str:
    """A run of signed terms as an expression of its own."""
    return text.removeprefix(" + ") if text.startswith(" + ") else "-" + text.removeprefix(" - ")


def _is_single(value: float) -> bool:
    """Whether fp32 holds the value exactly."""
    try:
        return bool(struct.unpack("f", struct.pack("f", value))[0] == value)
    except OverflowError:
        return False


def number(value: Number) -> str:
    """A constant as a float literal."""
    text = repr(float(value))
    return f'float("{text}")' if text.strip("-") in ("inf", "nan") else text


def _literal(value: Number, integer: bool) -> str:
    """A constant among integers, or among real numbers."""
    return str(value) if integer else number(value)


def _times(coefficient: Number, text: str, integer: bool) -> str:
    """A product with the size of its coefficient; the sign is written elsewhere."""
    size: Number = -coefficient if coefficient < 0 else coefficient
    return text if size == 1 else f"{_literal(size, integer)} * {text}"


class Term(NamedTuple):
    """A term of a sum: its text with its sign, its coefficient and its field."""

    text: str
    coefficient: Number
    field: Node


class Expressions:
    """Spells fields; those in `named` appear by name, all others in place.

    `places` are the indices along axes, `element` is the number of an element along several, in 64 bits.
    """

    def __init__(
        self,
        names: Names,
        named: set[Node],
        order: Order,
        places: Mapping[str, str],
        element: Callable[[Sequence[str]], str],
    ) -> None:
        self.names, self.named, self.order = names, named, order
        self.places, self.element = places, element

    def define(self, node: Node, width: int) -> list[tuple[str, str]]:
        """The right-hand side that computes a named field; of a long sum or product with further lines after it."""
        if node.kind == "Mul":
            return self._long_product(node, width)
        if node.kind != "Add":
            return [("=", self._spell(node)[0])]
        lines: list[list[Term]] = [[]]
        length = 0
        for term in self._terms(node):
            if lines[-1] and length + len(term.text) > width:
                lines.append([])
                length = 0
            lines[-1].append(term)
            length += len(term.text)
        return [("=", self._line(lines[0])), *map(self._further, lines[1:])]

    def _long_product(self, node: Node, width: int) -> list[tuple[str, str]]:
        text = self._spell(node)[0]
        factors = text.split(" * ")
        if len(text) <= width or set("(/") & set(text) or len(factors) < 4:
            return [("=", text)]
        middle = len(factors) // 2
        return [("=", " * ".join(factors[:middle])), ("*=", " * ".join(factors[middle:]))]

    def _further(self, terms: Sequence[Term]) -> tuple[str, str]:
        """Terms that are added to a sum, or taken from it where all are negative."""
        if any(term.coefficient > 0 for term in terms):
            return "+=", self._line(terms)
        return "-=", self._line([Term(f" +{t.text.removeprefix(' -')}", -t.coefficient, t.field) for t in terms])

    def use(self, node: Node, level: int = SUM) -> str:
        """The field as an operand of an operator of the given precedence."""
        if node in self.named or node.kind == "Input":
            return self.names[node]
        text, own = self._spell(node)
        return text if own >= level else f"({text})"

    def _spell(self, node: Node) -> tuple[str, int]:
        match node.kind:
            case "Input":
                return self.names[node], ATOM
            case "Const":
                return number(node.value), ATOM
            case "Size":
                return f"tl.cast({size_name(node.axis)}, REAL)", ATOM
            case "Iota":
                return self.element((node.axis,)), ATOM
            case "Add":
                return self._sum(node)
            case "Mul":
                return self._scaled(node)
            case "Reciprocal":
                return f"1.0 / {self.use(node.args[0], UNARY)}", PRODUCT
            case "Call":
                return self._call(node)
            case "Draw":
                which, part, axes = node.drawn
                seed, p = (self._argument(a) for a in node.args)
                return f"_kept({seed}, {self.element(axes)}, {p}, {which}, {part}, REAL)", ATOM
            case _:
                raise AssertionError(f"{node.kind} has no spelling of its own")

    def _terms(self, node: Node) -> list[Term]:
        """The terms with their signs, ` + x * y`."""
        terms = []
        for c, x in self.order.terms(node):
            if x.kind == "Const":
                text = _literal((-c if c < 0 else c) * x.value, node.integer)
            else:
                inner, text = self._product(x) if self._in_place(x, "Mul") else (1, self.use(x, PRODUCT))
                c *= inner
                text = _times(c, text, node.integer)
            terms.append(Term(f" {'-' if c < 0 else '+'} {text}", c, x))
        return terms

    def _line(self, terms: Sequence[Term]) -> str:
        """Some terms as an expression; a sum that stands alone needs no parentheses."""
        if len(terms) == 1 and terms[0].coefficient == 1 and terms[0].field.kind == "Add":
            return self.use(terms[0].field)
        return _leading("".join(term.text for term in terms))

    def _sum(self, node: Node) -> tuple[str, int]:
        terms = self._terms(node)
        text = _leading("".join(term.text for term in terms))
        if len(terms) > 1:
            return text, SUM
        return text, (PRODUCT if not text.startswith("-") else SUM)

    def _scaled(self, node: Node) -> tuple[str, int]:
        c, text = self._product(node)
        scaled = _times(c, text, node.integer)
        return (f"-{scaled}", SUM) if c < 0 else (scaled, PRODUCT)

    def _in_place(self, node: Node, kind: str) -> bool:
        """Whether a field of that kind is written where it is used."""
        return node.kind == kind and node not in self.named

    def _factors(self, node: Node) -> tuple[Rational, list[Node]]:
        """A product's coefficient and its factors: a scaled product that is written inside of it is part of it."""
        coefficient, factors = Fraction(1), list[Node]()
        for x in self.order.factors(node):
            if not self._in_place(x, "Add") or len(x.args) > 1 or x.axes != node.axes:
                factors.append(x)
                continue
            ((c, inner),) = x.terms
            further, parts = self._factors(inner) if self._in_place(inner, "Mul") else (1, [inner])
            coefficient *= c * further
            factors += parts
        return coefficient, factors

    def _product(self, node: Node) -> tuple[Rational, str]:
        """A product's coefficient, and the text of its factors."""
        coefficient, ordered = self._factors(node)
        above = [x for x in ordered if x.kind != "Reciprocal" or x in self.named]
        below = [x for x in ordered if x not in above]
        above.sort(key=lambda x: x.kind != "Mul" or x in self.named)  # a product in a product needs no parentheses
        text = " * ".join(self.use(x, PRODUCT if i == 0 else UNARY) for i, x in enumerate(above)) or "1.0"
        return coefficient, text + "".join(f" / {self.use(x.args[0], UNARY)}" for x in below)

    def _call(self, node: Node) -> tuple[str, int]:
        if node.function in COMPARISONS:
            integers = any(a.integer for a in node.args)
            left, right = (self._side(a, integers) for a in node.args)
            return f"{left} {COMPARISONS[node.function]} {right}", COMPARISON
        if node.function in JUNCTIONS:
            return JUNCTIONS[node.function].join(self._joined(a, SUM) for a in node.args), COMPARISON
        if node.function == "not":
            return f"~{self._joined(node.args[0], ATOM)}", UNARY
        if node.function == "detach":
            return self.use(node.args[0]), SUM
        arguments = [self._argument(a) for a in node.args]
        if node.function == "where" and all(a.kind == "Const" for a in node.args[1:]):
            arguments[1] = f"tl.full([], {self.use(node.args[1])}, REAL)"  # two literals would make an fp32 field
        return f"{FUNCTIONS[node.function]}({', '.join(arguments)})", ATOM

    def _joined(self, node: Node, level: int) -> str:
        """An operand of `&`, `|` or `~`."""
        real = node.function in COMPARISONS and not any(a.integer for a in node.args)
        return f"_holds({self.use(node, COMPARISON)})" if real else self.use(node, level)

    def _side(self, node: Node, integers: bool) -> str:
        """A side of a comparison, for which an index is wide enough as it is."""
        if node.kind == "Iota":
            return self.places[node.axis]
        return _literal(node.value, True) if integers and node.kind == "Const" else self.use(node)

    def _argument(self, node: Node) -> str:
        """An argument of a function, for which Triton would round a literal to fp32 also among fp64 fields."""
        text = self.use(node, COMPARISON)
        return text if node.kind != "Const" or _is_single(float(node.value)) else f"tl.full([], {text}, REAL)"
