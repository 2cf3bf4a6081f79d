"""The benchmark of what calls cost the host: what it compares is the same computation."""

from pathlib import Path

import pytest
import torch

from benchmarks import overhead
from benchmarks.by_hand import by_hand
from kgen.problem import draw, load_module
from kgen.race import Case

ROOT = Path(__file__).parents[1]
GENERATED = ROOT / "generated"


@pytest.mark.parametrize("kernel", ["sgp", "fused_gelu_sgp_norm", "geometric_product"])
def test_by_hand_is_the_same_function(kernel: str) -> None:
    module = load_module(GENERATED / "vga2d.py")
    problem = draw(module.KERNELS[kernel], {"b": 6, "n": 5}, torch.float32, torch.device("cpu"))
    function = getattr(module, kernel)
    written, _ = by_hand(module, function, problem)
    assert problem.forward(written)[0].equal(problem.forward(function)[0])
    for found, expected in zip(problem.both(written), problem.both(function), strict=True):
        assert found.equal(expected)


def test_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhead, "CALLS", 1)
    monkeypatch.setattr(overhead, "ROUNDS", 1)
    rows = overhead.rows_of(Case("vga2d", "sgp", {"b": 3, "n": 2}), GENERATED, torch.device("cpu"))
    both = ["forward", "forward+backward"]
    expected = [(name, d) for name in ("x * y", "kgen", "launches", "autograd.Function") for d in both]
    expected.remove(("launches", both[1]))
    assert [(r["contender"], r["direction"]) for r in rows] == expected
    assert all(float(r["host_us"]) > 0 and float(r["call_us"]) > 0 and r["status"] == "ok" for r in rows)
