"""Layers one after the other, against plain torch: values, and the gradient of every input by name."""

import chains
import pytest
import torch
from modules import agree, compiled, draw, results
from torch import Tensor

GRADES = [0, 1, 1, 2]  # of the blades of the plane
LAYERS = 4


def layer(h: Tensor, weight: Tensor) -> Tensor:
    """A map by grade, each blade then times the normal distribution function of the scalar."""
    y = torch.bmm(h, weight[GRADES])
    gated: Tensor = y * torch.special.ndtr(y[:1])
    return gated


def expected(kind: str, x: Tensor, *weights: Tensor) -> Tensor:
    """Weights lie [grade, n, m]: the residual chain contracts m, the others n."""
    for weight in weights:
        x = x + layer(x, weight.mT) if kind == "residual" else layer(x, weight)
    return x


@pytest.mark.parametrize("kind", chains.KINDS)
def test_values_and_gradients(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    of = compiled(chains.spec(kind, LAYERS), tmp_path_factory.getbasetemp())
    inputs = draw(of, "chain", {"b": 3, "n": 4, "m": 4} | {f"n{i}": 4 + i for i in range(1, LAYERS + 1)})
    inputs = {name: x / (2 if name != "x" else 1) for name, x in inputs.items()}
    names = list(inputs)
    found = agree(of, "chain", inputs)
    plain = results(lambda *given: expected(kind, *given), inputs, ["h"], names, {})
    reference = results(of.chain_reference, inputs, ["h"], names, {})
    assert set(found) == set(plain) == {"h", *(f"grad_{name}" for name in names)}
    for name, value in plain.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(reference[name], value, rtol=1e-10, atol=1e-10)
