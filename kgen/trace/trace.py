"""From a kernel's body to the component graph.

In: a `model.Kernel` and a choice for each of its bool options. Out: a `Graph` of one variant, in which every
geometric operation is sums and products of fields; names from the body stay with the fields as hints. Guaranteed: the
body's meaning is checked (types, grades, axes, arguments), and a mistake is a KgenError at its place in the spec. This
module walks the statements, past those with a mistake; `expressions.py` gives what stands in them its meaning.
"""

import ast
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from kgen.errors import KgenError, each, in_order, together
from kgen.graph.graph import Graph, Output, parts
from kgen.graph.node import Node, Number, postorder
from kgen.graph.tensor import Tensor
from kgen.spec.body import Body, examined, place
from kgen.spec.model import Argument, Kernel, Spec, Type
from kgen.trace import arguments, ops
from kgen.trace.algebra import Path
from kgen.trace.expressions import Expressions
from kgen.trace.values import Context, Indexed, Multivector, Named, Unknown, Value
from kgen.wording import counted

LARGEST = 10**38  # about the largest number of fp32
LONGEST = 2**63 - 1  # the largest integer of 64 bits


def trace(spec: Spec, kernel: Kernel, flags: dict[str, bool]) -> Graph:
    """The graph of one variant; bool options that `flags` lacks have their defaults. Raises all mistakes."""
    return _Tracer(spec, kernel, flags).graph()


def mistakes(spec: Spec) -> list[KgenError]:
    """What is wrong in the bodies of all kernels and variants, in order, each place once.

    The spec may be a draft: what follows from mistakes of its own is left out.
    """
    found: list[KgenError] = []
    for kernel in spec.kernels:
        for flags in kernel.choices:
            try:
                trace(spec, kernel, flags)
            except KgenError as error:
                found += each(error)
    return in_order(found)


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
    return arguments.output_names(kernel, _returned(examined(kernel)))


def private(kernel: Kernel) -> dict[str, str]:
    """What graphs call the kernel's tensors and numbers, by their names in the spec."""
    return arguments.private(kernel, output_names(kernel))


def private_grads(kernel: Kernel) -> tuple[str, ...]:
    """What graphs call the differentiable inputs."""
    names = private(kernel)
    return tuple(names[name] for name in kernel.grads)


def equivariance(spec: Spec, kernel: Kernel) -> str | None:
    """The largest group under which all variants are known to be equivariant: "pin", "euclidean" or None."""
    if not any(argument.type and argument.type.kind == "multivector" for argument in kernel.inputs):
        return None
    groups: list[ops.Group] = []
    for flags in kernel.choices:
        tracer = _Tracer(spec, kernel, flags)
        tracer.graph()
        groups += tracer.expressions.groups
    definite = spec.algebra is not None and len(set(spec.algebra.squares)) == 1 and 0 not in spec.algebra.squares
    if None in groups:
        return None
    return "euclidean" if "euclidean" in groups and not definite else "pin"


class _Tracer:
    """One walk over a body: its arguments declared, its variables named, its results laid out."""

    def __init__(self, spec: Spec, kernel: Kernel, flags: dict[str, bool]) -> None:
        self.context = Context(spec, kernel, arguments.axes(kernel))
        self.kernel, self.builder = kernel, self.context.builder
        self.body = examined(kernel)
        self.returned = _returned(self.body)
        self.results = arguments.output_names(kernel, self.returned)
        self.private = arguments.private(kernel, self.results)
        self.inputs = tuple(self.builder.declare(self._tensor(a)) for a in kernel.inputs if a.type)
        self.numbers = tuple(self.private[name] for name in kernel.numbers)
        self.expressions = Expressions(self.context, self._arguments(flags))

    def _arguments(self, flags: dict[str, bool]) -> dict[str, Named]:
        """The inputs and options by their names in the body."""
        known: dict[str, Named] = {argument.name: Unknown() for argument in self.kernel.inputs}
        for argument, tensor in zip((a for a in self.kernel.inputs if a.type), self.inputs):
            known[argument.name] = arguments.value(self.context, argument, tensor)
        for option in self.kernel.options:
            chosen = bool(flags.get(option.name, option.default))
            number = option.name in self.kernel.numbers
            value = self.builder.input(self.private[option.name], 0, ()) if number else chosen
            known[option.name] = Unknown() if option.name in known else value
        return known

    def _tensor(self, argument: Argument) -> Tensor:
        lies = arguments.tensor(self.context.spec, self.kernel, argument)
        return replace(lies, name=self.private[argument.name])

    def graph(self) -> Graph:
        """The graph; KgenError with all mistakes of the body."""
        for statement in self.body.tree.body:
            self._assign(statement)
        outputs = self._outputs()
        errors = [*self.body.errors, *self.expressions.errors]
        if not self.context.axes and self.context.whole:
            hint = "a kernel needs an input with a named axis, such as [n]"
            errors.append(KgenError(f"{self.kernel.name} has no axis", self.kernel.mark, hint))
        if errors:
            raise together(in_order(errors))
        self._check_constants(outputs)
        k, axes = self.kernel, self.context.axes
        stored = tuple(part for output in outputs for part in parts(self.builder, output))
        return Graph(k.name, axes, self.inputs, self.numbers, stored, self.builder, k.precision, k.narrow, k.dense)

    def _assign(self, statement: ast.stmt) -> None:
        """Give a name its value; what a statement outside the language may name, none knows."""
        known = self.expressions.known
        if statement in self.body.wrong:
            stored = [n for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
            known |= {node.id: Unknown() for node in stored}
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
            known[name] = self._named(name, self.expressions.tried(statement.value))

    def _check_constants(self, outputs: Sequence[Output]) -> None:
        """Refuse what no float, or integer, can hold: constants are exact until they are emitted."""
        for node in postorder([f for output in outputs for f in output.fields]):
            if node.kind in ("Const", "Add") and _too_large(node):
                what = "an integer of 64 bits" if node.integer else "a float"
                raise KgenError(f"a constant is too large for {what}", self.kernel.body_mark)

    def _named(self, name: str, value: Named) -> Named:
        if isinstance(value, Node):
            self.builder.name(value, name)
        elif isinstance(value, Indexed):
            for number, field in enumerate(value.fields):
                self.builder.name(field, f"{name}_{number}")
        elif isinstance(value, Multivector):
            for blade, field in value.items():
                self.builder.name(field, f"{name}_{self.context.algebra.blades[blade].name}")
        return value

    def _outputs(self) -> tuple[Output, ...]:
        """The results without mistakes."""
        declared = self.kernel.outputs
        if declared and self.returned and len(declared) != len(self.returned):
            outputs = counted(len(declared), "declared output")
            message = f"the body returns {counted(len(self.returned), 'result')} for {outputs}"
            self.expressions.errors.append(KgenError(message, place(self.kernel, self.body.tree.body[-1])))
        found = []
        for i, (name, node) in enumerate(zip(self.results, self.returned)):
            result = self.expressions.tried(node)
            type_ = declared[i].type if declared else None
            try:
                found += [] if isinstance(result, Unknown) else [self._output(name, type_, result)]
            except KgenError as error:
                self.expressions.note(error, node)
        return tuple(found)

    def _output(self, name: str, type_: Type | None, result: Value) -> Output:
        leading = any(tensor.leading for tensor in self.inputs)
        output = arguments.output(self.context, name, type_, result, leading)
        return replace(output, tensor=replace(output.tensor, name=self.private[name]))


def _too_large(node: Node) -> bool:
    """Whether a Const or an Add has a constant beyond what its numbers can be."""
    constants: tuple[Number, ...] = node.coefficients if node.kind == "Add" else (node.value,)
    most = LONGEST if node.integer else LARGEST
    return any(not -most <= c <= most for c in constants)


def _returned(body: Body) -> list[ast.expr]:
    """What the body returns; nothing where that is not in the language."""
    last = body.tree.body[-1] if body.tree.body else None
    if not isinstance(last, ast.Return) or last.value is None or last in body.wrong:
        return []
    return last.value.elts if isinstance(last.value, ast.Tuple) else [last.value]
