"""What the words of bodies mean: for each row of `spec/vocabulary.py` its lowering to fields.

Of the group under which the row says that the operation is equivariant, kernels ask which versors are in it: `pin` is
all versors; `euclidean` those that preserve each grade's plain squares, which is `pin` in a definite signature; None
means that coordinates, or the orientation, matter. Fields are invariants: an operation on fields alone changes no
group.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from kgen.spec.vocabulary import VOCABULARY, Parameter, Word
from kgen.trace import axes as along
from kgen.trace import lowering as to
from kgen.trace.random import dropout
from kgen.trace.values import Value

Lowering = Callable[..., Value]
Group = str | None
VERSORS: dict[str, Group] = {  # of each group; where only even ones commute, none is known for all
    **dict.fromkeys(("GL(n)", "O(p,q,r)"), "pin"),
    "O(n)": "euclidean",
    **dict.fromkeys(("SL(n)", "SO(p,q,r)", "SO(n)", "none")),
}


@dataclass(frozen=True, slots=True)
class Operation:
    """A word and its meaning: `lower(context, *arguments)` builds the value."""

    word: Word
    lower: Lowering

    @property
    def name(self) -> str:
        return self.word.name

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return self.word.parameters

    def group(self, arguments: Sequence[object]) -> Group:
        """The versors that commute with it, by the arguments as `lower` takes them."""
        word = self.word.word
        chosen = word.choices.index(str(arguments[self.parameters.index(word)])) if word else 0
        return VERSORS[self.word.groups[min(chosen, len(self.word.groups) - 1)]]

    def __str__(self) -> str:
        return str(self.word)


_CALLS = ("exp", "log", "erf", "tanh", "sqrt", "rsqrt", "abs", "sin", "cos", "sigmoid", "maximum", "minimum")

MEANINGS: dict[str, Lowering] = {
    "gp": partial(to.product, "geometric"),
    "outer": partial(to.product, "outer"),
    "inner": partial(to.product, "inner"),
    "regressive": partial(to.product, "regressive"),
    "scalar_product": to.scalar_product,
    "norm_squared": to.norm_squared,
    "sandwich": to.sandwich,
    "sgp": to.sgp,
    "fcgp": to.fcgp,
    "mv_linear": to.mv_linear,
    "reverse": partial(to.image, "reverse"),
    "involute": partial(to.image, "involute"),
    "conjugate": partial(to.image, "conjugate"),
    "dual": partial(to.image, "dual"),
    "undual": partial(to.image, "undual"),
    "polarity": partial(to.image, "polarity"),
    "grade": to.grade,
    "even": partial(to.parity, 0),
    "odd": partial(to.parity, 1),
    "gelu": partial(to.gate, "gelu", "phi"),
    "grade_rms_norm": to.grade_rms_norm,
    "pointwise": to.pointwise,
    "detach": to.detach,
    "rename": along.rename,
    "extent": along.extent,
    "cat": along.cat,
    "components": along.components,
    "iota": along.iota,
    "gather": along.gather,
    "segment_sum": along.segment_sum,
    "dropout": dropout,
    "sum": to.sum,
    "mean": to.mean,
    "max": to.max,
    "dot": to.dot,
    **{name: partial(to.call, name) for name in _CALLS},
    "relu": to.relu,
    "where": to.where,
}
OPERATIONS: dict[str, Operation] = {
    name: Operation(word, MEANINGS[name]) for name, word in VOCABULARY.items() if name in MEANINGS
}

BINARY = {"BitXor": "outer", "BitOr": "inner", "BitAnd": "regressive", "RShift": "sandwich"}  # ast's names
COMPARISONS = {"Lt": "lt", "LtE": "le", "Gt": "gt", "GtE": "ge", "Eq": "eq", "NotEq": "ne"}
