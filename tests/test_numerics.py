"""Every generated kernel, forward and every gradient by name, against the reference in fp64.

Kernels run on a GPU, or in Triton's interpreter, and each comparison asserts that one was launched. Memory from
torch.empty holds NaN throughout. Sizes are small, because the interpreter's time goes by operations and programs; what
takes several tiles or programs is tried with a launch table of small tiles as well.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from modules import DEVICE, ROOT, SHIPPED, Case, agree, compiled, draw, module, run, shape, shipped, spec_text
from torch import Tensor

from kgen.comparison import launches
from kgen.new import template
from kgen.spec import load
from kgen.trace import equivariance

SMALL = ("vga2d", "vga3d")
PLAIN = (ROOT / "tests" / "specs" / "plain.yaml").read_text(encoding="utf-8")
PLAIN_KERNELS = ("softmax", "layer_norm", "column_mean", "moments")
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
ALL, SMALL_CASES = shipped(*SHIPPED), shipped(*SMALL)
CHEAP = [c for c in ALL if c.module in SMALL or c.kernel not in ("sgp", "fused_gelu_sgp_norm")]
Compile = Callable[[str], ModuleType]

pytestmark = [
    pytest.mark.usefixtures("poisoned"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:triton"),  # of lanes that a mask discards
]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tests run side by side; torch's threads would only wait for each other."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


@pytest.fixture(scope="session")
def compile_spec(compiled_folder: Path) -> Compile:
    """Compile a spec's text, once for all processes of the test run."""
    return lambda text: compiled(text, compiled_folder)


def options(case: Case, n: int = 17) -> dict[str, Any]:
    """The case's flags. A norm over one feature is a sign, and its gradient cancels unless eps is of the same size."""
    flags: dict[str, Any] = dict(case.flags)
    return flags | ({"eps": 0.5} if flags.get("normalize") and n < 3 else {})


def each(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=str)


# sizes, dtypes, magnitudes


SIZES = [(c, b, n) for c in SMALL_CASES for b, n in ((1, 1), (3, 17), (17, 3), (129, 1), (1, 129), (2, 300))] + [
    (c, b, n) for c in ALL if c.module not in SMALL for b, n in ((17, 1), (1, 129))
]


@pytest.mark.parametrize(("case", "b", "n"), SIZES, ids=[f"{c}-{b}x{n}" for c, b, n in SIZES])
def test_sizes(case: Case, b: int, n: int) -> None:
    of = module(case.module)
    agree(of, case.kernel, draw(of, case.kernel, {"b": b, "n": n}), **options(case, n))


@each(ALL)
@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_dtypes(case: Case, dtype: torch.dtype) -> None:
    of = module(case.module)
    found = agree(of, case.kernel, draw(of, case.kernel, {"b": 3, "n": 17}, dtype), **options(case))
    assert {x.dtype for x in found.values()} == {dtype}


@each([c for c in ALL if c.module != "cga3d" and c.kernel != "geometric_product"])
@pytest.mark.parametrize(
    ("first", "second"), [(torch.bfloat16, torch.float32), (torch.float32, torch.float64)], ids=["bf16", "fp32"]
)
def test_mixed_dtypes(case: Case, first: torch.dtype, second: torch.dtype) -> None:
    """The last input is wider than the others: arithmetic and result are as wide, gradients are as their inputs."""
    of = module(case.module)
    *narrow, wide = of.KERNELS[case.kernel]["inputs"]
    dtypes = dict.fromkeys(narrow, first) | {wide: second}
    found = agree(of, case.kernel, draw(of, case.kernel, {"b": 3, "n": 5}, dtypes), **options(case))
    assert {name: x.dtype for name, x in found.items()} == {"out": second} | {f"grad_{k}": v for k, v in dtypes.items()}


@each([c for c in ALL if c.module != "cga3d" or ("normalize", True) in c.flags])
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_magnitudes(case: Case, scale: float) -> None:
    of = module(case.module)
    inputs = draw(of, case.kernel, {"b": 3, "n": 5}, torch.float32, scale=scale)
    agree(of, case.kernel, inputs, **options(case))


@each([c for c in SMALL_CASES if ("normalize", True) in c.flags])
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_magnitudes_in_double(case: Case, scale: float) -> None:
    of = module(case.module)
    agree(of, case.kernel, draw(of, case.kernel, {"b": 3, "n": 17}, scale=scale), **options(case))


@each(ALL)
@pytest.mark.parametrize("sizes", [{"b": 0, "n": 17}, {"b": 3, "n": 0}], ids=["no rows", "no features"])
def test_empty(case: Case, sizes: Mapping[str, int]) -> None:
    """No rows, or no features: results have their shapes, and a sum over nothing is zero."""
    of = module(case.module)
    inputs = draw(of, case.kernel, sizes, torch.float32)
    found = run(of, case.kernel, inputs, **options(case))
    assert found["out"].shape == shape(of.KERNELS[case.kernel]["outputs"]["out"], sizes)
    for name, x in inputs.items():
        assert found[f"grad_{name}"].shape == x.shape
        assert torch.equal(found[f"grad_{name}"], torch.zeros_like(x))


# the launch table


@each(SMALL_CASES + [c for c in shipped("pga3d") if c.kernel.startswith("motor")])
@pytest.mark.parametrize("tile", [16, 32])
def test_launch_table(case: Case, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tiles, few programs, and no row that stays in registers: several tiles, rounds and partial sums."""
    of = module(case.module)
    smaller = {"tile": tile, "pack": tile, "resident": 0}
    table = {k: v._replace(**smaller, programs=6 if v.programs else 0) for k, v in of.LAUNCH.items()}
    monkeypatch.setattr(of, "LAUNCH", table)
    sizes = {"b": 11, "n": 37} if tile == 16 else {"b": 37, "n": 5}
    with launches(of) as launched:
        agree(of, case.kernel, draw(of, case.kernel, sizes), **options(case))
    if ("normalize", True) in case.flags:
        assert any("_long_" in name for name in launched)


# how tensors lie in memory, and which gradients are wanted


def spread(x: Tensor) -> Tensor:
    """The same values with a gap after each."""
    wide = torch.full((*x.shape, 2), torch.nan, dtype=x.dtype, device=x.device)
    wide[..., 0] = x
    return wide[..., 0]


def permuted(x: Tensor) -> Tensor:
    """The same values in reversed memory order."""
    return x.permute(*reversed(range(x.dim()))).contiguous().permute(*reversed(range(x.dim())))


@each(CHEAP)
@pytest.mark.parametrize("lay", [spread, permuted])
def test_strided_inputs(case: Case, lay: Callable[[Tensor], Tensor]) -> None:
    of = module(case.module)
    inputs = draw(of, case.kernel, {"b": 3, "n": 5})
    found = run(of, case.kernel, {name: lay(x) for name, x in inputs.items()}, **options(case))
    for name, x in run(of, case.kernel, inputs, **options(case)).items():
        assert torch.equal(found[name], x), name


@each(CHEAP)
def test_expanded_inputs(case: Case) -> None:
    """One row, and one cotangent, seen many times."""
    of = module(case.module)
    description = of.KERNELS[case.kernel]
    inputs = draw(of, case.kernel, {"b": 1, "n": 5})
    rows = {
        name: 1 if dims[0] != "..." else 0 for name, dims in description["inputs"].items() if {"b", "..."} & {*dims}
    }
    sizes = {"b": 4, "n": 5}
    expanded = {k: x.expand(shape(description["inputs"][k], sizes)) if k in rows else x for k, x in inputs.items()}
    agree(of, case.kernel, expanded, **options(case))
    leaves = {name: x.detach().requires_grad_() for name, x in expanded.items()}
    copies = {name: x.detach().contiguous().requires_grad_() for name, x in expanded.items()}
    for tensors, function in ((leaves, case.kernel), (copies, f"{case.kernel}_reference")):
        getattr(of, function)(*tensors.values(), **options(case)).sum().backward()
    for name in leaves:
        torch.testing.assert_close(leaves[name].grad, copies[name].grad, rtol=1e-10, atol=1e-10)


LEADING = [c for c in ALL if c.module == "pga3d" and c.kernel != "sgp"] + [
    c for c in ALL if c.module in ("sta", "cga3d") and c.kernel == "geometric_product"
]


@each(LEADING)
@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (2, 1, 3), (2, 0)], ids=str)
def test_leading_axes(case: Case, lead: tuple[int, ...]) -> None:
    of = module(case.module)
    inputs = draw(of, case.kernel, {"n": 3}, lead=lead)
    found = agree(of, case.kernel, inputs, **options(case))
    assert found["out"].shape == (*lead, *shape(of.KERNELS[case.kernel]["outputs"]["out"][1:], {"n": 3}))


PARTS = [
    (case, wanted)
    for case in ALL
    if case in CHEAP or case.module == "sta"
    for wanted in (("x", "y", "weight"), ("r", "x"), ("m", "x"))[
        ("rotor" in case.kernel) + 2 * ("motor" in case.kernel)
    ]
    if (case.kernel, wanted) != ("geometric_product", "weight")
]


@pytest.mark.parametrize(("case", "wanted"), PARTS, ids=[f"{c}-{w}" for c, w in PARTS])
def test_gradients_of_some_inputs(case: Case, wanted: str) -> None:
    of = module(case.module)
    agree(of, case.kernel, draw(of, case.kernel, {"b": 3, "n": 5}), (wanted,), **options(case))


@each(CHEAP)
def test_no_gradients(case: Case) -> None:
    of = module(case.module)
    inputs = draw(of, case.kernel, {"b": 3, "n": 5})
    agree(of, case.kernel, inputs, (), **options(case))
    assert not getattr(of, case.kernel)(*inputs.values(), **options(case)).requires_grad


@each([c for c in CHEAP if ("normalize", False) not in c.flags])
def test_inputs_stay(case: Case) -> None:
    """Kernels never write into their inputs or cotangents."""
    of = module(case.module)
    inputs = draw(of, case.kernel, {"b": 3, "n": 5})
    leaves = {name: x.clone().requires_grad_() for name, x in inputs.items()}
    out = getattr(of, case.kernel)(*leaves.values(), **options(case))
    kept, cotangent = out.detach().clone(), torch.ones_like(out)
    torch.autograd.grad(out, list(leaves.values()), cotangent)
    assert all(torch.equal(leaves[name], x) for name, x in inputs.items())
    assert torch.equal(out, kept) and torch.equal(cotangent, torch.ones_like(out))


@each(SMALL_CASES + [c for c in ALL if (c.module, c.kernel) in (("pga3d", "fused_gelu_sgp_norm"), ("cga3d", "sgp"))])
def test_twice_the_same(case: Case) -> None:
    of = module(case.module)
    inputs = draw(of, case.kernel, {"b": 33, "n": 5}, torch.float32)
    first, second = (run(of, case.kernel, inputs, **options(case)) for _ in range(2))
    for name, x in first.items():
        assert torch.equal(x, second[name]), name


@each([c for c in ALL if c in CHEAP or (c.module == "sta" and ("normalize", True) in c.flags)])
def test_rows_are_independent(case: Case) -> None:
    """NaN in one row leaves the results and gradients of all other rows bitwise as they were."""
    of = module(case.module)
    inputs = draw(of, case.kernel, {"b": 5, "n": 3}, torch.float32)
    dims = of.KERNELS[case.kernel]["inputs"]
    rows = {k: list(d).index("..." if "..." in d else "b") for k, d in dims.items() if {"b", "..."} & {*d}}
    rows |= {f"grad_{k}": dim for k, dim in rows.items()} | {"out": rows["x"]}
    spoiled = {name: x.clone() for name, x in inputs.items()}
    for name in set(rows) & set(inputs):
        spoiled[name].select(rows[name], 2).fill_(torch.nan)
    before, after = (run(of, case.kernel, x, **options(case)) for x in (inputs, spoiled))
    others = torch.tensor([0, 1, 3, 4], device=DEVICE)
    for name in set(rows) & set(before):
        a, b = before[name].index_select(rows[name], others), after[name].index_select(rows[name], others)
        assert torch.equal(a, b), name
        assert after[name].select(rows[name], 2).isnan().all(), name


# derivatives


@each(ALL)
def test_gradcheck(case: Case) -> None:
    """Finite differences, of random projections where the Jacobian is large."""
    of = module(case.module)
    inputs = [x.requires_grad_() for x in draw(of, case.kernel, {"b": 2, "n": 2}).values()]
    fast = case.module != "vga2d"
    with launches(of) as launched:
        function = getattr(of, case.kernel)
        assert torch.autograd.gradcheck(lambda *x: function(*x, **options(case, 2)), inputs, fast_mode=fast)
    assert any("_backward" in name for name in launched)


@each([c for c in CHEAP if ("normalize", False) not in c.flags])
def test_gradgradcheck(case: Case) -> None:
    """Second derivatives, which come from the reference and the kernels' first ones."""
    of = module(case.module)
    inputs = [x.requires_grad_() for x in draw(of, case.kernel, {"b": 2, "n": 2}).values()]
    function = getattr(of, case.kernel)
    assert torch.autograd.gradgradcheck(lambda *x: function(*x, **options(case, 2)), inputs, fast_mode=True)


# both memory orders, for every algebra


BLADES_FIRST, BLADES_LAST = "multivector: [blade, b, n]", "multivector: [..., n, blade]"


def turned(text: str) -> str:
    """The spec in the other memory order."""
    first = BLADES_FIRST in text
    old, new = (BLADES_FIRST, BLADES_LAST) if first else (BLADES_LAST, BLADES_FIRST)
    assert old in text
    return text.replace(old, new)


@each(ALL)
def test_other_memory_order(case: Case, compile_spec: Compile) -> None:
    """The spec with its layout line replaced: right, and with the values of the shipped kernel."""
    ours, other = module(case.module), compile_spec(turned(spec_text(case.module)))
    dims, turned_dims = ours.KERNELS[case.kernel]["inputs"], other.KERNELS[case.kernel]["inputs"]
    assert dims["x"] != turned_dims["x"]
    inputs = draw(ours, case.kernel, {"b": 3, "n": 17})
    moved = {name: _reorder(x, dims[name], turned_dims[name]) for name, x in inputs.items()}
    found = agree(other, case.kernel, moved, **options(case))
    out = ours.KERNELS[case.kernel]["outputs"]["out"]
    again = _reorder(found["out"], other.KERNELS[case.kernel]["outputs"]["out"], out)
    expected = run(ours, case.kernel, inputs, (), **options(case))["out"]
    torch.testing.assert_close(again, expected, rtol=1e-11, atol=1e-11)


def _reorder(x: Tensor, old: tuple[str | int, ...], new: tuple[str | int, ...]) -> Tensor:
    """Blades from front to back or back to front, where the two orders differ."""
    if old == new:
        return x
    return x.movedim(0, -1).contiguous() if isinstance(old[0], int) else x.movedim(-1, 0).contiguous()


# plain tensors


@pytest.mark.parametrize("kernel", PLAIN_KERNELS)
@pytest.mark.parametrize("n", [1, 17, 4096, 100_000])
def test_plain(kernel: str, n: int, compile_spec: Compile) -> None:
    """Rows that stay in registers, and rows so long that they are looped over."""
    of = compile_spec(PLAIN)
    extra: dict[str, Any] = {"eps": 0.5} if kernel == "layer_norm" and n == 1 else {}
    inputs = draw(of, kernel, {"b": 1 if n == 100_000 and kernel != "column_mean" else 3, "n": n})
    if kernel == "column_mean":
        inputs["w"] = inputs["w"].abs() + 0.5  # a sum near zero would only magnify rounding
    with launches(of) as launched:
        agree(of, kernel, inputs, **extra)
    if kernel != "column_mean":
        assert any("_long_" in name for name in launched) == (n == 100_000), launched


@pytest.mark.parametrize("kernel", PLAIN_KERNELS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("b", "n"), [(5, 17), (129, 3)])
def test_plain_dtypes(kernel: str, dtype: torch.dtype, b: int, n: int, compile_spec: Compile) -> None:
    of = compile_spec(PLAIN)
    inputs = draw(of, kernel, {"b": b, "n": n}, dtype)
    if kernel == "column_mean":
        inputs["w"] = inputs["w"].abs() + 0.5
    agree(of, kernel, inputs)


@pytest.mark.parametrize("kernel", PLAIN_KERNELS)
def test_plain_without_rows(kernel: str, compile_spec: Compile) -> None:
    of = compile_spec(PLAIN)
    inputs = draw(of, kernel, {"b": 0, "n": 17}, torch.float32)
    found = run(of, kernel, inputs)
    for name, x in inputs.items():
        assert found[f"grad_{name}"].shape == x.shape
        assert torch.equal(found[f"grad_{name}"], torch.zeros_like(x))
    if kernel == "column_mean":
        assert found["out"].isnan().all()  # nothing over nothing, as torch's mean


@pytest.mark.parametrize("kernel", ["softmax", "layer_norm", "moments"])
@pytest.mark.parametrize("n", [17, 20_000])
def test_plain_rows_are_independent(kernel: str, n: int, compile_spec: Compile) -> None:
    of = compile_spec(PLAIN)
    inputs = draw(of, kernel, {"b": 3, "n": n})
    spoiled = {**inputs, "x": inputs["x"].clone()}
    spoiled["x"][1] = torch.nan
    before, after = run(of, kernel, inputs), run(of, kernel, spoiled)
    for name in (*of.KERNELS[kernel]["outputs"], "grad_x"):
        assert torch.equal(before[name][[0, 2]], after[name][[0, 2]]), name
        assert after[name][1].isnan().all(), name


@pytest.mark.parametrize("kernel", PLAIN_KERNELS)
def test_plain_gradcheck(kernel: str, compile_spec: Compile) -> None:
    of = compile_spec(PLAIN)
    inputs = draw(of, kernel, {"b": 3, "n": 4})
    if kernel == "column_mean":
        inputs["w"] = inputs["w"].abs() + 0.5
    assert torch.autograd.gradcheck(getattr(of, kernel), [x.requires_grad_() for x in inputs.values()])


# equivariance


def product(of: ModuleType, a: Tensor, b: Tensor) -> Tensor:
    """The geometric product of broadcast multivectors (…, blade), by the module's reference."""
    together = max(a.shape, b.shape, key=len)
    a, b = a.expand(together), b.expand(together)
    first = isinstance(of.KERNELS["geometric_product"]["inputs"]["x"][0], int)
    flat = [x.reshape(-1, 1, x.shape[-1]) for x in (a, b)]
    flat = [x.movedim(-1, 0) if first else x for x in flat]
    out: Tensor = of.geometric_product_reference(*flat)
    return (out.movedim(0, -1) if first else out).reshape(a.shape)


def versor(of: ModuleType, vectors: int) -> tuple[Tensor, Tensor]:
    """A product of random vectors, none of unit length, and its inverse."""
    random = torch.Generator().manual_seed(vectors)
    grades = torch.tensor(of.GRADES)
    versor, inverse = (torch.eye(len(grades), dtype=torch.float64)[0] for _ in range(2))
    while vectors:
        vector = torch.randn(len(grades), generator=random, dtype=torch.float64) * 1.7 * (grades == 1)
        square = product(of, vector, vector)[0]
        if abs(square) > 0.5:  # null vectors have no inverse
            versor, inverse = product(of, versor, vector), product(of, vector / square, inverse)
            vectors -= 1
    return versor, inverse


def act(of: ModuleType, by: tuple[Tensor, Tensor], odd: bool, x: Tensor) -> Tensor:
    """s x s^-1, with x involuted for odd s."""
    signs = torch.tensor([(-1.0) ** grade if odd else 1.0 for grade in of.GRADES], dtype=torch.float64)
    return product(of, product(of, by[0], x * signs), by[1])


def moved(of: ModuleType, by: tuple[Tensor, Tensor], odd: bool, x: Tensor, dims: tuple[str | int, ...]) -> Tensor:
    """The action on a kernel's input or output, which has some of the grades; other tensors stay."""
    count = next((d for d in dims if isinstance(d, int)), 0)
    present = _blades_of(of, count)
    if not present or "b" not in dims and "..." not in dims:
        return x
    axis = dims.index(count)
    full = torch.zeros(*x.movedim(axis, -1).shape[:-1], len(of.GRADES), dtype=x.dtype)
    full[..., present] = x.movedim(axis, -1)
    result = act(of, by, odd, full)
    rest = [i for i in range(len(of.GRADES)) if i not in present]
    assert result[..., rest].abs().max() < 1e-9 if rest else True
    return result[..., present].movedim(-1, axis).contiguous()


def _blades_of(of: ModuleType, count: int) -> list[int]:
    """Which blades a tensor of so many components has, in the shipped kernels: all, the even ones, or one grade."""
    grade = {"pga3d": 3}.get(of.__name__.rpartition(".")[2], 1)
    even = [i for i, g in enumerate(of.GRADES) if g % 2 == 0]
    one = [i for i, g in enumerate(of.GRADES) if g == grade]
    return {len(of.GRADES): list(range(len(of.GRADES))), len(even): even, len(one): one}.get(count, [])


@each(ALL)
@pytest.mark.parametrize("vectors", [1, 2])
def test_equivariance(case: Case, vectors: int) -> None:
    """The kernel of moved inputs is the moved result, for every versor of the group that the kernel declares."""
    spec = load(str(ROOT / "specs" / f"{case.module}.yaml"))
    assert equivariance(spec, next(k for k in spec.kernels if k.name == case.kernel)) == "pin"
    of = module(case.module)
    description, odd, by = of.KERNELS[case.kernel], vectors % 2 == 1, versor(of, vectors)
    inputs = {name: x.cpu() for name, x in draw(of, case.kernel, {"b": 2, "n": 3}).items()}
    there = {name: moved(of, by, odd, x, description["inputs"][name]) for name, x in inputs.items()}
    assert not torch.allclose(there["x"], inputs["x"], atol=0.1)
    on = {name: x.to(DEVICE) for name, x in there.items()}
    back = {name: x.to(DEVICE) for name, x in inputs.items()}
    after = run(of, case.kernel, on, (), **options(case))["out"].cpu()
    before = run(of, case.kernel, back, (), **options(case))["out"].cpu()
    expected = moved(of, by, odd, before, description["outputs"]["out"])
    assert (after - expected).norm() <= 1e-9 * expected.norm()


EUCLIDEAN = """\
kgen: 1
name: plain_squares
algebra: {signature: [%s]}
layout:
  multivector: [blade, b, n]
  weights: {order: [left, out, right], memory: [n, path]}
kernels:
  geometric_product:
    inputs: {x: multivector, y: multivector}
    body: return x * y
  norm:
    inputs: {x: multivector}
    body: return grade_rms_norm(x, eps=1e-6)
"""


def plane_turn(of: ModuleType, blade: str, by: float) -> tuple[Tensor, Tensor]:
    """1 + by e_ij and its inverse."""
    r = torch.zeros(len(of.BLADES), dtype=torch.float64)
    r[0], r[of.BLADES.index(blade)] = 1.0, by
    reverse = r.clone()
    reverse[of.BLADES.index(blade)] = -by
    return r, reverse / product(of, r, reverse)[0]


@pytest.mark.parametrize(
    ("signature", "keeps", "breaks"),
    [("1, 3, 0", "e23", "e12"), ("3, 0, 1", "e12", "e01")],
    ids=["boost", "translation"],
)
def test_plain_squares_are_euclidean(signature: str, keeps: str, breaks: str, compile_spec: Compile) -> None:
    """A norm by plain squares goes with rotations, and neither with boosts nor with translations."""
    text = EUCLIDEAN % signature
    spec = load("specs/plain_squares.yaml", text)
    assert equivariance(spec, spec.kernels[1]) == "euclidean"
    of = compile_spec(text)
    x = draw(of, "norm", {"b": 2, "n": 3})["x"].cpu()
    errors = []
    for blade in (keeps, breaks):
        by = plane_turn(of, blade, 0.7)
        after = run(of, "norm", {"x": moved(of, by, False, x, (16, "b", "n")).to(DEVICE)}, ())["out"].cpu()
        expected = moved(of, by, False, run(of, "norm", {"x": x.to(DEVICE)}, ())["out"].cpu(), (16, "b", "n"))
        errors.append(float((after - expected).norm() / expected.norm()))
    assert errors[0] < 1e-10
    assert errors[1] > 1e-2


@pytest.mark.parametrize("name", ["vga3d-rotor_action", "vga3d-rotor_action_shared", "pga3d-motor_action"])
def test_action_is_not_normalised(name: str) -> None:
    """Three times the versor is nine times the result."""
    of, kernel = module(name.partition("-")[0]), name.partition("-")[2]
    inputs = draw(of, kernel, {"b": 3, "n": 5})
    by, x = inputs.values()
    once, thrice = (run(of, kernel, dict(zip(inputs, (c * by, x))), ())["out"] for c in (1, 3))
    torch.testing.assert_close(thrice, 9 * once, rtol=1e-12, atol=1e-12)


# specs that are not shipped


@pytest.mark.parametrize("signature", [(2, 1, 0), (1, 1, 1), (0, 2, 1), (0, 0, 4)], ids=str)
@pytest.mark.parametrize("kernel", ["product", "layer", "action"])
def test_other_signatures(signature: tuple[int, int, int], kernel: str, compile_spec: Compile) -> None:
    """What `kgen new` writes, for algebras that nobody looked at before."""
    of = compile_spec(template(f"cl{''.join(map(str, signature))}", signature))
    assert signature == of.SIGNATURE
    inputs = draw(of, kernel, {"b": 3, "n": 5})
    variants: list[dict[str, Any]] = [{"normalize": True}, {"normalize": False}] if kernel == "layer" else [{}]
    for flags in variants:
        agree(of, kernel, inputs, **flags)


@pytest.mark.parametrize("signature", [(2, 3, 0), (3, 0, 2)], ids=str)
@pytest.mark.parametrize("kernel", ["product", "action"])
def test_five_dimensions(signature: tuple[int, int, int], kernel: str, compile_spec: Compile) -> None:
    text = template(f"cl{''.join(map(str, signature))}", signature)
    before, layer, after = text.partition("  layer:")[0], text.index("  layer:"), text.index("  action:")
    assert layer < after
    of = compile_spec(before + text[after:])
    agree(of, kernel, draw(of, kernel, {"b": 3, "n": 5}))


BY_HAND = """\
kgen: 1
name: by_hand
algebra: {signature: [2, 0, 0]}
layout:
  multivector: [blade, b, n]
  weights: {order: [left, out, right], memory: [n, path]}
kernels:
  weighted:
    inputs: {x: multivector, y: multivector, weight: [n, 10]}
    body: |
      a = x.grade(0)
      b = x.grade(1)
      c = x.grade(2)
      p = y.grade(0)
      q = y.grade(1)
      r = y.grade(2)
      scalar = weight[0] * (a * p) + weight[3] * (b * q).grade(0) + weight[7] * (c * r)
      vector = weight[1] * (a * q) + weight[4] * (b * p) + weight[5] * (b * r) + weight[8] * (c * q)
      bivector = weight[2] * (a * r) + weight[6] * (b * q).grade(2) + weight[9] * (c * p)
      return scalar + vector + bivector
"""


def test_weighted_product_by_hand(compile_spec: Compile) -> None:
    """Ten weights times products of grades, spelled out, are sgp in values and gradients."""
    of, ours = compile_spec(BY_HAND), module("vga2d")
    inputs = draw(ours, "sgp", {"b": 3, "n": 17})
    found, expected = agree(of, "weighted", inputs), run(ours, "sgp", inputs)
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        torch.testing.assert_close(found[name], x, rtol=1e-12, atol=1e-12, msg=name)
