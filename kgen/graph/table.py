"""The table that makes equal fields one node, and what is known beside the nodes: names, tensors, equal axes.

In: what a node is made of. Out: the node, the same one for the same arguments. Guaranteed: ids count up in the order in
which nodes are first asked for, so that whatever sorts by them comes out alike in every process.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from copy import copy
from fractions import Fraction
from functools import cached_property, wraps
from typing import Self, TypeVar, cast

from kgen.graph.node import Names, Node, whole
from kgen.graph.tensor import INDEX, INTEGER, Tensor

Constructor = TypeVar("Constructor", bound=Callable[..., Node])

ALIKE = ("Add", "Mul", "Gather")  # kinds of fields that are of integers where their arguments are
LARGEST_DENOMINATOR = 1024  # a float with a larger one, such as sqrt(2), stays a float


def remembered(constructor: Constructor) -> Constructor:
    """Answer what was asked before as then: a table only grows, so the same arguments make the same node."""

    @wraps(constructor)
    def answer(table: "Table", *arguments: object) -> Node:
        asked = (constructor.__name__, *arguments)
        found = table.made.get(asked)
        if found is None:
            found = table.made[asked] = constructor(table, *arguments)
        return found

    return cast(Constructor, answer)


class Table(ABC):
    """All nodes of one kernel, and its leaves."""

    def __init__(self) -> None:
        self._table: dict[tuple[object, ...], Node] = {}
        self.made: dict[tuple[object, ...], Node] = {}  # by constructor and arguments
        self.nodes: list[Node] = []
        self.hints: dict[Node, str] = {}  # a name for a field, from the spec; the printer makes names unique
        self.tensors: dict[str, Tensor] = {}  # those that fields are read from, and the same with axes renamed
        self.joined: dict[str, tuple[str, ...]] = {}  # axes that are others one after the other
        self.alike: list[tuple[str, str]] = []  # axes of one extent, which some tensor is read along both of
        self.renamed: dict[tuple[tuple[str, str], ...], dict[Node, Node]] = {}  # by names of axes: fields under these
        self.long = ""  # an axis, if any: the factors of a product of matrices that lack it are few, and take numbers

    def copy(self) -> Self:
        """A table of the same nodes, in which further ones may be made that nobody sees here."""
        other = copy(self)
        other._table, other.made = dict(self._table), dict(self.made)
        other.nodes, other.alike, other.joined = list(self.nodes), list(self.alike), dict(self.joined)
        other.hints, other.tensors = dict(self.hints), dict(self.tensors)
        other.renamed = {names: dict(fields) for names, fields in self.renamed.items()}
        return other

    def make(
        self,
        kind: str,
        axes: frozenset[str],
        args: tuple[Node, ...] = (),
        payload: tuple[object, ...] = (),
        integer: bool = False,
    ) -> Node:
        """The node as it is, which is for constructors: they keep the canonical form."""
        key = (kind, args, payload, axes)
        node = self._table.get(key)
        if node is None and self.joined and kind != "Cat" and any(a.kind == "Cat" for a in args):
            node = self._table[key] = self.in_parts(kind, args, payload)
        if node is None:
            integer = integer or kind in ALIKE and any(a.integer for a in args)
            node = Node(len(self.nodes), kind, axes, args, payload, integer)
            self._table[key] = node
            self.nodes.append(node)
        return node

    @abstractmethod
    def in_parts(self, kind: str, args: tuple[Node, ...], payload: tuple[object, ...]) -> Node:
        """The node that would be made of Cats and others, made of their parts instead."""

    def name(self, node: Node, hint: str) -> Node:
        """Suggest a name for a field in emitted code; the first suggestion stays."""
        if node.kind == "Cat":
            for part in node.args:
                self.name(part, hint)
        elif node.kind not in ("Input", "Const", "Size", "Iota"):
            self.hints.setdefault(node, hint)
            for fields in self.renamed.values():
                if node in fields:
                    self.hints.setdefault(fields[node], hint)
        return node

    def declare(self, tensor: Tensor) -> Tensor:
        """Make a tensor known, so that what is read from it can be had under other names of its axes."""
        if self.tensors.get(tensor.name, tensor) != tensor:
            self.renamed.clear()  # what is read from it has another name now
        self.tensors[tensor.name] = tensor
        return tensor

    @property
    def exchanges(self) -> list[Names]:
        """For each two axes of one extent, the names under which fields are the same."""
        return [{axis: other, other: axis} for axis, other in self.alike]

    # leaves

    def input(self, tensor: str, component: int, axes: Iterable[str]) -> Node:
        integer = tensor in self.tensors and self.tensors[tensor].dtype in (INDEX, INTEGER)
        return self.make("Input", frozenset(axes), (), (tensor, component), integer)

    def const(self, value: int | Fraction | float) -> Node:
        exact = value
        if isinstance(value, float) and math.isfinite(value) and Fraction(value).denominator <= LARGEST_DENOMINATOR:
            exact = Fraction(value)
        return self.make("Const", frozenset(), (), (exact if isinstance(exact, float) else whole(exact),))

    def size(self, axis: str) -> Node:
        return self.make("Size", frozenset(), (), (axis,))

    def iota(self, axis: str) -> Node:
        return self.make("Iota", frozenset((axis,)), (), (axis,), True)

    @cached_property
    def zero(self) -> Node:
        return self.const(0)

    @cached_property
    def one(self) -> Node:
        return self.const(1)
