"""The reference's own reading of bodies: what each expression is, in torch text and in static type.

In: a kernel, its `Values` and an expression's syntax tree. Out: the expression's value. Guaranteed: a body that the
reference cannot do is a KgenError at its place, never a wrong result. It shares the syntax tree, in which sums with
`for` have their terms written out, and, by `calls`, the table of words with the compiler, and nothing else.
"""

import ast
from dataclasses import dataclass, replace

from kgen.errors import KgenError, Vanishes
from kgen.reference import arithmetic, components, geometry, integers
from kgen.reference import probe as probes
from kgen.reference.calls import call, whole
from kgen.reference.values import AND, NOT, OR, Value, Values, needs
from kgen.spec import terms
from kgen.spec.body import place
from kgen.spec.model import Kernel

COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}


@dataclass(frozen=True, slots=True)
class Evaluator:
    """One walk over a kernel's body."""

    kernel: Kernel
    values: Values

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
                return self.values.number(number)
            case ast.Name(id=name):
                return self.values.known[name] if name in self.values.known else components.blade(self.values, name)
            case ast.Attribute(value=operand, attr=name):
                return components.component(self.values, self.evaluate(operand), name)
            case ast.Subscript(value=operand):
                parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
                return components.item(self.values, self.evaluate(operand), tuple(map(whole, parts)))
            case ast.UnaryOp():
                return self._unary(node)
            case ast.BinOp(op=ast.Pow()):
                return arithmetic.power(self.values, self._operand(node.left), whole(node.right))
            case ast.BinOp():
                return self._binary(node.op, self.evaluate(node.left), self.evaluate(node.right))
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                return self._compared(COMPARISONS[type(operator)], self.evaluate(left), self.evaluate(right))
            case ast.BoolOp(op=operator, values=parts):
                return self._junction(operator, [self.evaluate(part) for part in parts])
            case ast.IfExp(test=test, body=body, orelse=otherwise):
                return arithmetic.choice(self.values, self._flag(test), self.evaluate(body), self.evaluate(otherwise))
            case ast.Call() if (each := terms.terms_of(node)) is not None:
                return self._sum(each)
            case ast.Call():
                return call(self.kernel, self.values, self.evaluate, node)
        raise KgenError("this expression is not part of a body")

    def _operand(self, node: ast.expr) -> Value:
        return self.values.operand(self.evaluate(node))

    def _compared(self, operator: str, a: Value, b: Value) -> Value:
        if integers.among(a, b):
            return integers.compared(self.values, operator, a, b)
        return arithmetic.compare(self.values, operator, self.values.scalar(a), self.values.scalar(b))

    def _junction(self, operator: ast.boolop, parts: list[Value]) -> Value:
        if any(part.kind == "condition" for part in parts):
            return integers.junction(operator, parts)
        word, level = (" and ", AND) if isinstance(operator, ast.And) else (" or ", OR)
        return Value("flag", word.join(needs(part, "flag").at(level + 1) for part in parts), level)

    def _multivector(self, node: ast.expr) -> Value:
        return needs(self.evaluate(node), "multivector")

    def _flag(self, node: ast.expr) -> Value:
        return needs(self.evaluate(node), "flag")

    def _sum(self, each: ast.GeneratorExp) -> Value:
        """The sum of a term for each number, or for each grade of a multivector."""
        over = terms.over(each)
        numbers = over if isinstance(over, tuple) else self._multivector(over).grades
        return arithmetic.total(self.values, [term for n in numbers for term in self._term(each, n)])

    def _term(self, each: ast.GeneratorExp, number: int) -> list[Value]:
        """The term for a number, if it is not identically zero."""
        try:
            return [self.values.operand(self._evaluate(terms.written_out(each, number)))]
        except Vanishes:
            return []

    def _unary(self, node: ast.UnaryOp) -> Value:
        x = self.evaluate(node.operand)
        if isinstance(node.op, ast.Not):
            if x.kind == "condition":
                return integers.opposite(x)
            return Value("flag", f"not {needs(x, 'flag').at(NOT)}", NOT)
        if isinstance(node.op, ast.Invert):
            return geometry.involution(self.values, "reverse", needs(x, "multivector"))
        if integers.among(x):
            return x if isinstance(node.op, ast.UAdd) else integers.negated(self.values, x)
        x = self.values.operand(x)
        return x if isinstance(node.op, ast.UAdd) else arithmetic.negated(self.values, x)

    def _binary(self, operator: ast.operator, a: Value, b: Value) -> Value:
        v = self.values
        if integers.among(a, b):
            return integers.combined(v, operator, a, b)
        a, b = v.operand(a), v.operand(b)
        both = a.kind == b.kind == "multivector"
        match operator:
            case ast.Add():
                return arithmetic.added(v, a, b, 1)
            case ast.Sub():
                return arithmetic.added(v, a, b, -1)
            case ast.Mult():
                return geometry.product(v, "geometric", a, b) if both else arithmetic.scaled(a, b)
            case ast.Div() if b.kind != "multivector":
                one = probes.constant(1)
                return arithmetic.scaled(a, replace(b, probes=(probes.divide(one, b.probes[0]),)), "/")
            case ast.BitXor() if both:
                return geometry.product(v, "outer", a, b)
            case ast.BitOr() if both:
                return geometry.product(v, "inner", a, b)
            case ast.BitAnd() if both:
                return geometry.regressive(v, a, b)
            case ast.RShift() if both:
                return geometry.sandwich(v, a, b)
        raise KgenError("this operator does not apply to these operands")
