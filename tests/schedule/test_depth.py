"""What a body costs to build, and what it becomes, grows with its length as the body does.

Counted, not timed: function calls of a whole build, fields, launches, and tensors that kernels write.
"""

import cProfile
from collections.abc import Sequence

import chains
import pytest

from kgen.emit.variants import variants_of
from kgen.graph.autodiff import differentiate
from kgen.graph.builder import Builder
from kgen.graph.cost import cost
from kgen.graph.graph import Graph, Output
from kgen.graph.node import postorder
from kgen.graph.tensor import Tensor
from kgen.graph.zeros import Zeros
from kgen.pipeline import generate
from kgen.reference import probe
from kgen.schedule.program import Kernel, Program
from kgen.spec.load import load
from kgen.trace.trace import trace


def programs(kind: str, layers: int) -> tuple[Program, ...]:
    spec = load("specs/chained.yaml", chains.spec(kind, layers))
    (variant,) = variants_of(spec, spec.kernels[0])
    return variant.programs


def calls(kind: str, layers: int) -> int:
    """The function calls of a build, without those of what is done once in a process."""
    spec = load("specs/chained.yaml", chains.spec(kind, layers))
    generate([load("specs/chained.yaml", chains.spec(kind, 1))])
    profile = cProfile.Profile()
    with profile:
        generate([spec])
    return sum(entry.callcount for entry in profile.getstats())


@pytest.mark.parametrize(("kind", "most"), [("own", 2.5), ("renamed", 2.6), ("residual", 3.1)])
def test_a_layer_more_costs_what_the_last_one_did(kind: str, most: float) -> None:
    """Eight layers more cost about twice what four more do."""
    first, second, third = (calls(kind, layers) for layers in (4, 8, 16))
    assert third - second <= most * (second - first)


def test_results_that_need_a_step() -> None:
    """Asked once for each step, along however many ways results are reached: each kernel reads the two before it."""
    tensors = [Tensor(f"t{i}", ("b",)) for i in range(24)]
    kernels = [_kernel(tensors[max(0, i - 2) : i], tensor) for i, tensor in enumerate(tensors)]
    graph = Graph("f", ("b",), (), (), (), Builder())
    profile = cProfile.Profile()
    with profile:
        program = Program(graph, (), tuple(tensors[-2:]), (), (), tuple(kernels))
        found = [program.reached(kernel) for kernel in kernels]
    assert found == [frozenset(("t22", "t23"))] * 23 + [frozenset(("t23",))]
    assert sum(entry.callcount for entry in profile.getstats()) < 100 * len(kernels)


def _kernel(reads: Sequence[Tensor], writes: Tensor) -> Kernel:
    nothing, output = cost([]), Output(writes, (Builder().one,))
    name = f"to_{writes.name}"
    return Kernel(name, "map", ("b",), (), (), tuple(reads), (), (output,), (), (), nothing, nothing, 0, False, ())


@pytest.mark.parametrize("kind", chains.KINDS)
def test_launches(kind: str) -> None:
    """Each layer adds as many steps to the forward as the others."""
    forward = [len(programs(kind, layers)[0].steps) for layers in (8, 12, 16)]
    backward = [len(programs(kind, layers)[1].steps) for layers in (8, 12, 16)]
    assert forward[2] - forward[1] == forward[1] - forward[0]
    assert backward[2] - backward[1] <= backward[1] - backward[0]


def multiplied(kind: str, layers: int) -> int:
    """The pairs of factors in all products of matrices of the gradients."""
    spec = load("specs/chained.yaml", chains.spec(kind, layers))
    graph = trace(spec, spec.kernels[0], {})
    nodes = postorder(differentiate(graph, [t.name for t in graph.inputs]).roots)
    return sum(len(node.pairs) for node in nodes if node.kind == "Dot")


@pytest.mark.parametrize("kind", chains.KINDS)
def test_a_field_under_two_names_has_one_cotangent(kind: str) -> None:
    """Else that of a layer's result were computed twice, and made of the two of each layer above it."""
    first, second, third = (multiplied(kind, layers) for layers in (2, 4, 8))
    assert third - second == 2 * (second - first)


def test_what_was_renamed_is_remembered() -> None:
    """Until a tensor of the same name lies otherwise; a name that a field gets later is its twin's, too."""
    b, names = Builder(), {"n": "m", "m": "n"}
    b.declare(Tensor("x", ("b", "n")))
    field = b.call("exp", b.input("x", 0, ("b", "n")))
    (first,) = b.rename([field], names)
    b.name(field, "e")
    assert b.rename([field], names) == [first] and b.rename([first], names) == [field] and b.hints[first] == "e"
    b.declare(Tensor("x", (2, "b", "n"), ("0", "1")))
    (other,) = b.rename([field], names)
    assert other is not first and b.tensors[other.args[0].tensor].dims == (2, "b", "m")


@pytest.mark.parametrize("kind", chains.KINDS)
def test_residuals_are_read(kind: str) -> None:
    """A forward makes each layer of the one before, as it was stored: its kernels read and compute what others do."""
    first, middle, last = (_work(programs(kind, layers)[0]) for layers in (6, 10, 14))
    assert all(c - b <= 1.2 * (b - a) for a, b, c in zip(first, middle, last))


def _work(program: Program) -> tuple[int, int, int]:
    """Fields that kernels read, and fields that steps write; instructions."""
    read = sum(len(t.labels) for k in program.kernels for t in k.inputs)
    written = sum(len(t.labels) for step in program.steps for t in step.written)
    return read, written, sum(k.cost.total for k in program.kernels)


def test_fields_among_many_axes() -> None:
    """A grid with two positions along each of a hundred axes would fit no memory."""
    b, axes = Builder(), tuple(f"n{i}" for i in range(100))
    x, y = b.input("x", 0, ("n3", "n99")), b.input("y", 0, ("n99", "n5"))
    zeros = Zeros(axes)
    assert not zeros.vanishes(b.sum(b.mul(x, y), ["n99"]))
    whole = b.call("exp", b.sub(b.mul(x, x), b.mul(y, y)))
    parts = b.call("exp", b.mul(b.sub(x, y), b.add(x, y)))  # the same, which no constructor sees
    assert zeros.vanishes(b.sub(whole, parts)) and not zeros.vanishes(b.sub(whole, b.one))


def test_probes_among_many_axes() -> None:
    """The same of the reference, whose probes are its own."""
    x, y = probe.random("x", 0, (3, 99)), probe.random("y", 0, (99, 5))
    whole = probe.add(probe.multiply(x, x), probe.multiply(y, y), -1)
    parts = probe.multiply(probe.add(x, y, -1), probe.add(x, y))
    assert whole and not probe.add(probe.opaque("exp", whole), probe.opaque("exp", parts), -1)
    renamed = probe.exchange(whole, 3, 70)
    assert renamed.axes == 1 << 70 | 1 << 99 | 1 << 5 and probe.exchange(renamed, 3, 70) == whole
    halves = probe.reduce("mean", probe.reduce("sum", x, [42]), [42])  # twice itself along an axis that it lacks
    assert halves == probe.add(x, x) and probe.reduce("max", x, [42]) == x
