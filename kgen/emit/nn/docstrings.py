"""The docstring of a module's class, and what differs between its settings in words."""

from collections.abc import Iterator
from textwrap import wrap

from kgen.emit.nn.extents import COUNTED, Around, spelled, switches_of
from kgen.emit.nn.settings import in_words, quoted
from kgen.emit.text.banner import source_name
from kgen.emit.text.constants import dims, tensors
from kgen.emit.text.docstrings import docstring, option, shape
from kgen.graph.tensor import Tensor
from kgen.spec.class_names import MODE
from kgen.spec.model import Choice, Module, Parameter, Settings, Switch

WIDTH = 110  # of lines within a docstring


def document(a: Around) -> str:
    """Meaning, constructor, parameters with shapes and initialisation, forward, source."""
    module = a.module
    given = [t for t in a.inputs if t.name not in [p.input for p in module.parameters]]
    lines = [*(module.doc.splitlines() or [module.name]), ""]
    held = f"Holds parameters and options of {kernels_in_words(a)}, whose docstring has the formula."
    lines += [*wrap(held, WIDTH), "", "Args:"]
    lines += [f"    {argument}: the extent of {_axes(module, argument)}, at least 1." for argument in module.arguments]
    lines += [f"    {o.name}: {option(o)}." for o in a.options]
    lines += [f"    {s.name}: {_decides(module, s)}, {quoted(s.default)} by default." for s in module.switches]
    lines += ["    device, dtype: of the parameters; torch's defaults if None.", "", "Parameters:"]
    lines += [line for p in module.parameters for line in _parameter(a, p)]
    if len(a.options) < len(a.usual.options):
        lines += ["", f"The kernel's option `{MODE}` is the module's mode, which .train() and .eval() set."]
    lines += ["", f"forward({', '.join(t.name for t in given)}):"]
    lines += [f"    {t.name}: shape {_shape(module, t)}, {'integers' if t.dtype else 'floating'}." for t in given]
    lines += [f"    returns {line}." for line in _results(a)]
    if module.ignored:
        lines += ["", f"A state dict may have {' and '.join(module.ignored)} besides, which loading ignores."]
    lines += ["", f"Source: {source_name(a.spec.path)}."]
    return docstring(lines)


def _axes(module: Module, argument: str) -> str:
    axes = [axis for axis, name in module.sizes if name == argument]
    return ("axis " if len(axes) == 1 else "axes ") + " and ".join(axes)


def _decides(module: Module, switch: Switch) -> str:
    """The cases of an option of the module's own, and what they choose between."""
    chosen = ["the kernel"] if module.kernel.switch == switch else []
    chosen += [f"the grades of {p.name}" for p in module.parameters if p.grades and p.grades.switch == switch]
    chosen += [f"what {p.name} is at first" for p in module.parameters if p.initialisation.switch == switch]
    cases = ", ".join(map(quoted, switch.cases))
    words = "" if isinstance(switch.default, bool) else f"one of {cases}, "
    return f"{words}chooses {' and '.join(chosen)}"


def _shape(module: Module, tensor: Tensor) -> str:
    """The shape of a tensor that forward takes or gives."""
    sizes: dict[str | int, str] = dict(module.sizes)
    return shape(tuple(sizes.get(dim, dim) for dim in dims(tensor)))


def _results(a: Around) -> list[str]:
    """What forward returns, a line for each result; by kernel where they differ."""

    def told(settings: Settings) -> str:
        results = tensors(a.spec, a.kernel(settings))[1]
        return "\n".join(f"{t.name}: shape {_shape(a.module, t)}" for t in results)

    return in_words(switches_of(a.module.kernel), told).splitlines()


def _parameter(a: Around, p: Parameter) -> Iterator[str]:
    kernel = switches_of(a.module.kernel)
    renamed = f", the kernel's {p.input}" if p.input != p.name else ""
    yield f"    {p.name}: shape {in_words(kernel, lambda settings: spelled(a.extents(p, settings)))}{renamed};"
    if p.grades:
        yield f"        on the blades of {_grades(p.grades)}, zero elsewhere;"
    start = in_words(switches_of(a.module.kernel, p.initialisation), lambda settings: _start(a, p, settings))
    yield from wrap(f"at first {start}.", WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)


def _grades(choice: Choice[tuple[int, ...]]) -> str:
    def told(settings: Settings) -> str:
        grades = choice.at(settings)
        return ("grade " if len(grades) == 1 else "grades ") + ", ".join(map(str, grades))

    return in_words(switches_of(choice), told)


def _start(a: Around, p: Parameter, settings: Settings) -> str:
    """The initialisation in words."""
    kind = p.initialisation.at(settings).kind
    counts = a.fan(p, settings)
    fan = " * ".join(f"{count} {COUNTED[name]}" if isinstance(count, int) else count for name, count in counts.items())
    match kind:
        case "normal":
            return f"normal, of standard deviation 1 / sqrt({fan})"
        case "uniform":
            return f"uniform, within 1 / sqrt({fan}) of zero"
    return kind


def kernels_in_words(a: Around) -> str:
    """The kernel that forward calls, in every setting."""
    return in_words(switches_of(a.module.kernel), lambda settings: f"`{a.kernel(settings).name}`")
