"""Parameters of modules as specs write them: entries under `parameters:` in, `model.Parameter` out, mistakes noted.

A parameter is a differentiable input of the module's kernel, or of all kernels that it chooses between. It may be
stored with ones between its dims, with several of them as one, and may be one set of values for all blades of some
grades.
"""

import re
from collections.abc import Iterator, Sequence
from functools import partial

from kgen.errors import KgenError
from kgen.spec import names
from kgen.spec.choices import choice, nearest
from kgen.spec.document import Document, Place
from kgen.spec.entries import INITIALISATIONS
from kgen.spec.model import COMPONENT_AXES, ELLIPSIS, Argument, Initialisation, Kernel, Parameter, Switch
from kgen.spec.schema import ModuleForm, ParameterForm

CONSTANTS = ("zeros", "ones")
DISTRIBUTIONS = ("normal", "uniform")
FORM = re.compile(r"\s*(?P<kind>\w+)\s*(\((?P<fan>[^()]*)\))?\s*")


def parameters(
    document: Document, here: Place, entry: ModuleForm, kernels: Sequence[Kernel], switches: Sequence[Switch]
) -> Iterator[Parameter]:
    """The parameters without mistakes; kernels are all that the module may call."""
    if not entry.parameters:
        with document.noting((*here, "parameters")):
            raise KgenError("a module has at least one parameter", hint="without one, call the kernel's function")
    seen: dict[str, str] = {}
    for name, form in entry.parameters.items():
        place = (*here, "parameters", name)
        source = form.input or name
        arguments: list[Argument | None] = []
        with document.noting((*place, "input") if form.input else place, key=not form.input):
            arguments = [_argument(kernel, source) for kernel in kernels]
            if seen.setdefault(source, name) != name:
                other = names.shown(seen[source])
                raise KgenError(f"{names.shown(source)} is already parameter {other}", hint="each input is one tensor")
        known = [argument for argument in arguments if argument]
        if len(known) == len(kernels):
            yield from _parameter(document, place, form, known, _counts(form, known, entry, kernels), switches)


def _argument(kernel: Kernel, name: str) -> Argument | None:
    """A differentiable input whose extents a constructor can know; None where its type has a mistake of its own."""
    found = next((a for a in kernel.inputs if a.name == name), None)
    if found is None:
        hint = nearest(name, [a.name for a in kernel.inputs])
        raise KgenError(f"{names.shown(name)} is not an input of kernel `{kernel.name}`", hint=hint)
    if found.type is None:
        return None
    if name not in kernel.grads:
        hint = f"differentiable inputs: {', '.join(kernel.grads) or 'none'}"
        raise KgenError(f"{names.shown(name)} is not differentiable in kernel `{kernel.name}`", hint=hint)
    if ELLIPSIS in found.type.memory:
        hint = "a type with a suffix has axes of its own, such as multivector[n]"
        raise KgenError(f"{names.shown(name)} has leading axes `...`, whose extents no constructor knows", hint=hint)
    return found


def _parameter(
    document: Document,
    place: Place,
    form: ParameterForm,
    arguments: Sequence[Argument],
    counts: Sequence[str],
    switches: Sequence[Switch],
) -> Iterator[Parameter]:
    before = len(document.errors)
    at = (*place, "init") if (*place, "init") in document.keys else place
    initialisation = choice(document, at, form.init, switches, partial(_initialisation, counts))
    grades = None
    if form.grades is not None:
        read = partial(_grades, document, arguments)
        grades = choice(document, (*place, "grades"), form.grades, switches, read)
    with document.noting((*place, "shape")):
        _check_shape(form, arguments)
    if initialisation and len(document.errors) == before:
        shape = tuple(map(_factors, form.shape)) if form.shape is not None else None
        yield Parameter(str(place[-1]), arguments[0].name, initialisation, shape, grades, document.key(place))


# initialisation


def _initialisation(counts: Sequence[str], text: str, place: Place) -> Initialisation:
    match = FORM.fullmatch(text) if len(text) <= 200 else None
    kind = match["kind"] if match else ""
    if match is None or kind not in (*CONSTANTS, *DISTRIBUTIONS):
        hint = nearest(kind, [*CONSTANTS, *DISTRIBUTIONS]) if kind else INITIALISATIONS
        raise KgenError(f"{names.shown(text)} is not an initialisation", hint=hint)
    fan = tuple(part.strip() for part in (match["fan"] or "").split(",")) if (match["fan"] or "").strip() else ()
    if bool(fan) != (kind in DISTRIBUTIONS) or (match["fan"] is not None and not fan):
        example = f"{kind}(n): 1 / sqrt(n) is its scale" if kind in DISTRIBUTIONS else kind
        raise KgenError(f"{names.shown(text)} is not an initialisation", hint=f"as in {example}")
    for i, name in enumerate(fan):
        if name not in counts or name in fan[:i]:
            raise KgenError(f"{names.shown(name)} is not a count to scale by", hint=f"each once: {', '.join(counts)}")
    return Initialisation(kind, fan)


def _counts(
    form: ParameterForm, arguments: Sequence[Argument], entry: ModuleForm, kernels: Sequence[Kernel]
) -> list[str]:
    """What a fan may name: axes of the module's parameters, this parameter's components, the algebra's grades."""
    sources = {other.input or name for name, other in entry.parameters.items()}
    axes = [x for k in kernels for a in k.inputs if a.name in sources and a.type for x in a.type.axes]
    own = [d for d in COMPONENT_AXES if all(d in _dims(form, a) for a in arguments)]
    return list(dict.fromkeys([*axes, *own, *(["grade"] if kernels[0].memory else [])]))


# storage


def _grades(document: Document, arguments: Sequence[Argument], grades: Sequence[int], place: Place) -> tuple[int, ...]:
    present = [a.type.grades if a.type and a.type.kind == "multivector" else () for a in arguments]
    if not all(present):
        raise KgenError(f"`{arguments[0].name}` is no multivector: it has no grades", hint="leave `grades` out")
    if not grades:
        raise KgenError("at least one grade has the parameter's values", hint="as in grades: [0]")
    for i, grade in enumerate(grades):
        if grade in grades[:i] or not all(grade in own for own in present):
            with document.noting((*place, i)):
                hint = f"each once: {', '.join(map(str, present[0]))}"
                raise KgenError(f"`{arguments[0].name}` has no grade {grade} to fill", hint=hint)
    return tuple(sorted(grades))


def _check_shape(form: ParameterForm, arguments: Sequence[Argument]) -> None:
    """Refuse a shape that is not the input's dims, in their order, products of adjacent ones, and ones."""
    for argument in arguments if form.shape is not None else ():
        expected = _dims(form, argument)
        if _longer(form.shape or ()) != _longer(expected):
            hint = f"the input's dims, products of adjacent ones and ones between them: [{', '.join(expected)}]"
            raise KgenError(f"a parameter for `{argument.name}` cannot have this shape", hint=hint)


def _longer(dims: Sequence[str]) -> list[str]:
    return [part for d in dims for part in _factors(d) if part != "1"]


def _factors(dim: str) -> tuple[str, ...]:
    """The dims of the input that one of a shape is the product of, slowest first."""
    return tuple(part.strip() for part in dim.split("*"))


def _dims(form: ParameterForm, argument: Argument) -> list[str]:
    """The input's dims, apart from that of the blades that the parameter fills."""
    memory = [str(d) for d in argument.type.memory] if argument.type else []
    return [d for d in memory if d != "blade" or form.grades is None]
