"""Docstrings and formula comments of a generated module, from what the spec says."""

import inspect
from collections.abc import Sequence
from textwrap import wrap

from kgen.emit.text.banner import source_name
from kgen.emit.text.constants import dims, tensors
from kgen.emit.text.tidy import LINE_LENGTH
from kgen.spec import draws
from kgen.spec.body import parse_body
from kgen.spec.model import PRECISIONS, Argument, Kernel, Option, Spec
from kgen.trace.trace import equivariance

INDENT = "    "
EQUIVARIANCE = {
    "pin": "equivariant under all versors of the algebra",
    "euclidean": "equivariant under versors that preserve each grade's sum of squares (not boosts or translations)",
}


def formula(spec: Spec, kernel: Kernel) -> list[str]:
    """The body, as the comment above the kernels that compute it."""
    return inspect.cleandoc(kernel.body).splitlines()


def document(spec: Spec, kernel: Kernel, apart: Sequence[str]) -> str:
    """The docstring of the public function: meaning, shapes, options, errors, source; rows of `apart` may lie apart."""
    inputs, outputs = tensors(spec, kernel)
    lines = [*(kernel.doc.strip().splitlines() or [kernel.name]), ""]
    lines += [f"    {line}" for line in formula(spec, kernel)]
    lines += ["", "Args:"]
    lines += [f"    {a.name}: shape {shape(dims(t))}, {numbers(a)}." for a, t in zip(kernel.inputs, inputs)]
    lines += [f"    {o.name}: {option(o)}." for o in kernel.options]
    lines += ["", "Returns:"]
    lines += [
        f"    {t.name}: shape {shape(dims(t))}, of the promoted dtype of {_listed(kernel.grads)}." for t in outputs
    ]
    indices = [a for a in kernel.inputs if a.type and a.type.kind == "index"]
    dropped = draws.probabilities(kernel, parse_body(kernel))
    lines += ["", "Raises:"]
    lines += ["    ValueError: an argument's shape, dtype or device does not fit; the message names it."]
    lines += [f"    ValueError: {name} is below 0, or not below 1." for name in dropped]
    lines += ["    IndexError: with KGEN_CHECK_INDICES=1 set, a position is out of range."] if indices else []
    group = equivariance(spec, kernel)
    if group:
        lines += ["", f"The function is {EQUIVARIANCE[group]}."]
    lines += ["", f"Differentiable in {_listed(kernel.grads)}." if kernel.grads else "Not differentiable."]
    if indices:
        lines += ["A position out of range reads as zero, and what is added there is lost."]
    if kernel.precision:
        lines += [f"Matrices of fp32 are multiplied in {PRECISIONS[kernel.precision]}, whatever torch's setting is."]
    if sum(t.leading for t in inputs) > 1:
        lines += ["Leading axes broadcast as torch's do; an input that is broadcast may be copied to their full size."]
    also = f"{' and '.join(apart)} also when only rows lie apart, " if apart else ""
    lines += [f"Inputs are read in place when contiguous, {also}else copied once. Source: {source_name(spec.path)}."]
    return docstring(lines)


def docstring(lines: Sequence[str]) -> str:
    """Lines as what stands between the quotes of a function or class; overlong ones take several."""
    short = [part for line in lines for part in _wrapped(line)]
    return "\n".join(f"    {line}".rstrip() for line in short).strip() + "\n    "


def _wrapped(line: str) -> list[str]:
    """A line, or what is too long for one, below an item by an indentation more."""
    indent = line[: len(line) - len(line.lstrip())]
    further = indent + INDENT if indent else ""
    width = LINE_LENGTH - len(INDENT)
    return wrap(line, width, subsequent_indent=further, break_long_words=False, break_on_hyphens=False) or [line]


def shape(tensor_dims: tuple[str | int, ...]) -> str:
    """Dims as a shape: (8, b, n)."""
    return "(" + ", ".join(map(str, tensor_dims)) + ("," if len(tensor_dims) == 1 else "") + ")"


def numbers(argument: Argument) -> str:
    """What an input's numbers are."""
    if argument.type and argument.type.kind == "seed":
        return "int64, from which random numbers are made; drawn by torch's generator if None"
    if argument.type and argument.type.kind == "integer":
        return "int32 or int64"
    into = argument.type.into if argument.type else ""
    return f"int32 or int64, positions along {into}" if into else "floating"


def option(declared: Option) -> str:
    """What an option is for; its default is the signature's to say."""
    return "chooses the compiled variant" if isinstance(declared.default, bool) else "a number, read at run time"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "the inputs"
