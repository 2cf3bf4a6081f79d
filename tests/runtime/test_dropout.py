"""Random numbers: how often elements and grades are kept, that derivatives drop the same, and when numbers are new."""

import math
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from modules import BLADES_FIRST, BLADES_LAST, DEVICE, compiled
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from kgen.reference import runtime

SPEC = """
kgen: 1
name: drop
doc: What is dropped in all forms of kernels.
algebra: {signature: [3, 0, 0]}
layout:
  multivector: [..., n, blade]
  weights: {order: [left, out, right], memory: [n, path], gradewise: [grade, n, m]}
kernels:
  elements:
    inputs: {x: multivector, seed: seed}
    options: {training: true, p: 0.25}
    body: return dropout(x, p, seed) if training else x
  grades:
    inputs: {x: multivector, seed: seed}
    options: {p: 0.25}
    body: return dropout(x, p, seed, each="grade")
  branches:
    inputs: {x: multivector, seed: seed}
    options: {first: true}
    outputs: [a, b]
    body: return dropout(x, 0.5, seed) if first else x, dropout(x, 0.5, seed)
  twice:
    doc: Squares, whose second derivatives are the masks again.
    inputs: {x: multivector, w: "scalar[n]", seed: seed}
    body: |
      y = pointwise(abs, dropout(x, 0.5, seed))
      return components(dropout(w * y.e ** 2, 0.25, seed), dropout(w, 0.5, seed) * y.e1)
  normed:
    doc: Below and above a norm, with a fold for its gain.
    inputs: {x: multivector, gain: "scalar[n]", seed: seed}
    body: |
      y = grade_rms_norm(dropout(x, 0.25, seed))
      return dropout(gain * gelu(y), 0.25, seed)
  linear:
    doc: Before and after a product of matrices, where it has another name.
    inputs: {x: multivector, w: "weights(x)[n, m]", seed: seed}
    outputs: {out: "multivector[..., m]"}
    body: |
      y = mv_linear(dropout(gelu(x), 0.25, seed), w)
      return dropout(y, 0.25, seed, each="grade") + rename(dropout(x, 0.5, seed), axis=n, to=m)
  sums:
    doc: Of what edges read, for each node.
    inputs: {t: "[v, c]", s: "[v]", at: "index(v)[k]", seed: seed}
    outputs: {out: "[v, c]"}
    body: |
      near = dropout(gather(dropout(t, 0.25, seed), at) * gather(s, at), 0.5, seed)
      return segment_sum(near, at) + dropout(s, 0.125, seed)
  gained:
    inputs: {x: multivector, gain: "scalar[n]", seed: seed}
    options: {training: true, p: 0.5}
    body: return gain * dropout(x, p, seed) if training else gain * x
modules:
  Dropped:
    kernel: gained
    sizes: {n: features}
    parameters: {gain: ones}
"""
FIRST = SPEC.replace(BLADES_LAST, BLADES_FIRST).replace("multivector[..., m]", "multivector[b, m]")


@pytest.fixture(scope="module")
def drop(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return compiled(SPEC, tmp_path_factory.getbasetemp().parent)


def ones(*shape: int, grad: bool = False) -> Tensor:
    return torch.ones(*shape, dtype=torch.float64, device=DEVICE, requires_grad=grad)


def seeded(number: int) -> Tensor:
    return torch.tensor([number], device=DEVICE)


def near(share: float, expected: float, count: int) -> bool:
    """Within five standard deviations of so many independent draws."""
    return abs(share - expected) < 5 * math.sqrt(expected * (1 - expected) / count)


# which numbers


def test_the_generator_is_philox() -> None:
    """The authors' own vectors, kat_vectors of Random123."""
    for word, expected in (
        (0x0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (0xFFFFFFFF, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ):
        seed = torch.tensor(-1 if word else 0)
        found = runtime._ref_philox(seed, [torch.tensor(word)] * 4)
        assert tuple(map(int, found)) == expected


@pytest.mark.parametrize("kernel", ["elements", "grades"])
def test_how_often(drop: ModuleType, kernel: str) -> None:
    """What is kept is divided by its probability; components that are kept together are one draw."""
    found = getattr(drop, kernel)(ones(64, 128, 8), seeded(7), p=0.3)
    kept = found != 0
    torch.testing.assert_close(found[kept], torch.full_like(found[kept], 1 / 0.7))
    parts = [[*range(8)]] if kernel == "elements" else [[0], [1, 2, 3], [4, 5, 6], [7]]
    draws = torch.stack([kept[..., part[0]] for part in parts])
    for part, draw in zip(parts, draws):
        assert all(torch.equal(kept[..., i], draw) for i in part)
        assert near(float(draw.double().mean()), 0.7, draw.numel())


def independent(draws: list[Tensor], p: float) -> None:
    """Any two of them are both kept as often as if they knew nothing of each other."""
    for i, a in enumerate(draws):
        for b in draws[:i]:
            assert near(float((a & b).double().mean()), p * p, a.numel())


def test_draws_are_independent(drop: ModuleType) -> None:
    """Of neighbours along each axis, of grades, of the dropouts of one body, and of seeds."""
    x, w = ones(129, 129, 8), ones(129)
    mask = drop.elements(x, seeded(1), p=0.5)[..., 0] != 0
    independent([mask[:-1, :-1], mask[1:, :-1], mask[:-1, 1:], mask[1:, 1:]], 0.5)
    independent([mask, drop.elements(x, seeded(2), p=0.5)[..., 0] != 0], 0.5)
    independent([*(drop.grades(x, seeded(1), p=0.5)[..., [0, 1, 4, 7]] != 0).unbind(-1)], 0.5)
    first, second = drop.twice(x, w, seeded(1)).unbind(-1)  # kept by two draws, and by another two
    assert near(float((first != 0).double().mean()), 0.375, first.numel())
    assert near(float(((first != 0) & (second != 0)).double().mean()), 0.1875, 129)


def test_an_element_has_its_number_wherever_it_lies(drop: ModuleType, tmp_path: Path) -> None:
    """Leading axes, memory orders and tiles change nothing."""
    x, first = ones(12, 17, 8), compiled(FIRST, tmp_path)
    found = drop.grades(x, seeded(3))
    assert torch.equal(found, drop.grades(x.view(3, 4, 17, 8), seeded(3)).view(12, 17, 8))
    assert torch.equal(found, first.grades(x.movedim(-1, 0), seeded(3)).movedim(0, -1))
    assert torch.equal(found[:5], drop.grades(x[:5], seeded(3)))


def test_another_branch_changes_no_draw(drop: ModuleType) -> None:
    x = ones(12, 17, 8)
    first, second = (drop.branches(x, seeded(3), first=first) for first in (True, False))
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0] != 0, first[1] != 0)


# derivatives


def test_gradients_drop_the_same(drop: ModuleType) -> None:
    x = ones(9, 5, 8, grad=True)
    found = drop.elements(x)
    (grad,) = torch.autograd.grad(found.sum(), x)
    assert torch.equal(grad, found.detach())
    assert 0 < int((grad == 0).sum()) < grad.numel()


def test_second_derivatives_drop_the_same(drop: ModuleType) -> None:
    x, w = ones(9, 5, 8, grad=True), ones(5, grad=True)
    found = drop.twice(x, w)[..., 0]  # w x^2 and the scales of two masks
    (first,) = torch.autograd.grad(found.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert torch.equal(first[..., 0], 2 * found) and torch.equal(second[..., 0], 2 * found)


@pytest.mark.parametrize("kernel", ["elements", "grades", "twice", "normed", "linear", "sums"])
@pytest.mark.parametrize("seed", [0, -1, 1 << 62])
def test_kernels_are_the_reference(drop: ModuleType, kernel: str, seed: int) -> None:
    """Values, gradients and second derivatives, of the same number, though they are computed in other forms."""
    random = torch.Generator().manual_seed(1)
    extents = {"...": 9, "n": 5, "m": 5, "v": 9, "c": 5, "k": 20}
    inputs: list[Tensor] = []
    for name, dims in drop.KERNELS[kernel]["inputs"].items():
        shape = [extents[d] if isinstance(d, str) else d for d in dims]
        x = torch.randn(shape, generator=random, dtype=torch.float64).requires_grad_()
        inputs.append(torch.randint(9, shape, generator=random) if name == "at" else x)
    inputs = [*(x.to(DEVICE) for x in inputs[:-1]), seeded(seed)]
    leaves = [x for x in inputs if x.requires_grad]

    def derivatives(function: Any) -> list[Tensor]:
        found = function(*inputs)
        first = torch.autograd.grad(found.square().sum(), leaves, create_graph=True)
        second = torch.autograd.grad([x.sin().sum() for x in first], leaves, materialize_grads=True)
        return [found, *first, *second]

    names = (kernel, f"{kernel}_reference")
    found, expected = (derivatives(getattr(drop, name)) for name in names)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_finite_differences(drop: ModuleType) -> None:
    x, gain = (torch.randn(*shape, dtype=torch.float64, device=DEVICE) for shape in ((2, 3, 8), (3,)))
    inputs = (x.requires_grad_(), gain.requires_grad_())
    assert torch.autograd.gradcheck(lambda *values: drop.normed(*values, seeded(5)), inputs, fast_mode=True)


# when numbers are new


def test_each_call_draws(drop: ModuleType) -> None:
    x = ones(9, 17, 8)
    torch.manual_seed(4)
    first, second = drop.elements(x), drop.elements(x)
    torch.manual_seed(4)
    assert not torch.equal(first, second)
    assert torch.equal(first, drop.elements(x)) and torch.equal(second, drop.elements(x))


def test_nothing_is_drawn_for_who_drops_nothing(drop: ModuleType) -> None:
    x = ones(3, 5, 8)
    state = torch.get_rng_state()
    assert torch.equal(drop.elements(x, training=False), x)
    assert torch.equal(drop.elements(x, seeded(1), p=0.0), x)
    assert torch.equal(state, torch.get_rng_state())
    drop.elements(x)
    assert DEVICE.type != "cpu" or not torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints(drop: ModuleType, reentrant: bool) -> None:
    """What is computed again drops the same."""
    grads = []

    def layer(x: Tensor, gain: Tensor) -> Tensor:
        return drop.normed(x + drop.elements(x), gain)  # type: ignore[no-any-return]

    for again in (False, True):
        x, gain = ones(9, 5, 8, grad=True), ones(5, grad=True)
        torch.manual_seed(6)
        run = partial(checkpoint, layer, use_reentrant=reentrant) if again else layer
        found = run(x, gain)
        found.square().sum().backward()
        grads.append((x.grad, gain.grad))
    torch.testing.assert_close(*grads, rtol=0, atol=0)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_code_draws(drop: ModuleType, backend: str) -> None:
    def step(x: Tensor) -> Tensor:
        (grad,) = torch.autograd.grad(drop.elements(x).square().sum(), x)
        return grad

    x = ones(9, 5, 8, grad=True)
    function: Any = torch.compile(drop.elements, backend=backend, fullgraph=True)
    torch.manual_seed(8)
    found, other = function(x), function(x)
    (grad,) = torch.autograd.grad(found.square().sum(), x)
    torch.manual_seed(8)
    assert torch.equal(found, drop.elements(x)) and not torch.equal(found, other)
    torch.manual_seed(8)
    assert torch.equal(grad, step(x))


def test_transforms(drop: ModuleType) -> None:
    """vmap asks whether numbers are the same, as for torch's own; derivatives along a tangent drop the same."""
    x = ones(4, 3, 5, 8)
    with pytest.raises(RuntimeError, match="randomness"):
        torch.func.vmap(drop.elements)(x)
    same = torch.func.vmap(drop.elements, randomness="same")(x)
    other = torch.func.vmap(drop.elements, randomness="different")(x)
    assert torch.equal(same[0], same[1]) and not torch.equal(other[0], other[1])
    found, tangent = torch.func.jvp(lambda x: drop.elements(x, seeded(2)), (x,), (x,))  # type: ignore[misc]
    assert torch.equal(found, tangent)


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE.type != "cuda", reason="there is no GPU")
def test_graphs_draw_at_each_replay(drop: ModuleType) -> None:
    """CUDA graphs, backward included: new numbers each time, and the same ones in both directions."""
    x = torch.ones(64, 33, 8, device="cuda", requires_grad=True)
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        torch.autograd.grad(drop.elements(x).sum(), x)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = drop.elements(x)
        (grad,) = torch.autograd.grad(found.sum(), x)
    results = []
    for _ in range(2):
        graph.replay()
        results.append((found.detach().clone(), grad.clone()))
    assert all(torch.equal(*pair) for pair in results)
    assert not torch.equal(results[0][0], results[1][0])


# modules, what packages say, mistakes


def test_modules_have_modes(drop: ModuleType) -> None:
    layer, x = drop.Dropped(5, p=0.5, device=DEVICE, dtype=torch.float64), ones(9, 5, 8)
    assert int((layer(x) == 0).sum()) > 0
    assert torch.equal(layer.eval()(x), x)
    assert int((layer.train()(x) == 0).sum()) > 0
    assert repr(layer) == "Dropped(features=5, p=0.5)"
    with pytest.raises(ValueError, match="Dropped: p must be at least 0 and below 1, got 1.5"):
        drop.Dropped(5, p=1.5)


def test_no_axis_is_shared_by_devices_that_count_elements(drop: ModuleType) -> None:
    """Each would count its own from zero."""
    operators = __import__(f"{drop.__name__}._runtime.registration", fromlist=["OPERATORS"]).OPERATORS
    found = {tuple(o.flags.items()): o.independent for o in operators if o.function == "elements"}
    assert found == {(("training", True),): (), (("training", False),): ("...", "n")}


@pytest.mark.parametrize("p", [1.0, 1, -0.1, math.inf, math.nan])
def test_a_probability_out_of_range(drop: ModuleType, p: float) -> None:
    with pytest.raises(ValueError, match="elements: p must be at least 0 and below 1, got"):
        drop.elements(ones(1, 1, 8), p=p)


def test_seeds_of_another_kind(drop: ModuleType) -> None:
    x = ones(1, 1, 8)
    with pytest.raises(ValueError, match="seed must be int64, got torch.float32"):
        drop.elements(x, torch.ones(1, device=DEVICE))
    with pytest.raises(ValueError, match=r"seed must have shape \(1,\)"):
        drop.elements(x, seeded(1)[0])
    with pytest.raises(TypeError, match="seed must be a torch.Tensor, got int"):
        drop.elements(x, 3)
