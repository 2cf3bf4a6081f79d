"""What a spec says, as frozen data: the result of `spec.load` and the input of `trace` and of the reference.

Nothing here knows how a spec is written (that is `spec.py`) nor what is computed (that is `ir.py`).
"""

from dataclasses import dataclass

from kgen.errors import Mark

ELLIPSIS = "..."  # in a memory order: any number of leading axes, flattened to the axis `b`
COMPONENT_AXES = ("blade", "path", "grade")  # dims of a tensor that enumerate fields instead of carrying them


@dataclass(frozen=True, slots=True)
class Blade:
    """A basis blade: `sign` times the ascending product of the generators in `mask` (bit i: generator i)."""

    name: str  # "e" for the scalar, "e12", "e31"
    mask: int
    sign: int

    @property
    def grade(self) -> int:
        return self.mask.bit_count()


@dataclass(frozen=True, slots=True)
class Algebra:
    """The geometric algebra of a diagonal metric; `blades` lists all of them in storage order."""

    squares: tuple[int, ...]  # square of each generator: 1, -1 or 0
    first: int  # index of the first generator: 0 for e0, 1 for e1
    blades: tuple[Blade, ...]

    @property
    def signature(self) -> tuple[int, int, int]:
        """p, q, r: how many generators square to 1, -1 and 0."""
        return self.squares.count(1), self.squares.count(-1), self.squares.count(0)


@dataclass(frozen=True, slots=True)
class Type:
    """The type of an input or output.

    `memory` is the whole memory order, slowest first: axis names, at most one component axis ("blade", "path",
    "grade"), fixed extents (int), and "..." first when any number of leading axes is flattened to `b`.
    """

    kind: str  # "multivector", "weights", "field" (scalar and plain axes) or "index" (integers, never differentiable)
    memory: tuple[str | int, ...]
    grades: tuple[int, ...] = ()  # multivector: the grades present, ascending
    operands: tuple[str, ...] = ()  # weights: names of the inputs whose product the paths belong to (one or two)
    dtype: str | None = None  # index: "int32" or "int64"

    @property
    def axes(self) -> tuple[str, ...]:
        """The named axes that the type's fields vary along, in memory order ("..." reads `b`)."""
        names = ("b" if d == ELLIPSIS else d for d in self.memory)
        return tuple(d for d in names if isinstance(d, str) and d not in COMPONENT_AXES)


@dataclass(frozen=True, slots=True)
class Argument:
    """A named input, or a declared output (whose type may be left to inference)."""

    name: str
    type: Type | None
    mark: Mark


@dataclass(frozen=True, slots=True)
class Option:
    """A keyword-only argument: a bool chooses a compiled variant, a number is passed at run time."""

    name: str
    default: bool | int | float
    mark: Mark


@dataclass(frozen=True, slots=True)
class Kernel:
    """One entry under `kernels:`."""

    name: str
    doc: str
    inputs: tuple[Argument, ...]
    options: tuple[Option, ...]
    outputs: tuple[Argument, ...]  # empty when undeclared
    grads: tuple[str, ...]  # the differentiable inputs, in input order
    order: int  # highest derivative order that is generated
    deterministic: bool
    body: str
    memory: tuple[
        str, ...
    ]  # memory order of this kernel's multivectors, such as ("blade", "b", "n"); () without algebra
    mark: Mark
    body_mark: Mark  # where the body's first line starts


@dataclass(frozen=True, slots=True)
class Initialisation:
    """The values that a parameter starts with; `fan` names the counts whose product scales a distribution."""

    kind: str  # "zeros", "ones", "normal" (of standard deviation 1 / sqrt(fan)) or "uniform" (within +-1 / sqrt(fan))
    fan: tuple[str, ...] = ()  # axes of the module's parameters, and "grade", "path" or "blade"

    def __str__(self) -> str:
        return f"{self.kind}({', '.join(self.fan)})" if self.fan else self.kind


@dataclass(frozen=True, slots=True)
class Parameter:
    """An input of a kernel that a module keeps as an `nn.Parameter`."""

    name: str  # in the module and its state_dict
    input: str
    initialisation: Initialisation
    mark: Mark


@dataclass(frozen=True, slots=True)
class Module:
    """One entry under `modules:`, an `nn.Module` around a kernel: parameters, and the kernel's other inputs forward."""

    name: str
    doc: str
    kernel: str
    sizes: tuple[tuple[str, str], ...]  # each axis of a parameter with the constructor's argument for its extent
    parameters: tuple[Parameter, ...]
    mark: Mark

    @property
    def arguments(self) -> tuple[str, ...]:
        """The constructor's size arguments; one may be the extent of several axes."""
        return tuple(dict.fromkeys(argument for _, argument in self.sizes))


@dataclass(frozen=True, slots=True)
class Layout:
    """Memory orders: of multivectors, and of weights by kind; `path_order` sorts product paths."""

    multivector: tuple[str, ...] = ()
    path_order: tuple[str, ...] = ("left", "right", "out")
    weights: tuple[str, ...] = ()  # per-feature weights, such as ("n", "path")
    fully_connected: tuple[str, ...] = ()
    gradewise: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Spec:
    """A whole spec file. `digest` is a short hash of its text; `path` is as written on the command line."""

    name: str
    doc: str
    algebra: Algebra | None
    layout: Layout
    kernels: tuple[Kernel, ...]
    path: str
    digest: str
    mark: Mark
    modules: tuple[Module, ...] = ()

    def kernel(self, name: str) -> Kernel:
        """The kernel of that name, which there is."""
        return next(kernel for kernel in self.kernels if kernel.name == name)
