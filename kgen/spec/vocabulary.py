"""The words of bodies: one row for each operation, read by whoever reads bodies.

A row says what a call may look like and what it means: the name, the parameters with their types, the formula, a line
of documentation, an example, and the group under which it is equivariant. Names that a spec gives are held against it
(`names.py`), the compiler builds fields for each row (`trace/ops.py`), the reference binds arguments by it
(`reference/calls.py`), and `kgen ops` and the page on bodies show it.

Types of parameters: `multivector`, `field` (numbers are fields), `value` (either), `any` (a value, or integers),
`number` (a field without axes), `probability` (a number or an option, at least 0 and below 1), `condition` (a
comparison, several with and, or, not, or a field that is zero or not), `weights`, `index` and `seed` (inputs of
integers), `along` (any axis), `axis` (of an argument), `other` (any axis), `axes` (one, or one for each of the values),
`made` (a new axis) and `word` (one of the alternatives, the default first; the last five by keyword only), `function`
(a field function of one argument), `*values` (any number) and `*grades` (whole numbers).
"""

import re
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
    """One row. The example is an expression in the inputs of EXAMPLES."""

    name: str
    signature: str  # such as "x: multivector, eps: number = 1e-6, metric: word = euclidean | invariant"
    formula: str
    doc: str
    example: str
    groups: tuple[str, ...]  # of GROUPS: the largest one that it is equivariant under; one for each choice of its word
    torch: str = ""  # the function of torch that it is to fields, where it is one
    each: str = ""  # an example of its form with `for`, where it has one

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(_parameter(text) for text in self.signature.split(","))

    @property
    def pointwise(self) -> bool:
        """Whether it is a function of one field, so that `pointwise(name, x)` means something."""
        return bool(self.torch) and len(self.parameters) == 1

    @property
    def word(self) -> Parameter | None:
        """The parameter that is one of several words, if it has one."""
        return next((parameter for parameter in self.parameters if parameter.type == "word"), None)

    @property
    def group(self) -> str:
        """The group, or the groups with the words that they go with."""
        if self.word is None:
            return self.groups[0]
        return ", ".join(f"{group} if {choice}" for group, choice in zip(self.groups, self.word.choices))

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


def read_by(example: str) -> dict[str, str]:
    """The inputs that an expression names, and the operands of weights among them, each with its type."""
    named = set(re.findall(r"\w+", example))
    named |= {operand for name in named for operand in re.findall(r"\b[xy]\b", EXAMPLES.get(name, ""))}
    return {name: kind for name, kind in EXAMPLES.items() if name in named}


EXAMPLES = {  # the inputs that examples are written in
    **dict.fromkeys("xy", "multivector"),
    "r": "even",
    "v": "grades(1)",
    "s": "scalar",
    "t": "scalar[n]",
    "u": "scalar[m]",
    "weight": "weights(x, y)",
    "full": "weights(x, y)[n, m]",
    "linear": "weights(x)[n, m]",
    "position": "index(n)[m]",
    "seed": "seed",
    **dict.fromkeys(("gain", "shift"), "weights(x)"),
}

GROUPS = {  # of linear maps of vectors, which act on every blade: what commutes with an operation
    "GL(n)": "all invertible linear maps",
    "SL(n)": "linear maps of determinant one",
    "O(p,q,r)": "isometries of the metric: all versors",
    "SO(p,q,r)": "isometries of determinant one: even versors",
    "O(n)": "maps that keep plain sums of squares, whatever the metric: no boosts, no translations",
    "SO(n)": "those of determinant one: rotations",
    "none": "coordinates matter",
}
GL, SL, PIN, SPIN, EUCLIDEAN, ROTATIONS, NONE = ((group,) for group in GROUPS)

X, XY, FIELD, TWO_FIELDS = "x: multivector", "x: multivector, y: multivector", "x: field", "a: field, b: field"
NORM = "x: multivector, eps: number = 1e-6, metric: word = euclidean | invariant"
CONNECTED = "sgp with a weight for each path and pair of features, summed over the features of x and y."

_GEOMETRIC = (
    Word("gp", XY, "x * y", "The geometric product.", "gp(x, y)", PIN),
    Word("outer", XY, "x ^ y = sum of <x_r y_s>_r+s", "The outer product.", "outer(x, y)", GL),
    Word("inner", XY, "x | y = sum of <x_r y_s>_|r-s|", "The inner product.", "inner(x, y)", PIN),
    Word("regressive", XY, "x & y = undual(dual(x) ^ dual(y))", "The regressive product.", "regressive(x, y)", SL),
    Word("scalar_product", XY, "<x y>_0", "The scalar of the product, a field.", "scalar_product(x, y)", PIN),
    Word("norm_squared", X, "<x ~x>_0", "The squared norm, a field of any sign.", "norm_squared(x)", PIN),
    Word("sandwich", "r: multivector, x: multivector", "r >> x = r x ~r, x involuted if r is odd",
         "x moved by r, which is even or odd, and not normalised.", "sandwich(r, x)", PIN),
    Word("sgp", XY + ", weight: weights", "sum of weight <x_r y_s>_k over paths r, k, s",
         "The geometric product with a weight for each path.", "sgp(x, y, weight)", PIN),
    Word("fcgp", XY + ", weight: weights", "sum of weight <x_r y_s>_k over paths and features",
         CONNECTED, "fcgp(x, y, full)", PIN),
    Word("mv_linear", X + ", weight: weights, bias: value = 0", "sum of weight <x>_k over features, plus bias",
         "A linear map of features for each grade; a field as bias is added to the scalar.",
         "mv_linear(x, linear)", GL),
    Word("reverse", X, "~x", "The vectors of each blade in reverse order.", "reverse(x)", GL),
    Word("involute", X, "sum of (-1)^k <x>_k", "The grade involution: odd grades change sign.", "involute(x)", GL),
    Word("conjugate", X, "involute(~x)", "The Clifford conjugate.", "conjugate(x)", GL),
    Word("dual", X, "e_A ^ dual(e_A) = e_1...n", "The right complement.", "dual(x)", ROTATIONS),
    Word("undual", X, "undual(dual(x)) = x", "The inverse of dual.", "undual(x)", ROTATIONS),
    Word("polarity", X, "x I^-1", "The dual by the metric, where I^2 is not zero.", "polarity(x)", SPIN),
    Word("grade", X + ", *grades: grades", "<x>_k", "The part of these grades; as a method, too.", "x.grade(0, 2)", GL),
    Word("even", X, "<x>_0 + <x>_2 + ...", "The even grades.", "even(x)", GL),
    Word("odd", X, "<x>_1 + <x>_3 + ...", "The odd grades.", "odd(x)", GL),
    Word("gelu", "x: value", "x Phi(x.e); of a field x Phi(x)", "Gated by the normal distribution Phi.", "gelu(x)", GL,
         "torch.nn.functional.gelu"),
    Word("grade_rms_norm", NORM, "<x>_k / sqrt(mean |<x>_k|^2 + eps)", "Each grade over the root of its mean square.",
         "grade_rms_norm(x)", (*EUCLIDEAN, *PIN)),
    Word("pointwise", "function: function, x: value", "function(x_A) for each blade A",
         "A field function on each component.", "pointwise(tanh, x)", NONE),
    Word("detach", "x: value", "x", "x, through which no gradient flows.", "detach(x)", GL),
)  # fmt: skip
_AXES = (
    Word("rename", "x: any, axis: axis, to: other", "y[to] = x[axis]",
         "x along an axis of the same extent, or along one that is only in the body.",
         "u * rename(x, axis=n, to=m)", GL),
    Word("extent", "axis: along", "n", "How many places an axis has, as a number.", "x / sqrt(extent(n))", GL),
    Word("cat", "*parts: values, axis: axes, to: made", "x[0], ..., y[0], ... along a new axis",
         "Values one after the other along an axis of their own.", "cat(x, y, axis=n, to=k)", GL),
    Word("components", "*parts: values", "[x_A, ..., s, ...]", "Components of multivectors, and fields, as a tensor's.",
         "components(x, s)", NONE),
)  # fmt: skip
_INDEXED = (
    Word("iota", "axis: along", "y[i] = i", "The place along an axis, from 0, as an integer.",
         "where(iota(n) < 3, t, 0)", GL),
    Word("gather", "x: any, index: index", "y[i] = x[index[i]]",
         "x at the positions that an index has, along the index's axis.", "gather(x, position)", GL),
    Word("segment_sum", "x: value, index: index", "y[p] = sum of x[i] over i with index[i] = p",
         "For each position the sum of x where the index has it; zero where it never has.",
         "segment_sum(u, position) * x", GL),
)  # fmt: skip
_RANDOM = (
    Word("dropout", "x: value, p: probability, seed: seed, each: word = element | grade",
         "x / (1 - p) with probability 1 - p, else 0",
         "x where a random number keeps it: a whole element, or each of its grades on its own.",
         "dropout(x, 0.25, seed)", (*GL, *GL)),
)  # fmt: skip
_REDUCTIONS = (
    Word("sum", "x: value, over: axis", "sum of x[i] over i", "The sum along an axis, or of a term for each grade.",
         "sum(x, over=n)", GL, each="sum(x.grade(g) * gain[g] for g in x.grades)"),
    Word("mean", "x: value, over: axis", "sum(x) / extent", "The mean along an axis.", "mean(x, over=n)", GL),
    Word("max", "x: value, over: axis", "max of x[i] over i", "The maximum along an axis, of each component.",
         "max(x, over=n)", NONE),
    Word("dot", "a: value, b: value, over: axis", "sum of a[i] b[i] over i",
         "The sum of a * b along an axis, of fields, or of a field and a multivector.", "dot(s, t, over=n)", GL),
)  # fmt: skip
_FIELDS = (
    Word("exp", FIELD, "e^x", "The exponential of a field.", "exp(x.e)", GL, "torch.exp"),
    Word("log", FIELD, "ln x", "The natural logarithm of a field.", "log(1 + x.e ** 2)", GL, "torch.log"),
    Word("erf", FIELD, "2 / sqrt(pi) times the integral of e^-t^2 from 0 to x", "The error function of a field.",
         "erf(x.e)", GL, "torch.erf"),
    Word("tanh", FIELD, "sinh x / cosh x", "The hyperbolic tangent of a field.", "tanh(x.e) * x", GL, "torch.tanh"),
    Word("sqrt", FIELD, "x^(1/2)", "The square root of a field.", "sqrt(1 + x.e ** 2)", GL, "torch.sqrt"),
    Word("rsqrt", FIELD, "x^(-1/2)", "One over the square root of a field.", "rsqrt(1 + x.e ** 2) * x", GL,
         "torch.rsqrt"),
    Word("abs", FIELD, "|x|", "The absolute value of a field.", "abs(x.e)", GL, "torch.abs"),
    Word("sin", FIELD, "sin x", "The sine of a field.", "sin(x.e)", GL, "torch.sin"),
    Word("cos", FIELD, "cos x", "The cosine of a field.", "cos(x.e)", GL, "torch.cos"),
    Word("sigmoid", FIELD, "1 / (1 + exp(-x))", "The logistic function of a field.", "x * sigmoid(x.e)", GL,
         "torch.sigmoid"),
    Word("relu", FIELD, "max(x, 0)", "x where it is positive, else 0, of a field.", "relu(x.e)", GL, "torch.relu"),
    Word("maximum", TWO_FIELDS, "max(a, b)", "The larger of two fields.", "maximum(x.e, s)", GL, "torch.maximum"),
    Word("minimum", TWO_FIELDS, "min(a, b)", "The smaller of two fields.", "minimum(x.e, s)", GL, "torch.minimum"),
    Word("where", "condition: condition, a: field, b: field", "a or b", "a where the condition holds, else b.",
         "where(x.e > s, x.e, 0) * x", GL),
)  # fmt: skip

VOCABULARY: dict[str, Word] = {
    row.name: row for row in (*_GEOMETRIC, *_AXES, *_INDEXED, *_RANDOM, *_REDUCTIONS, *_FIELDS)
}
