"""The expressions of a body: what each means, given what its names mean.

In: a `values.Context`, the values of the names known so far, and a syntax tree that `spec/body.py` has let pass. Out:
the expression's value, made of fields. Guaranteed: a mistake is a KgenError at the innermost expression that it belongs
to. It is kept, and what stands beside it is looked at, too; what cannot have a value because of it raises Follows. The
operations are rows of `ops.py`; the groups under which those that were met are equivariant are kept.
"""

import ast
from collections.abc import Sequence

from kgen.errors import Follows, KgenError, Mark, Vanishes
from kgen.graph.node import Node
from kgen.spec import synonyms, terms
from kgen.spec.body import place
from kgen.trace import components, conditions, integers, operators, ops, parts
from kgen.trace.calls import bind, checked, kind
from kgen.trace.ops import OPERATIONS, Operation
from kgen.trace.values import Context, Index, Integer, Multivector, Named, Operand, Unknown, Value


class Expressions:
    """The expressions of one body: the names known so far, the mistakes, and the groups of the operations met."""

    def __init__(self, context: Context, known: dict[str, Named]) -> None:
        self.context, self.known = context, known
        self.groups: list[ops.Group] = []
        self.errors: list[KgenError] = []
        self._met: set[ast.expr] = set()
        self._terms: set[ast.expr] = set()  # of sums: they may be identically zero

    def value(self, node: ast.expr) -> Value:
        """The value of an expression; where it or a part of it is a mistake, that is noted, and Follows raised."""
        self._met.add(node)
        try:
            return self._value(node)
        except Follows:
            pass
        except KgenError as error:
            if isinstance(error, Vanishes) and node in self._terms:
                raise
            self.note(error, node)
        except OverflowError:
            self.note(KgenError("a constant is too large for a float"), node)
        for part in parts.within(node, self._met):
            if not isinstance(node, ast.Call) or not self._is_word(part):
                self.tried(part)
        raise Follows

    def tried(self, node: ast.expr) -> Named:
        """The value of an expression, unknown where it is a mistake."""
        try:
            return self.value(node)
        except Follows:
            return Unknown()

    def note(self, error: KgenError, node: ast.expr) -> None:
        """Keep the error, at this expression if it has no place yet, unless it follows from another."""
        if not isinstance(error, Follows):
            message = error.message + terms.where(node)
            self.errors.append(KgenError(message, error.mark or self._place(node), error.hint))

    def _value(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=bool() as flag):
                return flag
            case ast.Constant(value=int() | float() as number):
                return self.context.builder.const(number)
            case ast.Name(id=name):
                return self._name(name)
            case ast.Attribute(value=operand, attr=blade):
                return self._component(self.value(operand), blade)
            case ast.Subscript(value=operand, slice=written):
                return components.item(self.value(operand), components.indices(written))
            case ast.UnaryOp():
                return self._unary(node)
            case ast.BinOp():
                return self._binary(node)
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                return self._compare(ops.COMPARISONS[type(operator).__name__], left, right)
            case ast.BoolOp(op=operator, values=written):
                return conditions.combined(self.context, operator, [(self.value(n), self._place(n)) for n in written])
            case ast.IfExp(test=test, body=body, orelse=otherwise):
                return self.value(body if conditions.flag(self.value(test), self._place(test)) else otherwise)
            case ast.Call():
                return self._call(node)
        raise KgenError("this expression is not part of a body")

    def _name(self, name: str) -> Value:
        value = self.known.get(name)
        if isinstance(value, Unknown):
            raise Follows
        if value is not None:
            return value
        blades = self.context.spec.algebra.blades if self.context.spec.algebra else ()
        for i, blade in enumerate(blades):
            if blade.name == name:
                self._meets_blade(blade.mask)
                return self.context.multivector({i: self.context.builder.one})
        if name in OPERATIONS:
            raise KgenError(f"{name} is an operation and needs its arguments", hint=str(OPERATIONS[name]))
        other = components.reordered(self.context, name)
        near = synonyms.nearest(name, [*self.known, *(blade.name for blade in blades)])
        raise KgenError(f"{name} is not defined", hint=other or near)

    def _meets_blade(self, mask: int) -> None:
        """Choosing a blade other than the scalar chooses coordinates."""
        self.groups.append("pin" if mask == 0 else None)

    def _component(self, value: Value, name: str) -> Node:
        blade, field = components.component(self.context, value, name)
        self._meets_blade(blade.mask)
        return field

    # operators

    def _unary(self, node: ast.UnaryOp) -> Value:
        if isinstance(node.op, ast.Not):
            return conditions.negated(self.context, self.value(node.operand), self._place(node.operand))
        value = self.value(node.operand)
        if isinstance(value, Integer | Index):
            return integers.negative(self.context, node.op, value)
        operand = self._as_operand(value, node.operand)
        if isinstance(node.op, ast.Invert):
            return self._operator("reverse", operand)
        return self.context.combine([(-1 if isinstance(node.op, ast.USub) else 1, operand)])

    def _binary(self, node: ast.BinOp) -> Value:
        operator = type(node.op).__name__
        if operator == "Pow":
            return operators.power(self.context, self._operand(node.left), node.right)
        left, right = self.value(node.left), self.value(node.right)
        if integers.among(left, right):
            return integers.arithmetic(self.context, node.op, left, right)
        a, b = self._as_operand(left, node.left), self._as_operand(right, node.right)
        if operator in ops.BINARY:
            return self._operator(ops.BINARY[operator], a, b)
        return operators.arithmetic(self.context, node, a, b)

    def _operand(self, node: ast.expr) -> Operand:
        return self._as_operand(self.value(node), node)

    def _as_operand(self, value: Value, node: ast.expr) -> Operand:
        if not isinstance(value, Node | Multivector):
            message = f"{kind(value)} takes no part in arithmetic"
            raise KgenError(message, self._place(node), components.indexing(value))
        return self.context.arithmetic(value) if isinstance(value, Node) else value

    def _compare(self, function: str, left: ast.expr, right: ast.expr) -> Node:
        values = self.value(left), self.value(right)
        if integers.among(*values):
            return integers.compare(self.context, function, *values)
        sides = (self._as_operand(value, node) for value, node in zip(values, (left, right)))
        return operators.compare(self.context, function, *sides)

    # calls

    def _call(self, node: ast.Call) -> Value:
        each = terms.terms_of(node)
        return self._called(node) if each is None else self._sum(each)

    def _sum(self, each: ast.GeneratorExp) -> Value:
        """The sum of a term for each number. All terms are looked at, also beside a mistake."""
        found = [term for number in self._numbers(each) for term in self._term(each, number)]
        known = [term for term in found if not isinstance(term, Unknown)]
        if len(known) < len(found):
            raise Follows
        if not found:
            raise Vanishes
        return self.context.combine([(1, self._as_operand(term, each.elt)) for term in known])

    def _term(self, each: ast.GeneratorExp, number: int) -> list[Named]:
        """The term for a number, if it is not identically zero."""
        term = terms.written_out(each, number)
        self._terms.add(term)
        try:
            return [self.tried(term)]
        except Vanishes:
            return []

    def _numbers(self, each: ast.GeneratorExp) -> terms.Numbers:
        over = terms.over(each)
        if isinstance(over, tuple):
            return over
        value = self.value(over)
        if not isinstance(value, Multivector):
            raise KgenError(f"{kind(value)} has no grades", self._place(over), terms.OVER)
        return self.context.grades(value)

    def _called(self, node: ast.Call) -> Value:
        before = [node.func.value] if isinstance(node.func, ast.Attribute) else []
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name not in OPERATIONS:
            raise KgenError(f"there is no operation {name}", hint=synonyms.hint(name))
        row, positional = OPERATIONS[name], [*before, *node.args]
        bound = bind(self.context, row, positional, {k.arg or "": k.value for k in node.keywords}, self.value)
        written = [p for parameter, p in zip(row.parameters, positional) if parameter.type != "function"]
        self.context.label = operators.label(written[0]) if written else ""
        return self._apply(row, bound)

    def _operator(self, name: str, *operands: Value) -> Value:
        row = OPERATIONS[name]
        self.context.label = ""
        return self._apply(row, [checked(self.context, name, p, x) for p, x in zip(row.parameters, operands)])

    def _apply(self, row: Operation, bound: Sequence[object]) -> Value:
        if any(
            isinstance(x, Multivector) for given in bound for x in (given if isinstance(given, tuple) else (given,))
        ):
            self.groups.append(row.group(bound))
        return row.lower(self.context, *bound)

    def _is_word(self, node: ast.expr) -> bool:
        """Whether it names an axis or an operation, and no value."""
        return isinstance(node, ast.Name) and (node.id in OPERATIONS or node.id in self.context.axes)

    def _place(self, node: ast.expr) -> Mark:
        return place(self.context.kernel, node)
