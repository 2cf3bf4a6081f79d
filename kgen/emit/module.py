"""The kernels of a spec in each variant, and the rules by which they are launched."""

from collections.abc import Iterable
from dataclasses import replace

from kgen.emit.host.launchers import Variant
from kgen.emit.kernel.forms import sections
from kgen.graph.graph import verify
from kgen.schedule.products import MATRIX, Contraction
from kgen.schedule.program import CROWDED, TURNED, Program
from kgen.schedule.schedule import schedule
from kgen.spec.model import Kernel, Spec
from kgen.spec.private_names import variant_name
from kgen.trace.trace import private_grads, trace


def variants_of(spec: Spec, kernel: Kernel) -> list[Variant]:
    """A kernel for each choice of its bool options, scheduled."""
    variants = []
    for flags in kernel.choices:
        graph = replace(trace(spec, kernel, flags), name=variant_name(kernel.name, flags))
        verify(graph)
        programs = schedule(graph, private_grads(kernel), kernel.order)
        variants.append(Variant(kernel, graph.name, tuple(flags.items()), programs))
    return variants


def launch_rows(programs: Iterable[Program]) -> list[tuple[str, str]]:
    """The launch table's rows for the kernels of programs; a kernel that may turn its stores has two."""
    result = []
    for program in programs:
        for kernel in program.every_kernel:
            stored = any(o.tensor.dtype == MATRIX for o in kernel.stores)
            products = stored or any(t.dtype == MATRIX for t in kernel.inputs)
            kind = {"map": "operands", "row": "row operands"}.get(kernel.kind, kernel.kind) if stored else kernel.kind
            held = max(kernel.live, sum(len(t.labels) for t in kernel.inputs)) if kind == "operands" else kernel.live
            texts = sections(kernel, program.graph.builder)
            kind = "sums" if texts[0].form == "sweep" else kind  # one value a row is all that there is to store
            kind = "planes" if kernel.kind == "fold" and kernel.planes else kind
            alone = kernel.kind == "row" and not kernel.rows
            if kernel.contraction:
                result.append((kernel.name, contract_row(kernel.contraction, bool(kernel.folds))))
            else:
                result += [(t.name, launch_row(t.form, held, kind, products, alone)) for t in texts]
            if kernel.turning:
                result.append((kernel.name + TURNED, launch_row("tile", held, "turned operands", products)))
    return result


REGISTERS = 65536  # 32-bit registers of a multiprocessor
LIGHT = 40  # live fields of which several elements fit a thread


def launch_row(form: str, alive: int, kind: str, products: bool, alone: bool = False) -> str:
    """A kernel's row of the launch table, by rules that were measured on an H200 (benchmarks/README.md).

    The more fields are alive, the fewer elements a thread holds: what spills loses, so do wide tiles on few threads.
    `products` are those of matrices, which the kernel stores operands for, or reads; a kernel is `alone` that has one
    row, whose tiles hold no other.
    """
    if form == "fold":
        row = _fold_row(alive, kind == "planes")
    elif form == "flat":
        row = {"elements": 4, "warps": 4, "tile": 512} if alive <= LIGHT else {"elements": 1, "warps": 1, "tile": 32}
        row["pack"] = row["tile"]
    elif form == "sweep":
        row = _sweep_row(alive, kind == "sums")
    elif kind == "turned operands":  # 32 rows fill 128 bytes of a store, 16 columns 64 of a load
        row = {"elements": 1, "warps": 8, "tile": 16, "pack": 256}
        row |= {"warps": 16, "pack": 512} if alive <= 9 * LIGHT // 10 else {}  # more would spill
        row |= {"elements": 2, "tile": 32, "pack": 1024} if alive <= 3 * LIGHT // 4 else {}
    elif kind in ("map", "operands") and alive <= LIGHT // 4:
        row = {"elements": 8, "warps": 4, "tile": 256, "pack": 1024}  # hardly more than a copy
    elif kind == "operands" and alive <= LIGHT:
        elements = 4 if alive <= LIGHT // 2 else 1
        row = {"elements": elements, "warps": 4, "tile": 128 * elements, "pack": 128 * elements}
    elif kind == "map" and products and LIGHT < alive < CROWDED:
        row = {"elements": 2, "warps": 4, "tile": 256, "pack": 256}
    elif kind.startswith("row") and products and alive <= 2 * LIGHT // 5:
        row = {"elements": 2, "warps": 16, "tile": 256, "pack": 256, "resident": _resident(alive)}
    elif kind == "row operands":
        row = {"elements": 1, "warps": 32, "tile": 256, "pack": 256, "resident": _resident(alive)}
    else:
        row = _tile_row(alive)
    if alone:
        row["pack"] = 1
    return _spelled(row)


def contract_row(c: Contraction, parted: bool) -> str:
    """Two programs share a multiprocessor where they share a long sum, four small ones where each has its own."""
    tile, depth = (128 * 128, 64) if parted and c.multiplications == 1 else (128 * 64, 32)
    return _spelled({"elements": 64, "warps": 8, "tile": 128, "pack": tile, "programs": 2, "depth": depth})


def _spelled(row: dict[str, int]) -> str:
    return "Launch(" + ", ".join(f"{key}={value}" for key, value in row.items()) + ")"


def _tile_row(alive: int) -> dict[str, int]:
    light = alive <= LIGHT
    row = {"elements": 1, "warps": 32, "tile": 256 if light else 32, "pack": 256 if light else 32}
    if LIGHT < alive < CROWDED:
        row |= {"elements": 2, "tile": 64}
    if light and alive > LIGHT // 2:
        row["registers"] = 64  # so that 1024 threads share a multiprocessor
    row["resident"] = _resident(alive)
    return row


def _resident(alive: int) -> int:
    """The longest row whose fields stay in registers."""
    return 1 << (REGISTERS * 3 // 4 // max(1, alive)).bit_length() - 1


def _sweep_row(alive: int, sums: bool) -> dict[str, int]:
    """Long rows in wide tiles, as far as the registers go; what is only summed waits less with many threads."""
    if alive <= LIGHT // 4:
        return {"elements": 2, "warps": 8, "tile": 512, "pack": 512}
    if sums and alive <= LIGHT // 2:
        return {"elements": 1, "warps": 8, "tile": 256, "pack": 256}
    if alive <= LIGHT and not sums:
        return {"elements": 4, "warps": 4, "tile": 512, "pack": 32}
    return {"elements": 1, "warps": 4, "tile": 128, "pack": 32}


def _fold_row(alive: int, planes: bool) -> dict[str, int]:
    """Persistent programs fill the multiprocessor's registers once.

    Components that are adjacent in memory move together and take adjacent registers; those in `planes` fit sooner.
    """
    tiers = ((96, 66), (128, 95), (168, 135 if planes else CROWDED - 1))
    registers = next((most for most, fields in tiers if alive <= fields), 0)
    if not registers:
        return {"elements": 1, "warps": 1, "tile": 32, "pack": 32, "programs": 8}
    programs = REGISTERS // (64 * registers)
    return {"elements": 1, "warps": 2, "tile": 64, "pack": 64, "programs": programs, "registers": registers}
