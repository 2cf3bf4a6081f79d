"""Attention whose scores are never stored, against the reference: masks, parts, sizes, dtypes, single gradients."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from modules import DEVICE, ROOT, compiled, draw, module, results
from torch import Tensor

from kgen.tools.comparison import compare, launches

KERNELS = ("plain", "parts", "causal", "labelled", "own", "itself")
E123 = 14  # of pga3d's blades, in the order of GATr's packages
ATTENDING = ["_jit_attend", "_jit_shares", "_jit_to_queries", "_jit_to_keys"]


@pytest.fixture(scope="module")
def attention(compiled_folder: Path) -> ModuleType:
    return compiled((ROOT / "tests" / "specs" / "attention.yaml").read_text(encoding="utf-8"), compiled_folder)


@pytest.fixture(autouse=True)
def in_tf32() -> Iterator[None]:
    """As torch is set where fp32 is to be multiplied by tensor cores; the interpreter multiplies it whole."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def sized(
    of: ModuleType, kernel: str, s: int, t: int, dtype: torch.dtype = torch.float32, width: int = 5
) -> dict[str, Tensor]:
    """Inputs of two heads; labelled positions are as many as there are."""
    t = s if kernel == "labelled" else t
    sizes = {"b": 2, "h": 2, "s": s, "t": t, "c": width, "n": width, "e": 3, "f": 4}
    return draw(of, kernel, sizes, dtype, scale=0.5)


@pytest.fixture
def seen(attention: ModuleType) -> Iterator[list[str]]:
    """The kernels that are launched from now on."""
    with launches(attention) as found:
        yield found


def agree(of: ModuleType, kernel: str, inputs: dict[str, Tensor], **options: bool) -> None:
    """Results and gradients are those of the reference in fp64, as near as products in their dtype come."""
    d, reference = of.KERNELS[kernel], getattr(of, f"{kernel}_reference")
    found = results(getattr(of, kernel), inputs, list(d["outputs"]), d["grads"], options)
    expected = results(reference, inputs, list(d["outputs"]), d["grads"], options, exact=True)
    errors = {name: compare(found[name], expected[name], True, "tf32") for name in expected}
    wrong = {name: error for name, error in errors.items() if not error.agrees}
    assert not wrong, f"{kernel} {options}: {wrong}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kernel", KERNELS)
def test_agrees(attention: ModuleType, kernel: str, dtype: torch.dtype, seen: list[str]) -> None:
    agree(attention, kernel, sized(attention, kernel, 150, 70, dtype))
    assert [name for name in seen if name in ATTENDING] == ATTENDING


@pytest.mark.parametrize(("s", "t"), [(1, 1), (1, 40), (130, 2), (64, 128), (33, 257)])
@pytest.mark.parametrize("kernel", KERNELS)
def test_lengths(attention: ModuleType, kernel: str, s: int, t: int, seen: list[str]) -> None:
    agree(attention, kernel, sized(attention, kernel, s, t))
    assert seen


def test_empty_lengths(attention: ModuleType) -> None:
    """No query has no result, and no key gives none: both have gradients of zero."""
    for s, t in ((0, 5), (5, 0)):
        given = {name: x.requires_grad_() for name, x in sized(attention, "plain", s, t).items()}
        out = attention.plain(**given)
        grads = torch.autograd.grad(out.sum(), list(given.values()))
        assert out.shape == (2, 2, s, 5) and not out.any() and not any(g.any() for g in grads)


@pytest.mark.parametrize("width", [1, 16, 17, 64])
def test_widths(attention: ModuleType, width: int, seen: list[str]) -> None:
    agree(attention, "parts", sized(attention, "parts", 20, 30, width=width))
    assert ("_jit_attend" in seen) == (width < 64)


def test_scores_are_stored_elsewhere(attention: ModuleType, seen: list[str]) -> None:
    """Where tensor cores do not multiply the dtype, and where parts do not fit on the chip."""
    agree(attention, "plain", sized(attention, "plain", 9, 7, torch.float64))
    agree(attention, "plain", sized(attention, "plain", 9, 7, width=300))
    torch.backends.cuda.matmul.allow_tf32 = False
    agree(attention, "plain", sized(attention, "plain", 9, 7))
    assert seen and set(ATTENDING).isdisjoint(seen)


@pytest.mark.parametrize("kernel", ["plain", "parts"])
def test_single_gradients(attention: ModuleType, kernel: str) -> None:
    """What is not wanted is not computed, and what is has the same bits."""
    inputs, d = sized(attention, kernel, 40, 50), attention.KERNELS[kernel]
    function, outputs = getattr(attention, kernel), list(d["outputs"])
    whole = results(function, inputs, outputs, d["grads"], {})
    for name in d["grads"]:
        alone = results(function, inputs, outputs, [name], {})
        assert torch.equal(alone[f"grad_{name}"], whole[f"grad_{name}"])


@pytest.mark.parametrize("kernel", KERNELS)
def test_deterministic(attention: ModuleType, kernel: str) -> None:
    inputs, d = sized(attention, kernel, 90, 60), attention.KERNELS[kernel]
    first, again = (results(getattr(attention, kernel), inputs, list(d["outputs"]), d["grads"], {}) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_cotangent_that_is_missing(attention: ModuleType) -> None:
    """Each result alone, for which the cotangents of the others are zero."""
    inputs = sized(attention, "parts", 20, 30)
    names = [name for name in inputs if name != "gain"]
    for i in range(3):
        grads = [
            torch.autograd.grad(function(**given)[i].square().sum(), [given[n] for n in names], materialize_grads=True)
            for function, given in (
                (attention.parts, {k: x.detach().requires_grad_() for k, x in inputs.items()}),
                (attention.parts_reference, {k: x.detach().double().requires_grad_() for k, x in inputs.items()}),
            )
        ]
        for name, found, expected in zip(names, *grads, strict=True):
            error = (found.double() - expected).abs().max() / expected.abs().max().clamp(min=1.0)
            assert error < (1e-5 if DEVICE.type == "cpu" else 1e-2), name


def test_large_scores(attention: ModuleType) -> None:
    """A softmax takes any scores, also where rows begin with small ones."""
    inputs = sized(attention, "plain", 40, 200)
    inputs["k"] = inputs["k"] * torch.linspace(0.01, 300.0, 200, device=DEVICE)[:, None]
    (out,) = results(attention.plain, inputs, ["out"], [], {}).values()
    expected = attention.plain_reference(**{name: x.double() for name, x in inputs.items()})
    assert (out.double() - expected).abs().max() < (1e-4 if DEVICE.type == "cpu" else 0.5)
    assert out.isfinite().all()


def test_nan_stays_in_its_matrix(attention: ModuleType) -> None:
    inputs = sized(attention, "plain", 20, 30)
    inputs["v"][0, 0, 3, 2] = torch.nan
    out = attention.plain(**inputs)
    assert out[0, 0, :, 2].isnan().all() and out.isnan().sum() == 20


@pytest.mark.parametrize(
    ("package", "kernel", "options"),
    [
        ("lgatr", "attention", {}),
        ("lgatr", "packed_attention", {}),
        *(("gatr", "geometric_attention", {"causal": c}) for c in (False, True)),
    ],
)
def test_packages(package: str, kernel: str, options: dict[str, bool]) -> None:
    of = module(package)
    sizes = {"b": 2, "h": 2, "s": 40, "t": 40, "c": 2, "n": 3, "e": 5, "f": 4}
    for dtype, lead in ((torch.float32, (2,)), (torch.float32, (2, 1, 3)), (torch.bfloat16, (2,))):
        inputs = draw(of, kernel, sizes, dtype, lead, scale=0.5)
        if package == "gatr":  # features of trivectors are quotients by their parts on e123
            for name in ("q", "k"):
                inputs[name][..., E123] += 2.0
        agree(of, kernel, inputs, **options)
