"""What a call accepts, and which compiled kernel it goes to."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import BaseTorchFunctionMode
from variants import DEVICE, FUSED, PLAIN

from kgen.tools.problem import runtime

ROOT = Path(__file__).parents[2]
OF = FUSED.of


@pytest.mark.parametrize("eps", [None, "1e-6", torch.tensor(0.5), torch.nn.Parameter(torch.tensor(0.5))], ids=repr)
@pytest.mark.parametrize("normalize", [True, False])
def test_options_are_numbers(eps: Any, normalize: bool) -> None:
    """A tensor would have a gradient, which would silently be zero in a transform."""
    with pytest.raises(TypeError, match="fused_gelu_sgp_norm: eps must be a number, got"):
        OF.fused_gelu_sgp_norm(*FUSED.inputs(), normalize=normalize, eps=eps)


def test_any_number_does() -> None:
    inputs = FUSED.values()
    found = [OF.fused_gelu_sgp_norm(*inputs, eps=eps) for eps in (2, 2.0, True + 1)]
    assert found[0].equal(found[1]) and found[0].equal(found[2])


# operators that are called themselves, with arguments that no public function has seen


@pytest.mark.parametrize("place", range(4))
def test_operators_check_shapes(place: int) -> None:
    """Kernels would read beyond the end: the inputs, and a cotangent."""
    arguments: list[Any] = [x.detach() for x in PLAIN.inputs(3)]
    arguments.append(torch.ones_like(arguments[0]))
    arguments[place] = arguments[place][..., :1]
    gradient = PLAIN.operator.gradient
    with pytest.raises(ValueError, match="must have shape"):
        gradient.op(*arguments, [True for _ in gradient.outputs])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_traced_calls_check_shapes() -> None:
    """torch.jit.trace keeps the operator, and not the function that looks at the arguments."""
    x, y = (torch.randn(4, 3, 5, device=DEVICE) for _ in "xy")
    traced: Any = torch.jit.trace(OF.geometric_product, (x, y))  # type: ignore[no-untyped-call]
    assert traced(x, y).equal(OF.geometric_product(x, y))
    with pytest.raises((ValueError, RuntimeError), match="must have shape"):
        traced(x, y[:, :1])


def test_names_in_the_graph() -> None:
    """Profilers and messages of autograd show which function it was."""
    inputs = FUSED.inputs()
    if runtime(OF, "device").runs_on_triton(DEVICE):
        assert type(OF.fused_gelu_sgp_norm(*inputs).grad_fn).__name__ == "fused_gelu_sgp_normBackward"


# compiled kernels


class Kernel:
    """Stands for one of triton's: notes whether it was asked, or what it compiled was launched."""

    __name__ = "kernel"

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getitem__(self, grid: Any) -> Any:
        def ask(*arguments: Any, **options: Any) -> Any:
            self.calls.append("asked")
            return self.compiled

        return ask

    @property
    def compiled(self) -> Any:
        calls = self.calls

        class Compiled:
            def __getitem__(self, grid: Any) -> Any:
                return lambda *arguments: calls.append("at once")

        return Compiled()


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    monkeypatch.setattr(runtime(OF, "launch"), "_COMPILED", {})
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    return Kernel()


def launch(
    kernel: Kernel,
    tensors: Any,
    numbers: Any = (3, 5),
    warps: int = 4,
    real: torch.dtype = torch.float32,
    block: int = 8,
) -> None:
    runtime(OF, "launch").launch(kernel, (1, 1, 1), tensors, numbers, {"num_warps": warps}, real, 1, block)


def test_like_arguments_go_to_the_compiled_kernel(kernel: Kernel) -> None:
    x = torch.zeros(64)
    launch(kernel, (x, x))
    launch(kernel, (x.clone(), torch.nn.Parameter(x)))
    assert kernel.calls == ["asked", "at once"]


OTHERS: dict[str, Any] = {
    "dtype": {"tensors": (torch.zeros(64), torch.zeros(64, dtype=torch.bfloat16))},
    "size": {"tensors": (torch.zeros(64), torch.zeros(64)), "numbers": (3, 16)},
    "flag": {"tensors": (torch.zeros(64), torch.zeros(64)), "numbers": (3, 5, True)},
    "warps": {"tensors": (torch.zeros(64), torch.zeros(64)), "warps": 8},
    "real": {"tensors": (torch.zeros(64), torch.zeros(64)), "real": torch.float64},
    "block": {"tensors": (torch.zeros(64), torch.zeros(64)), "block": 16},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_other_arguments_ask_triton(other: Any, kernel: Kernel) -> None:
    launch(kernel, (torch.zeros(64), torch.zeros(64)))
    launch(kernel, **other)
    assert kernel.calls == ["asked", "asked"]


def test_what_is_not_aligned_asks_triton(kernel: Kernel) -> None:
    """Triton assumes that addresses are multiples of 16 where they were at compilation."""
    x = torch.zeros(64)
    for tensors in ((x, x), (x, x[1:]), (x, x[1:]), (x, x[4:])):
        launch(kernel, tensors)
    assert kernel.calls == ["asked", "asked", "asked", "at once"]


def test_memory_of_compiled_kernels_is_bounded(kernel: Kernel) -> None:
    x = torch.zeros(64)
    for size in range(5000):
        launch(kernel, (x, x), (size, 5))
    assert len(runtime(OF, "launch")._COMPILED) <= 4096


# imports


IMPORTED_LATE = """
import sys, torch
from torch._subclasses.fake_tensor import FakeTensorMode
with FakeTensorMode():
    from generated import vga2d
x = torch.randn(4, 3, 5, dtype=torch.float64)
grad = torch.func.grad(lambda x: vga2d.geometric_product(x, x).square().sum())(x)
expected = torch.func.grad(lambda x: vga2d.geometric_product_reference(x, x).square().sum())(x)
torch.testing.assert_close(grad, expected)
"""


def test_an_import_below_a_mode() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTED_LATE], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_subclass_below_a_mode() -> None:
    """A subclass that has no mode of its own launches kernels with all their options."""

    class Mine(Tensor):
        pass

    inputs = [x.detach().as_subclass(Mine) for x in FUSED.values()]
    with BaseTorchFunctionMode():
        found = OF.fused_gelu_sgp_norm(*inputs)
    assert math.isclose(float(found.sum()), float(OF.fused_gelu_sgp_norm(*FUSED.values()).sum()), rel_tol=1e-12)
