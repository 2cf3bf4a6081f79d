"""Factoring and sharing: roots come in, equal roots with fewer operations go out.

`simplify` expands nothing that is shared. It sees the graph as polynomials (the sums) whose atoms are all other nodes,
and greedily takes the step that saves most multiplications: a product of two factors that many terms contain is
computed once (`w * x_0`), or a factor common to several terms of one sum moves outside it (`w * (x_1 y_1 + x_2 y_2)`).
Ties break by names, so the result is the same in every process, and a change of one formula leaves the others as they
are.
"""

import heapq
from collections.abc import Sequence
from functools import lru_cache

from kgen.graph.builder import Builder
from kgen.graph.cost import cost
from kgen.graph.node import Node, Rational
from kgen.graph.order import Order


def simplify(builder: Builder, roots: Sequence[Node]) -> list[Node]:
    """Equal roots with fewer operations; the original stays when factoring does not pay."""
    return list(_simplified(builder, tuple(roots)))


@lru_cache(maxsize=8)  # the scheduler asks for the same roots when it weighs a kernel and when it builds it
def _simplified(builder: Builder, roots: tuple[Node, ...]) -> tuple[Node, ...]:
    factored = Polynomials(builder, roots).factored()
    return tuple(factored) if cost(factored).total < cost(roots).total else roots


Key = tuple[int, int, int]  # a possible step: (-1, a, b) shares the product a * b; (sum, f, -1) takes f out of a sum


class Polynomials:
    """Fields as polynomials, and the working state of factoring.

    Atoms are numbered; a term is a coefficient and a sorted list of atoms.
    """

    def __init__(self, builder: Builder, roots: Sequence[Node]) -> None:
        self.builder, self.roots = builder, roots
        self.reading = Order(builder, roots)
        self.order = self.reading.evaluation(roots)
        self.uses = self._count_uses()
        self.atoms: list[Node | tuple[int, int] | int] = []  # a node, the product of two atoms, or a sum (its number)
        self.number: dict[Node | tuple[int, int], int] = {}
        for node in self.reading.ranked:
            self._atom(node)
        self.sums: list[list[int]] = []  # term numbers of each sum
        self.terms: list[tuple[int, Rational, tuple[int, ...]]] = []  # (sum, coefficient, atoms)
        self.holders: dict[Key, dict[int, None]] = {}  # which terms a step would serve
        self.heap: list[tuple[int, Key]] = []
        self.sum_of: dict[Node, int] = {}

    def _count_uses(self) -> dict[Node, int]:
        uses = dict.fromkeys(self.order, 0)
        for node in self.order:
            for a in node.args:
                uses[a] += 1
        for root in self.roots:
            uses[root] += 2
        return uses

    def _inlined(self, child: Node, parent: Node) -> bool:
        """Whether a node is part of its parent's polynomial: used there alone, and varying along the same axes."""
        return self.uses[child] == 1 and child.axes == parent.axes

    # reading the graph

    def _atom(self, key: Node | tuple[int, int]) -> int:
        if key not in self.number:
            self.number[key] = len(self.atoms)
            self.atoms.append(key)
        return self.number[key]

    def _factors(self, node: Node, owner: Node) -> list[Node]:
        if node.kind == "Mul" and (node is owner or self._inlined(node, owner)):
            return [f for a in self.reading.factors(node) for f in self._factors(a, owner)]
        return [node]

    def _flat_terms(self, node: Node, owner: Node) -> list[tuple[Rational, list[Node]]]:
        terms: list[tuple[Rational, list[Node]]] = []
        for c, x in self.reading.terms(node):
            if x.kind == "Add" and self._inlined(x, owner):
                terms += [(c * d, factors) for d, factors in self._flat_terms(x, owner)]
            else:
                terms.append((c, self._factors(x, owner)))
        return terms

    def _read(self) -> None:
        for node in self.order:
            if node.kind == "Add":
                self.sum_of[node] = self._new_sum(
                    [(c, tuple(self._atom(f) for f in factors)) for c, factors in self._flat_terms(node, node)]
                )
            elif node.kind == "Mul":
                factors = tuple(self._atom(f) for f in self._factors(node, node))
                self.sum_of[node] = self._new_sum([(1, factors)])

    def _parts(self) -> set[Node]:
        """Nodes that became part of the polynomial of their only user."""
        kinds = {"Mul": ("Add", "Mul"), "Add": ("Add",)}
        return {a for n in self.order for a in n.args if n.kind in kinds.get(a.kind, ()) and self._inlined(a, n)}

    def _drop_inlined(self) -> None:
        parts = self._parts()
        for node in self.order:
            if node in parts:
                for t in self.sums[self.sum_of[node]]:
                    self._index(t, remove=True)

    def polynomials(self) -> dict[Node, list[tuple[Rational, tuple[int, ...]]]]:
        """The polynomial of each field that has one of its own."""
        self._read()
        parts = self._parts()
        whole = [node for node in self.order if node in self.sum_of and node not in parts]
        return {node: [self.terms[t][1:] for t in self.sums[self.sum_of[node]]] for node in whole}

    # bookkeeping

    def _new_sum(self, terms: Sequence[tuple[Rational, tuple[int, ...]]]) -> int:
        number = len(self.sums)
        self.sums.append([])
        for c, factors in terms:
            self._new_term(number, c, factors)
        return number

    def _new_term(self, number: int, coefficient: Rational, factors: tuple[int, ...]) -> int:
        term = len(self.terms)
        self.terms.append((number, coefficient, tuple(sorted(factors))))
        self.sums[number].append(term)
        self._index(term)
        return term

    def _keys(self, term: int) -> list[Key]:
        number, _, factors = self.terms[term]
        if len(factors) < 2:
            return []  # there is no multiplication to save
        keys = {(-1, a, b): None for i, a in enumerate(factors) for b in factors[i + 1 :]}
        keys.update({(number, f, -1): None for f in factors})
        return list(keys)

    def _index(self, term: int, remove: bool = False) -> None:
        for key in self._keys(term):
            holders = self.holders.setdefault(key, {})
            if remove:
                holders.pop(term, None)
            else:
                holders[term] = None
                if len(holders) > 1:
                    heapq.heappush(self.heap, (-len(holders), key))

    # the steps

    def factored(self) -> list[Node]:
        self._read()
        self._drop_inlined()
        while self.heap:
            score, key = heapq.heappop(self.heap)
            holders = self.holders[key]
            if len(holders) < 2:
                continue
            if len(holders) != -score:
                heapq.heappush(self.heap, (-len(holders), key))
            elif key[0] < 0:
                self._share(key[1], key[2], list(holders))
            else:
                self._take_out(key[0], key[1], list(holders))
        return self._rebuild()

    def _share(self, a: int, b: int, terms: list[int]) -> None:
        product = self._atom((a, b))
        for term in terms:
            number, c, factors = self.terms[term]
            rest = list(factors)
            rest.remove(a)
            rest.remove(b)
            self._index(term, remove=True)
            self.terms[term] = (number, c, tuple(sorted((*rest, product))))
            self._index(term)

    def _take_out(self, number: int, factor: int, terms: list[int]) -> None:
        rests: list[tuple[Rational, tuple[int, ...]]] = []
        for term in terms:
            self._index(term, remove=True)
            self.sums[number].remove(term)
            _, c, factors = self.terms[term]
            rest = list(factors)
            rest.remove(factor)
            rests.append((c, tuple(rest)))
        inner = self._new_sum(rests)
        atom = len(self.atoms)
        self.atoms.append(inner)
        self._new_term(number, 1, (factor, atom))

    # writing the graph

    def _rebuild(self) -> list[Node]:
        """Evaluate the polynomials back to nodes, with an explicit stack: sums nest deeply."""
        self._nodes: dict[Node, Node] = {}
        self._values: dict[int, Node] = {}
        for node in self.order:
            if node not in self.sum_of:
                done = self.builder.rebuild(node, [self._nodes[a] for a in node.args]) if node.args else node
            else:
                done = self._sum_value(self.sum_of[node])
            self._nodes[node] = done
            if node in self.builder.hints:
                self.builder.name(done, self.builder.hints[node])
        return [self._nodes[root] for root in self.roots]

    def _sum_value(self, number: int) -> Node:
        b = self.builder
        terms = (self.terms[t] for t in self.sums[number])
        return b.linear((c, b.mul(*(self._value(f) for f in factors))) for _, c, factors in terms)

    def _value(self, atom: int) -> Node:
        if atom not in self._values:
            key = self.atoms[atom]
            if isinstance(key, Node):
                self._values[atom] = self._nodes[key]
            elif isinstance(key, tuple):
                self._values[atom] = self.builder.mul(self._value(key[0]), self._value(key[1]))
            else:
                self._values[atom] = self._sum_value(key)
        return self._values[atom]
