"""Factoring and sharing: roots come in, equal roots with fewer operations go out.

`simplify` expands nothing that is shared. It sees the graph as polynomials (the sums) whose atoms are all other nodes,
and greedily takes the step that saves most multiplications: a product of two factors that many terms contain is
computed once (`w * x_0`), or a factor common to several terms of one sum moves outside it (`w * (x_1 y_1 + x_2 y_2)`).
Ties break by names, so the result is the same in every process, and a change of one formula leaves the others as they
are.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain, combinations, repeat

from kgen.graph.builder import Builder
from kgen.graph.cost import cost
from kgen.graph.node import Node, Rational
from kgen.graph.order import Order

Monomial = tuple[Rational, tuple[int, ...]]  # a coefficient and atoms, sorted
Key = tuple[int, int]  # a possible step: (a, b) shares the product a * b; (IN_SUM + sum, f) takes f out of a sum

IN_SUM = 1 << 40  # more than there are atoms: of steps that save as much, those that share come first


def simplify(builder: Builder, roots: Sequence[Node]) -> list[Node]:
    """Equal roots with fewer operations; the original stays when factoring does not pay."""
    return list(_simplified(builder, tuple(roots)))


@lru_cache(maxsize=8)  # the scheduler asks for the same roots when it weighs a kernel and when it builds it
def _simplified(builder: Builder, roots: tuple[Node, ...]) -> tuple[Node, ...]:
    factored = _Factoring(polynomials(builder, roots)).factored()
    return tuple(factored) if cost(factored).total < cost(roots).total else roots


@lru_cache(maxsize=8)  # kingdon is given the same
def polynomials(builder: Builder, roots: tuple[Node, ...]) -> "Polynomials":
    """The fields below some roots as polynomials."""
    return Polynomials(builder, roots)


class Polynomials:
    """Fields as polynomials: sums and products over all other fields, the atoms, which are numbered by names.

    A field that only one other reads, along the same axes, is a part of that one's polynomial.
    """

    def __init__(self, builder: Builder, roots: Sequence[Node]) -> None:
        self.builder, self.roots = builder, roots
        self._reading = Order(builder, roots)
        self.order = self._reading.evaluation(roots)
        self.atoms, self.number = self._reading.ranked, self._reading.place
        self._uses = self._count_uses()
        parts = self._parts()
        self.found = {n: self._read(n) for n in self.order if n.kind in ("Add", "Mul") and n not in parts}

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
        return self._uses[child] == 1 and child.axes == parent.axes

    def _parts(self) -> set[Node]:
        """Nodes that became part of the polynomial of their only user."""
        kinds = {"Mul": ("Add", "Mul"), "Add": ("Add",)}
        return {a for n in self.order for a in n.args if n.kind in kinds.get(a.kind, ()) and self._inlined(a, n)}

    def _read(self, node: Node) -> list[Monomial]:
        terms = self._terms(node, node) if node.kind == "Add" else [(1, self._factors(node, node))]
        return [(c, tuple(sorted(self.number[f] for f in factors))) for c, factors in terms]

    def _terms(self, node: Node, owner: Node) -> list[tuple[Rational, list[Node]]]:
        terms: list[tuple[Rational, list[Node]]] = []
        for c, x in self._reading.terms(node):
            if x.kind == "Add" and self._inlined(x, owner):
                terms += [(c * d, factors) for d, factors in self._terms(x, owner)]
            else:
                terms.append((c, self._factors(x, owner)))
        return terms

    def _factors(self, node: Node, owner: Node) -> list[Node]:
        if node.kind == "Mul" and (node is owner or self._inlined(node, owner)):
            return [f for a in node.args for f in self._factors(a, owner)]
        return [node]


class _Factoring:
    """The state of factoring: terms of sums, and which of them each possible step would serve."""

    def __init__(self, read: Polynomials) -> None:
        self.read, self.builder = read, read.builder
        self.atoms: list[Node | Key | int] = [*read.atoms]  # a node, the product of two atoms, or a sum (its number)
        self.products: dict[Key, int] = {}
        self.sums: list[list[int]] = []  # term numbers of each sum
        self.terms: list[tuple[int, Rational, tuple[int, ...]]] = []  # (sum, coefficient, atoms)
        self.keys: list[Iterable[Key]] = []  # the steps that would serve each term
        self.holders: defaultdict[Key, dict[int, None]] = defaultdict(dict)  # which terms a step would serve
        self.sum_of = {node: self._new_sum(terms) for node, terms in read.found.items()}
        self.queued = {key: len(terms) for key, terms in self.holders.items() if len(terms) > 1}
        self.heap = [(-count, key) for key, count in self.queued.items()]  # each step, and with what it is in line
        heapq.heapify(self.heap)

    # bookkeeping

    def _new_sum(self, terms: Sequence[Monomial]) -> int:
        number = len(self.sums)
        self.sums.append([])
        for c, factors in terms:
            self._new_term(number, c, factors)
        return number

    def _new_term(self, number: int, coefficient: Rational, factors: tuple[int, ...]) -> int:
        term = len(self.terms)
        self.terms.append((number, coefficient, factors))
        self.sums[number].append(term)
        self.keys.append(())
        self._hold(term)
        return term

    def _hold(self, term: int) -> None:
        """Note the steps that would serve a term as it is now."""
        number, _, factors = self.terms[term]
        if len(factors) > 1:  # else there is no multiplication to save
            steps = chain(combinations(factors, 2), zip(repeat(IN_SUM + number), factors))
            self.keys[term] = dict.fromkeys(steps)
            for key in self.keys[term]:
                self.holders[key][term] = None

    def _release(self, term: int) -> None:
        for key in self.keys[term]:
            del self.holders[key][term]
        self.keys[term] = ()

    def _queue(self, key: Key) -> None:
        """Put a step in line by the number of terms that it serves, if that is more than it is in line with."""
        count = len(self.holders[key])
        if count > self.queued.get(key, 1):
            self.queued[key] = count
            heapq.heappush(self.heap, (-count, key))

    # the steps

    def factored(self) -> list[Node]:
        while self.heap:
            score, key = heapq.heappop(self.heap)
            if self.queued.get(key) != -score:
                continue  # it is in line with another number
            changed = self._take(key) if len(self.holders[key]) == -score else []
            del self.queued[key]
            self._queue(key)
            for step in chain(*(self.keys[term] for term in changed)):
                self._queue(step)
        return self._rebuild()

    def _take(self, key: Key) -> list[int]:
        """Take a step; gives the terms that are not what they were."""
        terms = list(self.holders[key])
        return self._share(*key, terms) if key[0] < IN_SUM else self._take_out(key[0] - IN_SUM, key[1], terms)

    def _share(self, a: int, b: int, terms: list[int]) -> list[int]:
        product = self._product(a, b)
        for term in terms:
            number, c, factors = self.terms[term]
            self._release(term)
            self.terms[term] = (number, c, tuple(sorted((*_without(factors, a, b), product))))
            self._hold(term)
        return terms

    def _product(self, a: int, b: int) -> int:
        """The atom that is the product of two others."""
        if (a, b) not in self.products:
            self.products[a, b] = len(self.atoms)
            self.atoms.append((a, b))
        return self.products[a, b]

    def _take_out(self, number: int, factor: int, terms: list[int]) -> list[int]:
        rests: list[Monomial] = []
        for term in terms:
            self._release(term)
            self.sums[number].remove(term)
            _, c, factors = self.terms[term]
            rests.append((c, tuple(_without(factors, factor))))
        inner = self._new_sum(rests)
        self.atoms.append(inner)
        return [*self.sums[inner], self._new_term(number, 1, (factor, len(self.atoms) - 1))]

    # writing the graph

    def _rebuild(self) -> list[Node]:
        """Evaluate the polynomials back to nodes, with an explicit stack: sums nest deeply."""
        self._nodes: dict[Node, Node] = {}
        self._values: dict[int, Node] = {}
        for node in self.read.order:
            if node not in self.sum_of:
                done = self.builder.rebuild(node, [self._nodes[a] for a in node.args]) if node.args else node
            else:
                done = self._sum_value(self.sum_of[node])
            self._nodes[node] = done
            if node in self.builder.hints:
                self.builder.name(done, self.builder.hints[node])
        return [self._nodes[root] for root in self.read.roots]

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


def _without(factors: Sequence[int], *others: int) -> list[int]:
    rest = list(factors)
    for factor in others:
        rest.remove(factor)
    return rest
