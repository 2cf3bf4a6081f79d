"""How kernels are launched: the rows of a module's launch table, read from the table of a device.

In: kernels. Out: a `LaunchRow` for each form of a kernel, by name. The more fields are alive, the fewer elements a
thread holds: what spills loses, so do wide tiles on few threads.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace

from kgen.schedule.device import DEVICE, Device, LaunchRow, Tiers
from kgen.schedule.forms import forms
from kgen.schedule.products import MATRIX, Contraction
from kgen.schedule.program import TURNED, Kernel

Named = tuple[str, LaunchRow]


def launch_rows(kernels: Iterable[Kernel], device: Device = DEVICE) -> list[Named]:
    """The rows of kernels; one that may transpose what it stores has two."""
    return [row for kernel in kernels for row in _rows(device, kernel)]


def matmul_rows(precisions: Iterable[str], device: Device = DEVICE) -> list[Named]:
    """The rows of the kernels that multiply stored factors in a precision that the spec fixes."""
    return [(f"_matmul_{precision}", device.matmul[precision]) for precision in precisions]


def spelled(row: LaunchRow) -> str:
    """A row as an expression of a module; what does not limit a launch is left out."""
    return "Launch(" + ", ".join(f"{name}={value}" for name, value in asdict(row).items() if value) + ")"


def _rows(device: Device, kernel: Kernel) -> Iterator[Named]:
    if kernel.contraction:
        yield kernel.name, _contract(device, kernel.contraction, bool(kernel.folds))
        return
    found = forms(kernel)
    for form in found:
        row = _row(device, kernel, form.template, len(found) == 1)
        # of a kernel with one row, tiles hold no other
        yield form.name, replace(row, pack=1) if kernel.kind == "row" and not kernel.rows else row
    if kernel.turning:
        yield kernel.name + TURNED, _tier(device.transposing, _held(kernel), device)


def _row(device: Device, kernel: Kernel, template: str, only: bool) -> LaunchRow:
    live = _held(kernel)
    match template:
        case "narrow":
            return replace(device.narrow, programs=1) if kernel.folds else device.narrow
        case "fold":
            row = _tier(device.fold_of_planes if kernel.planes else device.fold, live, device)
            return replace(row, programs=row.programs or device.programs(row))
        case "segment":
            return _tier(device.segment, live, device)
        case "flat":
            return _tier(device.flat, live, device)
        case "sweep":
            return _tier(device.sums if only else device.sweep, live, device)
        case _:
            row = _tier(device.tiles[_role(kernel)], live, device)
            if not kernel.planes:  # adjacent components move together, and take more registers for it
                row = replace(row, registers=0)
            return replace(row, resident=device.resident(live)) if kernel.kind == "row" else row


def _tier(tiers: Tiers, live: int, device: Device) -> LaunchRow:
    """The first row for so many live fields; that of whole rows, where the table has none."""
    row = next(row for most, row in tiers if live <= most)
    return row or replace(_tier(device.whole, live, device), resident=device.resident(live))


def _role(kernel: Kernel) -> str:
    """What a kernel of tiles does besides: store factors of matrix products, or read their results."""
    if any(o.tensor.dtype == MATRIX for o in kernel.stores):
        return "row of factors" if kernel.kind == "row" else "factors"
    return f"{kernel.kind} of products" if any(t.dtype == MATRIX for t in kernel.inputs) else kernel.kind


def _held(kernel: Kernel) -> int:
    """Live fields; what stores factors, or sums over rows, may load all its inputs first."""
    stores_factors = kernel.kind == "map" and any(o.tensor.dtype == MATRIX for o in kernel.stores)
    eager = stores_factors or kernel.folds
    return max(kernel.live, sum(len(t.labels) for t in kernel.inputs)) if eager else kernel.live


def _contract(device: Device, c: Contraction, parted: bool) -> LaunchRow:
    """Two programs share a multiprocessor where they share a long sum, four small ones where each has its own."""
    return device.contract_of_one if parted and c.multiplications == 1 else device.contract
