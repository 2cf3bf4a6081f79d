"""What stands in the folder of generated files, read and never changed.

In: the folder, and a build. Out: which other files are kgen's, and of which spec; which are somebody's in folders of
packages. A file is kgen's if the banner is in its first lines. A package is a folder with a generated `__init__.py`,
built or there; all folders in it belong to it, and kgen's files in them are of its spec, whatever they were copied
from. Looked at are folders that built files are in, packages beside these, and their folders, so that a package is
found whose spec is gone, and no folder of the user's is searched. Links to folders are not followed.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from kgen.emit.text.banner import BANNER
from kgen.errors import KgenError
from kgen.spec import stamp
from kgen.write.transaction import CACHE

TOP = PurePosixPath()


@dataclass(frozen=True, slots=True)
class Others:
    """The files that a build did not make; relative paths, sorted."""

    generated: dict[str, str]  # and what banners call the spec, "" where they name none
    foreign: tuple[str, ...]  # in folders of packages


def others(files: Mapping[str, str], out: Path) -> Others:
    """What is there beside the files of a build."""
    found = {path: spec for path, spec in sorted(_walk(files, out)) if path not in files}
    own = {path: source(out / path) for path in found if path.endswith(".py") and (out / path).is_file()}
    generated = {path: found[path] or name for path, name in own.items() if name is not None}
    return Others(generated, tuple(path for path in found if found[path] is not None and path not in generated))


def source(path: Path) -> str | None:
    """The spec that a generated file names in its banner, "" if it names none; None without banner or file."""
    try:
        with open(path, "rb") as file:
            return named_source(b"".join(islice(file, stamp.HEAD_LINES)).decode(errors="replace"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error


def named_source(text: str) -> str | None:
    """The same, of a text."""
    head = text.splitlines()[: stamp.HEAD_LINES]
    found = [line for line in head if BANNER in line]
    named = re.search(BANNER + r" from (.+?)(?: — .*)?$", found[0].rstrip()) if found else None
    return (named[1] if named else "") if found else None


def read(path: Path) -> bytes | None:
    """The file's bytes, None if there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error


def _walk(files: Mapping[str, str], out: Path) -> Iterator[tuple[str, str | None]]:
    """The files in the folders that are looked at, with the spec of the package that has them, None without one."""
    built = {folder for path in files for folder in PurePosixPath(path).parents}
    waiting: list[tuple[PurePosixPath, str | None]] = [(TOP, None)] if out.is_dir() else []
    for folder, spec in waiting:
        for entry in _entries(out / folder):
            path = folder / entry.name
            if not entry.is_dir(follow_symlinks=False):
                yield path.as_posix(), spec
            elif entry.name != CACHE:
                inside = spec if spec is not None else _package(path, files, out)
                waiting += [(path, inside)] if inside is not None or path in built else []


def _package(folder: PurePosixPath, files: Mapping[str, str], out: Path) -> str | None:
    """The spec of the package that a folder is, None if it is none."""
    init = (folder / "__init__.py").as_posix()
    if init in files:
        return named_source(files[init])
    return source(out / init) if (out / init).is_file() else None


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise _unreadable(folder, error) from error


def _unreadable(path: Path, error: OSError) -> KgenError:
    return KgenError(f"cannot read {path}: {error.strerror}")
