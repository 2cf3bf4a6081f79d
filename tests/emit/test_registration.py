"""What is registered with a variant's operators: which axes may be sharded, how many operations there are."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from bodies import FUSED, MV, OPTIONS, SGP
from handmade import one

from kgen.emit.host.registration import flops, independent
from kgen.schedule.program import Program
from kgen.schedule.schedule import schedule
from kgen.trace.trace import trace

INVARIANT = {"x": "multivector", "r": "even[b]"}


def programs(
    body: str,
    inputs: Mapping[str, str | list[str]],
    flags: Mapping[str, bool] | None = None,
    memory: str = "blade b n",
) -> tuple[Program, ...]:
    """The programs of a body over Cl(2,0), or of one without an algebra where no input is a multivector."""
    geometric = any(isinstance(written, str) for written in inputs.values())
    spec = one((2, 0, 0) if geometric else None, inputs, body, OPTIONS if flags else None, memory=memory)
    return schedule(trace(spec, spec.kernels[0], dict(flags or {})), list(inputs))


@pytest.mark.parametrize(
    ("body", "inputs", "axes"),
    [
        ("return x * y", MV, ("b", "n")),
        ("return sgp(x, y, weight)", SGP, ("b", "n")),
        ("return r >> x", INVARIANT, ("b", "n")),
        ("return x, r * 2", INVARIANT, ("b",)),  # a shard of n would make r * 2 a part of nothing
        ("return x / (1 + mean(x.e, over=n))", MV, ("b",)),
        ("return x * (1 + mean(x.e, over=b))", MV, ("n",)),
        ("return sum(x, over=n), sum(y, over=b)", MV, ()),
        ("return exp(max(w, over=v)) * u", {"w": ["c", "v"], "u": ["c"]}, ("c",)),
    ],
)
def test_independent_axes(body: str, inputs: Mapping[str, str | list[str]], axes: tuple[str, ...]) -> None:
    assert independent(programs(body, inputs)[0]) == axes


@pytest.mark.parametrize(("normalize", "axes"), [(False, ("b", "n")), (True, ("b",))])
def test_a_norm_over_the_features_keeps_them_together(normalize: bool, axes: tuple[str, ...]) -> None:
    assert independent(programs(FUSED, SGP, {"normalize": normalize})[0]) == axes


def test_leading_axes_are_independent_together() -> None:
    assert independent(programs("return x * y", MV, memory="... n blade")[0]) == ("...", "n")


@pytest.mark.parametrize(
    ("body", "inputs", "counts"),
    [
        # the product of Cl(2,0) has 16 terms in 4 sums; its gradients have twice as many
        ("return x * y", MV, (28, 56)),
        ("return w * w * w + 2 * w + 3", {"w": ["v"]}, (2 + 1 + 2, None)),
        ("return exp(w) / (1 + w)", {"w": ["v"]}, (1 + 1 + 1 + 1, None)),
    ],
)
def test_operations_of_a_map(
    body: str, inputs: Mapping[str, str | list[str]], counts: tuple[int | None, int | None]
) -> None:
    axes = ("b", "n") if inputs is MV else ("v",)
    for program, count in zip(programs(body, inputs), counts):
        assert count is None or flops(program) == ((count, axes),)


def test_operations_along_fewer_axes_are_counted_along_them() -> None:
    forward, *_ = programs("return x * exp(w) + exp(u)", {"x": ["b", "n"], "w": ["n"], "u": ["b"]})
    assert flops(forward) == ((2, ("b", "n")), (1, ("b",)), (1, ("n",)))


def test_operations_of_sums() -> None:
    forward, backward, *_ = programs("return sum(x * w, over=n)", {"x": ["b", "n"], "w": ["n"]})
    assert flops(forward) == ((2, ("b", "n")),)  # a product and an addition
    assert flops(backward) == ((3, ("b", "n")),)  # two products, and an addition to the gradient of w


def test_what_replaces_a_kernel_is_not_counted_twice() -> None:
    _, backward, _ = programs(FUSED, SGP, {"normalize": True})
    ((_, replacement),) = backward.alternatives
    rest = tuple(step for step in backward.steps if step.name != replacement)
    assert len(rest) == len(backward.steps) - 1
    assert flops(backward) == flops(replace(backward, steps=rest, alternatives=()))
    assert flops(backward) < flops(replace(backward, alternatives=()))
