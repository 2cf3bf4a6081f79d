"""The vocabulary of bodies: a table with one row for each operation.

A row gives the name, the parameters with their types, the lowering to fields, the group under which the operation is
equivariant, and one line of documentation. A new operation is one row here with its function in `lowering.py`, its line
in the reference and its tests.

Types of parameters: `multivector`, `field` (numbers are fields), `value` (either), `number` (a field without axes),
`condition` (a comparison, or a field that is zero or not), `weights`, `axis` (of an argument), `other` (any axis) and
`word` (one of the alternatives, the default first; all three by keyword only), `function` (a field function of one
argument) and `*grades` (whole numbers).
Groups: `pin` is all versors; `euclidean` those that preserve each grade's plain squares, which is `pin` in a definite
signature; None means that coordinates, or the orientation, matter. Fields are invariants: an operation on fields alone
changes no group.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from kgen.graph.node import Node
from kgen.trace import lowering as to
from kgen.trace.values import Context, Multivector, Value

Group = str | None


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation; without `choices` it must be given, else the first is its default."""

    name: str
    type: str
    choices: tuple[str, ...] = ()

    @property
    def default(self) -> str:
        return self.choices[0] if self.choices else ""


@dataclass(frozen=True, slots=True)
class Operation:
    """One row: `lower(context, *arguments)` builds the value."""

    name: str
    signature: str  # such as "x: multivector, eps: number = 1e-6, metric: word = euclidean | invariant"
    lower: Callable[..., Value]
    group: Group | Callable[..., Group]  # a function takes what `lower` takes
    doc: str

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(_parameter(text) for text in self.signature.split(","))

    def __str__(self) -> str:
        return f"{self.name}({self.signature})"


def _parameter(text: str) -> Parameter:
    declaration, _, default = text.partition("=")
    name, _, kind = declaration.partition(":")
    choices = tuple(word.strip() for word in default.split("|")) if default else ()
    return Parameter(name.strip(), kind.strip(), choices)


def _norm_group(c: Context, x: Multivector, eps: Node, metric: str) -> Group:
    return "pin" if metric == "invariant" else "euclidean"


X, XY = "x: multivector", "x: multivector, y: multivector"
WHERE = "condition: condition, a: field, b: field"
NORM = "x: multivector, eps: number = 1e-6, metric: word = euclidean | invariant"

_GEOMETRIC = (
    Operation("gp", XY, partial(to.product, "geometric"), "pin", "x * y, the geometric product."),
    Operation("outer", XY, partial(to.product, "outer"), "pin", "x ^ y, the outer product."),
    Operation("inner", XY, partial(to.product, "inner"), "pin", "x | y, the sum of <x_r y_s>_|r-s|."),
    Operation("regressive", XY, partial(to.product, "regressive"), None, "x & y, undual(dual(x) ^ dual(y))."),
    Operation("scalar_product", XY, to.scalar_product, "pin", "<x y>_0, a field."),
    Operation("norm_squared", X, to.norm_squared, "pin", "<x ~x>_0, a field."),
    Operation(
        "sandwich", "r: multivector, x: multivector", to.sandwich, "pin", "r >> x = r x ~r, x involuted if r is odd."
    ),
    Operation("sgp", XY + ", weight: weights", to.sgp, "pin", "The geometric product with a weight for each path."),
    Operation(
        "fcgp", XY + ", weight: weights", to.fcgp, "pin", "sgp with a weight for each path and pair of features."
    ),
    Operation(
        "mv_linear",
        X + ", weight: weights, bias: value = 0",
        to.mv_linear,
        "pin",
        "A linear map of features for each grade; a field as bias is added to the scalar.",
    ),
    Operation("reverse", X, partial(to.image, "reverse"), "pin", "~x, the vectors of each blade in reverse order."),
    Operation("involute", X, partial(to.image, "involute"), "pin", "The grade involution: odd grades change sign."),
    Operation("conjugate", X, partial(to.image, "conjugate"), "pin", "The Clifford conjugate, involute(~x)."),
    Operation("dual", X, partial(to.image, "dual"), None, "The right complement: e_A ^ dual(e_A) = e_1...n."),
    Operation("undual", X, partial(to.image, "undual"), None, "The inverse of dual."),
    Operation("polarity", X, partial(to.image, "polarity"), None, "x I^-1, where I^2 is not zero."),
    Operation("grade", X + ", *grades: grades", to.grade, "pin", "x.grade(1), the part of these grades."),
    Operation("even", X, partial(to.parity, 0), "pin", "The even grades."),
    Operation("odd", X, partial(to.parity, 1), "pin", "The odd grades."),
    Operation("gelu", "x: value", to.gelu, "pin", "x Phi(x.e), Phi the normal distribution; of a field x Phi(x)."),
    Operation("grade_rms_norm", NORM, to.grade_rms_norm, _norm_group, "Each grade over the root of its mean square."),
    Operation("pointwise", "function: function, x: value", to.pointwise, None, "A field function on each component."),
    Operation("detach", "x: value", to.detach, "pin", "x, through which no gradient flows."),
)
_AXES = (
    Operation("rename", "x: value, axis: axis, to: other", to.rename, "pin", "x along an axis of the same extent."),
)
_REDUCTIONS = (
    Operation("sum", "x: value, over: axis", to.sum, "pin", "The sum along an axis."),
    Operation("mean", "x: value, over: axis", to.mean, "pin", "The mean along an axis."),
    Operation("max", "x: value, over: axis", to.max, None, "The maximum along an axis."),
    Operation("dot", "a: field, b: field, over: axis", to.dot, "pin", "The sum of a * b along an axis."),
)
_FIELDS = (
    *(
        Operation(name, "x: field", partial(to.call, name), "pin", f"{name} of a field.")
        for name in ("exp", "log", "erf", "tanh", "sqrt", "rsqrt", "abs", "sin", "cos")
    ),
    Operation("sigmoid", "x: field", partial(to.call, "sigmoid"), "pin", "1 / (1 + exp(-x)) of a field."),
    Operation("relu", "x: field", to.relu, "pin", "x where it is positive, else 0, of a field."),
    Operation("maximum", "a: field, b: field", partial(to.call, "maximum"), "pin", "The larger of two fields."),
    Operation("minimum", "a: field, b: field", partial(to.call, "minimum"), "pin", "The smaller of two fields."),
    Operation("where", WHERE, to.where, "pin", "a where the condition holds, else b."),
)

OPERATIONS: dict[str, Operation] = {row.name: row for row in (*_GEOMETRIC, *_AXES, *_REDUCTIONS, *_FIELDS)}

BINARY = {"BitXor": "outer", "BitOr": "inner", "BitAnd": "regressive", "RShift": "sandwich"}  # ast's names
COMPARISONS = {"Lt": "lt", "LtE": "le", "Gt": "gt", "GtE": "ge", "Eq": "eq", "NotEq": "ne"}


def is_field_function(name: str) -> bool:
    """Whether `pointwise(name, x)` and name(field) mean something."""
    parameters = OPERATIONS[name].parameters if name in OPERATIONS else ()
    return name == "gelu" or (len(parameters) == 1 and parameters[0].type == "field")
