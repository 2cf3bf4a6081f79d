"""The pages: what they show is in the repository, what they call works, what they link to is there, the site builds.

`pages.PAGES` is the table of them; all have the same tests.
"""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pages
import prepared
import pytest
import typer
from pages import BLOCK, DOCS, PAGES, README, ROOT, Page
from test_packaging import PROJECT
from typer.testing import CliRunner

from kgen.cli import app
from kgen.spec.load import load
from kgen.spec.vocabulary import GROUPS, VOCABULARY, Word
from kgen.trace.trace import trace

WORDS = 2200  # at most, in the README
IN_A_SHELL = ("aot", "bench", "plot", "verify")  # tested elsewhere: they compile, run kernels, or read what did
LANGUAGES = {"python", "sh", "text", "yaml"}
BUILT = {"specs/my.yaml"}  # by a command of a page
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
DESIGN = Page(ROOT / "docs" / "design.md")


def having(what: Callable[[Page], object]) -> Iterator[Page]:
    return filter(what, PAGES)


def each(found: Iterator[Page]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", list(found), ids=lambda page: page.name)


# blocks


@each(having(lambda page: page.excerpts))
def test_excerpts_are_copies(page: Page) -> None:
    for path, text in page.excerpts:
        assert text in (ROOT / path).read_text(encoding="utf-8"), f"copy the excerpt from {path} anew"
    assert page.text.count("<!-- from ") == len(page.excerpts), "a marker stands right before its block"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_have_a_language_that_is_tested(page: Page) -> None:
    assert {language for language, _ in BLOCK.findall(page.text)} <= LANGUAGES
    if page != DESIGN:  # it draws the pipeline
        indented = re.findall(r"(?<=\n\n) {4}\S.*", page.prose)
        assert indented == [], "a block that no test sees: fence it"


@pytest.mark.parametrize("interpret", ["0", "1"])
@each(having(lambda page: page.blocks("python")))
def test_examples_run(page: Page, interpret: str) -> None:
    environment = {**os.environ, "TRITON_INTERPRET": interpret, "PYTHONPATH": str(ROOT)}
    anew = "os.environ" in page.program  # it sets what is read by an import
    done = (prepared.anew if anew else prepared.python)(["-c", page.program], ROOT, environment)
    assert done.returncode == 0, done.stderr


@each(having(lambda page: page.blocks("yaml")))
def test_specs_load_and_trace(page: Page) -> None:
    for text in page.specs:
        spec = load(page.name, text)
        assert [bool(trace(spec, k, flags).outputs) for k in spec.kernels for flags in k.choices]


# commands


def _kgen(words: list[str]) -> bool:
    """A command of ours, with options that it has."""
    if not words or words[0].startswith("-"):
        return words in (["--help"], ["--version"])
    return words[0] in COMMANDS and {w for w in words if w.startswith("--")} <= options(words[0])


def options(command: str) -> set[str]:
    """The options of a command; those that have an app of their own tell them there."""
    modules = {"bench": "bench.command", "plot": "bench.plots", "aot": "aot.command"}
    own = importlib.import_module(f"kgen.tools.{modules[command]}").app if command in modules else None
    found = typer.main.get_command(own) if own else COMMANDS[command]
    return {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}


def _python(words: list[str]) -> bool:
    match words:
        case ["-m", "kgen", *arguments]:
            return _kgen(arguments)
        case ["-m", module, *arguments]:
            return importlib.util.find_spec(module) is not None and all(map(_there, arguments))
    return (ROOT / words[0]).is_file()


def _there(word: str) -> bool:
    """A file of the repository, or no file of it at all."""
    return not word.startswith(("generated/", "specs/", "tests/", "examples/")) or _module(ROOT / word)


def _module(path: Path) -> bool:
    return path.exists() or path.with_suffix(".py").exists()


def _pip(words: list[str]) -> bool:
    """An install of the checkout, with extras that it has."""
    match = re.fullmatch(r"'?\.(?:\[([\w,]+)\])?'?", words[-1])
    assert match, "nothing but the checkout is installed"
    return set((match[1] or "run").split(",")) <= set(PROJECT["optional-dependencies"])


def _make(words: list[str]) -> bool:
    return bool(re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def _profiler(words: list[str]) -> bool:
    """Its own options, and a command of Python's that exists."""
    return "python" in words and _python(words[words.index("python") + 1 :])


# what the rest of a line must be, by its first word; no other is known
RULES: dict[str, Callable[[list[str]], bool]] = {
    "kgen": _kgen,
    "python": _python,
    ".venv/bin/python": _python,
    "ncu": _profiler,
    "nsys": _profiler,
    "pip": _pip,
    "make": _make,
    "cp": lambda words: _there(words[-2]),
    "pytest": lambda words: all(map(_there, words)),
    "git": lambda words: all((ROOT / word).exists() for word in words[1:]),
    "torchrun": lambda words: _there(words[-1]),
    ".venv/bin/pre-commit": lambda words: (ROOT / ".pre-commit-config.yaml").is_file(),
}


@each(having(lambda page: page.lines))
def test_commands_exist(page: Page) -> None:
    for name, *words in page.lines:
        assert RULES[name](words), " ".join([name, *words])


@each(having(lambda page: any(line[0] == "kgen" for line in page.lines)))
def test_commands_run(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "specs").mkdir()
    for spec in (ROOT / "specs").iterdir():
        (tmp_path / "specs" / spec.name).write_bytes(spec.read_bytes())
    lines = [line[1:] for line in page.lines if line[0] == "kgen" and line[1] not in IN_A_SHELL]
    for arguments in [["new", "my"]] * (not any(line[0] == "new" for line in lines)) + lines:
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, f"kgen {' '.join(arguments)}: {result.output}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_pages_name_exist(page: Page) -> None:
    assert set(re.findall(r"`kgen ([a-z]+)", page.text)) <= set(COMMANDS)


def test_the_first_page_names_every_command_and_two_to_start_with() -> None:
    assert set(re.findall(r"`kgen ([a-z]+)", README.text)) == set(COMMANDS)
    assert [line for line in README.lines if line[0] == "make"] == [["make", "kernels"], ["make", "test"]]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_page_of_the_command_line_names_every_option(command: str) -> None:
    text = Page(ROOT / "docs" / "cli.md").text
    _, found, rest = text.partition(f"\n## kgen {command}\n")
    assert found, f"docs/cli.md has no section on kgen {command}"
    named = set(re.findall(r"`(--[a-z-]+)`", rest.partition("\n## ")[0]))
    long = {option for option in options(command) if option.startswith("--")} - {"--help"}
    completion = {"--install-completion", "--show-completion"}
    assert named == long - completion


# links and names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_files_exist(page: Page) -> None:
    assert [path for path, _ in page.links if not path.exists()] == []
    assert [(path.name, at) for path, at in page.links if at and at not in Page(path).headings] == []
    assert [name for name in page.files if not (ROOT / name).exists() and name not in BUILT] == []


def test_the_first_page_is_short_and_shows_a_spec_and_its_kernel() -> None:
    assert len(README.text.split()) <= WORDS
    sources = {path.partition("/")[0] for path, _ in README.excerpts}
    assert sources == {"specs", "generated"} and "nn.Module" in README.program


def test_the_design_page_names_modules_that_exist() -> None:
    modules = {path.relative_to(ROOT / "kgen").as_posix() for path in (ROOT / "kgen").rglob("*.py")}
    folder = ROOT / "templates"
    templates = {path.relative_to(folder).as_posix() for path in (*folder.glob("*.jinja"), *folder.rglob("*.py"))}
    named = set(re.findall(r"`([\w/]+\.(?:py|jinja))`", DESIGN.text))
    named -= {name for name in named if name.startswith("tests/")}  # of which another test is
    assert named - modules - templates == set()
    assert {"trace/trace.py", "graph/autodiff.py", "graph/simplify.py", "schedule/program.py"} <= named
    assert {"emit/kernel/forms.py", "emit/package.py", "write/tree.py"} <= named
    present = {f"{path.parent.relative_to(ROOT / 'kgen')}/" for path in (ROOT / "kgen").glob("*/__init__.py")}
    drawn = {line.split()[0] for line in DESIGN.text.splitlines() if re.match(r" {6}[a-z]+/ ", line)}
    assert drawn == present - {"tools/"}


# the vocabulary


def operations() -> str:
    """The table of the operations, as docs/bodies.md has it."""
    head = ["| operation | parameters | is | formula | equivariant | example |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *map(_row, VOCABULARY.values())])


def _row(word: Word) -> str:
    told = f"`{word.name}`", _cell(word.signature), _cell(word.doc)
    return f"| {' | '.join((*told, _code(word.formula), word.group, _code(word.example)))} |"


def groups() -> str:
    """What the groups are."""
    return "\n".join(f"* {group}: {meaning}" for group, meaning in GROUPS.items())


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


def test_the_page_on_bodies_has_every_operation(request: pytest.FixtureRequest) -> None:
    page = Page(ROOT / "docs" / "bodies.md")
    head, opening, rest = page.text.partition("<!-- operations -->")
    _, closing, tail = rest.partition("<!-- /operations -->")
    assert opening and closing
    text = f"{head}{opening}\n\n{groups()}\n\n{operations()}\n\n{closing}{tail}"
    if request.config.getoption("--update-golden"):
        page.path.write_text(text, encoding="utf-8")
    assert page.text == text, "run pytest --update-golden"


# the site


def test_the_navigation_names_every_page() -> None:
    assert sorted(pages.nav()) == [page.path.relative_to(pages.SITE).as_posix() for page in DOCS]


@each(page for page in DOCS)
def test_pages_of_the_site_link_within_it(page: Page) -> None:
    assert [path for path, _ in page.links if pages.SITE not in path.parents] == []


def test_the_home_page_links_to_every_page() -> None:
    linked = {path for path, _ in Page(pages.SITE / "index.md").links}
    assert {page.path for page in DOCS} - linked == {pages.SITE / "index.md"}


def test_the_site_builds(tmp_path: Path) -> None:
    for module in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(module, reason="pip install '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = (tmp_path / "site" / "python" / "index.html").read_text(encoding="utf-8")
    assert "The specs in several files" in built, "mkdocstrings put the docstrings there"
