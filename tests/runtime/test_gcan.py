"""Layers of geometric Clifford algebra networks, against rigid motions as matrices, and the state dicts they load.

A motor acts on points as a matrix of a rotation and a translation, which is made here of its numbers without an
algebra; the keys and the shapes of state dicts are cliffordlayers'.
"""

from collections.abc import Callable, Mapping

import pytest
import torch
from modules import DEVICE, module
from torch import Tensor

from kgen.tools.comparison import launches

B, N, M = 5, 3, 4
STATES: dict[tuple[str, str], Mapping[str, tuple[int, ...]]] = {
    ("gcan_pga3d", "PGAConjugateLinear"): {"_action": (M, N, 8), "weight": (M, N), "embed_e0": (N, 1)},
    ("gcan_pga3d", "MultiVectorAct"): {"conv.weight": (N, 1, 16), "conv.bias": (N,)},
    ("gcan_pga3d", "PointAct"): {"conv.weight": (N, 1, 3), "conv.bias": (N,)},
    ("gcan_vga3d", "VectorAct"): {"conv.weight": (N, 1, 3), "conv.bias": (N,)},
    ("gcan_vga3d", "G3LinearVSiLU"): {"conv.weight": (N, 1, 1, 1, 3), "conv.bias": (N,)},
    ("gcan_vga3d", "G3Linear"): {
        **{f"weights.{i}": (M, N, 1, 1) for i in range(6)},
        **dict.fromkeys(("scale_param", "zero_kernel"), (M, N, 1, 1)),
    },
}


def drawing(seed: int) -> Callable[..., Tensor]:
    random = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=random, dtype=torch.float64).to(DEVICE).requires_grad_()


def rotation(q: Tensor) -> Tensor:
    """The matrices of quaternions (real part first) of any norm: |q|^2 times a rotation."""
    a, b, c, d = q.unbind(-1)
    rows = [
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a - b * b + c * c - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a - b * b - c * c + d * d],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def quaternion(rotor: Tensor) -> Tensor:
    """Of an even element's scalar, e12, e13 and e23: i is e32, j is e13, k is e21."""
    return torch.stack([rotor[..., 0], -rotor[..., 3], rotor[..., 2], -rotor[..., 1]], -1)


def agree(found: Tensor, expected: Tensor, sources: list[Tensor]) -> None:
    """Values, and all gradients of both."""
    grads, others = (torch.autograd.grad(sum_of(x), sources, retain_graph=True) for x in (found, expected))
    for x, y in zip((found, *grads), (expected, *others), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-11, atol=1e-11)


def sum_of(x: Tensor) -> Tensor:
    return (x * x.detach().cos()).sum()


def test_rotors_turn_vectors_as_quaternions_do() -> None:
    draw = drawing(1)
    x, weight, action = draw(B, N, 8), draw(M, N), draw(M, N, 4)
    with launches(of := module("gcan_vga3d")) as launched:
        found = of.group_action(x, action, weight)
    assert launched
    expected = torch.einsum("oi,oirs,bis->bor", weight, rotation(quaternion(action)), x[..., 1:4])
    agree(found[..., 1:4], expected, [x, action, weight])
    scaled = torch.einsum("oi,oi,bi->bo", weight, action.square().sum(-1), x[..., 0])
    agree(found[..., 0], scaled, [x, action, weight])


def test_normalised_rotors_turn_vectors() -> None:
    draw, eps = drawing(2), 0.3
    x, *q, weight = draw(B, N, 3), *(draw(M, N) for _ in range(4)), draw(M, N)
    of = module("gcan_vga3d")
    unit = torch.stack(q, -1) / (torch.stack(q, -1).square().sum(-1, keepdim=True) + eps).sqrt()
    left = 1 - unit.square().sum(-1)  # of the identity
    matrix = rotation(unit) + left[..., None, None] * torch.eye(3, dtype=torch.float64, device=DEVICE)
    expected = torch.einsum("oi,oirs,bis->bor", weight, matrix, x)
    agree(of.vector_action(x, *q, weight, eps=eps), expected, [x, *q, weight])


def test_motors_move_points() -> None:
    """A rotor r, then a translator by t, which is 1 + e0 t / 2: p of weight w becomes R p + |r|^2 w t."""
    draw = drawing(3)
    p, weights, r, t, weight = draw(B, N, 3), draw(N), draw(M, N, 4), draw(M, N, 3), draw(M, N)
    (t1, t2, t3), (s, r12, r13, r23) = t.unbind(-1), r.unbind(-1)
    # (1 + (t1 e01 + t2 e02 + t3 e03) / 2) (s + r12 e12 + r13 e13 + r23 e23)
    e01, e02 = t1 * s - t2 * r12 - t3 * r13, t2 * s + t1 * r12 - t3 * r23
    e03, e0123 = t3 * s + t1 * r13 + t2 * r23, t1 * r23 - t2 * r13 + t3 * r12
    motor = torch.stack([s, e01 / 2, e02 / 2, e03 / 2, r12, r13, r23, e0123 / 2], -1)
    moved = torch.einsum("oirs,bis->boir", rotation(quaternion(r)), p)
    moved = moved + (r.square().sum(-1) * weights)[..., None] * t
    expected = torch.einsum("oi,boir->bor", weight, moved)
    found = module("gcan_pga3d").point_action(as_trivectors(p), motor, weight, weights)
    agree(found, as_trivectors(expected), [p, r, t, weight, weights])


def as_trivectors(p: Tensor) -> Tensor:
    """The point (x, y, z) on e012, e013 and e023, beside a weight of 1 on e123: where the translator takes e123."""
    x, y, z = p.unbind(-1)
    return torch.stack([z, -y, x], -1)


@pytest.mark.parametrize(("name", "kind"), STATES)
def test_state_dicts_load(name: str, kind: str) -> None:
    draw, shapes = drawing(4), STATES[name, kind]
    sizes = (N, M) if "Linear" in kind and "VSiLU" not in kind else (N,)
    own = getattr(module(name), kind)(*sizes, dtype=torch.float64, device=DEVICE)
    state = {key: draw(*shape).detach() for key, shape in shapes.items()}
    assert str(own.load_state_dict(state)) == "<All keys matched successfully>"
    for key, parameter in own.named_parameters():
        assert torch.equal(parameter, state[key])


def test_a_long_batch_in_fp32() -> None:
    """Then factors are turned: those that one product reads as a batch, and another as one matrix, are stored twice."""
    draw = drawing(6)
    inputs = [draw(256, 2, 8), draw(2, 2, 4), draw(2, 2)]
    function = module("gcan_vga3d").group_action
    exact = torch.autograd.grad(sum_of(function(*inputs)), inputs)
    single = [x.detach().float().requires_grad_() for x in inputs]
    for x, y in zip(torch.autograd.grad(sum_of(function(*single)), single), exact, strict=True):
        torch.testing.assert_close(x.double(), y, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("averaged", [False, True])
def test_activations(averaged: bool) -> None:
    draw = drawing(5)
    x, weight, bias, points = draw(B, N, 16), draw(N, 16), draw(N), draw(B, N, 3)
    of, vectors = module("gcan_pga3d"), module("gcan_vga3d")
    gate = torch.sigmoid((x * weight).sum(-1, keepdim=True) + bias[:, None])
    agree(of.multivector_act(x, weight, bias), x * gate, [x, weight, bias])
    total = x.mean(-1, keepdim=True) if averaged else x.sum(-1, keepdim=True)
    agree(of.multivector_act_sum(x, averaged=averaged), x * torch.sigmoid(total), [x])
    gate = torch.sigmoid((points * weight[:, :3]).sum(-1, keepdim=True) + bias[:, None])
    for function in (of.point_act, vectors.vector_act):
        agree(function(points, weight[:, :3], bias), points * gate, [points, weight, bias])
    total = points.mean(-1, keepdim=True) if averaged else points.sum(-1, keepdim=True)
    agree(vectors.vector_act_sum(points, averaged=averaged), points * torch.sigmoid(total), [points])
