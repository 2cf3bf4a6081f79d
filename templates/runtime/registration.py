"""Operators as torch's own: schemas, shapes, autograd, rules for vmap, operation counts, and kernels for compilers."""

import concurrent.futures
import functools
import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import register_flop_formula

from .arguments import check_alike, differ, extents_of, shown
from .device import INTERPRETED, runs_on_triton, triton
from .operators import (
    PACKAGE,
    Arguments,
    Operator,
    allocate,
    by_reference,
    is_plain,
    kernels,
    one,
    several,
)
from .registry import FILES, KERNELS, Dims

MOST_ARGUMENTS = 64  # of an operator, as torch is built
ORDERS = ("", "_backward", "_double_backward", "_triple_backward")
OPERATORS: list[Operator] = []  # the first order of each variant of the package's functions

Count = tuple[int, tuple[str, ...]]  # operations at each point of these axes


def variant(
    name: str,
    function: str,
    reference: Callable[..., Any],
    *,
    flops: tuple[tuple[Count, ...], ...],
    numbers: tuple[str, ...] = (),
    saved: dict[str, Dims] | None = None,
    products: tuple[str, ...] = (),
    caches: tuple[tuple[str, ...], ...] = (),
    independent: tuple[str, ...] = (),
    flags: dict[str, bool] | None = None,
    online: Operator | None = None,
    widths: tuple[Count, ...] = (),
) -> Operator:
    """Register a variant of a function and its derivatives: those with launchers, and the next one by the reference.

    Args:
        name: the function's name with its bool options chosen; launchers are called after it.
        function: the public function, described already.
        reference: its reference with these options.
        flops: the operations of each order that has a launcher, by the axes along which they are repeated.
        numbers: the options that are read at run time.
        saved: what the forward stores for the backward besides its results, with its dims.
        products: which of these are results of matrix products.
        caches: what each order of the derivatives reads of what was stored.
        independent: the axes along which elements do not meet.
        flags: the bool options.
        online: what takes its place where attention's scores need not be stored.
        widths: of attention's parts: numbers, times the sizes of axes.
    """
    d = KERNELS[function]
    launchers = [f"_{name}{order}_run" for order in ORDERS[: len(flops)]]
    inputs, outputs = tuple(d["inputs"]), tuple(d["outputs"])
    first = operator = Operator(
        function, launchers[0], inputs, (), numbers, d["grads"], outputs, saved or {}, reference
    )
    for launcher, read in zip(launchers[1:], caches or ((),) * len(launchers)):
        operator.gradient = operator.derived(launcher, read)
        operator = operator.gradient
    first.independent, first.flags, first.products = independent, flags or {}, products
    first.online, first.widths = online, widths
    operator = first
    for order in ORDERS[: len(flops) + 1]:
        _register(operator, name + order)
        if operator.launcher and operator.op:
            _count_flops(operator, name + order, flops[operator.order])
        operator = operator.gradient
    OPERATORS.append(first)
    return first


def _count_flops(operator: Operator, name: str, counts: tuple[Count, ...]) -> None:
    """Tell torch's flop counter: the operations at each point of some axes, times their sizes."""

    def formula(*arguments: Any, out_val: object = None, **_: object) -> int:
        tensors = arguments[: len(KERNELS[operator.function]["inputs"])]
        sizes = check_alike(operator.function, tensors, is_plain(tensors)).sizes
        return sum(count * math.prod(sizes[axis] for axis in axes) for count, axes in counts)

    register_flop_formula(getattr(getattr(torch.ops, namespace()), name), get_raw=True)(formula)


# what operators do


def _compute(operator: Operator, *given: Any) -> Any:
    """What the operator does: results own their memory, and what is not wanted is empty."""
    arguments = operator.unpacked(given)
    _check_cotangents(operator, arguments[: len(operator.inputs)])
    if operator.launcher and runs_on_triton(arguments[0].device):
        results = operator.run(*arguments)
        return one([arguments[0].new_empty(0) if result is None else result for result in results])
    results = (_pulled_back if operator.order else by_reference)(operator, arguments)
    owned = several(_allocate_for(operator, *given))
    copies = itertools.zip_longest(owned, results)  # nothing for what is saved: the reference does not read it
    return one([x.zero_() if result is None else x.copy_(result) for x, result in copies])


def _check_cotangents(operator: Operator, tensors: Arguments) -> None:
    """A cotangent has the shape of its tensor; what launches at once knows that from autograd."""
    d = KERNELS[operator.function]
    sizes, lead, _ = check_alike(operator.function, tensors[: len(d["inputs"])], False)
    shapes = {name: extents_of(dims, sizes, lead) for name, dims in d["outputs"].items()}
    for name, x in zip(operator.inputs, tensors):
        if name in d["inputs"]:
            shapes[name] = tuple(x.shape)
            continue
        shapes[name] = shape = shapes[origin(name, shapes)]
        if x is None:
            continue
        what = name.replace(" ", "_")
        wrong = f"{operator.function}: {what} must have the shape of what it is a cotangent of"
        if x.dim() != len(shape) or differ(shape, tuple(x.shape), wrong):
            raise ValueError(f"{operator.function}: {what} must have shape {shown(shape)}, got {tuple(x.shape)}")


def origin(name: str, known: dict[str, Any]) -> str:
    """The one of the known names that a gradient or cotangent belongs to: x for "grad grad x"."""
    while name not in known:
        name = name.partition(" ")[2]
    return name


def _dispatch() -> tuple[Any, Any]:
    return torch._C._dispatch_tls_local_include_set(), torch._C._dispatch_tls_local_exclude_set()


@functools.cache
def _undisturbed() -> tuple[Any, Any]:
    """What torch dispatches on in a new thread, where no mode is active."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(_dispatch).result()


def _pulled_back(operator: Operator, arguments: Arguments) -> Any:
    """By the reference's torch.func.vjp, which torch switches off below modes and subclasses that call operators."""
    with torch._C._ForceDispatchKeyGuard(*_undisturbed()):
        return by_reference(operator, arguments)


def _allocate_for(operator: Operator, *given: Any) -> Any:
    arguments = operator.unpacked(given)
    return one(allocate(operator, arguments[: len(operator.inputs)], operator.wanted(arguments[operator.tensors :])))


# what torch is told


def _register(operator: Operator, name: str) -> None:
    """Make the operator one of torch's, with shapes, autograd and a rule for vmap.

    One of more arguments than torch's operators may have is none of them: what looks on sees the reference's.
    """
    signature = _signature(operator)
    if len(signature.parameters) > MOST_ARGUMENTS:
        return

    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        results = several(output)
        operator.keep(ctx, operator.unpacked(inputs), results)
        ctx.mark_non_differentiable(*results[len(operator.outputs) :])

    def backward(ctx: Any, *cotangents: Any) -> Any:
        return tuple(operator.backward(ctx, cotangents, ctx.needs_input_grad))

    def each(info: Any, dims: Any, *arguments: Any) -> Any:
        """One call for each element of the batch: a gradient of shared weights is summed inside a call."""
        samples = [
            [x.select(d, i) if isinstance(d, int) else x for x, d in zip(arguments, dims)]
            for i in range(info.batch_size)
        ]
        if samples:
            results = tuple(torch.stack(parts) for parts in zip(*[several(operator.op(*x)) for x in samples]))
        else:
            like = _allocate_for(operator, *[x.sum(d) if isinstance(d, int) else x for x, d in zip(arguments, dims)])
            results = tuple(x.new_empty(0, *x.shape) for x in several(like))
        return one(results), one((0,) * len(results))

    # no plain function: torch would import Inductor and read the source, to find the kernels that are named below
    implementation: Any = functools.partial(_compute, operator)
    implementation.__signature__, implementation.__globals__ = signature, globals()
    name = f"{namespace()}::{name}"
    definition: Any
    if triton is None or INTERPRETED or not operator.launcher:
        schema = torch.library.infer_schema(implementation, mutates_args=())
        definition = torch.library.custom_op(name, implementation, mutates_args=(), schema=schema)
    else:
        definition = torch.library.triton_op(name, implementation, mutates_args=())
        # so that compiled code is not reused for others
        torch._library.triton.triton_ops_to_kernels[name] = _Kernels(FILES[operator.function])
        if operator.order:
            _keep_whole(definition)
    definition.register_fake(functools.partial(_allocate_for, operator))
    definition.register_vmap(each)
    if operator.grads:
        definition.register_autograd(backward, setup_context=setup_context)
    operator.op = definition


class _Kernels(list[object]):
    """The kernels of some files and of all packages, which are read when a compiler looks at them."""

    def __init__(self, files: Sequence[str]) -> None:
        super().__init__()
        self.files = files

    def __iter__(self) -> Iterator[object]:
        from . import attention_kernels
        from . import kernels as common

        for module in (*map(kernels, self.files), common, attention_kernels):
            found = [x for key, x in vars(module).items() if key.endswith("_kernel") or key.startswith("_jit_")]
            yield from found


def _keep_whole(definition: Any) -> None:
    """Let a compiler see into a gradient where it launches kernels only: the reference's pull-back cannot be traced."""
    mode = torch._subclasses.functional_tensor.FunctionalTensorMode
    decompose = definition._torch_dispatch_fns[mode]

    def rule(mode: Any, op: Any, types: Any, args: Any, kwargs: Any) -> Any:
        known = runs_on_triton(args[0].device)
        return (decompose if known else type(mode).__torch_dispatch__)(mode, op, types, args, kwargs)

    definition.register_torch_dispatch(mode, rule)


@functools.cache
def namespace() -> str:
    """Of the package's operators: its name as an identifier, numbered where a package of that name has them already."""
    own = "".join(c if c.isascii() and c.isalnum() else "_" for c in PACKAGE.replace(".", "__"))
    own = f"_{own}" if own[0].isdigit() else own
    names = (own + (f"_{i}" if i else "") for i in itertools.count())
    taken = {name.partition("::")[0] for name in torch._C._dispatch_get_all_op_names()}
    return next(name for name in names if name not in taken)


def _signature(operator: Operator) -> inspect.Signature:
    """The operator's arguments and results with their types, from which torch infers a schema."""
    tensor, optional = torch.Tensor, torch.Tensor | None
    tensors = (*operator.inputs, *operator.caches)
    types: dict[str, Any] = {name: optional if name in operator.optional else tensor for name in tensors}
    types |= dict.fromkeys(operator.numbers, float)
    types |= {"wanted": list[bool]} if operator.order else {}
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    count = len(operator.outputs) + len(operator.saved)
    results: Any = tuple[(tensor,) * count] if count > 1 else tensor  # type: ignore[misc]
    named = zip(_identifiers(types), types.values())
    return inspect.Signature([inspect.Parameter(k, kind, annotation=t) for k, t in named], return_annotation=results)


def _identifiers(names: Iterator[str] | dict[str, Any]) -> list[str]:
    """Names as arguments: grad_x for "grad x", with an underscore more where an argument is called so."""
    found: list[str] = []
    for name in names:
        name = name.replace(" ", "_")
        while name in found:
            name += "_"
        found.append(name)
    return found
