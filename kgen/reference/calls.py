"""Calls in a body, as the reference reads them: for each word of the vocabulary, what it makes of its arguments.

In: the syntax tree of a call, the kernel and its `Values`, and a function that gives expressions their values. Out: the
call's value. Guaranteed: a call that the reference cannot do is a KgenError. What arguments a word takes is a row of
the vocabulary, which is all that it shares with the compiler's reading of calls.
"""

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from kgen.errors import KgenError
from kgen.reference import arithmetic, components, geometry, integers, random, reductions
from kgen.reference.values import Value, Values, needs
from kgen.spec import draws
from kgen.spec.body import parse_body
from kgen.spec.model import ELLIPSIS, Kernel
from kgen.spec.vocabulary import VOCABULARY

Evaluate = Callable[[ast.expr], Value]


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of a call by the names of the parameters; each has its value when it is asked for."""

    kernel: Kernel
    values: Values
    evaluate: Evaluate
    nodes: dict[str, ast.expr]

    def operand(self, name: str) -> Value:
        return self.values.operand(self.evaluate(self.nodes[name]))

    def any(self, name: str) -> Value:
        """An operand, or integers."""
        x = self.evaluate(self.nodes[name])
        return integers.whole(self.values, x) if integers.among(x) else self.values.operand(x)

    def field(self, name: str) -> Value:
        return self.values.scalar(self.evaluate(self.nodes[name]))

    def multivector(self, name: str) -> Value:
        return needs(self.evaluate(self.nodes[name]), "multivector")

    def weights(self, name: str) -> Value:
        return needs(self.evaluate(self.nodes[name]), "weights")

    def index(self, name: str) -> Value:
        return needs(self.evaluate(self.nodes[name]), "index")

    def seed(self, name: str) -> tuple[Value, int]:
        """The seed of a draw, and which of the body's draws it is."""
        node = self.nodes[name]
        return needs(self.evaluate(node), "seed"), draws.number(self.kernel, parse_body(self.kernel), node)

    def axis(self, name: str) -> str:
        node = self.nodes[name]
        if not isinstance(node, ast.Name) or node.id not in self.values.axes:
            raise KgenError(f"the axes are {' '.join(self.values.axes)}")
        return node.id

    def word(self, name: str, default: str) -> str:
        return str(getattr(self.nodes.get(name), "value", default))


def call(kernel: Kernel, values: Values, evaluate: Evaluate, node: ast.Call) -> Value:
    """The value of a call."""
    method = [node.func.value] if isinstance(node.func, ast.Attribute) else []
    name, positional = called(node), [*method, *node.args]
    if name == "grade":
        first, *grades = positional
        return geometry.part(values, needs(evaluate(first), "multivector"), [whole(grade) for grade in grades])
    if name == "components":
        return components.together(values, [values.operand(evaluate(part)) for part in positional])
    if name == "cat":
        given = Arguments(kernel, values, evaluate, {keyword.arg or "": keyword.value for keyword in node.keywords})
        return _cat(given, [values.operand(evaluate(part)) for part in positional])
    return _apply(name, Arguments(kernel, values, evaluate, _bound(name, positional, node.keywords)))


def called(node: ast.Call) -> str:
    """The name of the operation, which may be written as a method."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def whole(node: ast.expr) -> int:
    """A whole number that is written as one."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -whole(node.operand)
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    raise KgenError("a whole number is needed here")


def _bound(name: str, positional: Sequence[ast.expr], keywords: Sequence[ast.keyword]) -> dict[str, ast.expr]:
    """The arguments by the names of the parameters."""
    if name not in VOCABULARY:
        raise KgenError(f"there is no operation {name}")
    parameters = {p.name: p for p in VOCABULARY[name].parameters}
    named = {keyword.arg or "": keyword.value for keyword in keywords}
    bound = {**dict(zip(parameters, positional)), **named}
    missing = [p for p in parameters.values() if p.name not in bound and not p.choices]
    if missing or len(bound) != len(positional) + len(named) or not bound.keys() <= set(parameters):
        raise KgenError(f"{name} takes {', '.join(parameters)}")
    return bound


def _apply(name: str, given: Arguments) -> Value:
    """The operation of that name, by its form."""
    v, word = given.values, VOCABULARY[name]
    match name:
        case "scalar_product":
            return geometry.scalar_product(v, given.multivector("x"), given.multivector("y"))
        case "gp" | "outer" | "inner" | "regressive":
            return _product(name, v, given.multivector("x"), given.multivector("y"))
        case "sandwich":
            return geometry.sandwich(v, given.multivector("r"), given.multivector("x"))
        case "sgp":
            return geometry.weighted(v, given.multivector("x"), given.multivector("y"), given.weights("weight"))
        case "fcgp":
            return geometry.connected(v, given.multivector("x"), given.multivector("y"), given.weights("weight"))
        case "mv_linear":
            weight, bias = given.weights("weight"), given.operand("bias") if "bias" in given.nodes else None
            return geometry.linear(v, given.multivector("x"), weight, bias)
        case "reverse" | "involute" | "conjugate":
            return geometry.involution(v, name, given.multivector("x"))
        case "dual" | "undual" | "polarity":
            return geometry.complement(v, name, given.multivector("x"))
        case "even" | "odd":
            x = given.multivector("x")
            return geometry.part(v, x, [grade for grade in x.grades if grade % 2 == (name == "odd")])
        case "norm_squared":
            return geometry.norm_squared(v, given.multivector("x"))
        case "grade_rms_norm":
            return _grade_rms_norm(given)
        case "sum" | "mean" | "max":
            return _reduction(name, given)
        case "dot":
            return reductions.dot(v, given.operand("a"), given.operand("b"), given.axis("over"))
        case "rename":
            return reductions.renamed(v, given.any("x"), given.axis("axis"), given.axis("to"))
        case "extent":
            return reductions.extent(v, given.axis("axis"))
        case "iota":
            return integers.iota(v, given.axis("axis"))
        case "gather":
            return reductions.gathered(v, given.any("x"), given.index("index"))
        case "segment_sum":
            return reductions.segment_sum(v, given.operand("x"), given.index("index"))
        case "dropout":
            seed, number = given.seed("seed")
            return random.dropout(v, given.operand("x"), given.field("p"), seed, number, given.word("each", "element"))
        case "where":
            condition = given.evaluate(given.nodes["condition"])
            return arithmetic.where(v, condition, given.field("a"), given.field("b"))
        case "maximum" | "minimum":
            return arithmetic.function(v, name, given.field("a"), given.field("b"))
        case "pointwise":
            return _pointwise(given)
        case "detach":
            return arithmetic.detached(given.operand("x"))
    if word.gate:
        return geometry.gate(v, name, given.operand("x"))
    if not word.pointwise:
        raise KgenError(f"the reference has no {name}")
    return arithmetic.function(v, name, given.field("x"))


def _cat(given: Arguments, parts: Sequence[Value]) -> Value:
    axis = given.nodes["axis"]
    names = [str(getattr(node, "id", "")) for node in (axis.elts if isinstance(axis, ast.Tuple) else [axis])]
    return reductions.joined(given.values, parts, names * len(parts) if len(names) == 1 else names, given.axis("to"))


def _product(name: str, v: Values, x: Value, y: Value) -> Value:
    if name == "regressive":
        return geometry.regressive(v, x, y)
    return geometry.product(v, "geometric" if name == "gp" else name, x, y)


def _grade_rms_norm(given: Arguments) -> Value:
    v, memory = given.values, given.kernel.memory
    eps = given.field("eps") if "eps" in given.nodes else v.number(1e-6)
    metric = given.word("metric", "euclidean")
    if metric not in ("euclidean", "invariant"):
        raise KgenError("metric is euclidean or invariant")
    x = given.multivector("x")
    outer = {"b" if axis == ELLIPSIS else axis for axis in memory if axis != "blade"}
    last = [axis for axis in memory if axis != "blade"][-1:]
    features = [axis for axis in v.axes if axis in x.axes and (axis in last or axis not in outer)]
    if not features:
        raise KgenError("the norm is a mean over features, which this multivector lacks")
    return geometry.grade_rms_norm(v, x, eps, features[-1], metric == "invariant")


def _reduction(name: str, given: Arguments) -> Value:
    """A weighted product whose terms are summed is contracted instead, without its terms in memory."""
    axis, node = given.axis("over"), given.nodes["x"]
    if name == "sum" and isinstance(node, ast.Call) and getattr(node.func, "id", "") == "sgp":
        inner = replace(given, nodes=_bound("sgp", node.args, node.keywords))
        x, y, weight = inner.multivector("x"), inner.multivector("y"), inner.weights("weight")
        if axis in weight.axes and x.axes | y.axes:
            return geometry.weighted(given.values, x, y, weight, over=axis)
    return reductions.reduced(given.values, name, given.operand("x"), axis)


def _pointwise(given: Arguments) -> Value:
    name = getattr(given.nodes["function"], "id", "")
    x = given.operand("x")
    if name not in VOCABULARY or not VOCABULARY[name].pointwise:
        raise KgenError("pointwise needs a field function of one argument")
    return arithmetic.pointwise(given.values, name, x)
