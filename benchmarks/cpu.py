"""The suite of the path without a GPU: every shipped function against a dense einsum, eager and compiled, on a CPU.

Run it with `python -m kgen bench --suite cpu --device cpu --budget 3000 --out benchmarks/results/NAME.csv`. It sets two
threads. Other sizes must have k = n. On a CPU a generated function is its torch reference, so that
`torch.compile(reference)` is also what `torch.compile` makes of the function itself.

"dense einsum" is each function as one writes it who has the table of all products of two blades: `torch.einsum` with
the table, in whose place weights are spread over it. The table is the product of all basis blades; layouts are ours.
"""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from benchmarks import messages
from kgen.tools.bench.cases import Case, Peer
from kgen.tools.problem import Function, load_module

THREADS = 2
GENERATED = Path("generated")
Tensor = torch.Tensor

torch.set_num_threads(THREADS)


class Dense:
    """The functions of one algebra over its dense table; every multivector has all components, blades last."""

    def __init__(self, module: ModuleType) -> None:
        self.planes = module.KERNELS["geometric_product"]["inputs"]["x"][0] != "..."  # blades first in memory
        self.invariant = not self.planes  # by which squares the shipped layers norm
        self.grades = torch.tensor(module.GRADES)
        basis = torch.eye(len(self.grades))
        left, right = basis[:, None, None], basis[None, :, None]
        pairs = [x.expand(len(basis), len(basis), 1, len(basis)).flatten(0, 1) for x in (left, right)]
        found = module.geometric_product_reference(*map(self.stored, pairs))
        self.table = self.read(found).reshape([len(basis)] * 3)  # [i, j, k]: of blade k in blade i times blade j
        reversed_ = 1 - 2 * (self.grades % 4 > 1).float()
        self.signs, self.squares = reversed_, self.table[:, :, 0].diagonal() * reversed_
        triples = torch.tensor(module.PATHS["sgp.weight"])
        g = self.grades
        where = [triples[:, 0, None] == g, triples[:, 2, None] == g, triples[:, 1, None] == g]
        self.paths = torch.einsum("pi,pj,pk,ijk->pijk", *(x.float() for x in where), self.table)

    def read(self, x: Tensor) -> Tensor:
        return x.movedim(0, -1) if self.planes else x

    def stored(self, x: Tensor) -> Tensor:
        return x.movedim(-1, 0).contiguous() if self.planes else x.contiguous()

    def part(self, x: Tensor, *grades: int) -> Tensor:
        """x, which has these grades alone, with all components."""
        whole = x.new_zeros(*x.shape[:-1], len(self.grades))
        return whole.index_copy(-1, torch.isin(self.grades, torch.tensor(grades)).nonzero()[:, 0], x)

    def product(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.einsum("...i,...j,ijk->...k", x, y, self.table)

    def sgp(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        full = torch.einsum("np,pijk->nijk", weight, self.paths)
        return torch.einsum("...ni,...nj,nijk->...nk", x, y, full)

    def fcgp(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        full = torch.einsum("pnm,pijk->nmijk", weight, self.paths)
        return torch.einsum("...ni,...nj,nmijk->...mk", x, y, full)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.einsum("...ni,inm->...mi", x, weight[self.grades]) + self.read(bias)

    def gelu(self, x: Tensor) -> Tensor:
        return x * 0.5 * (1 + torch.erf(x[..., :1] * 0.5**0.5))

    def norm(self, x: Tensor, eps: float = 1e-6) -> Tensor:
        squares = x.square() * self.squares if self.invariant else x.square()
        same = (self.grades[:, None] == self.grades).float()  # sums the squares of each grade, at each of its blades
        mean = (squares @ same).abs().mean(-2, keepdim=True) if self.invariant else (squares @ same).mean(-2, True)
        return x * torch.rsqrt(mean + eps)


def geometric_product(d: Dense, x: Tensor, y: Tensor) -> Tensor:
    return d.stored(d.product(d.read(x), d.read(y)))


def sgp(d: Dense, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    return d.stored(d.sgp(d.read(x), d.read(y), weight))


def fused_gelu_sgp_norm(d: Dense, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    return d.stored(d.norm(d.sgp(d.gelu(d.read(x)), d.gelu(d.read(y)), weight)))


def fused_gelu_fcgp_norm(d: Dense, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    return d.stored(d.norm(d.fcgp(d.gelu(d.read(x)), d.gelu(d.read(y)), weight)))


def mv_linear(d: Dense, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return d.stored(d.linear(d.read(x), weight, bias))


def layer(d: Dense, x: Tensor, gp_weight: Tensor, linear_weight: Tensor, linear_bias: Tensor) -> Tensor:
    x = d.read(x)
    return d.stored(d.norm(d.sgp(d.gelu(x), d.gelu(d.linear(x, linear_weight, linear_bias)), gp_weight)))


def fc_layer(d: Dense, x: Tensor, gp_weight: Tensor, linear_weight: Tensor, linear_bias: Tensor) -> Tensor:
    x = d.read(x)
    return d.stored(d.norm(d.fcgp(d.gelu(x), d.gelu(d.linear(x, linear_weight, linear_bias)), gp_weight)))


def action(d: Dense, r: Tensor, x: Tensor, *, grade: int, shared: bool) -> Tensor:
    """r x ~r of an even r, on the grade of x."""
    r, x = d.part(d.read(r), 0, 2, 4), d.part(d.read(x), grade)
    r = r[..., None, :] if shared else r
    return d.stored(d.product(d.product(r, x), r * d.signs)[..., d.grades == grade])


def spatial_diffusion(x: Tensor, basis: Tensor, mass: Tensor, evalues: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    in_basis = basis.mT @ (x * mass[..., None])
    spectral = torch.exp(-evalues[..., None] * times) * in_basis
    return basis @ spectral, spectral


def spatial_gradients(x_slope: Tensor, y_slope: Tensor, a_real: Tensor, a_imaginary: Tensor) -> Tensor:
    b_x = x_slope @ a_real - y_slope @ a_imaginary
    b_y = y_slope @ a_real + x_slope @ a_imaginary
    return torch.tanh(x_slope * b_x + y_slope * b_y)


ALGEBRA: dict[str, Callable[..., Tensor]] = {
    f.__name__: f
    for f in (geometric_product, sgp, fused_gelu_sgp_norm, fused_gelu_fcgp_norm, mv_linear, layer, fc_layer)
} | {
    "rotor_action": partial(action, grade=1, shared=False),
    "rotor_action_shared": partial(action, grade=1, shared=True),
    "motor_action": partial(action, grade=3, shared=False),
    "motor_action_shared": partial(action, grade=3, shared=True),
}
MESHES: dict[str, Function] = {
    "spatial_diffusion": spatial_diffusion,
    "batched_spatial_diffusion": spatial_diffusion,
    "spatial_gradients": spatial_gradients,
}
SIZES = {
    "vga2d": {"b": 512, "n": 64, "m": 64, "k": 64},
    "vga3d": {"b": 256, "n": 64, "m": 64, "k": 64},
    "pga3d": {"b": 1024, "n": 16, "m": 16},
    "sta": {"b": 1024, "n": 16, "m": 16},
    "message": {"v": 1024, "e": 8192, "n": 16},
    "diffusion": {"b": 2, "v": 2048, "c": 128, "k": 128},
    "cga3d": {"b": 512, "n": 16},  # last, for it takes long to compile
}
LINEAR = {"vga2d": {"b": 512, "n": 256, "m": 256}, "vga3d": {"b": 256, "n": 256, "m": 256}} | dict.fromkeys(
    ("pga3d", "sta"), {"b": 256, "n": 128, "m": 128}
)  # of `mv_linear`, which is one product of matrices for each blade
CONNECTED = {"vga2d": {"b": 256, "n": 64, "m": 64, "k": 64}, "vga3d": {"b": 256, "n": 64, "m": 64, "k": 64}}


def sizes_of(module: str, kernel: str) -> dict[str, int]:
    special = LINEAR if kernel == "mv_linear" else CONNECTED if kernel.startswith(("fc_", "fused_gelu_fc")) else {}
    return special.get(module, SIZES[module])


@cache
def dense(module: str) -> Dense:
    return Dense(load_module(GENERATED / module))


def peer(module: str, kernel: str) -> Peer:
    if module == "message":
        return messages.peer(kernel)
    if module == "diffusion":
        return Peer("plain torch", lambda: MESHES[kernel], plain_torch=True)
    return Peer("dense einsum", lambda: partial(ALGEBRA[kernel], dense(module)), plain_torch=True)


def cases() -> list[Case]:
    """Every function of every package."""
    positive = ("mass", "evalues", "times")
    found: list[Case] = []
    for module in SIZES:
        kernels: dict[str, Any] = load_module(GENERATED / module).KERNELS
        for kernel, described in kernels.items():
            sizes = sizes_of(module, kernel)
            named = {d for dims in described["inputs"].values() for d in dims}
            own = {axis: size for axis, size in sizes.items() if axis in named or axis == "b" and "..." in named}
            drawn = tuple(name for name in positive if name in described["inputs"])
            found.append(Case(module, kernel, own, peers=(peer(module, kernel),), positive=drawn))
    return found


CASES = cases()
