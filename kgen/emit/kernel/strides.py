"""How far apart lie what is adjacent in a tensor, as text.

In: a `Tensor`, and a dim. Out: strides and steps, in the names of sizes, of which `naming.py` knows a kernel's.
"""

from collections.abc import Sequence

from kgen.graph.tensor import Tensor
from kgen.spec.private_names import size_name

Extent = tuple[int, tuple[str, ...]]  # a number times sizes


def stride(tensor: Tensor, position: int) -> Extent:
    """The distance between neighbours along a dim: a number times sizes, and a step if the launcher decides on it."""
    if tensor.stepped and position < tensor.last:
        factor, sizes = _extent((*tensor.dims[position + 1 : tensor.last], *tensor.dims[tensor.last + 1 :]))
        return factor, (*sizes, row_step(tensor))
    if not tensor.split or position < tensor.several:
        return _extent(tensor.strided[position + 1 :])
    end = tensor.split if position < tensor.split else len(tensor.dims)
    factor, sizes = _extent(tensor.dims[position + 1 : end])
    return factor, (*sizes, step_name(tensor, end))


def steps(tensor: Tensor) -> list[tuple[str, str, str]]:
    """The steps along the rows and the columns of a tensor that may be turned, each with its value if so and if not."""
    factor, sizes = _extent(tensor.dims[tensor.several : tensor.split])
    rows = times(f"tl.cast({sizes[0]}, tl.int64)", factor, sizes[1:])  # as many columns as there are, not a tile's
    columns = times("1", *_extent(tensor.dims[tensor.split :]))
    return [(step_name(tensor, tensor.split), "1", columns), (step_name(tensor, len(tensor.dims)), rows, "1")]


def step_name(tensor: Tensor, end: int) -> str:
    """The distance between neighbours along the last axis before a dim; a kernel has a shorter name for it."""
    return f"{tensor.name}:{tensor.dims[end - 1]}"


def row_step(tensor: Tensor) -> str:
    """How far apart a tensor's rows start, in elements of its last axis."""
    return step_name(tensor, tensor.last + 1)


def _extent(dims: Sequence[str | int]) -> Extent:
    factor, sizes = 1, list[str]()
    for d in dims:
        if isinstance(d, int):
            factor *= d
        else:
            sizes.append(size_name(d))
    return factor, tuple(sizes)


def times(index: str, factor: int, sizes: Sequence[str]) -> str:
    """index * factor * sizes, without ones."""
    factors = [index, *([str(factor)] if factor != 1 else []), *sizes]
    return " * ".join(factors[1:] if index == "1" and len(factors) > 1 else factors)


def component_index(tensor: Tensor, component: int) -> list[tuple[int, int]]:
    """(position, index) along each component dim, from the flat component number."""
    result = []
    for position in reversed([i for i, d in enumerate(tensor.dims) if isinstance(d, int)]):
        extent = tensor.dims[position]
        assert isinstance(extent, int)
        component, index = divmod(component, extent)
        result.append((position, index))
    return result[::-1]
