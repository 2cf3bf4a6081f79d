"""Copies of a generated module in one process: vendored under other names, reloaded, loaded twice; each is its own."""

import importlib
import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.overrides import BaseTorchFunctionMode
from variants import DEVICE, FUSED, Tensors, Variant, close, generated, gradients, launching, variants_of

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")  # of lanes that a mask discards


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from which modules are imported."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def fused(of: ModuleType) -> Variant:
    return next(v for v in variants_of(of, "") if v.name == FUSED.name.removeprefix("vga2d"))


def works(variant: Variant) -> None:
    """Launched at once and through torch's operators, first and second order."""
    expected = gradients(FUSED.reference, FUSED.inputs())
    with launching(variant.of):
        close(gradients(variant, variant.inputs()), expected)
    with launching(variant.of), BaseTorchFunctionMode():
        close(gradients(variant, variant.inputs()), expected)


def loaded(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_vendored_copies(folder: Path) -> None:
    """Two projects have a copy each, one of them as a part of a package."""
    (folder / "package" / "deep").mkdir(parents=True)
    names = ["borrowed_vga2d", "package.borrowed_vga2d", "package.deep.borrowed_vga2d"]
    for name in names:
        shutil.copy(generated("vga2d"), folder / f"{name.replace('.', '/')}.py")
    copies = [fused(importlib.import_module(name)) for name in names]
    for variant in [*copies, FUSED]:
        works(variant)
    assert len({v.of._NAMESPACE for v in [*copies, FUSED]}) == 4
    assert [v.of._NAMESPACE for v in copies] == [name.replace(".", "__") for name in names]


def test_reload(folder: Path) -> None:
    """A module that is loaded anew works, and so does what others hold of the old one, graphs included."""
    shutil.copy(generated("vga2d"), folder / "reloaded_vga2d.py")
    module = importlib.import_module("reloaded_vga2d")
    held = module.geometric_product
    x, y = torch.randn(2, 4, 3, 5, dtype=torch.float64, device=DEVICE, requires_grad=True).unbind()
    with BaseTorchFunctionMode():
        before = [module.geometric_product(x, y), held(x, y)]
    namespace = module._NAMESPACE
    works(fused(importlib.reload(module)))
    assert namespace != module._NAMESPACE
    after = [module.geometric_product(x, y), held(x, y)]
    expected = module.geometric_product_reference(x, y)
    (grad,) = torch.autograd.grad(expected.square().sum(), x, retain_graph=True)
    for found in before + after:
        close(found, expected)
        close(torch.autograd.grad(found.square().sum(), x, retain_graph=True), (grad,))


def test_one_file_loaded_twice(folder: Path) -> None:
    """Under one name, neither of them known to Python's import system."""
    first, second = (fused(loaded("twice.vga2d", generated("vga2d"))) for _ in range(2))
    for variant in (first, second, first):
        works(variant)
    assert [v.of._NAMESPACE for v in (first, second)] == ["twice__vga2d", "twice__vga2d_1"]


@pytest.mark.parametrize("name", ["__main__", "vga-2d", "2d", "été.vga2d"])
def test_any_name(name: str, folder: Path) -> None:
    """Files that are no identifiers can be loaded, too."""
    works(fused(loaded(name, generated("vga2d"))))


def test_tensors_of_one_in_another(folder: Path) -> None:
    """Copies differentiate through each other."""
    shutil.copy(generated("vga2d"), folder / "other_vga2d.py")
    other = fused(importlib.import_module("other_vga2d"))

    def both(one: Variant, two: Variant) -> Tensors:
        inputs = one.inputs()
        first = torch.autograd.grad(two(one(*inputs), *inputs[1:]).square().sum(), inputs, create_graph=True)
        return torch.autograd.grad([x.square().sum() for x in first], inputs)

    close(both(FUSED, other), both(FUSED, FUSED))
