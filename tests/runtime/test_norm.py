"""What rounding to fp32 does to the norm of an indefinite metric: as much as its condition number says, and no more.

`grade_rms_norm(x, metric="invariant")` divides a grade x of a row by the root of m = mean |q| + eps, the mean over n
features, where q = <x ~x>_0 is a sum of +-x_i^2. The absolute values do not cancel in the mean; what cancels is q
within a feature. With s the sum of x_i^2, kappa = mean s / m, r = 1 / sqrt m, a cotangent G and T = sum G x, result and
gradient are

    r x    and    r G - r^3 T / n sign(q) (+-x)

To first order in u, half the spacing of fp32, m is off by c kappa u of itself, where c roundings lie between a square
and the mean, and r by a = c kappa / 2 + 5 times u: so the result by a u |r x|, and the gradient by a u |r G|, and by
(3 a |T| + c sum |G x|) u r^3 / n |x|. Where |q| is below its own error, c u s, its sign is open, and with it another
2 |T| r^3 / n |x|: the derivative jumps there, and no arithmetic of finite precision knows on which side it is.
"""

from pathlib import Path

import pytest
import torch
from modules import DEVICE, compiled, module, results, run
from torch import Tensor

pytestmark = [
    pytest.mark.usefixtures("poisoned"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:triton"),  # of lanes that a mask discards
]

SPEC = """\
kgen: 1
name: norm
algebra: {signature: [1, 3, 0]}
layout: {multivector: [..., n, blade]}
kernels:
  norm:
    inputs: {x: multivector}
    options: {eps: 1.0e-6}
    body: return grade_rms_norm(x, eps=eps, metric="invariant")
"""
ROWS, N, EPS = 64, 16, 1e-6
U = 2.0**-24
TERMS = N + 6 + 2  # roundings on the way of a square to the mean, at most: six blades, n features, 1 / n and eps
GRADES = torch.tensor(module("sta").GRADES, device=DEVICE)
BLADES = module("sta").BLADES
SIGNS = torch.tensor([(-1.0) ** sum(c in "234" for c in blade[1:]) for blade in BLADES], device=DEVICE).double()
Tensors = dict[str, Tensor]


def nearly_null(remainder: float, rows: int = ROWS) -> Tensor:
    """Multivectors in fp32; of grades that hold both signs, |q| is this part of the larger of the sums of one sign."""
    random = torch.Generator().manual_seed(5)
    x = torch.randn(rows, N, len(BLADES), generator=random, dtype=torch.float64).to(DEVICE)
    turned = torch.randint(2, (rows, N), generator=random).to(DEVICE) == 0
    for grade in (1, 2, 3):
        larger = (grade == GRADES) & ((SIGNS > 0) == turned[..., None])
        smaller = (grade == GRADES) & ~larger
        sizes = [(x * side).norm(dim=-1, keepdim=True) for side in (larger, smaller)]
        x = torch.where(smaller, x * sizes[0] / sizes[1] * (1 - remainder) ** 0.5, x)
    return x.float()


def by_grade(x: Tensor) -> Tensor:
    """Sums over the blades of each grade."""
    return torch.stack([x[..., grade == GRADES].sum(-1) for grade in range(5)], -1)


def bounds(x: Tensor, cotangent: Tensor) -> Tensors:
    """How far results and gradient may be off, for each row, feature and grade."""
    q, s, products = by_grade(SIGNS * x.square()), by_grade(x.square()), x * cotangent
    m = q.abs().mean(1, keepdim=True) + EPS
    r, a = m.rsqrt(), TERMS * s.mean(1, keepdim=True) / m / 2 + 5
    total = by_grade(products).sum(1, keepdim=True).abs()
    rough = by_grade(products.abs()).sum(1, keepdim=True)
    off = U * (3 * a * total + TERMS * rough) + 2 * total * (q.abs() < TERMS * U * s)
    gradient = U * a * r * by_grade(cotangent.square()).sqrt() + off * r**3 / N * s.sqrt()
    return {"out": U * a * r * s.sqrt(), "grad_x": gradient}


def evaluate(x: Tensor, folder: Path) -> tuple[Tensors, Tensors, Tensors]:
    """Results and gradients of the kernel, and of plain torch in fp32 and in fp64."""
    of = compiled(SPEC, folder)
    options = (["out"], ["x"], {"eps": EPS})
    plain, exact = (results(of.norm_reference, {"x": x}, *options, exact=wide) for wide in (False, True))
    return run(of, "norm", {"x": x}, eps=EPS), plain, exact


def cotangent(like: Tensor) -> Tensor:
    """That of `results`."""
    random = torch.Generator().manual_seed(7)
    return torch.randn(like.shape, generator=random, dtype=torch.float64).float().double().to(DEVICE)


def usual(found: Tensor, exact: Tensor) -> float:
    """The error of a row relative to the row, as the root mean square over rows."""
    rows = [x.flatten(1).norm(dim=1) for x in (found.double() - exact, exact)]
    return float((rows[0] / rows[1]).square().mean().sqrt())


@pytest.mark.parametrize("remainder", [1.0, 1e-2, 1e-4, 1e-6, 0.0])
def test_errors_are_those_of_the_condition_number(remainder: float, compiled_folder: Path) -> None:
    """Feature by feature, with all signs known and with open ones."""
    x = nearly_null(remainder)
    kernel, plain, exact = evaluate(x, compiled_folder)
    for name, bound in bounds(x.double(), cotangent(x)).items():
        for found in (kernel, plain):
            off = by_grade((found[name].double() - exact[name]).square()).sqrt()
            assert (off <= 1.1 * bound).all(), f"{name}: {float((off / bound).max())} times the bound"


@pytest.mark.parametrize("remainder", [1.0, 1e-2, 1e-4])
def test_the_kernel_is_as_good_as_torch(remainder: float, compiled_folder: Path) -> None:
    kernel, plain, exact = evaluate(nearly_null(remainder), compiled_folder)
    for name in exact:
        for grade in range(5):
            ours, theirs = (
                usual(x[name][..., grade == GRADES], exact[name][..., grade == GRADES]) for x in (kernel, plain)
            )
            assert ours <= 2 * theirs + 4 * U, (name, grade, ours, theirs)
            assert remainder > 1e-3 or grade in (0, 4) or theirs > 100 * U, "torch is exact: the rows are not hard"


@pytest.mark.parametrize("remainder", [1.0, 1e-4])
def test_the_layer_is_as_good_as_torch(remainder: float) -> None:
    """Of a y that is a scalar the product is x, but for a factor for each grade: as hard to norm as x is."""
    of, kernel = module("sta"), "fused_gelu_sgp_norm"
    random = torch.Generator().manual_seed(6)
    x, weight = nearly_null(remainder, 16), torch.randn(of.KERNELS[kernel]["inputs"]["weight"][1], generator=random)
    y = torch.zeros_like(x)
    y[..., 0] = torch.rand(x.shape[:2], generator=random) + 0.5
    inputs = {"x": x, "y": y, "weight": weight.expand(N, -1).contiguous().to(DEVICE)}
    reference = getattr(of, f"{kernel}_reference")
    plain, exact = (results(reference, inputs, ["out"], list(inputs), {}, exact=wide) for wide in (False, True))
    for name, found in run(of, kernel, inputs).items():
        ours, theirs = (usual(tensor, exact[name]) for tensor in (found, plain[name]))
        assert ours <= 2 * theirs + 4 * U, (name, ours, theirs)
