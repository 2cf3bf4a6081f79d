"""Where elements lie in a block of rows times a tile, over which all forms but a matrix product go.

In: a `program.Kernel`, its form and its `Addresses`. Out: bases, pointers and masks as text. Guaranteed: every access
that can overrun has a mask, and addresses are int64 bases plus int32 offsets in a tile.
"""

from collections.abc import Collection, Iterable

from kgen.emit.kernel.addresses import Addresses, count
from kgen.emit.kernel.rows import Found, Statement
from kgen.emit.kernel.strides import times
from kgen.graph.tensor import INDEX, Lookup, Tensor
from kgen.schedule.program import ORDER, Kernel
from kgen.spec.private_names import size_name

# adjacent components that a thread loads at once and splits in registers: 16 bytes in bf16, two loads in fp32
LARGEST_CHUNK = 8


class Block:
    """The elements of a block of rows times a tile: `rows` runs down it, `tile` along it.

    Of rows that are `scattered` each has an index of its own; else they follow each other.
    """

    def __init__(self, kernel: Kernel, form: str, addresses: Addresses, scattered: str = "") -> None:
        self.kernel, self.form = kernel, form
        self.addresses, self.naming = addresses, addresses.naming
        self.flat = kernel.flat
        self.inner, self.outer = frozenset(kernel.inner), frozenset((*kernel.rows, *kernel.loop))
        self.scattered = scattered
        self.rows = {"fold": kernel.loop, "segment": tuple(filter(None, (scattered,)))}.get(form, kernel.rows)
        along = self.naming.index[kernel.inner[0]] if kernel.inner else "column"
        self.tile = "tile" if self.flat else along

    def along(self, axes: Iterable[str]) -> bool:
        """Whether what has these axes varies along the tile."""
        return not self.inner.isdisjoint(axes)

    def moves(self, axes: Iterable[str]) -> bool:
        """Whether what has these axes varies from block to block, but for the tile."""
        return self.flat or not self.outer.isdisjoint(axes)

    def chunk(self, tensor: Tensor) -> int:
        """How many adjacent components travel in one access."""
        last = tensor.dims[-1] if tensor.dims else None
        components = [d for d in tensor.dims if isinstance(d, int)]
        if not isinstance(last, int) or len(components) != 1 or tensor.cleared or not self.inner <= set(tensor.axes):
            return 1
        return min(LARGEST_CHUNK, last & -last)

    def bases(self, tensors: Iterable[Tensor]) -> tuple[Statement, ...]:
        """Where the block's rows start in tensors that vary with it; an index that only says where has no such name."""
        moving = (t for t in tensors if self.moves(t.axes) and (t.dtype not in (INDEX, ORDER) or self.naming.reads(t)))
        return tuple(self.addresses.base(t, self._to_block(t)) for t in moving)

    def lookups(self, tensors: Iterable[Tensor], moving: bool) -> tuple[Found, ...]:
        """The positions that tensors are read at by indices: those that move with the block, or the others."""
        found = dict.fromkeys(by for tensor in tensors for by in tensor.lookups)
        return tuple(self._found(by) for by in found if self.moves((by.along,)) == moving)

    def _found(self, by: Lookup) -> Found:
        index, naming = Tensor(by.tensor, (by.along,), dtype=INDEX), self.naming
        along = self.tile if by.along in self.inner else naming.index[by.along]
        pointer = " + ".join([naming.pointers[by.tensor], along, *self._down(index)])
        return Found(naming.looked_up[by], naming.in_range[by], pointer, self._mask(index), size_name(by.into))

    def places(self, used: Collection[str]) -> tuple[Statement, ...]:
        """The places in a tile that addresses read: of rows that follow each other, and of those that may lie apart."""
        found = {} if self.flat else {"at": f"r * {count(self.kernel.inner)} + {self.tile}"}
        for tensor in (t for t in self.kernel.inputs if t.stepped):
            name, step = self.naming.row_places[tensor.name], self.naming.row_steps[tensor.name]
            flat = f"_apart(start, tile, {size_name(tensor.axes[-1])}, {step})"
            found[name] = flat if self.flat else f"r * {step} + {self.tile}"
        return tuple(Statement(name, text) for name, text in found.items() if name in used)

    def source(self, tensor: Tensor, component: int) -> tuple[str, str]:
        """The pointer and the mask of a load."""
        return self._pointer(tensor, component), self.addresses.load_mask(tensor, self._mask(tensor))

    def target(self, tensor: Tensor, component: int) -> tuple[str, str]:
        """The pointer and the mask of a store; of what all tiles have alike, the first one's is enough."""
        pointer, mask = self._pointer(tensor, component), self._mask(tensor)
        if self.along(tensor.axes):
            return pointer, mask
        if self.kernel.kind != "row":
            return pointer, " & ".join(filter(None, [mask, "first_tile"]))
        if not self.kernel.rows:
            return f"{pointer} + r", "row_mask"  # a sum of the only row lies in a block of rows
        return pointer, mask

    def _to_block(self, tensor: Tensor) -> list[str]:
        if self.flat:
            factor, _ = self.naming.stride(tensor, max(i for i, d in enumerate(tensor.dims) if isinstance(d, str)))
            return [times("start", factor, ())]
        return self.addresses.axis_offset(tensor, self.outer)

    def _pointer(self, tensor: Tensor, component: int) -> str:
        """Base pointer, component and position along the tile."""
        base = (self.naming.bases if self.moves(tensor.axes) else self.naming.pointers)[tensor.name]
        offset = self.addresses.component_offset(tensor, component)
        if not self.along(tensor.axes):
            return " + ".join([base, *offset, *self._down(tensor)])
        along = self._along(tensor)
        slower = isinstance(tensor.dims[0], int)  # slowest first, as in the tensor
        return " + ".join([base, *(offset + along if slower else along + offset)])

    def _down(self, tensor: Tensor) -> list[str]:
        """The offset of a row within the block of rows."""
        elsewhere = {self.scattered, *(by.along for by in tensor.lookups)}  # the base has a row for each already
        if self.flat or len(self.rows) != 1 or self.rows[0] not in tensor.axes or self.rows[0] in elsewhere:
            return []
        factor, sizes = self.naming.stride(tensor, tensor.dims.index(self.rows[0]))
        return [times("r", factor, sizes)]

    def _along(self, tensor: Tensor) -> list[str]:
        """The offset along the tile, and down the block of rows: one index `at` where elements of rows are adjacent."""
        factor, sizes = self.naming.stride(tensor, max(i for i, d in enumerate(tensor.dims) if d in self.inner))
        down = self._down(tensor)
        apart = self.naming.row_places.get(tensor.name)
        if apart and (self.flat or down == [times("r", factor, (self.naming.row_steps[tensor.name], *sizes))]):
            return [times(apart, factor, sizes)]
        if down == [times("r", factor, (size_name(self.kernel.inner[0]), *sizes))]:
            return [times("at", factor, sizes)]
        looked_up = any(by.along in self.inner for by in tensor.lookups)
        position = self.addresses.position(tensor, self.kernel.inner[0]) if looked_up else self.tile
        return [*down, times(position, factor, sizes)]

    def _mask(self, tensor: Tensor) -> str:
        """What guards the axes that may overrun."""
        has_rows = not set(self.rows).isdisjoint(tensor.axes)
        if self.along(tensor.axes):
            return "mask" if has_rows or self.form in ("flat", "sweep") else "tile_mask"
        return "row_mask" if has_rows else ""
