"""Where a body draws random numbers.

In: a kernel and the syntax tree of its body. Out: which of its draws a place in the text is, and which of its options
are probabilities. Guaranteed: a draw has its number from the text alone, so whoever reads the body finds the same.
"""

import ast
from collections.abc import Iterator

from kgen.spec import terms
from kgen.spec.model import Kernel

WORD = "dropout"
PROBABILITY = 1  # the place of p among its arguments


def seeds(kernel: Kernel) -> tuple[str, ...]:
    """The inputs from which random numbers are made."""
    return kernel.inputs_of("seed")


def number(kernel: Kernel, tree: ast.AST, seed: ast.expr) -> int:
    """Which of the draws one is, by the place where its seed is written."""
    places = sorted((node.lineno, node.col_offset) for node in _seeds(kernel, tree))
    return places.index((seed.lineno, seed.col_offset))


def repeated(kernel: Kernel, tree: ast.AST) -> list[ast.Name]:
    """Seeds in the terms of sums, which stand for several numbers."""
    return [node for each in terms.all_terms(tree) for node in _seeds(kernel, each)]


def probabilities(kernel: Kernel, tree: ast.AST) -> tuple[str, ...]:
    """The options with which something is dropped."""
    found = {node.id for node in map(_probability, _calls(tree)) if isinstance(node, ast.Name)}
    return tuple(name for name in kernel.numbers if name in found)


def _seeds(kernel: Kernel, tree: ast.AST) -> Iterator[ast.Name]:
    named = seeds(kernel)
    return (node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in named)


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return (node for node in calls if isinstance(node.func, ast.Name) and node.func.id == WORD)


def _probability(call: ast.Call) -> ast.expr | None:
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    return call.args[PROBABILITY] if len(call.args) > PROBABILITY else named.get("p")
