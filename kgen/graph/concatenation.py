"""Constructors of fields that lie one after the other along an axis, and of their parts.

In: fields, and axes. Out: a Cat, or what is made of Cats, made of their parts: functions of each part, sums of sums. So
no field is computed of a Cat, and a result that is one is stored part by part. A tensor along the axis is read in
parts, too: each is a tensor of its own, declared with its `source`, that starts where those before it end. Guaranteed:
an axis is made of the same axes wherever it is, and these are bound: no field beside the parts varies along them. Of
Cats within Cats, along different axes, the outer ones come first by name.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

from kgen.errors import KgenError
from kgen.graph.arithmetic import axes_of
from kgen.graph.lookups import Lookups
from kgen.graph.node import Node
from kgen.graph.tensor import Lookup, Slice, Tensor

Join = tuple[str, tuple[str, ...]]  # an axis, and those that it is made of


class Concatenation(Lookups):
    """The constructors of Cats."""

    def cat(self, parts: Sequence[Node], axes: Sequence[str], whole: str) -> Node:
        """Fields one after the other, each along its own of the axes, together along the whole one."""
        flat = [x for part, axis in zip(parts, axes) for x in self._flattened(part, axis)]
        fields, along = [x for x, _ in flat], tuple(axis for _, axis in flat)
        known = self.joined.setdefault(whole, along)
        if known != along:
            made = " and ".join(" + ".join(each) for each in (known, along))
            raise KgenError(f"{whole} is made of two lists of axes, {made}", hint="they are different axes: name both")
        if all(x is self.zero for x in fields):
            return self.zero
        others = frozenset[str]().union(*(x.axes - {axis} for x, axis in flat))
        self._check_bound(others - {whole}, whole)
        if whole in others:
            raise KgenError(f"a part of {whole} has that axis already", hint="give the whole another name")
        if before := min((x.along for x in fields if x.kind == "Cat" and x.along[0] < whole), default=None):
            rows = [[self.part(x, before, i) for x in fields] for i in range(len(before[1]))]
            return self.cat([self.cat(row, along, whole) for row in rows], before[1], before[0])
        return self.make("Cat", others | {whole}, tuple(fields), (whole, *along))

    def _flattened(self, part: Node, axis: str) -> list[tuple[Node, str]]:
        """A part with its axis; of one that is a Cat along it, its parts."""
        axes = self.joined.get(axis)
        return [(self.part(part, (axis, axes), i), own) for i, own in enumerate(axes)] if axes else [(part, axis)]

    def _check_bound(self, axes: frozenset[str], whole: str) -> None:
        """Refuse what varies along an axis of a part beside the whole: of the part it would be another axis."""
        if clash := sorted(axes & set(self.joined[whole])):
            raise KgenError(
                f"{whole} is made of {' + '.join(self.joined[whole])}: beside it no value varies along {clash[0]}",
                hint=f"give that {clash[0]} another name, as rename(x, axis={clash[0]}, to=...) does",
            )

    def _check_index(self, kind: str, payload: Sequence[object], whole: str) -> None:
        """Refuse an index along or into the whole: of a part it would be another index."""
        if kind in ("Gather", "Segment") and whole in payload[:2]:
            raise KgenError(
                f"{payload[2]} is an index along {payload[0]} into {payload[1]}, and {whole} is made of "
                f"{' + '.join(self.joined[whole])}",
                hint="gather, or add, before the cat",
            )

    # what is made of Cats

    def in_parts(self, kind: str, args: tuple[Node, ...], payload: tuple[object, ...]) -> Node:
        """Part by part along the first of the axes of Cats; a reduction along it is one of reductions."""
        whole, axes = join = min(x.along for x in args if x.kind == "Cat")
        self._check_bound(axes_of(args) - {whole}, whole)
        self._check_index(kind, payload, whole)
        parts = [[self.part(x, join, i) for x in args] for i in range(len(axes))]
        if kind not in ("Sum", "Max"):
            made = [self.made_of(kind, fields, payload) for fields in parts]
            return self.cat(made, axes, whole)
        over = [[axis if each == whole else str(each) for each in payload] for axis in axes]
        made = [self.made_of(kind, fields, along) for fields, along in zip(parts, over)]
        if whole not in payload:
            return self.cat(made, axes, whole)
        return self.add(*made) if kind == "Sum" else reduce(lambda a, b: self.call("maximum", a, b), made)

    def made_of(self, kind: str, args: Sequence[Node], payload: Sequence[object]) -> Node:
        """A node by its constructor."""
        match kind:
            case "Add":
                return self.linear(zip(payload, args))  # type: ignore[arg-type]
            case "Mul":
                return self.mul(*args)
            case "Reciprocal":
                return self.reciprocal(args[0])
            case "Call":
                return self.call(str(payload[0]), *args)
            case "Sum":
                return self.sum(args[0], map(str, payload))
            case "Dot":
                pairs = zip(args[::2], args[1::2])
                return self.sum(self.linear((1, self.mul(a, b)) for a, b in pairs), map(str, payload))
            case "Max":
                return self.max(args[0], map(str, payload))
            case "Gather" | "Segment":
                return self.by_lookup(kind, args[0], Lookup(*map(str, payload)))
            case "Draw":
                number, part, *axes = map(str, payload)
                return self.draw(args[0], args[1], int(number), int(part), axes)
            case "Cast":
                return self.cast(args[0], str(payload[0]))
            case "Cat":
                whole, *axes = map(str, payload)
                return self.cat(args, axes, whole)
        raise AssertionError(kind)

    # parts

    def part(self, field: Node, join: Join, index: int) -> Node:
        """What of a field lies along one of the axes that another is made of; itself where it lacks that."""
        whole, axes = join
        if whole not in field.axes:
            return field
        if field.kind == "Cat" and field.along[0] == whole:
            return field.args[index]
        if field.kind == "Input":
            own = self.sliced(self.tensors[field.tensor], join, index)
            return self.input(own.name, field.component, own.axes)
        if field.kind == "Draw":
            raise KgenError(f"elements are dropped along {whole}, which cat makes", hint="drop before the cat")
        if field.kind == "Iota":
            raise KgenError(f"iota along {whole}, which cat makes", hint="count places before the cat, along its parts")
        bound = field.reduced | (set(field.along[1]) if field.kind == "Cat" else set())
        self._check_bound(field.axes - {whole} | bound, whole)
        self._check_index(field.kind, field.payload, whole)
        made = self.made_of(field.kind, [self.part(x, join, index) for x in field.args], field.payload)
        return self.name(made, self.hints[field]) if field in self.hints else made

    def sliced(self, tensor: Tensor, join: Join, index: int) -> Tensor:
        """A part of a tensor, declared once."""
        whole, axes = join
        at = tensor.dims.index(whole)
        dims = (*tensor.dims[:at], axes[index], *tensor.dims[at + 1 :])
        slices = sorted((*tensor.slices, Slice(at, whole, axes, index)), key=lambda part: part.position)
        name = f"{tensor.name}_{whole}{index}"
        return self.declared(replace(tensor, name=name, dims=dims, source=tensor.memory, slices=tuple(slices)))

    def declared(self, tensor: Tensor) -> Tensor:
        """The same memory under other names, or a part of it: the tensor that is known, or this one, by a free name."""
        key = (tensor.source, tensor.dims, tensor.slices, tensor.lookups)
        for known in self.tensors.values():
            if (known.source, known.dims, known.slices, known.lookups) == key:
                return known
        name = tensor.name
        while name in self.tensors:
            name += "_"
        return self.declare(replace(tensor, name=name))
