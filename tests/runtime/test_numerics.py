"""What the proofs beside the generated modules (`generated/tests`) leave open, against the reference in fp64.

It needs kgen: other launch tables, memory orders and signatures, which are compiled here, long rows, and relations
between kernels. Kernels run on a GPU, or in Triton's interpreter, and each comparison asserts that one was launched.
Memory from torch.empty holds NaN throughout. Sizes are small, because the interpreter's time goes by operations and
programs; what takes several tiles or programs is tried with a launch table of small tiles.
"""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from modules import DEVICE, ROOT, SHIPPED, Case, agree, compiled, draw, module, run, shipped, spec_text, turned
from torch import Tensor

from kgen.spec.starter import template
from kgen.tools.comparison import compare, launches
from kgen.tools.problem import kernel_files

SMALL = ("vga2d", "vga3d")
PLAIN = (ROOT / "tests" / "specs" / "plain.yaml").read_text(encoding="utf-8")
LONG = 20_000  # of rows that no kernel of these keeps in registers
PLAIN_KERNELS = ("softmax", "layer_norm", "column_mean", "moments")
ALL, SMALL_CASES = shipped(*SHIPPED), shipped(*SMALL)
CHEAP = [c for c in ALL if c.module in SMALL or c.kernel not in ("sgp", "fused_gelu_sgp_norm")]
# Both memory orders, each form of kernel; on a GPU, where operations cost little, all.
ONE_OF_A_KIND = CHEAP if DEVICE.type != "cpu" else [c for c in CHEAP if c.module == "vga2d" or "motor" in c.kernel]
# Factors of a product are stored by map kernels, and no table says how products are tiled: one algebra's will do.
PRODUCTS = ("layer", "fc_layer", "fused_gelu_fcgp_norm", "mv_linear")
TILED = [c for c in SMALL_CASES if DEVICE.type != "cpu" or c.module == "vga2d" or c.kernel not in PRODUCTS]
# 32 components lie in memory as 16 do, and take half a minute; vga2d in the other order is among the proofs' specs.
TURNED = ALL if DEVICE.type != "cpu" else [c for c in ALL if c.module not in ("vga2d", "cga3d")]
Compile = Callable[[str], ModuleType]

pytestmark = [
    pytest.mark.usefixtures("poisoned"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:triton"),  # of lanes that a mask discards
]


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


@each([c for c in SMALL_CASES if ("normalize", True) in c.flags])
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_magnitudes_in_double(case: Case, scale: float) -> None:
    of = module(case.module)
    agree(of, case.kernel, draw(of, case.kernel, {"b": 3, "n": 17}, scale=scale), **options(case))


# the launch table


@each(TILED + [c for c in shipped("pga3d") if c.kernel.startswith("motor")])
@pytest.mark.parametrize("tile", [16, 32])
def test_launch_table(case: Case, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tiles, few programs, and no row that stays in registers: several tiles, rounds and partial sums."""
    of = module(case.module)
    smaller = {"tile": tile, "pack": tile, "resident": 0}
    for file in kernel_files(of):
        table = {k: v._replace(**smaller, programs=6 if v.programs else 0) for k, v in file.LAUNCH.items()}
        monkeypatch.setattr(file, "LAUNCH", table)
    sizes = {"b": 11, "n": 37} if tile == 16 else {"b": 37, "n": 5}
    with launches(of) as launched:
        agree(of, case.kernel, draw(of, case.kernel, sizes), **options(case))
    if ("normalize", True) in case.flags:
        assert any("_long_" in name for name in launched)


@each(ONE_OF_A_KIND)
def test_expanded_cotangent(case: Case) -> None:
    """One number, seen as often as the result has elements. Expanded inputs are among the proofs."""
    of = module(case.module)
    inputs = draw(of, case.kernel, {"b": 3, "n": 5})
    description, found = of.KERNELS[case.kernel], []
    for function in (getattr(of, case.kernel), getattr(of, f"{case.kernel}_reference")):
        leaves = [x.detach().requires_grad_() for x in inputs.values()]
        result = function(*leaves, **options(case))
        found.append(torch.autograd.grad(result, leaves, torch.ones((), device=DEVICE).double().expand_as(result)))
    for name, ours, expected in zip(description["grads"], *found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10, msg=name)


@each(CHEAP)
def test_no_gradients(case: Case) -> None:
    of = module(case.module)
    inputs = draw(of, case.kernel, {"b": 3, "n": 5})
    agree(of, case.kernel, inputs, (), **options(case))
    assert not getattr(of, case.kernel)(*inputs.values(), **options(case)).requires_grad


@each(ONE_OF_A_KIND)
def test_results_and_cotangents_stay(case: Case) -> None:
    """A backward writes into neither; that inputs stay is among the proofs."""
    of = module(case.module)
    leaves = [x.requires_grad_() for x in draw(of, case.kernel, {"b": 3, "n": 5}).values()]
    out = getattr(of, case.kernel)(*leaves, **options(case))
    kept, cotangent = out.detach().clone(), torch.ones_like(out)
    torch.autograd.grad(out, leaves, cotangent)
    assert torch.equal(out, kept) and torch.equal(cotangent, torch.ones_like(out))


# both memory orders


@pytest.mark.slow
@each(TURNED)
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
@pytest.mark.parametrize("n", [4096, LONG])
def test_plain(kernel: str, n: int, compile_spec: Compile) -> None:
    """Rows that stay in registers, and rows so long that they are looped over."""
    of = compile_spec(PLAIN)
    extra: dict[str, Any] = {"eps": 0.5} if kernel == "layer_norm" and n == 1 else {}
    inputs = draw(of, kernel, {"b": 1 if n == LONG and kernel != "column_mean" else 3, "n": n})
    if kernel == "column_mean":
        inputs["w"] = inputs["w"].abs() + 0.5  # a sum near zero would only magnify rounding
    with launches(of) as launched:
        agree(of, kernel, inputs, **extra)
    if kernel != "column_mean":
        assert any("_long_" in name for name in launched) == (n == LONG), launched


@pytest.mark.parametrize("kernel", ["softmax", "layer_norm", "moments"])
def test_long_rows_are_independent(kernel: str, compile_spec: Compile) -> None:
    of = compile_spec(PLAIN)
    inputs = draw(of, kernel, {"b": 3, "n": LONG})
    spoiled = {**inputs, "x": inputs["x"].clone()}
    spoiled["x"][1] = torch.nan
    before, after = run(of, kernel, inputs, ["x"]), run(of, kernel, spoiled, ["x"])
    for name in (*of.KERNELS[kernel]["outputs"], "grad_x"):
        assert torch.equal(before[name][[0, 2]], after[name][[0, 2]]), name
        assert after[name][1].isnan().all(), name


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


ONE_ROW = """\
kgen: 1
name: one_row
kernels:
  share:
    inputs: {w: [n]}
    body: return w / sum(w * w, over=n)
  beside:
    inputs: {x: [b, n], w: [n]}
    body: return x * sum(x * w, over=n), w * sum(w * w, over=n)
"""


@pytest.mark.parametrize("kernel", ["share", "beside"])
@pytest.mark.parametrize("n", [1, 5, 300])
def test_one_row(kernel: str, n: int, compile_spec: Compile) -> None:
    """A reduction without other axes: its only row, however short, shares no tile."""
    of = compile_spec(ONE_ROW)
    agree(of, kernel, draw(of, kernel, {"b": 3, "n": n}))


RESULTS = """\
kgen: 1
name: results
kernels:
  beside_product:
    inputs: {x: [b, n], y: [n, m]}
    body: |
      z = dot(x, y, over=n)
      return sum(z / 1024, over=m), z
  largest:
    inputs: {x: [b, n]}
    body: return max(x, over=b)
"""


def test_what_is_computed_from_a_product_is_not_rounded_as_a_result(compile_spec: Compile) -> None:
    """The product exceeds what fp16 holds, which makes its own result infinite; the sum of it does not."""
    of = compile_spec(RESULTS)
    inputs = draw(of, "beside_product", {"b": 6, "n": 11}, torch.float16, scale=300)
    total, product = run(of, "beside_product", inputs, ()).values()
    exact = of.beside_product_reference(*(x.double() for x in inputs.values()))
    assert torch.equal(product.isinf(), exact[1].abs() > 65519) and product.isinf().any()
    assert compare(total, exact[0]).agrees


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_largest_of_a_column(dtype: torch.dtype, compile_spec: Compile) -> None:
    """A maximum over rows, put together from partial ones, has the dtype of the result."""
    of = compile_spec(RESULTS)
    found = agree(of, "largest", draw(of, "largest", {"b": 6, "n": 11}, dtype))
    assert [x.dtype for x in found.values()] == [dtype, dtype]


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
