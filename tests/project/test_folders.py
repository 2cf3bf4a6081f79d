"""The folders of the compiler show its stages: each imports from those before it alone. Files and classes are small."""

import ast
from collections.abc import Iterator

from imports import PACKAGE, modules, names, of_the_compiler

ORDER = (  # those of one line do not know each other
    ("errors", "console", "compiler", "wording"),
    ("cache", "spec", "graph"),
    ("trace", "schedule", "reference"),
    ("emit.kernel", "emit.text"),
    ("emit.host", "emit.nn"),
    ("emit",),
    ("write", "pipeline"),
    ("tools",),
    ("tools.bench", "tools.aot"),
    ("cli", "bench"),
    ("__main__",),
)
LARGEST_FILE, LARGEST_CLASS = 350, 200  # lines
TOO_LARGE: dict[str, int] = {}  # what is larger and still to be split, with its lines: it may not grow
LEVEL = {folder: level for level, folders in enumerate(ORDER) for folder in folders}


def folder(module: str) -> str:
    return module.rpartition(".")[0] or module


def test_no_arrow_runs_back() -> None:
    known = modules()
    assert {folder(name) for name in known} == set(LEVEL)
    arrows = {(name, other) for name, path in known.items() for other in of_the_compiler(path)}
    assert len(arrows) > 150
    back = [
        f"{name} imports {other}"
        for name, other in sorted(arrows)
        if folder(name) != folder(other) and LEVEL[folder(other)] >= LEVEL[folder(name)]
    ]
    assert not back, "\n".join(back)


def test_a_folder_itself_imports_nothing() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        assert not list(names(path.read_text(encoding="utf-8"))), path


def test_no_two_modules_need_each_other() -> None:
    """Within a folder neither."""
    waiting = {name: set(of_the_compiler(path)) for name, path in modules().items()}
    while free := [name for name, needed in waiting.items() if not needed & waiting.keys()]:
        for name in free:
            del waiting[name]
    assert not waiting, waiting


def sizes() -> Iterator[tuple[str, int, int]]:
    """Each file and class of the compiler, with its lines and how many it may have."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name, text = path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8")
        yield name, len(text.splitlines()), LARGEST_FILE
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                yield f"{name} {node.name}", (node.end_lineno or first) - first + 1, LARGEST_CLASS


def test_no_file_and_no_class_is_too_large() -> None:
    """A large one holds several concepts, and each may have a place of its own."""
    found = {name: (lines, most) for name, lines, most in sizes()}
    large = {name: lines for name, (lines, most) in found.items() if lines > TOO_LARGE.get(name, most)}
    assert not large, f"to be split by concept: {large}"
    small = [name for name in TOO_LARGE if name not in found or found[name][0] <= found[name][1]]
    assert not small, f"no longer exceptions: {small}"
