"""A graph as formulas: what a reader of mathematics checks, spelled by sympy.

In: a `Graph`. Out: text, one equation for each field that is an output component or used more than once, so that
the length grows with the graph and not with its expansion. Nothing is computed from it.
"""

from collections import Counter
from typing import Any

import sympy
from sympy.printing.pretty.pretty import PrettyPrinter
from sympy.printing.pretty.stringpict import prettyForm

from kgen.graph.graph import Graph
from kgen.graph.node import Node, postorder

LEAVES = ("Input", "Const", "Size", "Iota")
KNOWN = {"abs": sympy.Abs, "maximum": sympy.Max, "minimum": sympy.Min, "rsqrt": lambda x: 1 / sympy.sqrt(x)}
KNOWN |= {"fast_exp": sympy.exp, "phi": lambda x: (1 + sympy.erf(x / sympy.sqrt(2))) / 2}
KNOWN |= {name: getattr(sympy, name) for name in ("exp", "log", "erf", "tanh", "sqrt", "sin", "cos")}


class _Printer(PrettyPrinter):  # type: ignore[misc]
    """Names as the generated code has them: sympy would turn their underscores and digits into subscripts."""

    def _print_Symbol(self, symbol: Any) -> Any:
        return prettyForm(symbol.name)


def formulas(graph: Graph) -> str:
    """The equations in order of evaluation, then the outputs."""
    order = postorder(graph.roots)
    uses = Counter(argument for node in order for argument in node.args)
    symbols: dict[Node, Any] = {}
    values: dict[Node, Any] = {}
    lines: list[str] = []
    for node in order:
        values[node] = _expression(graph, node, [symbols.get(a, values[a]) for a in node.args])
        if uses[node] > 1 and node.kind not in LEAVES:
            hint = graph.builder.hints.get(node, "t")
            symbols[node] = sympy.Symbol(f"{hint}_{len(symbols) + 1}")
            lines.append(equation(symbols[node].name, values[node]))
    for output in graph.outputs:
        for index, field in enumerate(output.fields):
            name = output.tensor.component_name(index)
            lines.append(equation(name, symbols.get(field, values[field])))
    return "\n".join(lines) + "\n"


def equation(name: str, expression: Any) -> str:
    """`name = expression`, the name beside the middle of a formula that is several lines high."""
    rows = _Printer({"wrap_line": False}).doprint(expression).split("\n")
    left = f"{name} = "
    middle = len(rows) // 2
    return "\n".join((left if i == middle else " " * len(left)) + row for i, row in enumerate(rows))


def _expression(graph: Graph, node: Node, args: list[Any]) -> Any:
    match node.kind:
        case "Input":
            tensor = next((t for t in graph.inputs if t.name == node.tensor), None)
            return sympy.Symbol(tensor.component_name(node.component) if tensor else node.tensor)
        case "Const":
            return sympy.sympify(node.value)
        case "Size":
            return sympy.Symbol(f"N_{node.axis}")
        case "Iota":
            return sympy.Symbol(f"iota_{node.axis}")
        case "Add":
            return sympy.Add(*(sympy.sympify(c) * x for c, x in zip(node.coefficients, args)))
        case "Mul":
            return sympy.Mul(*args)
        case "Reciprocal":
            return 1 / args[0]
        case "Call":
            return KNOWN.get(node.function, sympy.Function(node.function))(*args)
        case "Sum" | "Max":
            return sympy.Function(f"{node.kind.lower()}_{'_'.join(node.over)}")(*args)
        case "Cast":
            return sympy.Function(str(node.payload[0]))(*args)
        case _:
            return sympy.Function(node.kind.lower())(*args)
