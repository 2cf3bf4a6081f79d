"""CGENN's layers in plain torch, from the formulas: what their state dicts hold, what they compute.

Classes, parameters and buffers are called as in the authors' code, so that keys and shapes are those of its state
dicts. Multivectors lie as (batch, channels, blades).
"""

import math
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn


class CliffordAlgebra(nn.Module):
    """Blades by grade and then by index; `cayley[i, j, k]` is how much of blade j is in blade i times blade k."""

    cayley: Tensor

    def __init__(self, metric: tuple[float, ...]) -> None:
        super().__init__()
        n = len(metric)
        self.dim = n
        sets = [blade for grade in range(n + 1) for blade in combinations(range(n), grade)]
        cayley = torch.zeros([len(sets)] * 3)
        for i, left in enumerate(sets):
            for k, right in enumerate(sets):
                swaps = sum(a > b for a in left for b in right)
                square = math.prod(metric[a] for a in left if a in right)
                cayley[i, sets.index(tuple(sorted({*left} ^ {*right}))), k] = (-1) ** swaps * square
        self.grades = [len(blade) for blade in sets]
        self.register_buffer("metric", torch.tensor(metric))
        self.register_buffer("subspaces", torch.tensor([math.comb(n, g) for g in range(n + 1)]))
        self.register_buffer("bbo_grades", torch.tensor(self.grades).float())
        self.register_buffer("even_grades", torch.tensor(self.grades) % 2 == 0)
        self.register_buffer("odd_grades", torch.tensor(self.grades) % 2 == 1)
        self.register_buffer("cayley", cayley)

    def squares(self, x: Tensor) -> Tensor:
        """<x_g ~x_g>_0 of each grade: a blade times its reverse is the product of its generators' squares."""
        found = x.new_zeros(*x.shape[:-1], self.dim + 1)
        signs = torch.tensor([(-1) ** (g * (g - 1) // 2) for g in self.grades]).to(x)
        own = torch.stack([self.cayley[i, 0, i] for i in range(len(self.grades))]).to(x)
        return found.index_add(-1, torch.tensor(self.grades, device=x.device), x**2 * signs * own)

    def paths(self) -> list[tuple[int, int, int]]:
        """Grades of left, result and right, as they meet in products; sorted."""
        ends = [tuple(self.grades[i] for i in place) for place in self.cayley.nonzero().tolist()]
        return sorted({(a, b, c) for a, b, c in ends})


def norm(square: Tensor) -> Tensor:
    return (square**2 + 1e-16) ** 0.25


def embedded(bias: Tensor, like: Tensor) -> Tensor:
    """A bias on the scalar."""
    return torch.cat([bias, bias.new_zeros(*bias.shape[:-1], like.shape[-1] - 1)], -1)


class MVLinear(nn.Module):
    def __init__(self, algebra: Any, inputs: int, outputs: int, subspaces: bool = True, bias: bool = True) -> None:
        super().__init__()
        self.algebra, self.in_features, self.out_features, self.subspaces = algebra, inputs, outputs, subspaces
        grades = [algebra.dim + 1] if subspaces else []
        self.bias: Tensor | None
        self.weight = nn.Parameter(torch.randn(outputs, inputs, *grades) * inputs**-0.5)
        self.register_parameter("bias", nn.Parameter(torch.zeros(1, outputs, 1)) if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight[..., self.algebra.grades] if self.subspaces else self.weight[..., None]
        out = (weight * x[..., None, :, :]).sum(-2)
        return out if self.bias is None else out + embedded(self.bias, out)


class MVSiLU(nn.Module):
    def __init__(self, algebra: Any, channels: int, invariant: str = "mag2") -> None:
        super().__init__()
        self.algebra, self.channels, self.invariant = algebra, channels, invariant
        self.a = nn.Parameter(torch.ones(1, channels, algebra.dim + 1))
        self.b = nn.Parameter(torch.zeros(1, channels, algebra.dim + 1))

    def forward(self, x: Tensor) -> Tensor:
        q = self.algebra.squares(x)
        q = torch.cat([x[..., :1], (norm(q) if self.invariant == "norm" else q)[..., 1:]], -1)
        return x / (1 + torch.exp(-self.a * q - self.b))[..., self.algebra.grades]


class NormalizationLayer(nn.Module):
    def __init__(self, algebra: Any, features: int) -> None:
        super().__init__()
        self.algebra, self.in_features = algebra, features
        self.a = nn.Parameter(torch.zeros(features, algebra.dim + 1))

    def forward(self, x: Tensor) -> Tensor:
        share = 1 / (1 + torch.exp(-self.a))
        return x / (share * (norm(self.algebra.squares(x)) - 1) + 1 + 1e-6)[..., self.algebra.grades]


class MVLayerNorm(nn.Module):
    def __init__(self, algebra: Any, channels: int) -> None:
        super().__init__()
        self.algebra, self.channels = algebra, channels
        self.a = nn.Parameter(torch.ones(1, channels))

    def forward(self, x: Tensor) -> Tensor:
        size = norm(self.algebra.squares(x).sum(-1)).mean(-1)
        return self.a[..., None] * x / (size + 1e-6)[..., None, None]


class _Product(nn.Module):
    """What both product layers share; the weight's last dim is that of paths."""

    def __init__(self, algebra: Any, inputs: int, outputs: int, weight: Tensor, first_order: bool) -> None:
        super().__init__()
        self.algebra, self.include_first_order = algebra, first_order
        self.weight = nn.Parameter(weight * (algebra.dim + 1) ** -0.5)
        self.normalization = NormalizationLayer(algebra, inputs)
        self.linear_right = MVLinear(algebra, inputs, inputs, bias=False)
        if first_order:
            self.linear_left = MVLinear(algebra, inputs, outputs)

    def table(self) -> Tensor:
        """The products of blades with the weight of each: dims of the weight, left, result, right."""
        grades, known = self.algebra.grades, {path: i for i, path in enumerate(self.algebra.paths())}
        index = torch.tensor([[[known.get((a, b, c), 0) for c in grades] for b in grades] for a in grades])
        found: Tensor = self.weight[..., index] * self.algebra.cayley.to(self.weight)
        return found

    def mixed(self, x: Tensor, product: Tensor) -> Tensor:
        out: Tensor = (self.linear_left(x) + product) / math.sqrt(2) if self.include_first_order else product
        return out


class SteerableGeometricProductLayer(_Product):
    def __init__(self, algebra: Any, features: int, first_order: bool = True) -> None:
        super().__init__(algebra, features, features, torch.randn(features, len(algebra.paths())), first_order)
        self.features = features

    def forward(self, x: Tensor) -> Tensor:
        right = self.normalization(self.linear_right(x))
        return self.mixed(x, torch.einsum("...ni,nijk,...nk->...nj", x, self.table(), right))


class FullyConnectedSteerableGeometricProductLayer(_Product):
    def __init__(self, algebra: Any, inputs: int, outputs: int) -> None:
        weight = torch.randn(outputs, inputs, len(algebra.paths())) * inputs**-0.5
        super().__init__(algebra, inputs, outputs, weight, True)
        self.in_features, self.out_features = inputs, outputs

    def forward(self, x: Tensor) -> Tensor:
        right = self.normalization(self.linear_right(x))
        return self.mixed(x, torch.einsum("...ni,mnijk,...nk->...mj", x, self.table(), right))


def block(algebra: Any, inputs: int, outputs: int) -> nn.Sequential:
    """A block of CEMLP."""
    product = SteerableGeometricProductLayer(algebra, outputs)
    return nn.Sequential(
        MVLinear(algebra, inputs, outputs), MVSiLU(algebra, outputs), product, MVLayerNorm(algebra, outputs)
    )


def scattered(layer: nn.Module, seed: int = 0) -> nn.Module:
    """The layer with random parameters everywhere, so that every part of it matters."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            drawn = torch.randn(parameter.shape, generator=random, dtype=torch.float64).to(parameter)
            parameter.copy_(drawn * (parameter.shape[1] ** -0.5 if parameter.dim() == 3 else 1))
    return layer
