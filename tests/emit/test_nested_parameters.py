"""Parameters with dotted names: state dicts of torch's own modules load as they are, and give what those compute.

Also those of an `nn.Sequential` itself, whose keys start with numbers.
"""

import copy
import inspect
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import black
import pytest
import torch
from modules import DEVICE, compiled
from torch import Tensor, nn

from kgen.emit.nn.holders import attribute
from kgen.tools.comparison import launches

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")  # of lanes that a mask discards

NESTED = """\
kgen: 1
name: nested
algebra: {signature: [2, 0, 0]}
layout:
  multivector: [b, n, blade]
  weights: {order: [left, out, right], memory: [n, path], gradewise: [m, n, grade]}
kernels:
  perceptron:
    inputs: {x: "[b, i]", w: "[h, i]", wb: "[h]", v: "[o, h]", vb: "[o]", gain: "[o]"}
    body: return (dot(relu(dot(x, w, over=i) + wb), v, over=h) + vb) * gain
  steered:
    inputs: {x: multivector, left: "weights(x)[n, m]", bias: "multivector[m]", mixed: "[m]", more: "[m]"}
    body: return mv_linear(x, left, bias) * mixed + mv_linear(x, left) * more
modules:
  Perceptron:
    kernel: perceptron
    sizes: {i: inputs, h: hidden, o: outputs}
    parameters:
      net.0.weight: {input: w, init: uniform(i)}
      net.0.bias: {input: wb, init: uniform(i)}
      net.2.weight: {input: v, init: normal(h)}
      net.2.bias: {input: vb, init: zeros}
      gain: ones
    ignore: [net.1.slope, net.2.mask, mask]
  Sequential:
    kernel: perceptron
    sizes: {i: super, h: range, o: torch}
    parameters:
      0.weight: {input: w, init: uniform(i)}
      0.bias: {input: wb, init: uniform(i)}
      2.0.weight: {input: v, init: normal(h)}
      2.0.bias: {input: vb, init: zeros}
      2.2.0: {input: gain, init: ones}
    ignore: [2.0.mask, 1.*, 2.1.*]
  Steered:
    kernel: steered
    sizes: {n: range, m: torch}
    options: {bias_on: scalar}
    parameters:
      blocks.1.0.linear_left.weight: {input: left, init: "normal(n, grade)"}
      blocks.1.0.linear_left.bias:
        {input: bias, init: ones, shape: [1, m, 1], grades: {bias_on: {scalar: [0], all: [0, 1, 2]}}}
      mix.0: {input: mixed, init: ones}
      mix.1: {input: more, init: ones}
"""
KEYS = ["gain", "net.0.weight", "net.0.bias", "net.2.weight", "net.2.bias"]
STEERED = ["blocks.1.0.linear_left.weight", "blocks.1.0.linear_left.bias", "mix.0", "mix.1"]


class Peer(nn.Module):
    """The same in torch's own modules."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
        self.gain = nn.Parameter(torch.tensor([2.0, -1.0]))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x) * self.gain
        return out


@pytest.fixture
def nested(compiled_folder: Path) -> ModuleType:
    return compiled(NESTED, compiled_folder)


def pair(nested: ModuleType) -> tuple[Any, Peer, Tensor]:
    """The generated module with a peer's parameters, the peer, and an input."""
    torch.manual_seed(2)
    peer = Peer().to(DEVICE, torch.float64)
    own = nested.Perceptron(3, 5, 2, device=DEVICE, dtype=torch.float64)
    own.load_state_dict(peer.state_dict(), strict=True)
    return own, peer, torch.randn(4, 3, dtype=torch.float64, device=DEVICE)


def close(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_keys_and_order_are_the_peers(nested: ModuleType) -> None:
    own, peer, _ = pair(nested)
    assert list(own.state_dict()) == list(peer.state_dict()) == KEYS
    assert [name for name, _ in own.named_parameters()] == [name for name, _ in peer.named_parameters()]
    assert list(nested.Steered(2, 3).state_dict()) == STEERED
    peer.load_state_dict(nested.Perceptron(3, 5, 2, device=DEVICE).state_dict(), strict=True)


def test_a_peers_state_dict_gives_its_values_and_gradients(nested: ModuleType) -> None:
    own, peer, x = pair(nested)
    with launches(nested) as launched:
        out = own(x)
    assert launched
    close(out, peer(x))
    own(x).sin().sum().backward()
    peer(x).sin().sum().backward()
    for (name, parameter), (_, theirs) in zip(own.named_parameters(), peer.named_parameters(), strict=True):
        assert theirs.grad is not None and theirs.grad.abs().sum() > 0, name
        close(parameter.grad, theirs.grad)


def test_attributes_are_the_peers(nested: ModuleType) -> None:
    own, peer, _ = pair(nested)
    assert isinstance(own.net[0].weight, nn.Parameter) and own.net[2].bias is own.get_parameter("net.2.bias")
    assert torch.equal(own.net[2].weight, peer.get_parameter("net.2.weight"))
    steered = nested.Steered(2, 3)
    inner = steered.blocks[1][0].linear_left
    assert type(inner) is nn.Module and inner.weight.shape == (3, 2, 3) and inner.bias.shape == (1, 3, 1)
    assert steered.mix[0].shape == (3,)
    for name, parameter in steered.named_parameters():
        assert eval(f"steered{attribute(name)}", {"steered": steered}) is parameter


def test_strict_loading_says_what_is_missing_and_unexpected(nested: ModuleType) -> None:
    own, peer, _ = pair(nested)
    state = peer.state_dict()
    del state["net.2.bias"]
    with pytest.raises(RuntimeError, match='Missing key.*"net.2.bias"'):
        own.load_state_dict(state)
    with pytest.raises(RuntimeError, match='Unexpected key.*"net.0.scale"'):
        own.load_state_dict({**peer.state_dict(), "net.0.scale": torch.ones(2)})
    with pytest.raises(RuntimeError, match="size mismatch for net.0.weight"):
        nested.Perceptron(4, 5, 2, device=DEVICE).load_state_dict(peer.state_dict())


class Gain(nn.Module):
    """A parameter that is called as if in a list."""

    def __init__(self, gain: Tensor) -> None:
        super().__init__()
        self.register_parameter("0", nn.Parameter(gain))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.get_parameter("0")


def sequential() -> nn.Sequential:
    """The perceptron as torch's own sequence, with others' constants in it."""
    torch.manual_seed(3)
    constant = nn.Identity()
    constant.register_buffer("scale", torch.ones(2))
    constant.inner = nn.BatchNorm1d(4)
    inside = nn.Sequential(nn.Linear(5, 2), constant, Gain(torch.randn(2)))
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), inside).to(DEVICE, torch.float64)


@pytest.mark.parametrize("prefix", ["", "1."])
def test_a_sequence_of_torch_modules_is_a_list(nested: ModuleType, prefix: str) -> None:
    """Its state dict loads, also where it is part of another's; keys, order, values and gradients are the same."""
    peer, own = sequential(), nested.Sequential(3, 5, 2, device=DEVICE, dtype=torch.float64)
    around = [nn.Sequential(nn.Identity(), x) if prefix else x for x in (own, peer)]
    around[0].load_state_dict(around[1].state_dict(), strict=True)
    keys = [key for key in peer.state_dict() if not key.startswith("2.1.")]
    assert list(own.state_dict()) == keys == ["0.weight", "0.bias", "2.0.weight", "2.0.bias", "2.2.0"]
    assert [name for name, _ in own.named_parameters()] == keys and "2.1.inner.running_mean" in peer.state_dict()
    x = torch.randn(4, 3, dtype=torch.float64, device=DEVICE)
    for function in (own, copy.deepcopy(own), pickle.loads(pickle.dumps(own)), whole_graph(own)):
        close(function(x), peer(x))
    own(x).sin().sum().backward()
    peer(x).sin().sum().backward()
    for name in keys:
        assert own.get_parameter(name).grad.any()
        close(own.get_parameter(name).grad, peer.get_parameter(name).grad)


def test_a_list_says_what_does_not_fit(nested: ModuleType) -> None:
    own, state = nested.Sequential(3, 5, 2, device=DEVICE), sequential().state_dict()
    with pytest.raises(RuntimeError, match='Unexpected key.*"2.3.scale"'):
        own.load_state_dict({**state, "2.3.scale": torch.ones(2)})
    with pytest.raises(RuntimeError, match='Missing key.*"2.0.bias"'):
        own.load_state_dict({key: x for key, x in state.items() if key != "2.0.bias"})
    with pytest.raises(RuntimeError, match=r"size mismatch for 2.2.0: .*\[3\].*\[2\]"):
        own.load_state_dict({**state, "2.2.0": torch.ones(3)})


def test_a_list_is_called_by_its_arguments(nested: ModuleType) -> None:
    own = nested.Sequential(3, 5, 2)
    assert repr(own).startswith("Sequential(\n  super=3, range=5, torch=2\n  (0): Module()")
    assert own[2][0].weight is own.get_parameter("2.0.weight") and len(own) == 3


@pytest.mark.parametrize("prefix", ["", "1."])
def test_ignored_keys_within(nested: ModuleType, prefix: str) -> None:
    """Also where the module is a part of another."""
    own, peer, x = pair(nested)
    more = {"net.1.slope": torch.ones(1), "net.2.mask": torch.ones(2), "mask": torch.ones(3)}
    state = {f"{prefix}{key}": 2 * value for key, value in {**peer.state_dict(), **more}.items()}
    (nn.Sequential(nn.Identity(), own) if prefix else own).load_state_dict(state, strict=True)
    close(own.net[0].bias, 2 * peer.get_parameter("net.0.bias"))


def test_copies_and_dtypes(nested: ModuleType) -> None:
    own, _, x = pair(nested)
    for twin in (copy.deepcopy(own), pickle.loads(pickle.dumps(own))):
        assert torch.equal(twin(x), own(x)) and list(twin.state_dict()) == KEYS
        with torch.no_grad():
            twin.net[2].bias.add_(1)
        assert not torch.equal(twin(x), own(x))
    single = copy.deepcopy(own).to(torch.float32)
    assert {p.dtype for p in single.parameters()} == {torch.float32} and single(x.float()).dtype == torch.float32
    meta = nested.Steered(2, 3, device="meta")
    assert all(p.is_meta for p in meta.parameters())


def test_initial_values(nested: ModuleType) -> None:
    own = nested.Perceptron(100, 400, 50, device=DEVICE)
    assert 0.099 < float(own.net[0].weight.detach().abs().max()) <= 0.1
    assert abs(float(own.net[2].weight.detach().std()) - 0.05) < 0.002
    assert torch.equal(own.net[2].bias, torch.zeros_like(own.net[2].bias))
    before = own.net[0].bias.detach().clone()
    with torch.no_grad():
        own.net[2].bias.fill_(7)
    own.reset_parameters()
    assert not torch.equal(own.net[0].bias, before) and not own.net[2].bias.any()


def test_functional_calls(nested: ModuleType) -> None:
    own, peer, x = pair(nested)

    def function(weight: Tensor, bias: Tensor) -> Any:
        return torch.func.functional_call(own, {"net.2.weight": weight, "net.0.bias": bias}, (x,))

    drawn = [torch.randn_like(own.net[2].weight).requires_grad_(), torch.randn_like(own.net[0].bias).requires_grad_()]
    expected = torch.func.functional_call(peer, {"net.2.weight": drawn[0], "net.0.bias": drawn[1]}, (x,))
    close(function(*drawn), expected)
    assert torch.autograd.gradcheck(function, drawn)
    steered = nested.Steered(2, 3, device=DEVICE, dtype=torch.float64)
    y = torch.randn(4, 2, 4, dtype=torch.float64, device=DEVICE)
    off = {name: torch.zeros(3, dtype=torch.float64, device=DEVICE) for name in ("mix.0", "mix.1")}
    assert not torch.func.functional_call(steered, off, (y,)).any() and steered(y).any()


def whole_graph(of: nn.Module) -> Any:
    torch._dynamo.reset()
    return torch.compile(of, backend="aot_eager", fullgraph=True)


def test_compiled(nested: ModuleType) -> None:
    own, peer, x = pair(nested)
    whole = whole_graph(own)
    close(whole(x), peer(x))
    whole(x).sin().sum().backward()
    peer(x).sin().sum().backward()
    close(own.net[0].weight.grad, peer.get_parameter("net.0.weight").grad)
    steered = nested.Steered(2, 3, device=DEVICE, dtype=torch.float64)
    y = torch.randn(4, 2, 4, dtype=torch.float64, device=DEVICE)
    close(whole_graph(steered)(y), steered(y))


@pytest.mark.parametrize("bias_on", ["scalar", "all"])
def test_within_lists_of_lists(nested: ModuleType, bias_on: str) -> None:
    """The class whose sizes are called as what its constructor reads."""
    steered = nested.Steered(2, 3, bias_on=bias_on, device=DEVICE, dtype=torch.float64)
    state = {name: torch.randn_like(p) for name, p in steered.state_dict().items()}
    steered.load_state_dict(state)
    x = torch.randn(4, 2, 4, dtype=torch.float64, device=DEVICE)
    weight = state["blocks.1.0.linear_left.weight"][..., [0, 1, 1, 2]]
    linear = torch.einsum("bnk,mnk->bmk", x, weight)
    bias = torch.zeros(3, 4, dtype=torch.float64, device=DEVICE)
    bias[:, slice(None) if bias_on == "all" else 0] = (
        state["blocks.1.0.linear_left.bias"][0]
        if bias_on == "all"
        else (state["blocks.1.0.linear_left.bias"].flatten())
    )
    close(steered(x), (linear + bias) * state["mix.0"][:, None] + linear * state["mix.1"][:, None])


def test_the_class_reads_as_written_by_hand(nested: ModuleType) -> None:
    source = inspect.getsource(nested.Perceptron)
    for line in (
        "self.net: _Any = torch.nn.ModuleList(torch.nn.Module() for _ in range(3))",
        "self.net[0].weight = torch.nn.Parameter(torch.empty((hidden, inputs), device=device, dtype=dtype))",
        "torch.nn.init.zeros_(self.net[2].bias)",
        "net.0.weight: shape (hidden, inputs), the kernel's w;",
    ):
        assert line in source
    assert "self.net[0] =" not in source and "self.net[1]" not in source
    for of in (nested.Perceptron, nested.Steered, nested.Sequential):
        text = inspect.getsource(of)
        assert black.format_str(text, mode=black.Mode(line_length=120)).strip() == text.strip()
