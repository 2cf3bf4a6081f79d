"""The layers of the network in plain torch, as they are written without kgen: products by a dense table of Cl(3,0).

Parameters have the names and shapes of the generated layers, so that both kinds load the same state dict. Tensors are
(nodes, channels, 8), with blades e, e1, e2, e3, e12, e13, e23, e123.
"""

from itertools import combinations

import torch
from torch import Tensor, nn

SETS = [blade for grade in range(4) for blade in combinations(range(3), grade)]
GRADES = [len(blade) for blade in SETS]


def table() -> Tensor:
    """(8, 8, 8): how much of blade j is in blade i times blade k, as i, j, k."""
    found = torch.zeros(8, 8, 8, dtype=torch.float64)
    for i, left in enumerate(SETS):
        for k, right in enumerate(SETS):
            swaps = sum(a > b for a in left for b in right)
            found[i, SETS.index(tuple(sorted({*left} ^ {*right}))), k] = (-1) ** swaps
    return found


TABLE = table()
PATHS = sorted({(GRADES[i], GRADES[j], GRADES[k]) for i, j, k in TABLE.nonzero().tolist()})
PLACES = [(*place, PATHS.index(tuple(GRADES[x] for x in place))) for place in TABLE.nonzero().tolist()]  # type: ignore[arg-type]


def product(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """The geometric product with a weight (channels, 20) for each way in which grades make a grade."""
    i, j, k, path = (torch.tensor(part, device=x.device) for part in zip(*PLACES))
    signs = TABLE.to(x)
    dense = weight.new_zeros(len(weight), 8, 8, 8)
    dense[:, i, j, k] = weight[:, path] * signs[i, j, k]
    return torch.einsum("vni,nijk,vnk->vnj", x, dense, y)


def squares(x: Tensor) -> Tensor:
    """(…, 4): the squared norm of each grade."""
    grades = torch.tensor(GRADES, device=x.device)
    return x.new_zeros(*x.shape[:-1], 4).index_add(-1, grades, x**2)


def norm(square: Tensor) -> Tensor:
    return (square**2 + 1e-16) ** 0.25


class MVLinear(nn.Module):
    def __init__(self, in_features: int, out_features: int, subspaces: bool = True) -> None:
        super().__init__()
        grades = [4] if subspaces else []
        self.weight = nn.Parameter(torch.randn(out_features, in_features, *grades) * in_features**-0.5)
        self.bias = nn.Parameter(torch.zeros(1, out_features, 1))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight[..., GRADES] if self.weight.dim() == 3 else self.weight[..., None].expand(-1, -1, 8)
        out = torch.einsum("vni,mni->vmi", x, weight)
        return torch.cat([out[..., :1] + self.bias, out[..., 1:]], -1)


class MVSiLU(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(1, channels, 4)), nn.Parameter(torch.zeros(1, channels, 4))

    def forward(self, x: Tensor) -> Tensor:
        invariants = torch.cat([x[..., :1], squares(x)[..., 1:]], -1)
        return torch.sigmoid(self.a * invariants + self.b)[..., GRADES] * x


class NormalizationLayer(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.zeros(features, 4))

    def forward(self, x: Tensor) -> Tensor:
        size = torch.sigmoid(self.a) * (norm(squares(x)) - 1) + 1
        return x / (size[..., GRADES] + 1e-6)


class MVLayerNorm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.ones(1, channels))

    def forward(self, x: Tensor) -> Tensor:
        size = norm(x.square().sum(-1, keepdim=True)).mean(1, keepdim=True) + 1e-6
        return self.a[..., None] * x / size


class SteerableGeometricProductLayer(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features, len(PATHS)) * 0.5)
        self.normalization = NormalizationLayer(features)
        self.linear_right, self.linear_left = MVLinear(features, features), MVLinear(features, features)
        self.linear_right.bias = None  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        right = torch.einsum("vni,mni->vmi", x, self.linear_right.weight[..., GRADES])
        return (self.linear_left(x) + product(x, self.normalization(right), self.weight)) / 2**0.5  # type: ignore[no-any-return]


class CEMLPBlock(nn.Sequential):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(
            MVLinear(in_features, out_features),
            MVSiLU(out_features),
            SteerableGeometricProductLayer(out_features),
            MVLayerNorm(out_features),
        )


class Message(nn.Module):
    """Messages along edges, gathered, multiplied, weighted and added one after the other."""

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_features, len(PATHS)) * 0.5)

    def forward(self, x: Tensor, gate: Tensor, source: Tensor, target: Tensor) -> Tensor:
        sent = gate[..., None] * product(x[source], x[target], self.weight)
        return torch.zeros_like(x).index_add(0, target, sent)
