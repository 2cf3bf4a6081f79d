"""The suite of the heatmaps: the cases of the other suites over grids of sizes.

Run it with `python -m kgen bench --suite heatmaps --peers DIR --jobs 16 --out benchmarks/results/NAME.csv`. DIR is as
for `first.py`, which has the conventions of the peers, as `contractions.py` has. The suite takes long: `--part 1/5`
runs a fifth of it, a run that was ended goes on where it was, and `--only` picks a kernel.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from kgen.tools.bench.cases import Case
from kgen.tools.bench.sweeps import Axes, doubled, grid
from kgen.tools.problem import load_file

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


def of(cases: Iterable[Case], kernel: str, dtypes: Iterable[str]) -> list[Case]:
    """The cases of a kernel in each dtype, for one of its sizes."""
    alike = {case.module: case for case in cases if case.kernel == kernel}
    return [replace(case, dtype=dtype) for case in alike.values() for dtype in dtypes]


def square(cases: Iterable[Case]) -> list[Case]:
    """Over the rows, and as many features on each side of the products."""
    return grid([replace(case, sizes={**case.sizes, "n": n, "m": n}) for case in cases for n in SQUARE], ROWS)


NORMED = of(first.CASES, "fused_gelu_sgp_norm", DTYPES)
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
