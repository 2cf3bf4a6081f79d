"""The examples that put generated layers into another library's models, `compare.py` of each in a folder of its own."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from modules import ROOT


@contextmanager
def example_of(folder: str, *packages: str) -> Iterator[Any]:
    """The example's module; it, where it imports from, and what it imports of these packages, is forgotten."""
    before, known = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(ROOT / "examples" / folder))
    yield importlib.import_module("compare")
    sys.path[:] = before
    for name in set(sys.modules) - known:
        if name.partition(".")[0] in ("compare", "replace", "side_by_side", *packages):
            del sys.modules[name]
