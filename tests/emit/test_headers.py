"""What kernels are called, and what the comment at their head says: only what is true of their form, in few lines."""

import re
from collections.abc import Mapping

import pytest
from handmade import one

from kgen.emit.kernel.forms import sections
from kgen.emit.kernel.headers import LONGER, WIDTH
from kgen.schedule.launch_rows import launch_rows
from kgen.schedule.program import Program
from kgen.schedule.schedule import schedule
from kgen.trace.trace import trace

XYW = {"x": "multivector", "y": "multivector", "w": "weights(x, y)[n]"}
FC = XYW | {"w": "weights(x, y)[n, m]"}
NORM = "z = sgp(gelu(x), y, w)\nreturn grade_rms_norm(z)"


def programs(
    inputs: Mapping[str, str | list[str]], body: str, signature: tuple[int, int, int] | None = (2, 0, 0), order: int = 1
) -> tuple[Program, ...]:
    spec = one(signature, inputs, body)
    return schedule(trace(spec, spec.kernels[0], {}), tuple(inputs), order=order)


def heads(found: tuple[Program, ...]) -> dict[str, tuple[str, ...]]:
    """The comments of all kernels in all their forms, by name."""
    kernels = ((k, p.graph.builder) for p in found for k in p.every_kernel)
    return {text.name: text.notes for k, builder in kernels for text in sections(k, builder)}


def test_a_map() -> None:
    found = heads(programs(XYW, "return sgp(x, y, w)", order=0))
    work = "per element 26 mul + 12 add, 32 bytes read, 16 written in fp32"  # weights are shared by all rows
    assert found == {"f": ("out = Σ w x y", work)}


def test_rows_and_folds() -> None:
    """A backward that is cut at the statistics of its rows."""
    found = heads(programs(XYW, NORM))
    assert list(found) == [
        "f",
        "f_long",
        "f_backward_statistics",
        "f_backward_statistics_of_inputs",
        "f_backward_grads",
    ]
    assert found["f"][-1] == "one program holds a whole row, because a reduction over n is used at once"
    assert found["f_long"] == (LONGER,)
    assert "out = z inv_rms" in "\n".join(found["f"]) and "; shared " in "\n".join(found["f"])
    text = "\n".join(found["f_backward_grads"])
    assert "grad_w = sum_b(Σ grad_z " in text
    assert "reads what was saved: inv_rms, else another pass" in text
    assert "by way of" in text and "z = Σ" not in text  # the forward has told that


def test_products() -> None:
    found = heads(programs(FC, "z = fcgp(pointwise(tanh, x), y, w)\nreturn pointwise(tanh, z)"))
    assert {"f_factors_w", "f_results", "f_backward_grads", "f_backward_grad_w"} <= set(found)
    assert "reads what was saved: z, else a matrix product" in found["f_results"]
    assert any(line.startswith("stores factors of matrix products") for line in found["f_factors_w"])
    assert not any(line.startswith("stores factors") for line in found["f_backward_grad_w"])


def test_fused_products() -> None:
    """The sums are told of what is multiplied, and added once."""
    inputs = {"x": ["v", "c"], "basis": ["v", "k"], "mass": ["v"]}
    forward, _ = programs(inputs, "return dot(basis * mass, x, over=v)", None)
    (kernel,) = forward.kernels
    assert kernel.name == "f" and kernel.contraction
    lines = heads((forward,))["f"]
    assert lines[0] == "out = sum_v(x mass basis)" and lines[1].startswith("1 product of fields by ")


def test_components_of_several_kinds() -> None:
    """Terms that some components have are in brackets; what differs altogether is one or the other."""
    some = heads(programs({"x": "multivector", "s": ["b", "n"]}, "return s * x + x.grade(1)", order=0))["f"]
    assert some[0] == "out = s x [+ x]"
    other = heads(programs({"x": "multivector", "s": ["b", "n"]}, "return x.grade(1) + tanh(s)", order=0))["f"]
    assert set(other[0].removeprefix("out = ").split(" or ")) == {"x", "tanh(s)"}


def test_quotients() -> None:
    """One over a field has a name as other fields have, one over an extent is written so."""
    quotient = heads(programs({"x": "multivector", "s": "scalar"}, "return x / (2 + cos(s))"))
    assert quotient["f"][0] == "gate_x = 1/(cos(s) + 2); out = x gate_x"
    assert "gate_x" in "\n".join(quotient["f_backward"])
    mean = heads(programs({"x": ["b", "n"]}, "return mean(x, over=n)", None, order=0))["f"]
    assert mean[0] == "out = 1/N sum_n(x)"


def test_a_field_and_a_cotangent_of_one_name() -> None:
    """What is added to a cotangent is not called like it."""
    found = heads(programs({"x": ["b", "n"]}, "y = exp(x)\nreturn y, y * y", None))
    assert not any(re.search(r"\b(\w+) = \1 ", line) for lines in found.values() for line in lines)


@pytest.mark.parametrize("signature", [(2, 0, 0), (3, 0, 1)])
def test_length(signature: tuple[int, int, int]) -> None:
    """Also of second derivatives, whose expressions have hundreds of terms."""
    found = heads(programs(XYW, NORM, signature, order=2))
    for lines in found.values():
        assert 0 < len(lines) <= 12
        assert all(line.strip() and len(line) <= WIDTH for line in lines)


def test_expressions_without_names() -> None:
    """What a body does not name is not multiplied out for the comment, nor gone into for each component."""
    body = "return " + " * ".join(["(x + tanh(x.e) * y)"] * 6)
    found = heads(programs({"x": "multivector", "y": "multivector"}, body, (3, 0, 0), order=0))
    assert "out = f(x, y" in found["f"][0] and len(found["f"]) == 2


def test_gradients_with_names_of_forms() -> None:
    """No row of a launch table has another's name: `f_backward_grad_x_long` is the long form of `f_backward_grad_x`."""
    inputs = {"x": ["b", "n"], "x_long": ["b", "k"]}
    found = programs(inputs, "s = sum(x * x, over=n)\nt = sum(x_long * x_long, over=k)\nreturn x * s, x_long * t", None)
    kernels = [k for p in found for k in p.every_kernel]
    names = [name for name, _ in launch_rows(kernels)]
    assert len(set(names)) == len(names) and "f_backward_grad_x_long" in names
