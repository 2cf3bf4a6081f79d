"""Differentiable functions of the launchers: one operator for each order, and the way into them that fits who calls.

Plain tensors reach launchers at once, by a function of autograd's. Whatever else looks on, such as a transform, a mode,
a tracer or a compiler, sees the operators that `registration.py` makes of them.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import math
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, cast

import torch
from torch.autograd import forward_ad

from .arguments import (
    Sizes,
    broadcast,
    check,
    check_alike,
    check_indices,
    compiling,
    extents_of,
    matrix_dtype,
    number,
    promoted,
    real_dtype,
)
from .device import INTERPRETED, attends, runs_on_triton, triton
from .registry import FILES, KERNELS, Dims

PACKAGE = __name__.rpartition(".")[0].rpartition(".")[0]  # what this folder is a part of
Function = Callable[..., Any]
Arguments = Sequence[Any]  # tensors or None, then numbers, then whether each result is wanted
Results = tuple[torch.Tensor | None, ...]


class Operator:
    """One order of a function's derivatives: what computes it, and the operator that computes its gradients.

    Its arguments are `inputs` (the function's, then cotangents, None for zero), `caches` (what earlier orders stored),
    `numbers`, and from the first gradient on whether each of the results is wanted. Gradients and cotangents are named
    "grad x", which is no argument's name.
    """

    def __init__(
        self,
        function: str,
        launcher: str,
        inputs: tuple[str, ...],
        caches: tuple[str, ...],
        numbers: tuple[str, ...],
        grads: tuple[str, ...],
        outputs: tuple[str, ...],
        saved: dict[str, Dims],
        reference: Function | None,
        before: Operator | None = None,
    ) -> None:
        self.function, self.launcher, self.reference, self.before = function, launcher, reference, before
        self.inputs, self.caches, self.numbers = inputs, caches, numbers
        self.grads, self.outputs, self.saved = grads, outputs, saved
        self.order: int = before.order + 1 if before else 0
        self.tensors = len(inputs) + len(caches)
        self.positions = tuple(inputs.index(name) for name in grads)
        self.all = tuple(range(len(inputs)))
        self.products: tuple[str, ...] = ()  # which of `saved` are results of matrix products
        self.optional: tuple[str, ...] = ()  # cotangents that may be missing: a single result's own is there
        if before:
            cotangents = inputs[len(before.inputs) :]
            self.optional = (*before.optional, *(cotangents if len(before.outputs) > 1 else ()))
        self.op: Any = None  # torch's
        self.flags: dict[str, bool] = {}  # of a variant: the bool options that it was chosen by
        self.online: Operator | None = None  # what takes its place where attention's scores need not be stored
        self.widths: tuple[tuple[int, tuple[str, ...]], ...] = ()  # of attention's parts, for that
        self.independent: tuple[str, ...] = ()  # the axes that several devices may share

    def derived(self, launcher: str = "", caches: tuple[str, ...] = ()) -> Operator:
        """The operator of the gradients of this one; without a launcher, by the reference."""
        word = "grad" if self.order < 2 else f"grad{self.order + 1}"  # the cotangent of "grad x" has a name of its own
        inputs = (*self.inputs, *(f"{word} {name}" for name in self.outputs))
        grads = (*self.grads, *inputs[len(self.inputs) :])
        outputs = tuple(f"grad {name}" for name in self.grads)
        return Operator(self.function, launcher, inputs, caches, self.numbers, grads, outputs, {}, None, self)

    @functools.cached_property
    def gradient(self) -> Operator:
        return self.derived()

    @functools.cached_property
    def run(self) -> Function:
        """The launcher, whose file is read when it is first asked for."""
        return cast(Function, getattr(kernels(FILES[self.function][self.order > 1]), self.launcher))

    @functools.cached_property
    def direct(self) -> Function:
        return _directly(self)

    @functools.cached_property
    def kept(self) -> tuple[int, ...]:
        """Where the caches of the gradients are found, among the arguments and the results."""
        arguments = (*self.inputs, *self.caches, *self.numbers, *(self.outputs if self.order else ()))
        places = {name: i for i, name in enumerate((*arguments, *self.outputs, *self.saved))}
        return tuple(places[name] for name in self.gradient.caches)

    def fitting(self, tensors: Sequence[torch.Tensor], sizes: Sizes) -> Operator:
        """What computes this for such tensors; what is compiled may run under other settings, and for other sizes."""
        if self.online is None or compiling():
            return self
        matrix = matrix_dtype(*[x for x in tensors if x.is_floating_point()])
        widths = [count * math.prod([sizes[axis] for axis in axes]) for count, axes in self.widths]
        return self.online if attends(matrix, tensors[0].device, widths) else self

    def called(self, arguments: Arguments) -> tuple[Any, ...]:
        """The results of torch's operator."""
        return several(self.op(*self.packed(arguments)))

    def packed(self, arguments: Arguments) -> Arguments:
        """The arguments as torch's operator takes them: what is wanted is one list, for torch counts arguments."""
        last = self.tensors + len(self.numbers)
        return (*arguments[:last], list(arguments[last:])) if self.order else arguments

    def unpacked(self, arguments: Arguments) -> Arguments:
        """The arguments that torch's operator was given, each by itself."""
        return (*arguments[:-1], *arguments[-1]) if self.order else arguments

    def wanted(self, settings: Arguments) -> Sequence[bool]:
        """Which results are wanted, by the arguments behind the tensors."""
        return settings[len(self.numbers) :] if self.order else (True,) * len(self.outputs)

    def keep(self, ctx: Any, arguments: Arguments, results: Results) -> Arguments:
        """Keep for the gradients what they need; returns it."""
        kept = arguments[: len(self.inputs)]
        if self.kept:
            known = (*arguments, *results)
            kept = (*kept, *[known[i] for i in self.kept])
        ctx.settings = arguments[self.tensors :]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*kept)
        return kept

    def backward(self, ctx: Any, cotangents: Arguments, needs: Sequence[bool]) -> list[Any]:
        """The gradients of all arguments, None for those that need none."""
        kept, count = ctx.saved_tensors, len(self.inputs)
        cotangents = cotangents[: len(self.outputs)]  # nothing flows back through what is only saved
        if self.order:  # nor through results that were not wanted
            cotangents = [x if want else None for x, want in zip(cotangents, self.wanted(ctx.settings))]
        if all([x is None for x in cotangents]):
            return [None] * len(needs)
        every = self.positions == self.all
        if not every:
            self.refuse([x for i, x in enumerate(self.inputs) if needs[i]])
        wanted = needs[:count] if every else [needs[i] for i in self.positions]
        numbers = ctx.settings[: len(self.numbers)]
        found = apply(self.gradient, (*kept[:count], *cotangents, *kept[count:], *numbers, *wanted))
        if every and False not in wanted:
            return [*found, *[None] * (len(needs) - count)]
        grads: list[Any] = [None] * len(needs)
        for i, grad, want in zip(self.positions, found, wanted):
            grads[i] = grad if want else None
        return grads

    def refuse(self, names: Sequence[str]) -> None:
        """Raise for inputs that are to be differentiated and cannot be."""
        for name in names:
            if name not in self.grads:
                raise ValueError(f"{self.function}: {name} requires grad, but no gradient is defined for it")

    def jvp(self, ctx: Any, tangents: Arguments) -> tuple[torch.Tensor, ...]:
        """The results' tangents: a gradient J^T g is linear in g, and its own gradient along a tangent t is J t."""
        kept, count = ctx.saved_tensors, len(self.inputs)
        self.refuse([x for i, x in enumerate(self.inputs) if tangents[i] is not None])
        second, numbers, wanted = self.gradient.gradient, ctx.settings[: len(self.numbers)], self.wanted(ctx.settings)
        known = dict(zip(self.gradient.caches, kept[count:]))
        zeros = [torch.zeros_like(x) for x in allocate(self, kept[:count], wanted)]
        anywhere = [x if want else None for x, want in zip(zeros, wanted)]
        along = [tangents[i] for i in self.positions]
        caches = [known[name] for name in second.caches]
        unwanted = [False for _ in self.grads]
        found = apply(second, (*kept[:count], *anywhere, *along, *caches, *numbers, *unwanted, *wanted))
        found = found[len(unwanted) :]
        return tuple(x if x is not None else zero for x, zero in itertools.zip_longest(found, zeros))


def kernels(file: str) -> ModuleType:
    """A file of kernels and launchers, read when it is first asked for, for what was to run kernels at the import."""
    name = f"{PACKAGE}._kernels.{file}"
    try:
        with triton.knobs.runtime.scope():
            triton.knobs.runtime.interpret = INTERPRETED
            return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name not in (name, f"{PACKAGE}._kernels"):
            raise
        folder = (sys.modules[PACKAGE].__file__ or "").rpartition("__init__")[0]
        raise ImportError(f"{folder}_kernels/{file}.py is missing: copy the folder of {PACKAGE} whole") from None


# public functions


def call(operator: Operator, tensors: Sequence[torch.Tensor], *numbers: float) -> torch.Tensor:
    """What a public function returns: its arguments are checked."""
    result: torch.Tensor = _call(operator, tensors, numbers)[0]
    return result


def call_several(operator: Operator, tensors: Sequence[torch.Tensor], *numbers: float) -> tuple[Any, ...]:
    """What a public function with several results returns."""
    results: tuple[Any, ...] = _call(operator, tensors, numbers)
    return results


def _call(operator: Operator, tensors: Sequence[torch.Tensor], numbers: Sequence[float]) -> Any:
    plain = is_plain(tensors)
    if not plain and any([not isinstance(x, torch.Tensor) and hasattr(type(x), "__torch_function__") for x in tensors]):
        return _handed_over(operator, tensors, numbers)
    fit = check(operator.function, tensors, plain)
    if fit.short:
        tensors = broadcast(operator.function, tensors, fit)
    if plain and KERNELS[operator.function]["indices"]:
        check_indices(operator.function, tensors, fit.sizes)
    if not (plain and all([type(x) is float for x in numbers])):
        numbers = [number(operator.function, name, x) for name, x in zip(operator.numbers, numbers)]
    if operator.positions != operator.all and torch.is_grad_enabled():
        operator.refuse([name for name, x in zip(operator.inputs, tensors) if x.requires_grad])
    return apply(operator.fitting(tensors, fit.sizes), (*tensors, *numbers), plain)[: len(operator.outputs)]


def _handed_over(operator: Operator, tensors: Sequence[torch.Tensor], numbers: Sequence[float]) -> Any:
    """Let what stands for a tensor, such as a proxy of torch.fx, say what the public function is to do."""
    options = operator.flags | dict(zip(operator.numbers, numbers))
    public = getattr(sys.modules[PACKAGE], operator.function)
    result = torch.overrides.handle_torch_function(public, tensors, *tensors, **options)
    return result if len(operator.outputs) > 1 else (result,)


# who looks on


def apply(operator: Operator, arguments: Arguments, plain: bool | None = None) -> Any:
    """The operator's results in the way that fits what looks on: at once, or as an operator that torch knows."""
    if plain is None:
        plain = is_plain([x for x in arguments[: operator.tensors] if x is not None])
    if not plain:
        arguments, plain = _resolved(operator, arguments)
    if plain and operator.launcher and runs_on_triton(arguments[0].device):
        return operator.direct(*arguments) if torch.is_grad_enabled() else operator.run(*arguments)
    if plain or operator.op is None:  # of a higher order than torch knows
        return by_reference(operator, arguments)
    if compiling():
        known = runs_on_triton(arguments[0].device) or torch.compiler.is_exporting()
        return operator.called(arguments) if known else by_reference(operator, arguments)
    if _transformed():
        return _Transformed.apply(operator, *arguments)  # type: ignore[no-untyped-call]
    return operator.called(arguments)


def _resolved(operator: Operator, arguments: Arguments) -> tuple[Arguments, bool]:
    """The arguments without views that are negated where they are read, and whether nothing else looks on."""
    if compiling():  # what is compiled resolves them itself
        return arguments, False
    tensors = [x.resolve_neg() if x is not None and x.is_neg() else x for x in arguments[: operator.tensors]]
    return (*tensors, *arguments[operator.tensors :]), is_plain([x for x in tensors if x is not None])


def _directly(operator: Operator) -> Function:
    """The operator as a function of autograd's that launches kernels at once. No transform is active to look for."""

    def forward(ctx: Any, *arguments: Any) -> Any:
        results = operator.run(*arguments)
        operator.keep(ctx, arguments, results)
        return results[: len(operator.outputs)]

    def backward(ctx: Any, *cotangents: Any) -> Any:
        return tuple(operator.backward(ctx, cotangents, ctx.needs_input_grad))

    methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    kind: Any = type(torch.autograd.Function)
    function: Any = kind(operator.function, (torch.autograd.Function,), methods)
    return cast(Function, super(torch.autograd.Function, function).apply)


class _Transformed(torch.autograd.Function):
    """Calls the operator under torch.func's transforms and forward-mode differentiation."""

    generate_vmap_rule = True

    @staticmethod
    def forward(operator: Operator, *arguments: Any) -> Any:
        return operator.called(arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.operator = inputs[0]
        ctx.save_for_forward(*inputs[0].keep(ctx, inputs[1:], output))

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        return None, *ctx.operator.backward(ctx, cotangents, ctx.needs_input_grad[1:])

    @staticmethod
    def jvp(ctx: Any, _: Any, *tangents: Any) -> Any:
        return ctx.operator.jvp(ctx, tangents)


PLAIN = frozenset((torch.Tensor, torch.nn.Parameter))


def _plain(tensors: Sequence[torch.Tensor]) -> bool:
    """Whether nothing but eager torch looks on, at tensors that memory holds as they are: no subclass, mode, transform,
    tracer or compiler, no sparse tensor, no negated view.
    """
    if compiling():
        return False
    for x in tensors:
        if type(x) not in PLAIN or _batched(x) or x.layout is not torch.strided or x.is_nested or x.is_neg():
            return False
    return not (_modes() or _function_modes() or _tracer() or _transform() or forward_ad._current_level >= 0)


def _transforms() -> bool:
    """Whether a transform of torch.func or forward-mode differentiation is active."""
    return bool(_transform() or forward_ad._current_level >= 0)


is_plain, _transformed = _plain, _transforms
try:
    _modes, _function_modes = torch._C._len_torch_dispatch_stack, torch._C._len_torch_function_stack
    _tracer, _transform = torch._C._get_tracing_state, torch._C._functorch.peek_interpreter_stack
    _batched = torch._C._functorch.is_legacy_batchedtensor
    forward_ad._current_level  # noqa: B018
except AttributeError:  # another torch, which says this elsewhere: operators under transforms are always right
    is_plain, _transformed = lambda tensors: False, lambda: True


# by the reference


def by_reference(operator: Operator, arguments: Arguments) -> Results:
    """The wanted results in plain torch operations, differentiable to any order; None for the others."""
    kind = arguments[0].device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):  # dtypes are the inputs', as on a GPU
        with torch.autocast(kind, enabled=False):
            return by_reference(operator, arguments)
    tensors, settings = arguments[: len(operator.inputs)], arguments[operator.tensors :]
    return _reference_results(operator, tensors, settings[: len(operator.numbers)], operator.wanted(settings))


def _reference_results(operator: Operator, tensors: Arguments, numbers: Arguments, wanted: Sequence[bool]) -> Results:
    before = operator.before
    if before is None:
        assert operator.reference is not None
        options = operator.flags | dict(zip(operator.numbers, numbers))
        results = several(operator.reference(*tensors, **options))
        return tuple(result if want else None for result, want in zip(results, wanted))
    inputs, cotangents = tensors[: len(before.inputs)], tensors[len(before.inputs) :]
    chosen = [i for i, want in zip(before.positions, wanted) if want]
    given = [cotangent is not None for cotangent in cotangents]
    if not any(given):
        return tuple(torch.zeros_like(inputs[i]) if want else None for i, want in zip(before.positions, wanted))

    def function(*values: torch.Tensor) -> Results:
        at = dict(zip(chosen, values))
        results = _reference_results(before, [at.get(i, x) for i, x in enumerate(inputs)], numbers, given)
        return tuple(result for result in results if result is not None)

    pulled: Any = torch.func.vjp(function, *(inputs[i] for i in chosen))
    grads = iter(pulled[1](tuple(x for x in cotangents if x is not None)))
    return tuple(next(grads) if want else None for want in wanted)


# memory


def allocate(operator: Operator, tensors: Arguments, wanted: Sequence[bool]) -> tuple[torch.Tensor, ...]:
    """Memory for the results, what is saved included; for gradients that nobody wants, none."""
    if operator.order:
        named = dict(zip(operator.inputs, tensors))
        like = [named[name.removeprefix("grad ")] for name in operator.outputs]
        return tuple(
            torch.empty(x.shape if want else (0,), dtype=x.dtype, device=x.device)
            for x, want in zip([tensors[0] if x is None else x for x in like], wanted)
        )
    description = KERNELS[operator.function]
    sizes, lead, _ = check_alike(operator.function, tensors, is_plain(tensors))
    floating = [x for x in tensors if x.is_floating_point()]
    differentiable = [tensors[i] for i in operator.positions] or floating
    outputs = [(description["outputs"][name], promoted(*differentiable)) for name in operator.outputs]
    saved = [
        (dims, (matrix_dtype if name in operator.products else real_dtype)(*floating))
        for name, dims in operator.saved.items()
    ]
    return tuple(
        torch.empty(extents_of(dims, sizes, lead), dtype=dtype, device=tensors[0].device)
        for dims, dtype in (*outputs, *saved)
    )


def one(results: Sequence[Any]) -> Any:
    """Results as torch's operators return them: a tensor, or a tuple of several."""
    return tuple(results) if len(results) > 1 else results[0]


def several(results: Any) -> tuple[Any, ...]:
    """The same as a tuple, also of one."""
    return results if isinstance(results, tuple) else (results,)
