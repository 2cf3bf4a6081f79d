"""Every operator of the generated modules as a row to test, found in the modules themselves.

Nothing here reads a spec: where torch, triton and pytest are all there is, these tests run. Kernels run on a GPU, or in
Triton's interpreter with TRITON_INTERPRET=1; elsewhere the references run, and nothing may be launched.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from triton import knobs

from kgen.tools.comparison import launches
from kgen.tools.problem import draw, load_module, runtime

ROOT = Path(__file__).parents[2]
MODULES = ("vga2d", "vga3d", "pga3d", "sta", "cga3d", "diffusion", "cgenn2d")
INTERPRETED = bool(knobs.runtime.interpret)
DEVICE = torch.device("cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu")
LAUNCHES = INTERPRETED or DEVICE.type == "cuda"
ROWS = {"b", "v", "..."}  # axes that a batch may have any number of: rows, vertices, whatever leads
OTHERS = {"m": 2, "c": 2, "k": 3}  # extents of further axes: output features, channels, eigenvectors
EPS = 0.5  # a norm over few features is nearly a sign: with a small eps its derivatives cancel
Tensors = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Variant:
    """A public function with its bool options decided, and the operator that computes it."""

    name: str
    of: ModuleType
    operator: Any
    options: tuple[tuple[str, Any], ...]

    def __str__(self) -> str:
        return self.name

    @property
    def numbers(self) -> tuple[float, ...]:
        return tuple(dict(self.options)[name] for name in self.operator.numbers)

    @property
    def argnums(self) -> tuple[int, ...]:
        """Which inputs have a gradient."""
        return tuple(i for i, name in enumerate(self.operator.inputs) if name in self.operator.grads)

    def batched(self) -> list[dict[int, str]]:
        """For each input the axes that are of the batch, with their names."""
        dims = self.of.KERNELS[self.operator.function]["inputs"].values()
        return [{i: axis for i, axis in enumerate(d) if axis in ROWS} for d in dims]

    def __call__(self, *inputs: Tensor) -> Tensor:
        return joined(getattr(self.of, self.operator.function)(*inputs, **dict(self.options)))

    def reference(self, *inputs: Tensor) -> Tensor:
        return joined(getattr(self.of, f"{self.operator.function}_reference")(*inputs, **dict(self.options)))

    def inputs(self, b: int = 2, n: int = 3, dtype: torch.dtype = torch.float64) -> Tensors:
        """Leaves that require grad, where a gradient is defined."""
        return draw(self.of.KERNELS[self.operator.function], {"b": b, "v": b, "n": n} | OTHERS, dtype, DEVICE).leaves

    def values(self, b: int = 2, n: int = 3, dtype: torch.dtype = torch.float64) -> Tensors:
        """The same, not to be differentiated."""
        return tuple(x.detach() for x in self.inputs(b, n, dtype))


def joined(value: Any) -> Tensor:
    """A result, or several as one row."""
    result: Tensor = torch.cat([x.flatten() for x in value]) if isinstance(value, tuple) else value
    return result


def variants_of(of: ModuleType, prefix: str) -> list[Variant]:
    """A variant for each operator that a function of the module calls, in their order."""
    found = []
    for operator in runtime(of, "registration").OPERATORS:
        name = operator.launcher.removesuffix("_run")
        options = operator.flags | dict.fromkeys(operator.numbers, EPS)
        found.append(Variant(f"{prefix}{name}", of, operator, tuple(options.items())))
    return found


def generated(name: str) -> Path:
    return ROOT / "generated" / name


ALL = [variant for name in MODULES for variant in variants_of(load_module(generated(name)), name)]
BY_NAME = {variant.name: variant for variant in ALL}
FUSED, PLAIN = BY_NAME["vga2d_fused_gelu_sgp_norm_with_normalize"], BY_NAME["vga2d_sgp"]

# On a GPU every test runs for all. Without one, where operations cost time, most run for those that differ in kind.
ACTIONS = ("vga3d_rotor_action", "vga3d_rotor_action_shared", "pga3d_motor_action_shared")
KINDS = (*ACTIONS, "diffusion_spatial_diffusion")
CHOSEN = ALL if DEVICE.type == "cuda" else [v for v in ALL if v.of is FUSED.of or v.name in KINDS]
SAMPLES = [FUSED, BY_NAME["vga2d_fused_gelu_fcgp_norm_with_normalize"], *(BY_NAME[name] for name in KINDS)]


def each(rows: list[Variant]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("variant", rows, ids=str)


@contextlib.contextmanager
def launching(of: ModuleType) -> Iterator[list[str]]:
    """Kernels are launched in the context where there is something to launch them on, and nowhere else."""
    with launches(of) as launched:
        yield launched
    assert bool(launched) == LAUNCHES, f"launched {launched}"


def energy(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A number made of a function's result, not linear in it."""

    def scalar(*inputs: Tensor) -> Tensor:
        value = function(*inputs)
        return value.square().sum() + value.sin().sum()

    return scalar


def gradients(function: Callable[..., Tensor], inputs: Tensors) -> Tensors:
    """Of the energy, with respect to all inputs that have a gradient."""
    return torch.autograd.grad(energy(function)(*inputs), [x for x in inputs if x.requires_grad])


def close(found: Any, expected: Any, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
