"""The launches of a generated module, recorded from the module's own functions without a GPU.

In: a generated module, a target and a dtype. Out: for every kernel of its launch table one Launch, exactly as the
module's launchers ask for it: pointer types, which sizes are specialised, constexprs and warps. Guaranteed: no kernel
runs, and no tensor has memory, however large it is; a kernel that no launch reached is an error, not a gap.
"""

import hashlib
import itertools
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from triton.runtime.jit import JITFunction

from kgen.errors import KgenError
from kgen.spec.private_names import variant_name
from kgen.tools.problem import choices, launch_table, runtime, whole

POINTERS = {
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.int32: "*i32",
    torch.int64: "*i64",
}
FEATURES_LAST, COMPONENTS_LAST = {"b": 4096, "n": 512}, {"b": 65536, "n": 16}  # typical sizes by memory order
OTHER_AXIS = 256
LONG, LONGER = 8192, 16400  # longer than most rows that stay in registers, and than all; other axes are as long
SHORT = 32  # features of rows that have kernels of their own; other axes are as short
SHORTER = 4  # channels of a head whose scores are never stored; other axes are as short
FEW_ROWS = 16
OTHER_DTYPES = ("float32", "bfloat16", "float64")  # in some contract kernels are launched, in some what replaces them
NOWHERE = "meta"  # the device of tensors without memory
DIVISIBLE = 16  # what Triton specialises integers and addresses on
IDENTIFIER = re.compile(r"\b_\w+")  # what generated modules call their device functions
MULTIPROCESSORS = {"sm_75": 40, "sm_80": 108, "sm_89": 142, "sm_90": 132, "sm_100": 148, "gfx942": 304}


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel with what its compilation depends on, besides the target."""

    module: str
    kernel: str  # its name in the launch table, where it has one
    kind: str  # flat, tile, sweep, fold or contract; or the kernel's name, of those that all modules share
    dtype: str  # of the tensors
    function: Any = field(compare=False, repr=False)  # the triton.JITFunction
    signature: tuple[tuple[str, str], ...]
    constexprs: tuple[tuple[str, Any], ...]
    divisible: tuple[int, ...]  # positions of arguments that are multiples of 16
    options: tuple[tuple[str, Any], ...]  # num_warps and what else the compiler is told
    components: int  # of the module's algebra, 0 without one
    digest: str


def record(module: ModuleType, target: str, dtype: str) -> tuple[Launch, ...]:
    """A launch of each kernel in the package's launch table, in its order, and then of those that it does not list.

    Kernels that are not launched at typical sizes are recorded for long rows or short ones, and those that tensors of
    `dtype` never launch, for others. Raises KgenError where some kernel is launched by none of these.
    """
    found: dict[str, Launch] = {}
    table = _table(module)
    missing = list(table)
    dtypes = dict.fromkeys((dtype, *OTHER_DTYPES))
    for stored, long in (*itertools.product(dtypes, (0, LONG)), *itertools.product(dtypes, (LONGER, SHORT, SHORTER))):
        if not missing:
            break
        with _recording(module, table, target, stored) as launches:
            for name in _launching(module, missing):
                _differentiate(module, name, table, getattr(torch, stored), long)
        found = launches | found
        missing = [name for name in table if name not in found]
    if missing:
        raise KgenError(
            f"{module.__name__}: nothing launches {', '.join(missing)}", hint="see `record` in kgen/tools/aot"
        )
    return tuple(found[name] for name in (*table, *sorted(set(found) - set(table))))


def _table(module: ModuleType) -> dict[str, Any]:
    """The launch table, with the rows of products in the precisions that kernels ask for."""
    precisions = dict.fromkeys(d["precision"] for d in module.KERNELS.values() if "precision" in d)
    rows = runtime(module, "matmul").ROWS if precisions else {}
    return launch_table(module) | {f"_matmul_{precision}": rows[precision] for precision in precisions}


def _launching(module: ModuleType, rows: Sequence[str]) -> list[str]:
    """The functions that may launch these rows of the launch table: those that name them, or all."""
    named = {row: [name for name in module.KERNELS if row.startswith(name)] for row in rows}
    return [name for name in module.KERNELS if any(name in names or not names for names in named.values())]


def _differentiate(module: ModuleType, name: str, table: Collection[str], dtype: torch.dtype, long: int) -> None:
    """Call a public function and its generated derivatives, with every choice of its bool options."""
    description = module.KERNELS[name]
    for chosen in choices(description):
        inputs = _inputs(description, dtype, long)
        results = getattr(module, name)(*inputs.values(), **chosen)
        roots = [r for r in (results if isinstance(results, tuple) else (results,)) if r.requires_grad]
        leaves = [inputs[grad] for grad in description["grads"]]
        variant = variant_name(name, chosen)
        for order in ("backward", "double_backward"):
            if not roots or not any(kernel.startswith(f"{variant}_{order}") for kernel in table):
                break
            cotangents = [torch.empty_like(r).requires_grad_() for r in roots]
            found = torch.autograd.grad(roots, leaves, cotangents, create_graph=order == "backward", allow_unused=True)
            leaves, roots = [*leaves, *cotangents], [g for g in found if g is not None and g.requires_grad]


def _inputs(description: Mapping[str, Any], dtype: torch.dtype, long: int) -> dict[str, torch.Tensor]:
    """Of typical sizes, or few rows that are `long`."""
    dims = description["inputs"].values()
    last = any(len(d) > 1 and isinstance(d[-1], int) and "b" in _axes(d) for d in dims)
    sizes = (COMPONENTS_LAST if last else FEATURES_LAST) | ({"b": FEW_ROWS, "n": long} if long else {})
    every = {d for order in dims for d in _axes(order) if isinstance(d, str)}
    sizes = whole(description, dict.fromkeys(sorted(every), long or OTHER_AXIS) | sizes)
    tensors = {}
    for name, order in description["inputs"].items():
        extents = [d if isinstance(d, int) else sizes[d] for d in _axes(order)]
        whole_numbers = any(name in description.get(key, ()) for key in ("indices", "integers", "seeds"))
        tensor = torch.empty(extents, dtype=torch.int64 if whole_numbers else dtype, device=NOWHERE)
        tensors[name] = tensor.requires_grad_(name in description["grads"])
    return tensors


def _axes(dims: Sequence[str | int]) -> list[str | int]:
    return ["b" if d == "..." else d for d in dims]


@contextmanager
def _recording(module: ModuleType, table: Mapping[str, Any], target: str, dtype: str) -> Iterator[dict[str, Launch]]:
    """Let the package believe in a GPU, and note what it launches there instead of launching it."""
    names = {id(row): name for name, row in table.items()}
    launches: dict[str, Launch] = {}
    inside: list[tuple[str, str]] = []  # kind and name of the launch in progress

    def launcher(kind: str, launch: Callable[..., None]) -> Callable[..., None]:
        def noted(*arguments: Any, **options: Any) -> None:
            inside.append((kind, next(names[id(x)] for x in arguments[:2] if id(x) in names)))
            launch(*arguments, **options)
            inside.pop()

        return noted

    def run(kernel: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> None:
        kind, name = inside[-1] if inside else (_own_name(kernel),) * 2
        if name not in launches:
            launches[name] = _launch(module, kind, name, dtype, kernel, arguments, options)

    with ExitStack() as stack:
        operators, launch, matmul, narrow = (
            runtime(module, part) for part in ("operators", "launch", "matmul", "narrow")
        )
        for kind, owner, name in (
            *((form, launch, form) for form in ("flat", "tile", "sweep", "segment", "fold")),
            *(("contract", matmul, "contract"), ("matmul", matmul, "_launch_product"), ("narrow", narrow, "whole")),
        ):
            stack.enter_context(_replaced(owner, name, launcher(kind, getattr(owner, name))))
        stack.enter_context(_replaced(operators, "runs_on_triton", lambda device: True))
        for owner in (launch, matmul, narrow):
            stack.enter_context(_replaced(owner, "multiprocessors", lambda device: MULTIPROCESSORS.get(target, 128)))
        stack.enter_context(_replaced(torch.version, "hip", "present" if target.startswith("gfx") else None))
        stack.enter_context(_replaced(JITFunction, "run", run))
        stack.enter_context(_replaced(matmul, "_is_set", lambda precision, x: False))
        stack.enter_context(_replaced(matmul, "product", _unmultiplied))
        yield launches


def _unmultiplied(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor | None = None, add: bool = False) -> torch.Tensor:
    """Memory for a product of matrices."""
    return a.new_empty((*a.shape[:-1], b.shape[-1])) if out is None else out


def _own_name(kernel: Any) -> str:
    return str(kernel.__name__).removeprefix("_jit_")


@contextmanager
def _replaced(owner: object, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _launch(
    module: ModuleType,
    kind: str,
    name: str,
    dtype: str,
    kernel: Any,
    arguments: Sequence[Any],
    options: Mapping[str, Any],
) -> Launch:
    """What Triton's launch would compile for these arguments: types, constants and divisibility."""
    given = {p.name: value for p, value in zip(kernel.params, arguments)} | dict(options)
    signature, constexprs, divisible = [], [], []
    for position, p in enumerate(kernel.params):
        spelling, multiple = _specialise(p, given[p.name])
        signature.append((p.name, spelling))
        if spelling == "constexpr":
            constexprs.append((p.name, given[p.name]))
        elif multiple:
            divisible.append(position)
    names = {p.name for p in kernel.params}
    told = tuple((option, value) for option, value in sorted(options.items()) if option not in names)
    constants = [(constant, str(value)) for constant, value in constexprs]
    parts = source_text(kernel), signature, constants, divisible, told
    return Launch(
        module.__name__.rpartition(".")[2],
        name,
        kind,
        dtype,
        kernel,
        tuple(signature),
        tuple(constexprs),
        tuple(divisible),
        told,
        len(getattr(module, "BLADES", ())),
        hashlib.sha256(repr(parts).encode()).hexdigest()[:12],
    )


def _specialise(parameter: Any, value: Any) -> tuple[str, bool]:
    """The type of an argument and whether it is known to be a multiple of 16."""
    if parameter.is_constexpr or value is None:  # which Triton compiles as a constant
        return "constexpr", False
    if isinstance(value, torch.Tensor):
        return POINTERS[value.dtype], value.data_ptr() % DIVISIBLE == 0
    if parameter.annotation_type:
        return parameter.annotation_type, False
    if isinstance(value, float):
        return "fp32", False
    specialised = not parameter.do_not_specialize
    if value == 1 and specialised:
        return "constexpr", False
    return ("i32" if -(2**31) <= value < 2**31 else "i64"), specialised and value % DIVISIBLE == 0


def source_text(kernel: Any) -> str:
    """The text of a kernel and of all the device functions that it calls."""
    texts: dict[str, str] = {}
    waiting = [kernel]
    while waiting:
        function = waiting.pop()
        texts[function.__name__] = function.src
        names = set(IDENTIFIER.findall(function.src)) - set(texts)
        called = [function.__globals__.get(name) for name in sorted(names)]
        waiting += [f for f in called if isinstance(f, JITFunction)]
    return "\n".join(texts[name] for name in sorted(texts))
