"""Programs that go by an index: what one kernel does, what is stored before it, and that no message is."""

import pytest
from handmade import one

from kgen.emit.variants import variants_of
from kgen.schedule.program import Kernel, Program

INPUTS = {"x": "multivector", "u": "scalar[m]", "i": "index(n)[m]", "j": "index(n)[m]"}


def programs(body: str, inputs: dict[str, str] | None = None) -> tuple[Program, ...]:
    spec = one((2, 0, 0), inputs or INPUTS, body)
    (variant,) = variants_of(spec, spec.kernels[0])
    return variant.programs


def kinds(program: Program) -> list[str]:
    return [kernel.kind for kernel in program.kernels]


def stored(kernel: Kernel) -> set[str]:
    return {axis for tensor in kernel.written for axis in tensor.axes}


def test_what_is_gathered_is_loaded_where_the_index_says() -> None:
    (kernel,) = programs("return u * gather(x, i)")[0].kernels
    assert kernel.kind == "map" and not kernel.flat
    assert [t.memory for t in kernel.inputs if t.lookups] == ["x"], "no copy"


def test_a_walk_computes_what_it_sums_and_what_is_made_of_the_sums() -> None:
    forward, backward, _ = programs("return segment_sum(tanh(gather(x.e, i) * u) * gather(x, i), j) * x")
    (kernel,) = forward.kernels
    assert kernel.kind == "segment" and kernel.loop == ("m",) and "n" in kernel.rows
    assert all("m" not in stored(k) for k in forward.kernels)
    written = {t.name for k in backward.kernels for t in k.written if "m" in t.axes}
    assert written == {"grad_u"}, "no message, and no gradient of one"


def test_two_indices_are_walked_by_one_kernel() -> None:
    (kernel,) = programs("return segment_sum(u * gather(x, i), j) + segment_sum(u * gather(x, j), i)")[0].kernels
    assert [by.tensor for by in kernel.segments] == ["j", "i"] or [by.tensor for by in kernel.segments] == ["i", "j"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return gather(x * x, i)", ["map", "map"]),  # each position's first
        ("return gather(sum(x.e, over=b), i) * u", ["fold", "map"]),
        ("return segment_sum(u * sum(gather(x.e, i), over=b), j) * x", ["fold", "segment", "map"]),
        ("return gather(segment_sum(u * gather(x, i), j), i)", ["segment", "map"]),
        ("return grade_rms_norm(segment_sum(u * gather(x, i), j))", ["segment", "row"]),
    ],
)
def test_what_is_stored_first(body: str, expected: list[str]) -> None:
    assert kinds(programs(body)[0]) == expected


def test_a_matrix_product_of_what_is_gathered_has_its_factor_stored() -> None:
    inputs = {"x": "[v, n]", "w": "[n, k]", "i": "index(v)[m]"}
    forward = programs("return dot(gather(x, i), w, over=n)", inputs)[0]
    assert [kernel.kind for kernel in forward.kernels] == ["map"] and len(forward.products) == 1
    assert stored(forward.kernels[0]) == {"m", "n"}
