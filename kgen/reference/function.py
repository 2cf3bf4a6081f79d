"""One kernel of the reference: a `model.Kernel` in, the text of its torch function out.

The function casts its inputs to the dtype of the arithmetic, gives them all axes of the kernel in one order with
components last, runs the body line by line, and puts the results into their memory orders. Guaranteed: its own names
are none of the body's, and a result is contiguous and never an input. A proof's oracles are the same functions, over
other tables, and `results` tells the proof what shapes to expect.
"""

import ast
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from textwrap import wrap

from kgen.errors import KgenError
from kgen.reference import probe as probes
from kgen.reference.body import Evaluator
from kgen.reference.values import ATOM, Grades, Value
from kgen.spec.body import parse_body
from kgen.spec.model import COMPONENT_AXES, ELLIPSIS, Argument, Kernel, Option, Spec, Type

WIDTH = 120
CONTRACTIONS = ("_ref_fcgp(", "_ref_mv_linear(", "_ref_contract(")

Dims = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """A tensor's dims in memory order, as users see them, and the grades of a multivector."""

    dims: Dims
    grades: Grades = ()


class Function:
    """The text of one kernel's reference, or under another `suffix` of its oracle.

    After `text` its `results` are known, and whether it `contracts` features, as products of matrices do.
    """

    def __init__(self, spec: Spec, kernel: Kernel, suffix: str = "reference") -> None:
        self.spec, self.kernel, self.suffix = spec, kernel, suffix
        self.results: list[Shape] = []
        self.contracts = False
        self.tree = parse_body(kernel)
        self.types = {argument.name: _type(argument) for argument in kernel.inputs}
        self.floating = [name for name, t in self.types.items() if t.kind != "index"]
        self.axes = self._all_axes()
        self.taken = self.types.keys() | {option.name for option in kernel.options}
        self.taken |= {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)} | {"torch"}
        results = {output.name for output in kernel.outputs}
        self.dtype, self.lead = self._fresh("dtype", results), self._fresh("lead", results)
        self.sizes = {axis: self._fresh(f"{axis}_size", results) for axis in self.axes}
        order = spec.layout.path_order
        self.evaluator = Evaluator(spec.algebra, order, self.axes, self.sizes, {}, kernel=kernel)

    def text(self) -> str:
        names = [f"{argument.name}: torch.Tensor" for argument in self.kernel.inputs]
        default = self.suffix == "reference"  # an oracle is called with all options
        options = [f"{o.name}: {annotation(o)}{f' = {o.default!r}' * default}" for o in self.kernel.options]
        signature = ", ".join([*names, *["*"] * bool(options), *options])
        statements = self._statements()
        self.contracts = any(helper in line for line in statements for helper in CONTRACTIONS)
        body = [*self._docstring(), *self._prepared("\n".join(statements)), *statements]
        return "\n".join(
            [
                f"def {self.kernel.name}_{self.suffix}({signature}) -> {returned(len(self.results))}:",
                *(f"    {line}" for line in body),
            ]
        )

    def shape(self, name: str) -> Shape:
        """The shape of an input."""
        t = self.types[name]
        counts: dict[str | int, int] = {}
        if t.kind == "multivector":
            counts["blade"] = len(self.evaluator.masks(t.grades))
        elif t.kind == "weights":
            paths = self.evaluator.paths(tuple(map(self._operand, t.operands)))
            counts = dict.fromkeys(COMPONENT_AXES, len(paths))
        elif "grade" in t.memory:
            counts["grade"] = len(self.evaluator.all_grades)
        return Shape(tuple(counts.get(dim, dim) for dim in t.memory), t.grades)

    def _fresh(self, name: str, besides: Collection[str] = ()) -> str:
        return self._fresh(name + "_", besides) if name in self.taken or name in besides else name

    def _all_axes(self) -> tuple[str, ...]:
        """The axes of the inputs: those of multivectors first, in memory order."""
        memory = ["b" if dim == ELLIPSIS else dim for dim in self.kernel.memory if dim != "blade"]
        seen = [axis for t in self.types.values() for axis in t.axes]
        return tuple(dict.fromkeys([axis for axis in memory if axis in seen] + seen))

    def _docstring(self) -> list[str]:
        printable = "".join(c if c.isprintable() else " " for c in self.kernel.doc.replace('"', "'"))
        title = f"Torch {self.suffix} of {self.kernel.name}: {' '.join(printable.split())}"
        lines = wrap(title.rstrip(": "), WIDTH - 11)
        lines = [line.replace("\\", "\\\\") for line in lines]
        return [f'"""{lines[0]}"""'] if len(lines) == 1 else [f'"""{lines[0]}', *lines[1:], '"""']

    # inputs

    def _prepared(self, statements: str) -> Iterator[str]:
        """Types and layouts: the arithmetic's dtype, all axes in one order, components last."""
        kept = [name for name in self.floating if name in self.kernel.grads] or self.floating
        if self.floating:
            names = ", ".join(self.floating)
            yield f"{self.dtype} = _ref_promote({', '.join(kept)})"
            yield f"{names if len(self.floating) > 1 else f'({names},)'} = _ref_upcast({names})"
        lead = next((name for name, t in self.types.items() if ELLIPSIS in t.memory), None)
        if lead is not None:
            yield f"{self.lead} = {lead}.shape[: {lead}.ndim - {len(self.types[lead].memory) - 1}]"
        for name in self.floating:
            text = self._aligned(name, self.types[name].memory)
            if text != name:
                yield f"{name} = {text}  # {self._comment(name)}"
        for axis, size in self.sizes.items():
            if re.search(rf"\b{size}\b", statements):
                owner = next(name for name in self.floating if axis in self.types[name].axes)
                yield f"{size} = {owner}.shape[{self.axes.index(axis)}]"

    def _aligned(self, name: str, memory: Dims) -> str:
        """A tensor with all axes, components last."""
        text = f"_ref_flatten({name}, {len(memory) - 1})" if ELLIPSIS in memory else name
        dims: list[str | int] = ["b" if dim == ELLIPSIS else dim for dim in memory]
        components = [i for i, dim in enumerate(dims) if _is_component(dim)]
        order = [dims.index(axis) for axis in self.axes if axis in dims] + components
        text += _permuted(order)
        present = [axis in dims for axis in self.axes]
        if all(present):
            return text
        while present and present[-1]:
            present.pop()
        inserted = [":" if here else "None" for here in present]
        return f"{text}[{', '.join(inserted)}]"

    def _comment(self, name: str) -> str:
        dims = self.types[name].memory
        components = [str(dim) for dim in dims if _is_component(dim)]
        axes = [axis if axis in self.types[name].axes else "1" for axis in self.axes]
        return ", ".join(axes + components)

    def _know(self) -> None:
        """The arguments as values."""
        count = len(self.axes)
        for name, t in self.types.items():
            operands = tuple(self._operand(operand) for operand in t.operands)
            extents = tuple(len(self.evaluator.all_grades) if d == "grade" else d for d in t.memory if _is_component(d))
            numbers = tuple(n for n in extents if isinstance(n, int))
            kind = "indexed" if t.kind == "field" and numbers else t.kind
            total = prod(numbers)
            if kind == "multivector":
                total = len(self.evaluator.masks(t.grades))
            elif kind == "weights":
                total = len(self.evaluator.paths(operands))
            along = [self.axes.index(axis) for axis in t.axes]
            found = tuple(probes.random(name, i, along, count) for i in range(total))
            axes = frozenset(t.axes)
            self.evaluator.known[name] = Value(
                kind, name, ATOM, axes, t.grades, probes=found, operands=operands, extents=numbers, view=True
            )
        for option in self.kernel.options:
            flag = isinstance(option.default, bool)
            found = () if flag else (probes.random(option.name, 0, (), count),)
            self.evaluator.known[option.name] = Value("flag" if flag else "number", option.name, probes=found)

    def _operand(self, name: str) -> tuple[int, ...]:
        return self.types[name].grades if self.types[name].kind == "multivector" else (0,)

    # the body and the results

    def _statements(self) -> list[str]:
        """The body's lines."""
        self._know()
        lines: list[str] = []
        for statement in self.tree.body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                name, value = statement.targets[0].id, self.evaluator.evaluate(statement.value)
                text = self._fresh(name) if name == "torch" else name
                lines.append(f"{text} = {value.text}")
                self.evaluator.known[name] = replace(value, text=text, level=ATOM)
            elif isinstance(statement, ast.Return) and statement.value is not None:
                lines += self._returned(statement.value)
        return lines

    def _returned(self, node: ast.expr) -> Iterator[str]:
        nodes = node.elts if isinstance(node, ast.Tuple) else [node]
        declared: list[Argument | None] = [*self.kernel.outputs] or [None] * len(nodes)
        if len(declared) != len(nodes):
            raise KgenError(f"the body returns {len(nodes)} values, but {len(declared)} outputs are declared")
        texts = []
        for output, part in zip(declared, nodes):
            value, name = self.evaluator.evaluate(part), output.name if output else "out"
            if not isinstance(part, ast.Name):
                if len(nodes) > 1 or name == "torch":  # the other results may need what has that name
                    name = self._fresh(name)
                    self.taken |= {name}
                yield f"{name} = {value.text}"
                value = replace(value, text=name, level=ATOM)
            texts.append(self._stored(value, output.type if output else None))
        yield f"return {', '.join(texts)}"

    def _stored(self, value: Value, declared: Type | None) -> str:
        """A result in its memory order and dtype, contiguous and never an input itself."""
        if value.kind not in ("multivector", "field", "number", "condition"):
            raise KgenError(f"{value.kind} cannot be returned")
        value = self.evaluator.tensor(value)
        if value.kind == "multivector" and declared is not None and declared.grades:
            if not set(value.grades) <= set(declared.grades):
                raise KgenError("the result has a grade that its declaration lacks")
            value = self.evaluator.regraded(value, declared.grades)
        memory = list(declared.memory) if declared is not None and declared.memory else self._memory(value)
        order = ["b" if dim == ELLIPSIS else str(dim) for dim in memory]
        if value.axes - set(order):
            raise KgenError(f"the result varies along {min(value.axes - set(order))}, which its declaration lacks")
        value = self.evaluator.spread(value, value.axes | (set(order) - {"blade"}))
        if value.axes:
            text = value.at(ATOM) + _squeezed([axis not in value.axes for axis in self.axes])
        else:  # also what has no dims, such as a number
            text = value.at(ATOM) + (".reshape(-1)" if value.kind == "multivector" else ".reshape(())")
        left = [axis for axis in self.axes if axis in value.axes] + ["blade"] * (value.kind == "multivector")
        text += _permuted([left.index(dim) for dim in order])
        leading = any(ELLIPSIS in t.memory for t in self.types.values()) and order[:1] == ["b"]
        if leading:
            text = f"_ref_unflatten({text}, {self.lead})"
        dims = [len(value.probes) if dim == "blade" else dim for dim in order]
        self.results.append(Shape((ELLIPSIS, *dims[1:]) if leading else tuple(dims), value.grades))
        copied = ".clone(memory_format=torch.contiguous_format)" if value.view else ".contiguous()"
        return f"{text}.to({self.dtype}){copied}"

    def _memory(self, value: Value) -> list[str]:
        """The memory order of an undeclared result: the kernel's, restricted to the axes that it has.

        One axis that is not in the order takes the place of the one that is missing.
        """
        order = ["b" if axis == ELLIPSIS else axis for axis in self.kernel.memory] or list(self.axes)
        extra = [axis for axis in self.axes if axis in value.axes and axis not in order]
        missing = [axis for axis in order if axis != "blade" and axis not in value.axes]
        if extra and len(extra) == len(missing) == 1:
            order[order.index(missing[0])] = extra[0]
        elif extra:
            if value.kind == "multivector" or set(order) & value.axes:
                raise KgenError(f"the result varies along {extra[0]}, which has no place in the memory order")
            order = list(self.axes)
        return [dim for dim in order if dim in value.axes or dim == "blade" and value.kind == "multivector"]


def _type(argument: Argument) -> Type:
    if argument.type is None:
        raise KgenError(f"{argument.name} has no type", argument.mark)
    return argument.type


def annotation(option: Option) -> str:
    """The type of an option in signatures."""
    return "bool" if isinstance(option.default, bool) else "float"


def returned(count: int) -> str:
    """The type of so many results in signatures."""
    return "torch.Tensor" if count == 1 else f"tuple[{', '.join(['torch.Tensor'] * count)}]"


def _is_component(dim: str | int) -> bool:
    return isinstance(dim, int) or dim in COMPONENT_AXES


def _permuted(order: Sequence[int]) -> str:
    """The call that puts dims in this order: nothing, a move of one dim, or a permutation."""
    identity = list(range(len(order)))
    if list(order) == identity:
        return ""
    for here in identity:
        rest = identity[:here] + identity[here + 1 :]
        if list(order) == [*rest, here]:
            return f".movedim({here}, -1)"
        if list(order) == [identity[-1], *identity[:-1]]:
            return ".movedim(-1, 0)"
    return f".permute({', '.join(map(str, order))})"


def _squeezed(absent: Sequence[bool]) -> str:
    """The call that drops the dims of absent axes."""
    dims = [i for i, gone in enumerate(absent) if gone]
    return "" if not dims else f".squeeze({dims[0] if len(dims) == 1 else tuple(dims)})"
