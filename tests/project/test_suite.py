"""What holds for the tests themselves: none depends on how fast a machine is, how busy, or how many cores it has."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Clocks and waiting; limits that a slow machine meets; what there is to run on. Benchmarks are not tests.
MODULES = {"time", "timeit", "sched"}
NAMES = {
    *("perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns", "process_time", "thread_time", "time_ns"),
    *("sleep", "times", "getrusage", "alarm", "setitimer"),
    *("cpu_count", "process_cpu_count", "sched_getaffinity", "getloadavg"),
}
WAITING = {"wait", "join", "poll"}  # for so many seconds
ALL = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "generated" / "tests").glob("*.py")]
FILES = sorted(path for path in ALL if path != Path(__file__))  # this one holds examples


def dependences(code: str) -> list[str]:
    """Where the code, or code in one of its strings, asks for a clock or sets a limit: "line: what"."""
    return [f"{line}: {what}" for node in ast.walk(ast.parse(code)) for line, what in of_node(node)]


def of_node(node: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.Import):
        yield from ((node.lineno, f"import {a.name}") for a in node.names if a.name in MODULES)
    elif isinstance(node, ast.ImportFrom):
        yield from ((node.lineno, f"from {node.module} import {a.name}") for a in node.names if asked(node.module, a))
    elif isinstance(node, ast.Attribute) and node.attr in NAMES:
        yield node.lineno, node.attr
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WAITING:
        numbers = [a for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, int | float)]
        yield from ((node.lineno, f"{node.func.attr}({a.value!r})") for a in numbers)
    elif isinstance(node, ast.keyword) and node.arg == "timeout":
        yield node.value.lineno, "timeout="
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from ((node.lineno, f"in a string, {found}") for found in in_text(node.value))


def asked(module: str | None, name: ast.alias) -> bool:
    return module in MODULES or name.name in NAMES


def in_text(text: str) -> list[str]:
    """Of a string that is code for another process; prose is none."""
    try:
        return dependences(text) if "import" in text or "\n" in text else []
    except SyntaxError:
        return []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_test_asks_for_the_time(path: Path) -> None:
    assert not dependences(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "code",
    [
        "import time",
        "from time import sleep",
        "from os import cpu_count",
        "x = os.cpu_count()",
        "subprocess.run(command, timeout=900)",
        "process.join(timeout=1)",
        "process.wait(0.5)",
        "CODE = 'import time; print(time.process_time())'",
        'CODE = """\nimport sys\nprint(sys.modules["time"].monotonic())\n"""',
    ],
)
def test_what_asks_for_the_time_is_found(code: str) -> None:
    assert dependences(code)
