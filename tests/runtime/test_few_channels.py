"""Maps that multiply all components as one matrix, and products that are added to each other: against references."""

import itertools
from pathlib import Path
from types import ModuleType

import pytest
import torch
from modules import ROOT, agree, compiled, draw
from torch import Tensor

KERNELS = ("map", "layer", "planes", "tokens", "added", "renamed", "deep")
SHALLOW = ("map", "planes", "tokens", "added", "renamed")  # in 16 bits what is deep rounds often


@pytest.fixture(scope="module")
def dense(compiled_folder: Path) -> ModuleType:
    return compiled((ROOT / "tests" / "specs" / "dense.yaml").read_text(encoding="utf-8"), compiled_folder)


@pytest.mark.parametrize(
    ("kernel", "dtype"),
    [
        *itertools.product(KERNELS, (torch.float64, torch.float32)),
        *itertools.product(SHALLOW, (torch.bfloat16, torch.float16)),
    ],
    ids=str,
)
def test_agrees(dense: ModuleType, kernel: str, dtype: torch.dtype) -> None:
    agree(dense, kernel, draw(dense, kernel, {"b": 19, "n": 5, "k": 3, "m": 6, "h": 4}, dtype))


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (130, 17, 33, 2), (5, 64, 1, 40)], ids=str)
@pytest.mark.parametrize("kernel", KERNELS)
def test_sizes(dense: ModuleType, kernel: str, sizes: tuple[int, ...]) -> None:
    agree(dense, kernel, draw(dense, kernel, dict(zip("bnkm", sizes)) | {"h": 3}))


def test_rows_that_are_missing(dense: ModuleType) -> None:
    """Of no rows the gradients of weights are zero, though nothing is multiplied."""
    given = {name: x.requires_grad_() for name, x in draw(dense, "map", {"b": 0, "n": 3, "m": 2}).items()}
    (found,) = torch.autograd.grad(dense.map(**given).sum(), [given["w"]])
    assert not found.any() and found.shape == (2, 3, 2, 4)


def test_a_single_gradient(dense: ModuleType) -> None:
    """What is not wanted is not computed, and what is has the same bits."""
    inputs = draw(dense, "layer", {"b": 9, "n": 4, "k": 3, "m": 2, "h": 2})
    whole = gradients(dense, inputs, list(inputs))
    for name, wanted in zip(inputs, whole, strict=True):
        (alone,) = gradients(dense, inputs, [name])
        assert torch.equal(alone, wanted)


def gradients(dense: ModuleType, inputs: dict[str, Tensor], names: list[str]) -> tuple[Tensor, ...]:
    """Of the squares of both results, of some inputs."""
    given = {name: x.clone().requires_grad_(name in names) for name, x in inputs.items()}
    squares = torch.stack([x.square().sum() for x in dense.layer(**given)])
    return torch.autograd.grad(squares.sum(), [given[name] for name in names])


def test_one_result_alone(dense: ModuleType) -> None:
    """A cotangent that is missing reads as zero, where products of both are one."""
    inputs = {name: x.requires_grad_() for name, x in draw(dense, "layer", {"b": 9, "n": 4, "k": 3, "m": 2}).items()}
    for i in range(2):
        found = torch.autograd.grad(dense.layer(**inputs)[i].sum(), list(inputs.values()), allow_unused=True)
        wanted = torch.autograd.grad(dense.layer_reference(**inputs)[i].sum(), list(inputs.values()), allow_unused=True)
        for x, y, leaf in zip(found, wanted, inputs.values(), strict=True):
            torch.testing.assert_close(*(torch.zeros_like(leaf) if g is None else g for g in (x, y)))
