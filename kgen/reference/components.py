"""Components in the reference: unit blades, and what a body picks out of a value by a blade or by an index,
and puts together.

In: the `Values` of a kernel, a value, and the name or the whole numbers that are written behind it. Out: values.
Guaranteed: what a value lacks is a KgenError, never another of its components.
"""

from collections.abc import Sequence

from kgen.errors import KgenError
from kgen.reference import probe as probes
from kgen.reference.values import ATOM, Value, Values, needs


def blade(v: Values, name: str) -> Value:
    """The unit blade of that name, with all others of its grade zero beside it."""
    for blade in v.algebra.blades if v.algebra else ():
        if blade.name == name:
            masks = v.masks((blade.grade,))
            units = [float(mask == blade.mask) for mask in masks]
            found = {mask: probes.constant(unit) for mask, unit in zip(masks, units)}
            return v.multivector(f"{v.like()}.new_tensor({units})", frozenset(), found)
    raise KgenError(f"{name} is not defined")


def component(v: Values, x: Value, name: str) -> Value:
    """The field of a multivector on the blade of that name."""
    needs(x, "multivector")
    for blade in v.algebra.blades if v.algebra else ():
        if blade.name == name and blade.grade in x.grades:
            at = v.masks(x.grades).index(blade.mask)
            return v.field(f"{x.at(ATOM)}[..., {at}]", x.axes, x.probes[at], view=x.view)
    raise KgenError(f"the multivector has no component {name}")


def item(v: Values, x: Value, index: tuple[int, ...]) -> Value:
    """The field of weights by its path, or of an indexed tensor by its place."""
    if x.kind == "weights":
        paths = v.paths(x.operands)
        if index not in paths:
            raise KgenError(f"{x.text} has no path {list(index)}")
        at = paths.index(index)
        return v.field(f"{x.text}[..., {at}]", x.axes, x.probes[at], view=True)
    needs(x, "indexed")
    if len(index) != len(x.extents) or not all(0 <= i < extent for i, extent in zip(index, x.extents)):
        raise KgenError(f"{x.text}{list(index)} is outside of its extents {list(x.extents)}")
    flat = 0
    for i, extent in zip(index, x.extents):
        flat = flat * extent + i
    return v.field(f"{x.text}[..., {', '.join(map(str, index))}]", x.axes, x.probes[flat], view=True)


def together(v: Values, parts: Sequence[Value]) -> Value:
    """The components of multivectors, and fields, as those of a tensor."""
    parts = [v.tensor(x) for x in parts]
    found = tuple(probe for x in parts for probe in x.probes)
    axes = frozenset[str]().union(*(x.axes for x in parts))
    text = f"_ref_components({', '.join(x.beside(True) for x in parts)})"
    return Value("indexed", text, ATOM, axes, probes=found, extents=(len(found),))
