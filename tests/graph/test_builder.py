"""The constructors of fields: what they return again without computing it is what they would compute."""

from collections.abc import Collection
from pathlib import Path

import pytest

from kgen.emit.variants import variants_of
from kgen.graph.builder import Builder
from kgen.graph.node import Node, postorder
from kgen.spec.load import load

ROOT = Path(__file__).parents[2]
KERNELS = {
    "axes": "tests/specs/axes.yaml",
    "grades": "tests/specs/grades.yaml",
    "blocks": "tests/specs/masks.yaml",
    "messages": "tests/specs/masks.yaml",
    "plain": "tests/specs/plain.yaml",
    "fused_gelu_sgp_norm": "specs/vga2d.yaml",
    "layer": "specs/vga2d.yaml",
    "spatial_diffusion": "specs/diffusion.yaml",
}


@pytest.fixture(params=KERNELS, scope="module")
def builder(request: pytest.FixtureRequest) -> Builder:
    """All fields of a kernel, its derivatives, and whatever the scheduler tried."""
    spec = load(str(ROOT / KERNELS[request.param]))
    named = [kernel for kernel in spec.kernels if kernel.name == request.param]
    return variants_of(spec, (named or list(spec.kernels))[0])[0].forward.graph.builder


def test_a_field_over_its_own_arguments_is_itself(builder: Builder) -> None:
    nodes = [node for node in builder.nodes if node.args]
    assert len(nodes) > 10
    for node in nodes:
        assert builder.rebuilt(node, node.args) is node


def test_what_was_asked_before_is_answered_as_then(builder: Builder) -> None:
    made = dict(builder.made)
    assert {constructor for constructor, *_ in made} >= {"mul", "_linear"} and len(made) > 20
    builder.made.clear()
    count = len(builder.nodes)
    for (constructor, *arguments), found in made.items():
        assert getattr(builder, str(constructor))(*arguments) is found
    assert len(builder.nodes) == count


def visit(node: Node, barred: Collection[Node], order: dict[Node, None]) -> None:
    for a in node.args if node not in barred and node not in order else ():
        visit(a, barred, order)
    order.setdefault(node)


@pytest.mark.parametrize("stride", [1, 3, 7])
def test_arguments_come_first_and_what_is_barred_is_not_entered(builder: Builder, stride: int) -> None:
    roots, barred = builder.nodes[-2 * stride :: stride], builder.nodes[::stride]
    for stop in ([], barred):
        expected: dict[Node, None] = {}
        for root in roots:
            visit(root, stop, expected)
        assert postorder(roots, stop) == list(expected)
        postorder(roots, stop).clear()  # a list of the caller's own
        assert postorder(roots, stop) == list(expected)
