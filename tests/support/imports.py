"""What a file imports, wherever in it: at the top, in a function, for types alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import kgen

PACKAGE = Path(kgen.__file__).parent


def names(text: str, around: int = 0) -> Iterator[str]:
    """By their full names, such as `math` and `torch.nn.functional`; what is imported from a module is below it.

    What is imported from up to so many folders around is left out; further up there must be nothing.
    """
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= around, "a relative import"
            names = node.names if not node.level else []
            yield from (f"{node.module}.{alias.name}" for alias in names)


def packages(text: str, around: int = 0) -> set[str]:
    """The packages that these are of, such as `torch`."""
    return {name.partition(".")[0] for name in names(text, around)}


def modules() -> dict[str, Path]:
    """All modules of the compiler by their names below kgen, but for the folders' own."""
    files = {path.relative_to(PACKAGE).with_suffix(""): path for path in sorted(PACKAGE.rglob("*.py"))}
    return {".".join(name.parts): path for name, path in files.items() if name.name != "__init__"}


def of_the_compiler(path: Path) -> Iterator[str]:
    """The modules of the compiler that a file imports."""
    known = modules()
    for name in names(path.read_text(encoding="utf-8")):
        below = name.removeprefix("kgen.")
        if below not in (name, "__version__"):
            found = below if below in known else below.rpartition(".")[0]
            assert found in known, f"{path} imports {name}, which is no module"
            yield found
