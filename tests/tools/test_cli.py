"""The command line: exit statuses, what is written where, and mistakes that are told and not traced."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from kgen import pipeline
from kgen.cache import Cache
from kgen.cli import STAGES, app
from kgen.console import show_diff, steps
from kgen.emit.text.banner import banner
from kgen.spec.model import Spec
from kgen.spec.vocabulary import GROUPS, VOCABULARY

ROOT = Path(__file__).parents[2]
SPEC = """\
kgen: 1
name: {name}
algebra: {{signature: [2, 0, 0]}}
layout: {{multivector: [blade, b, n], weights: {{order: [left, out, right], memory: [n, path]}}}}
kernels:
  product:
    doc: The weighted product.
    inputs: {{x: multivector, y: multivector, weight: "weights(x, y)"}}
    options: {{gated: true}}
    body: return sgp(gelu(x), y, weight) if gated else sgp(x, y, weight)
"""


def kgen(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def write_spec(name: str, folder: Path = Path("specs")) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(SPEC.format(name=name))
    return path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules that are only a header and the spec's digest, for tests of what `build` does with modules."""

    def generate(specs: Sequence[Spec], *rest: object) -> dict[str, str]:
        return {f"{spec.name}.py": f"# {banner(spec.path)}\nDIGEST = {spec.digest!r}\n" for spec in specs}

    monkeypatch.setattr(pipeline, "generate", generate)


def test_version_and_help() -> None:
    assert kgen("--version").stdout.startswith("kgen 0.")
    text = kgen("--help").stdout
    assert all(command in text for command in ("build", "new", "show", "verify", "bench", "schema"))
    for command in ("build", "new", "show", "verify", "schema"):
        assert f"kgen {command}" in kgen(command, "--help").stdout, "an example"


def imported(code: str, *blocked: str) -> str:
    """What a fresh interpreter that cannot import `blocked` prints."""
    block = f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))"
    run = subprocess.run([sys.executable, "-c", f"{block}\n{code}"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_help_imports_nothing_heavy() -> None:
    heavy = "black", "jinja2", "kingdon", "numpy", "sympy", "torch", "triton", "yaml"
    code = f"""
from kgen.cli import app
app(["--help"], standalone_mode=False)
print("heavy:", sorted({heavy!r} & sys.modules.keys()))"""
    assert imported(code.replace(f"{heavy!r}", f"set({heavy!r})")).endswith("heavy: []\n")


COMPILER = ("black", "jinja2", "kingdon", "pydantic", "yaml", "kgen.spec.load", "kgen.graph.graph", "kgen.trace.trace")


@pytest.mark.parametrize("module", ["tools.verify", "tools.bench.command", "tools.aot.command", "bench"])
def test_commands_for_gpu_machines_need_no_compiler(module: str) -> None:
    imported(f"import kgen.cli, kgen.{module}", *COMPILER)


def test_the_compiler_needs_no_torch(place: Path) -> None:
    path = write_spec("small").resolve()
    arguments = ["build", str(path), "--out", str(place / "out")]
    imported(f"from kgen.cli import app; app({arguments}, standalone_mode=False)", "torch", "triton")
    assert (place / "out" / "small" / "__init__.py").exists()


@pytest.mark.usefixtures("quick")
def test_build_check_and_diff(place: Path) -> None:
    path = write_spec("one")
    absent = kgen("build", str(path), "--check")
    assert (absent.exit_code, absent.stdout) == (1, "generated/one.py: would be created\n")
    assert not Path("generated").exists()
    assert kgen("build", str(path)).exit_code == 0
    assert kgen("build", str(path), "--check").exit_code == 0
    clean = kgen("build", str(path), "--diff")
    assert (clean.exit_code, clean.stdout) == (0, "")
    path.write_text(path.read_text() + "# changed\n")
    before = Path("generated/one.py").read_text()
    different = kgen("build", str(path), "--diff")
    assert different.exit_code == 1
    assert "+++ b/one.py\n" in different.stdout
    assert "\n-DIGEST = " in different.stdout
    assert kgen("build", str(path), "--check").exit_code == 1
    assert Path("generated/one.py").read_text() == before
    again = kgen("build", str(path))
    assert (again.exit_code, again.stdout) == (0, "generated/one.py: changed\n")


@pytest.mark.usefixtures("quick")
def test_build_all_reports_modules_whose_spec_is_gone(place: Path) -> None:
    for name in ("one", "two"):
        write_spec(name)
    assert kgen("build").exit_code == 0
    Path("specs/two.yaml").unlink()
    result = kgen("build")
    assert result.exit_code == 0
    assert "generated/two.py: its spec is gone" in result.stdout
    assert kgen("build", "--check").exit_code == 1
    assert kgen("build", "--prune").stdout.startswith("generated/two.py: removed\n")
    assert kgen("build", "--check").exit_code == 0
    assert [file.name for file in Path("generated").iterdir()] == ["one.py"]


def test_files_of_packages_are_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module that the package replaces, a file that it no longer has, and what is not kgen's."""

    def generate(specs: Sequence[Spec], *rest: object) -> dict[str, str]:
        return {f"{spec.name}/__init__.py": f"# {banner(spec.path)}\n" for spec in specs}

    monkeypatch.setattr(pipeline, "generate", generate)
    path = write_spec("one")
    Path("generated/one/_kernels").mkdir(parents=True)
    for old in ("generated/one.py", "generated/one/_kernels/old.py"):
        Path(old).write_text(f"# {banner(path)}\n")
    Path("generated/one/notes.txt").write_text("mine\n")
    note = "generated/one/notes.txt: kept; not generated by kgen, though its package is\n"
    assert kgen("build").stdout == (
        "generated/one/__init__.py: created\n"
        "generated/one.py: its spec makes other files now; --prune removes it\n"
        "generated/one/_kernels/old.py: its spec makes other files now; --prune removes it\n" + note
    )
    removed = "generated/one.py: removed\ngenerated/one/_kernels/old.py: removed\n"
    assert kgen("build", "--prune").stdout == f"{removed}{note}generated: 1 unchanged\n"
    checked = kgen("build", "--check")
    assert (checked.exit_code, checked.stdout) == (0, f"{note}generated: 1 unchanged\n")
    assert not Path("generated/one/_kernels").exists()


@pytest.mark.usefixtures("quick")
def test_building_one_spec_leaves_the_others_modules(place: Path) -> None:
    for name in ("one", "two"):
        write_spec(name)
    kgen("build")
    assert kgen("build", "specs/one.yaml", "--prune").exit_code == 0
    assert kgen("build", "--check").exit_code == 0


def test_what_was_edited_by_hand_is_told(place: Path) -> None:
    path = write_spec("one")
    assert kgen("build").exit_code == 0
    module = Path("generated/one/_functions/product.py")
    built = module.read_text(encoding="utf-8")
    module.write_text(built.replace("import torch\n", "import torch  # mine\n", 1), encoding="utf-8")
    checked = kgen("build", "--check")
    assert checked.exit_code == 1
    assert "generated/one/_functions/product.py: would be changed; it had been edited by hand\n" in checked.stdout
    path.write_text(path.read_text().replace("weighted", "other"))
    assert "generated/one/_functions/product.py: changed; it had been edited by hand\n" in kgen("build").stdout
    path.write_text(path.read_text().replace("other", "weighted"))
    assert "generated/one/_functions/product.py: changed\n" in kgen("build").stdout
    assert module.read_text(encoding="utf-8") == built


@pytest.fixture
def compiled(place: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The specs that were compiled, in this process; and a cache of the test's own."""
    names: list[str] = []
    package = pipeline.package

    def counted(spec: Spec, *rest: Any) -> dict[str, str]:
        names.append(spec.name)
        return package(spec, *rest)

    monkeypatch.setattr(pipeline, "package", counted)
    monkeypatch.setenv("KGEN_CACHE_DIR", str(place / "cache"))
    return names


def test_what_has_not_changed_is_not_compiled_again(compiled: list[str]) -> None:
    for name in ("one", "two"):
        write_spec(name)
    assert kgen("build", "--jobs", "1").exit_code == 0
    before = {file: file.read_bytes() for file in Path("generated").rglob("*.py")}
    path = Path("specs/two.yaml")
    path.write_text(path.read_text().replace("weighted", "other"))
    changed = kgen("build", "--jobs", "1").stdout
    *lines, last = changed.splitlines()
    assert {"generated/tests/test_two.py: changed", "generated/two/_functions/product.py: changed"} <= {*lines}
    assert all("two" in line for line in lines) and last == f"generated: {len(before) - len(lines)} unchanged"
    path.write_text(path.read_text().replace("other", "weighted"))
    for file in Path("generated").rglob("*.py"):
        file.unlink()
    assert kgen("build", "--jobs", "1").exit_code == 0
    assert compiled == ["one", "two", "two"]
    assert {file: file.read_bytes() for file in Path("generated").rglob("*.py")} == before
    assert kgen("build", "--jobs", "1", "--no-cache").stdout == f"generated: {len(before)} unchanged\n"
    assert compiled[3:] == ["one", "two"]


def test_a_check_and_a_diff_do_not_trust_the_cache(compiled: list[str]) -> None:
    """Of which all entries are sound, and wrong."""
    write_spec("one")
    assert kgen("build", "--jobs", "1").exit_code == 0
    cache = Cache(Path("cache"))
    entries = sorted(Path("cache").iterdir())
    assert len(entries) == 2, "the spec's and its kernel's"
    for entry in entries:
        cache.put(entry.stem, {"one/__init__.py": "# wrong\n", "tests/test_one.py": ""})
    for option in ("--check", "--diff"):
        assert kgen("build", "--jobs", "1", option).exit_code == 0
    assert compiled == ["one"] * 3
    for entry in entries:
        entry.unlink()
    assert kgen("build", "--jobs", "1", "--check").exit_code == 0
    assert not any(entry.exists() for entry in entries)


def test_a_folder_that_cannot_be_a_cache_is_no_error(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_spec("one")
    Path("file").touch()
    monkeypatch.setenv("KGEN_CACHE_DIR", "file")
    assert kgen("build", "--jobs", "1").exit_code == 0
    assert re.fullmatch(r"generated: \d+ unchanged\n", kgen("build", "--jobs", "1").stdout)


def test_a_build_from_the_cache_needs_no_compiler(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two specs, so that processes would be started for what is missing."""
    paths = [str(write_spec(name).resolve()) for name in ("one", "two")]
    monkeypatch.setenv("KGEN_CACHE_DIR", str(place / "cache"))
    arguments = ["build", *paths, "--out", str(place / "out"), "--jobs", "2"]
    code = f"from kgen.cli import app; app({arguments}, standalone_mode=False)"
    imported(code)
    told = imported(code, "black", "jinja2", "kingdon", "numpy", "sympy", "kgen.trace.trace", "kgen.graph.graph")
    assert re.search(r": \d+ unchanged", told) and "changed\n" not in told.replace("unchanged\n", "")


@pytest.mark.usefixtures("quick")
def test_a_file_of_the_users_is_not_replaced(place: Path) -> None:
    write_spec("one")
    Path("generated").mkdir()
    Path("generated/one.py").write_text("mine = 1\n")
    result = kgen("build")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("generated/one.py was not generated by kgen and is not replaced\n    hint: ")
    assert Path("generated/one.py").read_text() == "mine = 1\n"


def test_the_bytes_do_not_depend_on_the_working_directory_or_the_jobs(place: Path) -> None:
    specs = [write_spec(name).resolve() for name in ("one", "two")]
    texts: list[list[bytes]] = []
    for folder, spellings in (
        (place, ["specs/one.yaml", "specs/two.yaml"]),
        (place / "specs", ["one.yaml", "two.yaml", "--jobs", "1"]),
        (ROOT, [str(path) for path in specs]),
    ):
        os.chdir(folder)  # the fixture `place` goes back
        out = place / f"out{len(texts)}"
        assert kgen("build", *spellings, "--out", str(out)).exit_code == 0
        texts.append([file.read_bytes() for path in specs for file in sorted((out / path.stem).rglob("*.py"))])
    assert texts[0] == texts[1] == texts[2]
    assert b"@generated by kgen from specs/one.yaml" in texts[0][0]
    assert str(place).encode() not in texts[0][0]


def test_mistakes_of_all_bodies_are_told_at_once(place: Path) -> None:
    """And nothing is compiled: the shortest way to the next try."""
    for name in ("one", "two", "three"):
        path = write_spec(name)
        if name != "one":
            path.write_text(path.read_text().replace("else sgp(x", "else nope(y"))
    result = kgen("build", "--jobs", "2")
    assert (result.exit_code, result.stdout) == (2, "")
    lines = [f"specs/{name}.yaml:10:56: there is no operation nope\n" for name in ("three", "two")]
    assert result.stderr == "".join(lines)
    assert not Path("generated").exists()


def test_a_reserved_name_hides_no_other_mistake(place: Path) -> None:
    path = write_spec("one")
    path.write_text(path.read_text().replace("y: multivector", "exp: multivector").replace("y,", "z,"))
    result = kgen("build")
    assert result.exit_code == 2
    lines = path.read_text().splitlines()
    weight, *results = lines[7].index('"weights'), *(m.start() for m in re.finditer("z,", lines[9]))
    columns = [(8, lines[7].index("exp")), (8, weight), *((10, column) for column in results)]
    told = [line.split(": ")[0] for line in result.stderr.splitlines() if not line.startswith(" ")]
    assert told == [f"specs/one.yaml:{line}:{column + 1}" for line, column in columns]


def test_mistakes_found_in_another_process_are_told(place: Path) -> None:
    """What only compiling shows."""
    write_spec("one")
    bad = write_spec("two")
    bad.write_text(bad.read_text().replace("    doc:", "    precision: tf32\n    doc:"))
    result = kgen("build", "--jobs", "2")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("specs/two.yaml:6:3: `product` has a precision, but no matrix product\n")
    assert not Path("generated").exists()


MISTAKES = {
    "missing": (["build", "nope.yaml"], "cannot read `nope.yaml`: no such file or directory\n"),
    "folder": (["build", "specs"], "cannot read `specs`: is a directory\n"),
    "binary": (["show", "binary.yaml"], "`binary.yaml` is not UTF-8 text: byte 0\n"),
    "both": (["build", "binary.yaml", "nope.yaml"], "cannot read `nope.yaml`"),
    "located": (["build", "specs/bad.yaml"], "specs/bad.yaml:2:7: "),
    "hint": (["build", "specs/bad.yaml"], "\n    hint: "),
    "out": (["build", "specs/one.yaml", "--out", "binary.yaml"], "binary.yaml is not a folder\n    hint: "),
    "stage": (["show", "specs/one.yaml", "--stage", "nope"], "unknown stage 'nope'\n    hint: one of spec, "),
    "kernel": (["show", "specs/one.yaml", "--kernel", "nope"], "no kernel 'nope'\n    hint: its kernels: product\n"),
    "flag": (
        ["show", "specs/one.yaml", "--flag", "nope=true"],
        "no bool option 'nope'\n    hint: bool options: gated\n",
    ),
    "value": (["show", "specs/one.yaml", "--flag", "gated"], "--flag 'gated' needs a value\n    hint: "),
    "signature": (["new", "two", "--signature", "3,x"], "--signature '3,x' is not p,q,r\n    hint: "),
    "generators": (["new", "two", "--signature", "9,9,9"], "27 generators are too many"),
    "name": (["new", "../two"], "`../two` cannot name a module\n"),
    "exists": (["new", "one"], "specs/one.yaml exists and is not replaced\n"),
    "place": (["new", "two", "--dir", "binary.yaml"], "binary.yaml exists and is not replaced"),
    "jobs": (["build", "--jobs", "0"], "--jobs"),
    "option": (["build", "--nope"], "No such option"),
    "command": (["nope"], "No such command"),
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told(place: Path, mistake: str) -> None:
    write_spec("one")
    Path("specs/bad.yaml").write_text(SPEC.format(name="no-name"))
    Path("binary.yaml").write_bytes(b"\xff\xfe")
    before = sorted(Path().rglob("*"))
    arguments, expected = MISTAKES[mistake]
    result = kgen(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert expected in result.stderr
    assert sorted(Path().rglob("*")) == before


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["file", "terminal"])
def test_steps_are_told_on_stderr(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a file a line for each; on a terminal the latest, in a line that is gone afterwards."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream)
    with steps("1 of 2, a.f") as tell:
        for text in ("checking [b]", "timing"):
            tell(text)
        print("a table")
    told = stream.getvalue()
    assert capsys.readouterr().out == "a table\n"
    assert "1 of 2, a.f: timing" in told
    if not stream.isatty():
        assert told == "1 of 2, a.f: checking [b]\n1 of 2, a.f: timing\n"
    else:
        erased = "\x1b[2K"
        assert erased in told[told.rindex("a.f: timing") :]


def test_no_spec_at_all(place: Path) -> None:
    result = kgen("build")
    assert result.exit_code == 2
    assert result.stderr == "no spec given, and none in specs/\n    hint: name one: kgen build path/to/spec.yaml\n"


def test_new_writes_a_spec_that_shows_at_every_stage(place: Path) -> None:
    result = kgen("new", "rotors", "--signature", "3,0,1")
    assert (result.exit_code, result.stdout) == (0, "wrote specs/rotors.yaml; next: kgen build specs/rotors.yaml\n")
    for stage in STAGES:
        shown = kgen("show", "specs/rotors.yaml", "--stage", stage)
        assert shown.exit_code == 0, stage
        assert "product" in shown.stdout, stage


def test_show_at_each_stage(place: Path) -> None:
    path = str(write_spec("one"))
    expected = {
        "spec": ("Cl(2,0,0)", "│     3 │   e12 │     2 │", "│ weight   │ weights     │ [n, path]     │"),
        "paths": ("product: weight of x, y\n", "│     9 │"),
        "graph": ("graph product over b n\n", "  input weight [n, 10]\n", "output out [4, b, n] = "),
        "backward": ("graph product_backward over b n\n", "  input grad_out [4, b, n]\n", "grad_weight_000 = sum_b("),
        "kernels": ("product: ", "  folds grad_weight[n, 10]\n"),
        "buffers": ("│ grad_weight[n, 10] │ result", "│ out[4, b, n] │ result"),
        "source": ("@generated by kgen from specs/one.yaml", "def product(", "def product_reference("),
    }
    assert tuple(expected) == STAGES
    for stage, fragments in expected.items():
        text = kgen("show", path, "--stage", stage).stdout
        assert all(fragment in text for fragment in fragments), (stage, text)


def test_show_says_what_else_multiplies_matrices() -> None:
    """A kernel that multiplies matrices, and the steps that do so without tensor cores."""
    path = str(Path(__file__).parents[2] / "specs" / "diffusion.yaml")
    text = kgen("show", path, "--stage", "kernels", "--kernel", "spatial_gradients").stdout
    kernel, _, others = text.partition("spatial_gradients_library_factors: map kernel\n")
    assert "  4 products of fields by v c d; for a factor's element 0 mul + 0 add\n" in kernel
    assert "  without tensor cores spatial_gradients_library_factors, " in kernel and "per element 0" not in kernel
    assert "saved_product: matrix product, 4 products of fields\n" in others
    assert "  left: the contracted axis is innermost\n" in others


def test_show_formulas_of_a_chosen_variant(place: Path) -> None:
    path = str(write_spec("one"))
    plain = kgen("show", path, "--stage", "graph", "--flag", "gated=false").stdout
    assert "erf" in kgen("show", path, "--stage", "graph").stdout
    assert "erf" not in plain
    assert "weight_000⋅x_e⋅y_e" in plain


def test_schema(place: Path) -> None:
    text = kgen("schema").stdout
    assert '"title": "kgen spec"' in text
    assert kgen("schema", "--check").exit_code == 1
    Path("kgen.schema.json").write_text(text)
    assert kgen("schema", "--check").exit_code == 0
    Path("kgen.schema.json").write_text(text + "\n")
    assert kgen("schema", "--check").exit_code == 1


def test_completion_knows_commands_and_stages() -> None:
    def complete(words: str) -> list[str]:
        environment = {"_KGEN_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        code = "from kgen.cli import app; app(prog_name='kgen')"
        run = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True
        )
        return run.stdout.split()

    assert complete("kgen sh") == ["show"]
    assert complete("kgen show --stage b") == ["backward", "buffers"]


# the operations


def test_ops_lists_the_vocabulary() -> None:
    """Each row whole, although nothing here is a terminal."""
    lines = [re.split(r" {2,}", line.strip()) for line in kgen("ops").stdout.splitlines()]
    rows = [[str(word), word.formula, word.group, word.example] for word in VOCABULARY.values()]
    assert lines[1 : len(rows) + 1] == rows
    assert all([group, meaning] in lines for group, meaning in GROUPS.items())


@pytest.mark.parametrize("name", VOCABULARY)
def test_ops_tells_of_one(name: str) -> None:
    text, word = kgen("ops", name).stdout, VOCABULARY[name]
    assert text.startswith(f"{word}\n    {word.doc}\n    formula ")
    assert all(part in text for part in (word.formula, word.example, word.each, word.torch, *word.groups))


@pytest.mark.parametrize(
    ("name", "hint"),
    [("wedge", "write `x ^ y`"), ("sgpp", "did you mean sgp?"), ("frob", "`kgen ops` lists all")],
)
def test_ops_says_what_another_word_means(name: str, hint: str) -> None:
    result = kgen("ops", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"there is no operation {name}\n    hint: {hint}")


# output that goes elsewhere


def printed(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    environment = {key: value for key, value in os.environ.items() if key not in ("TERMINAL_WIDTH", "COLUMNS")}
    command = [sys.executable, "-m", "kgen", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, text=True, stderr=subprocess.PIPE, **options)


COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
PRINTING = [
    ["--help"],
    ["--version"],
    ["ops"],
    ["ops", "gp"],
    ["schema"],
    ["show", "specs/vga2d.yaml"],
    ["show", "specs/vga2d.yaml", "--stage", "buffers", "--kernel", "sgp"],
    ["show", "specs/vga2d.yaml", "--stage", "graph", "--kernel", "sgp"],
]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is full")
@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_what_cannot_be_written_is_told(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = printed(*arguments, stdout=full)
    assert (done.returncode, done.stderr) == (2, "cannot write the output: no space left on device\n")


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_reader_that_stops_ends_it_quietly(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = printed(*arguments, stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (2, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_short_help_which_is_not_cut(command: str) -> None:
    short, long = (printed(command, option, stdout=subprocess.PIPE) for option in ("-h", "--help"))
    assert short.returncode == 0 and short.stdout == long.stdout
    assert f"kgen {command}" in short.stdout and re.search(r"--help +-h", short.stdout)
    assert "…" not in short.stdout.replace("gfx942, …", ""), "a word is cut"


def test_tables_are_not_cut_in_a_pipe(place: Path) -> None:
    path = write_spec("one")
    name = "a_name_that_is_quite_long_for_a_table_of_eighty_columns"
    path.write_text(path.read_text().replace("y: multi", f"{name}: multi").replace("(x, y", f"(x, {name}"))
    path.write_text(path.read_text().replace("gelu(x), y", f"gelu(x), {name}"))
    for stage in ("spec", "paths", "buffers", "kernels"):
        text = kgen("show", str(path), "--stage", stage).stdout
        assert name in text and "…" not in text, stage


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("setting", ["", "NO_COLOR"])
def test_a_diff_is_coloured_on_a_terminal(place: Path, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    path = write_spec("one")
    kgen("build")
    path.write_text(path.read_text() + "# changed\n")
    plain = kgen("build", "--diff").stdout
    assert "\x1b" not in plain and "\n-DIGEST" in plain
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if setting:
        monkeypatch.setenv(setting, "1")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    show_diff(plain)
    written = terminal.getvalue()
    assert re.sub(r"\x1b\[[0-9;]*m", "", written) == plain
    colours = set(re.findall(r"\x1b\[3[0-9]m", written))
    assert colours == (set() if setting else {"\x1b[31m", "\x1b[32m", "\x1b[36m"})
