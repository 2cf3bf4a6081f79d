"""One kernel of the reference: a `model.Kernel` in, the text of its torch function out.

The function casts its inputs to the dtype of the arithmetic, gives them all axes of the kernel in one order with
components last, runs the body line by line, and puts the results into their memory orders. Guaranteed: its own names
are none of the body's, and a result is contiguous and never an input. A proof's oracles are the same functions, over
other tables, and `results` tells the proof what shapes to expect.
"""

import ast
from collections.abc import Iterator
from dataclasses import replace

from kgen.errors import KgenError
from kgen.reference.body import Evaluator
from kgen.reference.dims import Shape
from kgen.reference.inputs import Inputs, all_axes
from kgen.reference.names import Names
from kgen.reference.results import Results
from kgen.reference.values import ATOM, Values
from kgen.spec.body import parse_body
from kgen.spec.model import Argument, Kernel, Option, Spec
from kgen.wording import counted

CONTRACTIONS = ("_ref_fcgp(", "_ref_mv_linear(", "_ref_contract(")


class Function:
    """The text of one kernel's reference, or under another `suffix` of its oracle.

    After `text` its `results` are known, and whether it `contracts` features, as products of matrices do.
    """

    def __init__(self, spec: Spec, kernel: Kernel, suffix: str = "reference") -> None:
        self.kernel, self.suffix = kernel, suffix
        self.contracts = False
        self.tree = parse_body(kernel)
        axes = all_axes(kernel)
        self.names = Names(kernel, self.tree, axes)
        self.values = Values(spec.algebra, spec.layout.path_order, axes, self.names.sizes)
        self.inputs = Inputs(kernel, self.values)
        self.outputs = Results(self.inputs, self.names)
        self.evaluator = Evaluator(kernel, self.values)

    @property
    def results(self) -> list[Shape]:
        return self.outputs.shapes

    def text(self) -> str:
        names = [f"{argument.name}: torch.Tensor" for argument in self.kernel.inputs]
        default = self.suffix == "reference"  # an oracle is called with all options
        options = [f"{o.name}: {annotation(o)}{f' = {o.default!r}' * default}" for o in self.kernel.options]
        signature = ", ".join([*names, *["*"] * bool(options), *options])
        statements = self._statements()
        self.contracts = any(helper in line for line in statements for helper in CONTRACTIONS)
        prepared = self.inputs.prepared(self.names, "\n".join(statements))
        body = [*self._docstring(), *prepared, *statements]
        return "\n".join(
            [
                f"def {self.kernel.name}_{self.suffix}({signature}) -> {returned(len(self.results))}:",
                *(f"    {line}" for line in body),
            ]
        )

    def _docstring(self) -> list[str]:
        what = "differentiable to any order" if self.suffix == "reference" else "over a dense table of products"
        return [f'"""{self.kernel.name} in plain torch, {what}."""']

    def _statements(self) -> list[str]:
        """The body's lines."""
        self.values.known.update(self.inputs.known())
        lines: list[str] = []
        for statement in self.tree.body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                name, value = statement.targets[0].id, self.evaluator.evaluate(statement.value)
                text = self.names.fresh(name) if name == "torch" else name
                lines.append(f"{text} = {value.text}")
                self.values.known[name] = replace(value, text=text, level=ATOM)
            elif isinstance(statement, ast.Return) and statement.value is not None:
                lines += self._returned(statement.value)
        return lines

    def _returned(self, node: ast.expr) -> Iterator[str]:
        nodes = node.elts if isinstance(node, ast.Tuple) else [node]
        declared: list[Argument | None] = [*self.kernel.outputs] or [None] * len(nodes)
        if len(declared) != len(nodes):
            outputs = counted(len(declared), "declared output")
            raise KgenError(f"the body returns {counted(len(nodes), 'result')} for {outputs}")
        texts = []
        for output, part in zip(declared, nodes):
            value, name = self.evaluator.evaluate(part), output.name if output else "out"
            if not isinstance(part, ast.Name):
                if len(nodes) > 1 or name == "torch":  # the other results may need what has that name
                    name = self.names.own(name)
                yield f"{name} = {value.text}"
                value = replace(value, text=name, level=ATOM)
            texts.append(self.outputs.stored(value, output.type if output else None))
        yield f"return {', '.join(texts)}"


def annotation(option: Option) -> str:
    """The type of an option in signatures."""
    return "bool" if isinstance(option.default, bool) else "float"


def returned(count: int) -> str:
    """The type of so many results in signatures."""
    return "torch.Tensor" if count == 1 else f"tuple[{', '.join(['torch.Tensor'] * count)}]"
