"""What everything in a kernel is called.

In: a `program.Kernel`, the fields that it is there to compute, and what its results are to be called. Out: a `Naming`:
names of arguments, of fields and of what separates components in memory. Guaranteed: they are unique. Sizes and steps
keep their names; what is no field gives way to these alone, then results have theirs, what the spec or an operation
names, and the rest, after the results that first need it.
"""

from collections.abc import Iterable, Sequence

from kgen.emit.kernel.choice import LEAVES, named
from kgen.emit.kernel.printer import Names
from kgen.emit.kernel.strides import Extent, row_step, steps, stride
from kgen.graph.builder import Builder
from kgen.graph.node import Node
from kgen.graph.order import Order, owners
from kgen.graph.tensor import Tensor
from kgen.schedule.program import Kernel
from kgen.spec.private_names import size_name

Result = tuple[Node, str]  # a field, and what it is called where nothing else names it


class Naming:
    """The names in a kernel, by what they belong to, and its fields in the order of evaluation."""

    def __init__(self, kernel: Kernel, builder: Builder, roots: Sequence[Node], results: Sequence[Result]) -> None:
        self.order = Order(builder, kernel.nodes)
        self.nodes = self.order.evaluation(roots)
        self.steps = _steps(kernel.written)
        self.starts = tuple(map(size_name, _before(kernel)))  # of which depends how parts of tensors are aligned
        self.sizes = tuple(dict.fromkeys((*map(size_name, _sized_axes(kernel)), *self.starts)))
        multiplied = [o.tensor for o in kernel.inside]
        self.names = Names(builder, (*kernel.inputs, *multiplied), {*self.sizes, *self.steps.values()})
        self._name_arguments(kernel)
        self._name_planes((*kernel.inputs, *kernel.written))
        self.named = named(kernel, self.nodes, self.names, (field for field, _ in results))
        self._name_results(kernel, results)
        self._name_others(kernel)

    @property
    def switches(self) -> tuple[str, ...]:
        """Compile-time switches: of what may be missing, of gradients that may not be wanted, and of a memory order."""
        return (*self.given.values(), *self.wanted.values(), *filter(None, [self.turned]))

    def stride(self, tensor: Tensor, position: int) -> Extent:
        """The distance between neighbours along a dim, of sizes and of steps by their names here."""
        factor, sizes = stride(tensor, position)
        return factor, tuple(self.steps.get(size, size) for size in sizes)

    def element(self, axes: Sequence[str]) -> str:
        """The number of an element along some axes, in whatever order the kernel walks over them."""
        text = f"tl.cast({self.places[axes[0]]}, tl.int64)"
        for i, axis in enumerate(axes[1:]):
            text = f"{f'({text})' if i else text} * {size_name(axis)} + {self.places[axis]}"
        return text

    def reads(self, tensor: Tensor) -> bool:
        """Whether some field is a number of the tensor's."""
        return any(n.kind == "Input" and n.tensor == tensor.name for n in self.nodes)

    def products(self, tensor: Tensor) -> list[tuple[str, ...]]:
        """The products of sizes that separate a tensor's components."""
        strides = (self.stride(tensor, i) for i, d in enumerate(tensor.dims) if isinstance(d, int))
        return [sizes for _, sizes in strides if len(sizes) > 1]

    def _name_arguments(self, k: Kernel) -> None:
        unique = self.names.unique
        tensors = dict.fromkeys(t.name for t in (*k.inputs, *k.written))
        self.index = {axis: unique(axis) for axis in k.axes}
        rows = {"fold": k.loop, "segment": ()}.get(k.kind, k.rows)  # of several each has an index for every row
        self.places = {axis: f"{name} + r" if rows == (axis,) else name for axis, name in self.index.items()}
        found = dict.fromkeys(by for t in k.inputs for by in t.lookups)
        self.looked_up = {by: unique(f"{by.tensor}_{by.into}") for by in found}  # the position that an index has
        self.in_range = {by: unique(f"has_{by.tensor}_{by.into}") for by in found}
        numbers = {n.tensor: self.names[n] for n in self.nodes if n.kind == "Input" and n.tensor in k.numbers}
        self.numbers = tuple(numbers[name] for name in k.numbers)
        self.pointers = {name: unique(f"{name}_ptr") for name in tensors}
        self.bases = {name: unique(f"{name}_row") for name in tensors}
        stepped = [t for t in k.inputs if t.stepped]
        self.row_steps = {t.name: unique(f"{t.name}_step") for t in stepped}
        self.steps |= {row_step(t): self.row_steps[t.name] for t in stepped}
        self.row_places = {t.name: unique(f"{t.name}_at") for t in stepped}
        self.given = {name: unique(f"HAS_{name.upper()}") for name in k.optional}  # may be missing, and read as zero
        written = dict.fromkeys(t.memory for t in k.written)
        self.wanted = {name: unique(name.upper()) for name in written if name.startswith("grad_")}
        self.turned = unique(f"{k.turning.upper()}_INNERMOST") if k.turning else ""

    def _name_planes(self, tensors: Iterable[Tensor]) -> None:
        """By the sizes that are multiplied."""
        self.planes: dict[tuple[str, ...], str] = {}
        for sizes in (sizes for tensor in tensors for sizes in self.products(tensor)):
            if sizes not in self.planes:
                if sizes[-1] in self.row_steps.values():
                    wish = sizes[-1].replace("_step", "_plane")
                elif sizes[-1] in self.steps.values():  # along an axis: all of them
                    wish = sizes[-1].replace("_step", "_steps")
                else:
                    wish = "".join(sizes)
                self.planes[sizes] = self.names.unique(wish)

    def _name_results(self, kernel: Kernel, results: Iterable[Result]) -> None:
        """What the spec names keeps its name; other results, and what is accumulated, have their tensor's."""
        for field, wish in results:
            self.names.claim(field, self.names.label(field) or wish)
        self.accumulators = {
            (fold.tensor.name, i): self.names.unique(fold.tensor.component_name(i))
            for fold in kernel.folds
            for i in range(len(fold.fields))
        }

    def _name_others(self, kernel: Kernel) -> None:
        """Inputs and what has a name first; then the rest, after the results that first need it."""
        for node in self.nodes:
            if node.kind == "Input" or (node in self.named and self.names.label(node)):
                self.names.claim(node, self.names.label(node))
        titles = {f: self.accumulators[g.tensor.name, i] for g in kernel.folds for i, f in enumerate(g.fields)}
        titles |= self.names.names
        owner = owners([n for n in self.nodes if n in titles])
        for node in self.nodes:
            if node in self.named:
                self.names.number(node, titles[owner.get(node, node)])


def stored(kernel: Kernel) -> list[Result]:
    """The fields that a kernel computes and stores, each to be called as the component that it is."""
    results = ((f, o.tensor.component_name(i)) for o in kernel.stores for i, f in enumerate(o.fields))
    return [(f, name) for f, name in results if f.kind not in LEAVES]


def _sized_axes(kernel: Kernel) -> list[str]:
    """Axes whose size the kernel reads: its own, those of Size fields, and those that indices point into."""
    into = [by.into for t in kernel.inputs for by in t.lookups]
    return [*kernel.axes, *(n.axis for n in kernel.nodes if n.kind == "Size"), *into]


def _before(kernel: Kernel) -> list[str]:
    """The axes before parts of tensors, and those around them."""
    slices = [part for tensor in (*kernel.inputs, *kernel.written) for part in tensor.slices]
    return [axis for part in slices for axis in (*part.axes[: part.index], part.whole)]


def _steps(tensors: Iterable[Tensor]) -> dict[str, str]:
    """What the steps along tensors that may be turned are called in a kernel: by axes, one name for equal ones."""
    found, known = dict[str, str](), dict[tuple[str, str, str], str]()
    for tensor in (t for t in tensors if t.split):
        for name, turned, straight in steps(tensor):
            axis = name.removeprefix(f"{tensor.name}:")
            number = sum(a == axis for a, _, _ in known) + 1
            found[name] = known.setdefault((axis, turned, straight), f"{axis}_step{number if number > 1 else ''}")
    return found
