"""Names of a reference's own: of the arithmetic's dtype, of leading dims and of the extents of axes.

In: a kernel, its syntax tree and its axes. Out: names. Guaranteed: they are none of the kernel's arguments and results,
and none that the body reads or assigns.
"""

import ast
from collections.abc import Collection

from kgen.spec.model import Kernel


class Names:
    """The names of one function."""

    def __init__(self, kernel: Kernel, tree: ast.Module, axes: tuple[str, ...]) -> None:
        self.taken = {argument.name for argument in kernel.inputs} | {option.name for option in kernel.options}
        self.taken |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} | {"torch"}
        results = {output.name for output in kernel.outputs}
        self.dtype, self.lead = self.fresh("dtype", results), self.fresh("lead", results)
        self.sizes = {axis: self.fresh(f"{axis}_size", results) for axis in axes}

    def fresh(self, name: str, besides: Collection[str] = ()) -> str:
        """The name, with as many underscores as make it another than those taken and those besides."""
        return self.fresh(name + "_", besides) if name in self.taken or name in besides else name

    def own(self, name: str) -> str:
        """A fresh name, which is taken from now on."""
        name = self.fresh(name)
        self.taken.add(name)
        return name
