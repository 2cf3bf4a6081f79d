"""What the words of bodies mean: for each row of `spec/vocabulary.py` its lowering to fields and its group.

The group is that under which the operation is equivariant: `pin` is all versors; `euclidean` those that preserve each
grade's plain squares, which is `pin` in a definite signature; None means that coordinates, or the orientation, matter.
Fields are invariants: an operation on fields alone changes no group.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from kgen.graph.node import Node
from kgen.spec.vocabulary import VOCABULARY, Parameter, Word
from kgen.trace import lowering as to
from kgen.trace.values import Context, Multivector, Value

Lowering = Callable[..., Value]
Group = str | None


@dataclass(frozen=True, slots=True)
class Operation:
    """A word and its meaning: `lower(context, *arguments)` builds the value."""

    word: Word
    lower: Lowering
    group: Group | Callable[..., Group]  # a function takes what `lower` takes

    @property
    def name(self) -> str:
        return self.word.name

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return self.word.parameters

    def __str__(self) -> str:
        return str(self.word)


def _norm_group(c: Context, x: Multivector, eps: Node, metric: str) -> Group:
    return "pin" if metric == "invariant" else "euclidean"


_CALLS = ("exp", "log", "erf", "tanh", "sqrt", "rsqrt", "abs", "sin", "cos", "sigmoid", "maximum", "minimum")

MEANINGS: dict[str, tuple[Lowering, Group | Callable[..., Group]]] = {
    "gp": (partial(to.product, "geometric"), "pin"),
    "outer": (partial(to.product, "outer"), "pin"),
    "inner": (partial(to.product, "inner"), "pin"),
    "regressive": (partial(to.product, "regressive"), None),
    "scalar_product": (to.scalar_product, "pin"),
    "norm_squared": (to.norm_squared, "pin"),
    "sandwich": (to.sandwich, "pin"),
    "sgp": (to.sgp, "pin"),
    "fcgp": (to.fcgp, "pin"),
    "mv_linear": (to.mv_linear, "pin"),
    "reverse": (partial(to.image, "reverse"), "pin"),
    "involute": (partial(to.image, "involute"), "pin"),
    "conjugate": (partial(to.image, "conjugate"), "pin"),
    "dual": (partial(to.image, "dual"), None),
    "undual": (partial(to.image, "undual"), None),
    "polarity": (partial(to.image, "polarity"), None),
    "grade": (to.grade, "pin"),
    "even": (partial(to.parity, 0), "pin"),
    "odd": (partial(to.parity, 1), "pin"),
    "gelu": (partial(to.gate, "gelu", "phi"), "pin"),
    "grade_rms_norm": (to.grade_rms_norm, _norm_group),
    "pointwise": (to.pointwise, None),
    "detach": (to.detach, "pin"),
    "rename": (to.rename, "pin"),
    "sum": (to.sum, "pin"),
    "mean": (to.mean, "pin"),
    "max": (to.max, None),
    "dot": (to.dot, "pin"),
    **{name: (partial(to.call, name), "pin") for name in _CALLS},
    "relu": (to.relu, "pin"),
    "where": (to.where, "pin"),
}
OPERATIONS: dict[str, Operation] = {
    name: Operation(word, *MEANINGS[name]) for name, word in VOCABULARY.items() if name in MEANINGS
}

BINARY = {"BitXor": "outer", "BitOr": "inner", "BitAnd": "regressive", "RShift": "sandwich"}  # ast's names
COMPARISONS = {"Lt": "lt", "LtE": "le", "Gt": "gt", "GtE": "ge", "Eq": "eq", "NotEq": "ne"}
