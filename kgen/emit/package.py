"""From kernels to the files of a package: rows for the templates, and the formatted results.

In: a `Spec`. Out: the source text of its package's files by path, black-formatted, the same bytes for the same spec
everywhere. Nothing in the files of one function depends on another function of the spec:

    vga3d/__init__.py             what the package offers, by name
    vga3d/_functions/sgp.py       what `sgp` takes and gives, its reference, its operators
    vga3d/_kernels/sgp.py         its kernels, forward and backward, and what launches them
    vga3d/_kernels/sgp_second.py  those of the second derivatives
    vga3d/_modules.py             nn.Modules
    vga3d/_reference.py           what the references call
    vga3d/_runtime/               plain Python, the same in every package
"""

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from textwrap import shorten, wrap
from typing import Any

from kgen.compiler import template_folder
from kgen.emit.host.functions import Function, function_row
from kgen.emit.host.launchers import launcher_rows
from kgen.emit.host.operators import operator_row
from kgen.emit.host.variant import Variant
from kgen.emit.kernel.forms import sections
from kgen.emit.kernel.rows import KernelText
from kgen.emit.kernel.shared import shared
from kgen.emit.nn.torch_modules import module_rows
from kgen.emit.text.banner import BANNER, banner, source_name
from kgen.emit.text.constants import algebra, description, weights_of
from kgen.emit.text.conventions import weights
from kgen.emit.text.docstrings import formula
from kgen.emit.text.render import render
from kgen.emit.text.tidy import LINE_LENGTH, exploded, laid_out, tidy
from kgen.emit.variants import variants_of, work_of
from kgen.errors import KgenError
from kgen.reference import source as reference
from kgen.schedule.buffers import plan
from kgen.schedule.launch_rows import launch_rows, spelled
from kgen.spec import stamp
from kgen.spec.model import Kernel, Spec
from kgen.spec.private_names import definition_name, file_stem

FUNCTIONS, KERNELS, RUNTIME = "_functions", "_kernels", "_runtime"
SECOND = "_second"  # what follows the name of a file of second derivatives
TITLE = LINE_LENGTH - len('"""')
PARTS_OF_RUNTIME = (
    "arguments",
    "attention",
    "device",
    "launch",
    "matmul",
    "narrow",
    "segments",
)  # what launchers call, by module


def emit(spec: Spec, of: Callable[[Kernel], dict[str, str]] | None = None) -> dict[str, str]:
    """The package of a spec, by path below the folder of packages; `of` may say what becomes of a kernel."""
    files = {"__init__": _index(spec), FUNCTIONS: _folder(spec, "functions"), KERNELS: _folder(spec, "kernels")}
    for kernel in spec.kernels:
        files |= of(kernel) if of else of_kernel(spec, kernel)
    files |= {"_modules": _modules(spec)} if spec.modules else {}
    files |= {"_reference": _reference(spec)}
    placed = {f"{spec.name}/{_path(name)}": text for name, text in files.items()}
    return placed | {f"{spec.name}/{RUNTIME}/{name}": text for name, text in runtime().items()}


def _path(name: str) -> str:
    return f"{name}/__init__.py" if name in (FUNCTIONS, KERNELS) else f"{name}.py"


def of_kernel(spec: Spec, kernel: Kernel) -> dict[str, str]:
    """The files of one kernel, which depend on no other: by path in the package, without suffix."""
    variants = variants_of(spec, kernel)
    _refuse_unused(kernel, variants)
    name = file_stem(kernel.name)
    parts = {name: slice(0, 2), f"{name}{SECOND}": slice(2, None)}
    files = {file: _kernels(spec, kernel, variants, part) for file, part in parts.items()}
    present = tuple(file for file, text in files.items() if text)
    found = {f"{KERNELS}/{file}": files[file] for file in present}
    return {f"{FUNCTIONS}/{name}": _function(spec, kernel, variants, present)} | found


def _refuse_unused(kernel: Kernel, variants: Sequence[Variant]) -> None:
    """A precision is of matrix products, as rows of few features are: without any it promises what nothing keeps."""
    programs = [p for v in variants for p in v.programs]
    if kernel.narrow and not any(p.narrow for p in programs):
        reason = next((p.unfit for p in programs if p.unfit), "it has no matrix product")
        message = f"`{kernel.name}` is narrow, but nothing can be multiplied inside of its kernels: {reason}"
        raise KgenError(message, kernel.mark, "leave `narrow` out")
    if kernel.precision and not any(p.multiplied for v in variants for p in v.programs):
        hint = "sums and functions are in fp32 always: leave `precision` out"
        raise KgenError(f"`{kernel.name}` has a precision, but no matrix product", kernel.mark, hint)


def _header(
    spec: Spec, title: str, kernel: str = "", graph: str = "", seal: bool = True, doc: str = ""
) -> dict[str, str]:
    made = stamp.line(graph or spec.part(kernel), source_name(spec.path), "graph" if graph else "spec", seal)
    return {"title": shorten(title, TITLE, placeholder=" …"), "banner": banner(spec.path), "stamp": made, "doc": doc}


def _finished(template: str, **rows: Any) -> str:
    return stamp.sealed(tidy(render(template, **rows)))


# the package's own files


def _index(spec: Spec) -> str:
    """What the package offers. Its text has no digest: a kernel that is added or removed changes its own lines only."""
    offered: dict[str, dict[str, str]] = {
        f".{FUNCTIONS}.{file_stem(k.name)}": {
            k.name: definition_name(k.name),
            f"{k.name}_reference": f"{k.name}_reference",
        }
        for k in spec.kernels
    }
    offered |= {"._modules": {m.name: definition_name(m.name) for m in spec.modules}} if spec.modules else {}
    tables = ["KERNELS", *(["PATHS"] if _has_paths(spec) else []), *(["WEIGHTS"] if weights(spec) else [])]
    offered[f".{RUNTIME}.registry"] = {name: name for name in tables}
    offered[f".{RUNTIME}.sharding"] = {"register_sharding": "register_sharding"}
    if weights(spec):
        converters = ("CONVENTIONS", "Convention", "weights_from", "weights_to")
        offered[f".{RUNTIME}.weights"] = {name: name for name in converters}
    constants = algebra(spec)
    names = [name for found in offered.values() for name in found] + re.findall(r"^(\w+) = ", constants, re.MULTILINE)
    head, doc = _summary(spec)
    imports = "\n".join(_imports(module, found) for module, found in sorted(offered.items()))
    return _finished(
        "index",
        h=_header(spec, head, seal=False, doc=doc),
        imports=laid_out(imports).strip(),
        names=sorted(names),
        constants=laid_out(constants),
    )


def _summary(spec: Spec) -> tuple[str, str]:
    """The first line of the package's docstring, and what follows: what the spec says, its first sentence apart."""
    paragraphs = [" ".join(part.split()) for part in spec.doc.strip().split("\n\n")]
    first, rest = (*re.split(r"(?<=\.) (?=[A-Z])", paragraphs[0], maxsplit=1), "")[:2]  # not behind "et al."
    head = f"{spec.name}: {first.rstrip('.')}."
    if first and len(head) <= TITLE:
        paragraphs[0] = rest
    else:
        head = f"{spec.name}: what the package offers."
    filled = ("\n".join(wrap(part, LINE_LENGTH, break_on_hyphens=False)) for part in paragraphs if part)
    return head, "\n\n".join(filled)


def _has_paths(spec: Spec) -> bool:
    return any(weights_of(spec, kernel) for kernel in spec.kernels)


def _folder(spec: Spec, what: str) -> str:
    """The file that makes a folder a part of the package."""
    return _finished("header", h=_header(spec, f"The {what} of {spec.name}, each in files of its own."))


def _modules(spec: Spec) -> str:
    """The nn.Modules, with the functions that they call."""
    classes = _join(render("torch_module", m=module_rows(spec, module)) for module in spec.modules)
    called = dict.fromkeys(name for module in spec.modules for name in module.kernels)
    wanted = {f".{FUNCTIONS}.{file_stem(n)}": {definition_name(n): definition_name(n)} for n in called}
    checks = ("check_flag", "check_probability", "number")
    wanted[f".{RUNTIME}.arguments"] = {f"_{n}": n for n in checks if f"_{n}(" in classes}
    wanted[f".{RUNTIME}.blades"] = {"_on_blades": "on_blades"} if "_on_blades(" in classes else {}
    imports = "\n".join(_imports(module, found) for module, found in sorted(wanted.items()) if found)
    head = _header(spec, f"Modules of {spec.name}: parameters and options around its functions.", stamp.MODULES)
    typed = ": _Any" in classes
    return _finished("modules", h=head, typed=typed, imports=laid_out(imports).strip(), classes=classes)


def _reference(spec: Spec) -> str:
    """The functions that the references call, over the algebra's blades."""
    head = _header(
        spec, f"What the references of {spec.name} call: plain torch, any device, differentiable to any order."
    )
    text = reference.helpers(spec)
    return _finished("reference", h=head, functions="\n" * text.startswith(("def ", "@")) + text)


def _sources() -> Path:
    """The folder of the runtime's files."""
    return template_folder() / "runtime"


@lru_cache
def runtime() -> dict[str, str]:
    """The files that are the same in every package, under a line that says where they are from."""
    found = {}
    for path in sorted(_sources().glob("*.py")):
        text = path.read_text(encoding="utf-8")
        head = f"# {BANNER} from templates/runtime/{path.name} — do not edit"
        line = stamp.line(stamp.digest(text), "", "runtime")
        found[path.name] = stamp.sealed(f"{head}\n# {line}\n{text}")
    return found


# a kernel's files


def _function(spec: Spec, kernel: Kernel, variants: Sequence[Variant], files: Sequence[str]) -> str:
    row = function_row(spec, kernel, variants)
    text = reference.function(spec, kernel)
    referred = sorted(set(re.findall(r"\b_ref_\w+", text)))
    call = "call" if len(variants[0].forward.outputs) == 1 else "call_several"
    wanted = {
        ".._reference": {name: name for name in referred},
        f"..{RUNTIME}.arguments": {f"_{name}": name for name in _checks(row)},
        f"..{RUNTIME}.operators": {"_call": call},
        f"..{RUNTIME}.registration": {"_variant": "variant"},
        f"..{RUNTIME}.registry": {"_describe": "describe"},
    }
    imports = "\n".join(_imports(module, found) for module, found in sorted(wanted.items()) if found)
    return _finished(
        "function",
        h=_header(spec, f"{kernel.name}: the function, its torch reference and its operators.", kernel.name),
        imports=laid_out(imports).strip(),
        description=exploded("_describe(", description(spec, kernel, work_of(variants), files), ")").strip(),
        reference=text,
        operators=laid_out("\n".join(render("operator", v=operator_row(w)) for v in variants for w in v.both)).strip(),
        f=row,
    )


def _checks(row: Function) -> Iterator[str]:
    """What a public function calls of the runtime before its operator."""
    yield from ["check_flag"] * bool(row.flags) + ["check_probability"] * bool(row.probabilities)
    called = {text.partition("(")[0].removeprefix("_") for way in row.variants for text in way.inputs if "(" in text}
    yield from sorted(called)


def _kernels(spec: Spec, kernel: Kernel, variants: Sequence[Variant], part: slice) -> str:
    """The kernels of some orders of all variants, and their launchers; "" where there are none."""
    every = [w for v in variants for w in v.both[::-1]]
    programs = {v.name: [p for program in v.programs[part] for p in program.both] for v in every}
    if not any(programs.values()):
        return ""
    rows = [row for v in every for row in launch_rows(k for p in programs[v.name] for k in p.every_kernel)]
    kernels = {v.name: list(_kernel_texts(programs[v.name])) for v in every}
    functions, called = shared([text for group in kernels.values() for text in group])
    by_name = {text.name: render(text.form, k=text) for text in called}
    texts = [(name, _join(by_name[text.name] for text in group)) for name, group in kernels.items() if group]
    lines = formula(spec, kernel)
    inlined = _join(render("shared", f=function, title=function.title(lines)) for function in functions)
    table = [f"{name!r}: launch.{spelled(row)}" for name, row in rows]
    launchers = _join(render("launcher", p=row) for v in every for row in launcher_rows(v, plan)[part])
    second = bool(part.start)
    what = "second derivatives" if second else "forward and backward" if kernel.grads else "forward"
    graphs = "\n".join(str(p.graph) for v in every for p in v.programs[part])
    return _finished(
        "kernels",
        h=_header(spec, f"Kernels of {kernel.name}, {what}.", graph=stamp.digest(graphs)),
        imports=_kernel_imports("\n".join([inlined, *by_name.values()]), launchers, bool(rows)),
        launch_table=exploded("LAUNCH = {", table, "}") if rows else "",
        shared=inlined,
        sections=[{"title": name, "formula": lines, "kernels": text} for name, text in texts],
        launchers=launchers,
    )


def _kernel_texts(programs: Sequence[Any]) -> Iterable[KernelText]:
    return (text for p in programs for kernel in p.every_kernel for text in sections(kernel, p.graph.builder))


def _kernel_imports(kernels: str, launchers: str, table: bool) -> str:
    """What a file of kernels needs, by what its text reads."""
    calls = f"{launchers}\n{'launch.' if table else ''}"
    parts = [name for name in PARTS_OF_RUNTIME if re.search(rf"\b{name}\.", calls)]
    used = sorted(set(re.findall(r"\b_[a-z]\w*\b", kernels)) & device_functions())
    lines = ["import math"] * bool(re.search(r"\bmath\.", launchers))
    lines += ["import torch"] * bool(re.search(r"\btorch\.", launchers))
    lines += ["import triton", "import triton.language as tl"] if kernels else []
    own = [f"from ..{RUNTIME} import {', '.join(parts)}"] if parts else []
    own += [f"from ..{RUNTIME}.kernels import {', '.join(used)}"] if used else []
    standard, others = lines[: "import math" in lines], lines["import math" in lines :]
    return "\n\n".join("\n".join(group) for group in (standard, others, [laid_out("\n".join(own)).strip()]) if group)


@lru_cache
def device_functions() -> frozenset[str]:
    """The functions of the runtime that kernels call."""
    tree = ast.parse((_sources() / "kernels.py").read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def _imports(module: str, names: dict[str, str]) -> str:
    """Imports of names, each as what it is called here, in the order of isort: constants, classes, functions."""
    plain = sorted((own for here, own in names.items() if here == own), key=_rank)
    renamed = sorted((own, here) for here, own in names.items() if here != own)
    lines = [f"from {module} import {', '.join(plain)}"] if plain else []
    return "\n".join(lines + [f"from {module} import {own} as {here}" for own, here in renamed])


def _rank(name: str) -> tuple[int, str]:
    return 0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2, name


def _join(parts: Iterable[str]) -> str:
    return "\n\n\n".join(part.strip("\n") for part in parts)
