"""Words of the field that bodies do not have, and what to write instead.

In: a name that is no operation. Out: a hint. Guaranteed: nothing of another meaning is offered. Rows say under which
names a thing is known; expressions are in the inputs of `vocabulary.EXAMPLES`, and build. A name that no row has is
taken for a slip of the pen where it is nearly an operation's.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from kgen.spec.vocabulary import VOCABULARY

NEAR = 0.8  # of difflib: one letter of five is another


@dataclass(frozen=True, slots=True)
class Synonym:
    """What to write for some names: expressions, and what is to be known of them."""

    names: str
    expressions: tuple[str, ...]
    remark: str = ""

    def __str__(self) -> str:
        written = ", or ".join(f"`{expression}`" for expression in self.expressions)
        return ": ".join(text for text in (written and f"write {written}", self.remark) if text)


def _row(names: str, *expressions: str, remark: str = "") -> Synonym:
    return Synonym(names, expressions, remark)


_SOFT = "exp(s - detach(max(s, over=n)))"
_CENTRED = "s - mean(s, over=n)"
_GATED = "sum(x.grade(g) * sigmoid(gain[g] * (x.e if g == 0 else {norm}) + shift[g]) for g in x.grades)"
_GRADE_NORM = "sqrt(sqrt(norm_squared(x.grade(g)) ** 2 + 1e-16))"

SYNONYMS = (
    # products
    _row("geometric_product geometric clifford_product mul multiply product", "x * y"),
    _row("wedge outer_product exterior exterior_product ext op", "x ^ y", remark="outer(x, y)"),
    _row("inner_product ip fat_dot", "x | y", remark="inner(x, y), the sum of <x_r y_s>_|r-s|"),
    _row("vee meet antiwedge regressive_product rp", "x & y", remark="regressive(x, y)"),
    _row("join", "x ^ y", "x & y", remark="the second where points are dual vectors, as in PGA"),
    _row("contraction left_contraction lcp lc lcont", "(v * x - involute(x) * v) / 2",
         remark="of a vector v into x; `x | y` is the sum of <x_r y_s>_|r-s|"),
    _row("right_contraction rcp rc rcont", "(x * v - v * involute(x)) / 2",
         remark="of x by a vector v; `x | y` is the sum of <x_r y_s>_|r-s|"),
    _row("commutator commutator_product comm bracket lie_bracket", "(x * y - y * x) / 2"),
    _row("anticommutator anti_commutator acomm", "(x * y + y * x) / 2"),
    _row("cross cross_product", "dual(x.grade(1) ^ y.grade(1))", remark="of vectors in three dimensions"),
    _row("sp", "scalar_product(x, y)"),
    # versors
    _row("rotate rotor_apply apply_rotor sandwich_product sw transform conjugate_by act", "r >> x",
         remark="never normalised"),
    _row("reflect reflection", "v >> x", remark="reflected in the plane normal to v, and scaled by its square"),
    _row("inverse inv versor_inverse", "~r / norm_squared(r)", remark="of a versor; of a field, 1 / s"),
    _row("reciprocal recip", "1 / s"),
    # involutions, dualities, parts
    _row("dagger rev reversion tilde", "~x", remark="reverse(x)"),
    _row("conj clifford_conjugate clifford_conjugation", "conjugate(x)"),
    _row("grade_involution main_involution automorphism", "involute(x)"),
    _row("hodge hodge_dual hodge_star complement right_complement star", "dual(x)"),
    _row("unhodge undual_hodge left_complement", "undual(x)"),
    _row("grade_projection project_grade projection proj grade_select select_grade part grades", "x.grade(1)"),
    _row("scalar scalar_part real real_part", "x.e", remark="the scalar component, a field"),
    _row("vector vector_part", "x.grade(1)"),
    _row("bivector bivector_part", "x.grade(2)"),
    _row("for each foreach for_each loop per_grade gradewise grade_wise",
         "sum(x.grade(g) * gain[g] for g in x.grades)", "sum(x.grade(g) * s ** g for g in (0, 2))",
         remark="a term for each grade, or number, all added"),
    # norms
    _row("norm magnitude length modulus absolute", "sqrt(abs(norm_squared(x)))"),
    _row("squared_norm normsq norm2 norm_sq quadrance", "norm_squared(x)"),
    _row("normalize normalise normalized unit", "x * rsqrt(abs(norm_squared(x)) + 1e-6)"),
    _row("rms_norm rmsnorm", "s * rsqrt(mean(s * s, over=n) + 1e-6)", "grade_rms_norm(x)",
         remark="of fields, and of each grade"),
    _row("layer_norm layernorm", f"({_CENTRED}) * rsqrt(mean(({_CENTRED}) ** 2, over=n) + 1e-6)",
         remark="grade_rms_norm(x) is the norm of multivectors: one that subtracts a mean is not equivariant"),
    _row("group_norm groupnorm", "grade_rms_norm(x)", remark="grades are its groups"),
    _row("batch_norm batchnorm", remark="there is none: its running statistics are a state"),
    _row("mv_layer_norm mvlayernorm", "x / (mean(sqrt(sqrt(norm_squared(x) ** 2 + 1e-16)), over=n) + 1e-6)",
         remark="CGENN's, times a gain of its own"),
    _row("mv_norm grade_norm normalization_layer normalizationlayer",
         f"sum(x.grade(g) / (sigmoid(gain[g]) * ({_GRADE_NORM} - 1) + 1.000001) for g in x.grades)",
         remark="CGENN's; grade_rms_norm(x) is a mean over features"),
    # gates and activations
    _row("silu swish", "x * sigmoid(x.e)", "s * sigmoid(s)", remark="of a multivector, and of a field"),
    _row("mv_silu mvsilu", _GATED.format(norm="norm_squared(x.grade(g))"), _GATED.format(norm=_GRADE_NORM),
         remark="CGENN's, by squared norms or by norms"),
    _row("logsigmoid log_sigmoid", "minimum(s, 0) - log(1 + exp(-abs(s)))"),
    _row("quick_gelu", "x * sigmoid(1.702 * x.e)", "s * sigmoid(1.702 * s)", remark="of a multivector, and of a field"),
    _row("logistic expit", "sigmoid(s)"),
    _row("softplus", "maximum(s, 0) + log(1 + exp(-abs(s)))"),
    _row("mish", "s * tanh(maximum(s, 0) + log(1 + exp(-abs(s))))"),
    _row("leaky_relu leakyrelu lrelu", "where(s > 0, s, 0.01 * s)"),
    _row("prelu", "where(s > 0, s, t * s)", remark="with an input t"),
    _row("relu2 squared_relu", "relu(s) ** 2"),
    _row("relu6", "minimum(relu(s), 6)"),
    _row("elu celu", "where(s > 0, s, exp(minimum(s, 0)) - 1)"),
    _row("selu", "1.0507009873554805 * where(s > 0, s, 1.6732632423543772 * (exp(minimum(s, 0)) - 1))"),
    _row("glu", "s * sigmoid(t)"),
    _row("geglu", "s * gelu(t)"),
    _row("swiglu", "s * t * sigmoid(t)"),
    _row("softmax", f"{_SOFT} / sum({_SOFT}, over=n)"),
    _row("log_softmax logsoftmax", f"s - detach(max(s, over=n)) - log(sum({_SOFT}, over=n))"),
    _row("logsumexp log_sum_exp", f"detach(max(s, over=n)) + log(sum({_SOFT}, over=n))"),
    # fields
    _row("add", "x + y"),
    _row("sub subtract", "x - y"),
    _row("div divide", "x / s"),
    _row("neg negative", "-x"),
    _row("square sqr", "s * s", "x * x"),
    _row("pow power", "s ** 3", "exp(t * log(s))", remark="whole exponents are written as numbers"),
    _row("ln", "log(s)"),
    _row("log1p", "log(1 + s)"),
    _row("log2", "1.4426950408889634 * log(s)"),
    _row("log10", "0.4342944819032518 * log(s)"),
    _row("exp2", "exp(0.6931471805599453 * s)"),
    _row("expm1", "exp(s) - 1"),
    _row("erfc", "1 - erf(s)"),
    _row("tan", "sin(s) / cos(s)"),
    _row("sinh", "(exp(s) - exp(-s)) / 2"),
    _row("cosh", "(exp(s) + exp(-s)) / 2"),
    _row("sign sgn", "where(s > 0, 1, where(s < 0, -1, 0))"),
    _row("clamp clip", "minimum(maximum(s, -1), 1)"),
    _row("asin acos atan atan2 arcsin arccos arctan arctan2 asinh acosh atanh sinc floor ceil round",
         remark="there is no such function of fields: pass its values as an input"),
    # reductions and matrices
    _row("avg average", "mean(x, over=n)"),
    _row("min amin", "-max(-s, over=n)", "minimum(s, t)", remark="along an axis, and of two fields"),
    _row("amax", "max(s, over=n)"),
    _row("fmax", "maximum(s, t)"),
    _row("fmin", "minimum(s, t)"),
    _row("vdot", "dot(s, t, over=n)"),
    _row("var variance", f"mean(({_CENTRED}) ** 2, over=n)"),
    _row("std", f"sqrt(mean(({_CENTRED}) ** 2, over=n))"),
    _row("einsum matmul mm bmm linear dense", "dot(s, t, over=n)", "mv_linear(x, linear)",
         remark="of fields, where axes that both have and that are not contracted are a batch; and of multivectors"),
    _row("argmax argmin prod cumsum cumprod sort topk median",
         remark="there is no such reduction: sum, mean, max and dot are all"),
    _row("attention scaled_dot_product_attention multihead_attention sdpa",
         remark="it is several operations: scores by dot, weights by exp, max and sum, values by dot; torch's own,"
         " between functions of kgen, stores no scores"),
    # integers and conditions
    _row("arange broadcasted_iota linspace position_ids positions", "where(iota(n) < 3, t, 0)",
         remark="iota(n) is the place along an axis, an integer, which is compared"),
    _row("tril causal causal_mask is_causal", "where(iota(n) >= iota(m), t * u, 0)"),
    _row("triu", "where(iota(n) <= iota(m), t * u, 0)"),
    _row("eye diag identity one_hot onehot", "where(iota(n) == iota(m), t * u, 0)",
         remark="or with an input of type integer[n] in place of one of them"),
    _row("mask masked_fill mask_fill", "where(s > 0, s, -1e9)",
         remark="a condition compares fields, or integers: inputs of type integer[n], and iota(n)"),
    _row("logical_and", "where(s > 0 and s < t, s, 0)"),
    _row("logical_or", "where(s > 0 or s < t, s, 0)"),
    _row("logical_not", "where(not s > 0, s, 0)"),
    _row("eq equal", "where(s == t, s, 0)"),
    _row("ne not_equal", "where(s != t, s, 0)"),
    _row("gt greater", "where(s > t, s, 0)"),
    _row("lt less", "where(s < t, s, 0)"),
    _row("ge greater_equal", "where(s >= t, s, 0)"),
    _row("le less_equal", "where(s <= t, s, 0)"),
    # what a body does not do
    _row("dropout1d dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout grade_dropout drop",
         remark="dropout(x, p, seed) drops elements, and with each=\"grade\" grades; seed is an input of type seed"),
    _row("rand randn random noise rrelu bernoulli",
         remark="there are no random numbers but in dropout: pass them as an input"),
    _row("concat concatenate hstack vstack", "cat(x, y, axis=n, to=k)",
         remark="k is an axis of its own, as long as both together"),
    _row("stack", "components(s, norm_squared(x))",
         remark="its axis is the last, or where the output's type has its extent"),
    _row("split chunk reshape view transpose permute expand broadcast unsqueeze squeeze",
         remark="axes have names and broadcast by them; the memory order is in the types of inputs and outputs"),
    _row("index_select embedding take", "gather(x, position)", remark="by an input of type index(v)[e]"),
    _row("scatter scatter_add scatter_sum index_add segment", "segment_sum(u, position) * x",
         remark="by an input of type index(v)[e]"),
    _row("to cast long int float double half bfloat16",
         remark="dtypes are those of the tensors that are passed; integers and real numbers do not meet"),
    _row("grad gradient backward", remark="gradients are generated: `grads:` says of which inputs"),
    _row("no_grad stop_gradient stop_grad", "detach(x)"),
)  # fmt: skip

_KNOWN = {name: row for row in SYNONYMS for name in row.names.split()}


def hint(name: str) -> str | None:
    """What to write in place of a name that is no operation, if that is known."""
    lower = name.lower().removesuffix("_")
    row = _KNOWN.get(lower)
    return str(row) if row else nearest(lower if lower in VOCABULARY else name, VOCABULARY)


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """A hint with the choice that is the name but for a slip of the pen, which no first letter is, if there is one."""
    alike = [choice for choice in choices if choice[:1] == name[:1] and len(name) > 2]
    close = get_close_matches(name, alike, 1, NEAR)
    return f"did you mean {close[0]}?" if close else None
