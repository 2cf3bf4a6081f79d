"""What a layer does on a device, from its inputs to its gradients: kernels of ours, and products of matrices."""

import pytest
import torch
from seen import seeing
from variants import DEVICE, LAUNCHES, generated, variants_of

from kgen.tools.problem import draw, load_module, runtime

# of torch's operators: those that give memory, or zeros, those that look at it in another shape, and products
MEMORY = {"empty", "empty_like", "new_empty", "new_zeros", "empty_strided"}
VIEWS = {"view", "_unsafe_view", "transpose", "permute", "slice", "select", "as_strided", "unsqueeze"}
PRODUCTS = {"mm", "bmm", "addmm_", "baddbmm_"}

# products of matrices in each pass, and whether weights' gradients are added of parts
LAYERS = [
    ("vga3d", "layer", (1, 2), True),
    ("vga2d", "fc_layer", (3, 6), True),
    ("pga3d", "fused_gelu_fcgp_norm", (4, 8), False),
    ("cgenn3d", "cemlp_block", (3, 7), True),
    ("cgenn3d", "fully_connected_product_layer", (5, 12), False),
    ("gcan_pga3d", "group_action", (5, 11), False),
    ("gatr", "mlp_block", (3, 6), False),
    ("lgatr", "mlp_block", (10, 20), False),
]
ROWS = 1024  # of which two parts are made

pytestmark = [
    pytest.mark.skipif(not LAUNCHES, reason="the reference runs"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:triton"),  # of lanes that a mask discards
]


@pytest.mark.parametrize(
    ("package", "layer", "products", "added", "dtype"),
    [*((*row, torch.float32) for row in LAYERS), (*LAYERS[0], torch.bfloat16)],
    ids=str,
)
def test_only_kernels_and_products(
    package: str,
    layer: str,
    products: tuple[int, int],
    added: bool,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No other operator of torch's computes, copies or converts, in the forward or in the backward."""
    variant = next(v for v in variants_of(load_module(generated(package)), package) if v.operator.function == layer)
    operator, numbers = variant.operator, variant.numbers
    monkeypatch.setattr(runtime(variant.of, "narrow"), "MOST", 0)
    monkeypatch.setattr(runtime(variant.of, "matmul"), "multiprocessors", lambda _: 1000)
    sizes = {"b": ROWS, "n": 3, "m": 2, "k": 3}
    inputs = tuple(x.detach() for x in draw(variant.of.KERNELS[layer], sizes, dtype, DEVICE).leaves)
    with seeing(variant.of) as forward:
        results = operator.run(*inputs, *numbers)
    known = (*inputs, *numbers, *results)
    caches = [known[i] for i in operator.kept]
    cotangents = [torch.ones_like(x) for x in results[: len(operator.outputs)]]
    with seeing(variant.of) as backward:
        grads = operator.gradient.run(*inputs, *cotangents, *caches, *numbers, *[True] * len(operator.grads))
    assert not any(x is None for x in grads)
    for found in (forward, backward):
        assert {name for name in found if name[0] != "_" or name in VIEWS} <= MEMORY | VIEWS | PRODUCTS, found
    counts = tuple(sum(name in PRODUCTS for name in found) for found in (forward, backward))
    assert counts == products
    assert ("_jit_parts" in backward) == (added and dtype is torch.float32), backward
