"""The library's matrix products.

In: a `Product` of a program. Out: rows that multiply its factors, seen as matrices. Guaranteed: what has no cotangent
is zero, and nothing is multiplied for it.
"""

from collections.abc import Sequence

from kgen.emit.host.extents import count, shape, starts
from kgen.emit.host.rows import Assigned, Branch, Step, Zeroed
from kgen.emit.host.values import MATRIX, Chosen, Dtype, Matrix, Multiplied, Present, Value, Zeros
from kgen.emit.host.variant import Direction
from kgen.schedule import products
from kgen.schedule.products import Operand, Product, Way


def multiplied(direction: Direction, product: Product, there: bool = False) -> list[Step]:
    """One product; the memory of its result may be `there`."""
    given = direction.present([t.memory for t in product.inputs])
    batch, rows, contracted, columns = _sides(product)
    left = _factor(product, product.left, (*batch, *_seen(product.left, rows, contracted)))
    right = _factor(product, product.right, (*batch, *_seen(product.right, contracted, columns)))
    if product.whole and not there:
        return [Assigned(product.result.name, _fresh(direction, product, (left, right), given))]
    part = _matrix(product.target, (*batch, *_seen(product.target, rows, columns)))
    call = _call(product, (left, right, part))
    if not given:
        return [call]
    return [Branch(Present(given), (call,), () if product.added else (Zeroed(part),))]


def _sides(product: Product) -> tuple[list[str], str, str, str]:
    """The extents of a batch, of rows, of what is contracted and of columns."""
    s = product.shape
    batch = [str(product.batch)] if product.batch > 1 else [count(s.batch)] if s.batch else []
    rows, contracted, columns = map(count, (s.rows, s.contracted, s.columns), product.counts)
    return batch, rows, contracted, columns


def _seen(operand: Operand, rows: str, columns: str) -> tuple[str, str]:
    """The sides of a matrix as they lie in memory."""
    return (columns, rows) if operand.transposed else (rows, columns)


def _fresh(direction: Direction, product: Product, matrices: Sequence[Matrix], given: tuple[str, ...]) -> Value:
    """A product that is all of its result."""
    result = product.result
    dims, matrix_dims = shape(result), len(_sides(product)[0]) + 2
    other = result.leading or len(result.dims) > matrix_dims
    dtype = direction.dtype(result) if result.dtype is None and not direction.is_added(result) else None
    value = _call(product, matrices, dims if other else (), dtype)
    return Chosen(value, Present(given), Zeros(direction.place, dims, dtype or MATRIX)) if given else value


def _call(
    product: Product, matrices: Sequence[Matrix], view: tuple[str, ...] = (), dtype: Dtype | None = None
) -> Multiplied:
    """Torch's setting decides how, or the spec."""
    function = "in_precision" if product.precision else "in_parts" if product.in_parts else "product"
    parted = product.parted and bool(product.precision)
    return Multiplied(function, product.precision, tuple(matrices), product.added, parted, view, dtype)


def _factor(product: Product, operand: Operand, dims: tuple[str, ...]) -> Matrix:
    """A factor, in the dtype of products."""
    axis = product.shape.contracted[-1] if operand.way is Way.COPIED else None
    return _matrix(operand, dims, operand.tensor.dtype != products.MATRIX, axis)


def _matrix(operand: Operand, dims: tuple[str, ...], cast: bool = False, copied: str | None = None) -> Matrix:
    """A tensor as a matrix of these extents, or as a batch of them."""
    tensor, first, last = operand.tensor, operand.first, operand.last
    part = () if first is None or last is None else (first,) if last == first + 1 else (first, last)
    viewed = tensor.leading or len(tensor.dims) - (len(part) == 1) > len(dims)
    slices = tuple((s.position, *starts(s)) for s in tensor.slices)
    return Matrix(tensor.memory, part, slices, dims if viewed else (), cast, copied, operand.transposed)
