"""A kernel as rows: what is loaded, computed, accumulated and stored, where, in which order.

In and out: frozen data between the writers of the forms and the templates, which only place its strings. Nothing here
spells anything.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Access:
    """A load or a store. `names` are targets or values; several for adjacent components that travel together."""

    names: tuple[str, ...]
    pointer: str
    mask: str
    dense: bool  # all components of an element at once, from contiguous memory
    flag: str = ""  # compile-time switch that guards it
    kind: str = "REAL"  # the dtype of what is loaded: MATRIX for a factor of a matrix product
    other: str = "0.0"  # what is read where the mask is not


@dataclass(frozen=True, slots=True)
class Statement:
    """An assignment; a long sum is one statement that assigns and more that add."""

    name: str
    expression: str
    operator: str = "="


@dataclass(frozen=True, slots=True)
class Found:
    """The position that an index has, and whether it is in range."""

    name: str
    within: str
    pointer: str
    mask: str
    count: str


@dataclass(frozen=True, slots=True)
class Multiplication:
    """A product of two tiles, `expression`, with what makes its factors; a further one is added to those before."""

    name: str
    expression: str
    loads: tuple[Access, ...]
    further: bool
    statements: tuple[Statement, ...] = ()


@dataclass(frozen=True, slots=True)
class Accumulator:
    """What a fold keeps in registers for one component of a result."""

    name: str
    expression: str
    function: str
    flag: str
    whole_row: bool  # the field is constant along the tile
    masked: bool  # lanes beyond the tile would be added into the result


@dataclass(frozen=True, slots=True)
class Section:
    """Consecutive work: loads, then statements and reductions in order, then products, accumulations and stores."""

    pointers: tuple[Statement, ...] = ()
    loads: tuple[Access, ...] = ()
    statements: tuple[Statement, ...] = ()
    products: tuple[Statement | Multiplication, ...] = ()  # two factors each, and the sum that they are added to
    accumulators: tuple[Accumulator, ...] = ()
    sums: tuple[Multiplication, ...] = ()  # products that are accumulated over blocks of rows
    stores: tuple[Access, ...] = ()
    lookups: tuple[Found, ...] = ()  # first of all


@dataclass(frozen=True, slots=True)
class Sweep:
    """One pass over a row in tiles: the tile's work, and the row's once the sums are known."""

    tile: Section
    row: Section


@dataclass(frozen=True, slots=True)
class Index:
    """A flat index, called like its axis where it is one, and the index along each of several axes."""

    name: str
    count: str
    axes: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class KernelText:
    """Everything a kernel template needs. `form` names the template: flat, tile, fold, segment, sweep or contract."""

    name: str
    form: str
    pointers: tuple[str, ...]
    numbers: tuple[str, ...]
    sizes: tuple[str, ...]
    steps: tuple[str, ...]  # how far apart rows of inputs start, or None where they follow each other
    unspecialised: tuple[str, ...]  # all counts but the inner axis's size: they must not recompile
    flags: tuple[str, ...]
    rows: Index  # what a program's row, or its loop over rows, runs over
    kept: Index  # fold: the outer axes that are not folded
    whole: bool  # tile: the tile is a whole row
    inner: str
    inner_count: str
    planes: tuple[Statement, ...]
    places: tuple[Statement, ...]  # where elements lie in a tile
    before: Section  # what does not depend on the row; in a sweep, what does not depend on the tile
    body: Section
    sweeps: tuple[Sweep, ...]
    after: Section  # fold: the partial results; contract: what is computed of the sums, and the stores
    notes: tuple[str, ...]
    helpers: frozenset[str]  # what the template computes for addresses and partial results, by its name there

    @property
    def sections(self) -> tuple[Section, ...]:
        """All that it does, in order."""
        passes = (part for sweep in self.sweeps for part in (sweep.tile, sweep.row))
        return (self.before, self.body, *passes, self.after)


@dataclass(frozen=True, slots=True)
class Walk:
    """The places that an index has for one position, in the order of the sorted index: of which axis, and where."""

    place: str
    order: str
    starts: str


@dataclass(frozen=True, slots=True)
class SegmentText(KernelText):
    """What the template needs besides: each of its sweeps is a walk."""

    walks: tuple[Walk, ...]


@dataclass(frozen=True, slots=True)
class ContractText(KernelText):
    """What the template needs besides: `rows`, `kept` and `inner` are the result's rows, its batch and its columns."""

    along: str  # the contracted axis
    along_count: str
    parted: bool  # programs share the contracted axis, and store partial sums
    sums: tuple[str, ...]  # accumulators
    precision: bool  # whether the launcher says how fp32 is multiplied


@dataclass(frozen=True, slots=True)
class Column:
    """An axis along rows, which a tile holds whole: its index and mask across tiles, and down those of weights."""

    size: str
    block: str
    index: str
    mask: str
    down: str
    down_mask: str


@dataclass(frozen=True, slots=True)
class NarrowText(KernelText):
    """What the template needs besides: `rows` is what blocks of rows run over."""

    columns: tuple[Column, ...]
    downs: tuple[Column, ...]  # those of them that run down tiles of weights
    sums: tuple[tuple[str, str, str], ...]  # accumulators, with the extents of their tiles
    parted: bool  # persistent programs walk the rows, and store partial sums
