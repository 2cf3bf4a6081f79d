"""The independent reference: a spec in, the torch text of its kernels out, from which everything else is proven.

Signs come from bit operations on blade masks (`tables`), bodies are read by an evaluator of its own
(`body`, one function per kernel in `function`), gradients are autograd's. Nothing comes from
algebra, trace, autodiff or simplify: a wrong sign must not be able to agree with itself. Guaranteed: the text needs
`functools` and `torch` alone, the same spec gives the same bytes, and torch is imported only by `evaluate`.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from kgen.reference.function import Function
from kgen.spec.model import Kernel, Spec

if TYPE_CHECKING:
    import torch

SOURCES = ("tables.py", "runtime.py")
DENSE_SOURCES = ("dense.py", "runtime.py")  # of two functions of one name the first counts


def source(spec: Spec) -> str:
    """All of a spec's reference in one text: what `helpers` gives, then one function per kernel."""
    return "\n\n\n".join([helpers(spec).rstrip("\n"), *(function(spec, kernel) for kernel in spec.kernels)]) + "\n"


def helpers(spec: Spec) -> str:
    """The constants and helper functions that a spec's reference needs."""
    parts = _helpers(_kernels(Function(spec, kernel) for kernel in spec.kernels), SOURCES)
    constants = [line for name, line in _constants(spec) if any(name in part for part in parts)]
    return "\n\n\n".join(["\n".join(constants)] * bool(constants) + parts) + "\n"


def function(spec: Spec, kernel: Kernel) -> str:
    """The function of one kernel."""
    return _kernels([Function(spec, kernel)])


def oracles(functions: Iterable[Function], callers: str = "") -> str:
    """The same functions over a dense table of products, and what `callers` call besides.

    The text that they are put into defines the table, as `dense` says.
    """
    kernels = _kernels(functions)
    parts = [*_helpers(kernels + callers, DENSE_SOURCES), kernels]
    aliases = [ALIAS] * any("_RefGrades" in part for part in parts)
    return "\n\n\n".join(aliases + parts)


def evaluate(
    spec: Spec,
    kernel: str,
    inputs: Mapping[str, "torch.Tensor"],
    options: Mapping[str, bool | int | float] | None = None,
) -> "tuple[torch.Tensor, ...]":
    """The outputs of a kernel, always as a tuple, by executing the text of `source`. Differentiable by autograd."""
    result = _functions(spec)[f"{kernel}_reference"](**inputs, **(options or {}))
    return result if isinstance(result, tuple) else (result,)


@lru_cache(maxsize=32)
def _functions(spec: Spec) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec("import functools\n\nimport torch\n\n\n" + source(spec), namespace)
    return namespace


# helpers

ALIAS = "_RefGrades = tuple[int, ...] | None  # the grades of a multivector, None for all"


def _kernels(functions: Iterable[Function]) -> str:
    return "\n\n\n".join(function.text() for function in functions)


def _constants(spec: Spec) -> Iterator[tuple[str, str]]:
    """The algebra as the helpers read it: names and their definitions."""
    yield "_RefGrades", ALIAS
    if spec.algebra is not None:
        blades = tuple((blade.mask, blade.sign) for blade in spec.algebra.blades)
        yield "_REF_SQUARES", f"_REF_SQUARES = {spec.algebra.squares}  # of the generators"
        comment = "# In storage order (mask, sign): sign times the ascending product of the generators in mask.\n"
        yield "_REF_BLADES", comment + f"_REF_BLADES = {blades}"
        yield "_REF_PATH_ORDER", f"_REF_PATH_ORDER = {_tuple(spec.layout.path_order)}"


def _helpers(text: str, files: Sequence[str]) -> list[str]:
    """The helper functions that a text calls, and those that they call, in the order of their files."""
    available: dict[str, str] = {}
    for name, body in (definition for file in files for definition in _definitions(file)):
        available.setdefault(name, body)
    needed: set[str] = set()
    found = [text]
    while found:
        names = {name for part in found for name in re.findall(r"\b_ref_\w+", part)} & available.keys() - needed
        needed |= names
        found = [available[name] for name in sorted(names)]
    return [body for name, body in available.items() if name in needed]


def _definitions(file: str) -> Iterator[tuple[str, str]]:
    """The functions of one of the package's files, as they are written."""
    text = (resources.files("kgen.reference") / file).read_text(encoding="utf-8")
    lines = text.splitlines()
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            yield node.name, "\n".join(lines[first - 1 : node.end_lineno])


def _tuple(items: Iterable[str]) -> str:
    return "(" + ", ".join(f'"{item}"' for item in items) + ")"
