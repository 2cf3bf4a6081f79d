"""The values in rows of launchers: memory, products of matrices, dtypes, and conditions.

In and out: frozen data. The macro of `values.jinja` that is called as the class holds a value's text. Names of tensors
and extents are the launcher's own; extents are products such as `B * N`. Nothing is decided here.
"""

from __future__ import annotations

from dataclasses import dataclass

# dtypes


@dataclass(frozen=True, slots=True)
class Promoted:
    """The common dtype of tensors."""

    tensors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DtypeOf:
    tensor: str


REAL, MATRIX = "real", "matrix"  # the launcher's own: of the arithmetic, and of what enters and leaves products

Dtype = Promoted | DtypeOf | str

# conditions


@dataclass(frozen=True, slots=True)
class Wanted:
    """One of these gradients is asked for."""

    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Present:
    """Each of these tensors is given."""

    tensors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Innermost:
    """An axis is to be the innermost in the factors of products."""

    axis: str


@dataclass(frozen=True, slots=True)
class Wide:
    """A tensor is stored in more than 16 bits."""

    tensor: str


@dataclass(frozen=True, slots=True)
class Resident:
    """A whole row stays in registers."""

    extent: str
    row: str  # of the launch table


@dataclass(frozen=True, slots=True)
class OnTensorCores:
    place: str
    precision: str | None


Condition = Wanted | Present | Innermost | Wide | Resident | OnTensorCores

# memory


@dataclass(frozen=True, slots=True)
class Empty:
    place: str
    dims: tuple[str, ...]
    dtype: Dtype


@dataclass(frozen=True, slots=True)
class Zeros:
    place: str
    dims: tuple[str, ...]
    dtype: Dtype


@dataclass(frozen=True, slots=True)
class Like:
    """Memory of the shape of a tensor, and of its dtype if no other is said."""

    tensor: str
    dtype: Dtype | None


@dataclass(frozen=True, slots=True)
class Factor:
    """Memory of a factor of a product, of which either side may be innermost."""

    place: str
    axis: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    several: str | None  # matrices one after the other


Memory = Empty | Zeros | Like | Factor

# matrix products


@dataclass(frozen=True, slots=True)
class Matrix:
    """A tensor, or components of it, seen as a matrix or as a batch of them."""

    tensor: str
    part: tuple[int, ...]  # of the leading dim: a component, the first and the last of several, or nothing for all
    slices: tuple[tuple[int, str, str], ...]  # a dim, where it starts, and how long it is
    view: tuple[str, ...]
    cast: bool  # to the dtype of products
    copied: str | None  # with this axis innermost
    transposed: bool


@dataclass(frozen=True, slots=True)
class Multiplied:
    """A matrix product by the library, or by a kernel in the precision that the spec says."""

    function: str
    precision: str | None
    matrices: tuple[Matrix, ...]  # two factors, and where the product is to lie
    added: bool
    parted: bool
    view: tuple[str, ...] = ()
    dtype: Dtype | None = None


# other values


@dataclass(frozen=True, slots=True)
class Partial:
    """The name of a fold's partial results."""

    result: str


@dataclass(frozen=True, slots=True)
class Total:
    """The sum of partial results."""

    result: str
    memory: Memory


@dataclass(frozen=True, slots=True)
class Largest:
    """The maximum of partial results."""

    result: str
    dtype: Dtype | None


@dataclass(frozen=True, slots=True)
class Cast:
    tensor: str
    dtype: Dtype


@dataclass(frozen=True, slots=True)
class Chosen:
    """A value where a condition holds, and another one where it does not."""

    value: Value
    condition: Condition
    other: Value


Value = Memory | Multiplied | Total | Largest | Cast | Chosen | str
Name = Partial | str

# attention


@dataclass(frozen=True, slots=True)
class Masked:
    """Which scores count as they are; others are `fill`."""

    causal: bool
    labels: Matrix | None
    fill: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A result as its caller sees it."""

    name: str
    dims: tuple[str, ...]
    dtype: Dtype | None
