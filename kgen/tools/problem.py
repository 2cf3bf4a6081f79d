"""A generated kernel's work with data: random inputs of given sizes, and how far results are from fp64.

In: a generated module's KERNELS entry, extents of its axes and a dtype. Out: a Problem, which calls any function of the
same inputs forward, or forward and backward. The same seed gives the same data.
"""

import importlib
import importlib.util
import math
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, count, product
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from kgen.errors import KgenError

Function = Callable[..., Any]
Tensors = tuple[torch.Tensor, ...]

DEFAULT_SIZES = {"b": 4096}
DEFAULT_SIZE = 256  # of every other axis


@dataclass(frozen=True, slots=True)
class Problem:
    """Inputs and cotangents. The leaves share the inputs' memory and require the gradients that the kernel declares."""

    inputs: Tensors
    leaves: Tensors
    wanted: tuple[int, ...]  # positions of the leaves whose gradients are wanted
    cotangents: Tensors

    def forward(self, function: Function) -> Tensors:
        return _tuple(function(*self.inputs))

    def both(self, function: Function) -> Tensors:
        """The gradients for the cotangents, after a forward on inputs that require them."""
        return torch.autograd.grad(
            _tuple(function(*self.leaves)), [self.leaves[i] for i in self.wanted], self.cotangents
        )

    def copies(self, count: int) -> list["Problem"]:
        """This problem and others with the same values in memory of their own."""
        return [self, *(self._copy() for _ in range(count - 1))]

    def _copy(self) -> "Problem":
        inputs = tuple(x.clone() for x in self.inputs)
        leaves = tuple(x.detach().requires_grad_(leaf.requires_grad) for x, leaf in zip(inputs, self.leaves))
        return Problem(inputs, leaves, self.wanted, tuple(x.clone() for x in self.cotangents))

    @property
    def forward_bytes(self) -> int:
        """Each input read once, each output written once; an output is as large as its cotangent."""
        return size_of((*self.inputs, *self.cotangents))

    @property
    def backward_bytes(self) -> int:
        """Inputs and cotangents read once, gradients written once."""
        return size_of((*self.inputs, *self.cotangents, *(self.inputs[i] for i in self.wanted)))


def _tuple(value: Any) -> Tensors:
    return value if isinstance(value, tuple) else (value,)


def size_of(tensors: Sequence[torch.Tensor]) -> int:
    return sum(x.numel() * x.element_size() for x in tensors)


def load_file(path: Path, name: str) -> ModuleType:
    """A file, or a package's folder, as the module of this name, by which torch.compile finds its globals.

    ImportError where it is absent. What another one of this name has loaded is forgotten.
    """
    places = [str(path)] if path.is_dir() else None
    path = path / "__init__.py" if path.is_dir() else path
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=places)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ImportError(f"no Python file {path}")
    for known in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
        del sys.modules[known]
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def load_module(path: Path) -> ModuleType:
    """The generated package in a folder, imported once, under the name that `import generated.NAME` gives it.

    One of that name in another folder keeps it: then the name has a number.
    """
    if not (path / "__init__.py").is_file():
        raise KgenError(f"no generated package {path}", hint="run `kgen build` first, or say where with --generated")
    return _load_once(path.resolve())  # a relative path means another folder elsewhere


@cache
def _load_once(path: Path) -> ModuleType:
    own = f"generated.{path.name}"
    names = chain([own], (f"{own}_{number}" for number in count(1)))
    name = next(n for n in names if n not in sys.modules or _is_from(sys.modules[n], path))
    return sys.modules[name] if name in sys.modules else load_file(path, name)


def _is_from(module: ModuleType, path: Path) -> bool:
    return bool(module.__file__) and Path(module.__file__ or "").resolve().parent == path


def runtime(package: ModuleType, part: str) -> Any:
    """A module of the package's runtime, such as `launch`."""
    return importlib.import_module(f"{package.__name__}._runtime.{part}")


def kernel_files(package: ModuleType) -> list[ModuleType]:
    """The files of kernels and launchers of all functions, in the order of `KERNELS`."""
    files = runtime(package, "registry").FILES
    return [runtime(package, "operators").kernels(file) for name in package.KERNELS for file in files[name]]


def launch_table(package: ModuleType) -> dict[str, Any]:
    """How all of its kernels are launched, by their names."""
    return {name: row for file in kernel_files(package) for name, row in getattr(file, "LAUNCH", {}).items()}


def parse_sizes(texts: list[str]) -> dict[str, int]:
    """{"b": 64} from ["b=64"]."""
    sizes = {}
    for text in texts:
        axis, _, extent = text.partition("=")
        if not axis or not extent.isdecimal():
            raise KgenError(f"{text!r} is not a size", hint="write AXIS=EXTENT, such as --size b=4096")
        sizes[axis] = int(extent)
    return sizes


def choices(description: Mapping[str, Any]) -> list[dict[str, bool]]:
    """Each choice of a kernel's bool options, by their names."""
    flags = [name for name, default in description["options"].items() if isinstance(default, bool)]
    return [dict(zip(flags, chosen)) for chosen in product((True, False), repeat=len(flags))]


def axes(descriptions: Iterable[Mapping[str, Any]]) -> list[str]:
    """The named axes of entries of KERNELS, in the order in which they first appear; "..." is `b`."""
    tensors = chain.from_iterable((*d["inputs"].values(), *d["outputs"].values()) for d in descriptions)
    return list(dict.fromkeys("b" if d == "..." else d for dims in tensors for d in dims if isinstance(d, str)))


def shape(dims: Sequence[str | int], sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The extents of a tensor in KERNELS; any number of leading axes ("...") is one axis, as long as `b`."""
    names = ("b" if d == "..." else d for d in dims)
    return tuple(d if isinstance(d, int) else sizes.get(d, DEFAULT_SIZES.get(d, DEFAULT_SIZE)) for d in names)


def whole(description: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, int]:
    """The extents, those of axes that are others one after the other by these."""
    found = dict(sizes)
    for axis, parts in description.get("joined", {}).items():
        found[axis] = sum(shape(parts, found))
    return found


def draw(
    description: Mapping[str, Any],
    sizes: Mapping[str, int],
    dtype: torch.dtype,
    device: torch.device,
    positive: Collection[str] = (),
) -> Problem:
    """Random inputs and cotangents for the kernel that `description`, an entry of KERNELS, describes.

    Numbers are normal; those of an index are positions that there are; other integers are from -1 to 2; a seed is any.
    Of inputs in `positive` absolute values are taken: masses, times.
    """
    random = torch.Generator(device).manual_seed(20)
    sizes = whole(description, sizes)

    def normal(dims: Sequence[str | int]) -> torch.Tensor:
        wide = torch.promote_types(dtype, torch.float32)
        return torch.randn(shape(dims, sizes), generator=random, device=device, dtype=wide).to(dtype)

    def positions(axis: str, dims: Sequence[str | int]) -> torch.Tensor:
        (count,) = shape((axis,), sizes)
        return torch.randint(max(1, count), shape(dims, sizes), generator=random, device=device)

    def numbers(name: str, dims: Sequence[str | int]) -> torch.Tensor:
        if name in description.get("integers", ()):
            return torch.randint(-1, 3, shape(dims, sizes), generator=random, device=device)
        if name in description.get("seeds", ()):
            return torch.randint(1 << 62, shape(dims, sizes), generator=random, device=device)
        return positions(indices[name], dims) if name in indices else normal(dims)

    names, indices = list(description["inputs"]), description["indices"]
    drawn = {name: numbers(name, dims) for name, dims in description["inputs"].items()}
    inputs = tuple(x.abs() if name in positive else x for name, x in drawn.items())
    leaves = tuple(x.detach().requires_grad_(name in description["grads"]) for name, x in zip(names, inputs))
    wanted = tuple(names.index(name) for name in description["grads"])
    return Problem(inputs, leaves, wanted, tuple(normal(dims) for dims in description["outputs"].values()))


def in_double(problem: Problem) -> Problem:
    """The same values in fp64; integers stay what they are."""
    inputs = tuple(x.double() if x.is_floating_point() else x for x in problem.inputs)
    leaves = tuple(x.detach().requires_grad_(leaf.requires_grad) for x, leaf in zip(inputs, problem.leaves))
    return Problem(inputs, leaves, problem.wanted, tuple(x.double() for x in problem.cotangents))


def error(results: Tensors, expected: Tensors) -> float:
    """The largest ||a - b|| / ||b|| of any tensor; infinite where shapes or dtypes differ or a value is not finite."""
    if [x.shape for x in results] != [x.shape for x in expected]:
        return math.inf
    errors = [_relative(a.double(), b) for a, b in zip(results, expected)]
    return max((e if math.isfinite(e) else math.inf for e in errors), default=0.0)


def largest(results: Tensors, expected: Tensors) -> float:
    """The largest |a - b| of any element of tensors of the same shapes; infinite where a value is not finite."""
    errors = [float((a.double() - b).abs().max()) for a, b in zip(results, expected) if b.numel()]
    return max((e if math.isfinite(e) else math.inf for e in errors), default=0.0)


def _relative(a: torch.Tensor, b: torch.Tensor) -> float:
    scale = float(b.norm())
    return float((a - b).norm()) / (scale if scale else 1.0)
