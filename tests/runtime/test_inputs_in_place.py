"""Which inputs launchers read where they are, and which they copy; how results lie. `docs/generated.md` says so."""

from collections.abc import Callable

import pytest
import torch
from seen import seeing
from torch import Tensor
from variants import BY_NAME, DEVICE, LAUNCHES

from kgen.tools.problem import runtime

pytestmark = [
    pytest.mark.skipif(not LAUNCHES, reason="the reference reads strides itself"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:triton"),  # of lanes that a mask discards
]

ROWS, FEATURES = 3, 16
LAST = (ROWS, FEATURES, 16)  # of [..., n, blade]
FIRST = (8, ROWS, FEATURES)  # of [blade, b, n]
LONG = 528  # features of rows that do not stay in registers
Layout = Callable[[], Tensor]


def within(*shape: int) -> Tensor:
    """Memory that nothing but a view of it may be read of."""
    return torch.full(shape, torch.nan, device=DEVICE)


LAYOUTS: dict[str, tuple[str, Layout, bool]] = {
    "rows of a batch": ("pga3d", lambda: within(9, FEATURES, 16)[2 : 2 + ROWS], False),
    "one axis more": ("pga3d", lambda: within(ROWS, 1, FEATURES, 16).squeeze(1), False),
    "a part of the channels": ("pga3d", lambda: within(ROWS, 3 * FEATURES, 16).chunk(3, -2)[1], False),
    "of two leading axes": ("pga3d", lambda: within(2, ROWS, 3 * FEATURES, 16).chunk(3, -2)[2], False),
    "of few features": ("pga3d", lambda: within(ROWS, 3 * 5, 16).chunk(3, -2)[1], False),
    "of long rows": ("pga3d", lambda: within(ROWS, 3 * LONG, 16).chunk(3, -2)[1], False),
    "every other row": ("pga3d", lambda: within(2 * ROWS, FEATURES, 16)[1::2], False),
    "one row for all": ("pga3d", lambda: within(1, FEATURES, 16).expand(LAST), False),
    "one row for many": ("pga3d", lambda: within(2, 1, FEATURES, 16).expand(2, *LAST), True),
    "leading axes turned": ("pga3d", lambda: within(2, *LAST).transpose(0, 1), True),
    "every other feature": ("pga3d", lambda: within(ROWS, 2 * FEATURES, 16)[:, ::2], True),
    "a part of the blades": ("pga3d", lambda: within(ROWS, FEATURES, 32)[..., :16], True),
    "blades first": ("pga3d", lambda: within(16, ROWS, FEATURES).movedim(0, -1), True),
    "rows far apart": ("pga3d", lambda: within(ROWS, 1 << 13, 16)[:, :FEATURES], True),
    "rows of planes": ("vga3d", lambda: within(8, 9, FEATURES)[:, 2 : 2 + ROWS], True),
    "a part of the features": ("vga3d", lambda: within(8, ROWS, 3 * FEATURES).chunk(3, -1)[1], False),
    "of long planes": ("vga3d", lambda: within(8, ROWS, 3 * LONG).chunk(3, -1)[1], False),
    "at odd addresses": ("vga3d", lambda: within(8, ROWS, 3 * FEATURES)[..., 1 : 1 + FEATURES], True),
    "odd steps": ("vga3d", lambda: within(8, ROWS, 3 * FEATURES + 4)[..., :FEATURES], True),
    "blades last": ("vga3d", lambda: within(ROWS, FEATURES, 8).movedim(-1, 0), True),
}
KINDS = ("geometric_product", "sgp", "fused_gelu_sgp_norm_with_normalize")  # kernels of all forms that read in place


def drawn(made: Layout, seed: int) -> Tensor:
    """The view, whose numbers are drawn before it repeats them."""
    x = made()
    numbers = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    once = tuple(slice(1) if stride == 0 else slice(None) for stride in x.stride())
    x[once] = numbers[once].to(DEVICE)
    return x


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_copies(layout: str, kind: str) -> None:
    """Once in each pass, and only of what has no such rows; numbers are a copy's, results and gradients contiguous."""
    package, made, copied = LAYOUTS[layout]
    variant = BY_NAME[f"{package}_{kind}"]
    operator, numbers = variant.operator, variant.numbers
    x, cotangent = drawn(made, 1), drawn(made, 2)
    n = x.shape[-2] if package == "pga3d" else x.shape[-1]
    weights = [torch.randn_like(weight) for weight in variant.values(1, n, torch.float32)[2:]]
    inputs = (x, torch.randn(x.shape, device=DEVICE), *weights)
    with seeing(variant.of) as forward:
        results = operator.run(*inputs, *numbers)
    wanted = (True,) * len(inputs)
    known = dict(zip((*operator.outputs, *operator.saved), results))
    caches = [known[name] for name in operator.gradient.caches]
    with seeing(variant.of) as backward:
        grads = operator.gradient.run(*inputs, cotangent, *caches, *numbers, *wanted)
    copied |= package == "vga3d" and kind == "geometric_product"  # a flat tile of planes
    assert [found.count("clone") for found in (forward, backward)] == [int(copied), 2 * copied], (forward, backward)
    assert all(result.is_contiguous() for result in (*results, *grads))
    copies = (x.contiguous(), *inputs[1:])
    same = operator.run(*copies, *numbers)
    same += operator.gradient.run(*copies, cotangent.contiguous(), *caches, *numbers, *wanted)
    for found, expected in zip((*results, *grads), same, strict=True):
        assert torch.equal(found, expected) and not found.isnan().any()


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled(backend: str) -> None:
    """What a compiler makes of parts that a function takes itself is what they are without it, gradients included."""
    torch._dynamo.reset()
    sgp = BY_NAME["pga3d_sgp"]
    whole = torch.randn(ROWS, 3 * FEATURES, 16, device=DEVICE).requires_grad_()
    weight = torch.randn(FEATURES, 34, device=DEVICE).requires_grad_()

    def layer(x: Tensor, weight: Tensor) -> Tensor:
        a, b, c = (1.5 * x).chunk(3, -2)
        return torch.cat((sgp(a, b, weight), sgp(b, c, weight)), -2)

    results = [f(whole, weight) for f in (torch.compile(layer, fullgraph=True, backend=backend), layer)]
    grads = [torch.autograd.grad(result.square().sum(), (whole, weight)) for result in results]
    for found, expected in zip((results[0], *grads[0]), (results[1], *grads[1]), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    torch._dynamo.reset()


def test_what_is_traced_is_copied() -> None:
    """It need not lie like this when it runs: of what a compiler computes itself it chooses how it lies."""
    in_place = runtime(BY_NAME["pga3d_sgp"].of, "launch").in_place
    part = torch.empty(ROWS, 3 * FEATURES, 16).chunk(3, -2)[1]
    assert in_place(part, 2) == (part, 3 * FEATURES)
    with torch._subclasses.FakeTensorMode() as mode:
        fake, step = in_place(mode.from_tensor(part), 2)
    assert step is None and fake.is_contiguous()
