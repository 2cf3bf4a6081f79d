"""The rows of launchers: what is allocated, launched, multiplied and returned, and under which conditions.

In and out: frozen data. The macro of `steps.jinja` or `values.jinja` that is called as the class holds a row's text.
Names of tensors and extents are the launcher's own; extents are products such as `B * N`. Nothing is decided here.
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

# steps


@dataclass(frozen=True, slots=True)
class Assigned:
    name: Name
    value: Value


@dataclass(frozen=True, slots=True)
class Reused:
    """A tensor in memory that nobody reads any more."""

    name: str
    workspace: str


@dataclass(frozen=True, slots=True)
class Deleted:
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Zeroed:
    matrix: Matrix


@dataclass(frozen=True, slots=True)
class Parts:
    """The programs among which a contraction's axis is shared."""

    row: str
    extents: tuple[str, ...]
    place: str


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs of a fold, and the tiles of a row."""

    row: str
    extents: tuple[str, ...]
    place: str
    tiles: str  # their name, or `_` where no fold needs to know how many


@dataclass(frozen=True, slots=True)
class Sorted:
    """An index sorted: its places in the order of the positions that they have, and where each position's start."""

    order: str
    starts: str
    index: str
    count: str


@dataclass(frozen=True, slots=True)
class Sharing:
    """The persistent programs that walk blocks of whole rows."""

    row: str
    rows: str
    columns: tuple[str, ...]
    place: str


@dataclass(frozen=True, slots=True)
class Partials:
    """Memory for the partial results of several folds, in one piece; none for a gradient that nobody wants."""

    results: tuple[tuple[str, str], ...]  # with how many partial results there are of each
    place: str


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums of partial results of several folds, in one launch: of these, or of what was gathered."""

    results: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gathered:
    """Partial results that are added at the end, with those of other kernels."""

    results: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One launch of a kernel."""

    runtime: str  # the part that has the function
    form: str  # the function
    kernel: str
    row: str  # of the launch table
    turned_row: str  # the row where `axis` is innermost in what is stored
    axis: str
    tensors: tuple[Name, ...]
    arguments: tuple[Condition | str, ...]
    extents: tuple[str, ...]
    rest: tuple[str, ...]  # how many programs, where that is asked, and dtypes
    whole: bool  # one tile holds a whole row
    precision: str | None


@dataclass(frozen=True, slots=True)
class Branch:
    """Steps that run under a condition, and others that run else."""

    condition: Condition
    steps: tuple[Step, ...]
    others: tuple[Step, ...] = ()


Sums = Partials | Totals | Gathered
Step = Assigned | Reused | Deleted | Zeroed | Parts | Programs | Sorted | Sharing | Sums | Call | Multiplied | Branch

# launchers


@dataclass(frozen=True, slots=True)
class Shape:
    """The extents that a tensor has, by the names that they get; `_` is one that is known."""

    tensor: str
    targets: tuple[str, ...]
    rows: str  # the product of all leading ones, where it is new


@dataclass(frozen=True, slots=True)
class Narrow:
    """What is done for rows of few features: with which extents, and what that returns."""

    extents: tuple[str, ...]
    precision: str | None
    launches: int
    steps: tuple[Step, ...]
    results: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Launcher:
    """One order of a variant."""

    name: str
    backward: bool
    saves: bool
    launches: int
    copies: int  # of factors, for tf32
    parameters: tuple[str, ...]
    missing: tuple[str, ...]  # what may be None
    stepped: tuple[tuple[str, int], ...]  # read in place where rows lie apart; and of how many last dims a row is
    contiguous: tuple[str, ...]
    place: str
    shapes: tuple[Shape, ...]
    joined: tuple[tuple[str, str], ...]  # extents that no input has, and what they are the sums of
    real: tuple[str, ...]
    matrix: bool
    innermost: tuple[tuple[str, str], ...]  # axes, and their extents
    narrow: tuple[Narrow, ...]  # another way for rows of few features, or none
    steps: tuple[Step, ...]
    results: tuple[Value, ...]
