"""The folders of the compiler show its stages: each imports from those before it alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import kgen

PACKAGE = Path(kgen.__file__).parent
ORDER = (  # those of one line do not know each other
    ("errors", "console"),
    ("spec", "graph"),
    ("trace", "schedule", "reference"),
    ("emit.kernel", "emit.text"),
    ("emit.host", "emit.nn"),
    ("emit",),
    ("write", "pipeline"),
    ("tools",),
    ("tools.bench", "tools.aot"),
    ("cli",),
    ("__main__",),
)
LEVEL = {folder: level for level, folders in enumerate(ORDER) for folder in folders}


def modules() -> dict[str, Path]:
    """All modules by their names below kgen, but for the folders' own."""
    files = {path.relative_to(PACKAGE).with_suffix(""): path for path in sorted(PACKAGE.rglob("*.py"))}
    return {".".join(name.parts): path for name, path in files.items() if name.name != "__init__"}


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules that a file imports, wherever in it: at the top, in a function, for types alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports by a relative name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            below = name.removeprefix("kgen.")
            if below != name and below not in vars(kgen):  # else its version
                found = below if below in known else below.rpartition(".")[0]
                assert found in known, f"{path} imports {name}, which is no module"
                yield found


def folder(module: str) -> str:
    return module.rpartition(".")[0] or module


def test_no_arrow_runs_back() -> None:
    known = modules()
    assert {folder(name) for name in known} == set(LEVEL)
    arrows = {(name, other) for name, path in known.items() for other in imported(path, known)}
    assert len(arrows) > 150
    back = [
        f"{name} imports {other}"
        for name, other in sorted(arrows)
        if folder(name) != folder(other) and LEVEL[folder(other)] >= LEVEL[folder(name)]
    ]
    assert not back, "\n".join(back)


def test_a_folder_itself_imports_nothing() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        assert not any(isinstance(node, ast.Import | ast.ImportFrom) for node in nodes), path


def test_no_two_modules_need_each_other() -> None:
    """Within a folder neither."""
    known = modules()
    waiting = {name: set(imported(path, known)) for name, path in known.items()}
    while free := [name for name, needed in waiting.items() if not needed & waiting.keys()]:
        for name in free:
            del waiting[name]
    assert not waiting, waiting
