"""Which inputs of programs are read in place though their rows may lie apart."""

import pytest
from handmade import one

from kgen.schedule.program import Kernel, Program
from kgen.schedule.schedule import schedule
from kgen.spec.model import Spec
from kgen.trace.trace import trace

BATCH = {"x": "multivector", "y": "multivector"}


def programs(spec: Spec) -> tuple[Program, ...]:
    kernel = spec.kernels[0]
    return schedule(trace(spec, kernel, {}), kernel.grads)


@pytest.mark.parametrize("memory", ["blade b n", "b n blade"])
def test_batches_and_their_cotangents(memory: str) -> None:
    """No rows of one number and no weights; second derivatives read nothing so."""
    spec = one((2, 0, 0), BATCH | {"w": "[n]", "scale": "[b]"}, "return gp(x, y) * scale * w", memory=memory)
    forward, backward, second = programs(spec)
    assert [[t.name for t in p.inputs if t.stepped] for p in (forward, backward, second)] == [
        ["x", "y"],
        ["x", "y", "grad_out"],
        [],
    ]


def test_all_kernels_agree_with_the_launcher() -> None:
    """A tensor has steps in every kernel that reads it, also of rows of few features, or in none."""
    spec = one((2, 0, 0), {"x": "multivector", "w": "weights(x)[n, m]"}, "return gelu(mv_linear(gelu(x), w))")
    for program in programs(spec):
        known = {t.name: t.stepped for t in program.inputs}
        for p in program.both:
            kernels = [step for step in p.every_step if isinstance(step, Kernel)]
            assert all(t.stepped == known.get(t.name, False) for kernel in kernels for t in kernel.inputs)
            assert all(not t.stepped for step in p.every_step if step not in kernels for t in step.inputs)
