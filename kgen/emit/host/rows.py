"""The rows of launchers: what is allocated, launched, multiplied and returned, and under which conditions.

In and out: frozen data. The macro of `steps.jinja` that is called as the class holds a row's text; `values.py` has the
values in them. Names of tensors and extents are the launcher's own. Nothing is decided here.
"""

from __future__ import annotations

from dataclasses import dataclass

from kgen.emit.host.values import Condition, Masked, Matrix, Multiplied, Name, Seen, Value

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


@dataclass(frozen=True, slots=True)
class Attending:
    """Attention whose scores are never stored, or gradients of it, and its results as their callers see them."""

    function: str
    groups: tuple[tuple[Matrix, ...], ...]
    rows: tuple[Matrix, ...]  # a number or two for each position
    mask: Masked | None
    written: tuple[str, ...]
    seen: tuple[Seen, ...]


Sums = Partials | Totals | Gathered
Made = Call | Multiplied | Attending
Step = Assigned | Reused | Deleted | Zeroed | Parts | Programs | Sorted | Sharing | Sums | Made | Branch

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
