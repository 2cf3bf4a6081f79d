"""nn.Modules as specs write them: an entry under `modules:` in, `model.Module` out, mistakes noted in the document.

A module is a table: the kernel that forward calls, the inputs that are parameters, what their axes are called in the
constructor, and what they start from. Options of the kernel become options of the constructor, and the other inputs are
what forward takes.
"""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from kgen import names
from kgen.class_names import check_attribute, check_class
from kgen.document import Document, Place
from kgen.errors import KgenError
from kgen.model import COMPONENT_AXES, ELLIPSIS, Argument, Initialisation, Kernel, Module, Parameter
from kgen.schema import INITIALISATIONS, ModuleForm, ParameterForm, SpecForm

CONSTANTS = ("zeros", "ones")
DISTRIBUTIONS = ("normal", "uniform")
FORM = re.compile(r"\s*(?P<kind>\w+)\s*(\((?P<fan>[^()]*)\))?\s*")


def modules(document: Document, form: SpecForm, kernels: Sequence[Kernel]) -> tuple[Module, ...]:
    """All modules; those with mistakes are noted, and left out."""
    found = [_module(document, name, form, kernels) for name in form.modules]
    return tuple(module for module in found if module)


def _module(document: Document, name: str, form: SpecForm, kernels: Sequence[Kernel]) -> Module | None:
    here, entry = ("modules", name), form.modules[name]
    before = len(document.errors)
    with document.noting(here, key=True):
        check_class(name, list(form.kernels))
    with document.noting((*here, "doc")):
        names.check_doc(entry.doc)
    kernel = _kernel(document, here, entry, kernels)
    if kernel is None:
        return None
    parameters = tuple(_parameters(document, here, entry, kernel))
    sizes = tuple(_sizes(document, here, entry, kernel, parameters))
    _check_names(document, here, entry, kernel, sizes)
    if len(document.errors) > before:
        return None
    return Module(name, entry.doc.strip(), kernel.name, sizes, parameters, document.key(here))


def _kernel(document: Document, here: Place, entry: ModuleForm, kernels: Sequence[Kernel]) -> Kernel | None:
    """The kernel, unless there is none of that name, or it has mistakes of its own."""
    found = next((kernel for kernel in kernels if kernel.name == entry.kernel), None)
    if found is None and ("kernels", entry.kernel) not in document.keys:
        with document.noting((*here, "kernel")):
            every = [kernel.name for kernel in kernels]
            raise KgenError(f"there is no kernel {names.shown(entry.kernel)}", hint=_choice(entry.kernel, every))
    return found


# parameters


def _parameters(document: Document, here: Place, entry: ModuleForm, kernel: Kernel) -> Iterator[Parameter]:
    if not entry.parameters:
        with document.noting((*here, "parameters")):
            raise KgenError("a module has at least one parameter", hint="without one, call the kernel's function")
    seen: dict[str, str] = {}
    for name, form in entry.parameters.items():
        place = (*here, "parameters", name)
        source = form.input or name
        with document.noting((*place, "input") if form.input else place, key=not form.input):
            argument = _argument(document, kernel, source)
            if seen.setdefault(source, name) != name:
                other = names.shown(seen[source])
                raise KgenError(f"{names.shown(source)} is already parameter {other}", hint="each input is one tensor")
            if argument is None:
                continue
            with document.noting((*place, "init") if (*place, "init") in document.keys else place):
                initialisation = _initialisation(form, argument, entry, kernel)
                yield Parameter(name, source, initialisation, document.key(place))


def _argument(document: Document, kernel: Kernel, name: str) -> Argument | None:
    """A differentiable input whose extents a constructor can know; None where its type has a mistake of its own."""
    found = next((a for a in kernel.inputs if a.name == name), None)
    if found is None and ("kernels", kernel.name, "inputs", name) in document.keys:
        return None
    if found is None or found.type is None:
        hint = _choice(name, [a.name for a in kernel.inputs])
        raise KgenError(f"{names.shown(name)} is not an input of kernel `{kernel.name}`", hint=hint)
    if name not in kernel.grads:
        hint = f"differentiable inputs: {', '.join(kernel.grads) or 'none'}"
        raise KgenError(f"{names.shown(name)} is not differentiable in kernel `{kernel.name}`", hint=hint)
    if ELLIPSIS in found.type.memory:
        hint = "a type with a suffix has axes of its own, such as multivector[n]"
        raise KgenError(f"{names.shown(name)} has leading axes `...`, whose extents no constructor knows", hint=hint)
    return found


def _initialisation(form: ParameterForm, argument: Argument, entry: ModuleForm, kernel: Kernel) -> Initialisation:
    match = FORM.fullmatch(form.init) if len(form.init) <= 200 else None
    kind = match["kind"] if match else ""
    if match is None or kind not in (*CONSTANTS, *DISTRIBUTIONS):
        hint = _choice(kind, [*CONSTANTS, *DISTRIBUTIONS]) if kind else INITIALISATIONS
        raise KgenError(f"{names.shown(form.init)} is not an initialisation", hint=hint)
    fan = tuple(part.strip() for part in (match["fan"] or "").split(",")) if (match["fan"] or "").strip() else ()
    if bool(fan) != (kind in DISTRIBUTIONS) or (match["fan"] is not None and not fan):
        example = f"{kind}(n): 1 / sqrt(n) is its scale" if kind in DISTRIBUTIONS else kind
        raise KgenError(f"{names.shown(form.init)} is not an initialisation", hint=f"as in {example}")
    counts = _counts(argument, entry, kernel)
    for i, name in enumerate(fan):
        if name not in counts or name in fan[:i]:
            raise KgenError(f"{names.shown(name)} is not a count to scale by", hint=f"each once: {', '.join(counts)}")
    return Initialisation(kind, fan)


def _counts(argument: Argument, entry: ModuleForm, kernel: Kernel) -> list[str]:
    """What a fan may name: axes of the module's parameters, this parameter's components, the algebra's grades."""
    sources = {form.input or name for name, form in entry.parameters.items()}
    axes = [a for other in kernel.inputs if other.name in sources and other.type for a in other.type.axes]
    own = [d for d in (argument.type.memory if argument.type else ()) if d in COMPONENT_AXES]
    return list(dict.fromkeys([*axes, *map(str, own), *(["grade"] if kernel.memory else [])]))


# sizes


def _sizes(
    document: Document, here: Place, entry: ModuleForm, kernel: Kernel, parameters: Sequence[Parameter]
) -> Iterator[tuple[str, str]]:
    """Each axis of the parameters with its argument: as `sizes` lists them, then by first appearance."""
    inputs = {parameter.input for parameter in parameters}
    axes = list(dict.fromkeys(x for a in kernel.inputs if a.name in inputs and a.type for x in a.type.axes))
    for axis in entry.sizes:
        with document.noting((*here, "sizes", axis), key=True):
            if axis not in axes and len(parameters) == len(entry.parameters):
                raise KgenError(f"no parameter has an axis {names.shown(axis)}", hint=_choice(axis, axes))
    for axis in dict.fromkeys([*(axis for axis in entry.sizes if axis in axes), *axes]):
        yield axis, entry.sizes.get(axis, axis)


def _check_names(
    document: Document, here: Place, entry: ModuleForm, kernel: Kernel, sizes: Sequence[tuple[str, str]]
) -> None:
    """Options, sizes and parameters: all of them attributes of one object."""
    taken: list[str] = []
    for option in kernel.options:
        with document.noting((*here, "kernel")):
            check_attribute(option.name, f"an option of module {names.shown(str(here[-1]))}", taken)
        taken.append(option.name)
    for argument in dict.fromkeys(argument for _, argument in sizes):
        axis = next(axis for axis, other in sizes if other == argument)
        with document.noting((*here, "sizes", axis) if axis in entry.sizes else (*here, "parameters")):
            check_attribute(argument, "a constructor's argument", taken)
        taken.append(argument)
    for name in entry.parameters:
        with document.noting((*here, "parameters", name), key=True):
            check_attribute(name, "a parameter", taken)


def _choice(name: str, choices: Sequence[str]) -> str:
    near = get_close_matches(name, choices, 1)
    return f"did you mean {near[0]}?" if near else f"one of: {', '.join(choices) or 'none'}"
