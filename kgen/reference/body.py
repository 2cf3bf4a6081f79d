"""The reference's own reading of bodies: a kernel's expressions in, their torch text and static type out.

Guaranteed: a body that the reference cannot do is a KgenError at its place, never a wrong result. It shares the
syntax tree and the table of words with the compiler, and nothing else.
"""

import ast
from dataclasses import dataclass, field, replace

from kgen.errors import KgenError
from kgen.reference import probe as probes
from kgen.reference.geometry import Geometry
from kgen.reference.values import AND, ATOM, NOT, OR, Value, needs
from kgen.spec.body import place
from kgen.spec.model import ELLIPSIS, Kernel
from kgen.spec.vocabulary import VOCABULARY

COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}


@dataclass
class Evaluator(Geometry):
    """One walk over a kernel's body."""

    kernel: Kernel = field(kw_only=True)

    def evaluate(self, node: ast.expr) -> Value:
        """The value of an expression; an error without a place gets that of the innermost expression."""
        try:
            return self._evaluate(node)
        except KgenError as error:
            if error.mark:
                raise
            raise KgenError(error.message, place(self.kernel, node), error.hint) from None

    def _evaluate(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=bool() as truth):
                return Value("flag", repr(truth))
            case ast.Constant(value=int() | float() as number):
                return self.number(number)
            case ast.Name(id=name):
                return self._name(name)
            case ast.Attribute(value=operand, attr=name):
                return self._component(self.evaluate(operand), name)
            case ast.Subscript(value=operand):
                parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
                return self._item(self.evaluate(operand), tuple(map(_whole, parts)))
            case ast.UnaryOp():
                return self._unary(node)
            case ast.BinOp(op=ast.Pow()):
                return self.power(self._operand(node.left), _whole(node.right))
            case ast.BinOp():
                return self._binary(node.op, self._operand(node.left), self._operand(node.right))
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                return self.compare(COMPARISONS[type(operator)], self._field(left), self._field(right))
            case ast.BoolOp(op=operator, values=parts):
                word, level = (" and ", AND) if isinstance(operator, ast.And) else (" or ", OR)
                return Value("flag", word.join(self._flag(part).at(level + 1) for part in parts), level)
            case ast.IfExp(test=test, body=body, orelse=otherwise):
                return self.choice(self._flag(test), self.evaluate(body), self.evaluate(otherwise))
            case ast.Call():
                return self._call(node)
        raise KgenError("this expression is not part of a body")

    def _operand(self, node: ast.expr) -> Value:
        value = self.evaluate(node)
        if value.kind == "condition":
            return self.field(f"{value.at(ATOM)}.to({self.like()}.dtype)", value.axes, value.probes[0])
        if value.kind not in ("multivector", "field", "number"):
            raise KgenError(f"{value.kind} takes no part in arithmetic")
        return value

    def _field(self, node: ast.expr) -> Value:
        value = self._operand(node)
        if value.kind == "multivector":
            raise KgenError("a field is needed here, not a multivector")
        return value

    def _multivector(self, node: ast.expr) -> Value:
        return needs(self.evaluate(node), "multivector")

    def _flag(self, node: ast.expr) -> Value:
        return needs(self.evaluate(node), "flag")

    def _name(self, name: str) -> Value:
        if name in self.known:
            return self.known[name]
        for blade in self.algebra.blades if self.algebra else ():
            if blade.name == name:
                masks = self.masks((blade.grade,))
                values = [float(mask == blade.mask) for mask in masks]
                found = {mask: probes.constant(value, len(self.axes)) for mask, value in zip(masks, values)}
                return self.multivector(f"{self.like()}.new_tensor({values})", frozenset(), found)
        raise KgenError(f"{name} is not defined")

    def _component(self, x: Value, name: str) -> Value:
        needs(x, "multivector")
        for blade in self.algebra.blades if self.algebra else ():
            if blade.name == name and blade.grade in x.grades:
                index = self.masks(x.grades).index(blade.mask)
                return self.field(f"{x.at(ATOM)}[..., {index}]", x.axes, x.probes[index], view=x.view)
        raise KgenError(f"the multivector has no component {name}")

    def _item(self, x: Value, index: tuple[int, ...]) -> Value:
        if x.kind == "weights":
            paths = self.paths(x.operands)
            if index not in paths:
                raise KgenError(f"{x.text} has no path {list(index)}")
            return self.field(f"{x.text}[..., {paths.index(index)}]", x.axes, x.probes[paths.index(index)], view=True)
        needs(x, "indexed")
        if len(index) != len(x.extents) or not all(0 <= i < extent for i, extent in zip(index, x.extents)):
            raise KgenError(f"{x.text}{list(index)} is outside of its extents {list(x.extents)}")
        flat = 0
        for i, extent in zip(index, x.extents):
            flat = flat * extent + i
        return self.field(f"{x.text}[..., {', '.join(map(str, index))}]", x.axes, x.probes[flat], view=True)

    def _unary(self, node: ast.UnaryOp) -> Value:
        if isinstance(node.op, ast.Not):
            return Value("flag", f"not {self._flag(node.operand).at(NOT)}", NOT)
        if isinstance(node.op, ast.Invert):
            return self.involution("reverse", self._multivector(node.operand))
        x = self._operand(node.operand)
        return x if isinstance(node.op, ast.UAdd) else self.negated(x)

    def _binary(self, operator: ast.operator, a: Value, b: Value) -> Value:
        both = a.kind == b.kind == "multivector"
        match operator:
            case ast.Add():
                return self.sum(a, b, 1)
            case ast.Sub():
                return self.sum(a, b, -1)
            case ast.Mult():
                return self.product("geometric", a, b) if both else self.scaled(a, b)
            case ast.Div() if b.kind != "multivector":
                one = probes.constant(1, len(self.axes))
                return self.scaled(a, replace(b, probes=(probes.divide(one, b.probes[0]),)), "/")
            case ast.BitXor() if both:
                return self.product("outer", a, b)
            case ast.BitOr() if both:
                return self.product("inner", a, b)
            case ast.BitAnd() if both:
                return self.regressive(a, b)
            case ast.RShift() if both:
                return self.sandwich(a, b)
        raise KgenError("this operator does not apply to these operands")

    # calls

    def _call(self, node: ast.Call) -> Value:
        method = isinstance(node.func, ast.Attribute)
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        arguments = [*([node.func.value] if isinstance(node.func, ast.Attribute) and method else []), *node.args]
        keywords = {keyword.arg or "": keyword.value for keyword in node.keywords}
        if name == "grade":
            first, *grades = arguments
            return self.part(self._multivector(first), [_whole(grade) for grade in grades])
        return self._apply(name, self._bind(name, arguments, keywords))

    def _bind(self, name: str, arguments: list[ast.expr], keywords: dict[str, ast.expr]) -> dict[str, ast.expr]:
        """The arguments by the names of the parameters."""
        if name not in VOCABULARY:
            raise KgenError(f"there is no operation {name}")
        parameters = {p.name: p for p in VOCABULARY[name].parameters}
        bound = {**dict(zip(parameters, arguments)), **keywords}
        missing = [p for p in parameters.values() if p.name not in bound and not p.choices]
        if missing or len(bound) != len(arguments) + len(keywords) or not bound.keys() <= set(parameters):
            raise KgenError(f"{name} takes {', '.join(parameters)}")
        return bound

    def _apply(self, name: str, given: dict[str, ast.expr]) -> Value:
        """The operation of that name, by its form."""
        word = VOCABULARY[name]
        first = given[word.parameters[0].name]
        match name:
            case "gp" | "outer" | "inner" | "regressive" | "sandwich" | "scalar_product":
                return self._product(name, *(self._multivector(node) for node in given.values()))
            case "sgp":
                return self.weighted(*self._weighted(given))
            case "fcgp":
                return self.connected(*self._weighted(given))
            case "mv_linear":
                weight = needs(self.evaluate(given["weight"]), "weights")
                bias = self._operand(given["bias"]) if "bias" in given else None
                return self.linear(self._multivector(first), weight, bias)
            case "reverse" | "involute" | "conjugate":
                return self.involution(name, self._multivector(first))
            case "dual" | "undual" | "polarity":
                return self.complement(name, self._multivector(first))
            case "even" | "odd":
                x = self._multivector(first)
                return self.part(x, [grade for grade in x.grades if grade % 2 == (name == "odd")])
            case "norm_squared":
                return self.norm_squared(self._multivector(first))
            case "grade_rms_norm":
                return self._grade_rms_norm(given)
            case "sum" | "mean" | "max":
                return self._reduction(name, first, self._axis(given["over"]))
            case "dot":
                return self.dot(self._field(first), self._field(given["b"]), self._axis(given["over"]))
            case "rename":
                return self.renamed(self._operand(first), self._axis(given["axis"]), self._axis(given["to"]))
            case "where":
                return self._where(self.evaluate(first), self._field(given["a"]), self._field(given["b"]))
            case "maximum" | "minimum":
                return self.function(name, self._field(first), self._field(given["b"]))
            case "pointwise":
                return self._pointwise(first, self._operand(given["x"]))
            case "detach":
                x = self._operand(first)
                found = tuple(probes.opaque("detach", probe) for probe in x.probes)
                return x if x.kind == "number" else replace(x, text=f"{x.at(ATOM)}.detach()", level=ATOM, probes=found)
        if word.gate:
            return self.gate(name, self._operand(first))
        if not word.pointwise:
            raise KgenError(f"the reference has no {name}")
        return self.function(name, self._field(first))

    def _product(self, name: str, x: Value, y: Value) -> Value:
        match name:
            case "regressive":
                return self.regressive(x, y)
            case "sandwich":
                return self.sandwich(x, y)
            case "scalar_product":
                whole = self.product("geometric", x, y, out=(0,))
                return self.field(f"{whole.text}[..., 0]", whole.axes, whole.probes[0])
        return self.product({"gp": "geometric"}.get(name, name), x, y)

    def _weighted(self, given: dict[str, ast.expr]) -> tuple[Value, Value, Value]:
        x, y = self._multivector(given["x"]), self._multivector(given["y"])
        return x, y, needs(self.evaluate(given["weight"]), "weights")

    def _grade_rms_norm(self, given: dict[str, ast.expr]) -> Value:
        eps = self._field(given["eps"]) if "eps" in given else self.number(1e-6)
        metric = getattr(given.get("metric"), "value", "euclidean")
        if metric not in ("euclidean", "invariant"):
            raise KgenError("metric is euclidean or invariant")
        x = self._multivector(given["x"])
        outer = {"b" if axis == ELLIPSIS else axis for axis in self.kernel.memory if axis != "blade"}
        last = [axis for axis in self.kernel.memory if axis != "blade"][-1:]
        features = [axis for axis in self.axes if axis in x.axes and (axis in last or axis not in outer)]
        if not features:
            raise KgenError("the norm is a mean over features, which this multivector lacks")
        return self.grade_rms_norm(x, eps, features[-1], metric == "invariant")

    def _axis(self, node: ast.expr) -> str:
        if not isinstance(node, ast.Name) or node.id not in self.axes:
            raise KgenError(f"the axes are {' '.join(self.axes)}")
        return node.id

    def _reduction(self, name: str, node: ast.expr, axis: str) -> Value:
        """A weighted product whose terms are summed is contracted instead, without its terms in memory."""
        if name == "sum" and isinstance(node, ast.Call) and getattr(node.func, "id", "") == "sgp":
            keywords = {keyword.arg or "": keyword.value for keyword in node.keywords}
            x, y, weight = self._weighted(self._bind("sgp", node.args, keywords))
            if axis in weight.axes and x.axes | y.axes:
                return self.weighted(x, y, weight, over=axis)
        return self.reduction(name, self._operand(node), axis)

    def _where(self, condition: Value, a: Value, b: Value) -> Value:
        test = condition if condition.kind == "condition" else self.compare("!=", condition, self.number(0))
        a = self.tensor(a) if b.kind == "number" else a
        found = probes.opaque("where", condition.probes[0], a.probes[0], b.probes[0])
        axes = condition.axes | a.axes | b.axes
        return self.field(f"torch.where({test.text}, {a.text}, {b.text})", axes, found)

    def _pointwise(self, node: ast.expr, x: Value) -> Value:
        name = getattr(node, "id", "")
        if name not in VOCABULARY or not VOCABULARY[name].pointwise:
            raise KgenError("pointwise needs a field function of one argument")
        x = self.tensor(x)
        found = tuple(self.function(name, self.field("", x.axes, probe)).probes[0] for probe in x.probes)
        return replace(x, text=f"{VOCABULARY[name].torch}({x.text})", level=ATOM, probes=found, view=False)


def _whole(node: ast.expr) -> int:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_whole(node.operand)
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    raise KgenError("a whole number is needed here")
