"""DTensor's rules for the package's operators."""

import functools
from typing import Any

import torch

from .device import runs_on_triton
from .operators import Operator
from .registration import OPERATORS, origin
from .registry import KERNELS, Dims

Shown = dict[str, Dims]


def register_sharding() -> None:
    """Let DTensor run the functions on shards: call it in each process before the first step.

    Axes along which a function does not reduce may be sharded. Tensors without the axis are replicated then, and
    their gradients are partial sums. What is sharded in another way is gathered first. Gradients need kernels.
    """
    from torch.distributed.tensor import DTensor
    from torch.distributed.tensor.experimental import register_sharding as register

    known = DTensor._op_dispatcher.sharding_propagator.op_to_schema_info
    for first in OPERATORS:
        d, axes, inputs = KERNELS[first.function], first.independent, len(first.inputs)
        dims = d["inputs"] | d["outputs"] | first.saved
        operator = first
        while operator.op is not None:
            op = operator.op._opoverload
            register(op)(functools.partial(_shardings, operator, dims, axes))
            # torch reuses an answer for like tensors; this one also depends on which are missing, which are wanted
            known[op].static_argnum = inputs
            operator = operator.gradient


def _shardings(operator: Operator, dims: Shown, axes: tuple[str, ...], *given: Any) -> list[tuple[Any, Any]]:
    """The placements of (results, arguments) that DTensor may choose: all replicated, or one axis sharded."""
    arguments = operator.unpacked(given)
    from torch.distributed.tensor import Partial, Replicate, Shard

    def place(name: str, axis: str | None, otherwise: Any) -> Any:
        axes = dims[origin(name, dims)]
        return Shard(axes.index(axis)) if axis in axes else otherwise

    if operator.order and not runs_on_triton(torch.device(arguments[0].mesh.device_type)):
        raise NotImplementedError(f"{operator.function}: gradients of shards need kernels; on CPUs TRITON_INTERPRET=1")
    tensors = dict(zip((*operator.inputs, *operator.caches), arguments))
    wanted = (*operator.wanted(arguments[operator.tensors :]), *(True for _ in operator.saved))
    results = dict(zip((*operator.outputs, *operator.saved), wanted))
    dims, axes = _leading_numbered(dims, axes, tensors)
    ways = []
    for axis in (None, *axes):
        lacking = Partial() if axis and operator.order else Replicate()
        returned = [place(name, axis, lacking) if want else Replicate() for name, want in results.items()]
        taken = [None if x is None else place(name, axis, Replicate()) for name, x in tensors.items()]
        ways.append((returned, taken + [None] * (len(given) - len(taken))))
    return ways


def _leading_numbered(dims: Shown, axes: tuple[str, ...], tensors: dict[str, Any]) -> tuple[Shown, tuple[str, ...]]:
    """Leading axes by number, '0', '1', …, in place of '...'.

    What is saved has one axis b for all of them: shards of the first axis are shards of b, if they are of equal size.
    """
    from torch.fx.experimental.symbolic_shapes import guard_or_false

    leading = [(x, dims[name]) for name, x in tensors.items() if "..." in dims.get(name, ())]
    if not leading:
        return dims, axes
    x, named = leading[0]
    lead = tuple(str(i) for i in range(len(x.shape) - len(named) + 1))
    free = lead
    if any("b" in named for named in dims.values()):
        free = lead[:1] if len(lead) == 1 or guard_or_false(x.shape[0] % x.mesh.size() == 0) else ()
    numbered: dict[str | int, Dims] = {"...": lead, "b": ("0",)}
    shown = {name: sum((numbered.get(d, (d,)) for d in named), ()) for name, named in dims.items()}
    return shown, sum((free if axis == "..." else (axis,) for axis in axes), ())
