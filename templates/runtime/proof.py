"""What a proof of a package does: each kernel and all its derivatives against oracles in plain torch.

A proof, `tests/test_<package>.py`, loads this file by itself, before the package, gives it what it claims, and takes
the tests from it. It needs torch, triton and pytest alone. Kernels run on a GPU, else in Triton's interpreter, which
needs numpy and is switched on here; without either, or with TRITON_INTERPRET=0, the package's fallback in plain torch
is proven.
"""

import functools
import importlib
import importlib.util
import itertools
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

GPU = next((kind for kind in ("cuda", "xpu") if getattr(torch, kind).is_available()), None)
TRITON = importlib.util.find_spec("triton") is not None
if TRITON and importlib.util.find_spec("numpy") and not GPU:
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when kernels are defined, so before the package is imported
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, torch's own products are not deterministic
INTERPRETED = TRITON and bool(importlib.import_module("triton").knobs.runtime.interpret)
DEVICE = torch.device("cpu" if INTERPRETED or not GPU else GPU)
LAUNCHED: list[str] = []  # the names of kernels as they are launched, and those of the library's products
BACKWARD = "backward"  # what parts the directions among them

Extents = dict[str, Any]
Tensors = dict[str, Tensor]
Function = Callable[..., Any]


# ---------------------------------------------------------------------------------------------------------------------
# What is claimed, of which package


class Case:
    """A kernel in one variant of its bool options, with what the proof says of it."""

    def __init__(self, kernel: str, claim: dict[str, Any], flags: tuple[tuple[str, bool], ...]) -> None:
        self.kernel, self.flags = kernel, flags
        self.inputs: dict[str, tuple[str | int, ...]] = claim["inputs"]
        self.outputs: dict[str, tuple[str | int, ...]] = claim["outputs"]
        self.grads: tuple[str, ...] = claim["grads"]
        self.options: dict[str, bool | int | float] = claim.get("options", {})
        self.indices: dict[str, str] = claim.get("indices", {})
        self.labels: tuple[str, ...] = claim.get("integers", ())
        self.seeds: tuple[str, ...] = claim.get("seeds", ())
        self.integers = {*self.indices, *self.labels, *self.seeds}
        self.probabilities: tuple[str, ...] = claim.get("probabilities", ())
        self.grades: dict[str, tuple[int, ...]] = claim.get("grades", {})
        self.group: str = claim.get("group", "")
        self.products: bool = claim.get("products", False)
        self.precision: str = claim.get("precision", "")
        self.joined: dict[str, tuple[str, ...]] = claim.get("joined", {})
        self.narrow: bool = claim.get("narrow", False)

    def __str__(self) -> str:
        return "-".join([self.kernel, *(f"{name}={value}" for name, value in self.flags)])

    def settings(self, further: bool) -> dict[str, Any]:
        """The options: numbers at their defaults or further from zero, as a norm over few features wants its eps."""
        numbers = {name: value for name, value in self.options.items() if not isinstance(value, bool)}
        steps = {k: 0.0 if k in self.probabilities else 0.5 if isinstance(v, float) else 1 for k, v in numbers.items()}
        return dict(self.flags) | {name: value + further * steps[name] for name, value in numbers.items()}


class _Claims:
    """What `claim` was given: the package, cases, oracles, and the algebra."""

    module: ModuleType
    kernels: dict[str, dict[str, Any]]
    oracles: dict[str, Function]
    cases: list[Case]
    blades: Sequence[str] = ()
    grades: Sequence[int] = ()
    table: Tensor
    product: Function
    regrade: Function
    involute: Function


CLAIMS = _Claims()


def claim(folder: Path, kernels: dict[str, dict[str, Any]], oracles: dict[str, Function], **algebra: Any) -> None:
    """Load the package and keep what is claimed of it.

    Args:
        folder: the package's.
        kernels: what each kernel takes and gives: `inputs`, `outputs` and `grads` as in `KERNELS`, and where there are
            any `options`, those of them that are `probabilities`, `indices`, other `integers`, `seeds`, `products`,
            `precision`, `narrow`, `joined` axes, `grades` of multivectors, the `group` under which the kernel is
            equivariant; `spec`, the digest of what the spec says of it.
        oracles: the functions in plain torch that the kernels must equal.
        algebra: `blades` with their `grades`, the `table` of their products, and the oracles' `product`, `regrade` and
            `involute`.
    """
    vars(CLAIMS).update(algebra)
    CLAIMS.module, CLAIMS.kernels, CLAIMS.oracles = load(folder), kernels, oracles
    CLAIMS.cases = [case for kernel in kernels for case in variants(kernel)]


def load(folder: Path) -> ModuleType:
    """The package, under its name in the one that it lies in: who imports it from there gets the same one."""
    around = itertools.takewhile(lambda parent: (parent / "__init__.py").exists(), folder.parents)
    own, path = ".".join([*reversed([parent.name for parent in around]), folder.name]), folder / "__init__.py"
    for name in itertools.chain([own], (f"{own}_{number}" for number in itertools.count(1))):
        if name not in sys.modules:
            break
        if Path(sys.modules[name].__file__ or "").resolve() == path:
            return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=[str(folder)])
    assert spec and spec.loader
    loaded = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def runtime(part: str) -> Any:
    """A part of the package's runtime, such as `launch`."""
    return importlib.import_module(f"{CLAIMS.module.__name__}._runtime.{part}")


def variants(kernel: str) -> list[Case]:
    """A case for each choice of a kernel's bool options."""
    described = CLAIMS.kernels[kernel]
    flags = [name for name, value in described.get("options", {}).items() if isinstance(value, bool)]
    chosen = itertools.product((True, False), repeat=len(flags))
    return [Case(kernel, described, tuple(zip(flags, values))) for values in chosen]


# ---------------------------------------------------------------------------------------------------------------------
# Tests for pytest


def each(chosen: Callable[[Case], Any]) -> Callable[[Function], Function]:
    """A test runs for each case that is chosen; without this decorator for all."""

    def decorate(test: Function) -> Function:
        test.chosen = chosen  # type: ignore[attr-defined]
        return test

    return decorate


def cases_of(test: Function) -> list[Case]:
    """The cases that a test runs for."""
    return [case for case in CLAIMS.cases if getattr(test, "chosen", bool)(case)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", cases_of(metafunc.function), ids=str)


def tests() -> dict[str, Any]:
    """What a proof's namespace takes for pytest to find: the tests that there are cases for, fixtures, marks."""
    found = {name: value for name, value in globals().items() if name.startswith("test_")}
    found = {name: test for name, test in found.items() if not _wants_cases(test) or cases_of(test)}
    marks = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")  # of lanes that a mask discards
    return found | {"surroundings": surroundings, "pytest_generate_tests": pytest_generate_tests, "pytestmark": marks}


def _wants_cases(test: Function) -> bool:
    return "case" in test.__code__.co_varnames[: test.__code__.co_argcount]


def recorded(launch: Function, kernel: Any, *arguments: Any) -> None:
    LAUNCHED.append(kernel.__name__)
    launch(kernel, *arguments)


def multiplied(product: Callable[..., Tensor], *arguments: Any, **others: Any) -> Tensor:
    LAUNCHED.append(product.__name__)
    return product(*arguments, **others)


@pytest.fixture(scope="module", autouse=True)
def surroundings() -> Iterator[None]:
    """Launches are recorded, nothing undeterministic is tolerated, and what torch.empty gives is full of NaN."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)  # tests may run side by side
    torch.use_deterministic_algorithms(True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
        assert torch.empty(3, device=DEVICE).isnan().all()
        if TRITON:
            place, matrices = runtime("launch"), runtime("matmul")
            patch.setattr(place, "launch", functools.partial(recorded, place.launch))
            for name in ("product", "in_parts"):
                patch.setattr(matrices, name, functools.partial(multiplied, getattr(matrices, name)))
        yield
    torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)


# ---------------------------------------------------------------------------------------------------------------------
# Sizes and inputs

LEADS: dict[int, tuple[int, ...]] = {0: (2, 0), 1: (), 3: (3,), 17: (17, 1), 129: (3, 43)}  # rows as leading axes


def axes(case: Case) -> list[str]:
    """The named axes, rows first."""
    found = dict.fromkeys(dim for dims in case.inputs.values() for dim in dims if isinstance(dim, str))
    return sorted(found, key=lambda axis: axis not in ("...", "b"))


def sizes(case: Case, first: int, last: int) -> Extents:
    """Extents of the first and the last axis; others are short."""
    names = axes(case)
    extents: Extents = dict.fromkeys(names, 3) | {names[-1]: last} | {names[0]: first}
    return joined(case, extents | ({"...": LEADS.get(first, (first,))} if "..." in extents else {}))


def joined(case: Case, extents: Extents) -> Extents:
    """The extents, those of axes that are others one after the other by these."""
    found = dict(extents)
    for axis, parts in case.joined.items():
        found[axis] = sum(found[part] for part in parts)
    return found


def shape(dims: Sequence[str | int], extents: Extents) -> list[int]:
    found = [extents.get(str(dim), dim) for dim in dims]
    return [n for extent in found for n in (extent if isinstance(extent, tuple) else (extent,))]


def draw(
    case: Case, extents: Extents, dtype: torch.dtype | dict[str, torch.dtype] = torch.float64, scale: float = 1.0
) -> Tensors:
    """Random inputs by name; `dtype` may be by name, too; `scale` is of multivectors, in plain kernels of all."""
    inputs, extents = {}, joined(case, extents)
    for name, dims in case.inputs.items():
        random = torch.Generator().manual_seed(zlib.crc32(f"{case.kernel}.{name}".encode()))
        if name in case.indices:
            count = max(1, extents[case.indices[name]])  # what points into nothing is out of range
            inputs[name] = torch.randint(count, shape(dims, extents), generator=random).to(DEVICE)
            continue
        if name in case.labels:
            inputs[name] = torch.randint(-1, 3, shape(dims, extents), generator=random).to(DEVICE)  # some are alike
            continue
        if name in case.seeds:
            inputs[name] = torch.randint(1 << 62, shape(dims, extents), generator=random).to(DEVICE)
            continue
        x = torch.randn(shape(dims, extents), generator=random, dtype=torch.float64)
        x = x * scale if name in (case.grades or case.inputs) else x
        kind = dtype[name] if isinstance(dtype, dict) else dtype
        inputs[name] = x.to(DEVICE, kind)
    return inputs


# ---------------------------------------------------------------------------------------------------------------------
# Results, and how far they are from the oracle's

# ||x - exact|| / ||exact||, and a tenth of the largest |x - exact| over the root mean square. Arithmetic is in fp32, or
# in fp64 where an input is; 16-bit results are rounded once, and may be off by the spacing of the format's numbers. In
# fp64 inputs and cotangents are of size one, and so is what errors are measured by, at least: terms may cancel.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}
# Of matrix products in bf16, whose factors are rounded, too, and in the interpreter cut off: a gradient meets several.
ROUNDED = 2.0**-3 if INTERPRETED else 2.0**-4
SHAKEN = 3.0  # times what rounding the inputs makes of the oracle's, where a function is ill-conditioned, or more
# In fp32 inputs are of size 1e-4 and more. What is smaller than three of them multiplied has vanished, in the oracle's
# fp64, too: it has no digits of 1 - sigmoid(x) beyond x = 37.
VANISHED = 1e-13
IN_TF32 = 0.0 if INTERPRETED else 2.0**-6  # of kernels that multiply fp32 so, which the interpreter does not


def seeded(name: str, like: Tensor) -> Tensor:
    """A random cotangent that is exact in every dtype."""
    random = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return (torch.randn(like.shape, generator=random).mul(16).round() / 16).to(like)


def gradients(results: Tensors, sources: Tensors, create_graph: bool) -> tuple[Tensors, Tensors]:
    """The gradients of results by the name of their source, and the cotangents by the name of their result."""
    results = {name: x for name, x in results.items() if x.requires_grad}
    cotangents = {name: seeded(name, x).requires_grad_(create_graph) for name, x in results.items()}
    if not results:
        return {name: torch.zeros_like(x) for name, x in sources.items()}, {}
    outputs, inputs, seeds = (list(named.values()) for named in (results, sources, cotangents))
    found = torch.autograd.grad(outputs, inputs, seeds, create_graph=create_graph, materialize_grads=True)
    return dict(zip(sources, found)), cotangents


def evaluate(
    case: Case,
    function: Function,
    inputs: Tensors,
    wanted: Sequence[str] | None = None,
    second: bool = False,
    further: bool = False,
) -> Tensors:
    """Results by name, gradients as "d x", and the gradients of those, as "dd x" and "dd cotangent of out"."""
    wanted = case.grads if wanted is None else wanted
    leaves = {name: x.detach().requires_grad_(name in wanted) for name, x in inputs.items()}
    value = function(*leaves.values(), **case.settings(further))
    found = dict(zip(case.outputs, value if isinstance(value, tuple) else (value,), strict=True))
    LAUNCHED.append(BACKWARD)
    sources = {name: x for name, x in leaves.items() if x.requires_grad}
    if sources:
        first, cotangents = gradients(found, sources, create_graph=second)
        found |= {f"d {name}": x for name, x in first.items()}
        if second:
            sources |= {f"cotangent of {name}": x for name, x in cotangents.items()}
            found |= {f"dd {name}": x for name, x in gradients(first, sources, create_graph=False)[0].items()}
    return {name: x.detach() for name, x in found.items()}


def run(
    case: Case,
    inputs: Tensors,
    wanted: Sequence[str] | None = None,
    second: bool = False,
    further: bool = False,
) -> Tensors:
    """What the kernel makes of the inputs: it was launched, in each direction, and left them alone."""
    before = {name: x.clone() for name, x in inputs.items()}
    LAUNCHED.clear()
    found = evaluate(case, getattr(CLAIMS.module, case.kernel), inputs, wanted, second, further)
    for name, x in inputs.items():
        torch.testing.assert_close(x, before[name], rtol=0, atol=0, equal_nan=True, msg=f"{name} was written to")
    if (GPU or INTERPRETED) and all(x.numel() for x in inputs.values()):
        assert LAUNCHED[0] != BACKWARD, "no kernel was launched forward"
        if not second and any(x.any() for name, x in found.items() if name.startswith("d ")):
            assert LAUNCHED[-1] != BACKWARD, "no kernel was launched backward"
    return found


def prove(
    case: Case,
    inputs: Tensors,
    wanted: Sequence[str] | None = None,
    second: bool = False,
    further: bool = False,
) -> Tensors:
    """What the kernel makes of the inputs, which is what the oracle makes of them in fp64, in the promised dtypes."""
    found = run(case, inputs, wanted, second, further)
    floating = {name: x.dtype for name, x in inputs.items() if name not in case.integers}
    promised = functools.reduce(torch.promote_types, [floating[name] for name in case.grads or floating])
    arithmetic = torch.float64 if torch.float64 in floating.values() else torch.float32
    exact, rough = (expected(case, inputs, kind, wanted, second, further) for kind in (torch.float64, arithmetic))
    in_bf16 = case.products and promised is torch.bfloat16
    in_tf32 = case.precision == "tf32" and arithmetic is torch.float32
    rounding = 2.0**-8 if in_bf16 else torch.finfo(arithmetic).eps / 2

    @functools.cache
    def near() -> list[tuple[Tensors, Tensors]]:
        moved = [shaken(inputs, rounding, seed) for seed in range(3)]
        kinds = torch.float64, arithmetic
        made = [[expected(case, values, kind, wanted, second, further) for kind in kinds] for values in moved]
        return [(exact, rough) for exact, rough in made]

    for name, x in found.items():
        assert x.dtype == floating.get(name.split()[-1] if name.startswith(("d ", "dd ")) else "", promised), name
        assert x.shape == exact[name].shape, name
        tolerance = ROUNDED if in_bf16 else IN_TF32 if in_tf32 else 0.0
        agree(name, x.cpu(), exact[name], rough[name], tolerance, near)
    return found


def shaken(inputs: Tensors, rounding: float, seed: int) -> Tensors:
    """Inputs of which each number is off by a rounding, up or down."""
    found = {}
    for name, x in inputs.items():
        random = torch.Generator().manual_seed(zlib.crc32(name.encode()) + seed)
        up = torch.randint(0, 2, x.shape, generator=random).double() * 2 - 1
        found[name] = x.cpu().double() * (1 + rounding * up) if x.is_floating_point() else x
    return found


def expected(case: Case, inputs: Tensors, dtype: torch.dtype, *rest: Any) -> Tensors:
    """What the oracle makes of the inputs, in this arithmetic."""
    values = {name: x.cpu() if name in case.integers else x.cpu().to(dtype) for name, x in inputs.items()}
    return evaluate(case, CLAIMS.oracles[case.kernel], values, *rest)


def agree(
    name: str,
    x: Tensor,
    exact: Tensor,
    rough: Tensor,
    tolerance: float = 0.0,
    near: Callable[[], list[tuple[Tensors, Tensors]]] | None = None,
) -> None:
    """No worse than the tolerance; nor, where numbers are ill-conditioned or overflow, than plain torch by far.

    `near` has what the oracle makes of inputs that are off by a rounding, in fp64 and roughly, and is asked where x is
    off by more: of one sample plain torch may be off by little by chance.
    """
    finite = exact.isfinite() & rough.isfinite()
    if x.numel() and not finite.any():
        pytest.skip(f"{name} has no finite value")
    assert not (x.isfinite() & ~exact.isfinite()).any(), f"{name} is finite where it should not be"
    assert x[finite].isfinite().all(), f"{name} is not finite"
    least = 1.0 if rough.dtype == torch.float64 else VANISHED
    off, usual = (error(y[finite], exact[finite], least) for y in (x, rough))
    allowed = max(tolerance or TOLERANCE[x.dtype], 10 * usual)
    if near and off > allowed:
        for moved, roughly in near():
            spread = error(moved[name][finite], exact[finite], least)
            usual = error(roughly[name].double()[finite], moved[name][finite], least)
            allowed = max(allowed, SHAKEN * spread, 10 * usual)
    assert off <= allowed, f"{name} is off by {off:.1e}"


def error(x: Tensor, exact: Tensor, least: float) -> float:
    """How far x is from what is exact, relative to the root mean square."""
    if not exact.numel():
        return 0.0
    format, size = torch.finfo(x.dtype), max(float(exact.square().mean().sqrt()), least) or 1.0
    difference = ((x.double() - exact).abs() - format.smallest_normal * format.eps).clamp(min=0)
    beyond = (difference - format.eps * exact.abs()).clamp(min=0) if format.bits == 16 else difference
    return max(float(difference.square().mean().sqrt()), float(beyond.max()) / 10) / size


# ---------------------------------------------------------------------------------------------------------------------
# The proof


def test_same_spec() -> None:
    """Package and proof were made from one text of the spec; a stale one of them proves nothing about the other."""
    assert CLAIMS.module.KERNELS.keys() == CLAIMS.kernels.keys(), "the package has other kernels than this file"
    for name, described in CLAIMS.kernels.items():
        function = sys.modules[getattr(CLAIMS.module, name).__module__]
        made = f"{function.__file__} and this file come from different specs"
        assert f"\nspec {described['spec']}; " in (function.__doc__ or ""), made


def test_description(case: Case) -> None:
    """The package describes the kernel as this file does."""
    described = CLAIMS.module.KERNELS[case.kernel]
    for key in ("inputs", "outputs", "options", "grads"):
        assert described[key] == getattr(case, key), f"{key} of {case.kernel}"


def test_reference(case: Case) -> None:
    """The package's own reference, derivatives included, is the oracle."""
    inputs = {name: x.cpu() for name, x in draw(case, sizes(case, 3, 5)).items()}
    found = evaluate(case, getattr(CLAIMS.module, f"{case.kernel}_reference"), inputs)
    for name, x in expected(case, inputs, torch.float64).items():
        agree(name, found[name], x, x)


@pytest.mark.parametrize("extents", [(1, 129), (3, 17), (17, 3), (129, 1)], ids=str)
def test_sizes(case: Case, extents: tuple[int, int]) -> None:
    prove(case, draw(case, sizes(case, *extents)), further=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_dtypes(case: Case, dtype: torch.dtype) -> None:
    prove(case, draw(case, sizes(case, 3, 17), dtype))


PLACES: dict[str, Function] = {"zeros and ties": torch.round, "left": lambda x: x - 20, "right": lambda x: x + 20}


@pytest.mark.parametrize("place", PLACES)
def test_places(case: Case, place: str) -> None:
    """Zeros and ties, where functions have kinks, and both tails, where differences cancel."""
    drawn = draw(case, sizes(case, 3, 5), torch.float32)
    prove(case, {name: x if name in case.integers else PLACES[place](x) for name, x in drawn.items()})


@each(lambda case: case.narrow)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_wide(case: Case, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels for any number of features, where there are others for few."""
    if TRITON:
        monkeypatch.setattr(runtime("narrow"), "MOST", 0)
    for extents in ((1, 2), (17, 5)):
        prove(case, draw(case, sizes(case, *extents), dtype))


@each(lambda case: case.products)
def test_turned(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of long matrices in fp32, whose factors lie in another order; four is long enough here."""
    extents = sizes(case, 4, 4)
    if TRITON:
        monkeypatch.setattr(runtime("matmul"), "LONG", 4)
        monkeypatch.setattr(runtime("narrow"), "MOST", 0)
    prove(case, draw(case, extents | {axis: 4 for axis in extents if axis != "..."}, torch.float32), second=True)


@pytest.mark.parametrize("dtypes", [(torch.bfloat16, torch.float32), (torch.float32, torch.float64)], ids=str)
def test_mixed_dtypes(case: Case, dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    """The last input is wider than the others: so are arithmetic and results; gradients are as their inputs."""
    *narrow, wide = case.inputs
    prove(case, draw(case, sizes(case, 3, 5), dict.fromkeys(narrow, dtypes[0]) | {wide: dtypes[1]}))


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_magnitudes(case: Case, scale: float) -> None:
    prove(case, draw(case, sizes(case, 3, 5), torch.float32, scale))


def test_empty(case: Case) -> None:
    """No rows, no features, or none along another axis: results have their shapes, sums over nothing are zero."""
    for axis in axes(case):
        extents = sizes(case, 3, 5)
        inputs = draw(case, extents | {axis: (2, 0) if axis == "..." else 0})
        try:
            expected(case, inputs, torch.float64)
        except (IndexError, RuntimeError):  # torch refuses what has no meaning, such as a maximum over nothing
            continue
        prove(case, inputs)


APART = ((2, 1), (3,), ())  # leading axes that broadcast to (2, 3): one of them has extent one, or is missing


@each(lambda case: sum("..." in dims for dims in case.inputs.values()) > 1)
def test_broadcast(case: Case) -> None:
    """Inputs of different leading axes: results have all of them, gradients of both orders those of their input."""
    extents = sizes(case, 3, 5)
    inputs = draw(case, extents)
    leading = [name for name, dims in case.inputs.items() if "..." in dims]
    for name, lead in zip(leading, itertools.cycle(APART)):
        inputs[name] = draw(case, extents | {"...": lead})[name]
    found = prove(case, inputs, second=bool(case.grads))
    for name, dims in case.outputs.items():
        assert list(found[name].shape) == shape(dims, extents | {"...": (2, 3)}), name


@each(lambda case: len(case.grads) > 1)
def test_each_gradient_alone(case: Case) -> None:
    inputs = draw(case, sizes(case, 3, 5))
    for name in case.grads:
        assert prove(case, inputs, wanted=[name]).keys() == {*case.outputs, f"d {name}"}


def test_strides(case: Case) -> None:
    """Transposed inputs with gaps, whose rows are one row seen many times, give what their contiguous copies give."""
    inputs = draw(case, sizes(case, 3, 5))
    for name, dims in case.inputs.items():
        x = inputs[name].T if inputs[name].dim() == 2 else inputs[name].permute(*reversed(range(inputs[name].dim())))
        x = x.repeat_interleave(2, -1)[..., ::2] if x.dim() else x
        x = x.permute(*reversed(range(x.dim())))
        row = next((i for i, dim in enumerate(dims) if dim == axes(case)[0]), None)
        inputs[name] = x if row is None else x.narrow(row, 0, 1).expand_as(x)
    copies = {name: x.clone(memory_format=torch.contiguous_format) for name, x in inputs.items()}
    found, same = run(case, inputs), run(case, copies)
    assert all(torch.equal(x, same[name]) for name, x in found.items())


@pytest.mark.skipif(INTERPRETED, reason="programs run one after the other there: no order could vary")
def test_twice_the_same(case: Case) -> None:
    inputs = draw(case, sizes(case, 33, 5), torch.float32)
    first, second = run(case, inputs), run(case, inputs)
    assert all(torch.equal(x, second[name]) for name, x in first.items())


def test_rows_are_independent(case: Case) -> None:
    """NaN in one row changes no bit of other rows, in those results and gradients where it does not in the oracle's."""
    before, rows = draw(case, sizes(case, 5, 3), torch.float32), axes(case)[0]
    places: dict[str, int] = {}
    for mark, tensors in (("", case.inputs | case.outputs), ("d ", case.inputs)):
        places |= {mark + name: dims.index(rows) for name, dims in tensors.items() if rows in dims}
    after = {name: x.clone() for name, x in before.items()}
    for name in places.keys() & after.keys() - case.integers:
        after[name].select(places[name], 2).fill_(torch.nan)
    others = [[expected(case, x, torch.float64), run(case, x)] for x in (before, after)]
    for name in places.keys() & others[0][0].keys():
        pairs = [[x[name].cpu().movedim(places[name], 0)[[0, 1, 3, 4]] for x in pair] for pair in others]
        if torch.equal(pairs[0][0], pairs[1][0]):
            assert torch.equal(pairs[0][1], pairs[1][1]), name


@each(lambda case: case.grads)
def test_second_order(case: Case) -> None:
    """Gradients of gradients by name, with respect to inputs and cotangents."""
    prove(case, draw(case, sizes(case, 3, 5)), second=True)


@each(lambda case: case.grads)
def test_finite_differences(case: Case) -> None:
    """Of results and of gradients; for functions whose derivatives are those of their values, all being defined."""
    if INTERPRETED and len(CLAIMS.blades) > 4:
        pytest.skip("the interpreter takes its time")
    inputs = [x.requires_grad_(name in case.grads) for name, x in draw(case, sizes(case, 2, 2)).items()]
    exact, function = CLAIMS.oracles[case.kernel], getattr(CLAIMS.module, case.kernel)
    for known in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        check: Function = functools.partial(known, fast_mode=True)
        on_cpu = [x.detach().cpu().requires_grad_(x.requires_grad) for x in inputs]
        if not check(lambda *x: exact(*x, **case.settings(True)), on_cpu, raise_exception=False):
            pytest.skip("not the derivatives of its values")
        LAUNCHED.clear()
        assert check(lambda *x: function(*x, **case.settings(True)), inputs)
        assert LAUNCHED or not (GPU or INTERPRETED)


# ---------------------------------------------------------------------------------------------------------------------
# Equivariance: "pin" under all versors, "euclidean" under those that keep the plain squares of each grade


def squares() -> dict[int, int]:
    """Of each generator, by its place among the blades."""
    one = CLAIMS.blades.index("e")
    return {i: int(CLAIMS.table[i, i, one]) for i, grade in enumerate(CLAIMS.grades) if grade == 1}


def product(x: Tensor, y: Tensor) -> Tensor:
    result: Tensor = CLAIMS.product("geometric", x, y)
    return result


def versor(*vectors: Tensor) -> tuple[Tensor, Tensor]:
    """The product of vectors, and its inverse."""
    scalar = CLAIMS.blades.index("e")
    one = torch.eye(len(CLAIMS.blades), dtype=torch.float64)[scalar]
    inverses = [v / product(v, v)[scalar] for v in reversed(vectors)]
    return functools.reduce(product, vectors, one), functools.reduce(product, inverses, one)


def vector(seed: int, kept: set[int]) -> Tensor:
    """A random vector, neither null nor of unit length, of generators with these squares."""
    random, count = torch.Generator().manual_seed(seed), len(CLAIMS.blades)
    mask = torch.tensor([squares().get(i) in kept for i in range(count)])
    while True:
        v = 1.7 * torch.randn(count, generator=random, dtype=torch.float64) * mask
        if product(v, v)[CLAIMS.blades.index("e")].abs() > 0.5:
            return v


def directions(kept: Sequence[set[int]]) -> list[Tensor]:
    """Vectors of such generators, each away from the one before where there is another direction."""
    found: list[Tensor] = []
    for squares_of in kept:
        drawn = [vector(seed, squares_of) for seed in range(len(found), len(found) + 10)]
        away = (v for v in drawn if not found or torch.cosine_similarity(v, found[-1], 0).abs() < 0.9)
        found.append(next(away, drawn[0]))
    return found


def moved(
    by: tuple[Tensor, Tensor], odd: bool, x: Tensor, dims: Sequence[str | int], grades: tuple[int, ...] | None
) -> Tensor:
    """s x s^-1, with x involuted for an odd s; what is no multivector stays."""
    if not grades:
        return x
    blade = next(i for i, dim in enumerate(dims) if isinstance(dim, int)) - len(dims)
    full = CLAIMS.regrade(x.cpu().movedim(blade, -1), None, grades)
    there = product(product(by[0], CLAIMS.involute(full) if odd else full), by[1])
    result: Tensor = CLAIMS.regrade(there, grades).movedim(-1, blade).contiguous().to(DEVICE)
    return result


def deviation(case: Case, by: tuple[Tensor, Tensor], odd: bool) -> float:
    """How far the kernel of moved inputs is from the moved result, of all results."""
    inputs = draw(case, sizes(case, 2, 3))
    act = functools.partial(moved, by, odd)
    there = {name: act(x, case.inputs[name], case.grades.get(name)) for name, x in inputs.items()}
    assert any((there[name] - x).norm() > 0.1 for name, x in inputs.items()), "nothing moved"
    before, after = run(case, inputs, wanted=[]), run(case, there, wanted=[])
    promised = {name: act(x, case.outputs[name], case.grades.get(name)) for name, x in before.items()}
    return max(float((after[name] - x).norm() / x.norm()) for name, x in promised.items())


@each(lambda case: case.group)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_equivariance(case: Case, count: int) -> None:
    signs = [{1, -1, 0}] if case.group == "pin" else [{sign} for sign in (1, -1) if sign in squares().values()]
    vectors = directions(list(itertools.islice(itertools.cycle(signs), count)))
    assert deviation(case, versor(*vectors), odd=count % 2 == 1) < 1e-9


@each(lambda case: case.group == "euclidean")
def test_plain_squares_are_not_invariant(case: Case) -> None:
    """A vector across generators of different squares, a boost or a translation, changes the sum of squares."""
    known = squares()
    first = next(i for i, square in known.items() if square)
    other = next(i for i, square in known.items() if square != known[first])
    v = torch.zeros(len(CLAIMS.blades), dtype=torch.float64)
    v[first], v[other] = 1.0, 0.6
    errors = [deviation(variant, versor(v), odd=True) for variant in variants(case.kernel)]
    assert max(errors) > 1e-3
