"""Which inputs launchers read where they are, and which they copy; how results lie. `docs/generated.md` says so."""

from collections.abc import Callable

import pytest
import torch
from seen import seeing
from torch import Tensor
from variants import BY_NAME, DEVICE, LAUNCHES

pytestmark = pytest.mark.skipif(not LAUNCHES, reason="the reference reads strides itself")

ROWS, FEATURES = 3, 4
LAST = (ROWS, FEATURES, 16)  # of [..., n, blade]
FIRST = (8, ROWS, FEATURES)  # of [blade, b, n]
Layout = Callable[[], Tensor]  # a tensor of one of these shapes
LAYOUTS: dict[str, tuple[str, Layout, bool]] = {
    "rows of a batch": ("pga3d", lambda: torch.randn(9, FEATURES, 16)[2 : 2 + ROWS], False),
    "one axis more": ("pga3d", lambda: torch.randn(ROWS, 1, FEATURES, 16).squeeze(1), False),
    "a part of the channels": ("pga3d", lambda: torch.randn(ROWS, 3 * FEATURES, 16).chunk(3, -2)[1], True),
    "one row for all": ("pga3d", lambda: torch.randn(1, FEATURES, 16).expand(LAST), True),
    "blades first": ("pga3d", lambda: torch.randn(16, ROWS, FEATURES).movedim(0, -1), True),
    "rows of planes": ("vga3d", lambda: torch.randn(8, 9, FEATURES)[:, 2 : 2 + ROWS], True),
    "a part of the features": ("vga3d", lambda: torch.randn(8, ROWS, 3 * FEATURES).chunk(3, -1)[1], True),
    "blades last": ("vga3d", lambda: torch.randn(ROWS, FEATURES, 8).movedim(-1, 0), True),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_copies(layout: str) -> None:
    """Once in each pass, and only of what is not contiguous; results and gradients are contiguous all the same."""
    package, made, copied = LAYOUTS[layout]
    operator = BY_NAME[f"{package}_geometric_product"].operator
    x = made().to(DEVICE)
    y = torch.randn(x.shape, device=DEVICE)
    of = BY_NAME[f"{package}_geometric_product"].of
    with seeing(of) as forward:
        (out,) = operator.run(x, y)
    cotangent = torch.randn(out.shape, device=DEVICE)
    with seeing(of) as backward:
        grads = operator.gradient.run(x, y, cotangent, True, True)
    assert [found.count("clone") for found in (forward, backward)] == [int(copied)] * 2, (forward, backward)
    assert all(made.is_contiguous() for made in (out, *grads))
    assert torch.equal(out, operator.run(x.contiguous(), y)[0])
    for found, same in zip(grads, operator.gradient.run(x.contiguous(), y, cotangent, True, True)):
        assert torch.equal(found, same)
