"""What a caller may hand over: views that are negated where they are read, tensors that are not dense, proxies.

Nothing is taken for something else in silence. On kernels, where something can launch them, and on references.
"""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from modules import DEVICE, PACKAGES, compiled, module
from torch import Tensor
from triton.runtime.interpreter import InterpretedFunction
from variants import CHOSEN, FUSED, PLAIN, Variant, close, each, energy, gradients, launching

from kgen.tools.problem import launch_table, load_file, runtime

pytestmark = [
    pytest.mark.usefixtures("poisoned"),
    pytest.mark.filterwarnings("ignore:.*(prototype|beta state|Sparse|maskedtensor).*:UserWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:triton"),
]


def negated(x: Tensor) -> Tensor:
    """The same numbers, in a contiguous view of their negatives."""
    view = torch._neg_view(-x.detach())
    assert view.is_neg() and view.is_contiguous()
    return view.requires_grad_(x.requires_grad)


@each(CHOSEN)
def test_negated_views(variant: Variant) -> None:
    """Of inputs, in values and in all gradients."""
    inputs = variant.inputs()
    views = tuple(map(negated, inputs))
    with launching(variant.of):
        close(variant(*views), variant(*inputs))
    close(gradients(variant, views), gradients(variant, inputs))
    close(variant.reference(*views), variant.reference(*inputs))


@each(CHOSEN)
def test_negated_cotangents(variant: Variant) -> None:
    """Of the first and of the second order."""
    inputs = variant.inputs()
    wanted = [x for x in inputs if x.requires_grad]

    def pulled(wrap: Callable[[Tensor], Tensor]) -> list[Tensor]:
        value = variant(*inputs)
        first = torch.autograd.grad(value, wanted, wrap(torch.cos(value.detach())), create_graph=True)
        second = torch.autograd.grad(first, wanted, [wrap(torch.sin(x.detach())) for x in first], allow_unused=True)
        return [x for x in (*first, *second) if x is not None]

    close(pulled(lambda x: negated(x).detach()), pulled(lambda x: x))


def test_imaginary_part_of_a_conjugate() -> None:
    """A view of neither sign's memory alone: strided, and negated."""
    z = torch.randn(4, 3, 5, dtype=torch.complex128, device=DEVICE)
    of = module("vga2d")
    for function in (of.geometric_product, of.geometric_product_reference):
        close(function(z.conj().imag, z.real), function(-z.imag.clone(), z.real.clone()))


def test_negated_views_under_transforms() -> None:
    inputs = FUSED.inputs()
    views = tuple(map(negated, inputs))
    every = (0, 1, 2)
    close(torch.func.grad(energy(FUSED), every)(*views), torch.func.grad(energy(FUSED), every)(*inputs))
    close(torch.compile(FUSED, fullgraph=True, backend="aot_eager")(*views), FUSED(*inputs))


KINDS: dict[str, Callable[[Tensor], Any]] = {
    "nested": lambda x: torch.nested.nested_tensor(list(x)),
    "nested jagged": lambda x: torch.nested.nested_tensor(list(x), layout=torch.jagged),
    "sparse_coo": lambda x: x.to_sparse(),
    "sparse_csr": lambda x: x[0].to_sparse_csr(),
    "mkldnn": lambda x: x.cpu().float().to_mkldnn(),
    "masked": lambda x: torch.masked.as_masked_tensor(x, x > 0),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_tensors_that_are_not_dense(kind: str, position: int) -> None:
    """Each is refused by name, with what it is."""
    inputs: list[Any] = list(PLAIN.values())
    inputs[position] = KINDS[kind](inputs[position].reshape(2, -1, 3))
    name, word = PLAIN.operator.inputs[position], kind.split()[0]
    with pytest.raises(TypeError, match=f"^sgp: {name} must be a dense torch.Tensor, got a {word} one$"):
        PLAIN.of.sgp(*inputs)


# options


@each([v for v in CHOSEN if v.of is FUSED.of and v.options])
def test_options_of_functions(variant: Variant) -> None:
    inputs = variant.values()
    for option, default in variant.options:
        for wrong in ("False", "0.1", None, torch.ones(2) if isinstance(default, float) else [True]):
            with pytest.raises(TypeError, match=f"{variant.operator.function}: {option} must be "):
                getattr(variant.of, variant.operator.function)(*inputs, **(dict(variant.options) | {option: wrong}))


MODULES = [
    (name, kind, option)
    for name in PACKAGES
    for kind, value in vars(module(name)).items()
    if isinstance(value, type) and issubclass(value, torch.nn.Module)
    for option in value.__init__.__kwdefaults__ or {}
    if option not in ("device", "dtype")
]


@pytest.mark.parametrize(("name", "kind", "option"), MODULES, ids=str)
def test_options_of_modules(name: str, kind: str, option: str) -> None:
    """They are checked when a module is made, not when it is first called."""
    made = getattr(module(name), kind)
    sizes = {p: 3 for p in made.__init__.__annotations__ if p not in (*made.__init__.__kwdefaults__, "return")}
    for wrong in ("False", [True]):
        with pytest.raises((TypeError, ValueError), match=f"{kind}: {option} must be "):
            made(**sizes, **{option: wrong})


# proxies


@pytest.mark.parametrize("name", ["vga2d", "vga3d"])
@pytest.mark.parametrize("normalize", [True, False])
def test_symbolic_trace(name: str, normalize: bool) -> None:
    """torch.fx sees one call of the public function, with the options that it was called with."""
    of = module(name)
    layer = of.SGP(3, normalize=normalize, eps=0.5, device=DEVICE, dtype=torch.float64)
    traced = torch.fx.symbolic_trace(layer)
    (call,) = [node for node in traced.graph.nodes if node.op == "call_function"]
    assert call.target is of.fused_gelu_sgp_norm and call.kwargs["normalize"] is normalize
    x, y = torch.randn(2, len(of.BLADES), 2, 3, dtype=torch.float64, device=DEVICE)
    close(traced(x, y), layer(x, y))


def test_what_speaks_for_itself() -> None:
    """The protocol that torch's own functions follow: any type may say what a call with it means."""

    class Stand:
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return func, args, kwargs

    stand, (x, _, w) = Stand(), FUSED.values()
    found = FUSED.of.fused_gelu_sgp_norm(x, stand, w, eps=0.25)
    assert found == (FUSED.of.fused_gelu_sgp_norm, (x, stand, w), {"normalize": True, "eps": 0.25})


# what Triton is told by its environment


@pytest.mark.parametrize("value", ["", "0", "false", "no", "off", "FALSE", "1", "true", "yes", "on"])
def test_interpreter_is_as_triton_says(value: str, long_axes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", value)
    of = load_file(Path(str(long_axes.__file__)).parent, f"told_{value or 'nothing'}")
    device = runtime(of, "device")
    assert isinstance(runtime(of, "kernels")._jit_total, InterpretedFunction) == device.INTERPRETED
    assert (value in ("1", "true", "yes", "on")) == device.INTERPRETED
    assert device.runs_on_triton(torch.device("cpu")) == device.INTERPRETED


# grids


LONG = """\
kgen: 1
name: long_axes
kernels:
  columns: {inputs: {x: [k, v], w: [v]}, body: "return sum(x * w, over=k)"}
  by_rows: {inputs: {x: [v, k], w: [v]}, body: "return sum(x * w, over=k)"}
  scaled: {inputs: {x: [k, v], w: [k]}, body: return x * w}
  gained: {inputs: {x: [k, v], w: [v]}, body: return x * x * w}
"""


@pytest.fixture(scope="module")
def long_axes(compiled_folder: Path) -> ModuleType:
    return compiled(LONG, compiled_folder)


def most_programs(of: ModuleType) -> int:
    """That share a sum: as many as the launch table lets a GPU run, whatever the sizes, and two at least."""
    return max(
        2, *(int(row.programs * runtime(of, "device").multiprocessors(DEVICE)) for row in launch_table(of).values())
    )


@pytest.mark.parametrize("kernel", ["columns", "by_rows", "scaled", "gained"])
@pytest.mark.parametrize("v", [1, 5_000_000])
def test_no_long_axis_beyond_the_first_of_a_grid(
    kernel: str, v: int, long_axes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grid's other axes end at 65,535, which any axis of a user's tensor may exceed."""
    grids: list[tuple[int, ...]] = []
    monkeypatch.setattr(runtime(long_axes, "launch"), "launch", lambda kernel, grid, *rest: grids.append(tuple(grid)))
    dims = long_axes.KERNELS[kernel]["inputs"].values()
    shapes = [tuple(v if axis == "v" else 2 for axis in d) for d in dims]
    inputs = [torch.zeros(shape, dtype=torch.float16, device=DEVICE).requires_grad_() for shape in shapes]
    getattr(long_axes, kernel)(*inputs).sum().backward()
    assert grids and all(grid[1] <= most_programs(long_axes) and grid[2] == 1 for grid in grids)
    assert v == 1 or kernel != "columns" or max(grid[0] for grid in grids) > 65_535


@pytest.mark.parametrize("name", ["vga2d", "pga3d", "diffusion"])
def test_no_grid_grows_beyond_its_first_axis(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every shipped kernel, matrix products and their factors included: other axes do not grow with any size."""
    of = module(name)
    grids: dict[str, set[tuple[int, ...]]] = {}

    def note(kernel: Any, grid: Any, *rest: Any) -> None:
        grids.setdefault(kernel.__name__, set()).add(tuple(grid[1:]))

    monkeypatch.setattr(runtime(of, "launch"), "launch", note)
    monkeypatch.setattr(runtime(of, "matmul"), "LONG", 1)  # so that factors are turned
    for variant in (v for v in CHOSEN if v.of is of):
        for sizes in ({}, {"b": 512}, {"n": 512}):
            inputs = variant.inputs(**sizes, dtype=torch.float32)
            torch.autograd.grad(variant(*inputs).sum(), [x for x in inputs if x.requires_grad], allow_unused=True)
    assert all(second <= most_programs(of) and third == 1 for found in grids.values() for second, third in found)
