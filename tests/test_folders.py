"""The folders of the compiler show its stages: each imports from those before it alone."""

from imports import PACKAGE, modules, names, of_the_compiler

ORDER = (  # those of one line do not know each other
    ("errors", "console", "compiler"),
    ("cache", "spec", "graph"),
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
