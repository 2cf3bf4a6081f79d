"""The words of bodies: one row for each operation, read by whoever reads bodies.

A row says what a call may look like and what it means: the name, the parameters with their types, one line of
documentation. Names that a spec gives are held against it (`names.py`), the compiler builds fields for each row
(`trace/ops.py`), and the reference binds arguments by it (`reference/calls.py`).

Types of parameters: `multivector`, `field` (numbers are fields), `value` (either), `number` (a field without axes),
`condition` (a comparison, or a field that is zero or not), `weights`, `axis` (of an argument), `other` (any axis) and
`word` (one of the alternatives, the default first; all three by keyword only), `function` (a field function of one
argument) and `*grades` (whole numbers).
"""

from dataclasses import dataclass


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
class Word:
    """One row."""

    name: str
    signature: str  # such as "x: multivector, eps: number = 1e-6, metric: word = euclidean | invariant"
    doc: str
    torch: str = ""  # the function of torch that it is to fields, where it is one

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(_parameter(text) for text in self.signature.split(","))

    @property
    def pointwise(self) -> bool:
        """Whether it is a function of one field, so that `pointwise(name, x)` means something."""
        return bool(self.torch) and len(self.parameters) == 1

    @property
    def gate(self) -> bool:
        """Whether a multivector is taken, too, and multiplied by what the function multiplies a field by."""
        return self.pointwise and self.parameters[0].type == "value"

    def __str__(self) -> str:
        return f"{self.name}({self.signature})"


def _parameter(text: str) -> Parameter:
    declaration, _, default = text.partition("=")
    name, _, kind = declaration.partition(":")
    choices = tuple(word.strip() for word in default.split("|")) if default else ()
    return Parameter(name.strip(), kind.strip(), choices)


X, XY, FIELD, TWO_FIELDS = "x: multivector", "x: multivector, y: multivector", "x: field", "a: field, b: field"
NORM = "x: multivector, eps: number = 1e-6, metric: word = euclidean | invariant"

_GEOMETRIC = (
    Word("gp", XY, "x * y, the geometric product."),
    Word("outer", XY, "x ^ y, the outer product."),
    Word("inner", XY, "x | y, the sum of <x_r y_s>_|r-s|."),
    Word("regressive", XY, "x & y, undual(dual(x) ^ dual(y))."),
    Word("scalar_product", XY, "<x y>_0, a field."),
    Word("norm_squared", X, "<x ~x>_0, a field."),
    Word("sandwich", "r: multivector, x: multivector", "r >> x = r x ~r, x involuted if r is odd."),
    Word("sgp", XY + ", weight: weights", "The geometric product with a weight for each path."),
    Word("fcgp", XY + ", weight: weights", "sgp with a weight for each path and pair of features."),
    Word(
        "mv_linear",
        X + ", weight: weights, bias: value = 0",
        "A linear map of features for each grade; a field as bias is added to the scalar.",
    ),
    Word("reverse", X, "~x, the vectors of each blade in reverse order."),
    Word("involute", X, "The grade involution: odd grades change sign."),
    Word("conjugate", X, "The Clifford conjugate, involute(~x)."),
    Word("dual", X, "The right complement: e_A ^ dual(e_A) = e_1...n."),
    Word("undual", X, "The inverse of dual."),
    Word("polarity", X, "x I^-1, where I^2 is not zero."),
    Word("grade", X + ", *grades: grades", "x.grade(1), the part of these grades."),
    Word("even", X, "The even grades."),
    Word("odd", X, "The odd grades."),
    Word(
        "gelu",
        "x: value",
        "x Phi(x.e), Phi the normal distribution; of a field x Phi(x).",
        "torch.nn.functional.gelu",
    ),
    Word("grade_rms_norm", NORM, "Each grade over the root of its mean square."),
    Word("pointwise", "function: function, x: value", "A field function on each component."),
    Word("detach", "x: value", "x, through which no gradient flows."),
)
_AXES = (Word("rename", "x: value, axis: axis, to: other", "x along an axis of the same extent."),)
_REDUCTIONS = (
    Word("sum", "x: value, over: axis", "The sum along an axis."),
    Word("mean", "x: value, over: axis", "The mean along an axis."),
    Word("max", "x: value, over: axis", "The maximum along an axis."),
    Word("dot", "a: field, b: field, over: axis", "The sum of a * b along an axis."),
)
_FIELDS = (
    *(
        Word(name, FIELD, f"{name} of a field.", f"torch.{name}")
        for name in ("exp", "log", "erf", "tanh", "sqrt", "rsqrt", "abs", "sin", "cos")
    ),
    Word("sigmoid", FIELD, "1 / (1 + exp(-x)) of a field.", "torch.sigmoid"),
    Word("relu", FIELD, "x where it is positive, else 0, of a field.", "torch.relu"),
    Word("maximum", TWO_FIELDS, "The larger of two fields.", "torch.maximum"),
    Word("minimum", TWO_FIELDS, "The smaller of two fields.", "torch.minimum"),
    Word("where", "condition: condition, a: field, b: field", "a where the condition holds, else b."),
)

VOCABULARY: dict[str, Word] = {row.name: row for row in (*_GEOMETRIC, *_AXES, *_REDUCTIONS, *_FIELDS)}
