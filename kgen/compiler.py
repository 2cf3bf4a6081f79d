"""What makes the bytes of a build: the compiler's files, its templates, and the packages that shape text.

Out: where templates are, and a digest of all this, by which results of one compiler are told from those of another.
"""

import hashlib
import importlib.metadata
import os
import platform
import uuid
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from pathlib import Path

import kgen

PACKAGES = ("black", "jinja2", "kingdon", "mpmath", "numpy", "pydantic", "pyyaml", "sympy")

File = tuple[str, int, int]  # path, time of the last change, size


def template_folder() -> Path:
    """The folder of kernel templates: `kgen/_templates` in a wheel, `templates` beside the package in a checkout."""
    package = Path(kgen.__file__).parent
    shipped = package / "_templates"
    return shipped if shipped.is_dir() else package.parent / "templates"


def digest() -> str:
    """Of the compiler as it is on disk now, whose files are read again only when one has changed.

    Where that cannot be told, because a file just goes, a text that is no digest of any compiler.
    """
    try:
        return _digest(tuple(sorted({*_files(Path(kgen.__file__).parent), *_files(template_folder())})))
    except OSError:
        return uuid.uuid4().hex


def digest_of(texts: Iterable[str]) -> str:
    """A digest of several texts, in their order."""
    lines = "".join(hashlib.sha256(text.encode()).hexdigest() for text in texts)
    return hashlib.sha256(lines.encode()).hexdigest()


@lru_cache(maxsize=1)
def _digest(files: tuple[File, ...]) -> str:
    root = Path(kgen.__file__).parents[1]
    return digest_of(
        [
            *_versions(),
            *(Path(path).relative_to(root).as_posix() for path, _, _ in files),
            *(hashlib.sha256(Path(path).read_bytes()).hexdigest() for path, _, _ in files),
        ]
    )


@cache
def _versions() -> list[str]:
    python = "{} {}.{}".format(platform.python_implementation(), *platform.python_version_tuple())
    return [python, *(f"{name} {_version(name)}" for name in PACKAGES)]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _files(folder: Path) -> Iterator[File]:
    """All files in the folder and below, but for hidden ones and what Python caches."""
    with os.scandir(folder) as entries:
        seen = [entry for entry in entries if not entry.name.startswith((".", "__pycache__"))]
    for entry in seen:
        if entry.is_dir():
            yield from _files(Path(entry.path))
        else:
            status = entry.stat()
            yield entry.path, status.st_mtime_ns, status.st_size
