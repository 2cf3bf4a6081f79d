"""What lies at the ends of edges, and sums for each node: graphs of every kind, bad indices, what is sorted when."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from modules import DEVICE, compiled, module
from torch import Tensor
from variants import joined

from kgen.tools.comparison import launches
from kgen.tools.problem import draw, runtime

MESSAGE = module("message")
KINDS = ("message", "weighted_message", "gated_message")
pytestmark = [
    pytest.mark.usefixtures("poisoned"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:triton"),  # of lanes that a mask discards
]

GRAPHS: dict[str, tuple[int, list[int], list[int]]] = {  # nodes, sources and targets
    "unsorted": (5, [4, 0, 2, 3, 1, 0], [1, 3, 0, 1, 4, 2]),
    "sorted": (4, [1, 2, 0, 3, 1], [0, 0, 1, 3, 3]),
    "repeated edges": (3, [0, 0, 0, 2], [1, 1, 1, 1]),
    "isolated nodes": (7, [2, 5], [5, 2]),
    "no edges": (3, [], []),
    "a single node": (1, [0, 0], [0, 0]),
    "loops": (3, [0, 1, 2], [0, 1, 2]),
    "a hub": (4, [3] * 40, [*range(4)] * 9 + [0] * 4),
}


def inputs(kind: str, graph: tuple[int, list[int], list[int]], dtype: torch.dtype = torch.int64) -> list[Tensor]:
    """Leaves that require grad, and the edges."""
    nodes, sources, targets = graph
    random = torch.Generator().manual_seed(5)
    shapes = [(nodes, 3, 8), (len(sources), 3), *([(3, 20)] if kind != "message" else [])]
    drawn = [torch.randn(shape, generator=random, dtype=torch.float64).to(DEVICE) for shape in shapes]
    return [
        *(x.requires_grad_() for x in drawn),
        *(torch.tensor(x, dtype=dtype, device=DEVICE) for x in (sources, targets)),
    ]


def function(kind: str) -> Callable[..., Tensor]:
    return getattr(MESSAGE, kind)  # type: ignore[no-any-return]


def one_by_one(kind: str, x: Tensor, gate: Tensor, *rest: Tensor) -> Tensor:
    """The sum of what the reference makes of each edge alone, between two nodes."""
    *weight, source, target = rest
    reference, result = getattr(MESSAGE, f"{kind}_reference"), torch.zeros_like(x)
    for e, (i, j) in enumerate(zip(source.tolist(), target.tolist())):
        first, second = torch.tensor([0], device=DEVICE), torch.tensor([1], device=DEVICE)
        sent = reference(torch.stack([x[i], x[j]]), gate[e : e + 1], *weight, first, second)
        result = result + torch.nn.functional.pad(sent[1:], (0, 0, 0, 0, j, len(x) - j - 1))
    return result


def derivatives(found: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """A result, its gradients, and gradients of these, as those of forces are."""
    cotangent = torch.cos(torch.arange(found.numel(), dtype=found.dtype, device=DEVICE)).view_as(found)
    first = torch.autograd.grad(found, leaves, cotangent, create_graph=True, materialize_grads=True)
    square = torch.stack([*(x.sin().sum() for x in first), *(0 * x.sum() for x in leaves)]).sum()
    return [found, *first, *torch.autograd.grad(square, leaves, materialize_grads=True)]


@pytest.mark.parametrize(("kind", "graph"), [*itertools.product(KINDS, GRAPHS)])
def test_graphs(kind: str, graph: str) -> None:
    """Values, gradients and second derivatives are those of the edges one by one."""
    given = inputs(kind, GRAPHS[graph])
    leaves = [x for x in given if x.requires_grad]
    with launches(MESSAGE) as launched:
        found = derivatives(function(kind)(*given), leaves)
    assert launched
    expected = derivatives(one_by_one(kind, *given) + 0 * sum(x.sum() for x in leaves), leaves)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_int32_and_strides_change_no_bit(kind: str) -> None:
    given = inputs(kind, GRAPHS["unsorted"])
    leaves = [x for x in given if x.requires_grad]
    expected = derivatives(function(kind)(*given), leaves)
    narrow = [x.to(torch.int32) for x in given[-2:]]
    apart = [x.repeat_interleave(2)[::2] for x in given[-2:]]
    for other in (narrow, apart):
        found = derivatives(function(kind)(*given[:-2], *other), leaves)
        assert all(torch.equal(x, y) for x, y in zip(found, expected))


@pytest.mark.parametrize("kind", KINDS)
def test_edges_in_any_order(kind: str) -> None:
    """Edges of a node are added as they come, so only rounding may differ."""
    given = inputs(kind, GRAPHS["a hub"])
    order = torch.randperm(len(given[1]), generator=torch.Generator().manual_seed(3)).to(DEVICE)
    mixed = [given[0], given[1][order], *given[2:-2], *(x[order] for x in given[-2:])]
    torch.testing.assert_close(function(kind)(*mixed), function(kind)(*given), rtol=1e-12, atol=1e-12)


OTHERS = """
kgen: 1
name: others
doc: What reads and adds by an index in other forms of kernels.
algebra: {signature: [2, 0, 0]}
layout:
  multivector: [v, n, blade]
  weights: {order: [left, out, right], memory: [n, path], gradewise: [grade, n, m]}
kernels:
  linear:
    doc: A product of matrices of what edges read, and messages that are stored for it.
    inputs: {x: multivector, w: "weights(x)[n, m]", source: "index(v)[e]", target: "index(v)[e]"}
    outputs: {out: "multivector[v, m]"}
    body: |
      y = mv_linear(gather(x, source), w)
      return segment_sum(tanh(y.e) * y, target)
  lengths:
    doc: Along edges and nodes alone, so that no axis is the inner one.
    inputs: {p: [v, 3], s: [v], source: "index(v)[e]", target: "index(v)[e]"}
    outputs: {near: [e], degree: [v]}
    body: |
      d0 = gather(p[0], source) - gather(p[0], target)
      d1 = gather(p[1], source) - gather(p[1], target)
      near = exp(-d0 * d0 - d1 * d1)
      return near, segment_sum(near, target) + s
  results:
    doc: Gradients that are sums of segments and of others, so that the first are stored.
    inputs: {p: "[v, k]", w: "[k, m]", source: "index(v)[e]"}
    outputs: {projected: "[v, m]", ends: "[e, k]"}
    body: return sum(tanh(p * w), over=k), gather(p, source)
  rows:
    doc: Sums along rows of edges, which a walk reads; and along all edges, whose gradient counts a node's.
    inputs: {x: multivector, source: "index(v)[e]", target: "index(v)[e]"}
    outputs: {out: multivector, total: [n]}
    body: |
      r = rsqrt(1 + mean(norm_squared(gather(x, source)), over=n))
      return segment_sum(r * gather(x, source) - gather(x, target), target), sum(gather(x.e, source), over=e)
  two_ways:
    doc: Read by one index along the tile, or along rows, and added by another.
    inputs: {s: [v], t: [v], p: "[v, k]", source: "index(v)[e]", other: "index(v)[f]"}
    outputs: {tile: "[v, f]", rows: "[v, f, k]"}
    body: |
      z = gather(s, source)
      mixed = gather(p, other) * z
      return segment_sum(tanh(gather(t, other) * z), source), segment_sum(mixed * mixed, source)
  renamed_positions:
    doc: What an index reads, and what varies along its positions, along an axis of as many.
    inputs: {s: [v], t: [v], u: [w], source: "index(v)[e]"}
    outputs: {out: "[e, w]"}
    body: return rename(tanh(gather(s, source) * t), axis=v, to=w) * u
  renamed_features:
    doc: One tensor at both ends of edges, along features under two names.
    inputs: {p: "[v, k]", w: "[k, m]", c: [m], source: "index(v)[e]", target: "index(v)[e]"}
    outputs: {out: "[e, m]"}
    body: |
      a = gather(p, source)
      b = gather(p, target)
      return rename(a, axis=k, to=m) * dot(b, w, over=k) + rename(b, axis=k, to=m) * c * dot(a, w, over=k)
  renamed_edges:
    doc: Pairs of edges, and of nodes, of what is gathered and added along one of the axes.
    inputs: {p: "[v, k]", u: [e], z: "[f, w]", source: "index(v)[e]", target: "index(v)[e]"}
    outputs: {edges: "[e, f]", nodes: "[w, f]"}
    body: |
      a = segment_sum(gather(p, source) * u, target)
      s = sum(sin(a), over=k)
      t = gather(s, source) + u
      return t * rename(gather(s, target), axis=e, to=f), rename(s, axis=v, to=w) * rename(t, axis=e, to=f) * z
"""
SIZES = [{"v": 7, "e": 23, "n": 5, "m": 4, "k": 6, "f": 9}, {"v": 3, "e": 2, "n": 33, "m": 17, "k": 40, "f": 3}]


@pytest.mark.parametrize(
    "kind",
    ["linear", "lengths", "results", "rows", "two_ways", "renamed_positions", "renamed_features", "renamed_edges"],
)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_other_forms_of_kernels(kind: str, sizes: dict[str, int], compiled_folder: Path) -> None:
    of = compiled(OTHERS, compiled_folder)
    given = draw(of.KERNELS[kind], sizes, torch.float64, DEVICE).leaves
    leaves = [x for x in given if x.requires_grad]
    found, expected = (joined(getattr(of, name)(*given)) for name in (kind, f"{kind}_reference"))
    torch.testing.assert_close(derivatives(found, leaves), derivatives(expected, leaves), rtol=1e-9, atol=1e-9)


# indices that are none


@pytest.mark.parametrize("dtype", [torch.float32, torch.int16, torch.bool], ids=str)
def test_a_wrong_dtype(dtype: torch.dtype) -> None:
    *rest, source, target = inputs("message", GRAPHS["sorted"])
    with pytest.raises(ValueError, match="message: source must be int32 or int64, got torch"):
        MESSAGE.message(*rest, source.to(dtype), target)


def test_a_wrong_rank_and_length() -> None:
    *rest, source, target = inputs("message", GRAPHS["sorted"])
    with pytest.raises(ValueError, match=r"message: source must have shape \(e,\), got \(5, 1\)"):
        MESSAGE.message(*rest, source[:, None], target)
    with pytest.raises(ValueError, match=r"message: target must have shape \(e,\) with e = 5 where it has 4"):
        MESSAGE.message(*rest, source, target[:4])


FAR = (-1, 5, 2**31 - 1, -(2**31))  # of five positions, or of four


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime(MESSAGE, "arguments"), "CHECKS_INDICES", True)


@pytest.mark.usefixtures("checks")
@pytest.mark.parametrize("far", FAR)
def test_what_is_out_of_range_is_found(far: int) -> None:
    *rest, source, target = inputs("message", GRAPHS["sorted"])
    target[3] = far
    with pytest.raises(IndexError, match=f"message: target must be from 0 to 3, for v = 4, got {far} at 3"):
        MESSAGE.message(*rest, source, target)
    target[3] = 3
    MESSAGE.message(*rest, source, target)
    MESSAGE.message(*inputs("message", GRAPHS["no edges"]))


@pytest.mark.parametrize(("kind", "far", "end"), [*itertools.product(KINDS, FAR, (-1, -2))])
def test_what_is_out_of_range_touches_nothing(kind: str, far: int, end: int) -> None:
    """An edge of which an end is nowhere reads zero there and adds to nothing, in all derivatives."""
    given = inputs(kind, GRAPHS["unsorted"])
    given[end] = given[end].clone()
    given[end][2] = far
    keep = torch.tensor([e != 2 for e in range(len(given[1]))], device=DEVICE)
    less = [given[0], given[1][keep], *given[2:-2], *(x[keep] for x in given[-2:])]
    leaves = [x for x in given if x.requires_grad]
    found, expected = (derivatives(function(kind)(*g), leaves) for g in (given, less))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


# what is sorted when


def test_an_index_is_sorted_once_until_it_is_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    segments, sorted_ = runtime(MESSAGE, "segments"), list[Tensor]()
    plain = segments._sorted

    def noted(index: Tensor, count: int) -> Any:
        sorted_.append(index)
        return plain(index, count)

    monkeypatch.setattr(segments, "_sorted", noted)
    given = inputs("message", GRAPHS["unsorted"])
    leaves = given[:2]
    for _ in range(2):
        derivatives(MESSAGE.message(*given), leaves)
    assert [x.data_ptr() for x in sorted_] == [given[-1].data_ptr(), given[-2].data_ptr()]
    before = MESSAGE.message(*given)
    given[-1][0] = 2
    after = MESSAGE.message(*given)
    assert len(sorted_) == 3 and not torch.equal(before, after)
    torch.testing.assert_close(after, MESSAGE.message_reference(*given))
    del before, after
    more = torch.cat([given[0], given[0]])
    assert MESSAGE.message(more, *given[1:]).shape == more.shape and len(sorted_) == 4, "for another count"


# what torch asks


@pytest.mark.parametrize("kind", KINDS)
def test_opcheck(kind: str) -> None:
    operator = next(o for o in runtime(MESSAGE, "registration").OPERATORS if o.function == kind)
    torch.library.opcheck(operator.op, tuple(inputs(kind, GRAPHS["unsorted"])))


def test_module() -> None:
    """A layer's parameters load under their names, and it computes what the functions do."""
    x, gate, _, source, target = inputs("weighted_message", GRAPHS["a hub"])
    for gated in (False, True):
        layer: Any = MESSAGE.Message(3, gated=gated, device=DEVICE, dtype=torch.float64)
        assert {name: tuple(p.shape) for name, p in layer.state_dict().items()} == {"weight": (3, 20)}
        kind = "gated_message" if gated else "weighted_message"
        expected = getattr(MESSAGE, f"{kind}_reference")(x, gate, layer.weight, source, target)
        torch.testing.assert_close(layer(x, gate, source, target), expected)


def test_vmap() -> None:
    """Several graphs of one size."""
    given = [x.detach() for x in inputs("message", GRAPHS["sorted"])]
    x = torch.stack([given[0], given[0].flip(0)])
    found = torch.func.vmap(MESSAGE.message, (0, None, None, None))(x, *given[1:])
    torch.testing.assert_close(found, torch.stack([MESSAGE.message(each, *given[1:]) for each in x]))
