"""The folder of generated files: compare a build with it, and write it. Nothing else in kgen writes generated files.

In: what `pipeline.generate` returns, relative paths and their text, and the folder. Out: `Changes`, a diff, or the
folder itself. Guaranteed:

* a build is written whole or not at all, also when it is killed (see `transaction.py`);
* a file without kgen's banner in its first lines is never replaced and never removed;
* a file whose text is the same is not touched;
* no path leaves the folder;
* modules and proofs whose spec is gone are reported, and removed only on request.
"""

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from kgen.emit.text.banner import BANNER, source_name
from kgen.errors import KgenError, KgenErrors
from kgen.spec import stamp
from kgen.write import transaction

SUFFIXES = (".yaml", ".yml")

Keep = Callable[[str], bool]  # of a spec as banners name it: does its module stay, though this build did not make it?


@dataclass(frozen=True, slots=True)
class Changes:
    """How a build and a folder differ, or what writing it did; relative paths, sorted."""

    created: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()  # generated earlier, from a spec that is gone or no longer makes them
    removed: tuple[str, ...] = ()  # were stale
    edited: tuple[str, ...] = ()  # of the changed: not as they were generated, so that edits by hand are lost

    @property
    def different(self) -> bool:
        return bool(self.created or self.changed or self.stale or self.removed)


def nothing_else(source: str) -> bool:
    """The build is complete: a module that it did not make is stale."""
    return False


def elsewhere(specs: Iterable[str | Path]) -> Keep:
    """Keep the modules of specs that exist beside the given ones, and of other folders; the given ones are built."""
    paths = [Path(spec) for spec in specs]
    built = {source_name(path) for path in paths}
    folders = {path.parent.resolve() for path in paths}
    present = {source_name(file) for folder in folders for file in folder.iterdir() if file.suffix in SUFFIXES}
    names = {folder.name for folder in folders}
    return lambda source: source not in built and (source in present or source.partition("/")[0] not in names)


def check(files: Mapping[str, str], out: Path, keep: Keep = nothing_else) -> Changes:
    """How the folder differs from the build; reads only. Raises KgenError for paths that leave the folder."""
    _validate(files, out)
    current = {path: _read(out / path) for path in sorted(files)}
    same = {path for path in current if current[path] == files[path].encode()}
    changed = {path: text for path, text in current.items() if text is not None and path not in same}
    return Changes(
        created=tuple(path for path in current if current[path] is None),
        changed=tuple(changed),
        unchanged=tuple(path for path in current if path in same),
        stale=_stale(files, out, keep),
        edited=tuple(path for path, text in changed.items() if _edited(text)),
    )


def write(files: Mapping[str, str], out: Path, prune: bool = False, keep: Keep = nothing_else) -> Changes:
    """Make the folder hold the build, and without its stale modules if `prune`.

    Raises KgenError, and leaves the folder as it was, when a file without banner stands in the way or writing fails.
    """
    _validate(files, out)
    place = out.resolve()
    try:
        with transaction.lock(place):
            _finish_interrupted(out)
            changes = check(files, out, keep)
            _refuse_foreign(out, changes.changed)
            removed = changes.stale if prune else ()
            written = {path: files[path].encode() for path in (*changes.created, *changes.changed)}
            if written or removed:
                transaction.commit(place, written, removed)
    except OSError as error:
        raise KgenError(f"cannot write {out}: {error.strerror or error}") from error
    stale = () if prune else changes.stale
    return replace(changes, stale=stale, removed=removed)


def diff(files: Mapping[str, str], out: Path, prune: bool = False, keep: Keep = nothing_else) -> str:
    """A unified diff from the folder to the build, empty when they agree; stale modules vanish in it if `prune`."""
    changes = check(files, out, keep)
    after: dict[str, str | None] = {path: files[path] for path in (*changes.created, *changes.changed)}
    if prune:
        after |= dict.fromkeys(changes.stale)
    return "".join(_file_diff(path, _read(out / path), after[path]) for path in sorted(after))


def _file_diff(path: str, before: bytes | None, after: str | None) -> str:
    old = "" if before is None else before.decode(errors="replace")
    names = "/dev/null" if before is None else f"a/{path}", "/dev/null" if after is None else f"b/{path}"
    lines = difflib.unified_diff(_lines(old), _lines(after or ""), *names)
    return "".join(line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines)


def _lines(text: str) -> list[str]:
    # Not str.splitlines: it also splits at form feeds and other characters that patch does not count as line ends.
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _validate(files: Mapping[str, str], out: Path) -> None:
    if os.path.lexists(out) and not out.is_dir():
        raise KgenError(f"{out} is not a folder", hint="name the folder of the generated modules with --out")
    errors = [KgenError(f"{path!r} is not a path inside {out}") for path in sorted(files) if not _is_inside(path, out)]
    errors += [KgenError(f"{out / path} is a folder") for path in sorted(files) if not errors and (out / path).is_dir()]
    if errors:
        raise KgenErrors(errors)


def _is_inside(path: str, out: Path) -> bool:
    parts = PurePosixPath(path).parts
    plain = bool(parts) and "\\" not in path and "\0" not in path and not path.startswith("/") and ".." not in parts
    return plain and (out / path).parent.resolve().is_relative_to(out.resolve())


def _finish_interrupted(out: Path) -> None:
    waiting = transaction.pending(out.resolve())
    _validate(dict.fromkeys(waiting, ""), out)
    _refuse_foreign(out, waiting)
    transaction.recover(out.resolve())


def _refuse_foreign(out: Path, paths: Iterable[str]) -> None:
    foreign = [out / path for path in paths if (out / path).exists() and _source(out / path) is None]
    hint = "move it away, choose another --out, or give the spec another name"
    if foreign:
        raise KgenErrors(
            [KgenError(f"{path} was not generated by kgen and is not replaced", hint=hint) for path in foreign]
        )


def _stale(files: Mapping[str, str], out: Path, keep: Keep) -> tuple[str, ...]:
    folders = sorted({out, *((out / path).parent for path in files)})
    modules = [module for folder in folders if folder.is_dir() for module in sorted(folder.glob("*.py"))]
    sources = {module.relative_to(out).as_posix(): _source(module) for module in modules}
    return tuple(p for p, source in sources.items() if p not in files and source is not None and not keep(source))


def _source(module: Path) -> str | None:
    """The spec that a generated file names in its banner, "" if it names none; None without banner."""
    head = (_read(module) or b"").decode(errors="replace").splitlines()[: stamp.HEAD_LINES]
    found = [line for line in head if BANNER in line]
    named = re.search(BANNER + r" from (.+?)(?: — .*)?$", found[0].rstrip()) if found else None
    return (named[1] if named else "") if found else None


def _edited(content: bytes) -> bool:
    """Whether a generated file was changed by hand; of one without a stamp that is not known."""
    found = stamp.read(content.decode(errors="replace"))
    return found is not None and not found.intact


def _read(path: Path) -> bytes | None:
    """The file's bytes, None if there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KgenError(f"cannot read {path}: {error.strerror}") from error
