"""The host side of a module as rows for its templates: launchers, autograd and public functions."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from kgen.emit.host.registration import flops, independent
from kgen.emit.kernel.forms import sections
from kgen.emit.text.docstrings import document
from kgen.graph.tensor import Tensor
from kgen.reference.function import annotation, returned
from kgen.schedule.buffers import Plan
from kgen.schedule.products import MATRIX, Operand, Product, Way
from kgen.schedule.program import TURNED, WORKSPACE, Fold, Program
from kgen.schedule.program import Kernel as Launch
from kgen.spec.model import Kernel, Spec
from kgen.spec.private_names import definition_name, kernel_name, operator_name, run_name, size_name
from kgen.trace.trace import output_names, private, private_grads


@dataclass(frozen=True, slots=True)
class Variant:
    """A kernel with its bool options decided."""

    kernel: Kernel
    name: str
    flags: tuple[tuple[str, bool], ...]
    programs: tuple[Program, ...]  # the forward, and derivatives by their order

    @property
    def forward(self) -> Program:
        return self.programs[0]

    @property
    def operator(self) -> str:
        return operator_name(self.name)


# launchers


def launcher_rows(variant: Variant, plan: Callable[[Program], Plan]) -> list[dict[str, Any]]:
    """One launcher for each direction."""
    return [_Launcher(variant, program, plan(program)).row() for program in variant.programs]


class _Launcher:
    def __init__(self, variant: Variant, program: Program, plan: Plan) -> None:
        self.variant, self.program, self.plan = variant, program, plan
        self.graph = program.graph
        self.backward = program is not variant.forward
        self.inputs = [t.name for t in program.inputs]

    def row(self) -> dict[str, Any]:
        p = self.program
        results = [*p.outputs, *p.saved]
        returned = [
            f"{self._returned(t)} if {self._wanted(t)} else None" if self.backward else self._returned(t)
            for t in results
        ]
        steps = [(self._guard(step), self._step(i, step)) for i, step in enumerate(p.steps)]
        return {
            "name": run_name(p.graph.name),
            "doc": self._doc(),
            "parameters": [*self.inputs, *p.graph.numbers, *(["*wanted"] if self.backward else [])],
            "missing": [(f"has_{name}", name) for name in p.optional],
            "contiguous": self._contiguous(),
            "sizes": self._sizes(),
            "real": [t.name for t in self.variant.forward.inputs if t.dtype is None],
            "matrix": bool(p.multiplied),
            "innermost": [(f"{a}_innermost", size_name(a)) for a in p.graph.axes if a in self._turning()],
            "allocations": [self._allocation(t) for t in results if not self._makes_itself(t)],
            "steps": [line for guard, group in groupby(steps, lambda s: s[0]) for line in _guarded(guard, group)],
            "results": ", ".join(returned) if len(returned) > 1 else f"({returned[0]},)",
        }

    def _contiguous(self) -> dict[str, str]:
        """Inputs and cotangents as kernels read them; in place of a missing one, any pointer will do."""
        given = [t.name for t in self.program.inputs if t.dtype not in (WORKSPACE, MATRIX)]
        first = given[0]
        texts = {
            name: f"{name}.contiguous() if has_{name} else {first}" for name in given if name in self.program.optional
        }
        always = [name for name in given if name not in texts]
        return {", ".join(always): ", ".join(f"{name}.contiguous()" for name in always)} | texts

    def _sizes(self) -> list[str]:
        """The extents of the axes, each from the first input that has it."""
        lines, known = list[str](), set[str]()
        for tensor in self.variant.forward.inputs:
            new = [a for a in tensor.axes if a not in known]
            if not new:
                continue
            known.update(new)
            targets = [size_name(d) if d in new else "_" for d in tensor.dims]
            if tensor.leading:
                names = "*lead" if tensor.axes[0] in new else "*_"
                lines.append(f"{names}, {', '.join([*targets[1:], ''])[:-1].rstrip(',')} = {tensor.name}.shape")
                lines += [f"{size_name(tensor.axes[0])} = math.prod(lead)"] * (names == "*lead")
            else:
                lines.append(f"{', '.join(targets)}{',' if len(targets) == 1 else ''} = {tensor.name}.shape")
        return lines

    def _doc(self) -> str:
        what = "the gradients" if self.backward else "the results, then what the backward reads"
        what = "the results" if not self.backward and not self.program.saved else what
        count = len(self.program.steps) - len(self.program.alternatives)
        copies = sum(o.way is Way.COPIED for p in self.program.products for o in p.operands)
        more = f", and {copies} cop{'ies' if copies > 1 else 'y'} for tf32" * bool(copies)
        return f"Compute {what}: {count} launch{'es' if count > 1 else ''}{more}."

    # allocations

    def _turning(self) -> set[str]:
        """The axes that are innermost in factors of products, where that makes these faster."""
        copied = [p.shape.contracted[-1] for p in self.program.products for o in p.operands if o.way is Way.COPIED]
        return {t.turning for step in self.program.steps for t in step.written if t.split} | {*copied}

    def _makes_itself(self, tensor: Tensor) -> bool:
        """Whether the step that makes a tensor allocates it: the sum of partial results, or a matrix product."""
        folds = [f.tensor.name for k in self.program.kernels for f in k.folds]
        made = [p.result.name for p in self.program.products if p.target.first is None and not p.added]
        return tensor.name in (*folds, *made)

    def _is_added(self, tensor: Tensor) -> bool:
        """Whether products are added to a result, which is in their dtype until then: its rest is not rounded alone."""
        return any(p.added and p.result.name == tensor.name for p in self.program.products)

    def _returned(self, tensor: Tensor) -> str:
        return f"{tensor.name}.to({self._dtype(tensor)})" if self._is_added(tensor) else tensor.name

    def _dtype(self, result: Tensor) -> str:
        """The dtype of a result: a gradient has its input's."""
        return f"{result.name.removeprefix('grad_')}.dtype" if self.backward else self._promoted()

    def _wanted(self, tensor: Tensor) -> str:
        grads = [t.name for t in self.program.outputs]
        return f"wanted[{grads.index(tensor.name)}]"

    def _extents(self, tensor: Tensor) -> str:
        return self._dims(tensor.dims, tensor.leading)

    def _dims(self, dims: Sequence[str | int], leading: bool = False) -> str:
        extents = [str(d) if isinstance(d, int) else size_name(d) for d in dims]
        return _tuple(["*lead", *extents[1:]] if leading else extents)

    def _allocation(self, tensor: Tensor) -> dict[str, str]:
        if tensor.split:
            rows, columns = tensor.dims[tensor.several : tensor.split], tensor.dims[tensor.split :]
            sides = f"{self._dims(rows)}, {self._dims(columns)}"
            sides += f", several={tensor.dims[0]}" if tensor.several else ""
            text = f"matmul.factor({self.inputs[0]}, matrix, {tensor.turning}_innermost, {sides})"
            return {"name": tensor.name, "expression": text}
        dtype = MATRIX if tensor.dtype == MATRIX or self._is_added(tensor) else self._promoted()
        dtype = "real" if tensor.dtype == WORKSPACE else dtype
        text = f"{self.inputs[0]}.new_empty({self._extents(tensor)}, dtype={dtype})"
        shapes = {(t.dims, t.leading): t.name for t in reversed(self.program.inputs)}
        if not self.backward and (tensor.dims, tensor.leading) in shapes:  # costs the host half as much
            text = f"torch.empty_like({shapes[tensor.dims, tensor.leading]}, dtype={dtype})"
        if self.backward and not tensor.dtype:
            source, needed = tensor.name.removeprefix("grad_"), self._needed(tensor)
            alike = source not in self.program.optional or needed == self._wanted(tensor)  # a wanted one's is there
            like = f"torch.empty_like({source}{', dtype=matrix' if self._is_added(tensor) else ''})"
            text = f"{like if alike else text} if {needed} else {source}"
        return {"name": tensor.name, "expression": text}

    def _needed(self, result: Tensor) -> str:
        """Whether a result is wanted, or another that is computed from it."""
        readers = [step for step in self.program.steps if result.name in step.reads]
        names = {result.name}.union(*(self.program.reached(step) for step in readers))
        return " or ".join(self._wanted(t) for t in self.program.outputs if t.name in names)

    def _promoted(self) -> str:
        return f"arguments.promoted({', '.join(self._floating())})"

    def _floating(self) -> list[str]:
        return list(private_grads(self.variant.kernel)) or [t.name for t in self.graph.inputs if t.dtype is None]

    # launches

    def _step(self, number: int, step: Launch | Product) -> list[str]:
        lines = self._product(step) if isinstance(step, Product) else self._launches(number, step)
        return [*lines, *(f"del {name}" for name in self._done(number))] if lines else []

    def _done(self, number: int) -> list[str]:
        """Large intermediates, those of matrix products, that nothing reads after a step, where others follow."""
        if number == len(self.program.steps) - 1:
            return []
        lives = [life for life in self.plan.lifetimes if life.last == number and life.tensor.dtype == MATRIX]
        return [life.tensor.name for life in lives]

    # matrix products

    def _product(self, product: Product, there: bool = False) -> list[str]:
        """One call of torch's product, of factors seen as matrices; the memory of its result may be `there`."""
        s, (rows, contracted, columns) = product.shape, product.counts
        sides = [_count(axes, n) for n, axes in ((rows, s.rows), (contracted, s.contracted), (columns, s.columns))]
        turned = f"{s.contracted[-1]}_innermost"
        batch = [str(product.batch)] if product.batch > 1 else [_count(s.batch)] if s.batch else []
        left = self._matrix(product.left, batch, sides[0], sides[1], turned=turned)
        right = self._matrix(product.right, batch, sides[1], sides[2], turned=turned)
        given = [f"has_{t.memory}" for t in product.inputs if t.memory in self.program.optional]
        present = " and ".join(dict.fromkeys(given))  # of a missing cotangent nothing comes
        if there or product.added or product.target.first is not None:
            part = self._matrix(product.target, batch, sides[0], sides[2], "")
            call = _multiply(product, left, right, part)
            otherwise = [] if product.added else ["else:", f"    {part}.zero_()"]
            return [f"if {present}:", f"    {call}", *otherwise] if present else [call]
        text = _multiply(product, left, right)
        if len(product.result.dims) > len(batch) + 2 or product.result.leading:
            text += f".view{self._extents(product.result)}"
        dtype = "matrix"
        if product.result.dtype is None:
            dtype = self._dtype(product.result)
            text += f".to({dtype})"
        if present:
            zeros = f"{self.inputs[0]}.new_zeros({self._extents(product.result)}, dtype={dtype})"
            text += f" if {present} else {zeros}"
        return [f"{product.result.name} = {text}"]

    def _matrix(
        self,
        operand: Operand,
        batch: Sequence[str],
        rows: str,
        columns: str,
        cast: str = ".to(matrix)",
        turned: str = "",
    ) -> str:
        """A tensor as a matrix, or a batch of them."""
        tensor = operand.tensor
        text = tensor.memory
        dims = len(tensor.dims)
        if operand.first is not None and operand.last == operand.first + 1:
            text, dims = f"{text}[{operand.first}]", dims - 1
        elif operand.first is not None:
            text += f"[{operand.first}:{operand.last}]"
        sides = [columns, rows] if operand.transposed else [rows, columns]
        if dims > len(batch) + 2 or tensor.leading:
            text += f".view({', '.join([*batch, *sides])})"
        text += cast if tensor.dtype != MATRIX else ""
        text = f"matmul.turned({text}, {turned})" if operand.way is Way.COPIED else text
        return f"{text}.mT" if operand.transposed else text

    # kernels

    def _launches(self, number: int, kernel: Launch) -> list[str]:
        replaced = {new for _, new in self.program.alternatives}
        if kernel.name in replaced:
            return []
        alternative = dict(self.program.alternatives).get(kernel.name)
        before = [
            self._workspace(life)
            for life in self.plan.lifetimes
            if life.first == number and not self._makes_itself(life.tensor)
        ]
        call, otherwise, condition = self._call(kernel)
        if alternative:
            other = next(k for k in self.program.kernels if k.name == alternative)
            stored = next(t.name for t in kernel.inputs if t.name not in {i.name for i in other.inputs})
            condition, otherwise = f"{stored}.element_size() > 2", self._call(other)[0]
        lines = _either(condition, [call], [otherwise]) if otherwise else [call]
        if kernel.folds:
            lines = [*self._partials(kernel), *lines, *map(self._total, kernel.folds)]
        if kernel.otherwise:
            asked = f"device.on_tensor_cores(matrix, {self.inputs[0]}.device{_precision(kernel)})"
            lines = _either(asked, lines, self._by_library(kernel))
        return [*before, *lines]

    def _by_library(self, kernel: Launch) -> list[str]:
        """The same with stored factors, which are given back at once."""
        results = {t.name for t in kernel.written}
        lines, made = list[str](), list[str]()
        for step in kernel.otherwise:
            fresh = [t for t in step.written if t.name not in results]
            made += [t.name for t in fresh]
            if isinstance(step, Product):
                lines += self._product(step, there=not fresh and not kernel.folds)
            else:
                lines += [f"{t.name} = {self._allocation(t)['expression']}" for t in fresh]
                lines.append(self._call(step)[0])
        return [*lines, f"del {', '.join(made)}"] if made else lines

    def _guard(self, step: Launch | Product) -> str:
        """A step that not all gradients need runs if one of those that need it is wanted."""
        reached = [t for t in self.program.outputs if t.name in self.program.reached(step)]
        if not self.backward or len(reached) == len(self.program.outputs):
            return ""
        return " or ".join(self._wanted(t) for t in reached)

    def _workspace(self, life: Any) -> str:
        if life.workspace != life.tensor.name:
            return f"{life.tensor.name} = {life.workspace}  # nobody reads {life.workspace} any more"
        return f"{life.tensor.name} = {self._allocation(life.tensor)['expression']}"

    def _arguments(self, kernel: Launch, name: Callable[[Tensor], str]) -> str:
        first = sections(kernel, self.graph.builder)[0]
        given = [f"has_{name}" for name in kernel.optional]
        tensors = [t.memory for t in kernel.inputs] + [o.tensor.name for o in kernel.stores]
        tensors += [name(f.tensor) for f in kernel.folds]
        results = [*(o.tensor for o in kernel.stores), *(f.tensor for f in kernel.folds)]
        flags = [self._wanted(t) for t in results if t.name.startswith("grad_")]
        flags += [f"{kernel.turning}_innermost"] if kernel.turning else []
        return f"{_tuple(tensors)}, {_tuple([*kernel.numbers, *first.sizes, *given, *flags])}"

    def _call(self, kernel: Launch) -> tuple[str, str, str]:
        """The launch; for a row kernel with two forms also the other one, and the condition for the first."""
        rows, columns = _count(kernel.rows), _count(kernel.inner)
        arguments = self._arguments(kernel, lambda t: f"partial_{t.name}")
        programs = "programs" if kernel.folds else "1"
        forms = {t.form: t.name for t in sections(kernel, self.graph.builder)}
        calls = {}
        for form, name in forms.items():
            row = f'"{name}{TURNED}" if {kernel.turning}_innermost else "{name}"' if kernel.turning else f'"{name}"'
            called = "matmul.contract" if form == "contract" else f"launch.{form}"
            head = f"{called}({kernel_name(name)}, LAUNCH[{row}], {arguments}"
            calls[form] = {
                "flat": f"{head}, {columns}, real)",
                "tile": f"{head}, {rows}, {columns}, real{', whole=True' if kernel.kind == 'row' else ''})",
                "sweep": f"{head}, {rows}, {columns}, real)",
                "fold": f"{head}, {rows}, {columns}, programs, real)",
                "contract": f"{head}, {self._tiles(kernel)}, {programs}, matrix, real{_precision(kernel)})",
            }[form]
        if len(calls) == 2:
            return calls["tile"], calls["sweep"], f'launch.known({columns}) <= LAUNCH["{forms["tile"]}"].resident'
        return next(iter(calls.values())), "", ""

    def _tiles(self, kernel: Launch) -> str:
        """The extents of a contraction's result: batch, rows and columns."""
        return ", ".join(map(_count, (kernel.rows[:-1], kernel.rows[-1:], kernel.inner)))

    # folds

    def _partials(self, kernel: Launch) -> list[str]:
        name = sections(kernel, self.graph.builder)[0].name
        if kernel.contraction:
            where = f"{self._tiles(kernel)}, {_count(kernel.loop)}, matrix, {self.inputs[0]}.device"
            (fold,) = kernel.folds
            return [f'programs = matmul.parts(LAUNCH["{name}"], {where})', self._partial(fold, "programs")]
        rows, kept, columns = _count(kernel.loop), _count(kernel.rows), _count(kernel.inner)
        lacking = [fold for fold in kernel.folds if not set(kernel.inner) & set(fold.tensor.axes)]
        target = "programs, tiles" if lacking else "programs, _"
        lines = [f'{target} = launch.programs_of(LAUNCH["{name}"], {rows}, {kept}, {columns}, {self.inputs[0]}.device)']
        for fold in kernel.folds:
            lines.append(self._partial(fold, "programs * tiles" if fold in lacking else "programs"))
        return lines

    def _partial(self, fold: Fold, slots: str) -> str:
        dims = self._extents(fold.tensor).strip("()").rstrip(",")
        text = f"{self.inputs[0]}.new_empty(({slots}, {dims}), dtype=real)"
        if self.backward and not fold.tensor.dtype:
            text += f" if {self._wanted(fold.tensor)} else {fold.tensor.name.removeprefix('grad_')}"
        return f"partial_{fold.tensor.name} = {text}"

    def _total(self, fold: Fold) -> str:
        """The partial results put together."""
        name = fold.tensor.name
        largest = f"partial_{name}.amax(0)" + ("" if fold.tensor.dtype else f".to({self._promoted()})")
        text = largest if fold.reduction == "max" else f"launch.total(partial_{name}, {self._result(fold.tensor)})"
        if self.backward and not fold.tensor.dtype:
            return f"{name} = {text} if {self._wanted(fold.tensor)} else None"
        return f"{name} = {text}"

    def _result(self, tensor: Tensor) -> str:
        if self.backward and not tensor.dtype:
            return f"torch.empty_like({tensor.name.removeprefix('grad_')})"
        return self._allocation(tensor)["expression"]


def _multiply(product: Product, *matrices: str) -> str:
    """The call that multiplies: torch's setting decides how, or the spec."""
    added = ["add=True"] if product.added else []
    if not product.precision:
        name = "in_parts" if product.in_parts else "product"
        return f"matmul.{name}({', '.join([*matrices, *added])})"
    parted = ["parted=True"] if product.parted else []
    return f'matmul.in_precision("{product.precision}", {", ".join([*matrices, *added, *parted])})'


def _precision(kernel: Launch) -> str:
    """A last argument of calls."""
    return f', "{kernel.precision}"' if kernel.precision else ""


def _guarded(guard: str, steps: Iterable[tuple[str, list[str]]]) -> list[str]:
    """The lines of steps that run under one condition."""
    lines = [line for _, step in steps for line in step]
    return [f"if {guard}:", *_indented(lines)] if guard and lines else lines


def _either(condition: str, lines: Iterable[str], others: Iterable[str]) -> list[str]:
    return [f"if {condition}:", *_indented(lines), "else:", *_indented(others)]


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _count(axes: Sequence[str], fields: int = 1) -> str:
    """The positions along axes, of several fields that are stacked there."""
    return " * ".join([*([str(fields)] if fields > 1 else []), *map(size_name, axes)]) or "1"


# operators


def operator_rows(variant: Variant) -> dict[str, Any]:
    """What makes operators of a variant's launchers. Tensors have the names that users give them."""
    names = _public_names(variant)
    own = {t.name for t in variant.forward.inputs}
    caches, cotangents = list[tuple[str, ...]](), set[str]()
    for before, program in zip(variant.programs, variant.programs[1:]):
        cotangents |= {f"grad_{t.name}" for t in before.outputs}
        caches.append(tuple(names[t.name] for t in program.inputs if t.name not in own | cotangents))
    return {
        "target": variant.operator,
        "name": variant.name,
        "function": variant.kernel.name,
        "reference": f"{variant.kernel.name}_reference",
        "numbers": variant.kernel.numbers,
        "saved": {names[t.name]: variant.forward.graph.extents(t.dims) for t in variant.forward.saved},
        "products": tuple(names[t.name] for t in variant.forward.saved if t.dtype == MATRIX),
        "caches": tuple(caches) if any(caches) else (),
        "independent": independent(variant.forward),
        "flags": dict(variant.flags),
        "flops": tuple(flops(p) for p in variant.programs),
    }


def _public_names(variant: Variant) -> dict[str, str]:
    """What the forward stores, by its names in launchers: as users name it, or no user names anything."""
    given = private(variant.kernel)
    names = {given[name]: name for name in output_names(variant.kernel)}
    for tensor in variant.forward.saved:
        name = tensor.name
        while name in given:
            name += "_"
        names[tensor.name] = name
    return names


def _tuple(names: Sequence[str]) -> str:
    return f"({', '.join(names)}{',' if len(names) == 1 else ''})"


# public functions


def function_rows(spec: Spec, kernel: Kernel, variants: Sequence[Variant]) -> dict[str, Any]:
    """One public function, which picks the variant."""
    inputs = [a.name for a in kernel.inputs]
    parameters = [f"{name}: torch.Tensor" for name in inputs]
    options = [f"{o.name}: {annotation(o)} = {o.default!r}" for o in kernel.options]
    return {
        "name": kernel.name,
        "definition": definition_name(kernel.name),
        "doc": document(spec, kernel),
        "parameters": ", ".join([*parameters, *["*"] * bool(options), *options]),
        "returns": returned(len(variants[0].forward.outputs)),
        "flags": [name for name, _ in variants[0].flags],
        "arguments": ", ".join([_tuple(inputs), *kernel.numbers]),
        "variants": [
            {
                "condition": " and ".join(name if on else f"not {name}" for name, on in v.flags),
                "operator": v.operator,
            }
            for v in variants
        ],
    }
