"""Memory orders as specs write them: the `layout:` section in, `model.Layout` out, mistakes noted in the document."""

from collections.abc import Sequence

from kgen.errors import KgenError
from kgen.spec.document import Document, Place
from kgen.spec.model import ELLIPSIS, Layout
from kgen.spec.names import shown
from kgen.spec.schema import LayoutForm, WeightsForm
from kgen.spec.tensor_types import check_axis

PATH = ("left", "out", "right")
EXAMPLE = "such as [blade, b, n] or [..., n, blade]"


def layout(document: Document, form: LayoutForm | None, has_algebra: bool) -> Layout | None:
    """The layout; an empty one for plain tensors, None when it has mistakes."""
    before = len(document.errors)
    if has_algebra and form is None:
        with document.noting(("algebra",), key=True):
            raise KgenError("an algebra needs a `layout`", hint="such as `layout: {multivector: [blade, b, n]}`")
    if form is not None and not has_algebra:
        with document.noting(("layout",), key=True):
            raise KgenError("a layout needs an `algebra`", hint="plain tensors are written with their axes, [b, n]")
    if form is None or not has_algebra:
        return Layout() if len(document.errors) == before else None
    multivector = multivector_order(document, ("layout", "multivector"), form.multivector)
    whole = _weights(document, multivector, form.weights) if form.weights else Layout(multivector)
    return whole if len(document.errors) == before else None


def multivector_order(document: Document, place: Place, dims: Sequence[str]) -> tuple[str, ...]:
    """A memory order of multivectors: the blades first or last, `...` first, every axis once."""
    with document.noting(place):
        _check_order(dims, "blade", 1)
        if ELLIPSIS in dims[1:] or (ELLIPSIS in dims and "b" in dims):
            raise KgenError("the leading axes `...` come first and are the axis b", hint=EXAMPLE)
    return tuple(dims)


def _weights(document: Document, multivector: tuple[str, ...], form: WeightsForm) -> Layout:
    here: Place = ("layout", "weights")
    with document.noting((*here, "order")):
        if sorted(form.order) != sorted(PATH):
            raise KgenError("`order` is left, out and right in some order", hint="such as [left, out, right]")
    orders: list[tuple[str, ...]] = []
    rows = (("memory", form.memory, "path", 1), ("fully_connected", form.fully_connected, "path", 2))
    for key, dims, component, axes in (*rows, ("gradewise", form.gradewise, "grade", 2)):
        with document.noting((*here, key)):
            if dims is not None:
                _check_order(dims, component, axes)
                if len(dims) != axes + 1 or ELLIPSIS in dims:
                    raise KgenError(f"`{key}` is `{component}` and {axes} named axes", hint=f"not [{', '.join(dims)}]")
        orders.append(tuple(dims or ()))
    return Layout(multivector, tuple(form.order), *orders)


def _check_order(dims: Sequence[str], component: str, axes: int) -> None:
    """Refuse an order without its components at one end, with too few axes, or with an axis that cannot be one."""
    if list(dims).count(component) != 1 or component not in (dims[0], dims[-1]):
        example = EXAMPLE if component == "blade" else f"such as [n, {component}]"
        raise KgenError(f"a memory order has `{component}` first or last", hint=example)
    if len(dims) < axes + 1:
        raise KgenError("a memory order has at least one axis beside its components")
    for i, dim in enumerate(dims):
        if dim in dims[:i]:
            raise KgenError(f"axis {shown(dim)} is named twice")
        if dim not in (component, ELLIPSIS):
            check_axis(dim)
