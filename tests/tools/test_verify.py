"""`kgen verify`: what is right passes, what is wrong fails with the name of the tensor, and kernels must have run."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from folders import copied, written_to
from modules import DEVICE, ROOT, module
from typer.testing import CliRunner

from kgen.cli import app
from kgen.pipeline import generate
from kgen.spec import stamp
from kgen.spec.load import load
from kgen.spec.starter import template
from kgen.tools.comparison import TOLERANCE, compare, launches

SMALL = ["--dtype", "float32", "--size", "b=2", "--size", "n=3"]

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")


def verify(*arguments: str | Path) -> tuple[int, str]:
    """Exit status and output of `kgen verify`."""
    result = CliRunner().invoke(app, ["verify", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def altered(tmp_path: Path, file: str, old: str, new: str) -> Path:
    """A generated package with one change, as if kgen had generated it so."""
    path = copied("vga2d", tmp_path / f"altered{abs(hash((old, new)))}")
    text = (path / file).read_text(encoding="utf-8")
    assert old in text
    (path / file).write_text(stamp.sealed(text.replace(old, new)), encoding="utf-8")
    return path


def project(folder: Path, name: str = "mine") -> tuple[Path, Path]:
    """A spec and its package, as `kgen build` leaves them."""
    spec = folder / "specs" / f"{name}.yaml"
    spec.parent.mkdir(exist_ok=True)
    spec.write_text(template(name, (2, 0, 0)), encoding="utf-8")
    return spec, built(spec) / name


def built(spec: Path) -> Path:
    return written_to(spec.parents[1] / "generated", generate([load(str(spec))]))


def test_a_spec_means_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    status, output = verify("specs/vga2d.yaml", *SMALL)
    assert status == 0, output
    assert "all kernels agree" in output
    for kernel, names in {"geometric_product": "xy", "sgp": ("x", "y", "weight")}.items():
        for tensor in ("out", *(f"grad {name}" for name in names)):
            assert any(line.split() and line.split()[0] == kernel and tensor in line for line in output.splitlines())
    assert "normalize=True" in output and "normalize=False" in output


def test_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    status, output = verify("generated/vga3d", "--dtype", "float64", "--dtype", "bfloat16", "--size", "n=2")
    assert status == 0, output
    assert "float64" in output and "bfloat16" in output and "float32" not in output


@pytest.mark.parametrize(
    ("old", "new", "tensor"),
    [
        ("out_e = x_e * y_e + x_e1 * y_e1", "out_e = x_e * y_e - x_e1 * y_e1", "out"),
        ("grad_y_e1 = grad_out_e * x_e1", "grad_y_e1 = 1.001 * grad_out_e * x_e1", "grad y"),
    ],
)
def test_a_wrong_module(old: str, new: str, tensor: str, tmp_path: Path) -> None:
    status, output = verify(altered(tmp_path, "_kernels/geometric_product.py", old, new), *SMALL)
    assert status == 1
    assert "some kernels differ" in output
    wrong = [line for line in output.splitlines() if line.rstrip().endswith("wrong")]
    assert len(wrong) == 1 and wrong[0].startswith("geometric_product ") and tensor in wrong[0]


def test_kernels_must_run(tmp_path: Path) -> None:
    """A module that asks its reference agrees with it, which proves nothing."""
    path = altered(tmp_path, "_runtime/device.py", "    return triton is not None and", "    return False and")
    status, output = verify(path, *SMALL)
    assert status == 1
    assert "no kernel was launched" in output


def test_a_kernel_that_raises(tmp_path: Path) -> None:
    path = altered(tmp_path, "_functions/sgp.py", "def sgp(x: ", "def sgp(z: int, x: ")
    status, output = verify(path, *SMALL)
    assert status == 1
    assert "TypeError" in output and "geometric_product" in output


def test_a_spec_without_a_module(tmp_path: Path) -> None:
    """It is compiled for the occasion, and leaves nothing behind."""
    path = tmp_path / "mine.yaml"
    path.write_text(template("mine", (1, 1, 0)), encoding="utf-8")
    status, output = verify(path, *SMALL, "--generated", tmp_path / "generated")
    assert status == 0, output
    assert "mine, 3 kernels" in output and f"compiled for this, as there is no {tmp_path / 'generated'}" in output
    assert [p.name for p in tmp_path.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["specs/nowhere.yaml"], "no file specs/nowhere.yaml"),
        (["specs/vga2d.yaml", "--dtype", "int8"], "unknown dtype 'int8'"),
        (
            ["specs/vga2d.yaml", "--dtype", "float23"],
            "unknown dtype 'float23'\n    hint: did you mean float32? there are ",
        ),
        (["specs/vga2d.yaml", "--size", "q=4"], "no kernel has an axis 'q'\n    hint: there are b, n, m\n"),
        (
            ["specs/vga2d.yaml", "--size", "N=4"],
            "no kernel has an axis 'N'\n    hint: did you mean n? there are b, n, m\n",
        ),
        (["specs/pga3d.yaml", "--size", "...=4"], "no kernel has an axis '...'\n    hint: there are b, n, m\n"),
        (["specs/vga2d.yaml", "--size", "n=-4"], "'n=-4' is not a size"),
        (["specs/vga2d.yaml", "--size", "n"], "'n' is not a size"),
        (["specs/vga2d.yaml", "--device", "abacus"], "no device 'abacus'"),
        (["tests"], "no generated package tests"),
        (["tests/conftest.py"], "no generated package tests"),
    ],
)
def test_mistakes(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    status, output = verify(*arguments)
    assert status == 2
    assert message in output


# a module that is not as its spec made it


@pytest.mark.parametrize("named", ["spec", "module"])
@pytest.mark.parametrize("change", ["body", "spaces"])
def test_a_stale_module(named: str, change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It agrees with its reference, which is as old as itself."""
    spec, _ = project(tmp_path)
    monkeypatch.chdir(tmp_path)
    target = {"spec": "specs/mine.yaml", "module": "generated/mine"}[named]
    assert verify(target, *SMALL)[0] == 0
    text = spec.read_text(encoding="utf-8")
    changed = (
        text.replace("body: return", "body: return  ", 1)
        if change == "spaces"
        else text.replace("body: return", "body: return -", 1)
    )
    assert changed != text
    spec.write_text(changed, encoding="utf-8")
    status, output = verify(target, *SMALL)
    assert status == 2 and "agree" not in output
    assert "generated/mine is stale: " in output and "specs/mine.yaml" in output
    assert "\n    hint: run `kgen build " in output
    built(spec)
    assert verify(target, *SMALL)[0] == 0


@pytest.mark.parametrize("named", ["spec", "module", "vendored"])
@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("_kernels/product.py", "out_e = x_e * y_e", "out_e = -x_e * y_e"),
        ("_functions/product.py", "import torch\n", "import torch  # changed\n"),
        ("_reference.py", "import torch\n", "import torch, (\n"),
        ("_runtime/launch.py", "max(", "min("),
        ("_functions/product.py", "\nspec ", "\n\nspec "),
    ],
    ids=["kernel", "comment", "no Python", "runtime", "header"],
)
def test_a_module_changed_by_hand(
    named: str, file: str, old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its spec in reach or not; nothing of it is run."""
    spec, module = project(tmp_path)
    if named == "vendored":
        (tmp_path / "elsewhere").mkdir()
        module = module.rename(tmp_path / "elsewhere" / "kernels")
        spec.unlink()
    text = (module / file).read_text(encoding="utf-8")
    assert old in text
    (module / file).write_text(text.replace(old, new, 1), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    status, output = verify(spec if named == "spec" else module, *SMALL)
    assert status == 2 and "agree" not in output
    assert "changed by hand" in output and "\n    hint: " in output and "kgen build" in output


def test_a_module_of_another_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two specs of one name: the module is that of one of them."""
    project(tmp_path)
    other = tmp_path / "other.yaml"
    other.write_text(template("mine", (1, 1, 0)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    status, output = verify("other.yaml", *SMALL)
    assert status == 2 and "it was not generated from other.yaml as that is now" in output


def test_a_module_without_its_spec(tmp_path: Path) -> None:
    """A copy elsewhere is verified, and what could not be checked is told."""
    path = copied("vga2d", tmp_path / "kernels")
    status, output = verify(path, *SMALL)
    assert status == 0 and "all kernels agree" in output
    assert "specs/vga2d.yaml is not here, so whether it has changed since is not known" in output


def test_all_such_modules_are_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale, _ = project(tmp_path, "one")
    _, edited = project(tmp_path, "two")
    for path, old in ((stale, "return"), (edited / "_reference.py", "import torch")):
        path.write_text(path.read_text(encoding="utf-8").replace(old, f"{old}  ", 1), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    status, output = verify("specs/one.yaml", "specs/two.yaml", "specs/three.yaml")
    assert status == 2
    for told in (
        "generated/one is stale",
        "generated/two/_reference.py was changed by hand",
        "no file specs/three.yaml",
    ):
        assert told in output


# nothing to launch, and nothing that can be compared


@pytest.mark.parametrize("axis", ["b", "n"])
def test_an_empty_size(axis: str, tmp_path: Path) -> None:
    """Nothing is wrong, and nothing was computed: both are told."""
    status, output = verify(ROOT / "generated" / "vga2d", *SMALL, "--size", f"{axis}=0")
    assert status == 0, output
    assert "no kernel was launched" not in output
    rows = [line for line in output.splitlines() if " float32 " in line and " ok" in line]
    assert rows and all(row.rstrip().endswith(("ok", "ok, empty: nothing to launch")) for row in rows)
    empty = sum("empty" in row for row in rows)
    assert empty and (f"nothing was launched for {empty} results" in output or "nothing to launch at these" in output)


def test_a_wrong_shape_at_an_empty_size(tmp_path: Path) -> None:
    """Two references at odds with the kernels, in how many components there are, and in an axis that is not empty."""
    old = "out.movedim(-1, 0).to(dtype)"
    for new in ("out.movedim(-1, 0)[:3].to(dtype)", "out.movedim(-1, 0)[..., :2].to(dtype)"):
        status, output = verify(altered(tmp_path, "_functions/geometric_product.py", old, new), *SMALL, "--size", "b=0")
        assert status == 1 and "agree" not in output and "nothing to launch at" not in output


def test_what_cannot_be_compared_hides_nothing_else(tmp_path: Path) -> None:
    """A kernel that cannot be compared is told in its row, and the others in theirs."""
    upcast = "    x, y, weight = _ref_upcast(x, y, weight)\n"
    path = altered(tmp_path, "_functions/sgp.py", upcast, '    raise RuntimeError("out of order")\n')
    status, output = verify(path, *SMALL)
    assert status == 1 and "some kernels could not be compared with the reference" in output
    rows = [line for line in output.splitlines() if " float32 " in line]
    told = [row for row in rows if "RuntimeError: out of order" in row]
    assert {row.split()[0] for row in told} == {"sgp"}
    assert {row.split()[0] for row in rows if row.rstrip().endswith(" ok")} >= {"geometric_product", "layer"}


def test_progress_is_told_beside_the_table() -> None:
    result = CliRunner().invoke(app, ["verify", str(ROOT / "generated" / "vga2d"), *SMALL])
    assert "vga2d: sgp in float32\n" in result.stderr and "sgp in float32" not in result.stdout


ALONE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("kingdon", "jinja2", "black", "yaml"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from kgen.cli import main
main()
"""


def test_needs_no_compiler() -> None:
    """With torch, triton, typer and rich, as on a GPU machine, and what those need themselves."""
    command = [sys.executable, "-c", ALONE, "verify", "specs/vga2d.yaml", *SMALL]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "all kernels agree" in done.stdout
    absent = [*command[: -len(SMALL) - 1], "tests/specs/plain.yaml"]
    done = subprocess.run(absent, cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 2
    assert "compiler is not installed" in done.stderr and "Traceback" not in done.stderr


# the comparison itself


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_comparison(dtype: torch.dtype) -> None:
    expected = torch.linspace(1, 2, 1000, dtype=torch.float64).to(dtype).double()
    tolerance = TOLERANCE[dtype]
    right = compare(expected.to(dtype), expected)
    assert right.agrees and right.relative == right.largest == 0
    assert not compare((expected * (1 + 4 * tolerance)).to(dtype), expected).agrees
    outlier = expected.clone()
    outlier[500] += 100 * tolerance  # lost in the norm of a thousand
    found = compare(outlier.to(dtype), expected)
    assert not found.agrees and found.largest > 10 * tolerance


def test_comparison_of_zeros() -> None:
    zeros = torch.zeros(5, dtype=torch.float64)
    assert compare(zeros, zeros).agrees
    assert compare(zeros + 1e-3, zeros).relative == pytest.approx(1e-3 * math.sqrt(5))
    assert compare(zeros[:0], zeros[:0]).agrees


def test_comparison_of_what_is_not_finite() -> None:
    ones = torch.ones(5, dtype=torch.float64)
    holes = torch.tensor([1, 1, torch.nan, 1, 1], dtype=torch.float64)
    assert compare(holes, holes).agrees
    assert not compare(holes, ones).agrees
    assert not compare(ones, holes).agrees
    assert not compare(holes * torch.nan, holes * torch.nan).agrees
    assert not compare(ones[:4], ones).agrees


def test_comparison_knows_no_scale() -> None:
    expected = torch.linspace(1, 2, 10, dtype=torch.float64)
    for scale in (1e-200, 1e200):
        assert compare(scale * expected, scale * expected).agrees
        assert compare(1.01 * scale * expected, scale * expected).relative == pytest.approx(0.01)


def test_launches_nest_and_end() -> None:
    of = module("vga2d")
    x, y = torch.randn(2, 4, 3, 5, dtype=torch.float64, device=DEVICE)
    with launches(of) as outer:
        with launches(of) as inner:
            of.geometric_product(x, y)
        of.geometric_product(x, y)
    of.geometric_product(x, y)
    assert (len(inner), len(outer)) == (1, 2)
    assert inner == ["_geometric_product_kernel"]
