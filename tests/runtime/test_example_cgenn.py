"""`examples/cgenn`: generated layers in models of CGENN's layers, which here are those of `tests/support/cgenn.py`.

Set KGEN_CGENN to a checkout of the authors' code to have them put into its own models, too.
"""

import copy
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cgenn
import pytest
import torch
from modules import DEVICE
from replacing import example_of
from torch import nn

CHECKOUT = os.environ.get("KGEN_CGENN")
MODEL = '''
from cgenn import *
from engineer.metrics.metrics import Loss, MetricCollection


class O3CGMLP(nn.Module):
    """Each layer once, in a sequence."""

    def __init__(self):
        super().__init__()
        algebra = self.algebra = CliffordAlgebra((1.0, 1.0, 1.0))
        self.net = nn.Sequential(
            FullyConnectedSteerableGeometricProductLayer(algebra, 3, 4),
            block(algebra, 4, 2),
            MVSiLU(algebra, 2, "norm"),
        )
        self.train_metrics = MetricCollection({"loss": Loss()})

    def _forward(self, x):
        return self.net(x)
'''

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")  # of lanes that a mask discards


@pytest.fixture(scope="module")
def example() -> Iterator[Any]:
    """The example's modules; what it imports of a checkout, and where from, is forgotten."""
    with example_of("cgenn", "models", "engineer", "algebra") as found:
        yield found


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the checkout has it, with one model."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "models").mkdir()
    (folder / "models" / "o3_cgmlp.py").write_text(MODEL, encoding="utf-8")
    return folder


def algebra(*metric: float) -> Any:
    return cgenn.CliffordAlgebra(metric)


def model() -> Any:
    """Blocks and layers, some within others."""
    of = algebra(1.0, 1.0)
    inside = nn.ModuleDict({"gate": cgenn.MVSiLU(of, 4), "other": nn.Linear(4, 4)})
    layers = nn.Sequential(cgenn.block(of, 3, 4), cgenn.MVLinear(of, 4, 4, subspaces=False), inside)
    return cgenn.scattered(layers).to(DEVICE, torch.float64)


def kinds(new: dict[str, nn.Module]) -> dict[str, str]:
    return {name: type(layer).__name__ for name, layer in new.items()}


def test_layers_are_replaced_and_parameters_stay(example: Any) -> None:
    theirs = model()
    ours = copy.deepcopy(theirs)
    new = example.replace(ours)
    assert kinds(new) == {"0": "CEMLPBlock", "1": "MVLinear", "2.gate": "MVSiLU"}
    assert all(ours.get_submodule(name) is layer for name, layer in new.items())
    assert new["0"].__class__.__module__.startswith("generated.cgenn2d")
    parameters = dict(ours.named_parameters())
    assert list(parameters) == [name for name, _ in theirs.named_parameters()]
    assert all(
        torch.equal(x, parameters[name]) and x.device == parameters[name].device for name, x in parameters.items()
    )
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, 3, 4, dtype=torch.float64, device=DEVICE)
    torch.testing.assert_close(ours[:2](x), theirs[:2](x))


def test_only_what_is_asked_for(example: Any) -> None:
    ours = model()
    assert kinds(example.replace(ours, ["MVSiLU", "MVLayerNorm"])) == {
        "0.1": "MVSiLU",
        "0.3": "MVLayerNorm",
        "2.gate": "MVSiLU",
    }
    assert example.replace(model(), []) == {}


def test_layers_without_a_part_are_left(example: Any) -> None:
    of = algebra(1.0, 1.0)
    without = cgenn.SteerableGeometricProductLayer(of, 3, first_order=False)
    unnormed = cgenn.SteerableGeometricProductLayer(of, 3)
    unnormed.normalization = nn.Identity()  # type: ignore[assignment]
    layers = nn.Sequential(without, unnormed, cgenn.MVLinear(of, 3, 3, bias=False))
    assert kinds(example.replace(layers)) == {"0.normalization": "NormalizationLayer", "1.linear_left": "MVLinear"}
    assert layers[0] is without and layers[1] is unnormed
    unknown = nn.Sequential(cgenn.MVSiLU(algebra(1.0, 1.0, 1.0, -1.0), 3))
    assert example.replace(unknown) == {}, "its algebra is not generated"


def test_the_command_compares_every_tensor(example: Any, checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(checkout), "--model", "o3", "--size", "3", "--repeats", "1"]
    assert example.main(arguments) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "models.o3_cgmlp.O3CGMLP, float32" in shown and "models.o3_cgmlp.O3CGMLP, float64" in shown
    for name in ("result", "grad x", "grad net.0.weight", "grad net.1.2.normalization.a", "grad net.2.b"):
        assert shown.count(f"{name} ") == 2, name
    assert "1 FullyConnectedSteerableGeometricProductLayer, 1 CEMLPBlock, 1 MVSiLU" in shown
    assert "19 tensors, 0 beyond 1e-05" in shown and "19 tensors, 0 beyond 1e-10" in shown


def test_every_part_matters(example: Any, checkout: Path) -> None:
    """A small change of any parameter is found: nothing is left at ones and zeros that hide others."""
    of = example.MODELS["o3"]
    theirs = example.build(of, checkout).to(DEVICE, torch.float64)
    inputs = {"x": torch.randn(3, 3, 8, dtype=torch.float64, device=DEVICE)}
    side = importlib.import_module("side_by_side")
    exact = side.results(theirs, example.forward, inputs)
    for name, parameter in theirs.named_parameters():
        assert not bool((parameter == parameter.flatten()[0]).all()), name
        damaged = copy.deepcopy(theirs)
        with torch.no_grad():
            damaged.get_parameter(name).mul_(1 + 1e-5)
        found = side.differences(side.results(damaged, example.forward, inputs), exact)
        assert found["result"] > side.BOUNDS[torch.float64], name


def test_what_differs_is_told(
    example: Any, checkout: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(ours: nn.Module, kinds: list[str]) -> dict[str, nn.Module]:
        with torch.no_grad():
            next(ours.parameters()).mul_(1.001)
        return {}

    monkeypatch.setattr(example, "replace", damaged)
    assert example.main([str(checkout), "--model", "o3", "--dtype", "float64", "--size", "2", "--repeats", "1"]) == 1
    shown = capsys.readouterr().out
    assert "beyond" in shown and "replaced: nothing" in shown and "0 beyond" not in shown


def test_a_folder_that_is_no_checkout(example: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no checkout of CGENN: it has no models/nbody_cggnn.py"):
        example.main([str(tmp_path)])


@pytest.mark.slow
@pytest.mark.skipif(not CHECKOUT, reason="KGEN_CGENN names no checkout")
@pytest.mark.parametrize("name", ["nbody", "o3", "lorentz"])
def test_the_authors_own_models(example: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert CHECKOUT
    assert example.main([CHECKOUT, "--model", name, "--size", "2", "--repeats", "1"]) == 0
