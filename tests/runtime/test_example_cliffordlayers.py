"""`examples/cliffordlayers`: generated layers in models of cliffordlayers' layers, which here are stand-ins.

Set KGEN_CLIFFORDLAYERS to a checkout to have them put into its own models, too.
"""

import copy
import importlib
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from modules import DEVICE
from replacing import example_of
from torch import Tensor, nn

CHECKOUT = os.environ.get("KGEN_CLIFFORDLAYERS")
SPACE = SimpleNamespace(n_blades=16)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")  # of lanes that a mask discards


class CliffordG3Conv2d(nn.Module):
    """Vectors, (batch, channels, height, width, 3), turned by quaternions over their norm, and added."""

    def __init__(self, n: int, m: int, kernel_size: int = 1, bias: bool = False) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.kernel_size = n, m, (kernel_size, kernel_size)
        self.stride, self.padding, self.groups = (1, 1), (kernel_size // 2,) * 2, 1
        shape = (m, n, *self.kernel_size)
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(shape)) for _ in range(4)])
        self.scale_param = nn.Parameter(torch.randn(shape))
        self.zero_kernel = nn.Parameter(torch.zeros(shape), requires_grad=False)
        self.weights.extend([self.scale_param, self.zero_kernel])
        self.bias = nn.ParameterList([nn.Parameter(torch.randn(m)) for _ in range(3)]) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        a, b, c, d = (w / (sum(v**2 for v in self.weights[:4]) + 1e-4).sqrt() for w in self.weights[:4])
        one = torch.ones_like(a)
        rows = [
            [one - 2 * (c * c + d * d), 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), one - 2 * (b * b + d * d), 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), one - 2 * (b * b + c * c)],
        ]
        filters = torch.stack([torch.stack(row, -1) for row in rows], -2) * self.scale_param[..., None, None]
        parts = [
            sum(nn.functional.conv2d(x[..., s], filters[..., r, s], padding=self.padding) for s in range(3))
            for r in range(3)
        ]
        return torch.stack(parts, -1)  # type: ignore[arg-type]


class CliffordG3LinearVSiLU(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, (1, 1, 3), groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.conv(x))


class PGAConjugateLinear(nn.Module):
    def __init__(self, n: int, m: int, input_blades: tuple[int, ...]) -> None:
        super().__init__()
        self.in_features, self.out_features, self.input_blades = n, m, input_blades
        self.action_blades = (0, 5, 6, 7, 8, 9, 10, 15)
        self._action, self.weight = nn.Parameter(torch.randn(m, n, 8)), nn.Parameter(torch.randn(m, n))
        self.embed_e0 = nn.Parameter(torch.randn(n, 1))


class MultiVectorAct(nn.Module):
    def __init__(self, channels: int, input_blades: tuple[int, ...], agg: str = "linear") -> None:
        super().__init__()
        self.algebra, self.input_blades, self.kernel_blades, self.agg = SPACE, input_blades, input_blades, agg
        self.conv = nn.Conv1d(channels, channels, len(input_blades), groups=channels)


@pytest.fixture(scope="module")
def example() -> Iterator[Any]:
    """The example's modules, which are forgotten."""
    with example_of("cliffordlayers", "cliffordlayers") as found:
        yield found


def images() -> nn.Sequential:
    layers = nn.Sequential(
        CliffordG3Conv2d(3, 4), CliffordG3LinearVSiLU(4), CliffordG3Conv2d(4, 4, 3), CliffordG3Conv2d(4, 2)
    )
    return layers.to(DEVICE, torch.float64)


def test_layers_of_images_are_replaced(example: Any) -> None:
    """Those whose filters have one place; parameters and what the model computes stay."""
    theirs = images()
    ours = copy.deepcopy(theirs)
    new = example.replace(ours)
    assert {name: type(layer).__name__ for name, layer in new.items()} == {
        "0": "ImageLinear",
        "1": "ImageAct",
        "3": "ImageLinear",
    }
    ours.load_state_dict(theirs.state_dict(), strict=True)
    side = importlib.import_module("side_by_side")
    inputs = {"x": torch.randn(2, 3, 4, 5, 3, dtype=torch.float64, device=DEVICE)}
    found, expected = (side.results(model, example.forward, inputs) for model in (ours, theirs))
    assert max(side.differences(found, expected).values()) < 1e-10


def test_layers_of_points_are_replaced(example: Any) -> None:
    points = example.POINTS
    layers = nn.Sequential(PGAConjugateLinear(3, 4, points), MultiVectorAct(4, points))
    whole = MultiVectorAct(4, tuple(range(16)))
    state = {name: x.clone() for name, x in layers.state_dict().items()}
    layers.append(whole)
    kinds = {name: type(layer).__name__ for name, layer in example.replace(layers).items()}
    assert kinds == {"0": "PGAConjugateLinear", "1": "PointAct", "2": "MultiVectorAct"}
    assert all(torch.equal(x, layers.state_dict()[name]) for name, x in state.items())


def test_layers_that_compute_something_else_are_left(example: Any) -> None:
    points = example.POINTS
    others = nn.Sequential(
        CliffordG3Conv2d(3, 3, bias=True),
        PGAConjugateLinear(3, 3, (1, 2, 3)),
        MultiVectorAct(3, points, agg="sum"),
        MultiVectorAct(3, (1, 2, 3)),
    )
    assert example.replace(others) == {}
    assert example.replace(images(), ["PGAConjugateLinear"]) == {}


def test_a_folder_that_is_no_checkout(example: Any, tmp_path: Any) -> None:
    with pytest.raises(SystemExit, match="no checkout of cliffordlayers"):
        example.main([str(tmp_path)])


@pytest.mark.slow
@pytest.mark.skipif(not CHECKOUT, reason="KGEN_CLIFFORDLAYERS names no checkout")
@pytest.mark.parametrize("name", ["resnet", "motors"])
def test_its_own_models(example: Any, name: str) -> None:
    assert CHECKOUT
    assert example.main([CHECKOUT, "--model", name, "--size", "1", "--repeats", "1"]) == 0
