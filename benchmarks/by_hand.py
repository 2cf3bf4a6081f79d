"""A kernel as users write it around launches: a plain `autograd.Function`, to compare what a call costs the host.

In: a problem and a generated module's function. Out: the same launches on the same grids, in a function that allocates,
launches and saves, and does nothing else: no checks, no other dtype, size or device than these.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from kgen.tools.problem import Function, Problem, runtime


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch as the module made it. The tensors are kept, so that no other one gets their memory."""

    kernel: Any
    grid: tuple[int, ...]
    tensors: Sequence[torch.Tensor]
    others: Sequence[Any]
    options: dict[str, int]


@contextmanager
def _noted(module: Any) -> Iterator[list[Launch]]:
    """The launches of the module while this lasts."""
    launches: list[Launch] = []
    place = runtime(module, "launch")
    launch = place.launch

    def note(kernel: Any, grid: Any, tensors: Any, numbers: Any, options: Any, real: Any, *extents: int) -> None:
        others = (*numbers, *extents, place.TRITON[real])
        launches.append(Launch(kernel, grid, tensors, others, options))
        launch(kernel, grid, tensors, numbers, options, real, *extents)

    place.launch = note
    try:
        yield launches
    finally:
        place.launch = launch


class _Text:
    """Source in which every tensor has a name: arguments by their place, all others are allocated when first used."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.values: dict[str, Any] = {"torch": torch}

    def argument(self, x: torch.Tensor, name: str) -> str:
        return self.names.setdefault(x.data_ptr(), name)

    def launches(self, launches: Sequence[Launch]) -> list[str]:
        lines = []
        for launch in launches:
            given = []
            for x in launch.tensors:
                if x.data_ptr() not in self.names:
                    name = self.argument(x, f"t{len(self.names)}")
                    lines.append(f"{name} = torch.empty({tuple(x.shape)}, dtype={x.dtype}, device={str(x.device)!r})")
                given.append(self.names[x.data_ptr()])
            given += [self._value(x) for x in launch.others]
            given += [f"{option}={value}" for option, value in launch.options.items()]
            self.values[launch.kernel.__name__] = launch.kernel
            lines.append(f"{launch.kernel.__name__}[{launch.grid}]({', '.join(given)})")
        return lines

    def _value(self, x: object) -> str:
        if isinstance(x, bool | int | float):
            return repr(x)
        self.values[f"value{id(x)}"] = x
        return f"value{id(x)}"


def by_hand(module: ModuleType, function: Function, problem: Problem) -> tuple[Function, Callable[[], object]]:
    """The function with its backward, and the launches of a forward alone, on tensors that are there already."""
    with _noted(module) as forward:
        outputs = function(*problem.leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    leaves = [problem.leaves[i] for i in problem.wanted]
    with _noted(module) as backward:
        grads = torch.autograd.grad(outputs, leaves, problem.cotangents)
    text = _Text()
    inputs = [text.argument(x, f"x{i}") for i, x in enumerate(problem.leaves)]
    first = text.launches(forward)
    known = list(text.names.values())
    cotangents = [text.argument(x, f"g{i}") for i, x in enumerate(problem.cotangents)]
    second = text.launches(backward)
    returned = dict(zip(problem.wanted, (text.names[x.data_ptr()] for x in grads)))
    lines = [
        "class Plain(torch.autograd.Function):",
        "    @staticmethod",
        f"    def forward(ctx, {', '.join(inputs)}):",
        *(f"        {line}" for line in first),
        f"        ctx.save_for_backward({', '.join(known)})",
        f"        return {', '.join(text.names[x.data_ptr()] for x in outputs)}",
        "    @staticmethod",
        f"    def backward(ctx, {', '.join(cotangents)}):",
        f"        {', '.join(known)}, = ctx.saved_tensors",
        *(f"        {line}" for line in second),
        f"        return {', '.join(returned.get(i, 'None') for i in range(len(inputs)))}",
        "def alone():",
        *(f"    {line}" for line in first if " = torch.empty(" not in line),
    ]
    # detached, for a graph that stays alive would be in the way of later calls
    tensors = {text.names[x.data_ptr()]: x.detach() for launch in forward for x in launch.tensors}
    space = text.values | tensors
    exec("\n".join(lines), space)  # noqa: S102
    return space["Plain"].apply, space["alone"]
