"""Programs for rows of few features: what kernels multiply inside, and what is no such program."""

from pathlib import Path

import pytest

from kgen.emit.package import emit
from kgen.emit.variants import variants_of
from kgen.errors import KgenError
from kgen.graph.builder import Builder
from kgen.graph.tensor import Tensor
from kgen.schedule.narrow import ENDING, multiple
from kgen.schedule.products import Product
from kgen.schedule.program import Kernel, Program
from kgen.spec.load import load

BLOCKS = Path(__file__).parents[1] / "specs" / "blocks.yaml"
HEAD = "kgen: 1\nname: refused\nkernels:\n  f:\n    narrow: true\n"


def programs(kernel: str) -> tuple[Program, ...]:
    spec = load("specs/blocks.yaml", BLOCKS.read_text(encoding="utf-8"))
    (variant,) = variants_of(spec, spec.kernel(kernel))
    return variant.programs


def narrow(kernel: str) -> list[Program]:
    return [p.narrow for p in programs(kernel) if p.narrow]


@pytest.mark.parametrize(("kernel", "steps"), [("block", [2, 7]), ("twice", [2, 4, 6]), ("planes", [1, 4])])
def test_steps(kernel: str, steps: list[int]) -> None:
    """As many as there are levels of products, and one for each weight's gradient; no product between kernels."""
    found = narrow(kernel)
    assert [len(p.steps) for p in found] == steps
    assert not any(isinstance(step, Product) for p in found for step in p.steps)


@pytest.mark.parametrize("kernel", ["block", "twice", "planes"])
def test_the_same_crosses(kernel: str) -> None:
    """A forward of either kind serves a backward of either: results, and what is saved, are the same tensors."""
    for program in programs(kernel):
        assert program.narrow
        other = program.narrow
        assert (other.inputs, other.outputs, other.saved) == (program.inputs, program.outputs, program.saved)
        written = {t.name for step in other.steps for t in step.written}
        assert {t.name for t in (*program.outputs, *program.saved)} <= written


@pytest.mark.parametrize("kernel", ["block", "twice", "planes"])
def test_what_is_read_is_there(kernel: str) -> None:
    """What kernels multiply lies in memory before them, and the products themselves lie nowhere."""
    for program in narrow(kernel):
        there = {t.memory for t in program.inputs}
        for step in program.steps:
            assert isinstance(step, Kernel) and step.reads <= there, step.name
            assert {o.tensor.memory for o in step.inside}.isdisjoint(there)
            there |= {t.name for t in step.written}


def test_each_field_is_stored_once() -> None:
    """A factor is read again as what it is, and is no residual beside that."""
    for program in narrow("block"):
        stored = [
            f for step in program.steps if isinstance(step, Kernel) for o in step.stores for f in o.fields if f.args
        ]
        assert len(stored) == len(set(stored))


def test_multiples() -> None:
    b = Builder()
    b.declare(Tensor("x", ("n",)))
    x = b.input("x", 0, ("n",))
    assert multiple(x) == (1, x) and multiple(b.scale(-3, x)) == (-3, x)
    assert multiple(b.scale(2, b.mul(b.const(0.7), x))) == (1.4, x)
    assert multiple(b.mul(x, x)) == (1, b.mul(x, x))


REFUSED = {
    "    inputs: {x: [b, n]}\n    body: return x * x\n": "it has no matrix product",
    "    inputs: {x: [b, n], w: [n, m], y: [b, m]}\n    body: return dot(x, w, over=n) / sum(y, over=b)\n": (
        "out is more than a sum along b"
    ),
    "    inputs: {x: [b, n], w: [n, m], v: [n, m]}\n    body: return dot(x, w * v, over=n)\n": (
        "a field varies along m n"
    ),
    "    inputs: {x: [b, h, n], w: [n, m]}\n    body: return dot(x, w, over=n)\n": "is no map of rows",
    "    inputs: {x: [b, n], w: [n, m], i: 'index(b)[e]'}\n    body: return dot(gather(x, i), w, over=n)\n": (
        "a field goes by the index i"
    ),
    "    inputs: {x: [b, n], w: [n, m], i: 'index(v)[b]', u: [v, n]}\n"
    "    body: return segment_sum(x, i) + u, dot(x, w, over=n)\n": "a field goes by the index i",
    "    inputs: {x: [b, n], y: [b, p], w: [k, m]}\n"
    "    body: return dot(cat(x, y, axis=(n, p), to=k), w, over=k)\n": "w is read in parts",
    "    inputs: {x: [b, n], w: [n, m], y: [b, p]}\n"
    "    body: return cat(dot(x, w, over=n), y, axis=(m, p), to=k)\n": "out is made of parts",
}


@pytest.mark.parametrize(("rest", "reason"), REFUSED.items())
def test_refused(rest: str, reason: str) -> None:
    """Said with what is in the way; the spec without the word builds."""
    with pytest.raises(KgenError) as refused:
        emit(load("specs/refused.yaml", HEAD + rest))
    assert reason in refused.value.message and "leave `narrow` out" in (refused.value.hint or "")
    emit(load("specs/refused.yaml", HEAD.replace("    narrow: true\n", "") + rest))


def test_kinds() -> None:
    """Kernels with products are of their own kind; the others hold rows, and need no form for long ones."""
    for program in narrow("block"):
        for step in program.steps:
            assert isinstance(step, Kernel) and step.short
            sums = any(f.kind == "Dot" for g in step.folds for f in [multiple(x)[1] for x in g.fields])
            assert (step.kind == ENDING) == (bool(step.inside) or sums)
