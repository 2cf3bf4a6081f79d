"""The folder of generated files: compare a build with it, and write it. Nothing else in kgen writes generated files.

In: what `pipeline.generate` returns, relative paths and their text, and the folder. Out: `Changes`, a diff, or the
folder itself. Guaranteed:

* a build is written whole or not at all, also when it is killed (see `transaction.py`);
* a file without kgen's banner in its first lines is never replaced and never removed; one in the folder of a package
  is reported;
* a file whose text is the same is not touched;
* no path leaves the folder, unless a generated file is a link: then the file at its end is replaced;
* generated files that no spec makes any more are reported, and removed only on request.
"""

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from kgen.emit.text.banner import source_name
from kgen.errors import KgenError, KgenErrors
from kgen.spec import stamp
from kgen.write import survey, transaction

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
    dropped: tuple[str, ...] = ()  # of the stale or removed: their spec was built, and makes other files
    foreign: tuple[str, ...] = ()  # in folders of packages and not generated: never touched

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
    current = {path: survey.read(out / path) for path in sorted(files)}
    same = {path for path in current if current[path] == files[path].encode()}
    changed = {path: text for path, text in current.items() if text is not None and path not in same}
    others = survey.others(files, out)
    stale = {path: source for path, source in others.generated.items() if not keep(source)}
    built = {survey.named_source(text) for text in files.values()}
    return Changes(
        created=tuple(path for path in current if current[path] is None),
        changed=tuple(changed),
        unchanged=tuple(path for path in current if path in same),
        stale=tuple(stale),
        edited=tuple(path for path, text in changed.items() if _edited(text)),
        dropped=tuple(path for path, source in stale.items() if source in built),
        foreign=others.foreign,
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
    return "".join(_file_diff(path, survey.read(out / path), after[path]) for path in sorted(after))


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
    if not errors:
        errors += [KgenError(f"{out / path} is a folder") for path in sorted(files) if (out / path).is_dir()]
        errors += [KgenError(f"{folder} is not a folder") for folder in sorted(_obstacles(files, out))]
    if errors:
        raise KgenErrors(errors)


def _obstacles(files: Iterable[str], out: Path) -> set[Path]:
    """What stands where the files need a folder, or where one is missing at the end of a link."""
    folders = {out / folder for path in files for folder in PurePosixPath(path).parents}
    ends = {Path(os.path.realpath(out / path)).parent for path in files if (out / path).is_symlink()}
    return {f for f in folders if os.path.lexists(f) and not f.is_dir()} | {f for f in ends if not f.is_dir()}


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
    foreign = [out / path for path in paths if (out / path).exists() and survey.source(out / path) is None]
    hint = "move it away, choose another --out, or give the spec another name"
    if foreign:
        raise KgenErrors(
            [KgenError(f"{path} was not generated by kgen and is not replaced", hint=hint) for path in foreign]
        )


def _edited(content: bytes) -> bool:
    """Whether a generated file was changed by hand; of one without a stamp that is not known."""
    found = stamp.read(content.decode(errors="replace"))
    return found is not None and not found.intact
