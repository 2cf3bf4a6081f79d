"""The second suite: what matrix products bound: fully connected products, layers, spectral diffusion.

Run it with `python -m kgen bench --suite contractions --peers DIR --out benchmarks/results/NAME.csv`. DIR is as for
`first.py`. Other sizes must have n = m.

Conventions of the peers: none needs a change of sign or order, see `first.py`. The weights of flash-clifford's fully
connected products are (path, in, out), those of its layer's linear part (grade, in, out), as in vga2d and vga3d.

* flash-clifford's `Layer` is a module; here it is a function of the same tensors that does what its forward does. Its
  bias is one row that it adds to every blade; a row for each blade costs the same, and can equal ours. It is measured
  eagerly and, as its authors do, compiled. "plain torch" is its baseline in that layer's place.
* Diffusion's peer is the formula in plain torch, as DiffusionNet writes it.

A floor has one matrix product for each path and blade of a result, for what has the same weight and result is added
first; for the backward two, one of them for the weight. The basis of diffusion has no gradient, so that its products
have one each. Diffusion's masses, eigenvalues and times are positive, as they are in use.
"""

from pathlib import Path

import torch

from kgen.tools.bench.cases import Case, Peer
from kgen.tools.problem import Function, load_file

SIZES = {"b": 4096, "n": 512, "m": 512}
FAST = ("tf32", "bfloat16")
EXPANSION = {2: (0, 1, 1, 2), 3: (0, 1, 1, 1, 2, 2, 2, 3)}  # the grade of each blade


def fused(product: str, dims: int) -> Function:
    import ops  # type: ignore[import-not-found, unused-ignore]

    return getattr(ops, f"fused_gelu_{product}_norm_{dims}d")  # type: ignore[no-any-return]


def baseline(product: str, dims: int) -> Function:
    """flash-clifford's plain torch, compiled by its own decorator."""
    import ops

    module = load_file(Path(str(ops.__file__)).parents[1] / "tests" / "baselines.py", "flash_clifford_baselines")
    return getattr(module, f"gelu_{product}_norm_{dims}d_torch")  # type: ignore[no-any-return]


def layer(dims: int, product: Function) -> Function:
    """What the forward of flash-clifford's Layer does, with a row of the bias for each blade."""
    grades = torch.tensor(EXPANSION[dims], device="cuda" if torch.cuda.is_available() else "cpu")  # a buffer there

    def forward(
        x: torch.Tensor, gp_weight: torch.Tensor, linear_weight: torch.Tensor, linear_bias: torch.Tensor
    ) -> torch.Tensor:
        y = torch.bmm(x, linear_weight[grades]) + linear_bias[:, None]
        return product(x, y, gp_weight)  # type: ignore[no-any-return]

    return forward


def diffusion(
    x: torch.Tensor, basis: torch.Tensor, mass: torch.Tensor, evalues: torch.Tensor, times: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    in_basis = basis.T @ (x * mass[:, None])
    spectral = torch.exp(-evalues[:, None] * times) * in_basis
    return basis @ spectral, spectral


def products_of(dims: int) -> list[Case]:
    """Of Cl(dims, 0)."""
    peers = (
        Peer("flash-clifford", lambda: fused("fcgp", dims)),
        Peer("torch.compile(plain torch)", lambda: baseline("fcgp", dims)),
    )
    return [Case(f"vga{dims}d", "fused_gelu_fcgp_norm", SIZES, dtype, peers) for dtype in FAST]


def layers_of(dims: int) -> list[Case]:
    peers = (
        Peer("flash-clifford", lambda: layer(dims, fused("sgp", dims)), plain_torch=True),
        Peer("torch.compile(plain torch)", lambda: torch.compile(layer(dims, baseline("sgp", dims)))),
    )
    return [Case(f"vga{dims}d", "layer", SIZES, dtype, peers) for dtype in FAST]


def diffusions_of(v: int) -> list[Case]:
    sizes = {"v": v, "k": 128, "c": 256}
    peers = (Peer("plain torch", lambda: diffusion, plain_torch=True),)
    positive = ("mass", "evalues", "times")
    dtypes = ("bfloat16", "float32")
    return [Case("diffusion", "spatial_diffusion", sizes, d, peers, positive) for d in dtypes]


CASES = [
    *products_of(3),
    *products_of(2),
    *layers_of(3),
    *layers_of(2),
    *diffusions_of(200000),
    *diffusions_of(2048),
]
