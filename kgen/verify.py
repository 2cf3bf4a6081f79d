"""Generated kernels against the reference: outputs and every gradient, by name, in numbers.

In: specs or generated modules, dtypes, extents of axes, a device. Out: a table, and 1 if anything differs, else 0.
Each kernel runs in each variant of its bool options on random inputs; the module's reference gets the same, already
rounded values in fp64. Kernels must have been launched, natively on a GPU and elsewhere in Triton's interpreter.

A spec means the module that was generated from it, which needs torch and triton alone. One that has no module yet is
compiled into a temporary folder.
"""

import contextlib
import itertools
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from kgen.comparison import OUTLIER, TOLERANCE, Difference, compare, launches
from kgen.errors import KgenError
from kgen.problem import Function, Problem, Tensors, draw, in_double, load_module

DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in TOLERANCE}
SIZES = {"b": 5, "n": 17}
OTHER_SIZES = (3, 7, 11, 13, 19, 23)  # of further axes: odd, and no two alike
WIDTH = 120  # of the table in a file or a pipe


@dataclass(frozen=True, slots=True)
class Verdict:
    """One tensor of one kernel's variant, or a note on what kept it from being compared."""

    kernel: str
    options: str
    dtype: str
    tensor: str
    difference: Difference | None
    note: str = ""

    @property
    def failed(self) -> bool:
        return bool(self.note) or self.difference is None or not self.difference.agrees


def verify(
    targets: Sequence[str | Path],
    dtypes: Sequence[str] = tuple(DTYPES),
    sizes: Mapping[str, int] | None = None,
    device: str = "",
    generated: Path = Path("generated"),
) -> int:
    """Compare all kernels of the targets and print the errors; 0 if all agree, 1 if not.

    `sizes` are extents by axis, 5 for b and 17 for n by default; `device` is a torch device, a GPU if there is one.
    Raises KgenError for targets, dtypes and devices that do not exist.
    """
    where = _device(device)
    unknown = [name for name in dtypes if name not in DTYPES]
    if unknown:
        raise KgenError(f"unknown dtype {unknown[0]!r}", hint=f"one of {', '.join(DTYPES)}")
    failed = False
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="triton")  # of lanes that a mask discards
        modules = [stack.enter_context(_module(Path(target), generated)) for target in targets]
        for target, module in zip(targets, modules):
            _show(f"{target}: {_summary(module, where)}")
            verdicts = [
                v
                for kernel in module.KERNELS
                for name in dtypes
                for v in judge(module, kernel, name, sizes or {}, where)
            ]
            _show(_table(verdicts))
            failed |= any(v.failed for v in verdicts)
    _show("some kernels differ from the reference" if failed else "all kernels agree with the reference")
    return 1 if failed else 0


def judge(
    module: ModuleType, kernel: str, dtype: str, sizes: Mapping[str, int], device: torch.device
) -> Iterator[Verdict]:
    """The verdicts on one kernel: for each choice of its bool options, on each output and gradient."""
    description = module.KERNELS[kernel]
    switches = [name for name, value in description["options"].items() if isinstance(value, bool)]
    for values in itertools.product((True, False), repeat=len(switches)):
        flags = dict(zip(switches, values))
        verdict = partial(Verdict, kernel, " ".join(f"{k}={v}" for k, v in flags.items()), dtype)
        try:
            yield from _differences(module, kernel, flags, dtype, extents(description, sizes), device, verdict)
        except KgenError:
            raise
        except Exception as failure:  # noqa: BLE001 (a kernel that raises is a finding, and the others go on)
            first = next(iter(str(failure).strip().splitlines()), "")
            yield verdict("", None, f"{type(failure).__name__}: {first}"[:100])


def _differences(
    module: ModuleType,
    kernel: str,
    flags: Mapping[str, bool],
    dtype: str,
    sizes: Mapping[str, int],
    device: torch.device,
    verdict: "partial[Verdict]",
) -> Iterator[Verdict]:
    description = module.KERNELS[kernel]
    problem = draw(description, sizes, DTYPES[dtype], device)
    with launches(module) as launched:
        outputs = _outputs(getattr(module, kernel), problem, flags)
        forward = len(launched)
        grads = _gradients(outputs, problem)
    exact = in_double(problem)
    expected = _outputs(getattr(module, f"{kernel}_reference"), exact, flags)
    slopes = _gradients(expected, exact)
    backward = len(launched) > forward or not any(bool(g.any()) for g in slopes)
    note = "" if forward and backward else "no kernel was launched"
    names = (*description["outputs"], *(f"grad {name}" for name in description["grads"]))
    for name, a, b in zip(names, (*outputs, *grads), (*expected, *slopes), strict=True):
        yield verdict(name, compare(a, b, description.get("products", False), description.get("precision")), note)


def _outputs(function: Function, problem: Problem, flags: Mapping[str, bool]) -> Tensors:
    value: Any = function(*problem.leaves, **flags)
    return value if isinstance(value, tuple) else (value,)


def _gradients(outputs: Tensors, problem: Problem) -> Tensors:
    """The gradients of the declared inputs; one that autograd knows to be zero is a tensor of zeros."""
    sources = [problem.leaves[i] for i in problem.wanted]
    pairs = [(o, c) for o, c in zip(outputs, problem.cotangents) if o.requires_grad]
    if not sources or not pairs:
        return tuple(torch.zeros_like(x) for x in sources)
    grads = torch.autograd.grad([o for o, _ in pairs], sources, [c for _, c in pairs], allow_unused=True)
    return tuple(torch.zeros_like(x) if g is None else g for x, g in zip(sources, grads))


def extents(description: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, int]:
    """An extent for each named axis of an entry of KERNELS: as given, else the default."""
    dims = [d for tensor in (*description["inputs"].values(), *description["outputs"].values()) for d in tensor]
    axes = dict.fromkeys("b" if d == "..." else d for d in dims if isinstance(d, str))
    others = itertools.cycle(OTHER_SIZES)
    return {axis: sizes[axis] if axis in sizes else SIZES.get(axis) or next(others) for axis in axes}


# targets


@contextlib.contextmanager
def _module(target: Path, generated: Path) -> Iterator[ModuleType]:
    """The generated module that a target names, or one compiled from the spec for as long as the context lasts."""
    if not target.is_file():
        raise KgenError(f"no file {target}", hint="name specs, or generated modules")
    if target.suffix == ".py":
        yield _load(target)
        return
    present = generated / f"{_name(target)}.py"
    if present.is_file():
        yield _load(present)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{_name(target)}.py"
        path.write_text(_compile(target), encoding="utf-8")
        yield _load(path)


def _load(path: Path) -> ModuleType:
    module = load_module(path)
    if not hasattr(module, "KERNELS"):
        raise KgenError(f"{path} is not a generated module", hint="it defines no KERNELS")
    return module


def _name(spec: Path) -> str:
    """The module's name: the spec's `name:`, read without a YAML parser, which a GPU machine need not have."""
    found = re.search(r"^name:\s*[\"']?(\w+)", spec.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    return found[1] if found else spec.stem


def _compile(spec: Path) -> str:
    try:
        from kgen.pipeline import module
        from kgen.spec import load
    except ImportError as missing:
        raise KgenError(
            f"{spec} has no generated module, and the compiler is not installed: {missing}",
            hint=f"run `kgen build {spec}` where kgen is installed whole",
        ) from None
    return module(load(str(spec)))


def _device(name: str) -> torch.device:
    """The device, with Triton's interpreter switched on where there is no GPU: modules read that when imported."""
    if not name:
        name = next((kind for kind in ("cuda", "xpu") if getattr(torch, kind).is_available()), "cpu")
    try:
        device = torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as failure:
        message = next(iter(str(failure).splitlines()), "")
        raise KgenError(f"no device {name!r}: {message}", hint="such as cpu or cuda") from None
    if device.type == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    return device


# what is printed


def _summary(module: ModuleType, device: torch.device) -> str:
    how = (
        "in Triton's interpreter" if device.type == "cpu" else f"on {torch.get_device_module(device).get_device_name()}"
    )
    return f"{module.__name__.rpartition('.')[2]}, {len(module.KERNELS)} kernels {how}, against the reference in fp64"


def _table(verdicts: Sequence[Verdict]) -> Table:
    drawn = Table(box=None, pad_edge=False)
    for heading in ("kernel", "options", "dtype", "tensor"):
        drawn.add_column(heading, no_wrap=True)
    for heading in ("error", "largest", "allowed"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    drawn.add_column("")
    for v in verdicts:
        found = v.difference
        numbers = (found.relative, found.largest / OUTLIER, found.tolerance) if found else ()
        texts = [f"{x:.1e}" for x in numbers] or [""] * 3
        verdict = v.note or ("wrong" if v.failed else "ok")
        drawn.add_row(v.kernel, v.options, v.dtype, v.tensor, *texts, verdict, style="red" if v.failed else "")
    return drawn


def _show(item: Table | str) -> None:
    """A table as wide as the terminal, or plain text at a fixed width."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    console.print(item, markup=False, soft_wrap=isinstance(item, str))
