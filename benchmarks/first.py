"""The first suite: the weighted product with norm of Cl(2,0) and Cl(3,0), and the products of Cl(3,0,1) and Cl(1,3).

Run it with `python -m kgen bench --suite first --peers DIR --out benchmarks/results/NAME.csv`. DIR holds the peers'
packages; they are no part of this repository, and one that is absent is reported as not installed.

Conventions of the peers: none needs a change of sign or order. ezgatr and lgatr were compared with the Cayley table of
these orders on every pair of basis blades, flash-clifford through its plain torch baseline on random fp64 inputs, and
every run of the suite compares again.

* flash-clifford: (blade, batch, feature), blades e, e1, e2, e12 and e, e1, e2, e3, e12, e13, e23, e123, weights
  (feature, path) with paths sorted by grade of x, of the result, of y: the layout of vga2d and vga3d. eps = 1e-6.
  "plain torch" is that baseline, compiled by its own decorator.
* ezgatr: (…, channel, 16), e0 the null generator, blades by grade and then by index (e, e0, e1, e2, e3, e01, …, e0123):
  the layout of pga3d. One einsum over the dense table.
* lgatr: (…, channel, 16), the positive generator first, blades by grade and then by index: the layout of sta. Its
  default product is the sparse one, with its own backward.
"""

from pathlib import Path
from typing import Any

from kgen.tools.bench.cases import Case, Peer
from kgen.tools.problem import Function, load_file


def flash_clifford_2d() -> Function:
    from ops import fused_gelu_sgp_norm_2d  # type: ignore[import-not-found, unused-ignore]

    return fused_gelu_sgp_norm_2d  # type: ignore[no-any-return]


def flash_clifford_3d() -> Function:
    from ops import fused_gelu_sgp_norm_3d

    return fused_gelu_sgp_norm_3d  # type: ignore[no-any-return]


def _baseline(name: str) -> Function:
    """flash-clifford's own plain torch version, which its tests compare with."""
    import ops

    module = load_file(Path(str(ops.__file__)).parents[1] / "tests" / "baselines.py", "flash_clifford_baselines")
    return getattr(module, name)  # type: ignore[no-any-return]


def baseline_2d() -> Function:
    return _baseline("gelu_sgp_norm_2d_torch")


def baseline_3d() -> Function:
    return _baseline("gelu_sgp_norm_3d_torch")


def ezgatr() -> Function:
    from ezgatr.nn.functional import geometric_product  # type: ignore[import-not-found, unused-ignore]

    return geometric_product  # type: ignore[no-any-return]


def lgatr() -> Function:
    from lgatr.primitives import PrimitivesConfig, geometric_product  # type: ignore[import-not-found, unused-ignore]

    config = PrimitivesConfig()

    def product(x: Any, y: Any) -> Any:
        return geometric_product(x, y, config=config)

    return product


PRODUCTS = (("pga3d", Peer("ezgatr", ezgatr, plain_torch=True)), ("sta", Peer("lgatr", lgatr, plain_torch=True)))
NORMED = (
    ("vga2d", (Peer("flash-clifford", flash_clifford_2d), Peer("torch.compile(plain torch)", baseline_2d))),
    ("vga3d", (Peer("flash-clifford", flash_clifford_3d), Peer("torch.compile(plain torch)", baseline_3d))),
)

CASES = [
    *(
        Case(module, "fused_gelu_sgp_norm", {"b": b, "n": n}, peers=peers)
        for module, peers in NORMED
        for b, n in ((4096, 512), (1024, 128))
    ),
    *(
        Case(module, "geometric_product", {"b": 65536, "n": 16}, dtype, (peer,))
        for module, peer in PRODUCTS
        for dtype in ("float32", "bfloat16")
    ),
]
