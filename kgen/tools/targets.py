"""What the command line names: specs, which mean the modules that were generated from them, modules, and devices.

In: paths and the folder of generated modules. Out: loaded modules, of which each is as its spec made it. One that was
changed by hand, or whose spec has changed since, is an error: its own reference, which has the same fault, could not
tell. Nothing is regenerated, so this needs torch alone; a spec that has no module yet is compiled for the occasion.
"""

import contextlib
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import torch

from kgen.emit.text.banner import BANNER
from kgen.errors import KgenError, KgenErrors
from kgen.spec import stamp
from kgen.tools.problem import load_module

T = TypeVar("T")
S = TypeVar("S")
GENERATED = Path("generated")


@dataclass(frozen=True, slots=True)
class Target:
    """A module that the command line named, by itself or by its spec."""

    name: str  # as written
    path: Path  # of the module
    module: ModuleType
    remark: str = ""  # what else there is to know of where it is from


@contextlib.contextmanager
def opened(targets: Sequence[Path], generated: Path) -> Iterator[list[Target]]:
    """The targets' modules for as long as the context lasts, or the mistakes of all targets."""
    with contextlib.ExitStack() as stack:
        yield collected(lambda target: stack.enter_context(_opened(target, generated)), targets)


@contextlib.contextmanager
def _opened(target: Path, generated: Path) -> Iterator[Target]:
    path = module_path(target, generated)
    if path.is_file() or target.suffix == ".py":
        yield existing(target, path)
        return
    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder) / path.name
        compiled.write_text(_compile(target), encoding="utf-8")
        yield Target(str(target), compiled, load_module(compiled), f"compiled for this, as there is no {path}")


def module_path(target: Path, generated: Path) -> Path:
    """Where the module is, or would be, that a spec or the module itself names."""
    if not target.is_file():
        raise KgenError(f"no file {target}", hint="name specs, or generated modules")
    return target if target.suffix == ".py" else generated / f"{_name(target)}.py"


def existing(target: Path, path: Path) -> Target:
    """The module of a target, loaded, if it is as its spec made it."""
    remark = check(path, None if target == path else target)
    module = load_module(path)
    if not hasattr(module, "KERNELS") or not hasattr(module, "LAUNCH"):
        raise KgenError(f"{path} is not a generated module", hint="it defines no kernels")
    return Target(str(target), path, module, remark)


def collected(function: Callable[[S], T], values: Sequence[S]) -> list[T]:
    """The function of each value, or the mistakes of all."""
    results, errors = [], []
    for value in values:
        try:
            results.append(function(value))
        except KgenError as mistake:
            errors.append(mistake)
    if errors:
        raise errors[0] if len(errors) == 1 else KgenErrors(errors)
    return results


# whether a module is as its spec made it


def check(path: Path, spec: Path | None = None) -> str:
    """What could not be checked, "" if nothing; KgenError for a module that is not as its spec made it.

    Without `spec` it is the one that the module's header names, looked for in the folders above the module. A copy
    elsewhere has none: then only its text is checked.
    """
    found = _stamp(path)
    if not found.intact:
        hint = f"change the spec instead; {_rebuild(found.source, path)}, which replaces the module"
        raise KgenError(f"{path} was changed by hand after it was generated", hint=hint)
    spec = spec or _above(path, found.source)
    if spec is None:
        return f"{found.source} is not here, so whether it has changed since is not known"
    if stamp.digest(_text(spec)) != found.spec:
        raise KgenError(f"{path} is stale: it was not generated from {spec} as that is now", hint=_rebuild(spec, path))
    return ""


def _stamp(path: Path) -> stamp.Stamp:
    if not path.is_file():
        raise KgenError(f"no generated module {path}", hint="run `kgen build` first, or say where with --generated")
    text = _text(path)
    found = stamp.read(text)
    if found:
        return found
    if BANNER not in "".join(text.splitlines()[: stamp.HEAD_LINES]):
        raise KgenError(f"{path} is not a generated module", hint="it has no header of kgen's")
    raise KgenError(
        f"{path} does not say which text of its spec made it: its header is another kgen's, or was changed by hand",
        hint="run `kgen build` on its spec",
    )


def _above(path: Path, source: str) -> Path | None:
    candidates = (folder / source for folder in path.resolve().parents)
    return next((file for file in candidates if file.is_file()), None)


def _rebuild(spec: str | Path, path: Path) -> str:
    folder = path.parent
    out = "" if folder.resolve() == GENERATED.resolve() else f" --out {folder}"
    return f"run `kgen build {spec}{out}`"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise KgenError(f"cannot read {path}: {error.strerror}") from None


def _name(spec: Path) -> str:
    """The module's name: the spec's `name:`, read without a YAML parser, which a GPU machine need not have."""
    found = re.search(r"^name:\s*[\"']?(\w+)", _text(spec), re.MULTILINE)
    return found[1] if found else spec.stem


def _compile(spec: Path) -> str:
    try:
        from kgen.pipeline import module
        from kgen.spec.load import load
    except ImportError as missing:
        raise KgenError(
            f"{spec} has no generated module, and the compiler is not installed: {missing}",
            hint=f"run `kgen build {spec}` where kgen is installed whole",
        ) from None
    return module(load(str(spec)))


# devices


def find_device(name: str) -> torch.device:
    """The torch device of that name; by default a GPU if there is one."""
    if not name:
        name = next((kind for kind in ("cuda", "xpu") if getattr(torch, kind).is_available()), "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as failure:
        message = next(iter(str(failure).splitlines()), "")
        raise KgenError(f"no device {name!r}: {message}", hint="such as cpu or cuda") from None
