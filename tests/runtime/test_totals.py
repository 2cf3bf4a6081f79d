"""Partial sums of several results, which one launch adds."""

from collections.abc import Sequence

import pytest
import torch
from modules import DEVICE, module
from torch import Tensor

from kgen.tools.comparison import launches
from kgen.tools.problem import runtime

SHAPES = [(5,), (3, 4), (1,), (33, 2), (0,), (70,), (2, 2, 2), (17,), (129,), (6,), (31,)]


def results(count: int, dtypes: Sequence[torch.dtype]) -> list[Tensor | None]:
    """As many results, of which every fourth is not wanted."""
    made = [torch.empty(s, dtype=dtypes[i % len(dtypes)], device=DEVICE) for i, s in enumerate(SHAPES[:count])]
    return [None if i % 4 == 3 else x for i, x in enumerate(made)]


@pytest.mark.parametrize("real", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 2, 3, len(SHAPES)])
def test_totals(count: int, real: torch.dtype) -> None:
    """Each is the sum over its slots, in its own dtype, to the bits of a launch of its own; others' memory is left."""
    launch = runtime(module("vga3d"), "launch")
    found, like = results(count, (real, torch.float32, torch.float16)), torch.zeros(3, device=DEVICE)
    slots = [(1, 2, 131, 128, 5)[i % 5] for i in range(count)]
    partials = launch.partials(like, real, *zip(slots, found))
    random = torch.Generator().manual_seed(count)
    for partial, x, n in zip(partials, found, slots):
        if x is None:
            assert partial is like
        else:
            assert partial.shape == (n, x.numel()) and (partial.data_ptr() % 16 == 0 or not x.numel())
            partial.copy_(torch.randn(partial.shape, generator=random, dtype=real))
    launch.totals(*zip(partials, found))
    for partial, x in zip(partials, found):
        if x is not None:
            assert torch.equal(x, launch.total(partial, torch.empty_like(x)))
            exact = partial.double().sum(0).view(x.shape)
            torch.testing.assert_close(x.double(), exact, rtol=0, atol=2e-2 if x.dtype is torch.float16 else 1e-4)
    assert not like.any()


def test_totals_of_one_launch() -> None:
    """Up to eight results that are there and have elements are one launch; nine are two."""
    of = module("vga3d")
    launch = runtime(of, "launch")
    for count, most in ((0, 0), (1, 1), (2, 1), (8, 1), (9, 2), (17, 3)):
        found = [torch.empty(3, device=DEVICE) for _ in range(count)]
        like = torch.zeros(3, device=DEVICE)
        partials = launch.partials(like, torch.float32, *((2, x) for x in found))
        with launches(of) as launched:
            launch.totals(*zip([p.zero_() for p in partials], found), (like, None), (like, like[:0]))
        assert len(launched) == most
