"""The package as a user gets it: the wheel, what it declares to need, and modules that need torch and triton alone.

Nothing is downloaded. An environment is made of the distributions that are installed here, of exactly those that the
declared requirements lead to, so that an undeclared import fails.
"""

import email
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest
import trove_classifiers
from folders import copied
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import kgen

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def closure(requirements: Iterable[str]) -> dict[str, metadata.Distribution]:
    """The distributions that the requirements lead to, by name; fails where an installed version is not admitted."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        if name in found:
            continue
        found[name] = metadata.distribution(name)
        assert wanted.specifier.contains(
            found[name].version, prereleases=True
        ), f"{wanted}: {found[name].version} is here"
        waiting += [Requirement(text) for text in found[name].requires or ()]
    return found


def environment(folder: Path, requirements: Iterable[str]) -> Path:
    """A virtual environment with the requirements and nothing else; returns its python."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip())
    for distribution in closure(requirements).values():
        parts = {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
        for part in sorted(parts):
            if not (site / part).exists():
                (site / part).symlink_to(Path(str(distribution.locate_file(part))).resolve())
    return python


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what `python -m build` makes: an sdist, and the wheel that is built of it."""
    folder = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def described(wheel: Path) -> bytes:
    """The wheel's metadata."""
    (name,) = (name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("METADATA"))
    return zipfile.ZipFile(wheel).read(name)


def test_the_metadata_is_valid(described: bytes) -> None:
    found = Metadata.from_email(described, validate=True)
    assert (found.name, str(found.version)) == (PROJECT["name"], kgen.__version__)
    assert found.description == (ROOT / "README.md").read_text(encoding="utf-8")
    assert (found.description_content_type, found.license_expression) == ("text/markdown", "MIT")
    assert set(found.classifiers or []) <= trove_classifiers.classifiers
    assert not set(found.classifiers or []) & set(trove_classifiers.deprecated_classifiers)


def test_an_index_would_take_both(built: Path) -> None:
    pytest.importorskip("twine")
    run(sys.executable, "-m", "twine", "check", "--strict", *built.iterdir(), cwd=built)


def test_the_distribution_has_a_name_of_its_own_and_pages_say_so() -> None:
    assert canonicalize_name(PROJECT["name"]) != "kgen", "on PyPI that is another project"
    assert list(PROJECT["scripts"]) == ["kgen"]
    for page in ("README.md", "docs/start.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert f"`{PROJECT['name']}`" in text and "pip install kgen" in text


def test_the_wheel_holds_the_package_and_its_templates(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "kgen").rglob("*.py")}
    source = ROOT / "templates"
    paths = [*source.glob("*.jinja"), *source.glob("runtime/*.py"), *source.glob("bench/*.py")]
    templates = {f"kgen/_templates/{path.relative_to(source).as_posix()}" for path in paths}
    assert {"kgen/_templates/tile.jinja", "kgen/_templates/runtime/launch.py"} <= templates
    inside = {name for name in names if not name.partition("/")[0].endswith(".dist-info")}
    assert inside == modules | templates | {"kgen/py.typed"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_core_declares_neither_torch_nor_triton(described: bytes) -> None:
    declared = email.message_from_bytes(described).get_all("Requires-Dist") or []
    core = [text for text in declared if "extra ==" not in text]
    assert {"torch", "triton"}.isdisjoint(closure(core))
    assert {Requirement(text).name for text in declared if "'run'" in text} == {"torch", "triton"}


def test_an_installed_kgen_builds_what_the_checkout_builds(wheel: Path, tmp_path: Path) -> None:
    python = environment(tmp_path / "environment", PROJECT["dependencies"])
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    kgen = python.parent / "kgen"
    code = "import importlib.util as u; print([n for n in ('torch', 'triton', 'pytest') if u.find_spec(n)])"
    assert run(python, "-c", code, cwd=tmp_path) == "[]\n"
    run(kgen, "new", "fresh", "--signature", "2,0,0", cwd=tmp_path)
    run(kgen, "build", cwd=tmp_path)
    run(sys.executable, "-m", "kgen", "build", tmp_path / "specs/fresh.yaml", "--out", tmp_path / "same", cwd=ROOT)
    made = [path.relative_to(tmp_path / "same") for path in (tmp_path / "same").rglob("*.py")]
    assert Path("tests/test_fresh.py") in made and Path("fresh/_runtime/launch.py") in made
    for name in made:
        assert (tmp_path / "generated" / name).read_bytes() == (tmp_path / "same" / name).read_bytes()


def test_generated_modules_need_torch_and_triton_alone(tmp_path: Path) -> None:
    python = environment(tmp_path / "environment", ["torch", "triton"])
    code = """
import sys
from generated import vga2d
import torch
x, y = torch.randn(2, 4, 3, 5)
assert torch.equal(vga2d.geometric_product(x, y)[0], vga2d.geometric_product_reference(x, y)[0])
print([name for name in ("kgen", "kingdon", "pydantic", "yaml", "rich") if name in sys.modules])
"""
    (tmp_path / "generated").symlink_to(ROOT / "generated")
    assert run(python, "-B", "-c", code, cwd=tmp_path) == "[]\n"


def test_proofs_need_torch_triton_and_pytest_alone(tmp_path: Path) -> None:
    """Package and proof, copied into a folder of another project."""
    python = environment(tmp_path / "environment", ["torch", "triton", "pytest", "numpy"])  # numpy: the interpreter's
    copied("vga2d", tmp_path / "somewhere" / "vga2d")
    (tmp_path / "somewhere" / "tests").mkdir()
    shutil.copy(ROOT / "generated" / "tests" / "test_vga2d.py", tmp_path / "somewhere" / "tests")
    printed = run(python, "-m", "pytest", "-q", "somewhere", "-k", "sgp and not norm", cwd=tmp_path)
    assert re.search(r"^\d+ passed, (\d+ skipped, )?\d+ deselected", printed, re.MULTILINE), printed


def test_every_spec_has_its_module_and_its_proof() -> None:
    specs = {path.stem for path in (ROOT / "specs").glob("*.yaml")}
    assert {path.parent.name for path in (ROOT / "generated").glob("*/__init__.py")} == specs
    assert {path.stem for path in (ROOT / "generated" / "tests").glob("*.py")} == {f"test_{name}" for name in specs}


def test_constraints_pin_what_the_project_requires() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(str(pin.specifier).startswith("==") and pin.url is None for pin in pins)
    assert all("+" not in str(pin) for pin in pins), "a local version resolves on one kind of machine only"
    required = [
        *PROJECT["dependencies"],
        *(text for extra in PROJECT["optional-dependencies"].values() for text in extra),
    ]
    pinned = {canonicalize_name(pin.name): pin for pin in pins}
    for text in required:
        wanted = Requirement(text)
        (version,) = (clause.version for clause in pinned[canonicalize_name(wanted.name)].specifier)
        assert wanted.specifier.contains(version), f"{text} does not admit {version}"
    exact = {Requirement(text).name for text in PROJECT["dependencies"] if "==" in text}
    assert exact == {"black", "kingdon"}, "what shapes the generated text is pinned exactly, the rest is not"
