"""Types of inputs and outputs: `even[b]`, `weights(x, y)[n, m]` or `[v, c]` in, `model.Type` with its memory order out.

    multivector  even  odd  grades(0, 2)    components of the algebra, in the kernel's memory order
    scalar                                  one field over the axes of a multivector
    weights(x, y)  weights(x)               one number per product path of x and y, or per grade of x
    weights(even, grades(1))                the same, of grades that no input needs to have
    [v, c]  [..., n]  [10, n]  [n, grade]   plain axes, with fixed extents or one component per grade of the algebra
    index(v)[e]                             whole numbers along e: positions along v
    integer[b, n]                           whole numbers along these axes
    seed                                    one whole number, from which random ones are made

A suffix `[…]` names the axes instead of the default ones; where the components stand among them stays the layout's
choice. The leading axes `...` are the axis `b`: in a kernel that has them, a first axis `b` means the same.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import prod

from kgen.errors import Follows, KgenError
from kgen.spec import names
from kgen.spec.model import COMPONENT_AXES, ELLIPSIS, Algebra, Layout, Type

KINDS = ("multivector", "even", "odd", "grades", "scalar", "weights", "index", "integer", "seed")
EXAMPLES = {"grades": "grades(0, 2)", "weights": "weights(x, y)", "index": "index(v)[e]", "integer": "integer[n]"}
COMPONENTS = 4096  # at most, in one plain tensor
GRADED = ("multivector", "even", "odd", "grades")  # kinds that say which grades are present
ITEMS = r"[^()]*(\([^()]*\)[^()]*)*"
FORM = re.compile(rf"\s*(?P<kind>\w+)?\s*(\((?P<items>{ITEMS})\))?\s*(\[(?P<axes>[^\[\]]*)\])?\s*")
HINT = (
    "types are multivector, even, odd, grades(0, 2), scalar, weights(x, y), index(v)[e], integer[n], seed "
    "or axes [b, n]; "
    "a suffix [b] sets the axes"
)

Dims = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Scope:
    """What a kernel's types refer to."""

    algebra: Algebra | None
    layout: Layout
    memory: tuple[str, ...]  # of this kernel's multivectors
    leading: bool  # whether the kernel has axes `...`
    inputs: dict[str, Type]  # read so far: the operands of weights
    lost: set[str] = field(default_factory=set)  # inputs whose types are mistakes


def read(written: str | Sequence[str], scope: Scope) -> Type:
    """The type as written in a spec; KgenError (without a place) when it is none."""
    if not isinstance(written, str):
        return _plain(_dims(written, scope), scope)
    match = FORM.fullmatch(written) if len(written) <= 200 else None
    if match is None or not written.strip():
        raise KgenError(f"{names.shown(written)} is not a type", hint=HINT)
    kind, items = match["kind"], _split(match["items"])
    axes = None if match["axes"] is None else _dims(_split(match["axes"]) or (), scope)
    if kind is None and items is None and axes is not None:
        return _plain(axes, scope)
    _check_form(written, kind, items)
    if kind == "weights":
        return _weights(items or (), axes, scope)
    if kind == "index":
        return _index(written, items or (), axes)
    if kind == "integer":
        return _integer(written, axes)
    if kind == "seed":
        return _seed(written, axes)
    if kind == "scalar" and axes is not None:
        return _plain(axes, scope)
    algebra = _algebra(scope, kind)
    if kind == "scalar":
        return Type("field", tuple(d for d in scope.memory if d != "blade"))
    return Type("multivector", _with_component("blade", scope.memory, axes), _grades(kind, items or (), algebra))


def _check_form(written: str, kind: str | None, items: tuple[str, ...] | None) -> None:
    if kind not in KINDS:
        near = get_close_matches(kind or "", KINDS, 1)
        raise KgenError(f"{names.shown(written)} is not a type", hint=f"did you mean {near[0]}?" if near else HINT)
    if (items is not None) != (kind in ("grades", "weights", "index")):
        raise KgenError(f"{names.shown(written)} is not a type", hint=f"as in {EXAMPLES.get(kind, kind)}")


def _split(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(part.strip() for part in re.split(r",(?![^()]*\))", text)) if text.strip() else ()


def _algebra(scope: Scope, kind: str) -> Algebra:
    if scope.algebra is None or not scope.memory:
        raise KgenError(f"`{kind}` needs an algebra and a layout", hint="plain tensors are written [b, n]")
    return scope.algebra


def _grades(kind: str, items: tuple[str, ...], algebra: Algebra) -> tuple[int, ...]:
    every = range(len(algebra.squares) + 1)
    if kind != "grades":
        return tuple(g for g in every if kind == "multivector" or g % 2 == (kind == "odd"))
    if not items or any(item not in map(str, every) for item in items) or len(set(items)) < len(items):
        raise KgenError(
            f"`grades({', '.join(items)})` is not a set of grades", hint=f"grades are 0 to {every[-1]}, each once"
        )
    return tuple(sorted(int(item) for item in items))


def _dims(parts: Sequence[str], scope: Scope) -> Dims:
    """Axes as written, checked: names, extents, and `...` first."""
    if not parts:
        raise KgenError("a tensor has at least one axis", hint="a single number is written [1]")
    dims = tuple(int(part) if re.fullmatch(r"[0-9]{1,9}", part) else part for part in parts)
    for i, dim in enumerate(dims):
        _check_dim(dim, i, dims, scope)
    return (ELLIPSIS, *dims[1:]) if scope.leading and dims[0] == "b" else dims


def _check_dim(dim: str | int, i: int, dims: Dims, scope: Scope) -> None:
    if isinstance(dim, int):
        if not 1 <= dim <= COMPONENTS:
            raise KgenError(f"a fixed extent is 1 to {COMPONENTS}, not {dim}", hint="a named axis has any extent")
        return
    if dim in dims[:i]:
        raise KgenError(f"axis {names.shown(dim)} is named twice")
    if dim == ELLIPSIS or (dim == "b" and scope.leading):
        if not scope.leading:
            hint = "write it in the memory order of multivectors too: [..., n, blade]"
            raise KgenError("`...` in a kernel whose multivectors have no leading axes", hint=hint)
        if i > 0:
            raise KgenError(f"`{dim}` is not first", hint="the leading axes `...` are the axis b, and come first")
    elif dim in ("blade", "path"):
        raise KgenError(f"`{dim}` is not an axis to write here", hint="the layout says where the components stand")
    elif dim != "grade":
        check_axis(dim)


def check_axis(name: str) -> None:
    """Refuse a name that no axis may have."""
    names.check_identifier(name, "an axis")


def _plain(dims: Dims, scope: Scope) -> Type:
    algebra = _algebra(scope, "grade") if "grade" in dims else None
    extents = [d for d in dims if isinstance(d, int)] + ([len(algebra.squares) + 1] if algebra else [])
    if prod(extents) > COMPONENTS:
        raise KgenError(f"fixed extents multiply to more than {COMPONENTS}", hint="a named axis has any extent")
    return Type("field", dims)


def _index(written: str, into: tuple[str, ...], axes: Dims | None) -> Type:
    """Positions along one axis, one for each position along another."""
    if len(into) != 1 or axes is None or len(axes) != 1:
        raise KgenError(f"{names.shown(written)} is not a type", hint="an index is one axis into another: index(v)[e]")
    for axis in (into[0], axes[0]):
        if not isinstance(axis, str) or axis == ELLIPSIS or axis in COMPONENT_AXES:
            raise KgenError(
                f"`{axis}` is not an axis that an index has", hint="named axes have indices, as index(v)[e]"
            )
        check_axis(axis)
    if into == axes:
        raise KgenError(f"an index along {into[0]} points into another axis", hint="such as index(v)[e]")
    return Type("index", axes, into=into[0])


def _integer(written: str, axes: Dims | None) -> Type:
    """Whole numbers along named axes."""
    if axes is None:
        raise KgenError(f"{names.shown(written)} is not a type", hint="integers name their axes, as in integer[n]")
    if fixed := next((d for d in axes if isinstance(d, int) or d in COMPONENT_AXES), None):
        raise KgenError(f"`{fixed}` is not an axis that integers have", hint="named axes, as in integer[b, n]")
    return Type("integer", axes)


def _seed(written: str, axes: Dims | None) -> Type:
    """One number for a whole call."""
    if axes is not None:
        raise KgenError(f"{names.shown(written)} is not a type", hint="a seed is one number, and has no axes")
    return Type("seed", (1,))


def _weights(operands: tuple[str, ...], axes: Dims | None, scope: Scope) -> Type:
    algebra = _algebra(scope, "weights")
    if not scope.layout.weights and not scope.layout.fully_connected and not scope.layout.gradewise:
        hint = "such as `weights: {order: [left, out, right], memory: [n, path]}` under `layout:`"
        raise KgenError("`weights` needs `layout.weights`", hint=hint)
    if not 1 <= len(operands) <= 2:
        raise KgenError(
            "weights belong to one or two inputs", hint="weights(x, y): one per product path; weights(x): per grade"
        )
    sides = tuple(_operand(written, scope, algebra) for written in operands)
    if len(sides) == 2 and not _has_product(algebra, sides[0], sides[1]):
        raise KgenError(f"the product of {operands[0]} and {operands[1]} vanishes: no paths to weigh")
    return Type("weights", _weights_memory(operands, axes, scope.layout), operands=operands, sides=sides)


def _operand(written: str, scope: Scope, algebra: Algebra) -> tuple[int, ...]:
    """The grades of an operand of weights, which is an input, or a type that says its grades."""
    found = scope.inputs.get(written)
    if found is not None and found.kind == "multivector":
        return found.grades
    if written in scope.lost:
        raise Follows
    match = FORM.fullmatch(written)
    if found is None and match and match["kind"] in GRADED and match["axes"] is None:
        items = _split(match["items"])
        _check_form(written, match["kind"], items)
        return _grades(match["kind"], items or (), algebra)
    raise _no_operand(written, scope)


def _no_operand(name: str, scope: Scope) -> KgenError:
    candidates = [n for n, t in scope.inputs.items() if t.kind == "multivector"]
    near = get_close_matches(name, [*candidates, *GRADED[:-1]], 1)
    listed = f"multivector inputs: {', '.join(candidates) or 'none'}; or grades, as in weights(grades(0, 2))"
    hint = f"did you mean {near[0]}?" if near else listed
    return KgenError(f"{names.shown(name)} is not a multivector input of this kernel", hint=hint)


def _has_product(algebra: Algebra, left: tuple[int, ...], right: tuple[int, ...]) -> bool:
    null = sum(1 << i for i, square in enumerate(algebra.squares) if square == 0)
    a = [blade.mask for blade in algebra.blades if blade.grade in left]
    b = [blade.mask for blade in algebra.blades if blade.grade in right]
    return any(not x & y & null for x in a for y in b)


def _weights_memory(operands: tuple[str, ...], axes: Dims | None, layout: Layout) -> Dims:
    """The layout's order for these axes, or else the written one with the components where that layout has them."""
    mixing = axes is not None and len(axes) > 1
    orders = {False: layout.weights, True: layout.fully_connected if len(operands) == 2 else layout.gradewise}
    key = {False: "memory", True: "fully_connected" if len(operands) == 2 else "gradewise"}[mixing]
    order = orders[mixing]
    if not order:
        raise KgenError(f"`layout.weights.{key}` is missing", hint="it says how these weights are stored")
    component = "grade" if "grade" in order else "path"
    if axes is None or set(axes) == set(order) - {component}:
        return order
    if component in axes or "grade" in axes:
        raise KgenError("weights name their axes only", hint="the layout says where the components stand")
    return _with_component(component, order, axes)


def _with_component(component: str, order: tuple[str, ...], axes: Dims | None) -> Dims:
    """Axes with the component axis first or last, as in the given order."""
    if axes is None:
        return order
    if any(d in COMPONENT_AXES or isinstance(d, int) for d in axes):
        raise KgenError("a suffix names axes only", hint="fixed extents and `grade` belong to plain tensors, [10, n]")
    return (component, *axes) if order[0] == component else (*axes, component)
