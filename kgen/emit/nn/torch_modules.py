"""nn.Modules of a spec as finished rows for `torch_module.jinja`: what the class documents, takes, draws and calls.

In: a `model.Module`. Out: a dict of texts. The class holds parameters and options; the public function computes. What
differs with the module's own options is written as a function of their settings (see `settings.py`).
"""

from collections.abc import Iterator, Sequence
from typing import Any

from kgen.emit.nn.docstrings import document, kernels_in_words
from kgen.emit.nn.extents import COUNTED, Around, owned, spelled, switches_of
from kgen.emit.nn.holders import attribute, held, holders, is_list, statement
from kgen.emit.nn.settings import expression, quoted, statements
from kgen.emit.text.constants import tensors
from kgen.spec import draws
from kgen.spec.body import parse_body
from kgen.spec.model import EVERY, Case, Kernel, Module, Parameter, Settings, Spec, Switch
from kgen.spec.private_names import definition_name

LONGEST = 102  # of a string that is returned


def module_rows(spec: Spec, module: Module) -> dict[str, Any]:
    """One class."""
    a = Around(spec, module)
    inputs = a.inputs
    kept = {p.input: p for p in module.parameters}
    constructed = [*module.arguments, *(name for name, _, _ in _options(a))]
    filled = [(p.input, _filled(a, p)) for p in module.parameters if p.shape is not None or p.grades]
    passed = [t.name for t in inputs if t.name not in kept.keys() - dict(filled)]
    torch, names = _seen("torch", constructed), [p.name for p in module.parameters]
    return {
        "name": module.name,
        "definition": definition_name(module.name),
        "hidden": _hidden(a, constructed, passed),
        "torch": torch,
        "error": _seen("ValueError", constructed),
        "base": "ModuleList" if is_list(names) else "Module",
        "initialise": _initialise(names, constructed),
        "doc": document(a),
        "sizes": module.arguments,
        "options": _options(a),
        "probabilities": [name for k in module.kernels for name in _probabilities(spec.kernel(k))],
        "words": [(s.name, _listed(s.cases), ", ".join(map(repr, s.cases))) for s in _of_words(a)],
        "attributes": constructed,
        "parameters": [line for p in module.parameters for line in _constructed(a, p, constructed)],
        "draws": [line for p in module.parameters for line in _draws(a, p)],
        "forward": "".join(f", {t.name}: torch.Tensor" for t in inputs if t.name not in kept),
        "returns": " | ".join(dict.fromkeys(_returned(spec, spec.kernel(name)) for name in module.kernel.values)),
        "called": kernels_in_words(a),
        "filled": filled,
        "kernel": _function(a.usual, passed) if len(module.kernels) == 1 else _fresh("function", passed),
        "choice": _choice(a, passed) if len(module.kernels) > 1 else "",
        "arguments": ", ".join(
            [f"self{attribute(kept[t.name].name)}" if t.name in kept.keys() - dict(filled) else t.name for t in inputs]
            + [f"{o.name}=self.{o.name}" for o in a.usual.options]
        ),
        "ignored": _listed([key for key in module.ignored if not key.endswith(EVERY)]),
        "ignored_within": _listed([key.removesuffix("*") for key in module.ignored if key.endswith(EVERY)]),
        "repr": _lines([f"{n}={{self.{n}}}" for n in [*module.arguments, *(o.name for o in a.options)]]),
        "own_repr": ", ".join(f"{s.name}={{self.{s.name}!r}}" for s in module.switches),
    }


def _options(a: Around) -> list[tuple[str, str, str]]:
    """Keyword-only arguments with their types and defaults: the kernel's, then the module's own."""
    options = [(o.name, "bool" if isinstance(o.default, bool) else "float", repr(o.default)) for o in a.options]
    return options + [(s.name, type(s.default).__name__, quoted(s.default)) for s in a.module.switches]


def _probabilities(kernel: Kernel) -> tuple[str, ...]:
    return draws.probabilities(kernel, parse_body(kernel))


def _of_words(a: Around) -> list[Switch]:
    return [switch for switch in a.module.switches if isinstance(switch.default, str)]


def _listed(texts: Sequence[Case]) -> str:
    return ", ".join(map(quoted, texts))


def _returned(spec: Spec, kernel: Kernel) -> str:
    return "torch.Tensor" if len(tensors(spec, kernel)[1]) == 1 else "tuple[torch.Tensor, ...]"


# what forward calls


def _choice(a: Around, passed: Sequence[str]) -> str:
    return expression(switches_of(a.module.kernel), lambda settings: _function(a.kernel(settings), passed))


def _function(kernel: Kernel, passed: Sequence[str]) -> str:
    return _seen(definition_name(kernel.name), passed)


def _lines(shown: Sequence[str]) -> list[str]:
    """What one string shows, or several side by side where it is longer than a line."""
    found = [", ".join(shown)]
    while len(found[-1]) > LONGEST and ", " in found[-1]:
        cut = max(found[-1].find(", "), found[-1].rfind(", ", 0, LONGEST)) + 2
        found[-1:] = found[-1][:cut], found[-1][cut:]
    return found


def _fresh(name: str, taken: Sequence[str]) -> str:
    return _fresh(name + "_", taken) if name in taken else name


# what arguments would hide


def _seen(name: str, arguments: Sequence[str]) -> str:
    """How a method with these arguments reads a name of the module's."""
    return f"_{name}_global" if name in arguments else name


def _hidden(a: Around, constructed: Sequence[str], passed: Sequence[str]) -> list[str]:
    """Names that a method's arguments hide, and that it reads."""
    read = [name for name in ("torch", "ValueError", *["range"] * _numbered(a.module)) if name in constructed]
    return read + [name for name in map(definition_name, a.module.kernels) if name in passed]


def _filled(a: Around, p: Parameter) -> str:
    """A kernel's input made from a parameter of another shape, or for some blades."""
    switches = switches_of(a.module.kernel, p.grades)

    def whole(settings: Settings) -> str:
        return spelled([1 if d == "blade" and p.grades else extent for d, extent in a.dims(p, settings)], "self.")

    def axis(settings: Settings) -> str:
        return str([d for d, _ in a.dims(p, settings)].index("blade"))

    values = f"self{attribute(p.name)}.reshape({expression(switches, whole)})"
    if not p.grades:
        return values
    blades = expression(switches, lambda settings: spelled(a.blades(p, settings)))
    count = expression(switches, lambda settings: str(dict(a.dims(p, settings))["blade"]))
    return f"_on_blades({values}, {blades}, of={count}, dim={expression(switches, axis)})"


# what the constructor makes


def _initialise(names: Sequence[str], arguments: Sequence[str]) -> str:
    """The call of the base's constructor."""
    torch, range_ = (_seen(name, arguments) for name in ("torch", "range"))
    modules = held(names, torch, range_) if is_list(names) else ""
    if "super" not in arguments:
        return f"super().__init__({modules})"
    return f"{torch}.nn.ModuleList.__init__(self, ({modules}))" if modules else f"{torch}.nn.Module.__init__(self)"


def _constructed(a: Around, p: Parameter, arguments: Sequence[str]) -> Iterator[str]:
    """The statements that make a parameter, and first what holds it."""
    torch, range_ = (_seen(name, arguments) for name in ("torch", "range"))
    yield from holders(p.name, [other.name for other in a.module.parameters], torch, range_)
    empty = f"{torch}.empty({_extents(a, p)}, device=device, dtype=dtype)"
    yield statement(p.name, f"{torch}.nn.Parameter({empty})")


def _numbered(module: Module) -> bool:
    return any(part.isdigit() for p in module.parameters for part in p.name.split("."))


def _extents(a: Around, p: Parameter) -> str:
    return expression(switches_of(a.module.kernel), lambda settings: spelled(a.extents(p, settings)), owner="")


# initialisation


def _draws(a: Around, p: Parameter) -> list[str]:
    """The statements of reset_parameters for one parameter."""
    switches = switches_of(a.module.kernel, p.initialisation)
    return statements(switches, lambda settings: list(_draw(a, p, settings)))


def _draw(a: Around, p: Parameter, settings: Settings) -> Iterator[str]:
    kind, target = p.initialisation.at(settings).kind, f"self{attribute(p.name)}"
    if not p.initialisation.at(settings).fan:
        yield f"torch.nn.init.{kind}_({target})"
        return
    counts = a.fan(p, settings)
    fan = " * ".join(str(count) if isinstance(count, int) else owned(count, "self.") for count in counts.values())
    scale = f"({fan}) ** -0.5" if " " in fan else f"{fan}**-0.5"
    known = [f"{count} {COUNTED[name]}" for name, count in counts.items() if isinstance(count, int)]
    comment = f"  # {', '.join(known)}" if known else ""
    if kind == "normal":
        yield f"torch.nn.init.normal_({target}, std={scale}){comment}"
    else:
        yield f"bound = {scale}{comment}"
        yield f"torch.nn.init.uniform_({target}, -bound, bound)"
