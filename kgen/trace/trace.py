"""From a kernel's body to the component graph.

In: a `model.Kernel` and a choice for each of its bool options. Out: a `Graph` of one variant, in which every
geometric operation is sums and products of fields; names from the body stay with the fields as hints. Guaranteed: the
body's meaning is checked (types, grades, axes, arguments), and a mistake is a KgenError at its place in the spec. The
operations are rows of `ops.py`; this module walks the syntax tree.
"""

import ast
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from kgen.errors import KgenError
from kgen.graph.graph import Graph, Output
from kgen.graph.node import Node, Number, postorder
from kgen.graph.tensor import Tensor
from kgen.spec.body import parse_body, place
from kgen.spec.model import Argument, Kernel, Spec
from kgen.trace import arguments, ops
from kgen.trace import values as kinds
from kgen.trace.algebra import Path
from kgen.trace.calls import bind, checked, kind, nearest
from kgen.trace.ops import OPERATIONS, Operation
from kgen.trace.values import Context, Multivector, Operand, Value

LARGEST = 10**38  # about the largest number of fp32


def trace(spec: Spec, kernel: Kernel, flags: dict[str, bool]) -> Graph:
    """The graph of one variant; bool options that `flags` lacks have their defaults."""
    return _Tracer(spec, kernel, flags).graph()


@lru_cache
def by_default(spec: Spec, kernel: Kernel) -> Graph:
    """The graph with all bool options at their defaults, to look at: several stages do."""
    return trace(spec, kernel, {})


def paths(spec: Spec, kernel: Kernel, input_name: str) -> tuple[Path, ...]:
    """The product paths of a weights input in memory order: (left, out, right) grades, or (grade,) of one operand."""
    return arguments.paths(spec, kernel, input_name)


@lru_cache
def output_names(kernel: Kernel) -> tuple[str, ...]:
    """The names of a kernel's results, in order."""
    return arguments.output_names(kernel, _returned(parse_body(kernel)))


def private(kernel: Kernel) -> dict[str, str]:
    """What graphs call the kernel's tensors and numbers, by their names in the spec."""
    return arguments.private(kernel, output_names(kernel))


def private_grads(kernel: Kernel) -> tuple[str, ...]:
    """What graphs call the differentiable inputs."""
    return tuple(private(kernel)[name] for name in kernel.grads)


def equivariance(spec: Spec, kernel: Kernel) -> str | None:
    """The largest group under which all variants are known to be equivariant: "pin", "euclidean" or None."""
    if not any(argument.type and argument.type.kind == "multivector" for argument in kernel.inputs):
        return None
    groups: list[ops.Group] = []
    for flags in kernel.choices:
        tracer = _Tracer(spec, kernel, flags)
        tracer.graph()
        groups += tracer.groups
    definite = spec.algebra is not None and len(set(spec.algebra.squares)) == 1 and 0 not in spec.algebra.squares
    if None in groups:
        return None
    return "euclidean" if "euclidean" in groups and not definite else "pin"


class _Tracer:
    """One walk over a body: the names known so far, and the groups of the operations met."""

    def __init__(self, spec: Spec, kernel: Kernel, flags: dict[str, bool]) -> None:
        self.context = Context(spec, kernel, arguments.axes(kernel))
        self.kernel, self.builder = kernel, self.context.builder
        self.private = private(kernel)
        self.inputs = tuple(self.builder.declare(self._tensor(a)) for a in kernel.inputs)
        self.numbers = tuple(self.private[name] for name in kernel.numbers)
        self.groups: list[ops.Group] = []
        self.known: dict[str, Value] = {}
        for argument, tensor in zip(kernel.inputs, self.inputs):
            self.known[argument.name] = arguments.value(self.context, argument, tensor)
        for option in kernel.options:
            chosen = bool(flags.get(option.name, option.default))
            number = option.name in kernel.numbers
            self.known[option.name] = self.builder.input(self.private[option.name], 0, ()) if number else chosen

    def _tensor(self, argument: Argument) -> Tensor:
        lies = arguments.tensor(self.context.spec, self.kernel, argument)
        return replace(lies, name=self.private[argument.name])

    def graph(self) -> Graph:
        tree = parse_body(self.kernel)
        for statement in tree.body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                name = statement.targets[0].id
                self.known[name] = self._named(name, self.value(statement.value))
        outputs = self._outputs(_returned(tree))
        self._check_constants(outputs)
        k, axes = self.kernel, self.context.axes
        return Graph(k.name, axes, self.inputs, self.numbers, outputs, self.builder, k.precision)

    def _check_constants(self, outputs: Sequence[Output]) -> None:
        """Refuse what no float can hold: constants are exact until they are emitted."""
        for node in postorder([f for output in outputs for f in output.fields]):
            if node.kind in ("Const", "Add") and _too_large(node):
                raise KgenError("a constant is too large for a float", self.kernel.body_mark)

    def _named(self, name: str, value: Value) -> Value:
        if isinstance(value, Node):
            self.builder.name(value, name)
        elif isinstance(value, Multivector):
            for blade, field in value.items():
                self.builder.name(field, f"{name}_{self.context.algebra.blades[blade].name}")
        return value

    def _outputs(self, returned: Sequence[ast.expr]) -> tuple[Output, ...]:
        declared = self.kernel.outputs
        if declared and len(declared) != len(returned):
            message = f"the body returns {len(returned)} values, but {len(declared)} outputs are declared"
            raise KgenError(message, place(self.kernel, returned[0]))
        leading = any(tensor.leading for tensor in self.inputs)
        outputs = []
        for i, (name, node) in enumerate(zip(arguments.output_names(self.kernel, returned), returned)):
            result = self.value(node)
            try:
                type_ = declared[i].type if declared else None
                output = arguments.output(self.context, name, type_, result, leading)
                outputs.append(replace(output, tensor=replace(output.tensor, name=self.private[name])))
            except KgenError as error:
                raise self._located(error, node) from None
        return tuple(outputs)

    # expressions

    def value(self, node: ast.expr) -> Value:
        """The value of an expression; a mistake without a place gets that of the innermost expression."""
        try:
            return self._value(node)
        except KgenError as error:
            raise self._located(error, node) from None
        except OverflowError:
            raise KgenError("a constant is too large for a float", place(self.kernel, node)) from None

    def _located(self, error: KgenError, node: ast.expr) -> KgenError:
        return error if error.mark else KgenError(error.message, place(self.kernel, node), error.hint)

    def _value(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=bool() as flag):
                return flag
            case ast.Constant(value=int() | float() as number):
                return self.builder.const(number)
            case ast.Name(id=name):
                return self._name(name)
            case ast.Attribute(value=operand, attr=blade):
                return self._component(self.value(operand), blade)
            case ast.Subscript():
                return self._item(node)
            case ast.UnaryOp():
                return self._unary(node)
            case ast.BinOp():
                return self._binary(node)
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                a, b = self._field(left), self._field(right)
                return self.builder.call(ops.COMPARISONS[type(operator).__name__], a, b)
            case ast.BoolOp(op=operator, values=parts):
                chosen = [self._flag(part) for part in parts]
                return all(chosen) if isinstance(operator, ast.And) else any(chosen)
            case ast.IfExp(test=test, body=body, orelse=otherwise):
                return self.value(body if self._flag(test) else otherwise)
            case ast.Call():
                return self._call(node)
        raise KgenError("this expression is not part of a body")

    def _name(self, name: str) -> Value:
        if name in self.known:
            return self.known[name]
        blades = self.context.spec.algebra.blades if self.context.spec.algebra else ()
        for i, blade in enumerate(blades):
            if blade.name == name:
                self._meets_blade(blade.mask)
                return self.context.multivector({i: self.builder.one})
        if name in OPERATIONS:
            raise KgenError(f"{name} is an operation and needs its arguments", hint=str(OPERATIONS[name]))
        raise KgenError(f"{name} is not defined", hint=nearest(name, [*self.known, *(b.name for b in blades)]))

    def _meets_blade(self, mask: int) -> None:
        """Choosing a blade other than the scalar chooses coordinates."""
        self.groups.append("pin" if mask == 0 else None)

    def _component(self, value: Value, name: str) -> Value:
        if not isinstance(value, Multivector):
            raise KgenError(f"{kind(value)} has no component {name}")
        present = {self.context.algebra.blades[i]: field for i, field in value.items()}
        for blade, field in present.items():
            if blade.name == name:
                self._meets_blade(blade.mask)
                return field
        grades = ", ".join(map(str, self.context.grades(value)))
        exists = any(blade.name == name for blade in self.context.algebra.blades)
        hint = None if exists else nearest(name, [blade.name for blade in present])
        raise KgenError(f"the multivector has no component {name}", hint=hint or f"its grades are {grades}")

    def _item(self, node: ast.Subscript) -> Value:
        value = self.value(node.value)
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        index = tuple(part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, int))
        match value:
            case kinds.Weights():
                if index in value.paths:
                    return value.fields[value.paths.index(index)]
                known = " ".join("".join(map(str, path)) for path in value.paths)
                raise KgenError(f"{value.name} has no path {list(index)}", hint=f"[left, out, right] is one of {known}")
            case kinds.Indexed():
                within = len(index) == len(value.extents) and all(i < n for i, n in zip(index, value.extents))
                if not within:
                    raise KgenError(f"{value.name}{list(index)} is outside of its extents {list(value.extents)}")
                flat = 0
                for i, extent in zip(index, value.extents):
                    flat = flat * extent + i
                return value.fields[flat]
        raise KgenError(f"{kind(value)} takes no index")

    # operators

    def _unary(self, node: ast.UnaryOp) -> Value:
        if isinstance(node.op, ast.Not):
            return not self._flag(node.operand)
        operand = self._operand(node.operand)
        if isinstance(node.op, ast.Invert):
            return self._operator("reverse", operand)
        return self.context.combine([(-1 if isinstance(node.op, ast.USub) else 1, operand)])

    def _binary(self, node: ast.BinOp) -> Value:
        operator = type(node.op).__name__
        if operator == "Pow":
            return self._power(node)
        a, b = self._operand(node.left), self._operand(node.right)
        if operator in ops.BINARY:
            return self._operator(ops.BINARY[operator], a, b)
        match operator:
            case "Add":
                return self.context.combine([(1, a), (1, b)])
            case "Sub":
                return self.context.combine([(1, a), (-1, b)])
            case "Mult":
                self.context.label = _label(node.right if isinstance(a, Node) else node.left)
                return self.context.times(a, b)
        if isinstance(b, Multivector):
            raise KgenError("division by a multivector", hint="multiply by ~b / norm_squared(b) where b is a versor")
        if b is self.builder.zero:
            raise KgenError("division by zero")
        self.context.label = _label(node.left)
        return self.context.times(a, self.builder.reciprocal(b))

    def _power(self, node: ast.BinOp) -> Value:
        base, exponent = self._operand(node.left), node.right
        sign = 1
        if isinstance(exponent, ast.UnaryOp) and isinstance(exponent.op, ast.USub):
            sign, exponent = -1, exponent.operand
        if not isinstance(base, Node):
            raise KgenError("`**` of a multivector", hint="write the product, as in x * x")
        if not isinstance(exponent, ast.Constant) or type(exponent.value) is not int:
            raise KgenError("the exponent of `**` is a whole number", hint="sqrt(x), or exp(p * log(x))")
        if exponent.value > 64:
            raise KgenError("the exponent of `**` is at most 64", hint="exp(p * log(x))")
        if base is self.builder.zero and sign < 0:
            raise KgenError("division by zero")
        return self.builder.power(base, sign * exponent.value)

    def _operand(self, node: ast.expr) -> Operand:
        value = self.value(node)
        if not isinstance(value, Node | Multivector):
            hint = "name one of its fields, as in w[3] or weight[0, 1, 1]"
            found = isinstance(value, kinds.Weights | kinds.Indexed)
            raise KgenError(
                f"{kind(value)} takes no part in arithmetic", place(self.kernel, node), hint if found else None
            )
        return self.context.arithmetic(value) if isinstance(value, Node) else value

    def _field(self, node: ast.expr) -> Node:
        value = self._operand(node)
        if not isinstance(value, Node):
            raise KgenError("a comparison is between fields", hint="x.e is the scalar component")
        return value

    def _flag(self, node: ast.expr) -> bool:
        value = self.value(node)
        if not isinstance(value, bool):
            hint = "between fields, write where(condition, a, b)"
            raise KgenError("a condition of `if` is a bool option", place(self.kernel, node), hint)
        return value

    # calls

    def _call(self, node: ast.Call) -> Value:
        before = [node.func.value] if isinstance(node.func, ast.Attribute) else []
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name not in OPERATIONS:
            raise KgenError(f"there is no operation {name}", hint=nearest(name, OPERATIONS))
        row, positional = OPERATIONS[name], [*before, *node.args]
        bound = bind(self.context, row, positional, {k.arg or "": k.value for k in node.keywords}, self.value)
        written = [p for parameter, p in zip(row.parameters, positional) if parameter.type != "function"]
        self.context.label = _label(written[0]) if written else ""
        return self._apply(row, bound)

    def _operator(self, name: str, *operands: Value) -> Value:
        row = OPERATIONS[name]
        self.context.label = ""
        return self._apply(row, [checked(self.context, name, p, x) for p, x in zip(row.parameters, operands)])

    def _apply(self, row: Operation, bound: Sequence[object]) -> Value:
        if any(isinstance(x, Multivector) for x in bound):
            self.groups.append(row.group(self.context, *bound) if callable(row.group) else row.group)
        return row.lower(self.context, *bound)


def _label(node: ast.expr) -> str:
    """The name that an operand is written as, if it is a name."""
    return node.id if isinstance(node, ast.Name) else ""


def _too_large(node: Node) -> bool:
    """Whether a Const or an Add has a constant beyond LARGEST."""
    constants: tuple[Number, ...] = node.coefficients if node.kind == "Add" else (node.value,)
    return any(not -LARGEST <= c <= LARGEST for c in constants)


def _returned(tree: ast.Module) -> list[ast.expr]:
    last = tree.body[-1]
    assert isinstance(last, ast.Return), "parse_body guarantees it"
    assert last.value is not None
    return last.value.elts if isinstance(last.value, ast.Tuple) else [last.value]
