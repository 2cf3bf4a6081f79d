"""How exact the pointwise functions of bodies are, element by element, beside torch's own.

    python -m benchmarks.pointwise --out benchmarks/results/NAME.csv

Every function is taken, and differentiated once and twice, on a grid from -1e4 to 1e4 that is dense near zero and has
denormals, both zeros and both infinities, in every dtype. What is exact is computed by mpmath with sixty digits, of the
argument as the dtype holds it. An error is |x - exact| / |exact|, or over the smallest normal number where that is
larger; one that is infinite says that a result is not finite where it should be, or finite where it should not.

The grid falls into bands, one for each sign and power of ten. In each a kernel may be off by as much as `SLACK` times
torch's own function there, or by `UNITS` units in the last place: see `excess`.
"""

import csv
import math
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import mpmath as mp
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from kgen.tools.problem import load_module

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
ORDERS = ("value", "first derivative", "second derivative")
SLACK, UNITS = 4.0, 8.0
DIGITS = 60
INF, NAN = mp.inf, mp.nan
Exact = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Function:
    """A function as a body has it, torch's, and what it and its derivatives are."""

    body: str
    torch: Callable[[Tensor], Tensor]
    exact: tuple[Exact, Exact, Exact]


def _gauss(x: Any) -> Any:
    return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)


def _logistic(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


def _power(exponent: float) -> tuple[Exact, Exact, Exact]:
    p = mp.mpf(exponent)
    return lambda x: x**p, lambda x: p * x ** (p - 1), lambda x: p * (p - 1) * x ** (p - 2)


def _above(bound: float) -> tuple[Exact, Exact, Exact]:
    return lambda x: max(x, mp.mpf(bound)), lambda x: mp.mpf(x > bound), lambda x: mp.mpf(0)


def _below(bound: float) -> tuple[Exact, Exact, Exact]:
    return lambda x: min(x, mp.mpf(bound)), lambda x: mp.mpf(x < bound), lambda x: mp.mpf(0)


_TANH = (mp.tanh, lambda x: mp.sech(x) ** 2, lambda x: -2 * mp.tanh(x) * mp.sech(x) ** 2)
_ERF = (
    mp.erf,
    lambda x: 2 / mp.sqrt(mp.pi) * mp.exp(-x * x),
    lambda x: -4 * x / mp.sqrt(mp.pi) * mp.exp(-x * x),
)
_SIGMOID = (
    _logistic,
    lambda x: _logistic(x) * _logistic(-x),
    lambda x: -_logistic(x) * _logistic(-x) * mp.tanh(x / 2),
)
_GELU = (
    lambda x: x * mp.ncdf(x),
    lambda x: mp.ncdf(x) + x * _gauss(x),
    lambda x: (2 - x * x) * _gauss(x),
)
_LOG = (mp.log, lambda x: 1 / x, lambda x: -1 / (x * x))

FUNCTIONS = {
    "exp": Function("exp(x)", torch.exp, (mp.exp, mp.exp, mp.exp)),
    "log": Function("log(x)", torch.log, _LOG),
    "erf": Function("erf(x)", torch.erf, _ERF),
    "tanh": Function("tanh(x)", torch.tanh, _TANH),
    "sigmoid": Function("sigmoid(x)", torch.sigmoid, _SIGMOID),
    "gelu": Function("gelu(x)", torch.nn.functional.gelu, _GELU),
    "sqrt": Function("sqrt(x)", torch.sqrt, _power(0.5)),
    "rsqrt": Function("rsqrt(x)", torch.rsqrt, _power(-0.5)),
    "sin": Function("sin(x)", torch.sin, (mp.sin, mp.cos, lambda x: -mp.sin(x))),
    "cos": Function("cos(x)", torch.cos, (mp.cos, lambda x: -mp.sin(x), lambda x: -mp.cos(x))),
    "abs": Function("abs(x)", torch.abs, (mp.fabs, mp.sign, lambda x: mp.mpf(0))),
    "relu": Function("relu(x)", torch.relu, _above(0)),
    "maximum": Function("maximum(x, 0.3)", lambda x: torch.maximum(x, x.new_tensor(0.3)), _above(0.3)),
    "minimum": Function("minimum(x, 0.3)", lambda x: torch.minimum(x, x.new_tensor(0.3)), _below(0.3)),
    "reciprocal": Function("1 / x", torch.reciprocal, _power(-1)),
    "square": Function("x**2", torch.square, _power(2)),
    "cube": Function("x**3", lambda x: x**3, _power(3)),
    "inverse_square": Function("x**-2", lambda x: x**-2, _power(-2)),
}


@dataclass(frozen=True, slots=True)
class Error:
    """The worst errors of one function in one dtype, and by how many times a kernel is off by more than it may be."""

    function: str
    dtype: str
    order: str
    kernel: float
    torch: float
    excess: float
    device: str
    versions: str


def spec() -> str:
    """The spec with a kernel for each function."""
    kernels = [f"  of_{name}: {{inputs: {{x: [n]}}, body: 'return {f.body}'}}" for name, f in FUNCTIONS.items()]
    return "\n".join(["kgen: 1", "name: functions", "doc: Each pointwise function alone.", "kernels:", *kernels, ""])


@cache
def grid(dtype: torch.dtype) -> Tensor:
    """The arguments, as the dtype holds them."""
    sizes = torch.cat([torch.logspace(-45, 4, 401, dtype=torch.float64), torch.logspace(-323, -45, 40).double()])
    steps = torch.cat([torch.linspace(-25, 25, 301, dtype=torch.float64), torch.arange(-110.0, 111.0).double()])
    special = torch.tensor([0.0, -0.0, math.inf, -math.inf], dtype=torch.float64)
    return torch.unique(torch.cat([sizes, -sizes, steps, special]).to(dtype))


@cache
def exact(name: str, order: int, dtype: torch.dtype) -> Tensor:
    """What is exact on the grid, rounded to fp64; NaN where nothing is defined."""
    with mp.workdps(DIGITS):
        values = [_value(FUNCTIONS[name].exact[order], x) for x in grid(dtype).tolist()]
    return torch.tensor(values, dtype=torch.float64)


def _value(function: Exact, x: float) -> float:
    try:
        value = function(mp.mpf(x))
    except (ZeroDivisionError, ValueError):
        return math.nan
    return float(value) if isinstance(value, mp.mpf) else math.nan


def derivatives(function: Callable[[Tensor], Tensor], x: Tensor) -> list[Tensor]:
    """The function of x and its first two derivatives."""
    leaf = x.clone().requires_grad_()
    value = function(leaf)
    (first,) = torch.autograd.grad(value, leaf, torch.ones_like(value), create_graph=True)
    if not first.requires_grad:
        return [value.detach(), first, torch.zeros_like(x)]
    (second,) = torch.autograd.grad(first, leaf, torch.ones_like(first), allow_unused=True, materialize_grads=True)
    return [value.detach(), first.detach(), second]


def relative(found: Tensor, wanted: Tensor, like: Tensor) -> Tensor:
    """The error of each element; where nothing is defined, or infinite, it is that of torch in fp64, `like`."""
    format = torch.finfo(found.dtype)
    found, rounded = found.double().cpu(), wanted.to(found.dtype).double()
    error = (found - wanted).abs() / wanted.abs().clamp(min=format.smallest_normal)
    error = torch.where(found == rounded, 0.0, error)
    lost = wanted.isnan() & (found.isnan() | (found == like) | ~like.isfinite())
    return torch.where(lost, 0.0, error.nan_to_num(math.inf, math.inf))


def bands(dtype: torch.dtype) -> Tensor:
    """A number for each element of the grid: its sign and its power of ten, all beyond 1e4 and below 1e-10 alike."""
    x = grid(dtype).double()
    powers = x.abs().clamp(1e-11, 1e5).log10().floor()
    powers = torch.where(x.isinf(), 99, torch.where(x == 0, -99, powers))
    return torch.where(x < 0, -1, 1) * (powers + 200)


def excess(ours: Tensor, theirs: Tensor, dtype: torch.dtype) -> float:
    """By how many times an error is larger than it may be, in the worst band; at most 1 is right."""
    band, worst = bands(dtype), 0.0
    for number in band.unique():
        own, other = (float(x[band == number].max()) for x in (ours, theirs))
        allowed = max(SLACK * other, UNITS * torch.finfo(dtype).eps)
        worst = max(worst, 0.0 if own == 0 else own / allowed if math.isfinite(own) else own)
    return worst


def errors(module: ModuleType, name: str, dtype: torch.dtype, device: torch.device) -> Iterator[Error]:
    """The errors of a function and of its derivatives, of the module's kernel and of torch."""
    x = grid(dtype).to(device)
    theirs = FUNCTIONS[name].torch
    sets = derivatives(getattr(module, f"of_{name}"), x), derivatives(theirs, x), derivatives(theirs, x.double().cpu())
    versions = f"torch {torch.__version__}"
    for order, (kernel, own, double) in enumerate(zip(*sets)):
        wanted = exact(name, order, dtype)
        ours, others = (relative(found, wanted, double) for found in (kernel, own))
        beyond = excess(ours, others, dtype)
        kind = str(dtype).removeprefix("torch.")
        worst = float(ours.max()), float(others.max())
        yield Error(name, kind, ORDERS[order], *worst, beyond, _device_name(device), versions)


def _device_name(device: torch.device) -> str:
    if device.type == "cpu":
        return f"Triton's interpreter on {platform.machine()}"
    return str(torch.cuda.get_device_name(device))


def table(rows: Sequence[Error]) -> Table:
    """The worst error of each function in each dtype, kernel's / torch's, and what is beyond the bound."""
    names = list(dict.fromkeys(row.dtype for row in rows))
    shown = Table(title=f"worst relative error, kernel / torch, on {rows[0].device}")
    for heading in ("function", "", *names):
        shown.add_column(heading, no_wrap=True)
    for name in dict.fromkeys(row.function for row in rows):
        for order in ORDERS:
            found = {r.dtype: r for r in rows if r.function == name and r.order == order}
            cells = [f"{r.kernel:.0e} / {r.torch:.0e}" + (" !" if r.excess > 1 else "") for r in found.values()]
            shown.add_row(name if order == ORDERS[0] else "", order, *cells)
    return shown


def compiled(folder: Path) -> ModuleType:
    """The package of `spec`, compiled into a folder."""
    from kgen.pipeline import generate
    from kgen.spec.load import load

    for name, text in generate([load("pointwise.yaml", spec())]).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return load_module(folder / "functions")


def main(
    module: Annotated[Path | None, typer.Option(help="a package of the spec; else it is compiled here")] = None,
    out: Annotated[Path | None, typer.Option(help="a CSV file for the table")] = None,
    emit: Annotated[Path | None, typer.Option(help="write the package to this folder, and measure nothing")] = None,
) -> None:
    """Print the table; exit with 1 where a kernel is off by more than it may be."""
    import tempfile

    if emit:
        compiled(emit)
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        kernels = load_module(module) if module else compiled(Path(folder))
        measure = partial(errors, kernels, device=device)
        rows = [row for name in FUNCTIONS for dtype in DTYPES for row in measure(name, dtype)]
    Console(width=140).print(table(rows))
    if out:
        with out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([f.name for f in fields(Error)])
            writer.writerows([f"{x:.2e}" if isinstance(x, float) else x for x in astuple(row)] for row in rows)
    raise typer.Exit(any(row.excess > 1 for row in rows))


if __name__ == "__main__":
    typer.run(main)
