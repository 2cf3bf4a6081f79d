"""How fields lie together in memory.

In and out: a `Tensor`, frozen data: the memory order of its axes and components, with the role that its dtype says.
"""

from dataclasses import dataclass
from typing import NamedTuple

INDEX = "index"  # Tensor.dtype of positions along an axis: int32 or int64, as the caller has them
INTEGER = "integer"  # Tensor.dtype of other integers, of which each is a number of its own: the same
SEED = "seed"  # Tensor.dtype of the int64 from which random numbers are made


class Lookup(NamedTuple):
    """Positions along `into`, which a tensor of integers has for each position along `along`."""

    along: str
    into: str
    tensor: str  # the name of the index


@dataclass(frozen=True, slots=True)
class Slice:
    """The part of a tensor along an axis that is others one after the other: `axes`, of which it is the one at `index`.

    It starts behind those before it.
    """

    position: int  # the dim
    whole: str
    axes: tuple[str, ...]
    index: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor argument or result: fields stored together.

    `dims` is the memory order, slowest first: axis names and component extents (int). `labels` names the components, in
    row-major order of the int dims: ("e", "e1", …) or ("000", "011", …); one empty label for a plain field.
    """

    name: str
    dims: tuple[str | int, ...]
    labels: tuple[str, ...] = ("",)
    leading: bool = False  # the first dim flattens any number of leading axes
    dtype: str | None = None  # None: floating, chosen by the caller; else what stages or an index have
    source: str = ""  # the tensor that this one is, or a part of it, under other names of its axes
    slices: tuple[Slice, ...] = ()  # of which part, by position
    split: int = 0  # the dims before this one are innermost in memory instead, where the launcher so decides
    several: bool = False  # the first dim counts matrices that lie one after the other: each of them is turned
    lookups: tuple[Lookup, ...] = ()  # of dims that are read where an index says; in memory these are the `into`
    cleared: bool = False  # most components are zero: its memory is, before a kernel stores the others
    stepped: bool = False  # its rows, which run along the last axis, may lie apart: the launcher says how far

    @property
    def memory(self) -> str:
        """The name of the tensor that holds the fields."""
        return self.source or self.name

    @property
    def axes(self) -> tuple[str, ...]:
        return tuple(d for d in self.dims if isinstance(d, str))

    @property
    def strided(self) -> tuple[str | int, ...]:
        """The dims by which neighbours lie apart: those of the whole tensor, and those that an index points into."""
        whole = {part.position: part.whole for part in self.slices}
        into = {lookup.along: lookup.into for lookup in self.lookups}
        return tuple(whole.get(i, into.get(d, d) if isinstance(d, str) else d) for i, d in enumerate(self.dims))

    @property
    def last(self) -> int:
        """The dim that is the last axis."""
        return max(i for i, d in enumerate(self.dims) if isinstance(d, str))

    @property
    def interleaved(self) -> bool:
        """Whether the components of an element are adjacent in memory, so that one component is not contiguous."""
        return bool(self.axes) and isinstance(self.dims[-1], int)

    @property
    def turning(self) -> str:
        """The axis that may be innermost instead of the last one."""
        return str(self.dims[self.split - 1]) if self.split else ""

    def component_name(self, index: int) -> str:
        return f"{self.name}_{self.labels[index]}" if self.labels[index] else self.name
