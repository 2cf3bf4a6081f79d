"""The README and the design page: what they show is in the repository, what they call works, figures are measured."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import table
from kgen.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
MEASURED = ROOT / "benchmarks" / "results"
RESULTS = {"first": MEASURED / "h200.csv", "contractions": MEASURED / "h200-contractions.csv"}
IN_A_SHELL = ("aot", "bench", "verify")  # tested elsewhere: they compile, or run kernels


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def excerpts() -> list[tuple[str, str]]:
    """(path, text) of the fenced blocks that a comment marks as copied from a file."""
    return re.findall(r"^<!-- from (\S+) -->\n```\w*\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """The calls of kgen in shell blocks, without comments."""
    lines = [line.partition(" #")[0].split() for block in blocks("sh") for line in block.splitlines()]
    return [line[1:] for line in lines if line and line[0] == "kgen"]


@pytest.mark.parametrize(("path", "text"), excerpts(), ids=[path for path, _ in excerpts()])
def test_excerpts_are_copies(path: str, text: str) -> None:
    assert text in (ROOT / path).read_text(encoding="utf-8"), f"copy the excerpt from {path} anew"


def test_a_spec_and_its_kernel_are_shown() -> None:
    assert {"specs/vga2d.yaml", "generated/vga2d/_kernels/geometric_product.py"} <= {path for path, _ in excerpts()}
    assert README.count("<!-- from ") == len(excerpts()), "a marker stands right before its block"


def examples() -> str:
    """The python blocks that are no excerpts, as one program."""
    copied = {text for _, text in excerpts()}
    return "\n".join(block for block in blocks("python") if block not in copied)


@pytest.mark.parametrize("interpret", ["0", "1"])
def test_examples_run(interpret: str) -> None:
    assert "nn.Module" in examples()
    environment = {**os.environ, "TRITON_INTERPRET": interpret, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", examples()], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_commands_exist() -> None:
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    named = {line[0] for line in commands()} | set(re.findall(r"`kgen ([a-z]+)", README))
    assert named == set(known), "the README names every command, and no other"
    for arguments in commands():
        options = [option for parameter in known[arguments[0]].params for option in parameter.opts]
        assert [a for a in arguments if a.startswith("--") and a not in options] == []


def test_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [line[0] for line in commands()][:2] == ["new", "build"]
    for arguments in commands():
        if arguments[0] not in IN_A_SHELL:
            result = CliRunner().invoke(app, arguments, catch_exceptions=False)
            assert result.exit_code == 0, f"kgen {' '.join(arguments)}: {result.output}"
    assert (tmp_path / "generated" / "my" / "__init__.py").is_file()


@pytest.mark.parametrize("target", ["kernels", "test"])
def test_make_targets_exist(target: str) -> None:
    assert f"    make {target} " in README
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


PAGES = {page: (ROOT / page).read_text(encoding="utf-8") for page in ("CONTRIBUTING.md", "benchmarks/README.md")}


@pytest.mark.parametrize(
    ("text", "folder"),
    [(README, ROOT), (DESIGN, ROOT / "docs"), *((text, (ROOT / page).parent) for page, text in PAGES.items())],
    ids=["README", "design", *PAGES],
)
def test_what_is_named_exists(text: str, folder: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    files = re.findall(r"`((?:kgen|tests|templates|benchmarks|specs|generated|docs)/[\w./]+\.\w+)`", text)
    assert [link for link in links if not (folder / link).exists()] == []
    assert [file for file in files if not (ROOT / file).exists() and file != "specs/my.yaml"] == []


def test_the_design_page_names_modules_that_exist() -> None:
    modules = {path.relative_to(ROOT / "kgen").as_posix() for path in (ROOT / "kgen").rglob("*.py")}
    folder = ROOT / "templates"
    templates = {path.relative_to(folder).as_posix() for path in (*folder.glob("*.jinja"), *folder.rglob("*.py"))}
    named = set(re.findall(r"`([\w/]+\.(?:py|jinja))`", DESIGN))
    named -= {name for name in named if name.startswith("tests/")}  # of which another test is
    assert named - modules - templates == set()
    assert {"trace/trace.py", "graph/autodiff.py", "graph/simplify.py", "schedule/schedule.py"} <= named
    assert {"emit/kernel/sections.py", "emit/package.py", "write/tree.py"} <= named
    present = {f"{path.parent.relative_to(ROOT / 'kgen')}/" for path in (ROOT / "kgen").glob("*/__init__.py")}
    assert {line.split()[0] for line in DESIGN.splitlines() if re.match(r" {6}[a-z]+/ ", line)} == present - {"tools/"}


# benchmarks


@pytest.mark.parametrize("suite", RESULTS)
def test_benchmark_tables_are_those_of_the_csv(suite: str) -> None:
    _, body, _ = table.between(README, suite)
    path = RESULTS[suite]
    assert body.strip() == table.tables(
        table.read(path), suite, path.name
    ), f"benchmarks/table.py {path} --suite {suite}"


HEADER = (
    "case,size,dtype,contender,direction,median_us,floor_us,ratio_to_floor,peak_mb,"
    "error,status,device,torch,triton,kgen_digest"
)
FIGURES = f"""\
{HEADER}
a.f,b=2 n=3,float32,kgen,forward,7.125,4,1.781,32.05,1e-8,ok,GPU,2.1,3.1,00
a.f,b=2 n=3,float32,other,forward,1250.6,4,312.7,64,1e-8,ok,GPU,2.1,3.1,00
a.f,b=2 n=3,float32,kgen,forward+backward,20.25,10,2.025,99.34,1e-7,ok,GPU,2.1,3.1,00
a.f,b=2 n=3,float32,other,forward+backward,,10,,,3.0,wrong,GPU,2.1,3.1,00
b.g,b=2 n=3,bfloat16,absent,forward,,,,,,not installed,GPU,2.1,3.1,00
"""
TABLES = """\
`a.f`, b=2, n=3, float32; floor 4.00 us forward and 10.0 us forward+backward

| contender | forward, us (x floor) | forward+backward, us (x floor) | peak MB |
|---|--:|--:|--:|
| kgen | 7.12 (1.78) | 20.2 (2.02) | 32.0 / 99.3 |
| other | 1251 (313) | wrong | 64.0 / – |

`b.g`, b=2, n=3, bfloat16

| contender | forward, us (x floor) | forward+backward, us (x floor) | peak MB |
|---|--:|--:|--:|
| absent | not installed |  | – / – |"""


def test_table_rewrites_what_is_between_the_markers(tmp_path: Path) -> None:
    source, readme = tmp_path / "gpu.csv", tmp_path / "README.md"
    source.write_text(FIGURES, encoding="utf-8")
    readme.write_text("before\n<!-- benchmarks:first -->\nold\n<!-- /benchmarks -->\nafter\n", encoding="utf-8")
    for _ in range(2):  # the second time changes nothing
        table.main(source, "first", readme)
        text = readme.read_text(encoding="utf-8")
        assert text.startswith("before\n<!-- benchmarks:first -->\n") and text.endswith("<!-- /benchmarks -->\nafter\n")
        assert TABLES in text and "old" not in text
        assert "Measured on GPU with torch 2.1, triton 3.1" in text
        assert "\n    python -m kgen bench --suite first --peers DIR --out benchmarks/results/gpu.csv\n" in text
    assert readme.read_text(encoding="utf-8").count("`a.f`") == 1


@pytest.mark.parametrize(("figures", "text"), [(FIGURES, "no markers\n"), (f"{HEADER}\n", README)])
def test_table_leaves_the_readme_when_something_is_missing(figures: str, text: str, tmp_path: Path) -> None:
    source, readme = tmp_path / "gpu.csv", tmp_path / "README.md"
    source.write_text(figures, encoding="utf-8")
    readme.write_text(text, encoding="utf-8")
    with pytest.raises(typer.Exit):
        table.main(source, "first", readme)
    assert readme.read_text(encoding="utf-8") == text
