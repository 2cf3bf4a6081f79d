"""nn.Modules as specs write them: an entry under `modules:` in, `model.Module` out, mistakes noted in the document.

A module is a table: the kernel that forward calls, the inputs that are parameters, what their axes are called in the
constructor, and what they start from. Options of the kernel become options of the constructor, and the other inputs are
what forward takes. Options of the module's own choose between kernels, initialisations and grades.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from kgen.errors import KgenError
from kgen.spec import names
from kgen.spec.choices import WORD, choice, nearest
from kgen.spec.class_names import LIST, MODE, check_class, check_constructor, check_parameter
from kgen.spec.document import Document, Place
from kgen.spec.model import EVERY, Choice, Kernel, Module, Parameter, Switch
from kgen.spec.parameter_forms import parameters
from kgen.spec.schema import ModuleForm, SpecForm

MULTIPLE = re.compile(r"\s*(?P<count>[1-9]\d{0,3})\s*\*\s*(?P<axis>\w+)\s*")  # of another axis
KEY = re.compile(r"[A-Za-z0-9_.]{1,200}(\.\*)?")  # of a state dict, or all keys of a module within


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
    switches = tuple(_switches(document, here, entry))
    kernel = _kernel(document, here, entry, kernels, switches)
    called = [k for k in kernels if kernel and k.name in kernel.values]
    if kernel is None or len(called) < len(set(kernel.values)):
        return None
    _check_alike(document, here, form, kernel, called)
    found = tuple(parameters(document, here, entry, called, switches))
    sizes = tuple(_sizes(document, here, entry, called, found))
    _check_names(document, here, entry, called[0], sizes)
    _check_ignored(document, here, entry)
    if len(document.errors) > before:
        return None
    return Module(name, entry.doc.strip(), kernel, switches, sizes, found, tuple(entry.ignore), document.key(here))


# options and kernels


def _switches(document: Document, here: Place, entry: ModuleForm) -> Iterator[Switch]:
    """Options of the module; the cases of words are those of the first choice between them."""
    written: list[Mapping[str, Mapping[str, object]]] = [
        entry.kernel,
        *(form.init for form in entry.parameters.values()),
    ]
    written += [form.grades for form in entry.parameters.values() if form.grades is not None]
    for name, default in entry.options.items():
        place = (*here, "options", name)
        chosen = next((w[name] for w in written if name in w), None)
        with document.noting(place, key=True):
            if chosen is None:
                hint = "options choose a kernel, an init or grades, as in kernel: {fast: {true: f, false: g}}"
                raise KgenError(f"option {names.shown(name)} chooses nothing", hint=hint)
        words = tuple(word for word in chosen or () if WORD.fullmatch(word))
        cases = (False, True) if isinstance(default, bool) else words
        with document.noting(place):
            if chosen is not None and default not in cases:
                raise KgenError(f"{names.shown(str(default))} is none of its cases", hint=f"one of: {', '.join(words)}")
        yield Switch(name, default, cases)


def _kernel(
    document: Document, here: Place, entry: ModuleForm, kernels: Sequence[Kernel], switches: Sequence[Switch]
) -> Choice[str] | None:
    """The names of its kernels; some may be of kernels with mistakes of their own."""

    def named(name: str, place: Place) -> str:
        every = [kernel.name for kernel in kernels]
        if name not in every and ("kernels", name) not in document.keys:
            raise KgenError(f"there is no kernel {names.shown(name)}", hint=nearest(name, every))
        return name

    return choice(document, (*here, "kernel"), entry.kernel, switches, named)


def _check_alike(
    document: Document, here: Place, form: SpecForm, kernel: Choice[str], called: Sequence[Kernel]
) -> None:
    """Refuse kernels that could not be called with the same arguments, the parameters' extents apart."""
    first, *others = called
    own = {entry.input or name for name, entry in form.modules[str(here[-1])].parameters.items()}
    for other in others:
        with document.noting((*here, "kernel")):
            between = f"kernels `{first.name}` and `{other.name}` differ in"
            if [(o.name, o.default) for o in other.options] != [(o.name, o.default) for o in first.options]:
                raise KgenError(f"{between} their options", hint="a module's kernels have the same, with one default")
            if list(form.kernels[other.name].inputs) != list(form.kernels[first.name].inputs):
                raise KgenError(f"{between} their inputs", hint="a module's kernels have the same, in the same order")
            types = {a.name: a.type for a in first.inputs if a.type}
            for a in other.inputs:
                if a.name not in own and a.type and a.type != types.get(a.name, a.type):
                    hint = "what forward takes has the same type in all of a module's kernels"
                    raise KgenError(f"{between} input `{a.name}`", hint=hint)


# sizes and names


def _sizes(
    document: Document, here: Place, entry: ModuleForm, kernels: Sequence[Kernel], found: Sequence[Parameter]
) -> Iterator[tuple[str, str]]:
    """Each axis of the parameters with its extent: as `sizes` lists them, then by first appearance."""
    inputs = {parameter.input for parameter in found}
    arguments = [a for kernel in kernels for a in kernel.inputs if a.name in inputs]
    axes = list(dict.fromkeys(x for a in arguments if a.type for x in a.type.axes))
    for axis in entry.sizes:
        with document.noting((*here, "sizes", axis), key=True):
            if axis not in axes and len(found) == len(entry.parameters):
                raise KgenError(f"no parameter has an axis {names.shown(axis)}", hint=nearest(axis, axes))
    for axis in dict.fromkeys([*(axis for axis in entry.sizes if axis in axes), *axes]):
        extent = entry.sizes.get(axis, axis)
        if match := MULTIPLE.fullmatch(extent):
            of = match["axis"]
            with document.noting((*here, "sizes", axis)):
                if of not in axes or "*" in entry.sizes.get(of, of):
                    known = [other for other in axes if "*" not in entry.sizes.get(other, other)]
                    raise KgenError(f"{names.shown(of)} is no axis to be a multiple of", hint=nearest(of, known))
            extent = f"{int(match['count'])} * {entry.sizes.get(of, of)}"
        yield axis, extent


def _check_names(
    document: Document, here: Place, entry: ModuleForm, kernel: Kernel, sizes: Sequence[tuple[str, str]]
) -> None:
    """Options, sizes and parameters: all of them attributes of one object."""
    held = {p.input or name for name, p in entry.parameters.items() if p.shape is None and p.grades is None}
    if "self" in {argument.name for argument in kernel.inputs} - held:
        with document.noting((*here, "kernel")):
            raise KgenError("`self` is an input of the module's kernel", hint="which forward, a method, cannot take")
    taken = [*LIST] if any(name.split(".")[0].isdigit() for name in entry.parameters) else []
    for option in (o for o in kernel.options if o.name != MODE or o.name in kernel.numbers):
        with document.noting((*here, "kernel")):
            check_constructor(option.name, f"an option of module {names.shown(str(here[-1]))}", taken)
        taken.append(option.name)
    for name in entry.options:
        with document.noting((*here, "options", name), key=True):
            check_constructor(name, "an option", taken)
        taken.append(name)
    for argument in dict.fromkeys(extent for _, extent in sizes if " * " not in extent):
        axis = next(axis for axis, other in sizes if other == argument)
        with document.noting((*here, "sizes", axis) if axis in entry.sizes else (*here, "parameters")):
            check_constructor(argument, "a constructor's argument", taken)
        taken.append(argument)
    for i, name in enumerate(entry.parameters):
        with document.noting((*here, "parameters", name), key=True):
            check_parameter(name, taken, list(entry.parameters)[:i])


def _check_ignored(document: Document, here: Place, entry: ModuleForm) -> None:
    for i, key in enumerate(entry.ignore):
        with document.noting((*here, "ignore", i)):
            if not KEY.fullmatch(key):
                hint = "keys are ASCII letters, digits, underscores and dots; `layer.*` are all of a layer"
                raise KgenError(f"{names.shown(key)} is not a key of a state dict", hint=hint)
            held = [n for n in entry.parameters if n == key or (key.endswith(EVERY) and n.startswith(key[:-1]))]
            if held or key in entry.ignore[:i]:
                what = "a parameter" if key in held else f"of parameter {held[0]}, too" if held else "listed twice"
                raise KgenError(
                    f"{names.shown(key)} is {what}", hint="`ignore` lists keys that are no parameters, once"
                )
