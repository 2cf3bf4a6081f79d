"""What stands in the folder of generated files, read and never changed.

In: the folder, and the paths of a build. Out: which other files are kgen's, by the spec that their banner names, and
which are somebody's in folders of packages. A file is kgen's if the banner is in its first lines. A package is a folder
with a generated `__init__.py`, built or there; all folders in it belong to it. Looked at are folders that built files
are in, packages beside these, and their folders, so that a package is found whose spec is gone, and no folder of the
user's is searched. Links to folders are not followed.
"""

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from kgen.emit.text.banner import BANNER
from kgen.errors import KgenError
from kgen.spec import stamp
from kgen.write.transaction import CACHE

TOP = PurePosixPath()
RUNTIME = "templates/"  # what files call their source that are the same in every package


@dataclass(frozen=True, slots=True)
class Others:
    """The files that a build did not make; relative paths, sorted."""

    generated: dict[str, str]  # and what their banners call the spec, "" where they name none
    foreign: tuple[str, ...]  # in folders of packages


def others(files: Collection[str], out: Path) -> Others:
    """What is there beside the files of a build."""
    found = {path: owned for path, owned in _walk(files, out) if path not in files}
    sources = {path: _owner(path, out) for path in sorted(found) if path.endswith(".py") and (out / path).is_file()}
    generated = {path: name for path, name in sources.items() if name is not None}
    return Others(generated, tuple(path for path in sorted(found) if found[path] and path not in generated))


def _owner(path: str, out: Path) -> str | None:
    """The spec that a file is from; of what is the same in every package, the spec of the package."""
    named = source(out / path)
    package = PurePosixPath(path).parts[0]
    return source(out / package / "__init__.py") or "" if named and named.startswith(RUNTIME) else named


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


def _walk(files: Collection[str], out: Path) -> Iterator[tuple[str, bool]]:
    """The files in the folders that are looked at, and whether a package has them."""
    built = {folder for path in files for folder in PurePosixPath(path).parents}
    waiting = [(TOP, False)] if out.is_dir() else []
    for folder, owned in waiting:
        for entry in _entries(out / folder):
            path = folder / entry.name
            if not entry.is_dir(follow_symlinks=False):
                yield path.as_posix(), owned
            elif entry.name != CACHE:
                inside = owned or _is_package(path, files, out)
                waiting += [(path, inside)] if inside or path in built else []


def _is_package(folder: PurePosixPath, files: Collection[str], out: Path) -> bool:
    init = (folder / "__init__.py").as_posix()
    return init in files or ((out / init).is_file() and source(out / init) is not None)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise _unreadable(folder, error) from error


def _unreadable(path: Path, error: OSError) -> KgenError:
    return KgenError(f"cannot read {path}: {error.strerror}")
