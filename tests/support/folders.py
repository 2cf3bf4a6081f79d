"""Folders of generated files for a test to change: written, or copied from shipped packages. Needs no other package."""

import shutil
from collections.abc import Mapping
from pathlib import Path

GENERATED = Path(__file__).parents[2] / "generated"


def written_to(folder: Path, files: Mapping[str, str]) -> Path:
    """The folder, with these files in it."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def copied(package: str | Path, folder: Path) -> Path:
    """A copy of a shipped package, or of any folder, as this folder; without bytecode, which other processes write."""
    return Path(shutil.copytree(GENERATED / package, folder, ignore=shutil.ignore_patterns("__pycache__")))
