"""Proofs: they hold for specs that are not shipped, fail for modules that are wrong, and travel.

The proofs of the shipped modules are `generated/tests`, which the test run includes. Here are those of other memory
orders, of plain tensors and of specs made to be awkward, in a folder of their own as a user has them.
"""

import functools
import itertools
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import black
import prepared
import pytest
import torch
from folders import copied, written_to
from imports import packages
from modules import PACKAGES, ROOT, spec_text, turned
from test_dropout import SPEC as DROPPED

from kgen.emit.proof import proof
from kgen.pipeline import generate
from kgen.reference import source as reference
from kgen.reference.function import Function
from kgen.spec.load import load
from kgen.spec.starter import template

EUCLIDEAN = """\
kgen: 1
name: plain_squares
algebra: {signature: [%s]}
layout:
  multivector: [blade, b, n]
  weights: {order: [left, out, right], memory: [n, path]}
kernels:
  norm:
    inputs: {x: multivector}
    options: {normalize: true}
    body: return grade_rms_norm(x, eps=1e-6) if normalize else x * x
"""

AWKWARD = """\
kgen: 1
name: awkward
algebra: {signature: [2, 1, 0], blades: [e, e2, e1, e3, e21, e13, e23, e321]}
layout:
  multivector: [..., n, blade]
  weights: {order: [out, left, right], memory: [n, path], fully_connected: [path, n, m], gradewise: [grade, n, m]}
kernels:
  several:
    doc: Several results, options of each kind, an input without gradient, some of the grades.
    inputs:
      x: multivector
      v: grades(1)
      w: weights(v, x)
      s: scalar
      g: [n, grade]
    options: {turn: false, flip: true, scale: 0.5, shift: 2}
    outputs: {p: multivector, q: scalar}
    grads: [x, v, w, g]
    body: |
      a = (v >> x) if turn else sgp(v, x, w) + scale * (x & undual(x)) * g[1]
      q = (norm_squared(x) + shift) * exp(-s * s) if flip else scalar_product(x, x) * g[0]
      return polarity(a) - (dual(v) | x), q

  connected:
    inputs: {x: multivector, y: multivector, w: "weights(x, y)[n, m]", l: "weights(x)[n, m]"}
    body: return sum(sgp(x, y, w), over=n)

  constant:
    doc: Nothing to differentiate.
    inputs: {x: multivector}
    grads: []
    body: return ~x ^ e3
"""


PRECISE = """\
kgen: 1
name: precise
algebra: {signature: [2, 0, 0]}
layout:
  multivector: [blade, b, n]
  weights: {order: [left, out, right], fully_connected: [path, n, m]}
kernels:
  in_tf32:
    inputs: {x: multivector, y: multivector, weight: "weights(x, y)[n, m]"}
    precision: tf32
    body: return fcgp(x, y, weight)
  as_torch_says:
    inputs: {x: multivector, y: multivector, weight: "weights(x, y)[n, m]"}
    body: return fcgp(x, y, weight)
"""


@functools.cache
def files(text: str) -> Mapping[str, str]:
    """What a spec becomes, by its path."""
    return generate([load("specs/unshipped.yaml", text)])


def write(text: str, folder: Path) -> str:
    """The files of a spec, in the folder; the module's name."""
    written_to(folder, files(text))
    return load("specs/unshipped.yaml", text).name


def copy(folder: Path) -> None:
    """The checked-in package vga2d and its proof, which are what its spec becomes."""
    copied("vga2d", folder / "vga2d")
    (folder / "tests").mkdir(exist_ok=True)
    shutil.copyfile(ROOT / "generated" / "tests" / "test_vga2d.py", folder / "tests" / "test_vga2d.py")


def pytest_in(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Exit status and output of `pytest` in a folder, without anything of this repository."""
    settings = {**os.environ, **(environment or {})}
    if "PYTHONPATH" not in (environment or {}):
        settings.pop("PYTHONPATH", None)
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
    done = prepared.python(command, folder, settings)
    return done.returncode, done.stdout + done.stderr


SPECS: dict[str, Callable[[], str]] = {
    "plain": lambda: (ROOT / "tests" / "specs" / "plain.yaml").read_text(encoding="utf-8"),
    "axes": lambda: (ROOT / "tests" / "specs" / "axes.yaml").read_text(encoding="utf-8"),
    "grades": lambda: (ROOT / "tests" / "specs" / "grades.yaml").read_text(encoding="utf-8"),
    "blocks": lambda: (ROOT / "tests" / "specs" / "blocks.yaml").read_text(encoding="utf-8"),
    "turned": lambda: turned(spec_text("vga2d")),
    "boost": lambda: EUCLIDEAN % "1, 1, 0",
    "translation": lambda: EUCLIDEAN % "2, 0, 1",
    "no_versors": lambda: template("no_versors", (0, 0, 2)),
    "awkward": lambda: AWKWARD,
    "masks": lambda: (ROOT / "tests" / "specs" / "masks.yaml").read_text(encoding="utf-8"),
    "precise": lambda: PRECISE,
    "drop": lambda: DROPPED,
}

# Of these some tests only, for the time that the interpreter takes.
PARTS = {
    "grades": "reference or invariant or equivariance or rows or mixed",
    "axes": "not dtypes and not strides and not alone and not finite",
    "blocks": "sizes or dtypes or wide",
    "turned": "sizes or rows or second",
    "boost": "reference or invariant or equivariance",
    "translation": "reference or invariant or equivariance",
    "awkward": "not mixed and not strides and not alone",
    "drop": "description or reference or sizes or rows or second or finite or equivariance",
    "masks": "description or reference or sizes or rows or mixed",
    "precise": "description or sizes or dtypes or turned or second",
}


# they hold


@pytest.mark.parametrize("name", SPECS)
def test_holds(name: str, tmp_path: Path) -> None:
    write(SPECS[name](), tmp_path)
    chosen = ("-k", PARTS[name]) if name in PARTS else ()
    status, output = pytest_in(tmp_path, *chosen)
    assert status == 0, output
    assert "failed" not in output and re.search(r"\d+ passed", output)


# they fail


KERNEL, FUNCTION = "_kernels/geometric_product.py", "_functions/geometric_product.py"
RUNTIME = "_runtime/device.py"


def damaged(text: str, pattern: str, replacement: str) -> str:
    changed = re.sub(pattern, replacement, text, count=1, flags=re.MULTILINE)
    assert changed != text, f"nothing reads {pattern}"
    return changed


@pytest.mark.parametrize(
    ("file", "pattern", "replacement", "tests", "message"),
    [
        (KERNEL, r"^(    out_e = .*?) \+ ", r"\1 - ", "sizes", "AssertionError: out is off by"),
        (KERNEL, r"^(    grad_x_e = .*?) \+ ", r"\1 - ", "sizes", "AssertionError: d x is off by"),
        (KERNEL, r"^    tl\.store\(out_row.*$", "    pass", "sizes", "AssertionError: out is not finite"),
        (RUNTIME, r"^(def runs_on_triton.*\n.*\n)", r"\1    return False\n", "sizes", "no kernel was launched forward"),
        (FUNCTION, r"^(    out = _ref_product\(.*\))$", r"\1 * 1.001", "reference", "AssertionError: out is off by"),
    ],
    ids=["forward", "backward", "not stored", "not launched", "reference"],
)
def test_fails_for_wrong_packages(
    file: str, pattern: str, replacement: str, tests: str, message: str, tmp_path: Path
) -> None:
    copy(tmp_path)
    module = tmp_path / "vga2d" / file
    module.write_text(damaged(module.read_text(encoding="utf-8"), pattern, replacement), encoding="utf-8")
    status, output = pytest_in(tmp_path, "-k", f"{tests} and geometric_product")
    assert status == 1 and message in output, output


@pytest.mark.parametrize(
    ("pattern", "replacement", "tests"),
    [
        (r'"group": "euclidean"', '"group": "pin"', "equivariance"),
        (r'"grads": \("x",\)', '"grads": ()', "description"),
        (r"^(e12 .*) (-?)e$", r"\1 -\2e", "reference"),
    ],
    ids=["group", "grads", "products"],
)
def test_fails_for_wrong_claims(pattern: str, replacement: str, tests: str, tmp_path: Path) -> None:
    name = write(EUCLIDEAN % "1, 1, 0", tmp_path)
    file = tmp_path / "tests" / f"test_{name}.py"
    file.write_text(damaged(file.read_text(encoding="utf-8"), pattern, replacement), encoding="utf-8")
    status, output = pytest_in(tmp_path, "-k", tests)
    assert status == 1 and "AssertionError" in output, output


BENT = """\
kgen: 1
name: bent
kernels:
  logistic: {inputs: {x: [b, n]}, body: return sigmoid(x)}
  hinge: {inputs: {x: [b, n]}, body: return relu(x)}
"""


@pytest.mark.parametrize(
    ("kernel", "file", "pattern", "replacement"),
    [
        (
            "logistic",
            "_runtime/kernels.py",
            r"^    return tl.where\(x < 0, tail, 1.0\).*$",
            "    t = 1 / (1 + tail)\n    return tl.where(x < 0, 1 - t, t)",
        ),
        ("logistic", "_runtime/kernels.py", r"^(    tail = _exp\(-tl.abs\(x\)\)).*$", r"\1 + 1e-12"),
        ("hinge", "_kernels/hinge.py", r"^(    grad_x = .*x) <= 0.0", r"\1 < 0.0"),
    ],
    ids=["difference", "absolute", "kink"],
)
def test_places_where_a_wrong_function_shows(
    kernel: str, file: str, pattern: str, replacement: str, tmp_path: Path
) -> None:
    """What is right at numbers of size one: a proof draws tails, zeros and ties, too."""
    write(BENT, tmp_path)
    assert pytest_in(tmp_path, "-k", kernel)[0] == 0
    module = tmp_path / "bent" / file
    module.write_text(damaged(module.read_text(encoding="utf-8"), pattern, replacement), encoding="utf-8")
    status, output = pytest_in(tmp_path, "-k", f"(sizes or places) and {kernel}")
    assert status == 1 and "is off by" in output, output
    assert "FAILED tests/test_bent.py::test_sizes" not in output


@pytest.mark.parametrize("older", ["module", "proof"])
def test_fails_for_the_module_of_another_spec(older: str, tmp_path: Path) -> None:
    """The change is in a comment, so that nothing else tells the two specs apart."""
    write(spec_text("vga2d"), tmp_path)
    kept = tmp_path / {"module": "vga2d/_functions/sgp.py", "proof": "tests/test_vga2d.py"}[older]
    before = kept.read_text(encoding="utf-8")
    changed = spec_text("vga2d").replace("\n  sgp:\n", "\n  sgp:  # changed\n")
    assert changed != spec_text("vga2d")
    write(changed, tmp_path)
    chosen = ("-k", "test_same_spec or test_description")
    assert pytest_in(tmp_path, *chosen)[0] == 0
    kept.write_text(before, encoding="utf-8")
    status, output = pytest_in(tmp_path, *chosen)
    assert status == 1 and "come from different specs" in output and "1 failed, 11 passed" in output, output


# they travel


def test_two_copies_and_a_package(tmp_path: Path) -> None:
    """Each copy proves the module above it, which a package's other tests import, too."""
    for folder in ("one", "two/package"):
        (tmp_path / folder).mkdir(parents=True)
        copy(tmp_path / folder)
    package = tmp_path / "two" / "package"
    (package / "__init__.py").touch()
    (package / "tests" / "test_zz_same.py").write_text(
        "import sys\n\n\ndef test_same_module():\n"
        "    from package import vga2d\n    assert sys.modules['package.vga2d'] is vga2d\n"
        "    assert sys.modules['vga2d'].__file__ != vga2d.__file__\n"
    )
    chosen = ("--import-mode=importlib", "-k", "test_description or test_same_module")
    status, output = pytest_in(tmp_path, *chosen, environment={"PYTHONPATH": str(tmp_path / "two")})
    assert status == 0 and "3 passed" in output, output


def test_fallback_is_proven(tmp_path: Path) -> None:
    """With the interpreter off, on a machine without GPU, the functions are the references, and no less right."""
    copy(tmp_path)
    status, output = pytest_in(tmp_path, environment={"TRITON_INTERPRET": "0", "CUDA_VISIBLE_DEVICES": ""})
    assert status == 0, output


# their text


def text_of(name: str) -> str:
    return (ROOT / "generated" / "tests" / f"test_{name}.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PACKAGES)
def test_header_and_imports(name: str) -> None:
    text, digest = text_of(name), load(str(ROOT / "specs" / f"{name}.yaml")).part()
    lines = text.splitlines()
    assert lines[0].startswith(f'"""Proof of {name}: ')
    assert lines[2] == f"@generated by kgen from specs/{name}.yaml — do not edit"
    assert re.fullmatch(rf"spec {digest}; regenerate with: kgen build specs/{name}.yaml", lines[3])
    assert lines[4] == '"""'
    assert packages(text) - set(sys.stdlib_module_names) == {"torch"}


@pytest.mark.parametrize("name", SPECS)
def test_black_leaves_it(name: str) -> None:
    """Of the shipped proofs `make check` asks it."""
    text = proof(load("specs/unshipped.yaml", SPECS[name]()))
    assert black.format_str(text, mode=black.Mode(line_length=120)) == text
    assert max(map(len, text.splitlines())) <= 120


def test_all_have_the_same_suite() -> None:
    """Algebras differ in data and oracles; what is done with them is the same."""
    calls = {text_of(name).partition("# The proof\n")[2].replace(name, "") for name in PACKAGES}
    suites = {(ROOT / "generated" / name / "_runtime" / "proof.py").read_text(encoding="utf-8") for name in PACKAGES}
    assert len(calls) == len(suites) == 1 and "def test_second_order" in suites.pop()


@pytest.mark.parametrize("name", PACKAGES)
def test_shipped_kernels_are_equivariant_under_all_versors(name: str) -> None:
    kernels = load(str(ROOT / "specs" / f"{name}.yaml")).kernels
    assert text_of(name).count('"group": "pin",') == len(kernels)


# their oracles

VALUES = (
    "x * y", "x ^ y", "x | y", "x & y", "r >> x", "v >> x", "~x - involute(y)", "conjugate(x)", "dual(x)", "undual(v)",
    "x.grade(1, 2) + v", "norm_squared(r) * v", "gelu(x)", "sgp(x, v, w)", "scalar_product(v, x) * r",
    "grade_rms_norm(x, eps=0.1)", "grade_rms_norm(odd(x), metric=\"invariant\")",
    "sum(x.grade(g) * norm_squared(x.grade(g)) for g in x.grades)",
    "fcgp(x, v, c)", "mv_linear(x, l)", "mv_linear(x, l, s)", "mv_linear(x, l, bias=z)",
)  # fmt: skip
ALGEBRAS = (
    "signature: [2, 0, 0]",
    "signature: [3, 0, 1]",
    "signature: [1, 3, 0]",
    "signature: [2, 1, 0], blades: [e, e2, e1, e3, e21, e13, e23, e321]",
)


POLARITY = itertools.product([algebra for algebra in ALGEBRAS if "0, 1" not in algebra], ["polarity(x)"])


@pytest.mark.parametrize(("algebra", "body"), [*itertools.product(ALGEBRAS, VALUES), *POLARITY])
def test_dense_tables_are_the_bit_operations(algebra: str, body: str) -> None:
    """The oracle of every operation is the reference: one reads the table, the other counts swaps."""
    text = f"""\
kgen: 1
name: trial
algebra: {{{algebra}}}
layout:
  multivector: [b, n, blade]
  weights: {{order: [out, left, right], memory: [n, path], fully_connected: [path, n, m], gradewise: [grade, n, m]}}
kernels:
  f:
    inputs:
      {{x: multivector, y: multivector, v: grades(1), r: even, w: "weights(x, v)",
        c: "weights(x, v)[n, m]", l: "weights(x)[n, m]", s: [m], z: "multivector[m]"}}
    body: return {body}
"""
    spec = load("specs/trial.yaml", text)
    function = Function(spec, spec.kernels[0])
    function.text()
    random = torch.Generator().manual_seed(0)
    extents = {"b": 3, "n": 5, "m": 2}
    inputs = {}
    for name in function.inputs.types:
        shape = [extents[d] if isinstance(d, str) else d for d in function.inputs.shape(name).dims]
        inputs[name] = torch.randn(shape, generator=random, dtype=torch.float64)
    namespace: dict[str, object] = {}
    head = proof(spec).partition("# The proof\n")[0]
    exec(compile(head, "proof", "exec", dont_inherit=True), namespace)
    found = namespace["f_oracle"](**inputs)  # type: ignore[operator]
    (expected,) = reference.evaluate(spec, "f", inputs)
    assert list(found.shape) == [extents[d] if isinstance(d, str) else d for d in function.results[0].dims]
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)
