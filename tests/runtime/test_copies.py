"""Copies of a generated module in one process: vendored under other names, reloaded, loaded twice; each is its own."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch
from folders import copied
from torch.overrides import BaseTorchFunctionMode
from variants import DEVICE, FUSED, Tensors, Variant, close, generated, gradients, launching, variants_of

from kgen.tools.problem import load_file, runtime

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")  # of lanes that a mask discards


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from which modules are imported."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def namespace(of: ModuleType) -> str:
    name: str = runtime(of, "registration").namespace()
    return name


def fused(of: ModuleType) -> Variant:
    return next(v for v in variants_of(of, "") if v.name == FUSED.name.removeprefix("vga2d"))


def works(variant: Variant) -> None:
    """Launched at once and through torch's operators, first and second order."""
    expected = gradients(FUSED.reference, FUSED.inputs())
    with launching(variant.of):
        close(gradients(variant, variant.inputs()), expected)
    with launching(variant.of), BaseTorchFunctionMode():
        close(gradients(variant, variant.inputs()), expected)


def test_vendored_copies(folder: Path) -> None:
    """Two projects have a copy each, one of them as a part of a package."""
    (folder / "package" / "deep").mkdir(parents=True)
    names = ["borrowed_vga2d", "package.borrowed_vga2d", "package.deep.borrowed_vga2d"]
    for name in names:
        copied("vga2d", folder / name.replace(".", "/"))
    copies = [fused(importlib.import_module(name)) for name in names]
    for variant in [*copies, FUSED]:
        works(variant)
    assert len({namespace(v.of) for v in [*copies, FUSED]}) == 4
    assert [namespace(v.of) for v in copies] == [name.replace(".", "__") for name in names]


def test_reload(folder: Path) -> None:
    """A module that is loaded anew works, and so does what others hold of the old one, graphs included."""
    copied("vga2d", folder / "reloaded_vga2d")
    module = importlib.import_module("reloaded_vga2d")
    held = module.geometric_product
    x, y = torch.randn(2, 4, 3, 5, dtype=torch.float64, device=DEVICE, requires_grad=True).unbind()
    with BaseTorchFunctionMode():
        before = [module.geometric_product(x, y), held(x, y)]
    before_reload = namespace(module)
    works(fused(importlib.reload(module)))
    assert before_reload == namespace(module)
    after = [module.geometric_product(x, y), held(x, y)]
    expected = module.geometric_product_reference(x, y)
    (grad,) = torch.autograd.grad(expected.square().sum(), x, retain_graph=True)
    for found in before + after:
        close(found, expected)
        close(torch.autograd.grad(found.square().sum(), x, retain_graph=True), (grad,))


def test_one_folder_loaded_twice(folder: Path) -> None:
    """Under one name: the second takes the place of the first, and its operators have names of their own."""
    names = []
    for _ in range(2):
        variant = fused(load_file(generated("vga2d"), "twice_vga2d"))
        works(variant)
        names.append(namespace(variant.of))
    assert names == ["twice_vga2d", "twice_vga2d_1"]


@pytest.mark.parametrize("name", ["vga-2d", "2d", "été"])
def test_any_name(name: str, folder: Path) -> None:
    """Folders whose names are no identifiers can be loaded, too."""
    works(fused(load_file(generated("vga2d"), name)))


def test_tensors_of_one_in_another(folder: Path) -> None:
    """Copies differentiate through each other."""
    copied("vga2d", folder / "other_vga2d")
    other = fused(importlib.import_module("other_vga2d"))

    def both(one: Variant, two: Variant) -> Tensors:
        inputs = one.inputs()
        first = torch.autograd.grad(two(one(*inputs), *inputs[1:]).square().sum(), inputs, create_graph=True)
        return torch.autograd.grad([x.square().sum() for x in first], inputs)

    close(both(FUSED, other), both(FUSED, FUSED))
