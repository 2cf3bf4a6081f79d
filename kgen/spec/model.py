"""What a spec says, as frozen data: the result of `spec.load` and the input of `trace` and of the reference.

Nothing here knows how a spec is written (that is `load.py`) nor what is computed (`graph/graph.py`). Specs, kernels and
modules are equal only to themselves: what is known of them is looked up without reading all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Generic, TypeVar

from kgen.errors import Mark

T = TypeVar("T")
Case = bool | str
Settings = Mapping[str, Case]  # a case for each switch of a module, by name

ELLIPSIS = "..."  # in a memory order: any number of leading axes, flattened to the axis `b`
PRECISIONS = {"tf32": "one pass of tf32", "tf32x3": "three passes of tf32", "ieee": "full fp32"}
EVERY = ".*"  # ends what stands for all keys of a module in a state dict
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

    kind: str  # "multivector", "weights", "field" (scalar and plain axes); of integers, "integer", "index" or "seed"
    memory: tuple[str | int, ...]
    grades: tuple[int, ...] = ()  # multivector: the grades present, ascending
    operands: tuple[str, ...] = ()  # weights: whose product the paths belong to (one or two), as written
    sides: tuple[tuple[int, ...], ...] = ()  # weights: the grades of each operand
    into: str = ""  # index: the axis whose positions its numbers are

    @property
    def floating(self) -> bool:
        """Whether it is of real numbers, which can be differentiated."""
        return self.kind not in ("integer", "index", "seed")

    @property
    def axes(self) -> tuple[str, ...]:
        """The named axes that the type's fields vary along, in memory order ("..." reads `b`)."""
        names = ("b" if d == ELLIPSIS else d for d in self.memory)
        return tuple(d for d in names if isinstance(d, str) and d not in COMPONENT_AXES)


@dataclass(frozen=True, slots=True)
class Argument:
    """A named input, or a declared output (whose type may be left to inference). In drafts types may be missing."""

    name: str
    type: Type | None
    mark: Mark


@dataclass(frozen=True, slots=True)
class Option:
    """A keyword-only argument: a bool chooses a compiled variant, a number is passed at run time."""

    name: str
    default: bool | int | float
    mark: Mark


@dataclass(frozen=True, slots=True, eq=False)
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
    precision: str | None = None  # of matrix products in fp32: a key of PRECISIONS, or what torch's setting says
    narrow: bool = False  # whether rows of few features have kernels of their own
    dense: bool = False  # whether all components enter one product of matrices, zeros included

    def inputs_of(self, kind: str) -> tuple[str, ...]:
        """The inputs whose types are of a kind."""
        return tuple(a.name for a in self.inputs if a.type and a.type.kind == kind)

    @property
    def flags(self) -> tuple[str, ...]:
        """The bool options, each of which has variants of its own."""
        return tuple(option.name for option in self.options if isinstance(option.default, bool))

    @property
    def numbers(self) -> tuple[str, ...]:
        """The other options, which kernels read at run time."""
        return tuple(option.name for option in self.options if not isinstance(option.default, bool))

    @property
    def choices(self) -> tuple[dict[str, bool], ...]:
        """Each choice of the bool options, by their names."""
        flags = self.flags
        return tuple(dict(zip(flags, chosen)) for chosen in product((True, False), repeat=len(flags)))


@dataclass(frozen=True, slots=True)
class Initialisation:
    """The values that a parameter starts with; `fan` names the counts whose product scales a distribution."""

    kind: str  # "zeros", "ones", "normal" (of standard deviation 1 / sqrt(fan)) or "uniform" (within +-1 / sqrt(fan))
    fan: tuple[str, ...] = ()  # axes of the module's parameters, and "grade", "path" or "blade"

    def __str__(self) -> str:
        return f"{self.kind}({', '.join(self.fan)})" if self.fan else self.kind


@dataclass(frozen=True, slots=True)
class Switch:
    """An option of a module that its kernels do not have: true or false, or one of several words."""

    name: str
    default: Case
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Choice(Generic[T]):
    """A value for each case of a switch, or one value without a switch."""

    values: tuple[T, ...]
    switch: Switch | None = None

    def at(self, settings: Settings) -> T:
        """The value in the case that the settings have."""
        return self.values[self.switch.cases.index(settings[self.switch.name]) if self.switch else 0]


@dataclass(frozen=True, slots=True)
class Parameter:
    """An input of a kernel that a module keeps as an `nn.Parameter`."""

    name: str  # in the module and its state_dict
    input: str
    initialisation: Choice[Initialisation]
    shape: tuple[tuple[str, ...], ...] | None  # of each dim the input's that it is made of, or "1"; the input's if None
    grades: Choice[tuple[int, ...]] | None  # where the input has the parameter's values, on each blade; zero elsewhere
    mark: Mark


@dataclass(frozen=True, slots=True, eq=False)
class Module:
    """One entry under `modules:`, an `nn.Module` around a kernel: parameters, and the kernel's other inputs forward.

    Kernels to choose between have the same options and inputs, whose types differ in parameters alone.
    """

    name: str
    doc: str
    kernel: Choice[str]
    switches: tuple[Switch, ...]
    sizes: tuple[tuple[str, str], ...]  # each axis of a parameter with its extent: an argument, or "2 * argument"
    parameters: tuple[Parameter, ...]
    ignored: tuple[str, ...]  # keys of other libraries' state dicts that are no parameters; `layer.*` are all of one
    mark: Mark

    @property
    def kernels(self) -> tuple[str, ...]:
        """The kernels that forward may call."""
        return tuple(dict.fromkeys(self.kernel.values))

    @property
    def arguments(self) -> tuple[str, ...]:
        """The constructor's size arguments; one may be the extent of several axes."""
        return tuple(dict.fromkeys(argument for _, argument in self.sizes if argument.isidentifier()))


@dataclass(frozen=True, slots=True)
class Layout:
    """Memory orders: of multivectors, and of weights by kind; `path_order` sorts product paths."""

    multivector: tuple[str, ...] = ()
    path_order: tuple[str, ...] = ("left", "right", "out")
    weights: tuple[str, ...] = ()  # per-feature weights, such as ("n", "path")
    fully_connected: tuple[str, ...] = ()
    gradewise: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Spec:
    """A whole spec file. `digest` is a short hash of its text, `digests` are those of its parts.

    The parts are what `stamp.parts` says; `path` is as written on the command line.
    """

    name: str
    doc: str
    algebra: Algebra | None
    layout: Layout
    kernels: tuple[Kernel, ...]
    path: str
    digest: str
    mark: Mark
    modules: tuple[Module, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)

    def part(self, kernel: str = "") -> str:
        """The digest of what a kernel is made from, or of what all of them share."""
        return self.digests.get(kernel, self.digest)

    def kernel(self, name: str) -> Kernel:
        """The kernel of that name, which there is."""
        return next(kernel for kernel in self.kernels if kernel.name == name)
