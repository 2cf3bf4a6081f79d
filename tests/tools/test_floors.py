"""What a device needs at least: the parts of a floor against figures by hand, and what is measured for them."""

from collections import Counter
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kgen.compiler import template_folder
from kgen.graph.cost import OTHER, WEIGHTS
from kgen.tools.bench import floors, race, rates, timing
from kgen.tools.bench.cases import Case
from kgen.tools.bench.figures import Floor
from kgen.tools.bench.race import Run
from kgen.tools.bench.rates import Rates, measured
from kgen.tools.problem import load_file, load_module, runtime

GENERATED = Path(__file__).parents[2] / "generated"
CPU = torch.device("cpu")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TRAFFIC = 4 * 3 * 4 * 30  # bytes of x, y and the result of `case`


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race, "SECONDS", 0.0)
    for name, value in {"BATCH": 1, "ROUNDS": 1, "MINIMUM": 1}.items():
        monkeypatch.setattr(timing, name, value)


def run(bandwidth: float, issued: Rates | None = None, **products: float) -> Run:
    issue = {torch.float32: issued} if issued else {}
    return Run(timing.clock(CPU), bandwidth, products, GENERATED, False, inf, issue)


def case(dtype: str = "float32", kernel: str = "geometric_product") -> Case:
    return Case("vga2d", kernel, {"b": 6, "n": 5}, dtype)


def test_floor_of_a_product_of_multivectors() -> None:
    """16 products and 12 sums at each point, and three times as many with both gradients: as many multiply-adds."""
    for bandwidth in (1e9, 1.0):
        rows = race.measure(run(bandwidth, Rates(4.0, {})), case())
        assert [row.instructions_us for row in rows] == [16 * 30 / 4, 48 * 30 / 4]
        assert [row.bytes_us for row in rows] == [TRAFFIC / bandwidth, TRAFFIC / bandwidth * 8 / 3]
        assert {row.binds for row in rows} == {"instructions" if bandwidth > 1.0 else "bytes"}
        for row, operations in zip(rows, (28, 84)):
            assert row.median_us and row.products_us is None
            assert row.floor_us == max(row.bytes_us or 0.0, row.instructions_us or 0.0)
            assert row.gflops == pytest.approx(operations * 30 / row.median_us / 1e3)
            assert row.ratio_to_floor == pytest.approx(row.median_us / row.floor_us)


def test_without_rates_bytes_are_the_floor() -> None:
    rows = race.measure(run(2.0), case())
    assert [row.floor_us for row in rows] == [TRAFFIC / 2, TRAFFIC / 2 * 8 / 3]  # backward reads three and writes two
    assert all(row.instructions_us is None and row.binds == "bytes" and row.gflops for row in rows)


def test_floor_of_a_linear_map() -> None:
    """One product of matrices for each blade, and with the gradients three."""
    sizes = {"b": 6, "n": 5, "m": 7}
    rows = race.measure(run(1e9, float32=4.0), Case("vga2d", "mv_linear", sizes))
    assert [row.products_us for row in rows] == [2 * 4 * 6 * 5 * 7 / 4, 2 * 12 * 6 * 5 * 7 / 4]
    assert {row.binds for row in rows} == {"products"}


WORK = {"forward": {"b n": {"mul": 4, "add": 6, "phi": 2, "where": 3}, "b n m": {"product": 5}, "...": {"add": 100}}}


def test_operations_are_those_at_all_points() -> None:
    """The default of an axis without a size is taken, and any leading axes are b."""
    total = floors.operations({"work": WORK}, {"n": 3, "m": 2}, "forward")
    points = 4096 * 3
    assert total == {
        "mul": 4 * points,
        "add": 6 * points + 100 * 4096,
        "phi": 2 * points,
        "where": 3 * points,
        "product": 5 * points * 2,
    }
    assert floors.operations({"work": WORK}, {}, "forward+backward") is floors.operations({}, {}, "forward") is None
    assert floors.functions({"work": WORK}) == {"phi", "where"}


def test_instructions_are_multiply_adds_functions_and_conversions() -> None:
    found = Rates(1.0, {"phi": 20.0, "rounded": 3.0})
    total = {"mul": 4, "add": 6, "phi": 2, "where": 3, "product": 5}
    assert floors.instructions(total, 0, found) == 6 + 2 * 20 + 3
    assert floors.instructions(total, 10, found) == 6 + 2 * 20 + 3 + 15
    assert floors.instructions({"mul": 7}, 10, Rates(1.0, {})) == 17, "what has no cost is one instruction"


def test_numbers_of_16_bits_are_converted() -> None:
    issued, total = Rates(2.0, {"rounded": 4.0}), Counter({"mul": 8, "product": 3})
    for storage, converted in ((torch.float64, 0), (torch.float32, 0), (torch.bfloat16, 50), (torch.float16, 50)):
        found = floors.least(total, 100, storage, 10.0, issued, 3.0)
        assert found == Floor(10.0, (8 + 2 * converted) / 2.0, 2.0, 14.0)
    assert floors.least(total, 100, torch.float32, 10.0, None, None) == Floor(10.0, None, None, 14.0)
    assert floors.least(None, 100, torch.float32, 10.0, issued, 3.0) == Floor(10.0)


# what is measured for it


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_rates_of_a_cpu(kind: torch.dtype) -> None:
    found = measured(timing.clock(CPU), kind, ["phi", "where", "rounded"], None)
    assert found.fused > 0 and set(found.costs) == {"phi", "rounded"} and min(found.costs.values()) > 0
    assert "multiply-adds/s; as many take phi " in str(found) and "rounded" in str(found)


def test_rates_are_those_of_each_arithmetic_and_its_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def noting(clock: timing.Clock, kind: torch.dtype, names: set[str], kernels: Any) -> Rates:
        asked.append((kind, names, kernels))
        return Rates(1.0, {})

    monkeypatch.setattr(floors, "measured", noting)
    cases = [case(), case("bfloat16", "fused_gelu_sgp_norm"), case("float64"), case("tf32")]
    found = floors.issue_rates(timing.clock(CPU), cases, GENERATED)
    assert list(found) == [torch.float32, torch.float64]
    names = {"phi", "fast_exp", "rsqrt", "rounded"}
    assert asked == [(torch.float32, names, None), (torch.float64, set(), None)]


def test_every_function_of_more_than_an_instruction_is_measured() -> None:
    weighty = {name for name, weight in WEIGHTS.items() if weight > OTHER}
    assert {*weighty, "reciprocal", rates.CONVERSION} == rates.BY_TORCH.keys()


def test_costs_are_what_functions_add(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many multiply-adds as a function takes beside FUSED others; one that is hidden costs nothing."""
    times = {"": 100.0, "phi": 150.0, "rsqrt": 99.0}
    monkeypatch.setattr(rates, "_by_kernels", lambda *_: times.__getitem__)
    found = measured(timing.Clock(torch.device("meta")), torch.float32, ["phi", "rsqrt"], SimpleNamespace())  # type: ignore[arg-type]
    assert found.costs == {"phi": rates.FUSED / 2, "rsqrt": 0.0}
    assert found.fused == rates.PROGRAMS * rates.BLOCK * rates.CHAINS * rates.ROUNDS * rates.FUSED / 100


def chains() -> tuple[Any, Any]:
    """The file of the chains, and device functions of a package."""
    pytest.importorskip("triton")
    package = load_module(GENERATED / "vga2d")
    return load_file(template_folder() / "bench" / "rates.py", "kgen_rates"), runtime(package, "kernels")


NAMES = ["", *sorted(rates.BY_TORCH)]
CHAINS = [(name, kind) for kind in (torch.float32, torch.float64) for name in NAMES]
CHAINS.remove((rates.CONVERSION, torch.float64))  # what has 16 bits is computed in fp32


@pytest.mark.parametrize(("name", "kind"), CHAINS)
def test_chains_do_what_is_counted(name: str, kind: torch.dtype) -> None:
    """A function and FUSED multiply-adds in each of two rounds. Every function that has a cost is there."""
    own, kernels = chains()
    if DEVICE.type == "cpu" and not own.triton.knobs.runtime.interpret:
        pytest.skip("needs a GPU or the interpreter")
    start = torch.rand(2 + rates.CHAINS * rates.BLOCK, dtype=kind, device=DEVICE) + 0.5
    start[0], start[1] = 0.9, 0.1
    end = torch.empty(2 * rates.BLOCK, dtype=kind, device=DEVICE)
    rates.launch(own, rates.found(own, kernels, name), start, end, 2)
    x = start[2:].double()
    for _ in range(2):
        x = rates.BY_TORCH[name](x) if name else x
        for _ in range(rates.FUSED):
            x = x * 0.9 + 0.1
    expected = x.reshape(rates.CHAINS, rates.BLOCK).sum(0)
    for program in end.double().reshape(2, rates.BLOCK):
        torch.testing.assert_close(program, expected, rtol=2e-3 if name == rates.CONVERSION else 1e-5, atol=0)
