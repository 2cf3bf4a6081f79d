"""Packages as projects have them: merged from two branches, called by typed code, copied in part, without source."""

import compileall
import copy
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import prepared
import pytest
import torch
from folders import copied, written_to
from modules import DEVICE, ROOT, module, spec_text

from kgen.pipeline import generate
from kgen.spec.load import load


def git(folder: Path, *arguments: str) -> str:
    settings = ("-c", "user.name=kgen", "-c", "user.email=kgen@example.org", "-c", "core.autocrlf=false")
    command = ["git", "-C", str(folder), *settings, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"GIT_CONFIG_GLOBAL": os.devnull})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def committed(folder: Path, text: str, message: str) -> None:
    """The spec with what it becomes, as a commit."""
    written_to(folder, {"specs/vga2d.yaml": text})
    written_to(folder / "generated", generate([load(str(folder / "specs" / "vga2d.yaml"))]))
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)


def changed(old: str, new: str) -> str:
    text = spec_text("vga2d")
    assert text.count(old) == 1
    return text.replace(old, new)


def test_two_branches_merge(tmp_path: Path) -> None:
    """Each changes another kernel: what git makes of the files is what kgen makes of the spec."""
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    committed(tmp_path, spec_text("vga2d"), "base")
    git(tmp_path, "checkout", "--quiet", "-b", "one")
    committed(tmp_path, changed("body: return sgp(x, y, weight)", "body: return 2 * sgp(x, y, weight)"), "one")
    git(tmp_path, "checkout", "--quiet", "-b", "other", "main")
    committed(tmp_path, changed("body: return x * y", "body: return x * y - y"), "other")
    git(tmp_path, "merge", "--quiet", "one")
    made = generate([load(str(tmp_path / "specs" / "vga2d.yaml"))])
    assert "2 * sgp" in (tmp_path / "specs" / "vga2d.yaml").read_text(encoding="utf-8")
    for path, text in made.items():
        assert (tmp_path / "generated" / path).read_text(encoding="utf-8") == text, path


CALLER = """\
import torch

from generated import diffusion, vga3d
from generated.vga3d import SGP, sgp_reference


def step(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    layer = SGP(5, normalize=True, eps=1e-5)
    y: torch.Tensor = layer(x, x)
    z = vga3d.fused_gelu_sgp_norm(x, y, weight, normalize=False) + sgp_reference(x, y, weight)
    other = vga3d.weights_to(weight, "cgenn", of="sgp.weight")
    paths: tuple[tuple[int, ...], ...] = vga3d.PATHS["sgp.weight"]
    out, spectral = diffusion.spatial_diffusion(x, y, z, other, weight)
    vga3d.register_sharding()
    return out + spectral * len(paths) * len(vga3d.BLADES)


wrong: int = vga3d.sgp(torch.empty(0), torch.empty(0), torch.empty(0))
vga3d.sgp("x", "y", "weight")
vga3d.no_such_function()
"""
MYPY = """\
[mypy]
strict = true
follow_imports = silent
[mypy-triton.*]
follow_imports = skip
ignore_missing_imports = true
"""


def test_typed_callers(tmp_path: Path) -> None:
    """mypy --strict has no complaint of a caller, but for what is wrong."""
    written_to(tmp_path, {"caller.py": CALLER, "mypy.ini": MYPY})
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "caller.py", "--cache-dir"]
    environment = os.environ | {"MYPYPATH": str(ROOT)}
    cache = str(ROOT / ".mypy_cache")
    done = subprocess.run([*command, cache], cwd=tmp_path, env=environment, capture_output=True, text=True)
    found = [line.rpartition("[")[2] for line in done.stdout.splitlines() if "error: " in line]
    assert found == ["assignment]", *["arg-type]"] * 3, "attr-defined]"], done.stdout + done.stderr


CALL = """\
import sys, torch
sys.path[:] = [sys.argv[1], *(p for p in sys.path if p not in ("", sys.argv[2]))]
import borrowed
x, y = torch.randn(2, 4, 3, 5, dtype=torch.float64)
print(float((borrowed.geometric_product(x, y) - borrowed.geometric_product_reference(x, y)).abs().max()) < 1e-12)
"""


def called(folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """A call of a vendored package, in a process that has not imported it."""
    return prepared.python(["-c", CALL, str(folder), str(ROOT)], folder.parent, os.environ | environment)


@pytest.fixture
def borrowed(tmp_path: Path) -> Path:
    return copied("vga2d", tmp_path / "borrowed")


@pytest.mark.parametrize("absent", ["_kernels/geometric_product.py", "_kernels"])
def test_a_partial_copy(absent: str, borrowed: Path) -> None:
    """What is missing is named when it is first asked for."""
    lost = borrowed / absent
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    done = called(borrowed.parent, {"TRITON_INTERPRET": "1"})
    assert done.returncode == 1 and "ImportError" in done.stderr
    assert f"{borrowed}/_kernels/geometric_product.py is missing: copy the folder of borrowed whole" in done.stderr


@pytest.mark.parametrize(
    ("absent", "told"),
    [
        ("_functions/sgp.py", "No module named 'borrowed._functions.sgp'"),
        ("_runtime/launch.py", "cannot import name 'launch' from 'borrowed._runtime'"),
        ("_reference.py", "No module named 'borrowed._reference'"),
    ],
)
def test_other_files_of_a_partial_copy(absent: str, told: str, borrowed: Path) -> None:
    (borrowed / absent).unlink()
    done = called(borrowed.parent, {"TRITON_INTERPRET": "1"})
    assert done.returncode == 1 and told in done.stderr, done.stderr


def test_from_a_zip_file(borrowed: Path) -> None:
    """Kernels, too, of which Triton reads the source."""
    shutil.make_archive(str(borrowed.parent / "archive"), "zip", borrowed.parent, "borrowed")
    shutil.rmtree(borrowed)
    done = called(borrowed.parent / "archive.zip", {"TRITON_INTERPRET": "1"})
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize("interpret", ["0", "1"])
def test_bytecode_alone(interpret: str, borrowed: Path) -> None:
    """Is imported and computes; Triton, which has nothing to compile kernels from, says so."""
    assert compileall.compile_dir(borrowed, legacy=True, quiet=1)
    for source in borrowed.rglob("*.py"):
        source.unlink()
    done = called(borrowed.parent, {"TRITON_INTERPRET": interpret, "CUDA_VISIBLE_DEVICES": ""})
    assert done.stdout == "True\n", done.stderr
    if interpret == "0":
        read = "import borrowed._runtime.operators as o; o.kernels('geometric_product')"
        done = prepared.python(["-c", read], borrowed.parent, os.environ | {"TRITON_INTERPRET": "0"})
        told = "@jit functions should be defined in a Python file"
        assert done.returncode == 1 and told in done.stderr, done.stderr


def test_pickles_and_copies() -> None:
    """Of functions and modules."""
    assert pickle.loads(pickle.dumps(module("vga2d").sgp)) is module("vga2d").sgp
    of = module("vga2d")
    layer = of.SGP(5, device=DEVICE)
    again, deep = pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)
    assert type(again) is of.SGP and type(deep) is of.SGP
    assert torch.equal(again.gp_weight, layer.gp_weight) and torch.equal(deep.gp_weight, layer.gp_weight)
