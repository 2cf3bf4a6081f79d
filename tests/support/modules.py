"""Generated modules at work: random inputs for a kernel, and a comparison with the module's reference in fp64."""

import fcntl
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from folders import written_to
from torch import Tensor
from triton import knobs

from kgen.pipeline import generate
from kgen.spec.load import load
from kgen.tools.comparison import compare, launches
from kgen.tools.problem import load_module

ROOT = Path(__file__).parents[2]
SHIPPED = ("vga2d", "vga3d", "pga3d", "sta", "cga3d")
LAYERS = ("cgenn2d", "cgenn3d", "cgenn_sta", "cgenn5d")
PACKAGES = (*SHIPPED, *LAYERS)  # of multivectors
DEVICE = torch.device("cpu" if knobs.runtime.interpret else "cuda")
Options = Mapping[str, Any]
DTypes = torch.dtype | Mapping[str, torch.dtype]  # one for all inputs, or by name


@dataclass(frozen=True)
class Case:
    """A shipped kernel in one variant of its bool options."""

    module: str
    kernel: str
    flags: tuple[tuple[str, bool], ...]

    def __str__(self) -> str:
        return "-".join([self.module, self.kernel, *(f"{name}={value}" for name, value in self.flags)])


def shipped(*names: str) -> list[Case]:
    """Every kernel of these modules in every variant, as the specs tell."""
    cases = []
    for name in names:
        for kernel in load(str(ROOT / "specs" / f"{name}.yaml")).kernels:
            cases += [Case(name, kernel.name, tuple(flags.items())) for flags in kernel.choices]
    return cases


def module(name: str) -> ModuleType:
    """The checked-in module."""
    return load_module(ROOT / "generated" / name)


def spec_text(name: str) -> str:
    return (ROOT / "specs" / f"{name}.yaml").read_text(encoding="utf-8")


BLADES_FIRST, BLADES_LAST = "multivector: [blade, b, n]", "multivector: [..., n, blade]"


def turned(text: str) -> str:
    """The spec in the other memory order."""
    first = BLADES_FIRST in text
    old, new = (BLADES_FIRST, BLADES_LAST) if first else (BLADES_LAST, BLADES_FIRST)
    assert old in text
    return text.replace(old, new)


def compiled(text: str, folder: Path) -> ModuleType:
    """The module of a spec's text, compiled once for all processes that share the folder."""
    spec = load("specs/unshipped.yaml", text)
    path = folder / f"{spec.name}_{spec.digest}"
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            written = written_to(folder / f"{path.name}_whole", generate([spec]))
            (written / spec.name).rename(path)
            shutil.rmtree(written)
    return load_module(path)


def text_of(path: Path) -> str:
    """All files of a package, one after the other, but for what is the same in every package."""
    files = sorted(file for file in path.rglob("*.py") if file.parent.name != "_runtime")
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


OTHER_SIZE = 7  # of axes that a test does not name, such as the output features of a linear map


def shape(dims: Sequence[str | int], sizes: Mapping[str, int], lead: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """The extents of a tensor in KERNELS, with `lead` (or b alone) as its leading axes; other axes are alike."""
    expanded = [lead if lead is not None and d == "..." else (d,) for d in dims]
    names = ["b" if d == "..." else d for part in expanded for d in part]
    return tuple(d if isinstance(d, int) else sizes.get(d, OTHER_SIZE) for d in names)


def joined(description: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, int]:
    """The extents, with those of axes that are others one after the other."""
    found = dict(sizes)
    for axis, parts in description.get("joined", {}).items():
        found[axis] = sum(shape(parts, found))
    return found


def draw(
    of: ModuleType,
    kernel: str,
    sizes: Mapping[str, int],
    dtype: DTypes = torch.float64,
    lead: tuple[int, ...] | None = None,
    scale: float = 1.0,
) -> dict[str, Tensor]:
    """Random normal inputs, all different; `scale` multiplies all but the weights."""
    inputs, sizes = {}, joined(of.KERNELS[kernel], sizes)
    for name, dims in of.KERNELS[kernel]["inputs"].items():
        random = torch.Generator().manual_seed(zlib.crc32(f"{kernel}.{name}".encode()))
        if into := of.KERNELS[kernel]["indices"].get(name):
            (count,) = shape((into,), sizes)
            inputs[name] = torch.randint(count, shape(dims, sizes, lead), generator=random).to(DEVICE)
            continue
        if name in of.KERNELS[kernel].get("integers", ()):
            inputs[name] = torch.randint(-1, 3, shape(dims, sizes, lead), generator=random).to(DEVICE)
            continue
        if name in of.KERNELS[kernel].get("seeds", ()):
            inputs[name] = torch.randint(1 << 62, shape(dims, sizes), generator=random).to(DEVICE)
            continue
        value = torch.randn(shape(dims, sizes, lead), generator=random, dtype=torch.float64)
        value = value if name == "weight" else value * scale
        inputs[name] = value.to(DEVICE, dtype if isinstance(dtype, torch.dtype) else dtype[name])
    return inputs


def results(
    function: Callable[..., Any],
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    wanted: Sequence[str],
    options: Options,
    exact: bool = False,
) -> dict[str, Tensor]:
    """Outputs by name, then gradients as "grad_<input>" for fixed random cotangents; `exact` computes in fp64.

    The cotangents are rounded to the dtype that the outputs have without `exact`.
    """
    promoted = reduce(torch.promote_types, [x.dtype for x in inputs.values() if x.is_floating_point()])
    values = {name: x.detach().double() if exact and x.is_floating_point() else x for name, x in inputs.items()}
    values = {name: x.detach() for name, x in values.items()}
    leaves = {name: x.requires_grad_(name in wanted) for name, x in values.items()}
    value = function(*leaves.values(), **options)
    tensors: tuple[Tensor, ...] = value if isinstance(value, tuple) else (value,)
    found = {name: x.detach() for name, x in zip(outputs, tensors, strict=True)}
    if wanted:
        random = torch.Generator().manual_seed(7)
        cotangents = [torch.randn(x.shape, generator=random, dtype=torch.float64).to(promoted) for x in tensors]
        seeds = [c.to(x.device, x.dtype) for c, x in zip(cotangents, tensors)]
        pairs = [(x, seed) for x, seed in zip(tensors, seeds) if x.requires_grad]
        sources = [leaves[name] for name in wanted]
        grads = torch.autograd.grad([x for x, _ in pairs], sources, [s for _, s in pairs], materialize_grads=True)
        found |= {f"grad_{name}": grad for name, grad in zip(wanted, grads)}
    return found


def run(
    of: ModuleType, kernel: str, inputs: Mapping[str, Tensor], wanted: Sequence[str] | None = None, **options: Any
) -> dict[str, Tensor]:
    """Outputs and gradients of the kernel; asserts that it launched."""
    description = of.KERNELS[kernel]
    with launches(of) as launched:
        found = results(
            getattr(of, kernel),
            inputs,
            list(description["outputs"]),
            description["grads"] if wanted is None else wanted,
            options,
        )
    if all(x.numel() for x in inputs.values()):
        assert launched, f"{kernel} launched nothing"
    return found


def agree(
    of: ModuleType, kernel: str, inputs: Mapping[str, Tensor], wanted: Sequence[str] | None = None, **options: Any
) -> dict[str, Tensor]:
    """The kernel's outputs and gradients, which agree with the reference on the same values in fp64."""
    description = of.KERNELS[kernel]
    found = run(of, kernel, inputs, wanted, **options)
    reference = getattr(of, f"{kernel}_reference")
    grads = description["grads"] if wanted is None else wanted
    expected = results(reference, inputs, list(description["outputs"]), grads, options, exact=True)
    errors = {name: compare(found[name], expected[name]) for name in expected}
    wrong = {name: error for name, error in errors.items() if not error.agrees}
    assert not wrong, f"{kernel} {dict(options)}: {wrong}"
    return found
