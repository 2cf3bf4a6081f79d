"""Layers of L-GATr, against tables that are made here, and the state dicts they load."""

import functools
from collections.abc import Mapping

import pytest
import torch
from modules import DEVICE, module
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, scaled_dot_product_attention

from kgen.tools.comparison import launches

B, T, N, M, K, H, P = 2, 3, 2, 4, 3, 5, 7  # batch, items; channels of multivectors n, m, k, of scalars h, p
BLADES = sorted(range(16), key=lambda a: (a.bit_count(), [i for i in range(4) if a >> i & 1]))  # bit 0 is e0
GRADES = torch.tensor([a.bit_count() for a in BLADES], device=DEVICE)
FROM = {"weight": (M, N, 10), "s2mvs.weight": (2 * M, H), "s2mvs.bias": (2 * M,)}
BOTH = FROM | {"mvs2s.weight": (P, 2 * N), "mvs2s.bias": (P,), "s2s.weight": (P, H)}
BILINEAR = {
    **{f"linear_{side}.weight": (K, N, 10) for side in ("left", "right")},
    **{f"linear_{side}.s2mvs.weight": (2 * K, H) for side in ("left", "right")},
    **{f"linear_{side}.s2mvs.bias": (2 * K,) for side in ("left", "right")},
    "linear_out.weight": (M, K, 10),
    "linear_out.s2mvs.weight": (2 * M, H),
    "linear_out.s2mvs.bias": (2 * M,),
    "linear_out.mvs2s.weight": (P, 2 * K),
    "linear_out.mvs2s.bias": (P,),
    "linear_out.s2s.weight": (P, H),
}
STATES: dict[str, Mapping[str, tuple[int, ...]]] = {  # lgatr's, of its own names for layers
    "EquiLinear": {"weight": (M, N, 10), "bias": (M, 1)},
    "EquiLinearFromScalars": FROM,
    "EquiLinearToScalars": {"weight": (M, N, 10), "bias": (M, 1), "mvs2s.weight": (P, 2 * N), "mvs2s.bias": (P,)},
    "EquiLinearAndScalars": BOTH,
    "UnbiasedEquiLinearAndScalars": {key: shape for key, shape in BOTH.items() if not key.endswith("bias")},
    "EquiLayerNorm": {"weight_mv": (N, 5), "weight_s": (H,)},
    "GeometricBilinear": BILINEAR,
    "MLPBlock": {
        "norm2.weight_mv": (N, 5),
        "norm2.weight_s": (H,),
        **{f"mlp.layers.0.{key}": (*(K if d == M else d for d in shape),) for key, shape in BILINEAR.items()},
        "mlp.layers.0.linear_out.s2mvs.weight": (2 * K, H),
        "mlp.layers.0.linear_out.s2mvs.bias": (2 * K,),
        "mlp.layers.2.weight": (N, K, 10),
        "mlp.layers.2.s2mvs.weight": (2 * N, P),
        "mlp.layers.2.s2mvs.bias": (2 * N,),
        "mlp.layers.2.mvs2s.weight": (H, 2 * K),
        "mlp.layers.2.mvs2s.bias": (H,),
        "mlp.layers.2.s2s.weight": (H, P),
    },
}
SIZES = {
    "EquiLinear": (N, M),
    "EquiLinearFromScalars": (N, M, H),
    "EquiLinearToScalars": (N, M, P),
    "EquiLinearAndScalars": (N, M, H, P),
    "UnbiasedEquiLinearAndScalars": (N, M, H, P),
    "EquiLayerNorm": (N, H),
    "GeometricBilinear": (N, K, M, H, P),
    "MLPBlock": (N, K, H, P),
}
Pair = tuple[Tensor, Tensor | None]

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")  # of lanes that a mask discards


def drawn(*shape: int, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=random, dtype=torch.float64).to(DEVICE).requires_grad_()


# tables, of blades as sets of generators, of which e0 alone squares to one


def sign(a: int, b: int) -> int:
    """That of the product of two blades: of swaps until the generators ascend, and of squares."""
    swaps = sum((a >> (i + 1)).bit_count() for i in range(4) if b >> i & 1)
    return int((-1) ** (swaps + (a & b & 0b1110).bit_count()))


@functools.cache
def table() -> Tensor:
    """[i, j, k]: how much of blade i is in blade j times blade k."""
    found = torch.zeros(16, 16, 16, dtype=torch.float64, device=DEVICE)
    for i, a in enumerate(BLADES):
        for j, b in enumerate(BLADES):
            found[BLADES.index(a ^ b), i, j] = sign(a, b)
    return found


def product(x: Tensor, y: Tensor) -> Tensor:
    return torch.einsum("ijk,...j,...k->...i", table(), x, y)


@functools.cache
def maps() -> Tensor:
    """The ten equivariant maps: to a grade, then to a grade and from there by the pseudoscalar."""
    kept = torch.stack([torch.diag(GRADES.eq(g).double()) for g in range(5)])
    return torch.cat([kept, table()[:, :, 15] @ kept])


def squares(x: Tensor) -> Tensor:
    """The norms of each grade, of any sign: blades square to that of their reverse times them."""
    signs = torch.tensor([(-1) ** (a & 0b1110).bit_count() for a in BLADES], device=DEVICE)
    return torch.stack([(signs * x * x)[..., GRADES.eq(g)].sum(-1) for g in range(5)], -1)


# the layers, as formulas


def linear(x: Tensor, s: Tensor, state: Mapping[str, Tensor]) -> Pair:
    out, found = torch.einsum("oiw,wds,...is->...od", state["weight"], maps(), x), None
    ends = torch.tensor([0, 15], device=DEVICE)
    if "bias" in state:
        out = out.index_add(-1, ends[:1], state["bias"].expand(*out.shape[:-1], 1))
    if "s2mvs.weight" in state:
        both = s @ state["s2mvs.weight"].T + state.get("s2mvs.bias", 0)
        out = out.index_add(-1, ends, both.reshape(*both.shape[:-1], -1, 2))
    if "mvs2s.weight" in state:
        found = x[..., ends].flatten(-2) @ state["mvs2s.weight"].T + state.get("mvs2s.bias", 0)
        found = found + s @ state["s2s.weight"].T if "s2s.weight" in state else found
    return out, found


def norm(x: Tensor, s: Tensor, eps: float = 0.01) -> tuple[Tensor, Tensor]:
    mean = squares(x).abs().sum(-1).mean(-1).clamp(min=eps)
    return x / mean.sqrt()[..., None, None], layer_norm(s, s.shape[-1:])


def scaled(x: Tensor, s: Tensor, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    out, found = norm(x, s)
    return out * state["weight_mv"][:, GRADES], found * state["weight_s"]


def gate(x: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    return x * gelu(x[..., :1], approximate="tanh"), gelu(s, approximate="tanh")


def within(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    return {key.removeprefix(part): x for key, x in state.items() if key.startswith(part)}


def bilinear(x: Tensor, s: Tensor, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    left, right = (linear(x, s, within(state, f"linear_{side}."))[0] for side in ("left", "right"))
    out, found = linear(product(left, right), s, within(state, "linear_out."))
    assert found is not None
    return norm(out, found)


def block(x: Tensor, s: Tensor, state: Mapping[str, Tensor]) -> Pair:
    hidden = bilinear(*scaled(x, s, within(state, "norm2.")), within(state, "mlp.layers.0."))
    out, found = linear(*gate(*hidden), within(state, "mlp.layers.2."))
    assert found is not None
    return x + out, s + found


FORMULAS = {"EquiLayerNorm": scaled, "GeometricBilinear": bilinear, "MLPBlock": block}


def agree(found: Tensor, expected: Tensor, sources: list[Tensor]) -> None:
    """Values, and all gradients of both."""
    cotangent = drawn(*expected.shape, seed=9).detach()
    grads, others = (
        torch.autograd.grad(x, sources, cotangent, retain_graph=True, allow_unused=True) for x in (found, expected)
    )
    for x, y in zip((found, *grads), (expected, *others), strict=True):
        x = torch.zeros_like(y) if x is None and y is not None else x
        y = torch.zeros_like(x) if y is None and x is not None else y
        torch.testing.assert_close(x, y, rtol=1e-11, atol=1e-11)


# functions


def test_functions() -> None:
    of, x, s = module("lgatr"), drawn(B, T, N, 16), drawn(B, T, H)
    agree(of.equi_layer_norm(x), norm(x, s)[0], [x])
    for found, expected, source in zip(of.layer_norms(x, s), norm(x, s), (x, s), strict=True):
        agree(found, expected, [source])
    agree(of.gated_gelu(x), gate(x, s)[0], [x])
    for found, expected, source in zip(of.gated_gelu_and_scalars(x, s), gate(x, s), (x, s), strict=True):
        agree(found, expected, [source])


def attention(given: list[Tensor], mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """By torch's own, of multivectors and scalars one after the other, with the signs of squares in the queries."""
    q, k, v, q_s, k_s, v_s = given
    signs = torch.tensor([(-1.0) ** (a & 0b1110).bit_count() for a in BLADES], dtype=torch.float64, device=DEVICE)
    pairs = ((signs * q, q_s), (k, k_s), (v, v_s))
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        queries, keys, values = (torch.cat([x.flatten(-2), s], -1) for x, s in pairs)
        found = scaled_dot_product_attention(queries, keys, values, mask)
    count = 16 * v.shape[-2]
    return found[..., :count].reshape(*found.shape[:-1], *v.shape[-2:]), found[..., count:]


def tokens(s: int, t: int) -> list[Tensor]:
    """Queries of two heads and three channels, keys, values of two channels, and as many scalars beside them."""
    shapes = [(n, c) for c in ((3, 16), (2, 16), (4,), (5,)) for n in (s, t)]
    q, k, _, v, q_s, k_s, _, v_s = (drawn(2, 2, n, *c, seed=i) for i, (n, c) in enumerate(shapes))
    return [q, k, v, q_s, k_s, v_s]


@pytest.mark.parametrize("document", [[0, 0, 0, 1, 1, 2], [-1, 4, -1, 4, 4, -1], [3] * 6], ids=str)
def test_packed_attention(document: list[int]) -> None:
    """Each sequence by itself, wherever its tokens stand."""
    of, given = module("lgatr"), tokens(6, 6)
    numbers = torch.tensor([document, document[::-1]], device=DEVICE)
    with launches(of) as launched:
        results = of.packed_attention(*given, numbers)
    assert launched
    mask = (numbers[:, :, None] == numbers[:, None])[:, None]
    for found, expected in zip(results, attention(given, mask), strict=True):
        agree(found, expected, given)


def test_packed_attention_of_other_numbers() -> None:
    of, given = module("lgatr"), tokens(6, 6)
    numbers = torch.zeros(2, 6, dtype=torch.int64, device=DEVICE)
    with pytest.raises(ValueError, match="packed_attention: document must be int32 or int64"):
        of.packed_attention(*given, numbers.bool())
    with pytest.raises(ValueError, match=r"packed_attention: document must have"):
        of.packed_attention(*given, numbers[:, :5])
    with pytest.raises(ValueError, match=r"packed_attention: k must have"):
        of.packed_attention(*tokens(6, 5), numbers)


@pytest.mark.parametrize("shape", [(1, 1), (17, 17), (3, 9)], ids=str)
def test_attention(shape: tuple[int, int]) -> None:
    of, given = module("lgatr"), tokens(*shape)
    with launches(of) as launched:
        pairs = list(zip(of.attention(*given), attention(given), strict=True))
        for found, expected in pairs:
            agree(found, expected, given)
    assert launched


def test_a_norm_has_a_floor() -> None:
    """A grade of light-like channels has the norm zero, and is divided by the root of the floor."""
    of, x = module("lgatr"), torch.zeros(1, N, 16, dtype=torch.float64, device=DEVICE)
    x[..., 1] = x[..., 2] = 2.0
    assert torch.allclose(of.equi_layer_norm(x), x / 0.1)


# modules


def layer(kind: str) -> torch.nn.Module:
    """With a state dict that is loaded."""
    own: torch.nn.Module = getattr(module("lgatr"), kind)(*SIZES[kind], dtype=torch.float64, device=DEVICE)
    state = {key: drawn(*shape, seed=i).detach() for i, (key, shape) in enumerate(STATES[kind].items())}
    assert str(own.load_state_dict(state)) == "<All keys matched successfully>"
    return own


def called(own: torch.nn.Module, x: Tensor, s: Tensor) -> Pair:
    """What a layer makes of multivectors, and of scalars if it takes them; None for scalars that it does not return."""
    found = own(x) if type(own).__name__ in ("EquiLinear", "EquiLinearToScalars") else own(x, s)
    return found if isinstance(found, tuple) else (found, None)


@pytest.mark.parametrize("kind", STATES)
def test_modules(kind: str) -> None:
    """The state dict loads, and results and all gradients are those of the formula."""
    own, x, s = layer(kind), drawn(B, T, N, 16), drawn(B, T, H)
    named = dict(own.named_parameters())
    with launches(module("lgatr")) as launched:
        found = called(own, x, s)
        expected = FORMULAS.get(kind, linear)(x, s, named)
        for one, other in zip(found, expected, strict=True):
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                agree(one, other, [x, s, *named.values()])
    assert launched


@pytest.mark.parametrize("kind", STATES)
def test_modules_commute_with_boosts_and_rotations(kind: str) -> None:
    """Of multivectors; scalars stay what they are."""
    own, x, s = layer(kind), drawn(B, T, N, 16).detach(), drawn(B, T, H).detach()
    versor = torch.eye(16, dtype=torch.float64, device=DEVICE)[0]
    for i in range(4):  # of time-like vectors of length one, whose first part is the longest
        vector = torch.zeros(16, dtype=torch.float64, device=DEVICE)
        vector[2:5] = drawn(3, seed=i).detach() / 3
        vector[1] = (1 + vector.square().sum()).sqrt()
        versor = product(versor, vector)
    reverse = versor * torch.tensor([(-1) ** (g * (g - 1) // 2) for g in GRADES.tolist()], device=DEVICE)
    assert torch.allclose(product(versor, reverse), torch.eye(16, dtype=torch.float64, device=DEVICE)[0])

    def moved(y: Tensor) -> Tensor:
        return product(product(versor, y), reverse)

    (out, scalars), (other, same) = called(own, x, s), called(own, moved(x), s)
    torch.testing.assert_close(other, moved(out), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(moved(out), out)
    assert (scalars is None) == (same is None)
    if scalars is not None:
        torch.testing.assert_close(same, scalars, rtol=1e-9, atol=1e-9)


def test_a_state_dict_that_does_not_fit() -> None:
    own = module("lgatr").EquiLinearAndScalars(N, M, H, P, device=DEVICE)
    state = own.state_dict() | {"weight": torch.zeros(M, N, 5)}
    with pytest.raises(RuntimeError, match=r"weight: .*\[4, 2, 5\].*\[4, 2, 10\]"):
        own.load_state_dict(state)
