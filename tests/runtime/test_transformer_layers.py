"""Layers of the geometric algebra transformer, against tables that are made here, and the state dicts they load."""

import math
from collections.abc import Mapping

import pytest
import torch
from modules import DEVICE, module
from torch import Tensor

from kgen.tools.comparison import launches

B, T, N, K, M = 2, 3, 2, 3, 4
BLADES = sorted(range(16), key=lambda a: (a.bit_count(), [i for i in range(4) if a >> i & 1]))  # bit 0 is e0
E123 = BLADES.index(0b1110)
NORMED = [0, 2, 3, 4, 8, 9, 10, 14]  # the blades without e0
STATES: dict[str, Mapping[str, tuple[int, ...]]] = {  # ezgatr's, of its own names for layers
    "EquiLinear": {"weight": (M, N, 9), "bias": (M,)},
    "EquiRMSNorm": {"weight": (N,)},
    "GeometricBilinear": {
        "proj_bil.weight": (4 * K, N, 9),
        "proj_bil.bias": (4 * K,),
        "proj_out.weight": (M, 2 * K, 9),
        "proj_out.bias": (M,),
    },
    "MLPBlock": {
        "layer_norm.weight": (N,),
        "equi_bil.proj_bil.weight": (4 * K, N, 9),
        "equi_bil.proj_bil.bias": (4 * K,),
        "equi_bil.proj_out.weight": (N, 2 * K, 9),
        "equi_bil.proj_out.bias": (N,),
        "proj_out.weight": (N, N, 9),
        "proj_out.bias": (N,),
    },
}
SIZES = {"EquiLinear": (N, M), "EquiRMSNorm": (N,), "GeometricBilinear": (N, K, M), "MLPBlock": (N, K)}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=random, dtype=torch.float64).to(DEVICE).requires_grad_()


# tables, of blades as sets of generators


def swaps(a: int, b: int) -> int:
    """How many neighbours change places until the generators of a, then of b, ascend."""
    return sum((a >> (i + 1)).bit_count() for i in range(4) if b >> i & 1)


def table(degenerate: bool) -> Tensor:
    """The geometric product, where e0 squares to zero, or the outer one, where all generators do."""
    found = torch.zeros(16, 16, 16, dtype=torch.float64, device=DEVICE)
    for i, a in enumerate(BLADES):
        for j, b in enumerate(BLADES):
            if not a & b & (1 if degenerate else 15):
                found[BLADES.index(a ^ b), i, j] = (-1) ** swaps(a, b)
    return found


def duals() -> Tensor:
    """The right complement: e_A ^ dual(e_A) = e0123."""
    found = torch.zeros(16, 16, dtype=torch.float64, device=DEVICE)
    for i, a in enumerate(BLADES):
        found[BLADES.index(15 - a), i] = (-1) ** swaps(a, 15 - a)
    return found


def maps() -> Tensor:
    """The nine equivariant maps, each of norm one: of a grade, then of a grade times e0."""
    kept = [torch.diag(torch.tensor([a.bit_count() == g for a in BLADES]).double()) for g in range(5)]
    raised = [torch.zeros(16, 16, dtype=torch.float64) for _ in range(4)]
    for i, a in enumerate(BLADES):
        if not a & 1:
            raised[a.bit_count()][BLADES.index(a | 1), i] = 1.0
    return torch.stack([x / x.norm() for x in (*kept, *raised)]).to(DEVICE)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    found = torch.einsum("oiw,wds,...is->...od", weight, maps(), x)
    return torch.cat([found[..., :1] + bias[:, None], found[..., 1:]], -1)


def product(x: Tensor, y: Tensor) -> Tensor:
    return torch.einsum("ijk,...j,...k->...i", table(True), x, y)


def join(x: Tensor, y: Tensor, reference: Tensor) -> Tensor:
    wedge = torch.einsum("ijk,...j,...k->...i", table(False), x @ duals().T, y @ duals().T)
    return reference[..., None, E123, None] * (wedge @ duals().T)


def norm(x: Tensor, eps: float) -> Tensor:
    squares = x[..., NORMED].square().sum(-1, keepdim=True)
    return x / squares.mean(-2, keepdim=True).clamp(min=eps).sqrt()


def gate(x: Tensor) -> Tensor:
    s = x[..., :1]
    return x * torch.nn.functional.gelu(s, approximate="tanh")


def bilinear(x: Tensor, state: Mapping[str, Tensor], reference: Tensor) -> Tensor:
    left, right, p, q = linear(x, state["proj_bil.weight"], state["proj_bil.bias"]).chunk(4, -2)
    both = torch.cat([product(left, right), join(p, q, reference)], -2)
    return linear(both, state["proj_out.weight"], state["proj_out.bias"])


def block(x: Tensor, state: Mapping[str, Tensor], reference: Tensor) -> Tensor:
    inner = {key.removeprefix("equi_bil."): value for key, value in state.items() if key.startswith("equi_bil.")}
    normed = state["layer_norm.weight"][:, None] * norm(x, 1e-6)
    return x + linear(gate(bilinear(normed, inner, reference)), state["proj_out.weight"], state["proj_out.bias"])


def features(x: Tensor, key: bool) -> Tensor:
    """What inner products and squares of distances are made of, (..., channels, 12)."""
    point = x[..., 11:15] * x[..., E123, None] / (x[..., E123, None] ** 2 + 1e-3)
    place, weight = point[..., :3], point[..., 3:]
    square = place.square().sum(-1, keepdim=True)
    parts = [-(weight**2), -square, 2 * place * weight] if key else [square, weight**2, place * weight]
    return torch.cat([x[..., NORMED[:7]], *parts], -1)


def attention(given: list[Tensor], causal: bool) -> Tensor:
    """By torch's own, of features one after the other."""
    q, k, v, ipa, daa = given
    weights = torch.cat([x[:, None, :, None].expand(-1, 1, -1, n) for x, n in ((ipa, 7), (daa, 5))], -1)
    left, right = (weights * features(q, False)).flatten(-2), features(k, True).flatten(-2)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        found = torch.nn.functional.scaled_dot_product_attention(left, right, v.flatten(-2), is_causal=causal)
    return found.view(*found.shape[:-1], *v.shape[-2:])


def agree(found: Tensor, expected: Tensor, sources: list[Tensor], within: float = 1e-11) -> None:
    """Values, and all gradients of both."""
    cotangent = drawn(*expected.shape, seed=9).detach()
    grads, others = (torch.autograd.grad(x, sources, cotangent, retain_graph=True) for x in (found, expected))
    for x, y in zip((found, *grads), (expected, *others), strict=True):
        torch.testing.assert_close(x, y, rtol=within, atol=within)


# functions


def test_functions() -> None:
    of, x, y, reference = module("gatr"), drawn(B, T, N, 16), drawn(B, T, N, 16, seed=1), drawn(B, 1, 16)
    agree(of.equi_join(x, y, reference), join(x, y, reference), [x, y, reference])
    first, second = of.product_and_join(x, y, reference)
    agree(first, product(x, y), [x, y])
    agree(second, join(x, y, reference), [x, y, reference])
    agree(of.gated_gelu(x), gate(x), [x])
    agree(of.equi_layer_norm(x), norm(x, 0.01), [x])


def test_a_norm_has_a_floor() -> None:
    """What has blades with e0 alone has the norm zero, and is divided by the root of the floor."""
    of, x = module("gatr"), torch.zeros(1, N, 16, dtype=torch.float64, device=DEVICE)
    x[..., 1] = 2.0
    assert torch.allclose(of.equi_layer_norm(x), x / math.sqrt(0.01))


def test_points_join_to_a_line() -> None:
    """Of the points (0, 0, 0) and (1, 0, 0): the line that both lie on, so that its join with either is nothing."""
    of, reference = module("gatr"), torch.eye(16, dtype=torch.float64, device=DEVICE)[E123]
    origin, other = torch.zeros(2, 1, 1, 16, dtype=torch.float64, device=DEVICE)
    origin[..., E123] = other[..., E123] = 1.0
    other[..., BLADES.index(0b1101)] = 1.0
    line = of.equi_join(origin, other, reference[None])
    assert line.count_nonzero() == 1 and all(
        not of.equi_join(line, point, reference[None]).any() for point in (origin, other)
    )


# attention

H, C = 2, 3  # heads, channels of queries and keys


def queries(tokens: tuple[int, int] = (T, T), batch: tuple[int, ...] = (B,)) -> list[Tensor]:
    """Queries, keys, values, and the weights of each head."""
    s, t = tokens
    shapes = ((*batch, H, s, C, 16), (*batch, H, t, C, 16), (*batch, H, t, N, 16), (H, C), (H, C))
    return [drawn(*shape, seed=i) for i, shape in enumerate(shapes)]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("tokens", [(1, 1), (5, 5), (17, 17), (3, 9)], ids=str)
def test_attention(tokens: tuple[int, int], causal: bool) -> None:
    of, given = module("gatr"), queries(tokens)
    with launches(of) as launched:
        found = of.geometric_attention(*given, causal=causal)
        agree(found, attention(given, causal), given, 1e-9)  # where w is small, w / (w^2 + eps) is large
    assert launched


def test_attention_of_nothing() -> None:
    """No query has no result; without keys the sum of weights is one of nothing."""
    of = module("gatr")
    assert of.geometric_attention(*queries((0, 4))).shape == (B, H, 0, N, 16)
    assert of.geometric_attention(*queries((3, 3), (0,))).shape == (0, H, 3, N, 16)


def test_attention_is_causal() -> None:
    of, (q, k, v, *weights) = module("gatr"), queries((6, 6))
    found = of.geometric_attention(q, k, v, *weights, causal=True)
    later = [x.detach().clone() for x in (k, v)]
    for x in later:
        x[:, :, 4:] = 100.0
    assert torch.equal(of.geometric_attention(q, *later, *weights, causal=True)[:, :, :4], found[:, :, :4])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_attention_is_equivariant(count: int) -> None:
    """Of reflections, one after the other, in planes of any length: of norm one for queries and keys, whose points are
    told by their weights."""
    of, given = module("gatr"), [x.detach() for x in queries((4, 5))]
    planes = [drawn(4, seed=20 + i).detach() for i in range(count)]

    def moved(x: Tensor) -> Tensor:
        for plane in planes:
            unit = torch.zeros(16, dtype=torch.float64, device=DEVICE)
            unit[1:5] = plane / plane[1:].norm()
            even = torch.tensor([(-1.0) ** a.bit_count() for a in BLADES], dtype=torch.float64, device=DEVICE)
            x = product(product(unit.expand_as(x), even * x), unit.expand_as(x))
        return x

    expected = moved(of.geometric_attention(*given))
    found = of.geometric_attention(*map(moved, given[:3]), *given[3:])
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_attention_of_other_shapes() -> None:
    of, (q, k, v, ipa, daa) = module("gatr"), queries((4, 4))
    with pytest.raises(ValueError, match="geometric_attention: ipa must have shape"):
        of.geometric_attention(q, k, v, ipa[:1], daa)
    with pytest.raises(ValueError, match="geometric_attention: v must have"):
        of.geometric_attention(q, k, v[:, :, :3], ipa, daa)


# modules


@pytest.mark.parametrize("kind", STATES)
def test_modules(kind: str) -> None:
    """The state dict loads, and results and all gradients are those of the formula."""
    own = getattr(module("gatr"), kind)(*SIZES[kind], dtype=torch.float64, device=DEVICE)
    state = {key: drawn(*shape).detach() for key, shape in STATES[kind].items()}
    assert str(own.load_state_dict(state)) == "<All keys matched successfully>"
    x, reference = drawn(B, T, N, 16), drawn(B, 1, 16)
    if kind == "MLPBlock":
        own.eps = 1e-6
    named = dict(own.named_parameters())
    with launches(module("gatr")) as launched:
        match kind:
            case "EquiLinear":
                pair = own(x), linear(x, named["weight"], named["bias"])
            case "EquiRMSNorm":
                pair = own(x), named["weight"][:, None] * norm(x, own.eps)
            case "GeometricBilinear":
                pair = own(x, reference), bilinear(x, named, reference)
            case _:
                pair = own(x, reference), block(x, named, reference)
    assert launched
    taken = [reference] if kind in ("GeometricBilinear", "MLPBlock") else []
    agree(*pair, [x, *taken, *named.values()])


def test_a_state_dict_that_does_not_fit() -> None:
    own = module("gatr").GeometricBilinear(N, K, M, device=DEVICE)
    state = own.state_dict() | {"proj_out.weight": torch.zeros(M, 2 * K + 1, 9)}
    with pytest.raises(RuntimeError, match=r"proj_out.weight: .*\[4, 7, 9\].*\[4, 6, 9\]"):
        own.load_state_dict(state)
