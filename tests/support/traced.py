"""Launchers as a compiler traces them, and what it makes of them executed without a GPU.

A module is loaded twice: once as on a GPU, with its kernels for the compiler to see, and once for Triton's interpreter,
which runs the kernels that the traced graph launches, with the grids and numbers of that graph.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch._dynamo.backends.common import aot_autograd
from torch._higher_order_ops import triton_kernel_wrap
from torch._higher_order_ops.triton_kernel_wrap import (
    kernel_side_table,
    triton_kernel_wrapper_functional,
    triton_kernel_wrapper_mutation,
)

from kgen.tools.problem import kernel_files, load_file, runtime

LAUNCHES = (triton_kernel_wrapper_functional, triton_kernel_wrapper_mutation)


def as_on_a_gpu(path: Path) -> tuple[ModuleType, ModuleType]:
    """The module that takes the CPU for a GPU where it is compiled, and the one that can run its kernels."""
    loaded: list[Any] = []
    for setting in ("0", "1"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRITON_INTERPRET", setting)
            loaded.append(load_file(path, f"{path.name}_{setting}"))
    runtime(loaded[0], "device").DEVICES = ("cpu",)
    return loaded[0], loaded[1]


def function(kernel_idx: int) -> Any:
    """The kernel itself; torch keeps one that is launched with a number of warps as one to tune."""
    kernel: Any = kernel_side_table.get_kernel(kernel_idx)
    return kernel if hasattr(kernel, "src") else kernel.fn


def written(kernel_idx: int, *_: Any) -> list[str]:
    """The tensors that a kernel stores into, by its text: torch would ask Triton's compiler, which wants a GPU."""
    kernel = function(kernel_idx)
    called = [kernel.fn.__globals__.get(name) for name in re.findall(r"\b(_\w+)\(", kernel.src)]
    text = "".join(part.src for part in (kernel, *called) if hasattr(part, "src"))
    stored = {name.rpartition("_")[0] for name in re.findall(r"(?:tl\.store|_store\d+)\(\s*(\w+)", text)}
    return [name for name in kernel.arg_names if re.sub(r"_ptr(_\d+)?$", "", name) in stored]


class Execution(torch.fx.Interpreter):
    """Runs a traced graph; launches go to another module's kernels."""

    def __init__(self, graph: torch.fx.GraphModule, kernels: ModuleType, launched: list[str]) -> None:
        super().__init__(graph)
        self.files, self.launched = [*kernel_files(kernels), runtime(kernels, "kernels")], launched

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target not in LAUNCHES:
            return super().call_function(target, args, kwargs)
        name = function(kwargs["kernel_idx"]).__name__
        constants = kernel_side_table.get_constant_args(kwargs["constant_args_idx"])
        (grid,) = kwargs["grid"]
        cloned = {x: kwargs["kwargs"][x].clone() for x in kwargs.get("tensors_to_clone", ())}
        arguments = kwargs["kwargs"] | constants | cloned
        arguments.pop("num_warps", None)
        assert all(isinstance(n, int) for n in grid)
        self.launched.append(name)
        next(getattr(file, name) for file in self.files if hasattr(file, name))[tuple(grid)](**arguments)
        return cloned


@contextlib.contextmanager
def traced(kernels: ModuleType) -> Iterator[tuple[Callable[..., Any], list[str], list[torch.fx.GraphModule]]]:
    """A backend of torch.compile, the kernels that its code has launched, and its graphs."""
    launched: list[str] = []
    graphs: list[torch.fx.GraphModule] = []

    def compile_graph(graph: torch.fx.GraphModule, inputs: Any) -> Callable[..., Any]:
        graphs.append(graph)
        return Execution(graph, kernels, launched).run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triton_kernel_wrap, "get_mutated_tensors", written)
        yield aot_autograd(fw_compiler=compile_graph, bw_compiler=compile_graph), launched, graphs
