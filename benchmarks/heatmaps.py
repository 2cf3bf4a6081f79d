"""The suite of the heatmaps: the cases of the other suites over grids of sizes.

Run it with `python -m kgen bench --suite heatmaps --peers DIR --jobs 16 --out benchmarks/results/NAME.csv`. DIR is as
for `first.py`, which has the conventions of the peers, as `contractions.py` has. The suite takes long: `--part 1/5`
runs a fifth of it, a run that was ended goes on where it was, and `--only` picks a kernel.

flash-kingdon is a fork of flash-clifford whose products kingdon writes at import. It takes part where its checkout and
a kingdon that it runs with are there. None was found: with the released 3.0.0 it ends in `IndexError: tuple index out
of range`, with kingdon's main branch (2.1.1) in `TypeError: type 'MultiVector' is not subscriptable`.
"""

import importlib
import sys
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from kgen.tools.bench.cases import Case, Peer
from kgen.tools.bench.sweeps import Axes, doubled, grid
from kgen.tools.problem import Function, load_file

first, contractions = (
    load_file(Path(__file__).with_name(f"{name}.py"), f"benchmarks.{name}") for name in ("first", "contractions")
)

LARGE: Axes = {"b": doubled(1024, 8192), "n": doubled(128, 1024)}
SMALL: Axes = {"b": doubled(64, 512), "n": doubled(32, 64)}
FIELDS: Axes = {"b": doubled(4096, 65536), "n": (16,)}
ROWS: Axes = {"b": (1024, 4096)}
SQUARE = (128, 256, 512)  # n and m
VERTICES: Axes = {"v": (1000, 10_000, 100_000, 1_000_000)}
WIDE = {"v": 4096, "k": 4096, "c": 4096}
DTYPES = ("float32", "bfloat16")


def flash_kingdon(dimensions: int) -> Function:
    """ImportError where the checkout or kingdon is absent; what kingdon raises where it is another one."""
    name = f"p{dimensions}m0_kingdon"
    found = [Path(place) / "ops" for place in sys.path if (Path(place) / "ops" / f"{name}.py").is_file()]
    if not found:
        raise ImportError("no checkout of flash-kingdon")
    load_file(found[0], "flash_kingdon_ops")  # its package has the name that flash-clifford's has
    module = importlib.import_module(f"flash_kingdon_ops.{name}")
    return getattr(module, f"fused_gelu_sgp_norm_{dimensions}d")  # type: ignore[no-any-return]


def with_kingdon(case: Case) -> Case:
    """The case with one more peer."""
    dimensions = int(case.module.removeprefix("vga").removesuffix("d"))
    return replace(case, peers=(*case.peers, Peer("flash-kingdon", partial(flash_kingdon, dimensions))))


def of(cases: Iterable[Case], kernel: str, dtypes: Iterable[str]) -> list[Case]:
    """The cases of a kernel in each dtype, for one of its sizes."""
    alike = {case.module: case for case in cases if case.kernel == kernel}
    return [replace(case, dtype=dtype) for case in alike.values() for dtype in dtypes]


def square(cases: Iterable[Case]) -> list[Case]:
    """Over the rows, and as many features on each side of the products."""
    return grid([replace(case, sizes={**case.sizes, "n": n, "m": n}) for case in cases for n in SQUARE], ROWS)


NORMED = [with_kingdon(case) for case in of(first.CASES, "fused_gelu_sgp_norm", DTYPES)]
DIFFUSION = of(contractions.CASES, "spatial_diffusion", ("bfloat16", "float32"))

CASES = [
    *grid(NORMED, LARGE),
    *grid(NORMED, SMALL),
    *grid(of(first.CASES, "geometric_product", DTYPES), FIELDS),
    *square(of(contractions.CASES, "fused_gelu_fcgp_norm", contractions.FAST)),
    *square(of(contractions.CASES, "layer", contractions.FAST)),
    *grid(DIFFUSION, VERTICES),
    *(replace(case, sizes=WIDE) for case in DIFFUSION),
]
