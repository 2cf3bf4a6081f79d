"""nn.Modules of a spec as finished rows for `torch_module.jinja`: what the class documents, takes, draws and calls.

In: a `model.Module`. Out: a dict of texts. The class holds parameters and options; the public function computes.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kgen.constants import dims, tensors
from kgen.documents import docstring, option, shape
from kgen.ir import Tensor
from kgen.model import Kernel, Module, Parameter, Spec
from kgen.tree import source_name

COUNTED = {"grade": "grades", "path": "paths", "blade": "components"}


def module_rows(spec: Spec, module: Module) -> dict[str, Any]:
    """One class."""
    kernel = spec.kernel(module.kernel)
    inputs, outputs = tensors(spec, kernel)
    shapes = {t.name: dims(t) for t in inputs}
    options = [(o.name, "bool" if isinstance(o.default, bool) else "float", repr(o.default)) for o in kernel.options]
    kept = {p.input: f"self.{p.name}" for p in module.parameters}
    attributes = [*module.arguments, *(name for name, _, _ in options)]
    return {
        "name": module.name,
        "doc": _document(spec, module, kernel),
        "sizes": module.arguments,
        "options": options,
        "attributes": attributes,
        "parameters": [(p.name, ", ".join(map(str, _extents(module, shapes[p.input])))) for p in module.parameters],
        "draws": [line for p in module.parameters for line in _draw(spec, module, p, shapes[p.input])],
        "forward": "".join(f", {t.name}: torch.Tensor" for t in inputs if t.name not in kept),
        "returns": "torch.Tensor" if len(outputs) == 1 else "tuple[torch.Tensor, ...]",
        "kernel": kernel.name,
        "arguments": ", ".join(
            [*(kept.get(t.name, t.name) for t in inputs), *(f"{o.name}=self.{o.name}" for o in kernel.options)]
        ),
        "repr": ", ".join(f"{name}={{self.{name}}}" for name in attributes),
    }


def _extents(module: Module, tensor_dims: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Dims with the constructor's arguments in place of the axes that they are extents of."""
    sizes: Mapping[str | int, str] = dict(module.sizes)
    return tuple(sizes.get(dim, dim) for dim in tensor_dims)


# initialisation


def _draw(spec: Spec, module: Module, parameter: Parameter, tensor_dims: tuple[str | int, ...]) -> Iterator[str]:
    """The statements of reset_parameters for one parameter."""
    kind, target = parameter.initialisation.kind, f"self.{parameter.name}"
    if not parameter.initialisation.fan:
        yield f"torch.nn.init.{kind}_({target})"
        return
    counts = _fan(spec, module, parameter, tensor_dims)
    fan = [count if isinstance(count, int) else f"self.{count}" for count in counts.values()]
    scale = f"{fan[0]}**-0.5" if len(fan) == 1 else f"({' * '.join(map(str, fan))}) ** -0.5"
    known = [f"{count} {COUNTED[name]}" for name, count in counts.items() if isinstance(count, int)]
    comment = f"  # {', '.join(known)}" if known else ""
    if kind == "normal":
        yield f"torch.nn.init.normal_({target}, std={scale}){comment}"
    else:
        yield f"bound = {scale}{comment}"
        yield f"torch.nn.init.uniform_({target}, -bound, bound)"


def _fan(spec: Spec, module: Module, parameter: Parameter, tensor_dims: tuple[str | int, ...]) -> dict[str, str | int]:
    """The counts whose product scales a distribution: numbers, or arguments of the constructor."""
    sizes = dict(module.sizes)
    components = next((dim for dim in tensor_dims if isinstance(dim, int)), 1)
    grades = len(spec.algebra.squares) + 1 if spec.algebra else 0
    return {name: sizes.get(name, grades if name == "grade" else components) for name in parameter.initialisation.fan}


# the docstring


def _document(spec: Spec, module: Module, kernel: Kernel) -> str:
    """Meaning, constructor, parameters with shapes and initialisation, forward, source."""
    inputs, outputs = tensors(spec, kernel)
    kept = [p.input for p in module.parameters]
    given = [t for t in inputs if t.name not in kept]
    lines = [*(module.doc.splitlines() or [module.name]), ""]
    lines += [f"Holds parameters and options of `{kernel.name}`, whose docstring has the formula.", "", "Args:"]
    lines += [f"    {argument}: the extent of {_axes(module, argument)}, at least 1." for argument in module.arguments]
    lines += [f"    {o.name}: {option(o)}." for o in kernel.options]
    lines += ["    device, dtype: of the parameters; torch's defaults if None.", "", "Parameters:"]
    for p in module.parameters:
        lines += _parameter(spec, module, p, next(t for t in inputs if t.name == p.input))
    lines += ["", f"forward({', '.join(t.name for t in given)}):"]
    lines += [f"    {t.name}: shape {shape(_extents(module, dims(t)))}, {t.dtype or 'floating'}." for t in given]
    lines += [f"    returns {t.name}: shape {shape(_extents(module, dims(t)))}." for t in outputs]
    lines += ["", f"Source: {source_name(spec.path)}."]
    return docstring(lines)


def _axes(module: Module, argument: str) -> str:
    axes = [axis for axis, name in module.sizes if name == argument]
    return ("axis " if len(axes) == 1 else "axes ") + " and ".join(axes)


def _parameter(spec: Spec, module: Module, parameter: Parameter, tensor: Tensor) -> Iterator[str]:
    renamed = f", the kernel's {parameter.input}" if parameter.input != parameter.name else ""
    yield f"    {parameter.name}: shape {shape(_extents(module, dims(tensor)))}{renamed};"
    yield f"        at first {_start(spec, module, parameter, dims(tensor))}."


def _start(spec: Spec, module: Module, parameter: Parameter, tensor_dims: tuple[str | int, ...]) -> str:
    """The initialisation in words."""
    kind = parameter.initialisation.kind
    counts = _fan(spec, module, parameter, tensor_dims)
    fan = " * ".join(f"{count} {COUNTED[name]}" if isinstance(count, int) else count for name, count in counts.items())
    match kind:
        case "normal":
            return f"normal, of standard deviation 1 / sqrt({fan})"
        case "uniform":
            return f"uniform, within 1 / sqrt({fan}) of zero"
    return kind
