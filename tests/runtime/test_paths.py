"""Which path a call takes: plain eager tensors launch at once, whatever else looks on gets torch's operators.

Each condition that rules the direct path out is a row, and gives the reference's numbers, never silent zeros.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.autograd.graph import save_on_cpu
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils.flop_counter import FlopCounterMode
from variants import DEVICE, FUSED, LAUNCHES, PLAIN, Tensors, Variant, close, each, energy, gradients, launching

from kgen.tools.problem import runtime

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")  # of lanes that a mask discards
F = FUSED
EXPECTED = gradients(F.reference, F.inputs())


@contextlib.contextmanager
def operators(variant: Variant) -> Iterator[list[str]]:
    """The names of the functions whose operators torch is asked for in the context, by order."""
    asked: list[str] = []
    known = runtime(variant.of, "operators").Operator.called

    def called(self: Any, arguments: Any) -> Any:
        asked.append(f"{self.function}{self.order}")
        return known(self, arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime(variant.of, "operators").Operator, "called", called)
        yield asked


# the direct path


@pytest.mark.parametrize("kind", [Tensor, torch.nn.Parameter, torch.nn.Buffer, "not to differentiate"], ids=str)
def test_direct_path(kind: Any) -> None:
    """Tensors, parameters and buffers launch kernels, and torch's dispatcher hears nothing of it."""
    inputs = F.inputs()
    if kind is torch.nn.Parameter:
        inputs = tuple(torch.nn.Parameter(x.detach()) for x in inputs)
    elif kind is torch.nn.Buffer:
        inputs = (inputs[0], inputs[1], torch.nn.Buffer(inputs[2].detach()).requires_grad_())
    with operators(F) as asked, launching(F.of):
        if isinstance(kind, str):
            close(F(*F.values()), F.reference(*inputs))
        else:
            close(gradients(F, inputs), EXPECTED)
    assert not asked


def test_direct_path_in_inference_mode() -> None:
    with operators(F) as asked, launching(F.of), torch.inference_mode():
        value = F(*F.inputs())
        close(value, F.reference(*F.inputs()))
    assert value.is_inference() and not asked


def test_direct_path_to_the_second_order() -> None:
    def second(function: Callable[..., Tensor]) -> Tensors:
        inputs = F.inputs()
        first = torch.autograd.grad(energy(function)(*inputs), inputs, create_graph=True)
        return torch.autograd.grad([x.square().sum() for x in first], inputs)

    with operators(F) as asked, launching(F.of) as launched:
        close(second(F), second(F.reference))
    assert any("double_backward" in name for name in launched) == LAUNCHES and not asked


# what rules it out


class Named(Tensor):
    """A subclass that changes nothing."""


class Recorder(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def subclass(inputs: Tensors) -> Tensors:
    named = tuple(x.as_subclass(Named) for x in inputs)
    value = energy(F)(*named)
    assert type(value) is Named
    return torch.autograd.grad(value.as_subclass(Tensor), inputs)


def one_of_a_subclass(inputs: Tensors) -> Tensors:
    x, y, weight = inputs
    return torch.autograd.grad(energy(F)(x, y.as_subclass(Named), weight), inputs)


def wrapper_subclass(inputs: Tensors) -> Tensors:
    two: Any = TwoTensor
    twos = [two(x.detach(), 2 * x.detach()).requires_grad_() for x in inputs]
    first: list[Any] = [*torch.autograd.grad(energy(F)(*twos), twos)]
    doubled = tuple((2 * x.detach()).requires_grad_() for x in inputs)
    close([x.b for x in first], [*gradients(F.reference, doubled)])
    return tuple(x.a for x in first)


def function_mode(inputs: Tensors) -> Tensors:
    with Recorder():
        return gradients(F, inputs)


def default_device(inputs: Tensors) -> Tensors:
    with torch.device(DEVICE):
        return gradients(F, inputs)


def dispatch_mode(inputs: Tensors) -> Tensors:
    with FlopCounterMode(display=False) as counter:
        found = gradients(F, inputs)
    counts = {str(op): count for op, count in counter.get_flop_counts()["Global"].items()}
    assert any(runtime(F.of, "registration").namespace() in op and count > 0 for op, count in counts.items())
    return found


def mode_in_backward_alone(inputs: Tensors) -> Tensors:
    value = energy(F)(*inputs)
    with FlopCounterMode(display=False):
        return torch.autograd.grad(value, inputs)


def transform(inputs: Tensors) -> Tensors:
    found: Tensors = torch.func.grad(energy(F), (0, 1, 2))(*(x.detach() for x in inputs))
    return found


def transform_around_autograd(inputs: Tensors) -> Tensors:
    """What no transform looks at is called inside one."""
    return tuple(x[0] for x in torch.vmap(lambda _: gradients(F, inputs))(torch.zeros(1)))


def dual_level(inputs: Tensors) -> Tensors:
    """A level is entered, and no input has a tangent."""
    with forward_ad.dual_level():
        return gradients(F, inputs)


def tangents(inputs: Tensors) -> Tensors:
    """The directional derivative is the gradient's product with the direction, also while a backward is recorded."""
    mode: Any = forward_ad
    directions = [torch.cos(x.detach()) for x in inputs]
    with mode.dual_level():
        value = energy(F)(*(mode.make_dual(x, t) for x, t in zip(inputs, directions)))
        found = torch.autograd.grad(value, inputs)
        close(mode.unpack_dual(value).tangent, torch.stack([(x * t).sum() for x, t in zip(EXPECTED, directions)]).sum())
        return tuple(mode.unpack_dual(x).primal for x in found)


def batched_cotangents(inputs: Tensors) -> Tensors:
    """What is_grads_batched makes of cotangents is of no subclass."""
    value = F(*inputs)
    cotangent = 2 * value.detach() + value.detach().cos()
    batch = torch.stack([3 * cotangent, cotangent])
    return tuple(x[1] for x in torch.autograd.grad(value, inputs, batch, is_grads_batched=True))


def traced_by_fx(inputs: Tensors) -> Tensors:
    graph = make_fx(lambda *x: gradients(F, x))(*F.inputs(1))
    assert sum(runtime(F.of, "registration").namespace() in str(node.target) for node in graph.graph.nodes) == 2
    return tuple(make_fx(lambda *x: gradients(F, x))(*inputs)(*inputs))


def traced_by_jit(inputs: Tensors) -> Tensors:
    trace: Any = torch.jit.trace
    return gradients(trace(lambda *x: F(*x), F.values(5), check_trace=False), inputs)


def compiled(inputs: Tensors) -> Tensors:
    return gradients(torch.compile(F, backend="aot_eager", fullgraph=True), inputs)


CONDITIONS: list[Callable[[Tensors], Tensors]] = [
    subclass, one_of_a_subclass, wrapper_subclass, function_mode, default_device, dispatch_mode, mode_in_backward_alone,
    transform, transform_around_autograd, dual_level, tangents, batched_cotangents, traced_by_fx, traced_by_jit,
    compiled,
]  # fmt: skip


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda c: c.__name__)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore:Dynamo")
def test_ruled_out(condition: Callable[[Tensors], Tensors]) -> None:
    copies = condition is compiled and DEVICE.type != "cpu"  # of kernels are launched then, which nothing counts
    with operators(F) as asked, contextlib.nullcontext() if copies else launching(F.of):
        found = condition(F.inputs())
    close([*found], [*EXPECTED])
    assert bool(asked) or (not LAUNCHES and condition in REFERENCES)


# On the CPU without Triton, the reference has run before these look on, or is what they look at.
REFERENCES = (compiled, mode_in_backward_alone, batched_cotangents)


def test_fake_tensors() -> None:
    """In their mode and out of it, results have shapes and dtypes, and no kernel is launched."""
    mode = FakeTensorMode()
    inputs = tuple(mode.from_tensor(x) for x in F.inputs())
    for context in (mode, contextlib.nullcontext()):
        with context:
            found = gradients(F, inputs)
        assert [(x.shape, x.dtype, x.device) for x in found] == [(x.shape, x.dtype, x.device) for x in EXPECTED]


def test_no_triton_on_the_device() -> None:
    """Tensors where no kernel runs take the reference."""
    inputs = tuple(x.detach().to("meta").requires_grad_() for x in F.inputs())
    with operators(F) as asked:
        found = gradients(F, inputs)
    assert [x.shape for x in found] == [x.shape for x in EXPECTED] and not asked


# what autograd does besides


def test_hooks_on_saved_tensors() -> None:
    with save_on_cpu():
        value = energy(F)(*(inputs := F.inputs()))
    close(torch.autograd.grad(value, inputs), EXPECTED)


def test_a_changed_input_is_refused() -> None:
    inputs = F.inputs()
    x = inputs[0] * 1
    value = F(x, *inputs[1:])
    x.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.sum().backward()  # type: ignore[no-untyped-call]


def test_deterministic_algorithms() -> None:
    """Asked for determinism, torch has nothing to complain about, in either direction, twice."""
    torch.use_deterministic_algorithms(True)
    try:
        inputs = F.inputs()
        first = torch.autograd.grad(energy(F)(*inputs), inputs, create_graph=True)
        torch.autograd.grad([x.sum() for x in first], inputs)
    finally:
        torch.use_deterministic_algorithms(False)
    close([x.detach() for x in first], [*EXPECTED])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_autocast_leaves_dtypes_to_the_inputs(dtype: torch.dtype) -> None:
    inputs = F.inputs(dtype=dtype)
    expected = F(*inputs)
    with torch.autocast(DEVICE.type, dtype=torch.bfloat16):
        value = F(*inputs)
        found = torch.autograd.grad(value, inputs, torch.ones_like(value))
    assert value.dtype == dtype and torch.equal(value, expected)
    assert [x.dtype for x in found] == [dtype] * 3


# gradients that nobody needs


@pytest.mark.skipif(not LAUNCHES, reason="the reference runs")
@each([FUSED, PLAIN])
@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2)], ids=str)
def test_unwanted_gradients(variant: Variant, wanted: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not allocated, and what only they need is not launched."""
    inputs = tuple(x.requires_grad_(i in wanted) for i, x in enumerate(variant.values()))
    allocated: list[tuple[int, ...]] = []
    known = torch.empty_like

    def empty_like(x: Tensor) -> Tensor:
        allocated.append(tuple(x.shape))
        return known(x)

    value = variant(*inputs)
    monkeypatch.setattr(torch, "empty_like", empty_like)
    with launching(variant.of) as launched:
        torch.autograd.grad(value.sum(), [inputs[i] for i in wanted])
    assert sorted(allocated) == sorted(tuple(inputs[i].shape) for i in wanted)
    assert any("weight" in name or "total" in name for name in launched) == (2 in wanted), launched


def test_missing_cotangents_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the three gradients one is differentiated once more: the others' cotangents are no zeros in memory."""
    seen: list[list[bool]] = []
    second = F.operator.gradient.gradient
    known = second.run
    assert known

    def run(*arguments: Any) -> Any:
        seen.append([x is not None for x in arguments[: len(second.inputs)]])
        return known(*arguments)

    monkeypatch.setattr(second, "run", run)
    inputs = F.inputs()
    (first,) = torch.autograd.grad(energy(F)(*inputs), inputs[:1], create_graph=True)
    torch.autograd.grad(first.sum(), inputs)
    assert seen == ([[True, True, True, True, True, False, False]] if LAUNCHES else [])
