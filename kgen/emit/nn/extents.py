"""What a module's parameters are in each of its settings: extents, blades, and counts that scale initial values.

In: a spec and one of its modules. Extents are arguments of the constructor, by name, or numbers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kgen.emit.nn.settings import usual
from kgen.emit.text.constants import dims, tensors
from kgen.emit.text.docstrings import shape
from kgen.graph.tensor import Tensor
from kgen.spec import draws
from kgen.spec.class_names import MODE
from kgen.spec.model import Choice, Kernel, Module, Option, Parameter, Settings, Spec, Switch, Type

COUNTED = {"grade": "grades", "path": "paths", "blade": "components"}  # what numbers in a fan count


@dataclass(frozen=True, slots=True)
class Around:
    """A module with its spec, and what both know of its kernels."""

    spec: Spec
    module: Module

    def kernel(self, settings: Settings) -> Kernel:
        return self.spec.kernel(self.module.kernel.at(settings))

    @property
    def usual(self) -> Kernel:
        return self.kernel(usual(self.module.switches))

    @property
    def inputs(self) -> list[Tensor]:
        """What the kernel takes of the class and of forward; a seed it has by itself."""
        return [t for t in tensors(self.spec, self.usual)[0] if t.name not in draws.seeds(self.usual)]

    @property
    def options(self) -> list[Option]:
        """The kernel's options that the constructor takes; `training` is a mode of every nn.Module."""
        return [o for o in self.usual.options if o.name != MODE]

    def dims(self, p: Parameter, settings: Settings) -> list[tuple[str, str | int]]:
        """The dims of a parameter's input by name, with their extents: arguments of the constructor, or numbers."""
        kernel, sizes = self.kernel(settings), dict(self.module.sizes)
        tensor = next(t for t in tensors(self.spec, kernel)[0] if t.name == p.input)
        extents = [sizes[d] if isinstance(d, str) else d for d in dims(tensor)]
        return list(zip(map(str, _declared(kernel, p).memory), extents, strict=True))

    def extents(self, p: Parameter, settings: Settings) -> list[str | int]:
        """The shape of a parameter."""
        known = self.dims(p, settings)
        if p.shape is None:
            return [extent for d, extent in known if d != "blade" or not p.grades]
        return [_product([dict(known).get(part, 1) for part in parts]) for parts in p.shape]

    def blades(self, p: Parameter, settings: Settings) -> list[int]:
        """Which blades of the input have the parameter's values."""
        assert self.spec.algebra is not None and p.grades is not None
        declared = _declared(self.kernel(settings), p)
        present = [blade.grade for blade in self.spec.algebra.blades if blade.grade in declared.grades]
        return [i for i, grade in enumerate(present) if grade in p.grades.at(settings)]

    def fan(self, p: Parameter, settings: Settings) -> dict[str, str | int]:
        """The counts whose product scales a distribution: numbers, or arguments of the constructor."""
        grades = len(self.spec.algebra.squares) + 1 if self.spec.algebra else 0
        known = {**dict(self.module.sizes), **dict(self.dims(p, settings)), "grade": grades}
        return {name: known[name] for name in p.initialisation.at(settings).fan}


def _product(extents: Sequence[str | int]) -> str | int:
    number, named = math.prod(e for e in extents if isinstance(e, int)), [e for e in extents if isinstance(e, str)]
    return " * ".join([*[str(number)] * (number != 1), *named]) if named else number


def _declared(kernel: Kernel, p: Parameter) -> Type:
    found = next(a.type for a in kernel.inputs if a.name == p.input)
    assert found is not None
    return found


def switches_of(*choices: Choice[Any] | None) -> list[Switch]:
    """The switches behind some choices, each once."""
    return list(dict.fromkeys(choice.switch for choice in choices if choice and choice.switch))


def spelled(extents: Sequence[str | int], owner: str = "") -> str:
    """A shape; names are attributes of the owner."""
    return shape(tuple(owned(e, owner) if isinstance(e, str) else e for e in extents))


def owned(extent: str, owner: str) -> str:
    """An argument, or a product of some and of numbers; names are attributes of the owner."""
    return " * ".join(part if part.isdigit() else f"{owner}{part}" for part in extent.split(" * "))
