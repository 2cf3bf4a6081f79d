"""The benchmark of what calls cost the host: what it compares is the same computation."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import typer

from benchmarks import overhead
from benchmarks.by_hand import by_hand
from kgen.errors import KgenError
from kgen.tools.bench.cases import Case
from kgen.tools.problem import draw, load_module, runtime

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "generated"


@pytest.mark.parametrize("kernel", ["sgp", "fused_gelu_sgp_norm", "geometric_product"])
def test_by_hand_is_the_same_function(kernel: str) -> None:
    module = load_module(GENERATED / "vga2d")
    problem = draw(module.KERNELS[kernel], {"b": 6, "n": 5}, torch.float32, torch.device("cpu"))
    function = getattr(module, kernel)
    written, _ = by_hand(module, function, problem)
    assert problem.forward(written)[0].equal(problem.forward(function)[0])
    for found, expected in zip(problem.both(written), problem.both(function), strict=True):
        assert found.equal(expected)


SUITE = """\
import os, sys
from kgen.tools.bench.cases import Case, Peer

def raising():
    def function(x, y, weight):
        sys.poisoned = x.requires_grad
        return x[:, :, :, None] if sys.poisoned else x

    return function

def fatal():
    os._exit(7)

def absent():
    import kgen.no_such_module

def untouched():
    assert not hasattr(sys, "poisoned")
    return lambda x, y, weight: x * y * weight[:, 0]

PEERS = [Peer(f.__name__, f) for f in (raising, fatal, absent, untouched)]
CASES = [Case("vga2d", "sgp", peers=tuple(PEERS))]
"""
BOTH = ["forward", "forward+backward"]


@pytest.fixture
def suite(tmp_path: Path) -> str:
    (tmp_path / "suite.py").write_text(SUITE, encoding="utf-8")
    return str(tmp_path / "suite.py")


def job(suite: str, case: str = "vga2d.sgp") -> overhead.Job:
    return overhead.Job(suite, case, {"b": 3, "n": 2}, GENERATED, "cpu", overhead.Effort(1, 1))


def test_rows(suite: str) -> None:
    """What fails, dies or is absent is a row, and neither it nor what it left behind reaches the others."""
    rows = overhead.measure(job(suite))
    ours = [(name, d) for name in ("x * y", "kgen", "launches", "autograd.Function") for d in BOTH]
    ours.remove(("launches", BOTH[1]))
    graphed = [(name, d) for name in overhead.GRAPHED for d in BOTH] if torch.cuda.is_available() else []
    peers = [(name, d) for name in ("raising", "fatal", "absent", "untouched") for d in BOTH]
    assert [(r["contender"], r["direction"]) for r in rows] == ours + graphed + peers
    wrong = {(r["contender"], r["direction"]): r["status"] for r in rows if r["status"] != "ok"}
    assert [*wrong] == [("raising", BOTH[1]), *((name, d) for name in ("fatal", "absent") for d in BOTH)]
    assert wrong["raising", BOTH[1]].startswith("failed: RuntimeError: Mismatch in shape")
    assert wrong["fatal", BOTH[0]] == wrong["fatal", BOTH[1]] == "failed: Died: the process ended with exit status 7"
    assert wrong["absent", BOTH[0]].startswith("not installed: No module")
    assert all(float(r["host_us"]) > 0 and float(r["call_us"]) > 0 for r in rows if r["status"] == "ok")


def test_contenders_have_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that slows down meets all of them, and what a round needs to get going is not counted."""
    order: list[str] = []
    seconds = {"a": 1.0, "b": 2.0}  # of a call, by a clock that goes on while one works; the first rounds take longer

    def clock() -> float:
        return sum(seconds[name] * (1 if i >= 12 else 9) for i, name in enumerate(order))

    monkeypatch.setattr(overhead, "time", SimpleNamespace(perf_counter=clock))
    calls = {(name, "forward"): partial(order.append, name) for name in "ab"}
    found = overhead.host_times(torch.device("cpu"), calls, overhead.Effort(calls=3, rounds=2))
    assert order == [*"aaabbb"] * 4
    assert found == {("a", "forward"): 1e6, ("b", "forward"): 2e6}


def test_csv_is_complete_after_every_case(
    suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(job: overhead.Job) -> list[overhead.Row]:
        if job.sizes["b"] != 3:
            raise KeyError("sgp") if job.sizes["b"] == 5 else KeyboardInterrupt
        return [dict.fromkeys(overhead.COLUMNS, "") | {"case": job.case, "size": "b=3 n=2", "status": "ok"}]

    monkeypatch.setattr(overhead, "measure", measure)
    out = tmp_path / "results" / "gpu.csv"
    with pytest.raises(KeyboardInterrupt):
        overhead.main(suite, b=[5, 3, 7], n=[2, 2, 2], out=out)
    rows = ["vga2d.sgp,b=5 n=2,float32,,,,,,,failed: KeyError: 'sgp',,", "vga2d.sgp,b=3 n=2,,,,,,,,ok,,"]
    assert out.read_text(encoding="utf-8").splitlines() == [",".join(overhead.COLUMNS), *rows]
    assert "failed: KeyError" in capsys.readouterr().out


def test_cells_of_a_suite() -> None:
    """Each kernel once at each size of the command line in fp32, or all that the suite has."""
    cases = [Case("vga2d", "sgp", {"b": b, "n": 2}, dtype) for b in (3, 4) for dtype in ("float32", "tf32")]
    assert overhead.cells(cases, [(5, 6)]) == [("vga2d.sgp", {"b": 5, "n": 6}, "float32")]
    own = [("vga2d.sgp", {"b": b, "n": 2}, dtype) for b in (3, 4) for dtype in ("float32", "tf32")]
    assert overhead.cells(cases, None) == own


def test_without_kernels_there_is_nothing_to_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime(load_module(GENERATED / "vga2d"), "device"), "runs_on_triton", lambda device: False)
    with pytest.raises(KgenError, match="no kernel runs on cpu"):
        overhead.measure(job(str(GENERATED.parent / "benchmarks" / "first.py"), "vga2d.fused_gelu_sgp_norm"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"only": "spg"}, "no case has 'spg' in its name"), ({"peers": Path("nowhere")}, "no folder nowhere")],
)
def test_what_selects_nothing_is_told(
    arguments: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(GENERATED.parent)
    with pytest.raises(typer.Exit) as status:
        overhead.main("first", **arguments)
    assert status.value.exit_code == 2 and message in capsys.readouterr().err
