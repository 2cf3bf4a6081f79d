"""Functions of one's own, timed from Python: `kgen.bench`."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from kgen import bench
from kgen.errors import KgenError
from kgen.tools.bench import race, timing

BOTH = ["forward", "forward+backward"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race, "SECONDS", 0.0)
    monkeypatch.setattr(bench, "_bandwidth", lambda clock: 2.0)
    for name, value in {"BATCH": 1, "ROUNDS": 1, "MINIMUM": 1}.items():
        monkeypatch.setattr(timing, name, value)


def scaled(x: Tensor, w: Tensor) -> Tensor:
    return x * w


def off(x: Tensor, w: Tensor) -> Tensor:
    return 1.01 * x * w


def off_backward(x: Tensor, w: Tensor) -> Tensor:
    return x * (1.01 * w - 0.01 * w.detach())


def raising(x: Tensor, w: Tensor) -> Tensor:
    raise ValueError("not now\nnor ever")


def inputs(b: int = 3, n: int = 5) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    return torch.randn(b, n, generator=random), torch.randn(n, generator=random)


def test_rows_are_those_of_every_function_and_direction() -> None:
    rows = bench.run([scaled, off, off_backward, raising], inputs(), reference=scaled, case="mine")
    assert {(row.contender, row.direction): row.status for row in rows} == {
        **{("scaled", d): "ok" for d in BOTH},
        **{("off", d): "wrong" for d in BOTH},
        ("off_backward", BOTH[0]): "ok",
        ("off_backward", BOTH[1]): "wrong",
        **{("raising", d): "failed: ValueError: not now" for d in BOTH},
    }
    assert all((row.median_us is not None) == (row.status == "ok") for row in rows)
    assert {(row.case, row.size, row.dtype, row.kgen_digest) for row in rows} == {("mine", "3x5 5", "float32", "")}
    forward, both = rows[0], rows[4]
    assert forward.floor_us == 4 * (15 + 5 + 15) / 2 and both.floor_us == 4 * (35 + 35 + 20) / 2
    assert forward.ratio_to_floor == pytest.approx((forward.median_us or math.nan) / forward.floor_us)
    assert rows[1].error == pytest.approx(0.01, rel=1e-3) and (rows[1].max_abs or 0) > 0


def test_the_reference_is_evaluated_in_fp64() -> None:
    seen: list[torch.dtype] = []

    def reference(x: Tensor, w: Tensor) -> Tensor:
        seen.append(x.dtype)
        return x * w

    rows = bench.run({"bf16": scaled}, [x.bfloat16() for x in inputs()], reference=reference)
    assert torch.float64 in seen and {row.dtype for row in rows} == {"bfloat16"}
    assert all(row.error and row.error < 2e-2 for row in rows)


def test_without_a_reference_the_first_function_is_what_others_are_compared_with() -> None:
    first, second = bench.run({"a": off, "b": scaled}, inputs(), directions=["forward"])
    assert (first.status, first.error, first.max_abs) == ("ok", None, None)
    assert second.status == "wrong" and second.error == pytest.approx(0.01 / 1.01, rel=1e-3)
    assert bench.run(off, inputs())[0].status == "ok"


@pytest.mark.parametrize(("asking", "count"), [((), 2), ((0,), 1), ((1,), 1), ((0, 1), 2)])
def test_gradients_are_of_inputs_that_require_them_or_of_all(asking: tuple[int, ...], count: int) -> None:
    given = [x.requires_grad_(i in asking) for i, x in enumerate(inputs())]
    problem = bench._problem(given, None)
    assert len(problem.wanted) == count and set(asking or (0, 1)) == set(problem.wanted)
    assert not any(x.requires_grad for x in problem.inputs)
    assert {row.status for row in bench.run(scaled, given)} == {"ok"}
    assert all(x.grad is None for x in given)


def test_integers_are_inputs_without_gradients() -> None:
    x, index = torch.randn(4, 3), torch.tensor([2, 0])

    def picked(x: Tensor, index: Tensor) -> Tensor:
        return x[index]

    assert {row.status for row in bench.run(picked, [x, index], reference=picked)} == {"ok"}
    rows = bench.run(lambda index: 1.0 / (1 + index), [index])
    assert [(row.direction, row.status) for row in rows] == [("forward", "ok")]


def test_a_sweep_has_every_combination_in_order() -> None:
    asked: list[dict[str, int]] = []

    def make(**sizes: int) -> tuple[Tensor, Tensor]:
        asked.append(sizes)
        if sizes == {"b": 2, "n": 6}:
            raise torch.OutOfMemoryError("no")
        return inputs(**sizes)

    rows = bench.sweep([scaled, off], make, {"b": (1, 2), "n": (5, 6)}, directions=["forward"], reference=scaled)
    assert asked == [{"b": b, "n": n} for b in (1, 2) for n in (5, 6)]
    assert [(row.size, row.contender, row.status) for row in rows] == [
        *(
            (f"b={b} n={n}", name, s)
            for b, n in ((1, 5), (1, 6), (2, 5))
            for name, s in (("scaled", "ok"), ("off", "wrong"))
        ),
        ("b=2 n=6", "", "skipped: does not fit memory"),
    ]
    expected = [torch.device("cuda" if torch.cuda.is_available() else "cpu"), torch.device("cpu")]
    assert {row.device for row in rows} <= set(map(race.device_name, expected))


MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "nothing to time": (lambda: bench.run({}, inputs()), "no functions to time"),
    "one name": (lambda: bench.run([scaled, scaled], inputs()), "two functions have one name"),
    "no inputs": (lambda: bench.run(scaled, []), "inputs must be tensors"),
    "a number": (lambda: bench.run(scaled, [torch.ones(2), 3.0]), "inputs must be tensors"),  # type: ignore[list-item]
    "one tensor": (lambda: bench.run(scaled, torch.ones(2)), "a sequence of tensors"),  # type: ignore[arg-type]
    "no result": (lambda: bench.run(lambda x, w: None, inputs()), "a result is of type NoneType"),
    "a list of results": (lambda: bench.run(lambda x, w: [x], inputs()), "a result is of type list"),
    "an extent of 0": (lambda: bench.sweep(scaled, inputs, {"b": (2, 0)}), "extents .2, 0. of b leave nothing to time"),
    "no extent": (lambda: bench.sweep(scaled, inputs, {"b": ()}), "extents .. of b leave nothing to time"),
    "two devices": (
        lambda: bench.run(scaled, [torch.ones(2), torch.ones(2, device="meta")]),
        "inputs are on cpu and meta",
    ),
    "direction": (lambda: bench.run(scaled, inputs(), directions=["back"]), "unknown direction 'back'"),
    "repetitions": (lambda: bench.run(scaled, inputs(), repetitions=0), "repetitions=0 is no number of calls"),
    "warmup": (lambda: bench.run(scaled, inputs(), warmup=-1), "warmup=-1 is no number of calls"),
    "half a call": (lambda: bench.run(scaled, inputs(), warmup=2.5), "warmup=2.5 is no number"),  # type: ignore[arg-type]
    "in place": (
        lambda: bench.run({"one": scaled, "two": lambda x, w: x.mul_(w)}, inputs(), directions=["forward"]),
        "two writes to its inputs",
    ),
    "no device": (lambda: bench.run(scaled, inputs(), device="moon"), "no device 'moon'"),
    "no values": (lambda: bench.run(scaled, inputs(), device="meta"), "on the device meta have no values"),
    "complex": (lambda: bench.run(scaled, [x.to(torch.complex64) for x in inputs()]), "how exact is 'complex64'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake: str) -> None:
    call, message = MISTAKES[mistake]
    with pytest.raises(KgenError, match=message):
        call()
