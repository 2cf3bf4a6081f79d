"""The host side of a module as rows for its templates: launchers, autograd and public functions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kgen.buffers import Plan
from kgen.documents import document
from kgen.ir import Tensor
from kgen.model import Kernel, Spec
from kgen.printer import size_name
from kgen.schedule import WORKSPACE, Fold, Program, Schedule
from kgen.schedule import Kernel as Launch
from kgen.sections import sections


@dataclass(frozen=True, slots=True)
class Variant:
    """A kernel with its bool options decided."""

    kernel: Kernel
    name: str
    flags: tuple[tuple[str, bool], ...]
    schedule: Schedule

    @property
    def programs(self) -> tuple[Program, ...]:
        s = self.schedule
        return (s.forward, s.backward) if s.backward else (s.forward,)

    @property
    def class_name(self) -> str:
        return "_" + "".join(part.capitalize() for part in self.name.split("_"))

    @property
    def sizes(self) -> tuple[str, ...]:
        return tuple(size_name(a) for a in self.schedule.forward.graph.axes)


# launchers


def launcher_rows(variant: Variant, plan: Callable[[Program], Plan]) -> list[dict[str, Any]]:
    """One launcher for each direction."""
    return [_Launcher(variant, program, plan(program)).row() for program in variant.programs]


class _Launcher:
    def __init__(self, variant: Variant, program: Program, plan: Plan) -> None:
        self.variant, self.program, self.plan = variant, program, plan
        self.graph = program.graph
        self.backward = program is variant.schedule.backward
        self.inputs = [t.name for t in program.inputs]
        self.device = f"{self.inputs[0]}.device"

    def row(self) -> dict[str, Any]:
        p = self.program
        results = [*p.outputs, *p.saved]
        returned = [f"{t.name} if {self._wanted(t)} else None" if self.backward else t.name for t in results]
        kept = {t.name for t in results}
        steps = [row for i, k in enumerate(p.kernels) for row in self._steps(i, k)]
        return {
            "name": p.graph.name,
            "doc": self._doc(),
            "parameters": parameters(self.variant, p, self.backward),
            "real": [t.name for t in self.graph.inputs if t.dtype is None and t.name in self.inputs],
            "allocations": [self._allocation(t) for t in results if not self._is_fold(t) or t.name not in kept],
            "steps": steps,
            "results": ", ".join(returned) if len(returned) > 1 else f"({returned[0]},)",
        }

    def _doc(self) -> str:
        what = "the gradients" if self.backward else "the results, then what the backward reads"
        count = len(self.program.kernels) - len(self.program.alternatives)
        return f"Compute {what}: {count} launch{'es' if count > 1 else ''}."

    # allocations

    def _is_fold(self, tensor: Tensor) -> bool:
        return any(f.tensor.name == tensor.name for k in self.program.kernels for f in k.folds)

    def _wanted(self, tensor: Tensor) -> str:
        grads = [t.name for t in self.program.outputs]
        return f"wanted[{grads.index(tensor.name)}]"

    def _extents(self, tensor: Tensor) -> str:
        dims = [str(d) if isinstance(d, int) else size_name(d) for d in tensor.dims]
        if tensor.leading:
            dims[0] = "*lead"
        return "(" + ", ".join(dims) + ("," if len(dims) == 1 else "") + ")"

    def _allocation(self, tensor: Tensor) -> dict[str, str]:
        if self.backward and not tensor.dtype:
            source = tensor.name.removeprefix("grad_")
            return {
                "name": tensor.name,
                "expression": f"torch.empty_like({source}) if {self._wanted(tensor)} else {source}",
            }
        dtype = "real" if tensor.dtype == WORKSPACE else f"_promote({', '.join(self._floating())})"
        return {
            "name": tensor.name,
            "expression": f"torch.empty({self._extents(tensor)}, dtype={dtype}, device={self.device})",
        }

    def _floating(self) -> list[str]:
        return list(self.variant.kernel.grads) or [t.name for t in self.graph.inputs if t.dtype is None]

    # launches

    def _steps(self, number: int, kernel: Launch) -> list[dict[str, Any]]:
        replaced = {new for _, new in self.program.alternatives}
        if kernel.name in replaced:
            return []
        alternative = dict(self.program.alternatives).get(kernel.name)
        before = [
            self._workspace(life)
            for life in self.plan.lifetimes
            if life.first == number and not self._is_fold(life.tensor)
        ]
        call, otherwise, condition = self._call(kernel)
        if alternative:
            other = next(k for k in self.program.kernels if k.name == alternative)
            stored = next(t.name for t in kernel.inputs if t.name not in {i.name for i in other.inputs})
            condition, otherwise = f"{stored}.element_size() > 2", self._call(other)[0]
        after: list[str] = []
        if kernel.folds:
            before += self._partials(kernel)
            after += [self._total(fold) for fold in kernel.folds]
        guard = self._guard(kernel)
        calls = [f"if {condition}:", f"    {call}", "else:", f"    {otherwise}"] if otherwise else [call]
        if guard:
            calls = [f"if {guard}:", *(f"    {line}" for line in calls)]
        return [{"lines": [*before, *calls, *after]}]

    def _guard(self, kernel: Launch) -> str:
        """When all results of a launch are gradients, it runs if any of them is wanted."""
        results = [*(o.tensor for o in kernel.stores), *(f.tensor for f in kernel.folds)]
        if not self.backward or any(t.name not in {o.name for o in self.program.outputs} for t in results):
            return ""
        if len(results) == len(self.program.outputs):
            return ""
        return " or ".join(self._wanted(t) for t in results)

    def _workspace(self, life: Any) -> str:
        if life.workspace != life.tensor.name:
            return f"{life.tensor.name} = {life.workspace}  # nobody reads {life.workspace} any more"
        return f"{life.tensor.name} = {self._allocation(life.tensor)['expression']}"

    def _arguments(self, kernel: Launch, name: Callable[[Tensor], str]) -> str:
        first = sections(kernel, self.graph.builder)[0]
        tensors = [t.name for t in kernel.inputs] + [o.tensor.name for o in kernel.stores]
        tensors += [name(f.tensor) for f in kernel.folds]
        results = [*(o.tensor for o in kernel.stores), *(f.tensor for f in kernel.folds)]
        flags = [self._wanted(t) for t in results if t.name.startswith("grad_")]
        return "(" + ", ".join([*tensors, *kernel.numbers, *first.sizes, *flags]) + ")"

    def _call(self, kernel: Launch) -> tuple[str, str, str]:
        """The launch; for a row kernel with two forms also the other one, and the condition for the first."""
        rows, columns = _count(kernel.rows), _count(kernel.inner)
        arguments = self._arguments(kernel, lambda t: f"partial_{t.name}")
        forms = {t.form: t.name for t in sections(kernel, self.graph.builder)}
        calls = {}
        for form, name in forms.items():
            head = f'_launch_{form}(_{name}_kernel, "{name}", {arguments}'
            calls[form] = {
                "flat": f"{head}, {columns}, real)",
                "tile": f"{head}, {rows}, {columns}, real{', whole=True' if kernel.kind == 'row' else ''})",
                "sweep": f"{head}, {rows}, {columns}, real)",
                "fold": f"{head}, {_count(kernel.loop)}, {rows}, {columns}, programs, real)",
            }[form]
        if len(calls) == 2:
            return calls["tile"], calls["sweep"], f'{columns} <= LAUNCH["{forms["tile"]}"].resident'
        return next(iter(calls.values())), "", ""

    # folds

    def _partials(self, kernel: Launch) -> list[str]:
        name = sections(kernel, self.graph.builder)[0].name
        rows, kept, columns = _count(kernel.loop), _count(kernel.rows), _count(kernel.inner)
        lines = [f'programs, tiles = _programs("{name}", {rows}, {kept}, {columns}, {self.device})']
        for fold in kernel.folds:
            lacks = not set(kernel.inner) & set(fold.tensor.axes)
            slots = "programs * tiles" if lacks else "programs"
            dims = self._extents(fold.tensor).strip("()").rstrip(",")
            text = f"torch.empty(({slots}, {dims}), dtype=real, device={self.device})"
            if self.backward and not fold.tensor.dtype:
                text += f" if {self._wanted(fold.tensor)} else {fold.tensor.name.removeprefix('grad_')}"
            lines.append(f"partial_{fold.tensor.name} = {text}")
        return lines

    def _total(self, fold: Fold) -> str:
        """The partial results put together."""
        name = fold.tensor.name
        text = (
            f"partial_{name}.amax(0)"
            if fold.reduction == "max"
            else f"_total(partial_{name}, {self._result(fold.tensor)})"
        )
        if self.backward and not fold.tensor.dtype:
            return f"{name} = {text} if {self._wanted(fold.tensor)} else None"
        return f"{name} = {text}"

    def _result(self, tensor: Tensor) -> str:
        if self.backward and not tensor.dtype:
            return f"torch.empty_like({tensor.name.removeprefix('grad_')})"
        return self._allocation(tensor)["expression"]


def _count(axes: Sequence[str]) -> str:
    return " * ".join(size_name(a) for a in axes) or "1"


def parameters(variant: Variant, program: Program, backward: bool) -> list[str]:
    """A launcher's parameters: tensors, numbers, leading axes where a result has them, sizes, wanted gradients."""
    lead = ["lead"] if not backward and any(t.leading for t in program.outputs) else []
    tensors = [t.name for t in program.inputs]
    return [*tensors, *program.graph.numbers, *lead, *variant.sizes, *(["wanted"] if backward else [])]


# autograd


def autograd_rows(variant: Variant) -> dict[str, Any]:
    """One autograd.Function."""
    forward, backward = variant.schedule.forward, variant.schedule.backward
    inputs = [t.name for t in forward.inputs]
    outputs = [t.name for t in forward.outputs]
    lead = ["lead"] if any(t.leading for t in forward.outputs) else []
    extra = [*forward.graph.numbers, *lead, *variant.sizes]
    cotangents = [f"grad_{name}" for name in outputs]
    row = {
        "name": variant.kernel.name,
        "class_name": variant.class_name,
        "doc": f"{variant.kernel.name}{_with(variant)} and its gradient.",
        "inputs": inputs,
        "input_tuple": _tuple(inputs),
        "target": ", ".join(inputs),
        "contiguous_inputs": ", ".join(f"{name}.contiguous()" for name in inputs),
        "extra_parameters": "".join(f", {e}" for e in extra),
        "forward": forward.graph.name,
        "forward_results": unpacked([*outputs, *(t.name for t in forward.saved)]),
        "forward_arguments": parameters(variant, forward, False),
        "outputs": outputs,
        "cotangents": cotangents,
        "backward": backward.graph.name if backward else "",
    }
    if backward:
        saved = [*inputs, *(t.name for t in backward.inputs if t.name not in {*cotangents, *inputs})]
        grads = [variant.kernel.grads.index(n) if n in variant.kernel.grads else None for n in inputs]
        wanted = _wanted([inputs.index(n) for n in variant.kernel.grads])
        arguments = [a if a != "wanted" else wanted for a in parameters(variant, backward, True)]
        numbers = [*forward.graph.numbers, *variant.sizes]
        returns = [f"grads[{g}]" if g is not None else "None" for g in grads] + ["None"] * len(extra)
        row |= {
            "saved_further": "".join(f", {name}" for name in saved[len(inputs) :]),
            "unpacked": unpacked(saved),
            "cotangent_tuple": _tuple(cotangents),
            "cotangent_target": ", ".join(cotangents),
            "contiguous_cotangents": ", ".join(f"{name}.contiguous()" for name in cotangents),
            "reference": _reference(variant),
            "needed": _needed(inputs, variant.kernel.grads),
            "nones": ", None" * len(extra),
            "extra": ", ".join(numbers) if len(numbers) > 1 else f"({numbers[0]},)",
            "backward_arguments": arguments,
            "returns": ", ".join(returns),
        }
    return row


def _tuple(names: Sequence[str]) -> str:
    return f"({', '.join(names)})" if len(names) > 1 else f"({names[0]},)"


def unpacked(names: Sequence[str]) -> str:
    """A target for a tuple."""
    return ", ".join(names) if len(names) > 1 else f"({names[0]},)"


def _reference(variant: Variant) -> str:
    """The reference with the variant's options filled in."""
    numbers = variant.schedule.forward.graph.numbers
    options = [*(f"{name}={on}" for name, on in variant.flags), *(f"{name}={name}" for name in numbers)]
    name = f"{variant.kernel.name}_reference"
    return f"functools.partial({', '.join([name, *options])})" if options else name


def _needed(inputs: Sequence[str], grads: Sequence[str]) -> str:
    """For each input, whether its gradient is wanted; never for one that the spec does not differentiate."""
    if set(inputs) == set(grads):
        return "ctx.needs_input_grad"
    flags = [f"ctx.needs_input_grad[{i}]" if name in grads else "False" for i, name in enumerate(inputs)]
    return f"({', '.join(flags)})" if len(flags) > 1 else f"({flags[0]},)"


def _wanted(positions: Sequence[int]) -> str:
    """Which gradients autograd asks for, in the order of the spec's."""
    if list(positions) == list(range(len(positions))):
        return f"ctx.needs_input_grad[:{len(positions)}]"
    flags = ", ".join(f"ctx.needs_input_grad[{i}]" for i in positions)
    return f"({flags})" if len(positions) > 1 else f"({flags},)"


def _with(variant: Variant) -> str:
    return " with " + ", ".join(f"{name}={on}" for name, on in variant.flags) if variant.flags else ""


# public functions


def function_rows(spec: Spec, kernel: Kernel, variants: Sequence[Variant]) -> dict[str, Any]:
    """One public function, which picks the variant."""
    inputs = [a.name for a in kernel.inputs]
    options = [f"{o.name}={o.default!r}" for o in kernel.options]
    graph = variants[0].schedule.forward.graph
    lead = ["lead"] if any(t.leading for t in variants[0].schedule.forward.outputs) else []
    sizes = [f'sizes["{a}"]' for a in graph.axes]
    return {
        "name": kernel.name,
        "doc": document(spec, kernel),
        "inputs": inputs,
        "argument_tuple": _tuple(inputs),
        "parameters": ", ".join(inputs) + (", *, " + ", ".join(options) if options else ""),
        "reference_arguments": ", ".join(inputs + [f"{o.name}={o.name}" for o in kernel.options]),
        "variants": [
            {
                "condition": (
                    " and ".join(name if on else f"not {name}" for name, on in v.flags) if i + 1 < len(variants) else ""
                ),
                "class_name": v.class_name,
                "arguments": ", ".join([*inputs, *graph.numbers, *lead, *sizes]),
            }
            for i, v in enumerate(variants)
        ],
    }
