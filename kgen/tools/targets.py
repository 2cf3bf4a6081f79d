"""What the command line names: specs, which mean the packages that were generated from them, packages, and devices.

In: paths and the folder of generated packages. Out: loaded packages, of which each is as its spec made it. One that was
changed by hand, or whose spec has changed since, is an error: its own reference, which has the same fault, could not
tell. Nothing is regenerated, so this needs torch alone; a spec that has no package yet is compiled for the occasion.
"""

import contextlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch

from kgen.errors import KgenError, collected
from kgen.spec import stamp
from kgen.tools.problem import load_module
from kgen.write import survey, tree

GENERATED = Path("generated")


@dataclass(frozen=True, slots=True)
class Target:
    """A package that the command line named, by itself or by its spec."""

    name: str  # as written
    path: Path  # the package's folder
    module: ModuleType
    remark: str = ""  # what else there is to know of where it is from


@contextlib.contextmanager
def opened(targets: Sequence[Path], generated: Path) -> Iterator[list[Target]]:
    """The targets' packages for as long as the context lasts, or the mistakes of all targets."""
    with contextlib.ExitStack() as stack:
        yield collected(lambda target: stack.enter_context(_opened(target, generated)), targets)


@contextlib.contextmanager
def _opened(target: Path, generated: Path) -> Iterator[Target]:
    path = package_path(target, generated)
    if path.is_dir() or _is_package(target):
        yield existing(target, path)
        return
    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder) / "generated" / path.name
        tree.write(_compile(target), compiled.parent)
        yield Target(str(target), compiled, load_module(compiled), f"compiled for this, as there is no {path}")


def _is_package(target: Path) -> bool:
    return target.is_dir() or target.suffix == ".py"


def package_path(target: Path, generated: Path) -> Path:
    """The folder, which may be missing, of the package that a spec names, or a folder or its `__init__.py`."""
    if not target.exists():
        raise KgenError(f"no file {target}", hint="name specs, or generated packages")
    if target.is_dir():
        return target
    return target.parent if target.suffix == ".py" else generated / _name(target)


def existing(target: Path, path: Path) -> Target:
    """The package of a target, loaded, if it is as its spec made it."""
    remark = check(path, None if _is_package(target) else target)
    return Target(str(target), path, load_module(path), remark)


# whether a package is as its spec made it


def check(path: Path, spec: Path | None = None) -> str:
    """What could not be checked, "" if nothing; KgenError for a package that is not as its spec made it.

    Without `spec` it is the one that the package's header names, looked for in the folders above. A copy elsewhere has
    none: then only the files' text is checked.
    """
    start = path / "__init__.py"
    if not start.is_file():
        raise KgenError(f"no generated package {path}", hint="run `kgen build` first, or say where with --generated")
    texts = {file: _text(file) for file in sorted(path.rglob("*.py"))}
    if not _is_own(texts[start]):
        raise KgenError(f"{path} is not a generated package", hint="it has no header of kgen's")
    stamps = {file: _stamp(file, text) for file, text in texts.items() if _is_own(text)}
    index = stamps[start]
    for file, found in stamps.items():
        if not found.intact:
            hint = f"change the spec instead; {_rebuild(index.source, path)}, which replaces the package"
            raise KgenError(f"{file} was changed by hand after it was generated", hint=hint)
    spec = spec or _above(path, index.source)
    if spec is None:
        return f"{index.source} is not here, so whether it has changed since is not known"
    parts = stamp.parts(_text(spec))
    own = {name: parts.pop(name) for name in [*parts] if name and name != stamp.MODULES}
    made = {found.spec for file, found in stamps.items() if file.parent.name == "_functions"}
    rest = {found.spec for found in stamps.values() if found.made == "spec"} - made
    if made - {parts[""]} != set(own.values()) or not rest | {index.spec} <= set(parts.values()):
        hint = _rebuild(spec, path)
        raise KgenError(f"{path} is stale: it was not generated from {spec} as that is now", hint=hint)
    return ""


def _is_own(text: str) -> bool:
    """Whether kgen made the file: others may lie beside it."""
    return survey.named_source(text) is not None


def _stamp(file: Path, text: str) -> stamp.Stamp:
    found = stamp.read(text)
    if found:
        return found
    raise KgenError(
        f"{file} does not say which text of its spec made it: its header is another kgen's, or was changed by hand",
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
    """The package's name: the spec's `name:`, read without a YAML parser, which a GPU machine need not have."""
    found = re.search(r"^name:\s*[\"']?(\w+)", _text(spec), re.MULTILINE)
    return found[1] if found else spec.stem


def _compile(spec: Path) -> dict[str, str]:
    try:
        from kgen.pipeline import generate, read

        return generate(read([str(spec)]))
    except ImportError as missing:
        raise KgenError(
            f"{spec} has no generated package, and the compiler is not installed: {missing}",
            hint=f"run `kgen build {spec}` where kgen is installed whole",
        ) from None


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
