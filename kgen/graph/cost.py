"""What fields cost: the operations that make them, each kind with a weight.

In: fields. Out: a `Cost`, which adds up; factoring and the choice between derivatives compare its `total`. The unit is
an instruction of a thread in fp32, as much as an addition. What `kgen show` prints beside it, and what flop counters
know, are the numbers of operations.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import lru_cache

from kgen.graph.node import Node, postorder

# Instructions that Triton 3.7.1 makes for sm_90 of the functions in `templates/runtime/kernels.py`, without load and
# store. One of the special function unit (MUFU, and conversions) counts eight: CUDA programming guide, throughput of
# instructions, 16 results a clock of a multiprocessor against 128. Of sqrt, sin and cos, the branches that only huge or
# tiny arguments take are left out.
WEIGHTS = {
    "exp": 50,
    "fast_exp": 12,
    "log": 35,
    "erf": 39,
    "phi": 40,
    "sigmoid": 69,
    "tanh": 54,
    "sqrt": 16,
    "rsqrt": 11,
    "sin": 40,
    "cos": 40,
    "detach": 0,  # no instruction: it is its argument
}
OTHER = 1  # abs, maximum, minimum, comparisons, and, or, not, where
RECIPROCAL = 16  # a correctly rounded division
DRAW = 70  # ten rounds of Philox, each of two products of 64 bits, two exclusive ors and two sums; and a comparison
FUNCTIONS = ("Call", "Reciprocal", "Draw", "Max")


@dataclass(frozen=True, slots=True)
class Cost:
    """Operations for each element."""

    multiplications: int
    additions: int
    functions: int
    weight: int = 0  # of all functions together

    @property
    def total(self) -> int:
        """In instructions."""
        return self.multiplications + self.additions + self.weight

    def __str__(self) -> str:
        text = f"{self.multiplications} mul + {self.additions} add"
        return text + (f" + {self.functions} functions" if self.functions else "")


def cost(roots: Sequence[Node]) -> Cost:
    """The operations needed to evaluate the roots once."""
    return _cost(tuple(roots))


@lru_cache(maxsize=64)  # of fields that are weighed against others, then taken
def _cost(roots: tuple[Node, ...]) -> Cost:
    nodes = postorder(roots)
    multiplications, additions, functions = (sum(kinds) for kinds in zip((0, 0, 0), *map(operations, nodes)))
    return Cost(multiplications, additions, functions, sum(map(weight, nodes)))


def weight(node: Node) -> int:
    """What a function of fields costs, in instructions; nothing of other fields."""
    if node.kind == "Call":
        return WEIGHTS.get(node.function, OTHER)
    return {"Reciprocal": RECIPROCAL, "Draw": DRAW, "Max": OTHER}.get(node.kind, 0)


def operations(node: Node) -> tuple[int, int, int]:
    """The multiplications, additions and functions that make a field of its arguments."""
    if node.kind == "Mul":
        return len(node.args) - 1, 0, 0
    if node.kind == "Add":
        return sum(abs(c) != 1 for c, x in node.terms if x.kind != "Const"), len(node.args) - 1, 0
    return 0, int(node.kind in ("Sum", "Segment")), int(node.kind in FUNCTIONS)


def naive_cost(roots: Sequence[Node], named: Container[Node] = ()) -> Cost:
    """The operations when sums of products are multiplied out term by term; the fields in `named` are kept whole."""
    multiplications = additions = functions = 0
    size: dict[Node, tuple[int, int]] = {}  # terms when multiplied out, and factors of all terms together
    ends = set(roots)
    for node in postorder(roots):
        terms, factors = 1, 1
        if node.kind == "Add":
            terms, factors = (sum(size[a][i] for a in node.args) for i in (0, 1))
        elif node.kind == "Mul":
            terms, factors = size[node.args[0]]
            for a in node.args[1:]:
                terms, factors = terms * size[a][0], factors * size[a][0] + terms * size[a][1]
        elif node.kind in FUNCTIONS:
            functions += 1
        whole = node in named or node in ends or node.kind not in ("Add", "Mul")
        arguments = [node] if node.kind in ("Add", "Mul") else node.args
        for a in arguments if whole else ():
            measured = (terms, factors) if a is node else size[a]
            multiplications += measured[1] - measured[0]
            additions += measured[0] - 1
        size[node] = (1, 1) if whole else (terms, factors)
    return Cost(multiplications, additions, functions, sum(map(weight, size)))
