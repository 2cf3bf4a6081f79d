"""The table of devices: complete for every kernel that there may be, and within the hardware's own limits."""

from dataclasses import replace

import pytest
from bodies import BODIES, SIGNATURES
from evaluate import CHEAP
from test_stages import traced

from kgen.emit.kernel.printer import FUNCTIONS
from kgen.graph.builder import Builder
from kgen.graph.cost import WEIGHTS, cost
from kgen.schedule.device import ANY, DEVICE, DEVICES, Device, LaunchRow
from kgen.schedule.launch_rows import launch_rows, matmul_rows, spelled
from kgen.schedule.schedule import schedule
from kgen.schedule.work import work
from kgen.spec.model import PRECISIONS

every_device = pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)


@every_device
def test_tiers_go_up_to_any_number_of_fields(device: Device) -> None:
    tables = (device.flat, device.sweep, device.sums, device.whole, device.transposing, device.fold)
    for tiers in (*tables, device.fold_of_planes, *device.tiles.values()):
        limits = [most for most, _ in tiers]
        assert limits == sorted(set(limits)) and limits[-1] == ANY
    assert all(row for tiers in tables for _, row in tiers), "only tiles may have none of their own"
    assert [name for name, _ in matmul_rows(PRECISIONS, device)] == [f"_matmul_{name}" for name in PRECISIONS]


@every_device
def test_programs_fit_the_registers(device: Device) -> None:
    assert device.crowded < device.most_live < device.thread_registers
    for _, row in device.fold:
        assert row
        if row.registers:
            taken = row.warps * device.warp * row.registers
            assert row.registers <= device.thread_registers
            assert device.programs(row) * taken <= device.registers < (device.programs(row) + 1) * taken


@pytest.mark.parametrize("name", BODIES)
def test_every_kernel_has_a_row_for_each_form(name: str) -> None:
    graph = traced(name, SIGNATURES[0])
    for program in schedule(graph, [t.name for t in graph.inputs]):
        for kernel in program.every_kernel:
            rows = dict(launch_rows([kernel]))
            assert kernel.name in rows and len(rows) == 1 + (f"{kernel.name}_long" in rows) + bool(kernel.turning)
            for row in rows.values():
                assert all(n & (n - 1) == 0 for n in (row.elements, row.warps, row.tile, row.pack, row.resident))
                assert bool(row.programs) == (kernel.kind in ("fold", "contract"))
                assert not row.resident or row.resident * kernel.live <= DEVICE.registers


def test_facts_of_a_device_reach_the_rows() -> None:
    """A multiprocessor with twice the registers holds twice the programs, and rows of twice the length."""
    graph = traced("norm", (2, 0, 0))
    kernels = [k for program in schedule(graph, [t.name for t in graph.inputs]) for k in program.kernels]
    larger = replace(DEVICE, registers=2 * DEVICE.registers)
    for (name, row), (other, changed) in zip(launch_rows(kernels), launch_rows(kernels, larger), strict=True):
        assert name == other and changed.resident == 2 * row.resident
        assert changed.programs // 2 == row.programs or row.programs == 8
        assert replace(changed, resident=row.resident, programs=row.programs) == row


def test_rows_as_expressions() -> None:
    row = LaunchRow(1, 2, 64, 64, programs=6, registers=168)
    assert spelled(row) == "Launch(elements=1, warps=2, tile=64, pack=64, programs=6, registers=168)"


def test_what_a_kernel_costs() -> None:
    """Of x * y in Cl(2,0): 16 products of two fields, and 12 sums; 12 fields of four bytes."""
    ((kernel,),) = (program.kernels for program in schedule(traced("products", (2, 0, 0)), []))
    found = work(kernel)
    assert (found.instructions, found.launches) == (kernel.cost.total, 1)
    assert found.bytes == 4 * (found.read + found.written) == 4 * (8 + 8)
    assert found.moving() == pytest.approx(64 / 4.8)
    assert found.computing() == pytest.approx(found.instructions / (132 * 128 * 1.98e9) * 1e12)
    assert str(found).endswith("limited by memory; 1 launch")


def test_functions_cost_more_than_additions() -> None:
    b = Builder()
    x = b.input("x", 0, ["n"])
    assert cost([b.add(x, b.one)]).total == 1
    assert cost([b.call("erf", x)]).total > 20 > cost([b.reciprocal(x)]).total > cost([b.call("abs", x)]).total
    assert cost([b.call("erf", x), b.call("erf", x)]) == cost([b.call("erf", x)]), "what is shared costs once"


def test_every_function_has_a_weight() -> None:
    """Those that are more than one instruction are no more than named."""
    assert set(WEIGHTS) == {*FUNCTIONS, "detach"} - CHEAP
