"""The nn.Modules that specs name, and the functions that convert weights: on kernels, in fp64 where numbers matter."""

import copy
import inspect
import io
import itertools
import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import black
import pytest
import torch
from modules import DEVICE, PACKAGES, compiled, module, spec_text
from rich.console import Console
from torch import Tensor

from kgen.emit.nn.settings import expression, in_words, statements
from kgen.spec.class_names import ATTRIBUTES, PRIVATE
from kgen.spec.load import load
from kgen.spec.model import Switch
from kgen.spec.starter import template
from kgen.tools.comparison import launches
from kgen.tools.show import render

N = 5
PATHS = {"vga2d": 10, "vga3d": 20}
FUSED = "fused_gelu_sgp_norm"

# grades of the left operand, the result and the right operand, in the order of flash-clifford and CGENN
PATHS_3D = "000 011 022 033 101 110 112 121 123 132 202 211 213 220 222 231 303 312 321 330"

# kingdon[i] = flash_clifford[PERMUTATION[i]], as found in the libraries
PERMUTATION = {
    "vga2d": [0, 1, 2, 4, 3, 6, 5, 9, 8, 7],
    "vga3d": [0, 1, 2, 3, 5, 4, 7, 6, 9, 8, 13, 11, 15, 10, 14, 12, 19, 18, 17, 16],
}

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")  # of lanes that a mask discards

VARIETY = """\
kgen: 1
name: variety
algebra: {signature: [2, 0, 0]}
layout:
  multivector: [..., n, blade]
  weights: {order: [right, left, out], memory: [path, n], fully_connected: [m, n, path], gradewise: [grade, n, m]}
kernels:
  mixed:
    inputs: {x: multivector, y: multivector, w: "weights(x, y)[n, m]", g: "weights(x)[n, m]", s: scalar}
    body: return sum(sgp(x, y, w), over=n), sum(g[1] * s, over=n)
  per_feature:
    inputs: {x: even, y: multivector, w: "weights(x, y)"}
    body: return sgp(x, y, w)
  between:
    inputs: {x: multivector, y: multivector, w: "weights(x, y)[m, k]"}
    body: return sum(sum(sgp(x, y, w), over=m), over=k)
  affine:
    inputs: {x: multivector, shift: "multivector[n]", gain: "[n]", bias: "[n, grade]"}
    options: {twice: false, power: 2, eps: 0.5}
    body: |
      y = (x + shift) * gain * (bias[0] + bias[2] * power + eps)
      return y + y if twice else y
modules:
  Mixed:
    kernel: mixed
    sizes: {n: in_features, m: out_features}
    parameters:
      gp_weight: {input: w, init: "normal(n, grade)"}
      linear_weight: {input: g, init: uniform(n)}
  Square:
    kernel: mixed
    sizes: {n: n_features, m: n_features}
    parameters:
      w: "normal(path)"
  Affine:
    doc: Shifts and scales.
    kernel: affine
    parameters: {shift: zeros, gain: ones, bias: "uniform(n, grade)"}
"""


@pytest.fixture
def variety(compiled_folder: Path) -> ModuleType:
    return compiled(VARIETY, compiled_folder)


def block(name: str, **options: Any) -> Any:
    torch.manual_seed(3)
    return module(name).SGP(N, device=DEVICE, **options)


def operands(name: str, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    random = torch.Generator().manual_seed(4)
    shape = (len(module(name).BLADES), 3, N)
    return [torch.randn(shape, generator=random, dtype=torch.float64).to(DEVICE, dtype) for _ in "xy"]


# the blocks that ship


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("normalize", [True, False])
def test_forward_is_the_function(name: str, normalize: bool) -> None:
    sgp = block(name, normalize=normalize, eps=0.25, dtype=torch.float64)
    x, y = operands(name)
    with launches(module(name)) as launched:
        out = sgp(x, y)
    assert launched
    expected = module(name).fused_gelu_sgp_norm_reference(x, y, sgp.gp_weight, normalize=normalize, eps=0.25)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    other = module(name).fused_gelu_sgp_norm_reference(x, y, sgp.gp_weight, normalize=not normalize, eps=0.25)
    assert not torch.allclose(out, other)


@pytest.mark.parametrize("name", PATHS)
def test_gradients_reach_the_parameter(name: str) -> None:
    sgp = block(name, dtype=torch.float64)
    x, y = operands(name)
    sgp(x, y).square()[1].sum().backward()
    weight = sgp.gp_weight.detach().clone().requires_grad_()
    module(name).fused_gelu_sgp_norm_reference(x, y, weight).square()[1].sum().backward()
    assert weight.grad is not None and weight.grad.abs().sum() > 0
    torch.testing.assert_close(sgp.gp_weight.grad, weight.grad, rtol=1e-10, atol=1e-12)


def test_gradcheck_through_the_module() -> None:
    sgp = module("vga2d").SGP(2, device=DEVICE, dtype=torch.float64)
    x, y = (t[:, :2, :2].contiguous().requires_grad_() for t in operands("vga2d"))

    def function(x: Tensor, y: Tensor, weight: Tensor) -> Any:
        return torch.func.functional_call(sgp, {"gp_weight": weight}, (x, y))

    weight = sgp.gp_weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(function, (x, y, weight))


@pytest.mark.parametrize("name", PATHS)
def test_initialisation_is_the_peers(name: str) -> None:
    """flash-clifford and CGENN: normal, 1 / sqrt(dimension + 1)."""
    sgp = block(name)
    assert sgp.gp_weight.shape == (N, PATHS[name]) and sgp.gp_weight.dtype == torch.float32
    large = module(name).SGP(4000, device=DEVICE).gp_weight.detach()
    expected = 1 / math.sqrt({"vga2d": 2, "vga3d": 3}[name] + 1)
    assert abs(float(large.std()) - expected) < 0.01 and abs(float(large.mean())) < 0.01
    before = sgp.gp_weight.detach().clone()
    sgp.reset_parameters()
    assert not torch.equal(sgp.gp_weight, before)


def test_state_dict_round_trip() -> None:
    first, second = block("vga3d"), module("vga3d").SGP(N, device=DEVICE)
    assert list(first.state_dict()) == ["gp_weight"]
    assert not torch.equal(first.gp_weight, second.gp_weight)
    second.load_state_dict(first.state_dict())
    x, y = operands("vga3d", torch.float32)
    assert torch.equal(first(x, y), second(x, y))
    with pytest.raises(RuntimeError, match="size mismatch"):
        module("vga3d").SGP(N + 1, device=DEVICE).load_state_dict(first.state_dict())


def test_copies_and_dtypes() -> None:
    sgp = block("vga2d")
    twin = copy.deepcopy(sgp)
    with torch.no_grad():
        twin.gp_weight.zero_()
    assert sgp.gp_weight.abs().sum() > 0
    x, y = operands("vga2d", torch.bfloat16)
    half = sgp.to(torch.bfloat16)
    assert half(x, y).dtype == half.gp_weight.dtype == torch.bfloat16
    half(x, y).sum().backward()
    assert half.gp_weight.grad.dtype == torch.bfloat16
    assert module("vga2d").SGP(N, device="meta", dtype=torch.float16).gp_weight.is_meta


def test_repr_and_options() -> None:
    assert repr(module("vga3d").SGP(N)) == "SGP(n_features=5, normalize=True, eps=1e-06)"
    assert repr(module("vga3d").SGP(n_features=1, normalize=False, eps=0.5)) == (
        "SGP(n_features=1, normalize=False, eps=0.5)"
    )
    with pytest.raises(TypeError):
        module("vga3d").SGP(N, False)
    with pytest.raises(ValueError, match="SGP: n_features must be at least 1, got 0"):
        module("vga3d").SGP(0)
    with pytest.raises(ValueError, match="n = 5 where it has 6"):
        module("vga3d").SGP(6, device=DEVICE)(*operands("vga3d", torch.float32))


# other kernels


def test_two_sizes_renamed_inputs_and_several_results(variety: ModuleType) -> None:
    mixed = variety.Mixed(3, 2, device=DEVICE, dtype=torch.float64)
    assert {name: tuple(p.shape) for name, p in mixed.named_parameters()} == {
        "gp_weight": (2, 3, 10),
        "linear_weight": (3, 3, 2),
    }
    assert repr(mixed) == "Mixed(in_features=3, out_features=2)"
    x, y = (torch.randn(4, 7, 3, 4, dtype=torch.float64, device=DEVICE) for _ in "xy")
    s = torch.randn(4, 7, 3, dtype=torch.float64, device=DEVICE)
    out, linear = mixed(x, y, s)
    expected, _ = variety.mixed_reference(x, y, mixed.gp_weight, mixed.linear_weight, s)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(linear, s @ mixed.linear_weight[1], rtol=1e-12, atol=1e-12)
    bounds = variety.Mixed(400, 30, device=DEVICE)
    assert 0.0495 < float(bounds.linear_weight.detach().abs().max()) <= 0.05
    assert abs(float(bounds.gp_weight.detach().std()) - (400 * 3) ** -0.5) < 1e-3
    with pytest.raises(ValueError, match="Mixed: out_features must be at least 1, got -1"):
        variety.Mixed(1, -1)


def test_one_argument_for_two_axes(variety: ModuleType) -> None:
    square = variety.Square(30, device=DEVICE)
    assert square.w.shape == (30, 30, 10) and repr(square) == "Square(n_features=30)"
    assert abs(float(square.w.detach().std()) - 10**-0.5) < 0.01


def test_constants_and_number_options(variety: ModuleType) -> None:
    affine = variety.Affine(4, twice=True, device=DEVICE, dtype=torch.float64)
    assert repr(affine) == "Affine(n=4, twice=True, power=2, eps=0.5)"
    assert torch.equal(affine.shift, torch.zeros_like(affine.shift)) and affine.shift.shape == (4, 4)
    assert torch.equal(affine.gain, torch.ones_like(affine.gain))
    assert affine.bias.shape == (4, 3) and affine.bias.abs().max() <= 12**-0.5
    x = torch.randn(2, 4, 4, dtype=torch.float64, device=DEVICE)
    factor = 2 * (affine.bias[:, 0] + affine.bias[:, 2] * 2 + 0.5)
    torch.testing.assert_close(affine(x), x * factor[:, None], rtol=1e-12, atol=1e-12)


def test_plain_tensors(compiled_folder: Path) -> None:
    text = """\
kgen: 1
name: plainly
kernels:
  layer_norm:
    inputs: {x: "[b, n]", gain: "[n]"}
    options: {eps: 1.0e-5}
    body: |
      centred = x - mean(x, over=n)
      return gain * centred * rsqrt(mean(centred * centred, over=n) + eps)
modules:
  LayerNorm: {kernel: layer_norm, sizes: {n: features}, parameters: {weight: {input: gain, init: ones}}}
"""
    of = compiled(text, compiled_folder)
    x = torch.randn(3, 6, dtype=torch.float64, device=DEVICE)
    peer = torch.nn.LayerNorm(6, bias=False, device=DEVICE, dtype=torch.float64)
    norm = of.LayerNorm(6, device=DEVICE, dtype=torch.float64)
    with torch.no_grad():
        peer.weight.copy_(torch.arange(6))
    norm.load_state_dict(peer.state_dict())
    torch.testing.assert_close(norm(x), peer(x), rtol=1e-10, atol=1e-12)
    assert not hasattr(of, "weights_from")


# options of modules: kernels, initialisations and grades to choose between

CHOOSING = """\
kgen: 1
name: choosing
algebra: {signature: [2, 0, 0]}
layout:
  multivector: [blade, b, n]
  weights: {order: [left, out, right], memory: [n, path], fully_connected: [path, n, m], gradewise: [grade, n, m]}
kernels:
  each:
    inputs: {x: multivector, gp_weight: "weights(x, x)", linear_weight: "weights(x)[n, m]", bias: "multivector[n]"}
    options: {normalize: true, eps: 1.0e-6}
    body: |
      out = sgp(x, x + bias, gp_weight) + sum(linear_weight[1], over=m) * x
      return grade_rms_norm(out, eps=eps) if normalize else out
  all_of_them:
    inputs:
      x: multivector
      gp_weight: weights(x, x)[n, m]
      linear_weight: weights(x)[n, m]
      bias: multivector[n]
    options: {normalize: true, eps: 1.0e-6}
    body: |
      out = sum(sgp(x, x + bias, gp_weight), over=m) + sum(linear_weight[1], over=m) * x
      return grade_rms_norm(out, eps=eps) if normalize else out
  shifted:
    memory: [b, n, blade]
    inputs: {x: multivector, vector: "grades(1, 2)[n]", gain: "[n]"}
    body: return (x + vector) * gain
modules:
  Layer:
    doc: Like flash-clifford's, in its parameters.
    kernel: {use_fc: {false: each, true: all_of_them}}
    options: {use_fc: false, bias_on: scalar}
    sizes: {n: n_features, m: n_features}
    parameters:
      gp_weight: normal(grade)
      linear_weight: {init: {use_fc: {true: normal(n), false: "normal(n, grade)"}}}
      linear_bias: {input: bias, init: zeros, shape: [1, 1, n], grades: {bias_on: {scalar: [0], all: [2, 1, 0]}}}
    ignore: [weight_expansion]
  Shift:
    kernel: shifted
    options: {start: small}
    parameters:
      offset: {input: vector, init: uniform(n), grades: [2]}
      gain: {init: {start: {large: ones, small: normal(n), none: zeros}}, shape: [n, 1]}
"""


@pytest.fixture
def choosing(compiled_folder: Path) -> ModuleType:
    return compiled(CHOOSING, compiled_folder)


def flash_layer_state(use_fc: bool) -> dict[str, Tensor]:
    """The state of flash-clifford's Layer(N, 2, use_fc=use_fc), its buffer included."""
    random = torch.Generator().manual_seed(6)
    return {
        "gp_weight": torch.randn((10, N, N) if use_fc else (N, 10), generator=random),
        "linear_weight": torch.randn(3, N, N, generator=random),
        "linear_bias": torch.randn(1, 1, N, generator=random),
        "weight_expansion": torch.tensor([0, 1, 1, 2]),
    }


def rows(parameter: Tensor, grades: list[int]) -> Tensor:
    """A parameter of shape (1, 1, n) on the blades of these grades, (4, n)."""
    filled = torch.zeros(4, parameter.shape[-1], dtype=parameter.dtype, device=parameter.device)
    for blade, grade in enumerate((0, 1, 1, 2)):
        if grade in grades:
            filled[blade] = parameter.flatten()
    return filled


@pytest.mark.parametrize("use_fc", [False, True])
@pytest.mark.parametrize(("bias_on", "grades"), [("scalar", [0]), ("all", [0, 1, 2])])
@pytest.mark.parametrize("normalize", [True, False])
def test_choices_reach_the_kernel(
    choosing: ModuleType, use_fc: bool, bias_on: str, grades: list[int], normalize: bool
) -> None:
    """The kernel that use_fc chooses gets the state dict's tensors; gradients reach the (1, 1, n) parameter."""
    state = flash_layer_state(use_fc)
    layer = choosing.Layer(N, use_fc=use_fc, bias_on=bias_on, normalize=normalize, eps=0.25, device=DEVICE)
    before = dict(state)
    layer.load_state_dict(state, strict=True)
    assert state.keys() == before.keys(), "loading must not change the state dict"
    layer = layer.double()
    x = operands("vga2d")[0]
    with launches(choosing) as launched:
        out = layer(x)
    assert launched
    out.square()[1].sum().backward()
    weights = [state[name].to(DEVICE).double().requires_grad_() for name in list(state)[:3]]
    reference = choosing.all_of_them_reference if use_fc else choosing.each_reference
    filled = rows(weights[2], grades)
    expected = reference(x, weights[0], weights[1], filled, normalize=normalize, eps=0.25)
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)
    expected.square()[1].sum().backward()
    for (name, parameter), weight in zip(layer.named_parameters(), weights, strict=True):
        assert parameter.grad is not None and weight.grad is not None and weight.grad.abs().sum() > 0, name
        assert parameter.shape == parameter.grad.shape == weight.shape
        torch.testing.assert_close(parameter.grad, weight.grad, rtol=1e-8, atol=1e-8)


def test_state_dicts_have_the_parameters_alone(choosing: ModuleType) -> None:
    layer = choosing.Layer(N)
    assert list(layer.state_dict()) == ["gp_weight", "linear_weight", "linear_bias"]
    state = flash_layer_state(False)
    nested = torch.nn.Sequential(torch.nn.Identity(), layer)
    nested.load_state_dict({f"1.{name}": value for name, value in state.items()})
    assert torch.equal(layer.linear_bias, state["linear_bias"])
    other = choosing.Layer(N)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.linear_weight, state["linear_weight"])
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "weight_expansions"'):
        layer.load_state_dict({**state, "weight_expansions": state["weight_expansion"]})
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "linear_bias"'):
        layer.load_state_dict({name: value for name, value in state.items() if name != "linear_bias"})
    with pytest.raises(RuntimeError, match="size mismatch for gp_weight"):
        layer.load_state_dict(flash_layer_state(True))


def test_initialisations_by_choice(choosing: ModuleType) -> None:
    for use_fc, scale in [(False, (300 * 3) ** -0.5), (True, 300**-0.5)]:
        layer = choosing.Layer(300, use_fc=use_fc)
        assert layer.gp_weight.shape == ((10, 300, 300) if use_fc else (300, 10))
        assert abs(float(layer.gp_weight.detach().std()) - 3**-0.5) < 0.03
        assert abs(float(layer.linear_weight.detach().std()) / scale - 1) < 0.02
        assert torch.equal(layer.linear_bias, torch.zeros(1, 1, 300))
    assert torch.equal(choosing.Shift(400, start="large").gain, torch.ones(400, 1))
    assert torch.equal(choosing.Shift(400, start="none").gain, torch.zeros(400, 1))
    shift = choosing.Shift(400)
    assert shift.offset.shape == (400,) and 0.045 < float(shift.offset.detach().abs().max()) <= 0.05
    assert shift.gain.shape == (400, 1) and abs(float(shift.gain.detach().std()) - 0.05) < 0.01


def test_grades_of_a_part_with_blades_last(choosing: ModuleType) -> None:
    """Of the stored blades e1, e2, e12 the last alone has the values."""
    shift = choosing.Shift(N, device=DEVICE, dtype=torch.float64)
    x = torch.randn(3, N, 4, dtype=torch.float64, device=DEVICE)
    expected = x.clone()
    expected[..., 3] += shift.offset.detach()
    torch.testing.assert_close(shift(x), expected * shift.gain, rtol=1e-12, atol=1e-12)


def test_options_are_shown_and_checked(choosing: ModuleType) -> None:
    shown = "Layer(n_features=5, normalize=True, eps=1e-06, use_fc=True, bias_on='all')"
    assert repr(choosing.Layer(N, use_fc=True, bias_on="all")) == shown
    assert repr(choosing.Shift(N)) == "Shift(n=5, start='small')"
    with pytest.raises(ValueError, match="Layer: bias_on must be one of 'scalar', 'all', got 'none'"):
        choosing.Layer(N, bias_on="none")
    with pytest.raises(ValueError, match="Shift: start must be one of 'large', 'small', 'none', got True"):
        choosing.Shift(N, start=True)
    document = choosing.Layer.__doc__
    assert document is not None
    for line in (
        "gp_weight: shape (n_features, 10), or (10, n_features, n_features) with use_fc=True;",
        "linear_bias: shape (1, 1, n_features), the kernel's bias;",
        'on the blades of grade 0, or grades 0, 1, 2 with bias_on="all", zero elsewhere;',
        'bias_on: one of "scalar", "all", chooses the grades of linear_bias, "scalar" by default.',
        "A state dict may have weight_expansion besides, which loading ignores.",
    ):
        assert line in document


def test_modules_with_options_are_copied(choosing: ModuleType) -> None:
    layer = choosing.Layer(N, use_fc=True, bias_on="all", normalize=False, device=DEVICE)
    with torch.no_grad():
        layer.linear_bias.normal_()
    x = operands("vga2d", torch.float32)[0]
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert repr(twin) == repr(layer) and torch.equal(twin(x), layer(x))
        twin.load_state_dict(flash_layer_state(True))
        assert not torch.equal(twin(x), layer(x))


def test_options_take_part_in_transforms(choosing: ModuleType) -> None:
    layer = choosing.Layer(2, device=DEVICE, dtype=torch.float64, normalize=False)
    x = operands("vga2d")[0][:, :2, :2].contiguous()

    def function(bias: Tensor) -> Any:
        return torch.func.functional_call(layer, {"linear_bias": bias}, (x,))

    bias = torch.randn(1, 1, 2, dtype=torch.float64, device=DEVICE, requires_grad=True)
    assert torch.autograd.gradcheck(function, (bias,))
    assert torch.autograd.gradgradcheck(function, (bias,))


def test_black_leaves_modules_with_options(choosing: ModuleType) -> None:
    for of in (choosing.Layer, choosing.Shift):
        source = inspect.getsource(of)
        assert black.format_str(source, mode=black.Mode(line_length=120)).strip() == source.strip()


SWITCHES = (
    Switch("fast", True, (False, True)),
    Switch("kind", "b", ("a", "b", "c")),
    Switch("idle", False, (False, True)),
)


@pytest.mark.parametrize(
    "make",
    [
        lambda s: "7",
        lambda s: str(int(s["fast"])),
        lambda s: repr(s["kind"]),
        lambda s: repr((s["fast"], s["kind"])),
        lambda s: repr(s["fast"] and s["kind"] == "c"),
    ],
)
def test_every_setting_has_its_expression_and_statements(make: Callable[[Any], str]) -> None:
    text = expression(SWITCHES, make, owner="at.")
    lines = statements(SWITCHES, lambda settings: [f"found = {make(settings)}"])
    assert "idle" not in text and not any("idle" in line for line in lines)
    for cases in itertools.product(*(switch.cases for switch in SWITCHES)):
        settings = dict(zip(("fast", "kind", "idle"), cases))
        space: dict[str, Any] = {"at": SimpleNamespace(**settings), "self": SimpleNamespace(**settings)}
        exec("\n".join(lines), space)
        assert eval(text, space) == space["found"] == eval(make(settings))


def test_settings_in_words() -> None:
    assert in_words(SWITCHES, lambda s: "7") == "7"
    assert in_words(SWITCHES, lambda s: str(s["kind"])) == 'b, or a with kind="a", or c with kind="c"'
    assert in_words(SWITCHES[::2], lambda s: str(s["fast"] or s["idle"])) == (
        "True, or False with fast=False, or True with fast=False and idle=True, or True with idle=True"
    )


def test_modules_with_options_are_shown(choosing: ModuleType) -> None:
    spec = load("specs/choosing.yaml", CHOOSING)
    console = Console(width=200, file=io.StringIO())
    console.print(*render(spec, "spec", "each", {}))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert (
        "Layer(n_features, use_fc=False, bias_on='scalar'): nn.Module around each (use_fc=False), all_of_them" in shown
    )
    assert re.search(r"linear_weight\W+linear_weight\W+normal\(n, grade\) \(use_fc=False\), normal\(n\)", shown)
    (source,) = render(spec, "source", "each", {})
    assert isinstance(source, str) and "class Layer" not in source, "it calls another kernel, too"


# weights of other libraries


def flash_state(name: str) -> dict[str, Tensor]:
    """What flash-clifford's Layer(N, dims, use_fc=False) keeps: names, shapes and dtypes from its modules/layer.py."""
    random = torch.Generator().manual_seed(5)
    dims = {"vga2d": 2, "vga3d": 3}[name]
    return {
        "gp_weight": torch.randn(N, PATHS[name], generator=random),
        "linear_weight": torch.randn(dims + 1, N, N, generator=random),
        "linear_bias": torch.zeros(1, 1, N),
        "weight_expansion": torch.tensor([[0, 1, 1, 2], [0, 1, 1, 1, 2, 2, 2, 3]][dims - 2]),
    }


@pytest.mark.parametrize("name", PATHS)
def test_a_flash_clifford_state_dict_loads(name: str) -> None:
    state, sgp = flash_state(name), block(name)
    result = sgp.load_state_dict(state, strict=False)
    assert result.missing_keys == [] and set(result.unexpected_keys) == state.keys() - {"gp_weight"}
    assert torch.equal(sgp.gp_weight.cpu(), state["gp_weight"])
    converted = module(name).weights_from(state["gp_weight"], "flash_clifford", of=f"{FUSED}.weight")
    sgp.load_state_dict({"gp_weight": converted})
    assert torch.equal(sgp.gp_weight.cpu(), state["gp_weight"])


@pytest.mark.parametrize("index", range(20))
@pytest.mark.parametrize("convention", ["flash_clifford", "cgenn", "kingdon"])
def test_each_weight_belongs_to_its_path(convention: str, index: int) -> None:
    """A single weight of another library keeps one grade of the product of one grade of x with one of y."""
    of = module("vga3d")
    paths = PATHS_3D.split()
    if convention == "kingdon":
        paths = [paths[i] for i in PERMUTATION["vga3d"]]
    left, out, right = (torch.tensor(of.GRADES) == int(grade) for grade in paths[index])
    weight = torch.zeros(N, 20, dtype=torch.float64)
    weight[:, index] = 2
    x, y = (t.cpu() for t in operands("vga3d"))
    found = of.sgp_reference(x, y, of.weights_from(weight, convention, of="sgp.weight"))
    product = of.geometric_product_reference(x * left[:, None, None], y * right[:, None, None])
    assert product[out].abs().sum() > 0
    torch.testing.assert_close(found, 2 * product * out[:, None, None])


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("kernel", ["sgp", FUSED])
def test_kingdon_order(name: str, kernel: str) -> None:
    flash = flash_state(name)["gp_weight"]
    kingdon = flash[:, PERMUTATION[name]]
    of = module(name)
    assert torch.equal(of.weights_from(kingdon, "kingdon", of=f"{kernel}.weight"), flash)
    assert torch.equal(of.weights_to(flash, "kingdon", of=f"{kernel}.weight"), kingdon)
    assert not torch.equal(kingdon, flash)


def test_cgenn_order() -> None:
    """CGENN keeps weights[:, mask] = weight, where mask[left, out, right] tells whether there is a product."""
    of = module("pga3d")
    mask = torch.zeros(5, 5, 5, dtype=torch.bool)
    for path in of.PATHS["sgp.weight"]:
        mask[path] = True
    weight = torch.randn(N, int(mask.sum()))
    dense = torch.zeros(N, 5, 5, 5)
    dense[:, mask] = weight
    own = of.weights_from(weight, "cgenn", of="sgp.weight")
    for index, path in enumerate(of.PATHS["sgp.weight"]):
        assert torch.equal(own[:, index], dense[:, *path])


@pytest.mark.parametrize("name", PACKAGES)
@pytest.mark.parametrize("convention", ["flash_clifford", "cgenn", "kingdon"])
def test_round_trips(name: str, convention: str) -> None:
    of = module(name)
    assert list(of.WEIGHTS) == list(of.PATHS) and set(of.CONVENTIONS) == {"flash_clifford", "cgenn", "kingdon"}
    for key, paths in of.PATHS.items():
        extents = [len(paths) if role == "path" else 3 for role in of.WEIGHTS[key]]
        weight = torch.arange(float(math.prod(extents))).view(extents).requires_grad_()
        there = of.weights_to(weight, convention, of=key)
        assert torch.equal(of.weights_from(there, convention, of=key), weight)
        assert torch.equal(of.weights_to(of.weights_from(there, convention, of=key), convention, of=key), there)
        assert there.is_contiguous() and there.data_ptr() != weight.data_ptr()
        assert sorted(there.flatten().tolist()) == weight.flatten().tolist()
        assert len(extents) > 2 or sorted(there[0].tolist()) == weight[0].tolist()
        (grad,) = torch.autograd.grad(there.square().sum(), weight)
        assert torch.equal(grad, 2 * weight)


def test_fully_connected_and_grade_wise_memory(variety: ModuleType) -> None:
    """The module's own order is (right, left, out), its memory [m, n, path]; n is contracted."""
    assert variety.WEIGHTS == {
        "mixed.w": ("out", "in", "path"),
        "mixed.g": ("path", "in", "out"),
        "per_feature.w": ("path", "feature"),
    }
    paths = variety.PATHS["mixed.w"]
    assert list(paths) == sorted(paths, key=lambda path: (path[2], path[0], path[1]))
    own = torch.randn(2, 3, 10)
    there = {name: variety.weights_to(own, name, of="mixed.w") for name in variety.CONVENTIONS}
    assert {name: tuple(weight.shape) for name, weight in there.items()} == {
        "flash_clifford": (10, 3, 2),
        "cgenn": (2, 3, 10),
        "kingdon": (10, 3, 2),
    }
    assert torch.equal(there["kingdon"], there["flash_clifford"][PERMUTATION["vga2d"]])
    assert torch.equal(there["cgenn"], there["flash_clifford"].permute(2, 1, 0))
    for path, plane in zip(sorted(paths), there["flash_clifford"]):
        assert torch.equal(plane, own[..., paths.index(path)].T)
    for name, weight in there.items():
        assert torch.equal(variety.weights_from(weight, name, of="mixed.w"), own)
    grades = torch.randn(3, 3, 2)
    assert torch.equal(variety.weights_to(grades, "flash_clifford", of="mixed.g"), grades)
    assert torch.equal(variety.weights_to(grades, "cgenn", of="mixed.g"), grades.permute(2, 1, 0))
    narrow = torch.randn(len(variety.PATHS["per_feature.w"]), 3)
    assert variety.weights_to(narrow, "kingdon", of="per_feature.w").shape == (3, len(narrow))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ((5, 20), "flash", "sgp.weight"),
            "convention must be one of 'flash_clifford', 'cgenn', 'kingdon', got 'flash'",
        ),
        (
            ((5, 20), "cgenn", "weight"),
            "of must be one of .*'fused_gelu_sgp_norm.weight', .*'sgp.weight', got 'weight'",
        ),
        (((20, 5), "cgenn", "sgp.weight"), r"weight must have shape \(feature, 20\), got \(20, 5\)"),
        (((20,), "kingdon", "sgp.weight"), r"weight must have shape \(feature, 20\), got \(20,\)"),
    ],
)
def test_converters_say_what_they_expected(arguments: tuple[tuple[int, ...], str, str], message: str) -> None:
    shape, convention, of = arguments
    for function in (module("vga3d").weights_from, module("vga3d").weights_to):
        with pytest.raises(ValueError, match=message):
            function(torch.zeros(shape), convention, of=of)


# names and stages


def test_attributes_of_every_module_are_reserved() -> None:
    inherited = {name for name in dir(torch.nn.Module()) if not name.startswith("__")}
    assert inherited <= {*ATTRIBUTES, *PRIVATE}


def test_modules_are_shown() -> None:
    spec = load("specs/vga2d.yaml", spec_text("vga2d"))
    console = Console(width=100, file=io.StringIO())
    console.print(*render(spec, "spec", FUSED, {}))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "SGP(n_features): nn.Module around fused_gelu_sgp_norm" in shown
    assert re.search(r"gp_weight\W+weight\W+normal\(grade\)", shown)
    assert not any("SGP" in str(part) for part in render(spec, "spec", "sgp", {}))


def test_one_kernel_shows_its_modules_only() -> None:
    spec = load("specs/vga2d.yaml", spec_text("vga2d"))
    (source,) = render(spec, "source", "sgp", {})
    assert isinstance(source, str) and "class SGP" not in source
    (source,) = render(spec, "source", FUSED, {})
    assert isinstance(source, str) and "class SGP(torch.nn.Module):" in source


def test_the_example_of_a_new_spec_builds(compiled_folder: Path) -> None:
    """The comment at the end of a new spec is a module once its `#` are gone."""
    text = template("exemplary", [2, 0, 1])
    assert not load("specs/exemplary.yaml", text).modules
    head, _, example = text.partition("\n# modules:")
    lines = ["modules:", *(line.removeprefix("# ") for line in example.splitlines()[1:])]
    of = compiled("\n".join([head, *lines, ""]), compiled_folder)
    assert repr(of.Layer(N)) == "Layer(n_features=5, normalize=True, eps=1e-06)"
